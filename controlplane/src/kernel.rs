//! Addresses and routes of the kernel, by netlink: what a session needs beside the data plane.
//!
//! Touches only the TUN interface, and routes that its caller asks for. No sysctl.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;

use futures_util::TryStreamExt;
use protocol::ipv6::Ipv6Prefix;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use serde::{Deserialize, Serialize};

/// Marks what we may have left when we were killed, so that it can be told from the operator's
/// (rtnetlink(7): numbers above 4 mean nothing to the kernel).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(112);

/// Why the kernel was not told.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct KernelError {
    what: String,
    reason: String,
}

impl KernelError {
    fn new(what: impl Into<String>, reason: &impl ToString) -> Self {
        Self { what: what.into(), reason: reason.to_string() }
    }
}

/// The kernel's addresses and routes. Clones share one netlink socket.
#[derive(Debug, Clone)]
pub struct Kernel(Handle);

/// A prefix as the kernel routes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    /// Network address.
    pub address: Ipv4Addr,
    /// Length in bits, 0 to 32.
    pub length: u8,
}

impl Destination {
    /// The prefix of this length that an address lies in.
    #[must_use]
    pub const fn around(address: Ipv4Addr, length: u8) -> Self {
        let length = if length > 32 { 32 } else { length };
        let host = match u32::MAX.checked_shr(length as u32) {
            Some(host) => host,
            None => 0,
        };
        Self { address: Ipv4Addr::from_bits(address.to_bits() & !host), length }
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        if self.length < other.length {
            self.contains(other.address)
        } else {
            other.contains(self.address)
        }
    }

    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let host = u32::MAX.checked_shr(self.length.into()).unwrap_or(0);
        (self.address.to_bits() ^ address.to_bits()) & !host == 0
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl std::str::FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no destination: write 10.0.0.0/8 or 10.1.2.3");
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 32).ok_or_else(wrong)?;
        let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
        if address.to_bits() & host != 0 {
            return Err(format!("`{text}` has bits beyond its prefix length"));
        }
        Ok(Self { address, length })
    }
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

/// Where packets to an address go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The next router, if there is one.
    pub gateway: Option<Ipv4Addr>,
    /// By this interface.
    pub interface: u32,
}

impl Kernel {
    /// Opens a netlink socket, served by a task of this runtime.
    ///
    /// # Errors
    /// If the system refuses the socket.
    pub fn connect() -> Result<Self, KernelError> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|error| KernelError::new("netlink socket", &error))?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Gives an interface an address, with its peer's for a point-to-point link. One that it has
    /// already stays.
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub async fn add_address(
        &self,
        interface: &str,
        local: Ipv4Addr,
        peer: Option<Ipv4Addr>,
    ) -> Result<(), KernelError> {
        let index = index(interface)?;
        let mut request = self.0.address().add(index, IpAddr::V4(local), 32).replace();
        if let Some(peer) = peer {
            let attributes = &mut request.message_mut().attributes;
            attributes.retain(|attribute| {
                !matches!(attribute, AddressAttribute::Address(_) | AddressAttribute::Broadcast(_))
            });
            attributes.push(AddressAttribute::Address(IpAddr::V4(peer)));
        }
        request
            .execute()
            .await
            .map_err(|error| KernelError::new(format!("address {local} on {interface}"), &error))
    }

    /// Subnets that an interface is in.
    ///
    /// # Errors
    /// If there is no such interface or the kernel does not say.
    pub async fn subnets(&self, interface: &str) -> Result<Vec<Destination>, KernelError> {
        let failed = |error: &rtnetlink::Error| {
            KernelError::new(format!("addresses of {interface}"), &error)
        };
        let mut addresses =
            pin!(self.0.address().get().set_link_index_filter(index(interface)?).execute());
        let mut subnets = Vec::new();
        while let Some(found) = addresses.try_next().await.map_err(|error| failed(&error))? {
            let length = found.header.prefix_len;
            let prefixes = found.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Address(IpAddr::V4(address)) => {
                    Some(Destination::around(*address, length))
                }
                _ => None,
            });
            subnets.extend(prefixes);
        }
        Ok(subnets)
    }

    /// Has the kernel answer ARP requests for an address on an interface (RFC 1027).
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub async fn proxy_arp(&self, address: Ipv4Addr, interface: &str) -> Result<(), KernelError> {
        let request = self.0.neighbours().add(index(interface)?, IpAddr::V4(address));
        let mut request =
            request.state(NeighbourState::None).flags(NeighbourFlags::Proxy).replace();
        request.message_mut().attributes.push(NeighbourAttribute::Protocol(PROTOCOL));
        let what = || format!("proxy ARP for {address} on {interface}");
        request.execute().await.map_err(|error| KernelError::new(what(), &error))
    }

    /// Ends all that [`Self::proxy_arp`] began on an interface, also before we were killed. Nothing
    /// where there is no such interface.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn unproxy_all(&self, interface: &str) -> Result<(), KernelError> {
        let Ok(index) = index(interface) else { return Ok(()) };
        let failed = |error| KernelError::new(format!("proxy ARP on {interface}"), &error);
        let proxies =
            self.0.neighbours().get().proxies().set_address_family(AddressFamily::Inet).execute();
        let left: Vec<_> = proxies.try_collect().await.map_err(failed)?;
        for entry in left.into_iter().filter(|entry| entry.header.ifindex == index) {
            if entry.attributes.contains(&NeighbourAttribute::Protocol(PROTOCOL)) {
                self.0.neighbours().del(entry).execute().await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Ends what [`Self::proxy_arp`] began.
    ///
    /// # Errors
    /// If there is no such interface or no such entry.
    pub async fn unproxy_arp(&self, address: Ipv4Addr, interface: &str) -> Result<(), KernelError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = index(interface)?;
        message.header.flags = NeighbourFlags::Proxy;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
        let what = || format!("proxy ARP for {address} on {interface}");
        let request = self.0.neighbours().del(message);
        request.execute().await.map_err(|error| KernelError::new(what(), &error))
    }

    /// Takes an address from an interface, and the route to its peer with it.
    ///
    /// # Errors
    /// If there is no such interface, or it does not have the address.
    pub async fn remove_address(
        &self,
        interface: &str,
        local: Ipv4Addr,
    ) -> Result<(), KernelError> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = 32;
        message.header.index = index(interface)?;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(local)));
        self.0
            .address()
            .del(message)
            .execute()
            .await
            .map_err(|error| KernelError::new(format!("address {local} on {interface}"), &error))
    }

    /// Sets an interface's MTU and brings it up.
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub async fn bring_up(&self, interface: &str, mtu: u16) -> Result<(), KernelError> {
        let message = LinkUnspec::new_with_index(index(interface)?).mtu(mtu.into()).up().build();
        self.change_link(interface, message).await
    }

    /// Puts an interface into a bridge, with this hardware address, and brings it up.
    ///
    /// # Errors
    /// If there is no such interface or bridge, or the kernel refuses.
    pub async fn attach(
        &self,
        interface: &str,
        bridge: &str,
        address: [u8; 6],
    ) -> Result<(), KernelError> {
        let message = LinkUnspec::new_with_index(index(interface)?)
            .address(address.to_vec())
            .controller(index(bridge)?)
            .up()
            .build();
        self.change_link(interface, message).await
    }

    async fn change_link(&self, interface: &str, message: LinkMessage) -> Result<(), KernelError> {
        let changed = self.0.link().change(message).execute().await;
        changed.map_err(|error| KernelError::new(format!("interface {interface}"), &error))
    }

    /// Routes a prefix to an interface. With an MTU, the kernel fragments what is larger or says
    /// so to its sender, also when it forwards.
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub async fn route_to_interface(
        &self,
        destination: Destination,
        interface: &str,
        mtu: Option<u16>,
    ) -> Result<(), KernelError> {
        let hop = Hop { gateway: None, interface: index(interface)? };
        let mut route = route(destination, hop);
        if let Some(mtu) = mtu {
            route.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu.into())]));
        }
        self.replace(destination, route).await
    }

    /// Takes the route of a prefix to an interface away.
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub async fn unroute_from_interface(
        &self,
        destination: Destination,
        interface: &str,
    ) -> Result<(), KernelError> {
        let hop = Hop { gateway: None, interface: index(interface)? };
        self.delete(destination, route(destination, hop)).await
    }

    /// Routes a prefix to an interface with a metric: of several routes to a prefix the lowest
    /// counts. Says whether it was added: where there is a route to that prefix with that metric,
    /// which is somebody else's, it stays as it is.
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub async fn route_by(
        &self,
        destination: Destination,
        interface: &str,
        metric: u32,
    ) -> Result<bool, KernelError> {
        let route = by_interface(destination, interface, metric)?;
        let added = self.0.route().add(route).execute().await;
        unless_there(added, || format!("route to {destination}"))
    }

    /// The same, unless the kernel has a route to that prefix with that metric: that one stays.
    /// Says whether the route was added; `false` if there is one by this very interface.
    ///
    /// # Errors
    /// If there is no such interface, or the kernel refuses or has another route.
    pub async fn route_if_new(
        &self,
        destination: Destination,
        interface: &str,
        metric: u32,
    ) -> Result<bool, KernelError> {
        let route = by_interface(destination, interface, metric)?;
        let Err(error) = self.0.route().add(route).execute().await else { return Ok(true) };
        let hop = self.hop_to(destination.address).await;
        if hop.is_ok_and(|hop| index(interface).is_ok_and(|index| hop.interface == index)) {
            return Ok(false);
        }
        Err(KernelError::new(format!("route to {destination}"), &error))
    }

    /// Takes away what [`Self::route_by`] added.
    ///
    /// # Errors
    /// If there is no such interface or no such route.
    pub async fn unroute_by(
        &self,
        destination: Destination,
        interface: &str,
        metric: u32,
    ) -> Result<(), KernelError> {
        self.delete(destination, by_interface(destination, interface, metric)?).await
    }

    /// Keeps the way to an address by a hop. A route to it that there is already stays: it is the
    /// operator's, or one that we left when we were killed.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn pin(&self, address: Ipv4Addr, hop: Hop) -> Result<(), KernelError> {
        let (destination, route) = pinned(address, hop);
        let added = self.0.route().add(route).execute().await;
        unless_there(added, || format!("route to {destination}")).map(|_| ())
    }

    /// Takes away what [`Self::pin`] added, now or before we were killed, and nothing else.
    ///
    /// # Errors
    /// If there is no such route.
    pub async fn unpin(&self, address: Ipv4Addr, hop: Hop) -> Result<(), KernelError> {
        let (destination, route) = pinned(address, hop);
        self.delete(destination, route).await
    }

    async fn replace(
        &self,
        destination: Destination,
        route: RouteMessage,
    ) -> Result<(), KernelError> {
        self.0
            .route()
            .add(route)
            .replace()
            .execute()
            .await
            .map_err(|error| KernelError::new(format!("route to {destination}"), &error))
    }

    async fn delete(
        &self,
        destination: Destination,
        route: RouteMessage,
    ) -> Result<(), KernelError> {
        self.0
            .route()
            .del(route)
            .execute()
            .await
            .map_err(|error| KernelError::new(format!("route to {destination}"), &error))
    }

    /// Gives an interface an IPv6 address; one that it has already stays.
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub async fn add_ipv6_address(
        &self,
        interface: &str,
        address: Ipv6Addr,
    ) -> Result<(), KernelError> {
        let request = self.0.address().add(index(interface)?, IpAddr::V6(address), 128).replace();
        let what = || format!("address {address} on {interface}");
        request.execute().await.map_err(|error| KernelError::new(what(), &error))
    }

    /// Routes an IPv6 prefix to an interface, in place of the route that there was.
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub async fn route_ipv6(&self, prefix: Ipv6Prefix, interface: &str) -> Result<(), KernelError> {
        let request = self.0.route().add(route_ipv6(prefix, index(interface)?)).replace();
        let what = || format!("route to {prefix}");
        request.execute().await.map_err(|error| KernelError::new(what(), &error))
    }

    /// Takes away what [`Self::route_ipv6`] added.
    ///
    /// # Errors
    /// If there is no such interface or no such route.
    pub async fn unroute_ipv6(
        &self,
        prefix: Ipv6Prefix,
        interface: &str,
    ) -> Result<(), KernelError> {
        let request = self.0.route().del(route_ipv6(prefix, index(interface)?));
        let what = || format!("route to {prefix}");
        request.execute().await.map_err(|error| KernelError::new(what(), &error))
    }

    /// Where packets to this address go now.
    ///
    /// # Errors
    /// If they go nowhere.
    pub async fn hop_to(&self, address: Ipv4Addr) -> Result<Hop, KernelError> {
        let failed = |reason: &dyn ToString| {
            KernelError::new(format!("route to {address}"), &reason.to_string())
        };
        let asked = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build();
        let mut answers = pin!(self.0.route().get(asked).execute());
        let answer = answers.try_next().await.map_err(|error| failed(&error))?;
        let mut hop = Hop { gateway: None, interface: 0 };
        for attribute in answer.ok_or_else(|| failed(&"there is none"))?.attributes {
            match attribute {
                RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => hop.gateway = Some(gateway),
                RouteAttribute::Oif(interface) => hop.interface = interface,
                _ => {}
            }
        }
        Ok(hop)
    }
}

/// Whether it was added, and not there already.
fn unless_there(
    added: Result<(), rtnetlink::Error>,
    what: impl FnOnce() -> String,
) -> Result<bool, KernelError> {
    match added {
        Ok(()) => Ok(true),
        Err(rtnetlink::Error::NetlinkError(message))
            if message.to_io().kind() == io::ErrorKind::AlreadyExists =>
        {
            Ok(false)
        }
        Err(error) => Err(KernelError::new(what(), &error)),
    }
}

/// A route that says by its protocol whose it is: the kernel deletes no other for it.
fn pinned(address: Ipv4Addr, hop: Hop) -> (Destination, RouteMessage) {
    let destination = Destination { address, length: 32 };
    let mut route = route(destination, hop);
    route.header.protocol = PROTOCOL;
    (destination, route)
}

fn route(destination: Destination, hop: Hop) -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination.address, destination.length)
        .output_interface(hop.interface);
    match hop.gateway {
        Some(gateway) => builder.gateway(gateway).build(),
        None => builder.scope(RouteScope::Link).build(),
    }
}

fn route_ipv6(prefix: Ipv6Prefix, interface: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(prefix.address(), prefix.length())
        .output_interface(interface)
        .build()
}

fn by_interface(
    destination: Destination,
    interface: &str,
    metric: u32,
) -> Result<RouteMessage, KernelError> {
    let hop = Hop { gateway: None, interface: index(interface)? };
    let mut route = route(destination, hop);
    if metric != 0 {
        route.attributes.push(RouteAttribute::Priority(metric));
    }
    Ok(route)
}

fn index(interface: &str) -> Result<u32, KernelError> {
    nix::net::if_::if_nametoindex(OsStr::new(interface)).map_err(|error| {
        let error: io::Error = error.into();
        KernelError::new(format!("interface {interface}"), &error)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn destinations_are_prefixes_without_host_bits() {
        let parse = |text: &str| text.parse::<Destination>().map(|found| found.to_string());
        assert_eq!(parse("10.0.0.0/8"), Ok("10.0.0.0/8".to_owned()));
        assert_eq!(parse("10.1.2.3"), Ok("10.1.2.3/32".to_owned()));
        assert_eq!(parse("0.0.0.0/0"), Ok("0.0.0.0/0".to_owned()));
        for wrong in ["", "192.0.2", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "ten", "::/0"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_holds_its_addresses_and_no_others() {
        let holds = |prefix: &str, address: &str| {
            prefix.parse::<Destination>().unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("192.0.2.0/24", "192.0.2.255"));
        assert!(!holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("192.0.2.7", "192.0.2.7"));
        assert!(!holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("0.0.0.0/0", "255.255.255.255"));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(address: u32, length in 0_u8..=32) {
            let destination = Destination::around(address.into(), length);
            prop_assert!(destination.contains(address.into()));
            prop_assert_eq!(destination.to_string().parse(), Ok(destination));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Destination>();
        }
    }
}
