//! What the XDP program is told of tunnels and prefixes, as the control plane changes them.
//!
//! The program is loaded only where interfaces are driven by AF_XDP.

mod claims;

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ebpf::{Counters, Steering};

use crate::api::{Forward, Outer, Prefix, Tun};
use claims::{Change, Claim, Claims};

/// The XDP program and what was told to it.
#[derive(Debug)]
pub(crate) struct Steer {
    program: Steering,
    claims: Claims,
    listeners: HashSet<Ipv4Addr>,
}

impl Steer {
    /// Tells the program where PPTP is served and which addresses are subscribers'.
    pub(crate) fn new(
        program: Steering,
        listen: &[Ipv4Addr],
        tun: &Tun,
    ) -> Result<Self, ebpf::Error> {
        let claims = Claims::new(&tun.pools);
        let mut steer = Self { program, claims, listeners: HashSet::new() };
        for &address in listen {
            steer.listen(address)?;
        }
        let pools = tun.pools.iter().map(|&pool| (pool, Claim::Workers));
        let own = tun.address.iter().chain(&tun.exempt);
        let own = own.map(|&address| (Prefix::host(address), Claim::Own));
        for (prefix, claim) in pools.chain(own) {
            let change = steer.claims.add(prefix, claim);
            steer.tell(change)?;
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
        let claim = Claim::from(forward);
        // What is in both never goes meanwhile.
        let steps = new.iter().map(|prefix| (prefix, true));
        for (&prefix, comes) in steps.chain(old.iter().map(|prefix| (prefix, false))) {
            let change = match comes {
                true => self.claims.add(prefix, claim),
                false => self.claims.remove(prefix, claim),
            };
            if let Err(error) = self.tell(change) {
                // Its packets take the way through the kernel.
                tracing::warn!(%error, address = %prefix.address, "XDP does not know a prefix");
            }
        }
    }

    fn tell(&mut self, change: Option<Change>) -> Result<(), ebpf::Error> {
        match change {
            Some((Prefix { address, length }, Some(action))) => {
                self.program.insert_prefix(address, length, action)
            }
            Some((Prefix { address, length }, None)) => self.program.remove_prefix(address, length),
            None => Ok(()),
        }
    }

    pub(crate) fn counters(&self) -> Option<Counters> {
        self.program.counters().ok()
    }
}
