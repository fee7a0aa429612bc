//! Stateful MPPE, one packet at a time: the form that faster engines are tested against.
//!
//! Implements RFC 3078 §6, §7.2 and §8.2. One keystream runs on over the packets between two key
//! changes, so packets are taken in order only, and nothing moves for a packet that is not
//! believed.

use thiserror::Error;
use zeroize::Zeroizing;

use super::{CoherencyCount, Header, SessionKey};

/// Why a packet was not decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// Bit D is clear: its data is not encrypted (RFC 3078 §3.1).
    #[error("MPPE header without the encrypted bit")]
    NotEncrypted,
    /// Packets are missing before it: a Reset-Request is due (RFC 3078 §8.2).
    #[error("a packet was lost: the keystream is out of step")]
    Lost,
    /// The peer was asked to start again and has not yet (RFC 3078 §8.2).
    #[error("out of step until a flushed packet comes")]
    Discarded,
    /// It was overtaken by later ones.
    #[error("a late packet")]
    Late,
    /// It does not decrypt to what a packet looks like.
    #[error("no packet comes out of it")]
    Unbelievable,
}

/// A place in a keystream: its key, and the octets of it that were used.
#[derive(Debug, Clone)]
struct Place {
    key: SessionKey,
    used: usize,
}

impl Place {
    /// The start of a key's keystream, as if its tables were initialised now.
    const fn start(key: SessionKey) -> Self {
        Self { key, used: 0 }
    }

    /// Applies the keystream from here, and returns the place behind.
    fn apply(&self, data: &mut [u8]) -> Self {
        let mut stream = Zeroizing::new(vec![0; self.used + data.len()]);
        self.key.apply_keystream(&mut stream);
        for (octet, key) in data.iter_mut().zip(&stream[self.used..]) {
            *octet ^= key;
        }
        Self { key: self.key.clone(), used: stream.len() }
    }
}

/// Key changes that a flushed packet may be ahead of what the counts say: Linux changes its key at
/// every flushed packet, and flushed packets are lost like others.
pub const EXTRA_CHANGES: u8 = 3;

/// Is this packet one before which the key changes (RFC 3078 §7.2)?
const fn is_flag(count: CoherencyCount) -> bool {
    count.value() & 0xFF == 0xFF
}

/// The end of a direction that encrypts.
#[derive(Debug, Clone)]
pub struct Encryptor {
    place: Place,
    next: CoherencyCount,
    reset: bool,
}

impl Encryptor {
    /// A direction's start, with the initial key.
    #[must_use]
    pub const fn new(initial: SessionKey) -> Self {
        Self { place: Place::start(initial), next: CoherencyCount::of_packet(0), reset: false }
    }

    /// The peer sent a Reset-Request: the next packet is flushed. Asked again before that, nothing
    /// changes.
    pub const fn reset(&mut self) {
        self.reset = true;
    }

    /// Encrypts one packet, which starts with its inner protocol number, in place.
    pub fn encrypt(&mut self, data: &mut [u8]) -> Header {
        // RFC 3078 §8.2 starts again with the same key, Linux with the next one. Both change the key
        // before a flag packet, so the packet that answers a Reset-Request becomes one: its count
        // is the next that ends in FF, and what is left out counts as lost.
        if std::mem::take(&mut self.reset) {
            self.next = CoherencyCount::of_packet((self.next.value() | 0xFF).into());
        }
        let count = self.next;
        if is_flag(count) {
            self.place = Place::start(self.place.key.next_key());
        }
        self.place = self.place.apply(data);
        self.next = count.next();
        // RFC 3078 §3.1 wants bit A on the very first packet too; Linux would change its key at
        // it, and does not set it itself.
        Header { flushed: is_flag(count), encrypted: true, count }
    }
}

/// The end of a direction that decrypts.
#[derive(Debug, Clone)]
pub struct Decryptor {
    place: Place,
    next: CoherencyCount,
    discarding: bool,
}

impl Decryptor {
    /// A direction's start, with the initial key.
    #[must_use]
    pub const fn new(initial: SessionKey) -> Self {
        Self { place: Place::start(initial), next: CoherencyCount::of_packet(0), discarding: false }
    }

    /// Decrypts one packet in place, if what comes out is believable. At most 20 key changes.
    ///
    /// # Errors
    /// With the reason. At [`Refused::Lost`] a Reset-Request is due, and all packets are discarded
    /// until a flushed one; for all others nothing has changed, the data neither.
    pub fn decrypt(
        &mut self,
        header: Header,
        data: &mut [u8],
        believable: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Refused> {
        if !header.encrypted {
            return Err(Refused::NotEncrypted);
        }
        let missing = header.count.steps_from(self.next);
        if !header.flushed {
            if self.discarding {
                return Err(Refused::Discarded);
            }
            if missing > CoherencyCount::MODULUS / 2 {
                return Err(Refused::Late);
            }
            if missing > 0 {
                self.discarding = true;
                return Err(Refused::Lost);
            }
        }
        // RFC 3078 §8.2: a key change for each flag packet, those that were lost too.
        let mut key = self.place.key.clone();
        let mut count = self.next;
        let mut flags = 0;
        for _ in 0..=missing {
            if is_flag(count) {
                key = key.next_key();
                flags += 1;
            }
            count = count.next();
        }
        let mut places = Vec::with_capacity(1 + usize::from(EXTRA_CHANGES));
        if header.flushed {
            places.push(Place::start(key.clone()));
            for _ in 0..EXTRA_CHANGES {
                key = key.next_key();
                places.push(Place::start(key.clone()));
            }
        } else if flags == 0 {
            places.push(self.place.clone());
        } else {
            places.push(Place::start(key));
        }
        let mut plain = Zeroizing::new(data.to_vec());
        for place in places {
            plain.copy_from_slice(data);
            let behind = place.apply(&mut plain);
            if believable(&plain) {
                data.copy_from_slice(&plain);
                *self = Self { place: behind, next: header.count.next(), discarding: false };
                return Ok(());
            }
        }
        Err(Refused::Unbelievable)
    }
}
