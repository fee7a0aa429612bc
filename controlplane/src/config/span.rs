//! Lengths of time as an operator writes them: "30s", "1m", "1h30m".
//!
//! Whole seconds are as fine as anything in the configuration gets. Never a bare number: the file
//! says the unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest of all, ten years: sums with any of them stay in the range of clocks.
const MAX: u64 = 3650 * 86_400;

/// A length of time in whole seconds; as text at most ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u64);

impl Span {
    /// This many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The same as the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// `None` for zero, which the configuration uses for "never".
    #[must_use]
    pub const fn unless_zero(self) -> Option<Duration> {
        if self.0 == 0 { None } else { Some(self.duration()) }
    }
}

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no length of time: write \"30s\", \"5m\" or \"1h30m\"");
        let mut units = UNITS.iter();
        let mut rest = text;
        let mut total = 0_u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.chars().next().ok_or_else(wrong)?;
            // From large to small and each unit once, so "30s1m" is a slip and not 90 seconds.
            let (_, seconds) = units.find(|(letter, _)| *letter == unit).ok_or_else(wrong)?;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            total = number
                .checked_mul(*seconds)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(wrong)?;
            rest = &tail[unit.len_utf8()..];
        }
        match total {
            _ if text.is_empty() => Err(wrong()),
            0..=MAX => Ok(Self(total)),
            _ => Err(format!("`{text}` is too long: at most {}", Self(MAX))),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// As RouterOS prints an uptime: `1d2h3m4s`, units that are zero left away.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (letter, seconds) in UNITS {
            if rest >= seconds {
                write!(f, "{}{letter}", rest / seconds)?;
                rest %= seconds;
            }
        }
        if self.0 == 0 { f.write_str("0s") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_written_and_go_from_large_to_small() {
        let seconds = |text: &str| text.parse::<Span>().map(|span| span.0);
        assert_eq!(seconds("30s"), Ok(30));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("1d2h3m4s"), Ok(93_784));
        for wrong in [
            "",
            "30",
            "s",
            "-1s",
            "30s1m",
            "1m1m",
            "1 m",
            "1x",
            "1é",
            "99999999999999999d",
            "3651d",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds("3650d"), Ok(MAX));
        assert_eq!(
            seconds("106751991167300d").unwrap_err(),
            "`106751991167300d` is too long: at most 3650d"
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(seconds in 0..=MAX) {
            prop_assert_eq!(Span(seconds).to_string().parse(), Ok(Span(seconds)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Span>();
        }
    }
}
