//! What a daemon costs: memory of its own and of its sockets in the kernel, processor time.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::server::Server;

/// Kernel memory of TCP connections: a socket, its inode and its file.
const SLABS: [&str; 3] = ["TCP", "sock_inode_cache", "filp"];

/// At one moment.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub at: Instant,
    /// Resident octets of the process.
    pub resident: u64,
    /// Octets of the machine's sockets, by half: the other end of each connection is here too.
    pub sockets: u64,
    /// Processor time so far.
    pub cpu: Duration,
}

impl Cost {
    pub fn of(server: &mut Server) -> Result<Self> {
        let resident = server.footprint()?.resident * 1024;
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.process().id()))?;
        Ok(Self { at: Instant::now(), resident, sockets: sockets()? / 2, cpu: cpu(&stat)? })
    }
}

/// User and system time (fields 14 and 15 of /proc/PID/stat).
fn cpu(stat: &str) -> Result<Duration> {
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()?;
    // USER_HZ is 100 on all machines that Linux runs on but Alpha and IA-64.
    Ok(Duration::from_millis(ticks * 10))
}

fn sockets() -> Result<u64> {
    let slabs = fs::read_to_string("/proc/slabinfo").context("reading /proc/slabinfo")?;
    let mut octets = 0;
    for line in slabs.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        if let [name, _, objects, size, ..] = fields[..]
            && SLABS.contains(&name)
        {
            octets += objects.parse::<u64>()? * size.parse::<u64>()?;
        }
    }
    let buffers = fs::read_to_string("/proc/net/sockstat")?;
    let pages = buffers
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .and_then(|line| line.rsplit_once("mem "))
        .and_then(|(_, pages)| pages.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Ok(octets + pages * 4096)
}
