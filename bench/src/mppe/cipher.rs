//! The libraries' way: SHA-1 and RC4 of one packet at a time.

use rc4::{KeyInit, Rc4, StreamCipher};
use sha1::{Digest, Sha1};

pub const RUSTCRYPTO: &str = "rustcrypto";
pub const OPENSSL: &str = "openssl";

/// SHA-1 and RC4 as a library gives them.
pub trait Cipher {
    fn name(&self) -> &'static str;
    /// SHA-1 of the concatenation.
    fn sha1(&self, parts: [&[u8]; 4]) -> [u8; 20];
    /// XORs a fresh keystream into the data.
    fn rc4(&self, key: &[u8; 16], data: &mut [u8]);
}

/// The crates `rc4` and `sha1`.
pub struct RustCrypto;

impl Cipher for RustCrypto {
    fn name(&self) -> &'static str {
        RUSTCRYPTO
    }

    fn sha1(&self, parts: [&[u8]; 4]) -> [u8; 20] {
        parts.iter().fold(Sha1::new(), Digest::chain_update).finalize().into()
    }

    fn rc4(&self, key: &[u8; 16], data: &mut [u8]) {
        if let Ok(mut cipher) = Rc4::new_from_slice(key) {
            cipher.apply_keystream(data);
        }
    }
}
