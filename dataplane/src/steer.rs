//! What the XDP program is told of tunnels and prefixes, as the control plane changes them.
//!
//! The program is loaded only where interfaces are driven by AF_XDP. A prefix that the pools cover
//! is steered already; only what differs from that is told.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ebpf::{Counters, PrefixAction, Steering};

use crate::api::{Forward, Outer, Prefix, Tun};

/// The XDP program and what was told to it.
#[derive(Debug)]
pub(crate) struct Steer {
    program: Steering,
    pools: Vec<Prefix>,
    listeners: HashSet<Ipv4Addr>,
}

impl Steer {
    /// Tells the program where PPTP is served and which addresses are subscribers'.
    pub(crate) fn new(
        program: Steering,
        listen: &[Ipv4Addr],
        tun: &Tun,
    ) -> Result<Self, ebpf::Error> {
        let mut steer = Self { program, pools: tun.pools.clone(), listeners: HashSet::new() };
        for &address in listen {
            steer.listen(address)?;
        }
        for pool in &tun.pools {
            steer.program.insert_prefix(pool.address, pool.length, PrefixAction::Steer)?;
        }
        for &address in tun.address.iter().chain(&tun.exempt) {
            steer.program.insert_prefix(address, 32, PrefixAction::Pass)?;
        }
        Ok(steer)
    }

    fn listen(&mut self, address: Ipv4Addr) -> Result<(), ebpf::Error> {
        if self.listeners.insert(address) {
            self.program.insert_listener(address)?;
        }
        Ok(())
    }

    /// A tunnel is there: its workers know it already.
    pub(crate) fn open(&mut self, outer: Outer) -> Result<(), ebpf::Error> {
        self.listen(outer.local)?;
        self.program.insert_tunnel(outer.peer, outer.own_call_id)
    }

    /// A tunnel is gone.
    pub(crate) fn close(&mut self, outer: Outer) {
        if let Err(error) = self.program.remove_tunnel(outer.peer, outer.own_call_id) {
            // Its packets go on to a worker, which drops and counts them.
            tracing::warn!(%error, peer = %outer.peer, "XDP still knows a tunnel that is gone");
        }
    }

    /// The prefixes of a tunnel change from `old` to `new`. Those of a tunnel whose packets the
    /// kernel forwards pass to it.
    pub(crate) fn set_prefixes(&mut self, forward: &Forward, old: &[Prefix], new: &[Prefix]) {
        let Self { program, pools, .. } = self;
        let is_steered = |prefix: &Prefix| {
            pools.iter().any(|pool| pool.length <= prefix.length && pool.contains(prefix.address))
        };
        let action = match forward {
            Forward::Fast => PrefixAction::Steer,
            Forward::Kernel | Forward::Device(_) => PrefixAction::Pass,
        };
        let differs =
            |prefix: &&Prefix| is_steered(prefix) != matches!(action, PrefixAction::Steer);
        let gone = old.iter().filter(|prefix| !new.contains(prefix)).filter(differs);
        let come = new.iter().filter(|prefix| !old.contains(prefix)).filter(differs);
        let results = gone
            .map(|prefix| (prefix, None))
            .chain(come.map(|prefix| (prefix, Some(action))))
            .map(|(prefix, action)| {
                let Prefix { address, length } = *prefix;
                let result = match action {
                    Some(action) => program.insert_prefix(address, length, action),
                    None => program.remove_prefix(address, length),
                };
                (prefix, result)
            });
        for (prefix, result) in results {
            if let Err(error) = result {
                // Its packets take the way through the kernel.
                tracing::warn!(%error, address = %prefix.address, "XDP does not know a prefix");
            }
        }
    }

    pub(crate) fn counters(&self) -> Option<Counters> {
        self.program.counters().ok()
    }
}
