//! The guest's roads: packets come in by an interface and leave through tunnels, or without one.
//!
//! ```text
//!  core ──routes──┬─ ppp… ── encrypt ── void                       10.1.0.0/16
//!                 ├─ ppp… ── encrypt ── wire ╫ wire ── decrypt ── ppp… ──routes── sink   10.2.0.0/16
//!                 └─ sink                                          10.3.0.0/16
//! ```
//!
//! Left of the double line is the concentrator, right of it the subscribers, each in a network
//! namespace of the guest. `void` and `sink` are dummy interfaces: they count and drop.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{Read, Seek};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::netns::{self, Namespace};
use nix::net::if_::if_nametoindex;

use super::ppp::{Tunnel, Way};
use crate::pipeline::traffic::ip_header;

/// The most tunnels of a kind: Call IDs of the kinds are apart by as many.
pub const MOST: u16 = 1000;
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where what `void` drops would have gone.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const CORE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// A host of the core network.
const SENDER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// UDP.
const PROTOCOL: u8 = 17;
const ETHERNET: usize = 14;
/// Octets that encryption and the tunnel add to an inner packet: outer IPv4 20, GRE with a sequence
/// number 12 (RFC 2637 §4.1), PPP's address, control and protocol 4, MPPE's header 2, and the
/// encrypted protocol number 2 (RFC 3078 §3.1).
const OVERHEAD: u64 = 40;

/// What becomes of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Road {
    /// They are made, and dropped at once.
    Generator,
    /// They are routed from one interface to another.
    Plain,
    /// They are routed into tunnels and encrypted.
    Encrypt,
    /// They are decrypted again at the other end and routed from there.
    Roundtrip,
}

impl fmt::Display for Road {
    /// As it is parsed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl Road {
    pub const ALL: [Self; 4] = [Self::Generator, Self::Plain, Self::Encrypt, Self::Roundtrip];

    fn network(self) -> u8 {
        match self {
            Self::Encrypt => 1,
            Self::Roundtrip => 2,
            Self::Plain | Self::Generator => 3,
        }
    }

    /// Ethernet frames with an inner packet of `payload` octets, one for each tunnel.
    pub fn packets(self, tunnels: u16, payload: u16) -> Vec<Vec<u8>> {
        let packet = |tunnel: u16| {
            let mut packet = Vec::with_capacity(ETHERNET + usize::from(payload));
            packet.extend(CORE_MAC);
            packet.extend([2, 0, 0, 0, 1, 1, 0x08, 0x00]);
            ip_header(&mut packet, payload.into(), PROTOCOL, SENDER, self.address(tunnel));
            packet.resize(ETHERNET + usize::from(payload), 0x5A);
            packet
        };
        (0..tunnels).map(packet).collect()
    }

    /// Octets that leave the concentrator for an inner packet of `payload` octets.
    pub fn octets(self, payload: u16) -> u64 {
        let added = match self {
            Self::Generator => return 0,
            Self::Plain => 0,
            Self::Encrypt | Self::Roundtrip => OVERHEAD,
        };
        ETHERNET as u64 + added + u64::from(payload)
    }

    fn address(self, tunnel: u16) -> Ipv4Addr {
        let [high, low] = tunnel.to_be_bytes();
        Ipv4Addr::new(10, self.network(), high, low)
    }
}

/// Namespaces, interfaces and tunnels that are ready.
#[derive(Debug)]
pub struct Roads {
    concentrator: Namespace,
    core: u32,
    plain: Counter,
    discarded: Counter,
    wire: Counter,
    decrypted: Counter,
    _subscribers: Namespace,
    _tunnels: Vec<Tunnel>,
}

/// What a road has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// That came to its end.
    pub packets: u64,
    /// That left the concentrator.
    pub octets: u64,
}

impl Roads {
    /// Opens `tunnels` tunnels of each kind, at most [`MOST`]. Writes a file in `scratch`.
    pub fn open(tunnels: u16, scratch: &Path) -> Result<Self> {
        ensure!((1..=MOST).contains(&tunnels), "1 to {MOST} tunnels");
        let concentrator = Namespace::new("concentrator")?;
        let subscribers = Namespace::new("subscribers")?;
        netns::join((&concentrator, "wire"), (&subscribers, "wire"))?;
        let mut near = format!(
            "link add core address {} type dummy\nlink set core up\n\
             link add void type dummy\nlink set void up\naddress add {LOCAL}/24 dev void\n\
             address add {NEAR}/24 dev wire\n",
            CORE_MAC.map(|octet| format!("{octet:02x}")).join(":")
        );
        let mut far = format!("address add {FAR}/24 dev wire\n");
        sink(&mut near, Road::Plain)?;
        sink(&mut far, Road::Roundtrip)?;
        apply(&concentrator, scratch, &near)?;
        apply(&subscribers, scratch, &far)?;
        // The neighbours know each other before tunnels do.
        concentrator.exec("ping", &["-c", "1", "-W", "5", &FAR.to_string()])?;

        let ends = |set: u16, index: u16| 1 + set * MOST + index;
        let mut sending = concentrator.run(|| {
            let discarded = (0..tunnels)
                .map(|index| Tunnel::open((LOCAL, ends(0, index)), (NOBODY, ends(0, index))));
            let received = (0..tunnels)
                .map(|index| Tunnel::open((NEAR, ends(1, index)), (FAR, ends(2, index))));
            let opened: std::io::Result<Vec<_>> = discarded.chain(received).collect();
            opened.context("opening tunnels of the kernel's")
        })?;
        let mut receiving = subscribers.run(|| {
            let opened: std::io::Result<Vec<_>> = (0..tunnels)
                .map(|index| Tunnel::open((FAR, ends(2, index)), (NEAR, ends(1, index))))
                .collect();
            opened.context("opening their far ends")
        })?;

        let (mut near, mut far) = (String::new(), String::new());
        let roads = [Road::Encrypt, Road::Roundtrip];
        let addresses = roads.iter().flat_map(|road| (0..tunnels).map(|index| road.address(index)));
        for (tunnel, address) in sending.iter().zip(addresses) {
            let number = tunnel.number();
            writeln!(near, "link set ppp{number} up\nroute add {address}/32 dev ppp{number}")?;
        }
        for tunnel in &receiving {
            writeln!(far, "link set ppp{} up", tunnel.number())?;
        }
        apply(&concentrator, scratch, &near)?;
        apply(&subscribers, scratch, &far)?;
        for (index, tunnel) in receiving.iter().enumerate() {
            let key = key(usize::from(tunnels) + index);
            tunnel.set_key(Way::Receive, key).context("MPPE of ppp_mppe")?;
        }
        for (index, tunnel) in sending.iter_mut().enumerate() {
            tunnel.set_key(Way::Send, key(index)).context("MPPE of ppp_mppe")?;
            tunnel.begin()?;
        }
        let core = concentrator.run(|| Ok(if_nametoindex("core")?))?;
        let counter = |namespace: &Namespace, link| namespace.run(|| Counter::open(link));
        let (plain, discarded) = (counter(&concentrator, "sink")?, counter(&concentrator, "void")?);
        let (wire, decrypted) = (counter(&concentrator, "wire")?, counter(&subscribers, "sink")?);
        sending.append(&mut receiving);
        Ok(Self {
            concentrator,
            core,
            plain,
            discarded,
            wire,
            decrypted,
            _subscribers: subscribers,
            _tunnels: sending,
        })
    }

    /// The concentrator's namespace, and the interface of it that packets come in by.
    pub fn entry(&self) -> (&Namespace, u32) {
        (&self.concentrator, self.core)
    }

    /// What a road has carried so far.
    pub fn carried(&mut self, road: Road) -> Result<Carried> {
        match road {
            Road::Generator => Ok(Carried { packets: 0, octets: 0 }),
            Road::Plain => self.plain.read(),
            Road::Encrypt => self.discarded.read(),
            Road::Roundtrip => {
                let Carried { octets, .. } = self.wire.read()?;
                Ok(Carried { octets, ..self.decrypted.read()? })
            }
        }
    }
}

/// Where packets of a road that are plain again end.
fn sink(batch: &mut String, road: Road) -> Result<()> {
    let network = road.network();
    Ok(write!(
        batch,
        "link add sink type dummy\nlink set sink up\nroute add 10.{network}.0.0/16 dev sink\n"
    )?)
}

/// Has `ip` do what a list says, in a namespace that forwards from now on.
fn apply(namespace: &Namespace, scratch: &Path, list: &str) -> Result<()> {
    let path = scratch.join("batch");
    std::fs::write(&path, list).with_context(|| format!("writing {}", path.display()))?;
    namespace.exec("ip", &["-batch", &path.to_string_lossy()])?;
    namespace.sysctl("net/ipv4/ip_forward", "1")
}

/// A key of 128 bits; each tunnel has its own.
fn key(tunnel: usize) -> [u8; 16] {
    let octets = tunnel.to_be_bytes();
    std::array::from_fn(|at| octets[at % octets.len()] ^ 0xA5)
}

/// What the kernel says that an interface has sent.
#[derive(Debug)]
struct Counter {
    /// /proc/net/dev of the interface's namespace, which stays that of whoever opened it.
    file: File,
    link: &'static str,
    text: String,
}

impl Counter {
    fn open(link: &'static str) -> Result<Self> {
        let file = File::open("/proc/thread-self/net/dev").context("opening /proc/net/dev")?;
        Ok(Self { file, link, text: String::new() })
    }

    fn read(&mut self) -> Result<Carried> {
        self.text.clear();
        self.file.rewind()?;
        self.file.read_to_string(&mut self.text)?;
        sent(&self.text, self.link).with_context(|| format!("{} is gone", self.link))
    }
}

/// Octets and packets sent are the ninth and tenth value of /proc/net/dev.
fn sent(text: &str, link: &str) -> Option<Carried> {
    let line = text.lines().find_map(|line| {
        let (name, values) = line.split_once(':')?;
        (name.trim() == link).then_some(values)
    })?;
    let mut values = line.split_whitespace().skip(8).map(str::parse);
    let (octets, packets) = (values.next()?.ok()?, values.next()?.ok()?);
    Some(Carried { packets, octets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interface_has_sent_is_read() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets|bytes packets\n\
             wirex: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
              wire: 10 20 0 0 0 0 0 0 3000 30 0 0 0 0 0 0\n";
        assert_eq!(sent(text, "wire"), Some(Carried { packets: 30, octets: 3000 }));
        assert_eq!(sent(text, "sink"), None);
    }

    #[test]
    fn keys_and_addresses_of_tunnels_differ() {
        assert_ne!(key(1), key(2));
        assert_ne!(key(1), key(257));
        assert_eq!(Road::Roundtrip.address(258), Ipv4Addr::new(10, 2, 1, 2));
        let packets = Road::Plain.packets(2, 64);
        assert_eq!((packets.len(), packets[1].len()), (2, 78));
        assert_ne!(packets[0], packets[1]);
    }
}
