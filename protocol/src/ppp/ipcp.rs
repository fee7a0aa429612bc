//! IPCP's options: addresses and name servers.
//!
//! Implements RFC 1332 §3 and RFC 1877 §1. Rejects header compression and the deprecated
//! IP-Addresses option; never lets a client have an address that its owner did not assign.

use std::net::Ipv4Addr;

use super::frame::Protocol;
use super::link::Addresses;
use super::negotiation::{Judgement, Policy, Settlement};
use super::options::{Opt, OptionList, Options};

/// Option types (RFC 1332 §3; RFC 1877 §1).
pub mod option {
    /// IP-Addresses, deprecated.
    pub const ADDRESSES: u8 = 1;
    /// IP-Compression-Protocol.
    pub const COMPRESSION: u8 = 2;
    /// IP-Address.
    pub const ADDRESS: u8 = 3;
    /// Primary and secondary DNS server.
    pub const DNS: [u8; 2] = [129, 131];
    /// Primary and secondary NBNS server.
    pub const WINS: [u8; 2] = [130, 132];
}

/// The name server options in the order in which they are asked for.
const SERVERS: [u8; 4] = [option::DNS[0], option::WINS[0], option::DNS[1], option::WINS[1]];

/// One name server option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    /// Neither asked for nor given.
    None,
    /// We give this one.
    Given(Ipv4Addr),
    /// We ask for one; unspecified until the peer names it.
    Asked(Ipv4Addr),
}

/// State of IPCP's options.
#[derive(Debug, Clone)]
pub(crate) struct Ipcp {
    /// Our address; `None` after a Reject of the option.
    own: Option<Ipv4Addr>,
    /// Does the peer assign our address?
    own_is_asked: bool,
    /// The address that the peer must take.
    assigned: Option<Ipv4Addr>,
    /// The peer's address, once it was acknowledged.
    remote: Option<Ipv4Addr>,
    /// Another address that the peer wanted.
    insisted: Option<Ipv4Addr>,
    servers: [Server; 4],
}

impl Ipcp {
    /// The side that assigns.
    pub(crate) fn server(addresses: &Addresses) -> Self {
        let given = |server: Option<Ipv4Addr>| server.map_or(Server::None, Server::Given);
        let Addresses { local, remote, dns, wins, ipv6: _, bridge: _ } = *addresses;
        Self {
            own: Some(local),
            own_is_asked: false,
            assigned: remote,
            remote: None,
            insisted: None,
            servers: [given(dns[0]), given(wins[0]), given(dns[1]), given(wins[1])],
        }
    }

    /// The side that asks.
    pub(crate) const fn client() -> Self {
        let ask = Server::Asked(Ipv4Addr::UNSPECIFIED);
        Self {
            own: Some(Ipv4Addr::UNSPECIFIED),
            own_is_asked: true,
            assigned: None,
            remote: None,
            insisted: None,
            servers: [ask, Server::None, ask, Server::None],
        }
    }

    /// Does the peer choose its address, and has none yet?
    pub(crate) const fn awaits_choice(&self) -> bool {
        !self.own_is_asked && self.assigned.is_none()
    }

    /// From now on the peer has to take this address.
    pub(crate) const fn assign(&mut self, address: Ipv4Addr) {
        self.assigned = Some(address);
    }

    /// Our address, if we have one.
    pub(crate) fn local(&self) -> Option<Ipv4Addr> {
        self.own.filter(|address| !address.is_unspecified())
    }

    /// The peer's address: the assigned one whether or not it spoke of it.
    pub(crate) fn remote(&self) -> Ipv4Addr {
        self.assigned.or(self.remote).unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The address that the peer wanted in place of the assigned one.
    pub(crate) fn dispute(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        self.insisted.zip(self.assigned)
    }

    /// Name servers, given or received.
    pub(crate) fn dns(&self) -> [Option<Ipv4Addr>; 2] {
        [self.server_address(0), self.server_address(2)]
    }

    /// NetBIOS name servers, given or received.
    pub(crate) fn wins(&self) -> [Option<Ipv4Addr>; 2] {
        [self.server_address(1), self.server_address(3)]
    }

    fn server_address(&self, index: usize) -> Option<Ipv4Addr> {
        match self.servers[index] {
            Server::None => None,
            Server::Given(address) => Some(address),
            Server::Asked(address) => (!address.is_unspecified()).then_some(address),
        }
    }
}

/// The address that a Configure-Request asks for; 0.0.0.0 asks for any (RFC 1332 §3.3).
pub(crate) fn wanted(request: Options<'_>) -> Option<Ipv4Addr> {
    request.find(option::ADDRESS).and_then(address).filter(|address| !address.is_unspecified())
}

fn address(option: Opt<'_>) -> Option<Ipv4Addr> {
    option.as_u32().map(Ipv4Addr::from)
}

/// Ack of exactly this address, else a Nak with it.
fn only(wanted: Ipv4Addr, option: Opt<'_>) -> Judgement {
    if address(option) == Some(wanted) {
        Judgement::Ack
    } else {
        Judgement::Nak(wanted.octets().to_vec())
    }
}

impl Policy for Ipcp {
    const PROTOCOL: Protocol = Protocol::IPCP;

    fn knows(_code: u8) -> bool {
        false
    }

    fn request(&self) -> OptionList {
        let mut options = OptionList::new();
        if let Some(own) = self.own {
            options.push(option::ADDRESS, &own.octets());
        }
        for (kind, server) in SERVERS.into_iter().zip(self.servers) {
            if let Server::Asked(address) = server {
                options.push(kind, &address.octets());
            }
        }
        options
    }

    fn judge(&mut self, option: Opt<'_>) -> Judgement {
        if option.kind == option::ADDRESS {
            return match (self.assigned, address(option)) {
                (Some(assigned), wanted) => {
                    if let Some(wanted) = wanted
                        && wanted != assigned
                        && !wanted.is_unspecified()
                    {
                        self.insisted = Some(wanted);
                    }
                    only(assigned, option)
                }
                // We have no address to give to a server that asks for one (RFC 1332 §3.3).
                (None, Some(Ipv4Addr::UNSPECIFIED) | None) => Judgement::Reject,
                (None, Some(_)) => Judgement::Ack,
            };
        }
        let server = SERVERS.iter().position(|&kind| kind == option.kind);
        match server.map(|index| self.servers[index]) {
            Some(Server::Given(address)) => only(address, option),
            _ => Judgement::Reject,
        }
    }

    fn missing(&self, request: Options<'_>) -> OptionList {
        let mut options = OptionList::new();
        if let (Some(assigned), None) = (self.assigned, request.find(option::ADDRESS)) {
            options.push(option::ADDRESS, &assigned.octets());
        }
        options
    }

    /// A peer that never speaks of its address may have the right one by other means; one that
    /// asked for another would send from it.
    fn settle(&self, unacceptable: bool) -> Settlement {
        if !unacceptable && self.insisted.is_some() { Settlement::Fail } else { Settlement::GiveIn }
    }

    fn agreed(&mut self, request: Options<'_>) {
        self.remote = request.find(option::ADDRESS).and_then(address);
        if self.remote.is_some() {
            self.insisted = None;
        }
    }

    fn naked(&mut self, option: Opt<'_>) {
        let Some(named) = address(option) else { return };
        if option.kind == option::ADDRESS {
            if self.own_is_asked {
                self.own = Some(named);
            }
        } else if let Some(index) = SERVERS.iter().position(|&kind| kind == option.kind)
            && let Server::Asked(_) = self.servers[index]
        {
            self.servers[index] = Server::Asked(named);
        }
    }

    fn rejected(&mut self, kind: u8) {
        if kind == option::ADDRESS {
            // A peer that knows no option 3 learns our address otherwise; a client has none.
            self.own = self.own.filter(|_| !self.own_is_asked);
        } else if let Some(index) = SERVERS.iter().position(|&known| known == kind) {
            self.servers[index] = Server::None;
        }
    }
    /// A client that may not ask for its address has none.
    fn is_hopeless(&self) -> bool {
        self.own_is_asked && self.own.is_none()
    }
}
