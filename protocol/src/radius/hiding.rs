//! Values that only the server and we can read.
//!
//! Implements RFC 2865 §5.2 (User-Password, which hides MS-CHAP-MPPE-Keys too, RFC 2548 §2.4.1)
//! and RFC 2548 §2.4.2 and §2.4.3 (MS-MPPE-Send-Key and -Recv-Key). What is revealed is wiped when
//! dropped; whether it is genuine is known from the packet's authenticator alone.

use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::{Authenticator, Secret};

/// Octets of the longest User-Password (RFC 2865 §5.2).
pub const MAX_PASSWORD_LEN: usize = 128;

/// Octets of a block.
const BLOCK: usize = 16;

/// Why a hidden value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The length is no multiple of 16, or zero, or too long.
    #[error("a hidden value has {0} octets, which is no number of whole blocks")]
    Blocks(usize),
    /// The length that was hidden with the key is more than there is: a wrong shared secret.
    #[error("a hidden key claims {0} octets: the shared secrets differ")]
    KeyLength(u8),
}

/// Hides a password for User-Password: padded with zeros to whole blocks, at least one.
///
/// # Errors
/// Returns its length if it has more than 128 octets.
pub fn hide(
    password: &[u8],
    authenticator: &Authenticator,
    secret: &Secret,
) -> Result<Vec<u8>, usize> {
    if password.len() > MAX_PASSWORD_LEN {
        return Err(password.len());
    }
    let mut hidden = password.to_vec();
    hidden.resize(password.len().max(1).next_multiple_of(BLOCK), 0);
    encrypt(&mut hidden, authenticator, secret);
    Ok(hidden)
}

/// Reads what [`hide`] hid, padding included.
///
/// # Errors
/// If it is not one to eight whole blocks.
pub fn reveal(
    hidden: &[u8],
    authenticator: &Authenticator,
    secret: &Secret,
) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    if hidden.len() > MAX_PASSWORD_LEN {
        return Err(Unreadable::Blocks(hidden.len()));
    }
    decrypt(hidden, authenticator, secret)
}

/// Hides a key for MS-MPPE-Send-Key and -Recv-Key: what RADIUS servers do. The salt must differ
/// from all others in the packet; its top bit is set here (RFC 2548 §2.4.2).
///
/// # Errors
/// Returns its length if it has more than 239 octets.
pub fn hide_key(
    key: &[u8],
    salt: u16,
    authenticator: &Authenticator,
    secret: &Secret,
) -> Result<Vec<u8>, usize> {
    let length = u8::try_from(key.len()).ok().filter(|length| *length <= 239).ok_or(key.len())?;
    let salt = (salt | 0x8000).to_be_bytes();
    let mut blocks = [&[length], key].concat();
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    encrypt(&mut blocks, &[&authenticator[..], &salt].concat(), secret);
    Ok([&salt[..], &blocks].concat())
}

/// Reads the value of an MS-MPPE-Send-Key or -Recv-Key, whatever its salt.
///
/// # Errors
/// If it cannot be one.
pub fn reveal_key(
    value: &[u8],
    authenticator: &Authenticator,
    secret: &Secret,
) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let (salt, hidden) = value.split_first_chunk::<2>().ok_or(Unreadable::Blocks(0))?;
    let mut plain = decrypt(hidden, &[&authenticator[..], salt].concat(), secret)?;
    let length = plain.first().copied().unwrap_or_default();
    if usize::from(length) >= plain.len() {
        return Err(Unreadable::KeyLength(length));
    }
    plain.remove(0);
    plain.truncate(length.into());
    Ok(plain)
}

/// Exclusive or with MD5 of the secret and the block before, which for the first one is `start`.
fn encrypt(blocks: &mut [u8], start: &[u8], secret: &Secret) {
    let mut before = start.to_vec();
    for block in blocks.chunks_mut(BLOCK) {
        mix(block, &before, secret);
        before = block.to_vec();
    }
}

fn decrypt(hidden: &[u8], start: &[u8], secret: &Secret) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    if hidden.is_empty() || !hidden.len().is_multiple_of(BLOCK) {
        return Err(Unreadable::Blocks(hidden.len()));
    }
    let mut plain = Zeroizing::new(hidden.to_vec());
    let before = std::iter::once(start).chain(hidden.chunks(BLOCK));
    for (block, before) in plain.chunks_mut(BLOCK).zip(before) {
        mix(block, before, secret);
    }
    Ok(plain)
}

fn mix(block: &mut [u8], before: &[u8], secret: &Secret) {
    let pad = Md5::new().chain_update(secret.as_bytes()).chain_update(before).finalize();
    for (octet, pad) in block.iter_mut().zip(pad) {
        *octet ^= pad;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_password_comes_back_with_its_padding(
            password in prop::collection::vec(any::<u8>(), 0..=MAX_PASSWORD_LEN),
            authenticator: Authenticator,
            secret: Vec<u8>,
        ) {
            let secret = Secret::new(secret);
            let hidden = hide(&password, &authenticator, &secret).unwrap();
            prop_assert!(hidden.len().is_multiple_of(16) && hidden.len() - password.len() <= 16);
            let plain = reveal(&hidden, &authenticator, &secret).unwrap();
            prop_assert_eq!(&plain[..password.len()], &password[..]);
            prop_assert!(plain[password.len()..].iter().all(|octet| *octet == 0));
        }

        #[test]
        fn a_key_comes_back(
            key in prop::collection::vec(any::<u8>(), 0..=239),
            salt: u16,
            authenticator: Authenticator,
            secret: Vec<u8>,
        ) {
            let secret = Secret::new(secret);
            let hidden = hide_key(&key, salt, &authenticator, &secret).unwrap();
            // RFC 2548 §2.4.2: the most significant bit of the salt is set.
            prop_assert!(hidden[0] & 0x80 != 0);
            prop_assert_eq!(&*reveal_key(&hidden, &authenticator, &secret).unwrap(), &key);
        }

        #[test]
        fn arbitrary_octets_never_panic(value: Vec<u8>, authenticator: Authenticator) {
            let secret = Secret::new(*b"secret");
            let _ = reveal(&value, &authenticator, &secret);
            if let Ok(key) = reveal_key(&value, &authenticator, &secret) {
                prop_assert!(key.len() < value.len());
            }
        }
    }

    /// RFC 2865 §5.2.
    #[test]
    fn a_password_has_128_octets_at_most() {
        let secret = Secret::new(*b"secret");
        assert_eq!(hide(&[1; 129], &[0; 16], &secret), Err(129));
        assert_eq!(hide(b"", &[0; 16], &secret).map(|hidden| hidden.len()), Ok(16));
        assert_eq!(reveal(&[0; 144], &[0; 16], &secret), Err(Unreadable::Blocks(144)));
        assert_eq!(reveal(&[], &[0; 16], &secret), Err(Unreadable::Blocks(0)));
    }

    #[test]
    fn a_key_under_another_secret_is_seldom_readable() {
        let hidden = hide_key(&[7; 16], 1, &[3; 16], &Secret::new(*b"one")).unwrap();
        assert_ne!(
            reveal_key(&hidden, &[3; 16], &Secret::new(*b"two")).ok().as_deref(),
            Some(&vec![7; 16])
        );
        assert_eq!(hide_key(&[7; 240], 1, &[3; 16], &Secret::new(*b"one")), Err(240));
    }
}
