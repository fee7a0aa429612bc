//! An operator's network: subscribers, the internet between, the concentrator, its core.
//! Addresses of the outer path are those that RFC 5737 and RFC 2544 keep for such use.
//! Never decides what the concentrator runs; [`crate::server`] does.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::impair::{Choice, Hop, Impairment};
use crate::netns::{self, Namespace};

/// The concentrator's address towards subscribers.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A host in the core.
pub const CORE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// What a subscriber routes into its tunnel to reach the core.
pub const CORE_PREFIX: &str = "203.0.113.0/24";
/// The concentrator's inner address, which all tunnels share: the default profile's.
pub const TUNNEL_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// What the core routes to the concentrator: the pool of the default profile.
pub const POOL_PREFIX: &str = "10.99.0.0/20";
/// The concentrator's link towards subscribers.
pub const ACCESS_LINK: &str = "access";
/// The concentrator's link towards the core.
pub const CORE_LINK: &str = "core";

const INTERNET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const CORE_GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The namespaces that all subscribers share.
#[derive(Debug)]
pub struct Network {
    /// Routes between subscribers and the concentrator.
    pub internet: Namespace,
    /// Where the daemon runs.
    pub concentrator: Namespace,
    /// Where subscribers' packets go.
    pub core: Namespace,
}

impl Network {
    /// Makes the three namespaces and their links. The concentrator forwards.
    ///
    /// # Errors
    /// Without root.
    pub fn new() -> Result<Self> {
        let internet = Namespace::new("internet")?;
        let concentrator = Namespace::new("concentrator")?;
        let core = Namespace::new("core")?;
        // Two queues: each of two workers has its own.
        netns::join_with((&internet, "concentrator"), (&concentrator, ACCESS_LINK), 2)?;
        netns::join_with((&core, "concentrator"), (&concentrator, CORE_LINK), 2)?;
        internet.address("concentrator", &format!("{INTERNET}/30"))?;
        concentrator.address(ACCESS_LINK, &format!("{SERVER}/30"))?;
        concentrator.address(CORE_LINK, &format!("{CORE_GATEWAY}/24"))?;
        core.address("concentrator", &format!("{CORE}/24"))?;
        internet.sysctl("net/ipv4/ip_forward", "1")?;
        concentrator.sysctl("net/ipv4/ip_forward", "1")?;
        concentrator.route("198.18.0.0/15", INTERNET)?;
        core.route(POOL_PREFIX, CORE_GATEWAY)?;
        Ok(Self { internet, concentrator, core })
    }

    /// Adds a subscriber in a namespace of its own, joined to the internet by its link `wan`.
    ///
    /// # Errors
    /// When the number is taken.
    pub fn subscriber(&self, number: u8) -> Result<Namespace> {
        let subscriber = Namespace::new(&format!("subscriber {number}"))?;
        let link = format!("subscriber{number}");
        netns::join((&self.internet, &link), (&subscriber, "wan"))?;
        self.address(&subscriber, number)?;
        Ok(subscriber)
    }

    fn address(&self, subscriber: &Namespace, number: u8) -> Result<()> {
        let link = format!("subscriber{number}");
        self.internet.address(&link, &format!("{}/30", gateway_of(number)))?;
        subscriber.address("wan", &format!("{}/30", address_of(number)))?;
        subscriber.route("default", gateway_of(number))
    }

    /// As [`Network::subscriber`], with a bad path between it and the internet: `impairment` both
    /// ways, by `seed`.
    ///
    /// # Errors
    /// When the number is taken.
    pub fn subscriber_on_bad_path(
        &self,
        number: u8,
        impairment: Impairment,
        seed: u64,
    ) -> Result<(Namespace, Hop)> {
        let subscriber = Namespace::new(&format!("subscriber {number}"))?;
        let path = Namespace::new(&format!("bad path of subscriber {number}"))?;
        let link = format!("subscriber{number}");
        netns::join((&self.internet, &link), (&path, "internet"))?;
        netns::join((&path, "subscriber"), (&subscriber, "wan"))?;
        self.address(&subscriber, number)?;
        let hop = Hop::start(&path, ["subscriber", "internet"], [impairment; 2], seed)?;
        Ok((subscriber, hop))
    }

    /// As [`Network::guest_link`], with a path on which the packets are lost that `chosen` says: of
    /// those from the guest, and of those to it. The guest's link is `guest` in the namespace that
    /// is returned.
    ///
    /// # Errors
    /// When the number is taken.
    pub fn guest_link_losing(&self, number: u8, chosen: [Choice; 2]) -> Result<(Namespace, Hop)> {
        let path = Namespace::new(&format!("path of guest {number}"))?;
        let link = format!("subscriber{number}");
        netns::join((&self.internet, &link), (&path, "internet"))?;
        netns::join((&path, "subscriber"), (&path, "guest"))?;
        self.internet.address(&link, &format!("{}/30", gateway_of(number)))?;
        let hop = Hop::start_losing(&path, ["subscriber", "internet"], chosen)?;
        Ok((path, hop))
    }

    /// Adds the link of a guest that is no namespace of ours: its far end stays in the internet's
    /// namespace without an address, under the name that is returned.
    ///
    /// # Errors
    /// When the number is taken.
    pub fn guest_link(&self, number: u8) -> Result<String> {
        let link = format!("subscriber{number}");
        let guest = format!("guest{number}");
        netns::join((&self.internet, &link), (&self.internet, &guest))?;
        self.internet.address(&link, &format!("{}/30", gateway_of(number)))?;
        Ok(guest)
    }
}

/// Outer address of a subscriber.
pub fn address_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, 2)
}

/// Where a subscriber sends what is not its own.
pub fn gateway_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, 1)
}
