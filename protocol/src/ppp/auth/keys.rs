//! The start keys that a login yields for MPPE.
//!
//! Implements where they come from: RFC 3079 §2.4 (MS-CHAPv1), §3.4 (MS-CHAPv2), RFC 2548 §2.4
//! (RADIUS). How keys change is [`mppe`](crate::mppe)'s business.

use std::fmt;

use sha1::{Digest, Sha1};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::mppe::{MasterKey, Sender, SessionKey, StartKey, Strength};
use crate::mschap::NtHashHash;
use crate::ppp::ccp::Strengths;

/// The start keys of both directions. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct StartKeys {
    client: [u8; 16],
    server: [u8; 16],
    #[zeroize(skip)]
    strengths: Strengths,
}

impl StartKeys {
    /// Keys of what the client sends (RADIUS's MS-MPPE-Recv-Key) and of what the server sends
    /// (MS-MPPE-Send-Key), and the strengths that they suffice for: 40 and 56 bit use the first
    /// 8 octets.
    #[must_use]
    pub const fn new(client: [u8; 16], server: [u8; 16], strengths: Strengths) -> Self {
        Self { client, server, strengths }
    }

    /// `Get_Start_Key` (RFC 3079 §2.4) of MS-CHAPv1: one key for both directions, of 128 bit
    /// alone. RADIUS hands out the hash of the hash as NT-Key (RFC 2548 §2.4.1).
    #[must_use]
    pub fn from_mschapv1(hash_hash: &NtHashHash, challenge: &[u8; 8]) -> Self {
        let digest: Zeroizing<[u8; 20]> = Zeroizing::new(
            Sha1::new()
                .chain_update(hash_hash.as_bytes())
                .chain_update(hash_hash.as_bytes())
                .chain_update(challenge)
                .finalize()
                .into(),
        );
        let mut key = Zeroizing::new([0; 16]);
        key.copy_from_slice(&digest[..16]);
        Self::new(*key, *key, Strengths::BITS_128)
    }

    /// What they suffice for.
    #[must_use]
    pub const fn strengths(&self) -> Strengths {
        self.strengths
    }

    /// The initial session key of what `sender` sends.
    #[must_use]
    pub fn session_key(&self, sender: Sender, strength: Strength) -> SessionKey {
        let octets = match sender {
            Sender::Client => &self.client,
            Sender::Server => &self.server,
        };
        SessionKey::initial(&StartKey::new(octets, strength))
    }
}

impl From<&MasterKey> for StartKeys {
    fn from(master: &MasterKey) -> Self {
        // A start key of 40 or 56 bit is the beginning of the one of 128 bit (RFC 3079 §3.4).
        let octets = |sender| {
            let mut octets = [0; 16];
            octets.copy_from_slice(master.start_key(sender, Strength::Bits128).as_bytes());
            octets
        };
        Self::new(octets(Sender::Client), octets(Sender::Server), Strengths::ALL)
    }
}

impl fmt::Debug for StartKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mschap::NtHash;

    /// RFC 3079 §2.5.3: password "clientPass", challenge 102DB5DF085D3041.
    #[test]
    fn the_sample_of_rfc_3079() {
        let challenge = [0x10, 0x2D, 0xB5, 0xDF, 0x08, 0x5D, 0x30, 0x41];
        let hash_hash = NtHash::of_password("clientPass").hash();
        let keys = StartKeys::from_mschapv1(&hash_hash, &challenge);
        let start = [
            0xA8, 0x94, 0x78, 0x50, 0xCF, 0xC0, 0xAC, 0xC1, 0xD1, 0x78, 0x9F, 0xB6, 0x2D, 0xDC,
            0xDD, 0xB0,
        ];
        assert_eq!(keys.client, start);
        assert_eq!(keys.server, start);
        let session = keys.session_key(Sender::Server, Strength::Bits128);
        assert_eq!(
            session.as_bytes(),
            [
                0x59, 0xD1, 0x59, 0xBC, 0x09, 0xF7, 0x6F, 0x1D, 0xA2, 0xA8, 0x6A, 0x28, 0xFF, 0xEC,
                0x0B, 0x1E
            ]
        );
    }
}
