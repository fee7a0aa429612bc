//! Stateless MPPE, one packet at a time: the form that faster engines are tested against.
//!
//! Implements RFC 3078 §6, §7.1 and §8.1. Knows no sequence numbers, so it takes packets in
//! order only: late ones, replays and losses of a whole turn of the count are beyond it.

use thiserror::Error;

use super::{CoherencyCount, Header, SessionKey};

/// Why a packet cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// Bit D is clear: its data is not encrypted (RFC 3078 §3.1).
    #[error("MPPE header without the encrypted bit")]
    NotEncrypted,
    /// Bit A is clear, but stateless mode sets it on every packet (RFC 3078 §3.1).
    #[error("MPPE header without the flushed bit, which stateless mode requires")]
    NotFlushed,
}

/// One end of one direction.
#[derive(Debug, Clone)]
pub struct Stateless {
    key: SessionKey,
    next: CoherencyCount,
}

impl Stateless {
    /// A direction's start, with the initial key.
    #[must_use]
    pub fn new(initial: SessionKey) -> Self {
        Self { key: initial, next: CoherencyCount::default() }
    }

    /// The key of the packet that was handled last.
    #[must_use]
    pub const fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Encrypts one packet, which starts with its inner protocol number, in place.
    pub fn encrypt(&mut self, data: &mut [u8]) -> Header {
        // RFC 3078 §7.1: the key changes before each packet, the first one included.
        self.key = self.key.next_key();
        self.key.apply_keystream(data);
        let header = Header::stateless(self.next);
        self.next = self.next.next();
        header
    }

    /// Decrypts one packet in place; packets missing before it are skipped (RFC 3078 §8.1).
    ///
    /// # Errors
    ///
    /// If the header is not one of stateless mode. Nothing has changed then.
    pub fn decrypt(&mut self, header: Header, data: &mut [u8]) -> Result<(), Refused> {
        if !header.encrypted {
            return Err(Refused::NotEncrypted);
        }
        if !header.flushed {
            return Err(Refused::NotFlushed);
        }
        for _ in 0..=header.count.steps_from(self.next) {
            self.key = self.key.next_key();
        }
        self.key.apply_keystream(data);
        self.next = header.count.next();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{StartKey, Strength};
    use super::*;

    fn ends() -> (Stateless, Stateless) {
        let end = Stateless::new(SessionKey::initial(&StartKey::new(&[7; 16], Strength::Bits128)));
        (end.clone(), end)
    }

    /// RFC 3078 §3.1.
    #[test]
    fn a_header_of_another_mode_changes_nothing() {
        let (mut sending, mut receiving) = ends();
        let mut data = *b"first";
        let header = sending.encrypt(&mut data);
        let plain = Header { encrypted: false, ..header };
        assert_eq!(receiving.decrypt(plain, &mut data), Err(Refused::NotEncrypted));
        let stateful = Header { flushed: false, ..header };
        assert_eq!(receiving.decrypt(stateful, &mut data), Err(Refused::NotFlushed));
        assert_eq!(receiving.decrypt(header, &mut data), Ok(()));
        assert_eq!(&data, b"first");
    }

    /// RFC 3078 §8.1: the key changes once for each missing packet.
    #[test]
    fn packets_after_a_gap_are_decrypted() {
        let (mut sending, mut receiving) = ends();
        for packet in 0_u16..9000 {
            let mut data = packet.to_be_bytes();
            let header = sending.encrypt(&mut data);
            if packet % 4095 == 17 {
                assert_eq!(receiving.decrypt(header, &mut data), Ok(()));
                assert_eq!(data, packet.to_be_bytes());
            }
        }
    }

    #[test]
    fn keys_are_never_printed() {
        let (sending, _) = ends();
        insta::assert_snapshot!(
            format!("{sending:?}"),
            @"Stateless { key: SessionKey { strength: Bits128, .. }, next: CoherencyCount(0) }"
        );
    }
}
