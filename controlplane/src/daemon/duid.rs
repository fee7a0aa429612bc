//! The server's identifier in DHCPv6, which has to stay the same for as long as the server is
//! installed (RFC 8415 §11).
//!
//! It is a random UUID (RFC 6355) in a file beside the users' database. Without that file clients
//! ask everybody anew after a restart, and nothing worse.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;

/// DUID-UUID (RFC 6355 §4).
const KIND: [u8; 2] = [0, 4];
const LENGTH: usize = 16;
const FILE: &str = "dhcpv6-server-duid";

/// Reads the identifier, and makes one where there is none.
pub(super) fn load(database: &Path) -> Arc<[u8]> {
    let file = database.with_file_name(FILE);
    let uuid = fs::read_to_string(&file).ok().and_then(|text| parse(text.trim()));
    let uuid = uuid.unwrap_or_else(|| {
        let uuid = random();
        if let Err(error) = keep(&file, uuid) {
            let file = file.display().to_string();
            warn!(file, %error, "the DHCPv6 server's identifier will be another after a restart");
        }
        uuid
    });
    [&KIND[..], &uuid].concat().into()
}

fn random() -> [u8; LENGTH] {
    let mut uuid = [0; LENGTH];
    // Without random numbers nothing of the daemon would have started.
    let _ = getrandom::fill(&mut uuid);
    // RFC 9562 §5.4: version 4.
    uuid[6] = uuid[6] & 0x0F | 0x40;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    uuid
}

fn keep(file: &Path, uuid: [u8; LENGTH]) -> io::Result<()> {
    let text: String = uuid.iter().map(|octet| format!("{octet:02x}")).collect();
    fs::write(file, format!("{text}\n"))
}

fn parse(text: &str) -> Option<[u8; LENGTH]> {
    let mut uuid = [0; LENGTH];
    if text.len() != 2 * LENGTH || !text.is_ascii() {
        return None;
    }
    for (at, octet) in uuid.iter_mut().enumerate() {
        *octet = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_after_every_start_and_garbage_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("penstock.db");
        let first = load(&database);
        assert_eq!((first.len(), &first[..2]), (18, &[0, 4][..]));
        assert_eq!(load(&database), first);
        fs::write(folder.path().join(FILE), "zz").unwrap();
        let second = load(&database);
        assert_ne!(second, first);
        assert_eq!(load(&database), second);
        assert_eq!(load(Path::new("/nowhere/at/all/penstock.db")).len(), 18);
    }
}
