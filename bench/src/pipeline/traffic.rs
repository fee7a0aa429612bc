//! Packets as the network would bring them: Ethernet frames of subscribers' GRE, and of plain IP for
//! subscribers, each of a random tunnel.
//!
//! Implements the sender's side of RFC 2637 §4.1 and RFC 3078 §7.1. Nothing here is measured.

use std::net::Ipv4Addr;
use std::sync::Arc;

use clap::ValueEnum;
use dataplane::frame::Frame;
use dataplane::mppe::{Cipher, SendBurst, SendState};
use protocol::gre;
use protocol::mppe::Header as MppeHeader;
use serde::{Deserialize, Serialize};

use super::network::{OURS, Subscriber};

/// Packets that are encrypted together.
const BURST: usize = 64;
/// UDP.
const INNER_PROTOCOL: u8 = 17;
const IP_HEADER: usize = 20;
/// The Ethernet header, for our MAC address.
const ETHERNET: [u8; 14] = {
    let [a, b, c, d, e, f] = OURS;
    [a, b, c, d, e, f, 2, 0, 0, 0, 1, 1, 0x08, 0x00]
};

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the subscribers.
    Uplink,
    /// To the subscribers.
    Downlink,
}

/// Makes packets of some tunnels.
#[derive(Debug)]
pub struct Generator {
    subscribers: Vec<Subscriber>,
    /// By subscriber, as the next two.
    sequences: Vec<u32>,
    sending: Vec<SendState>,
    burst: SendBurst,
    cipher: Cipher,
    /// Whether there is no MPPE at all.
    plain: bool,
    destinations: Arc<[Ipv4Addr]>,
    random: fastrand::Rng,
    /// What is inside of MPPE, for each packet of a burst.
    plaintexts: Vec<Vec<u8>>,
    packet: Vec<u8>,
}

impl Generator {
    /// A generator of packets of `subscribers`, of which there is one at least.
    pub fn new(
        subscribers: Vec<Subscriber>,
        destinations: Arc<[Ipv4Addr]>,
        cipher: Cipher,
        seed: u64,
    ) -> Self {
        Self {
            sequences: vec![0; subscribers.len()],
            sending: subscribers.iter().map(|one| SendState::new(&one.keys().0)).collect(),
            subscribers,
            burst: SendBurst::default(),
            cipher,
            plain: false,
            destinations,
            random: fastrand::Rng::with_seed(seed),
            plaintexts: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// Of tunnels that encrypt nothing.
    pub fn plain(self) -> Self {
        Self { plain: true, ..self }
    }

    pub fn set_cipher(&mut self, cipher: Cipher) {
        self.cipher = cipher;
    }

    /// Fills `frames` with packets whose inner IP packet has `length` octets.
    pub fn fill(&mut self, direction: Direction, length: usize, frames: &mut [Frame]) {
        for frames in frames.chunks_mut(BURST) {
            match direction {
                Direction::Uplink => self.uplink(length, frames),
                Direction::Downlink => self.downlink(length, frames),
            }
        }
    }

    fn uplink(&mut self, length: usize, frames: &mut [Frame]) {
        self.burst.clear();
        self.plaintexts.resize_with(frames.len(), Vec::new);
        let mut numbers = Vec::with_capacity(frames.len());
        for plaintext in &mut self.plaintexts {
            let number = self.random.usize(..self.subscribers.len());
            let destination = self.destinations[self.random.usize(..self.destinations.len())];
            plaintext.clear();
            plaintext.extend([0x00, 0x21]);
            let inner = self.subscribers[number].inner();
            ip_header(plaintext, length, INNER_PROTOCOL, inner, destination);
            plaintext.resize(2 + length, 0x5A);
            let slot = u32::try_from(number).unwrap_or(u32::MAX);
            self.burst.push(slot, self.sending.get_mut(number), plaintext.len());
            numbers.push(number);
        }
        if !self.plain {
            self.burst.plan();
            self.cipher.derive_keys(&mut self.burst);
            self.cipher.apply(&self.burst, &mut self.plaintexts[..]);
        }
        for (index, ((frame, data), number)) in
            frames.iter_mut().zip(&self.plaintexts).zip(numbers).enumerate()
        {
            let outer = self.subscribers[number].outer();
            let sequence = &mut self.sequences[number];
            *sequence = sequence.wrapping_add(1);
            let header = self.burst.header(index).map(MppeHeader::to_octets).unwrap_or_default();
            let encrypted = [0xFF, 0x03, 0x00, 0xFD, header[0], header[1]];
            let ppp = if self.plain { &encrypted[..2] } else { &encrypted };
            let gre = gre::Header {
                call_id: outer.own_call_id,
                payload_len: u16::try_from(ppp.len() + data.len()).unwrap_or(u16::MAX),
                sequence: Some(*sequence),
                acknowledgment: None,
            };
            let mut octets = [0; gre::MAX_HEADER_LEN];
            let len = gre.emit(&mut octets);
            let gre = &octets[..len];
            self.packet.clear();
            self.packet.extend(ETHERNET);
            let total = IP_HEADER + gre.len() + ppp.len() + data.len();
            ip_header(&mut self.packet, total, gre::IP_PROTOCOL, outer.peer, outer.local);
            self.packet.extend(gre);
            self.packet.extend(ppp);
            self.packet.extend(data);
            put(frame, &self.packet);
        }
        if !self.plain {
            self.burst.commit(&mut self.sending[..]);
        }
    }

    fn downlink(&mut self, length: usize, frames: &mut [Frame]) {
        for frame in frames {
            let subscriber = self.subscribers[self.random.usize(..self.subscribers.len())];
            let source = self.destinations[self.random.usize(..self.destinations.len())];
            self.packet.clear();
            self.packet.extend(ETHERNET);
            ip_header(&mut self.packet, length, INNER_PROTOCOL, source, subscriber.inner());
            self.packet.resize(ETHERNET.len() + length, 0x5A);
            put(frame, &self.packet);
        }
    }
}

fn put(frame: &mut Frame, packet: &[u8]) {
    let fits = frame.fill(packet);
    debug_assert!(fits, "lengths are those of packets on Ethernet");
}

/// Appends an IPv4 header without options for a packet of `total` octets (RFC 791 §3.1).
pub fn ip_header(into: &mut Vec<u8>, total: usize, protocol: u8, from: Ipv4Addr, to: Ipv4Addr) {
    const TTL: u8 = 64;
    let total = u16::try_from(total).unwrap_or(u16::MAX);
    let mut header = [0; IP_HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    (header[8], header[9]) = (TTL, protocol);
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xFFFF) + (sum >> 16);
    let [_, _, high, low] = (!((sum & 0xFFFF) + (sum >> 16))).to_be_bytes();
    (header[10], header[11]) = (high, low);
    into.extend(header);
}
