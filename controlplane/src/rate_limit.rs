//! RouterOS's grammar of rate limits, in profiles, secrets, the API and Mikrotik-Rate-Limit.
//!
//! `rx[/tx] [rx-burst[/tx-burst] [rx-threshold[/tx-threshold] [rx-time[/tx-time] [priority
//! [rx-min[/tx-min]]]]]]`, where rx is from the subscriber and tx to the subscriber, rates are bits
//! a second with `k`, `M` or `G` for thousands, millions and thousands of millions, times are
//! seconds, and 0 is no limit. Priority and smallest rate order queues that compete: they are read
//! and shown, and have no effect, because no queue of ours competes with another. Never rounds.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use dataplane::api::{self, Limit, Limits};
use serde::{Deserialize, Serialize};

/// Above this it is a slip of the pen: a terabit a second.
pub const MAX_RATE: u64 = 1_000_000_000_000;

/// Longest time over which a burst is averaged.
pub const MAX_BURST_TIME: Duration = Duration::from_secs(3600);

/// How fast a subscriber may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimit {
    /// From the subscriber (uplink); `None` is no limit.
    pub rx: Option<Rate>,
    /// To the subscriber (downlink); `None` is no limit.
    pub tx: Option<Rate>,
    /// 1 (first) to 8 (last).
    pub priority: Option<u8>,
}

/// How fast one direction may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second that inner packets may have for ever; 1 to [`MAX_RATE`].
    pub rate: u64,
    /// What is allowed above it for a while.
    pub burst: Option<Burst>,
    /// Bits a second that are promised.
    pub min: Option<u64>,
}

/// What is allowed while the average of the last `time` is below `threshold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Bits a second; above the rate that lasts.
    pub rate: u64,
    /// Bits a second.
    pub threshold: u64,
    /// At most [`MAX_BURST_TIME`].
    pub time: Duration,
}

impl RateLimit {
    /// No limit at all.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        self.rx.is_none() && self.tx.is_none()
    }

    /// What of it the data plane keeps: rates and bursts.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let burst = |burst: Burst| {
            Some(api::Burst {
                rate: NonZeroU64::new(burst.rate)?,
                threshold: NonZeroU64::new(burst.threshold)?,
                time: burst.time,
            })
        };
        let limit = |rate: Rate| {
            Some(Limit { rate: NonZeroU64::new(rate.rate)?, burst: rate.burst.and_then(burst) })
        };
        Limits { uplink: self.rx.and_then(limit), downlink: self.tx.and_then(limit) }
    }
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let Some(rates) = words.next() else { return Ok(Self::default()) };
        let rates = pair(rates, bits)?;
        let bursts = words.next().map(|word| pair(word, bits)).transpose()?.unwrap_or((0, 0));
        // RouterOS: without thresholds the rates are the thresholds, without times it is a second.
        let thresholds = words.next().map(|word| pair(word, bits)).transpose()?.unwrap_or(rates);
        let second = Duration::from_secs(1);
        let times =
            words.next().map(|word| pair(word, seconds)).transpose()?.unwrap_or((second, second));
        let priority = words.next().map(priority).transpose()?;
        let mins = words.next().map(|word| pair(word, bits)).transpose()?.unwrap_or((0, 0));
        if let Some(more) = words.next() {
            return Err(format!("rate limit `{text}`: `{more}` is one word too many"));
        }
        let of = |rate, burst, threshold, time, min| {
            direction(rate, burst, threshold, time, min)
                .map_err(|reason| format!("rate limit `{text}`: {reason}"))
        };
        Ok(Self {
            rx: of(rates.0, bursts.0, thresholds.0, times.0, mins.0)?,
            tx: of(rates.1, bursts.1, thresholds.1, times.1, mins.1)?,
            priority,
        })
    }
}

fn direction(
    rate: u64,
    burst: u64,
    threshold: u64,
    time: Duration,
    min: u64,
) -> Result<Option<Rate>, String> {
    if rate == 0 {
        return Ok(None);
    }
    if burst != 0 && burst < rate {
        return Err("a burst below the rate that lasts is none".to_owned());
    }
    if min > rate {
        return Err("the smallest rate is above the largest".to_owned());
    }
    let threshold = if threshold == 0 { rate } else { threshold };
    let burst = (burst > rate && !time.is_zero()).then_some(Burst { rate: burst, threshold, time });
    Ok(Some(Rate { rate, burst, min: (min != 0).then_some(min) }))
}

/// Both directions of a word; one value alone is for both.
fn pair<T: Copy>(word: &str, value: impl Fn(&str) -> Result<T, String>) -> Result<(T, T), String> {
    match word.split_once('/') {
        Some((rx, tx)) => Ok((value(rx)?, value(tx)?)),
        None => value(word).map(|both| (both, both)),
    }
}

fn bits(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no rate: write 512k, 10M, 1G or bits a second");
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'M' | 'm')) => (&text[..at], 1_000_000),
        Some((at, 'G' | 'g')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit)
        .filter(|rate| *rate <= MAX_RATE)
        .ok_or_else(|| format!("`{text}` is more than a terabit a second"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{text}` is no time of a burst: write seconds"));
    }
    digits
        .parse()
        .map(Duration::from_secs)
        .ok()
        .filter(|time| *time <= MAX_BURST_TIME)
        .ok_or_else(|| format!("a burst of `{text}` is longer than an hour"))
}

fn priority(text: &str) -> Result<u8, String> {
    text.parse()
        .ok()
        .filter(|priority| (1..=8).contains(priority))
        .ok_or_else(|| format!("`{text}` is no priority: 1 (first) to 8 (last)"))
}

impl fmt::Display for RateLimit {
    /// As short as it can be said; empty for no limit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() {
            return Ok(());
        }
        let both = |value: fn(&Rate) -> String| {
            let of = |rate: Option<Rate>| rate.as_ref().map_or_else(|| "0".to_owned(), value);
            let (rx, tx) = (of(self.rx), of(self.tx));
            if rx == tx { rx } else { format!("{rx}/{tx}") }
        };
        let mut words = vec![both(|rate| shown(rate.rate))];
        let rates = [self.rx, self.tx];
        let has_min = rates.iter().flatten().any(|rate| rate.min.is_some());
        let has_burst = rates.iter().flatten().any(|rate| rate.burst.is_some());
        let further = self.priority.is_some() || has_min;
        if has_burst || further {
            words.push(both(|rate| shown(rate.burst.map_or(0, |burst| burst.rate))));
            words.push(both(|rate| shown(rate.burst.map_or(rate.rate, |burst| burst.threshold))));
            words.push(both(|rate| {
                rate.burst.map_or(Duration::from_secs(1), |burst| burst.time).as_secs().to_string()
            }));
        }
        if further {
            words.push(self.priority.unwrap_or(8).to_string());
        }
        if has_min {
            words.push(both(|rate| shown(rate.min.unwrap_or(0))));
        }
        f.write_str(&words.join(" "))
    }
}

fn shown(bits: u64) -> String {
    for (unit, letter) in [(1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'k')] {
        if bits != 0 && bits.is_multiple_of(unit) {
            return format!("{}{letter}", bits / unit);
        }
    }
    bits.to_string()
}

impl TryFrom<String> for RateLimit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RateLimit> for String {
    fn from(limit: RateLimit) -> Self {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Forms of MikroTik's manual of `/ppp profile`, with what they mean there.
    #[test]
    fn the_grammar_is_routeros_own() {
        let read = |text: &str| match text.parse::<RateLimit>() {
            Ok(limit) => format!("{text:?} = {limit:?}\n"),
            Err(reason) => format!("{text:?}: {reason}\n"),
        };
        let answers = [
            "",
            "0",
            "64k",
            "64k/128k",
            "0/10M",
            "2M/4M 4M/8M",
            "2M/4M 4M/8M 1M/2M",
            "2M/4M 4M/8M 1M/2M 8/10",
            "2M/4M 0/0 0/0 0/0 3",
            "2M/4M 4M/8M 1M/2M 8/10 5 1M/1M",
            "1G 2G 1G 5s",
            "1M 500k",
            "1M 2M 1M 1 9",
            "1M 2M 1M 1 8 2M",
            "1M 2M 1M 1 8 1M more",
            "10T",
            "2000G",
            "99999999999999999999",
            "-1",
            "1M/",
            "1M 2M 1M 99999",
        ]
        .map(read)
        .concat();
        insta::assert_snapshot!(answers);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9kMG/ s]{0,40}|.{0,20}") {
            let _ = text.parse::<RateLimit>();
        }

        #[test]
        fn what_is_printed_is_read_as_the_same(text in "(0|[1-9][0-9]{0,5}[kM]?)(/[1-9][0-9]{0,5}[kM]?)?( [1-9][0-9]{6,8}[k]?(/[1-9][0-9]{6,8}[k]?)?( [1-9][0-9]{3}k( [1-9][0-9]{0,2}(/[1-9][0-9]?)?( [1-8]( [1-9]/[1-9])?)?)?)?)?") {
            if let Ok(limit) = text.parse::<RateLimit>() {
                // Without a limit there is nothing that a priority could order.
                let limit = if limit.is_unlimited() { RateLimit::default() } else { limit };
                prop_assert_eq!(limit.to_string().parse(), Ok(limit));
            }
        }
    }
}
