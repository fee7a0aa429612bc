//! The ways to encrypt that are compared.

use anyhow::{Context, Result};
use dataplane::mppe::{Engine, Kernel, Payloads, ReceiveBurst, ReceiveState, SendBurst, SendState};
use protocol::mppe::{CoherencyCount, Header, SessionKey, StartKey, Strength};
use protocol::time::Instant;

use super::cipher::{Cipher, RustCrypto};
use super::openssl::LibCrypto;

/// How the name of a contestant ends that sends half of its packets and receives the others.
pub const BOTH: &str = "both";

/// One way to encrypt a burst.
pub trait Contestant {
    fn name(&self) -> String;
    /// Encrypts (or decrypts, which is the same work) one burst.
    fn burst(&mut self);
}

/// The packets of a burst: tunnel and length of each.
#[derive(Debug, Clone)]
pub struct Load {
    pub tunnels: u32,
    pub packets: Vec<(u32, usize)>,
}

impl Load {
    /// `payload`: octets, `imix` or `uniform`.
    pub fn new(payload: &str, tunnels: u32, batch: usize) -> Self {
        // Lengths in an order that no contestant can profit from, the same in every run.
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Below an usize.
            ((random >> 33) % below) as usize
        };
        let packets = (0..batch)
            .zip((0..tunnels).cycle())
            .map(|(_, tunnel)| {
                let length = match payload {
                    "imix" => [40, 40, 40, 40, 40, 40, 40, 576, 576, 576, 576, 1400][next(12)],
                    "uniform" => 1 + next(1500),
                    length => length.parse().unwrap_or(0),
                };
                (tunnel, length)
            })
            .collect();
        Self { tunnels, packets }
    }

    fn initial_keys(&self) -> impl Iterator<Item = SessionKey> {
        (0..self.tunnels).map(|tunnel| {
            let mut start = [0x5A; 16];
            start[..4].copy_from_slice(&tunnel.to_be_bytes());
            SessionKey::initial(&StartKey::new(&start, Strength::Bits128))
        })
    }

    fn payloads(&self) -> Buffers {
        Buffers(self.packets.iter().map(|&(_, length)| vec![0; length]).collect())
    }
}

/// All that can run on this machine.
///
/// # Errors
/// When an engine does not start.
pub fn all(load: &Load) -> Result<Vec<Box<dyn Contestant>>> {
    let mut all: Vec<Box<dyn Contestant>> = vec![Box::new(OneByOne {
        load: load.clone(),
        states: load.initial_keys().map(|key| Chain::new(&key)).collect(),
        payloads: load.payloads(),
        cipher: RustCrypto,
    })];
    all.extend(LibCrypto::load().map(|cipher| {
        Box::new(OneByOne {
            load: load.clone(),
            states: load.initial_keys().map(|key| Chain::new(&key)).collect(),
            payloads: load.payloads(),
            cipher,
        }) as Box<dyn Contestant>
    }));
    for kernel in Kernel::available() {
        all.push(Box::new(Send::new(load, kernel)?));
        all.push(Box::new(Both::new(load, kernel)?));
    }
    Ok(all)
}

struct Buffers(Vec<Vec<u8>>);

impl Payloads for Buffers {
    fn payload(&mut self, packet: usize) -> &mut [u8] {
        &mut self.0[packet]
    }
}

/// The obvious way: one packet after the other.
struct OneByOne<C> {
    load: Load,
    states: Vec<Chain>,
    payloads: Buffers,
    cipher: C,
}

struct Chain {
    start: [u8; 16],
    key: [u8; 16],
}

impl Chain {
    fn new(key: &SessionKey) -> Self {
        Self { start: octets(key.start_key().as_bytes()), key: octets(key.as_bytes()) }
    }
}

/// The first 16.
fn octets(of: &[u8]) -> [u8; 16] {
    let mut octets = [0; 16];
    octets.copy_from_slice(&of[..16]);
    octets
}

impl<C: Cipher> Contestant for OneByOne<C> {
    fn name(&self) -> String {
        self.cipher.name().to_owned()
    }

    fn burst(&mut self) {
        for (&(tunnel, _), payload) in self.load.packets.iter().zip(&mut self.payloads.0) {
            let chain = &mut self.states[tunnel as usize];
            let digest = self.cipher.sha1([&chain.start, &[0; 40], &chain.key, &[0xF2; 40]]);
            let interim = octets(&digest);
            chain.key = interim;
            self.cipher.rc4(&interim, &mut chain.key);
            self.cipher.rc4(&chain.key, payload);
        }
    }
}

/// The engine, encrypting.
struct Send {
    load: Load,
    engine: Engine,
    burst: SendBurst,
    states: Vec<SendState>,
    payloads: Buffers,
}

impl Send {
    fn new(load: &Load, kernel: Kernel) -> Result<Self> {
        Ok(Self {
            load: load.clone(),
            engine: Engine::with_kernel(kernel).context("a kernel that is available")?,
            burst: SendBurst::default(),
            states: load.initial_keys().map(|key| SendState::new(&key)).collect(),
            payloads: load.payloads(),
        })
    }

    fn push_all(&mut self) {
        self.burst.clear();
        for &(tunnel, length) in &self.load.packets {
            self.burst.push(tunnel, self.states.get_mut(tunnel as usize), length);
        }
        self.burst.plan();
    }

    fn apply_all(&mut self) {
        self.engine.apply(&self.burst, &mut self.payloads);
        self.burst.commit(self.states.as_mut_slice());
    }
}

impl Contestant for Send {
    fn name(&self) -> String {
        self.engine.kernel().to_string()
    }

    fn burst(&mut self) {
        self.push_all();
        self.engine.derive_keys(&mut self.burst);
        self.apply_all();
    }
}

/// The engine, half of the packets received and half of them sent, by the same tunnels.
struct Both {
    send: Send,
    burst: ReceiveBurst,
    states: Vec<ReceiveState>,
    packets: Vec<(u32, usize)>,
    payloads: Buffers,
    /// Number of the next packet that each tunnel receives.
    next: Vec<u32>,
}

impl Both {
    fn new(load: &Load, kernel: Kernel) -> Result<Self> {
        let mut load = load.clone();
        let mut received = load.clone();
        received.packets = load.packets.split_off(load.packets.len() / 2);
        Ok(Self {
            send: Send::new(&load, kernel)?,
            burst: ReceiveBurst::default(),
            states: load
                .initial_keys()
                .map(|key| ReceiveState::new(&key, 0, Instant::ORIGIN))
                .collect(),
            payloads: received.payloads(),
            packets: received.packets,
            next: vec![0; load.tunnels as usize],
        })
    }
}

impl Contestant for Both {
    fn name(&self) -> String {
        format!("{} {BOTH}", self.send.engine.kernel())
    }

    fn burst(&mut self) {
        self.burst.clear();
        for &(tunnel, length) in &self.packets {
            let next = &mut self.next[tunnel as usize];
            let header = Header::stateless(CoherencyCount::of_packet((*next).into()));
            *next = next.wrapping_add(1);
            let state = self.states.get_mut(tunnel as usize);
            self.burst.push(tunnel, state, *next, header, length);
        }
        self.burst.plan(Instant::ORIGIN, self.states.as_mut_slice());
        self.send.push_all();
        self.send.engine.derive_keys_of_both(&mut self.burst, &mut self.send.burst);
        self.send.engine.apply(&self.burst, &mut self.payloads);
        for packet in 0..self.packets.len() {
            self.burst.accept(packet);
        }
        self.burst.commit(self.states.as_mut_slice());
        self.send.apply_all();
    }
}
