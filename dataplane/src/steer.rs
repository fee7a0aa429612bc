//! What the XDP program is told of tunnels and prefixes, as the control plane changes them.
//!
//! The program is loaded only where interfaces are driven by AF_XDP.

mod claims;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use ebpf::{Counters, Steering};

use crate::api::{Forward, Ipv6Prefix, Outer, Prefix, Tun};
use claims::{Change, Claim, Claims};

/// A prefix of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Block {
    Ipv4(Prefix),
    Ipv6(Ipv6Prefix),
}

impl From<Prefix> for Block {
    fn from(prefix: Prefix) -> Self {
        Self::Ipv4(prefix)
    }
}

impl From<Ipv6Prefix> for Block {
    fn from(prefix: Ipv6Prefix) -> Self {
        Self::Ipv6(prefix)
    }
}

impl Block {
    /// The first address, and the length in bits.
    fn parts(self) -> (IpAddr, u8) {
        match self {
            Self::Ipv4(prefix) => (prefix.address.into(), prefix.length),
            Self::Ipv6(prefix) => (prefix.address().into(), prefix.length()),
        }
    }

    /// Whether another lies in it and is smaller.
    fn exceeds(self, other: Self) -> bool {
        match (self, other) {
            (Self::Ipv4(this), Self::Ipv4(other)) => {
                this.length < other.length && this.contains(other.address)
            }
            (Self::Ipv6(this), Self::Ipv6(other)) => {
                this.length() < other.length() && this.contains(other.address())
            }
            _ => false,
        }
    }
}

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
        let pools = tun.pools.iter().copied().map(Block::Ipv4);
        let pools: Vec<_> = pools.chain(tun.pools_ipv6.iter().copied().map(Block::Ipv6)).collect();
        let claims = Claims::new(&pools);
        let mut steer = Self { program, claims, listeners: HashSet::new() };
        for &address in listen {
            steer.listen(address)?;
        }
        let pools = pools.into_iter().map(|pool| (pool, Claim::Workers));
        let own = tun.address.iter().chain(&tun.exempt);
        let own = own.map(|&address| Block::Ipv4(Prefix::host(address)));
        let own_ipv6 = tun.exempt_ipv6.iter().map(|&own| Block::Ipv6(Ipv6Prefix::host(own)));
        let own = own.chain(own_ipv6).map(|own| (own, Claim::Own));
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
    pub(crate) fn set_prefixes<P: Copy + Into<Block>>(
        &mut self,
        forward: &Forward,
        old: &[P],
        new: &[P],
    ) {
        let claim = Claim::from(forward);
        // What is in both never goes meanwhile.
        let steps = new.iter().map(|prefix| (prefix, true));
        for (&prefix, comes) in steps.chain(old.iter().map(|prefix| (prefix, false))) {
            let prefix = prefix.into();
            let change = match comes {
                true => self.claims.add(prefix, claim),
                false => self.claims.remove(prefix, claim),
            };
            if let Err(error) = self.tell(change) {
                // Its packets take the way through the kernel.
                tracing::warn!(%error, address = %prefix.parts().0, "XDP does not know a prefix");
            }
        }
    }

    fn tell(&mut self, change: Option<Change>) -> Result<(), ebpf::Error> {
        let Some((prefix, action)) = change else { return Ok(()) };
        let (address, length) = prefix.parts();
        match action {
            Some(action) => self.program.insert_prefix(address, length, action),
            None => self.program.remove_prefix(address, length),
        }
    }

    pub(crate) fn counters(&self) -> Option<Counters> {
        self.program.counters().ok()
    }
}
