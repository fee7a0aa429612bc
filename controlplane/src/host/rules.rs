//! Policy rules of the kernel's routing (`ip rule`) that the packet path does not know.
//!
//! Only says what is: AF_XDP's workers look at destinations alone, in the local table and one other.

use std::process::{Command, Stdio};

/// What is known of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyRules {
    /// Those that workers do not follow, as `ip rule` shows them.
    Others(Vec<String>),
    /// They could not be asked for.
    Unknown(String),
}

/// Asks `ip` for the rules of IPv4. Those for what comes by the interface `tun` are the kernel's, which
/// gets it.
#[must_use]
pub fn policy_rules(tun: &str) -> PolicyRules {
    let output = Command::new("ip").args(["-4", "rule", "show"]).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            PolicyRules::Others(others(&String::from_utf8_lossy(&output.stdout), tun))
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            PolicyRules::Unknown(said.lines().next().unwrap_or("ip failed").to_owned())
        }
        Err(error) => PolicyRules::Unknown(format!("ip: {error}")),
    }
}

fn others(shown: &str, tun: &str) -> Vec<String> {
    /// Those that a kernel has by itself.
    const OWN: [&str; 4] = ["local", "main", "default", "[l3mdev-table]"];
    let is_followed = |words: &[&str]| match words {
        [_, "from", "all", "lookup", table] => OWN.contains(table),
        [_, "from", "all", "iif", interface, ..] => *interface == tun,
        _ => false,
    };
    let lines = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let others = lines.filter(|words| !words.is_empty() && !is_followed(words));
    others.map(|words| words.join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_look_at_more_than_a_destination_are_found() {
        let shown = "0:\tfrom all lookup local\n\
                     1000:\tfrom all lookup [l3mdev-table]\n\
                     2000:\tfrom all iif penstock lookup 7\n\
                     2001:\tfrom all iif eth9 lookup 7\n\
                     3000:\tfrom 10.99.0.0/20 lookup 100\n\
                     3001:\tfrom all fwmark 0x1 lookup 101\n\
                     3002:\tfrom all lookup 102\n\
                     32766:\tfrom all lookup main\n\
                     32767:\tfrom all lookup default\n";
        assert_eq!(
            others(shown, "penstock"),
            [
                "2001: from all iif eth9 lookup 7",
                "3000: from 10.99.0.0/20 lookup 100",
                "3001: from all fwmark 0x1 lookup 101",
                "3002: from all lookup 102",
            ]
        );
    }
}
