//! The Linux kernel under measurement: a guest in User Mode Linux, and the processor time that it takes.
//!
//! The guest's kernel is one process of this machine, and its code runs at native speed. That process's
//! own clock is read around orders, so what others on the machine take does not count.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::netns::Namespace;
use lab::uml::Guest;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::guest::road::Road;

/// Nobody waits for longer for a guest on a crowded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A guest with tunnels.
#[derive(Debug)]
pub struct Kernel {
    guest: Guest,
    clock: ClockId,
    release: String,
    _namespace: Namespace,
}

impl Kernel {
    /// Boots it and opens `tunnels` tunnels.
    pub fn boot(tunnels: u16) -> Result<Self> {
        let namespace = Namespace::new("guest")?;
        let mut guest = Guest::boot_alone(&namespace)
            .context("the Linux kernel to compare with runs in User Mode Linux")?;
        let release = guest.run("uname -r", LIMIT)?.success()?.output.trim().to_owned();
        for module in [
            "drivers/net/ppp/pppox",
            "net/ipv4/gre",
            "drivers/net/ppp/pptp",
            "drivers/net/dummy",
            "drivers/net/veth",
        ] {
            guest.run(&format!("insmod $modules/{module}.ko"), LIMIT)?.success()?;
        }
        // It is on the guest's disk, which is this machine's.
        let program = std::env::current_exe()?;
        let line = format!("'{}' peer guest {tunnels} <&3", program.display());
        guest.run(&line, LIMIT)?.success().context("opening tunnels in the guest")?;
        let pid = Pid::from_raw(i32::try_from(guest.id())?);
        let clock = clock_getcpuclockid(pid).context("the guest's processor time")?;
        Ok(Self { guest, clock, release, _namespace: namespace })
    }

    /// The kernel's release.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Has packets of `payload` octets ready for a road.
    pub fn prepare(&mut self, road: Road, payload: u16) -> Result<()> {
        self.order(&format!("prepare {road} {payload}"))
    }

    /// Sends so many of them and waits until all have come to the road's end. The processor time
    /// that this took.
    pub fn send(&mut self, packets: u32) -> Result<Duration> {
        let before: Duration = clock_gettime(self.clock)?.into();
        self.order(&format!("send {packets}"))?;
        let after: Duration = clock_gettime(self.clock)?.into();
        Ok(after.saturating_sub(before))
    }

    fn order(&mut self, line: &str) -> Result<()> {
        self.guest.run(line, LIMIT)?.success().map(drop)
    }
}
