//! The machine that figures come from: without it they mean nothing.
//! What cannot be found out is "unknown", and never an error.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::table::{Table, left};

/// A machine, and the program that ran on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    /// That this process may use.
    pub cores: usize,
    pub kernel: String,
    /// How the kernel chooses the frequency of core 0.
    pub governor: String,
    /// Of the whole machine, MiB.
    pub memory: u64,
    /// Version of penstock, by git.
    pub commit: String,
    /// UTC.
    pub date: String,
}

impl Machine {
    /// This one, now.
    pub fn describe() -> Self {
        Self {
            cpu: value_of("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease"),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            memory: value_of("/proc/meminfo", "MemTotal")
                .trim_end_matches(" kB")
                .parse::<u64>()
                .unwrap_or_default()
                / 1024,
            commit: commit(),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
        }
    }

    /// For the report.
    pub fn table(&self) -> Table {
        let mut table = Table::new("", [left("machine"), left("")]);
        let memory = format!("{:.1} GiB", self.memory as f64 / 1024.0);
        for (what, value) in [
            ("CPU", self.cpu.as_str()),
            ("cores", &self.cores.to_string()),
            ("kernel", &self.kernel),
            ("frequency governor", &self.governor),
            ("memory", &memory),
            ("commit", &self.commit),
            ("date", &self.date),
        ] {
            table.row([what, value]);
        }
        table
    }
}

/// What cannot be found out.
pub const UNKNOWN: &str = "unknown";

/// Behind a commit: the tree had changes that the commit has not.
pub const DIRTY: &str = "-dirty";

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| UNKNOWN.to_owned(), |text| text.trim().to_owned())
}

/// The first value of this name in a file of lines `name: value`.
fn value_of(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut values = text.lines().filter_map(|line| line.split_once(':'));
    let found = values.find(|(key, _)| key.trim() == name);
    found.map_or_else(|| UNKNOWN.to_owned(), |(_, value)| value.trim().to_owned())
}

/// Of the folder that this program was built in, which belongs to somebody else under sudo.
fn commit() -> String {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "-C", env!("CARGO_MANIFEST_DIR")])
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    let said = output.ok().filter(|output| output.status.success());
    said.and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| UNKNOWN.to_owned(), |text| text.trim().to_owned())
}

/// A day and minute of the Gregorian calendar, from seconds since 1970 (both UTC).
fn date(seconds: u64) -> String {
    let (mut days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02} UTC", days + 1, minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59 UTC"),
            (1_767_225_600, "2026-01-01 00:00 UTC"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn this_machine_has_a_name() {
        let machine = Machine::describe();
        assert!(machine.memory > 0 && machine.cores > 0);
        assert_ne!(machine.kernel, UNKNOWN);
    }
}
