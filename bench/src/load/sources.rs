//! Addresses that tunnels are dialled from: a range that the kernel is told to take for its own
//! while a run lasts, or the machine's own address for all.

use std::fmt;
use std::net::Ipv4Addr;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use lab::load::Sources;

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u32,
    bits: u8,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (address, bits) = text.split_once('/')?;
            let (address, bits) = (address.parse::<Ipv4Addr>().ok()?, bits.parse::<u8>().ok()?);
            let range = Self { first: address.to_bits(), bits };
            (bits <= 32 && range.first & !range.mask() == 0).then_some(range)
        };
        parse().ok_or_else(|| "no IPv4 network such as 10.0.0.0/16".to_owned())
    }
}

impl Range {
    /// Addresses but the first and the last, which some routers take for broadcasts.
    fn usable(self) -> u64 {
        (1_u64 << (32 - self.bits)).saturating_sub(2)
    }

    /// Whether the address is one of it.
    pub fn holds(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.first
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.first), self.bits)
    }
}

/// Where to dial from, for as long as it lives.
#[derive(Debug)]
pub struct Origin {
    pub sources: Sources,
    /// The route that makes a range ours.
    route: Option<String>,
}

impl Origin {
    /// Enough for `tunnels`.
    ///
    /// # Errors
    /// When there are too few addresses, or the kernel refuses the range.
    pub fn new(range: Option<Range>, tunnels: usize) -> Result<Self> {
        let Some(range) = range else {
            ensure!(
                tunnels <= Sources::MOST,
                "{tunnels} tunnels are too many for one address, which can have {}: give a range of \
                 addresses by --source",
                Sources::MOST
            );
            return Ok(Self { sources: Sources::Shared, route: None });
        };
        let (route, usable) = (range.to_string(), range.usable());
        ensure!(
            tunnels as u64 <= usable,
            "{tunnels} tunnels need as many addresses, and --source {route} has {usable}"
        );
        ip(&["route", "add", "local", &route, "dev", "lo"])
            .with_context(|| format!("making {route} local addresses (needs root)"))?;
        let first = Ipv4Addr::from_bits(range.first + 1);
        Ok(Self { sources: Sources::Each { first, calls: 1 }, route: Some(route) })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(route) = &self.route {
            // With the namespace or the link, the route went too.
            let _ = ip(&["route", "del", "local", route, "dev", "lo"]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("starting ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_networks() {
        let range: Range = "10.0.0.0/16".parse().unwrap();
        assert_eq!((range.usable(), range.to_string().as_str()), (65_534, "10.0.0.0/16"));
        for (address, is_held) in [([10, 0, 255, 1], true), ([10, 1, 0, 1], false)] {
            assert_eq!(range.holds(address.into()), is_held);
        }
        assert_eq!("0.0.0.0/0".parse::<Range>().unwrap().usable(), (1 << 32) - 2);
        assert_eq!("10.0.0.1/32".parse::<Range>().unwrap().usable(), 0);
        for bad in ["10.0.0.0", "10.0.0.1/16", "10.0.0.0/33", "x/8", ""] {
            bad.parse::<Range>().unwrap_err();
        }
    }

    #[test]
    fn too_few_addresses_are_said_before_anything_is_dialled() {
        let range = "10.0.0.0/29".parse().unwrap();
        let error = Origin::new(Some(range), 7).unwrap_err().to_string();
        assert_eq!(error, "7 tunnels need as many addresses, and --source 10.0.0.0/29 has 6");
        let error = Origin::new(None, 9000).unwrap_err().to_string();
        assert!(error.contains("which can have 8191: give a range"), "{error}");
    }
}
