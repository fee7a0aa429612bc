//! What is stored of a user's password, and the password as PAP sends it.
//!
//! Nothing here is ever printed, and all of it is wiped when dropped.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::mschap::NtHash;

/// What is stored of a password: its NT hash serves PAP and both MS-CHAPs; CHAP-MD5 needs the
/// clear password (RFC 1994 §2.2). A client needs the clear one for PAP, too.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Credential {
    nt_hash: NtHash,
    clear: Option<Password>,
}

impl Credential {
    /// The hash and the clear password.
    #[must_use]
    pub fn of_password(password: &str) -> Self {
        Self {
            nt_hash: NtHash::of_password(password),
            clear: Some(Password::from(password.as_bytes())),
        }
    }

    /// The hash alone.
    #[must_use]
    pub const fn of_hash(nt_hash: NtHash) -> Self {
        Self { nt_hash, clear: None }
    }

    /// MD4 of the password in UTF-16.
    #[must_use]
    pub const fn nt_hash(&self) -> &NtHash {
        &self.nt_hash
    }

    /// Whether the password is the empty one, which proves nothing: everybody knows it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nt_hash == NtHash::of_password("")
    }

    /// The password itself, if it is stored.
    #[must_use]
    pub const fn clear(&self) -> Option<&Password> {
        self.clear.as_ref()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// A clear password in octets. Equality takes constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(Box<[u8]>);

impl Password {
    /// The octets, as they were sent or are to be sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Password {
    fn from(octets: &[u8]) -> Self {
        Self(octets.into())
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_printed() {
        let credential = Credential::of_password("secret");
        let printed = format!("{credential:?} {:?}", credential.clear().unwrap());
        assert_eq!(printed, "Credential(..) Password(..)");
    }
}
