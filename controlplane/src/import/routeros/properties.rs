//! The properties of a command as they are taken one by one, and what became of each.

use toml::{Table, Value};

use super::lexer::Command;

/// What is left of a command.
pub(super) struct Properties<'a> {
    rest: Vec<(&'a str, &'a str)>,
    left: Vec<String>,
}

impl<'a> Properties<'a> {
    pub(super) fn new(command: &'a Command) -> Self {
        let pairs = command.properties.iter();
        // What is unset (`!key`) is so where it is left out: there is nothing to take over.
        let rest = pairs.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Self { rest, left: Vec::new() }
    }

    /// The value of a property, if it is there and says something.
    pub(super) fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.rest.iter().position(|(name, _)| *name == key)?;
        let (_, value) = self.rest.remove(at);
        // What is given twice counts as the first time.
        self.rest.retain(|(name, _)| *name != key);
        Some(value).filter(|value| !value.is_empty())
    }

    /// As [`Self::take`], made a value, or left with the reason.
    pub(super) fn parse<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(key)?;
        parse(value).inspect_err(|why| self.leave(key, why)).ok()
    }

    /// The property goes into the table under its own name, if it is there.
    pub(super) fn keep(
        &mut self,
        table: &mut Table,
        key: &str,
        parse: impl FnOnce(&'a str) -> Result<Value, String>,
    ) {
        if let Some(value) = self.parse(key, parse) {
            table.insert(key.to_owned(), value);
        }
    }

    /// The property is not taken over. Says nothing of its value, which may be a password.
    pub(super) fn leave(&mut self, key: &str, why: &str) {
        self.left.push(format!("{key}: {why}"));
    }

    /// These are named with the reason if they say anything but RouterOS's own default.
    pub(super) fn leave_all(&mut self, keys: &[&str], why: &str) {
        for key in keys {
            if self.take(key).is_some_and(|value| !["default", "none"].contains(&value)) {
                self.leave(key, why);
            }
        }
    }

    /// What was left, and what nobody asked for.
    pub(super) fn finish(mut self) -> Vec<String> {
        for (key, value) in std::mem::take(&mut self.rest) {
            if value.is_empty() {
                continue;
            }
            self.leave(key, "penstock has nothing of this kind");
        }
        self.left
    }
}

/// Text as it is.
#[expect(clippy::unnecessary_wraps, reason = "one of the ways to read a property")]
pub(super) fn text(value: &str) -> Result<Value, String> {
    Ok(value.into())
}

/// `yes` and `no`.
pub(super) fn flag(value: &str) -> Result<bool, String> {
    match value {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("neither yes nor no".to_owned()),
    }
}

/// Words between commas.
pub(super) fn words(value: &str) -> Vec<&str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// Packet sizes.
pub(super) fn size(value: &str) -> Result<Value, String> {
    match value.parse::<u16>() {
        Ok(size) if (576..=1500).contains(&size) => Ok(i64::from(size).into()),
        _ => Err("not from 576 to 1500".to_owned()),
    }
}

/// RouterOS's times: `30`, `1h30m`, `1d2h`, `2w`, `00:30:00`. Ours in whole seconds.
pub(super) fn time(value: &str) -> Result<Value, String> {
    let seconds = seconds(value).ok_or("no time that is understood")?;
    Ok(crate::config::Span::seconds(seconds).to_string().into())
}

fn seconds(value: &str) -> Option<u64> {
    if let Ok(seconds) = value.parse() {
        return Some(seconds);
    }
    if value.contains(':') {
        let parts = value.split(':').map(str::parse::<u64>);
        return parts
            .into_iter()
            .try_fold(0_u64, |sum, part| sum.checked_mul(60)?.checked_add(part.ok()?));
    }
    let (mut total, mut rest) = (0_u64, value);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next()?;
        let length = match unit {
            'w' => 604_800,
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(length)?)?;
        rest = &tail[unit.len_utf8()..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_versions_are_understood() {
        let of = |text: &str| time(text).map(|value| value.as_str().unwrap_or_default().to_owned());
        for (text, ours) in [
            ("30", "30s"),
            ("1m", "1m"),
            ("1h30m", "1h30m"),
            ("2w1d", "15d"),
            ("00:05:00", "5m"),
            ("0s", "0s"),
        ] {
            assert_eq!(of(text).as_deref(), Ok(ours), "{text}");
        }
        for wrong in ["soon", "1x", "m", "99999999999999999999d", "1:x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
