//! Which process listens on a TCP port.
//!
//! `/proc/net/tcp` names the socket's inode, `/proc/PID/fd` who holds it. Without root only own
//! processes can be seen.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This process.
    Process {
        /// Its id.
        pid: u32,
        /// Its name, as in `ps`.
        name: String,
    },
    /// A process that we may not look at, or one outside of our namespace.
    Hidden,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, name } => write!(f, "{name} (pid {pid})"),
            Self::Hidden => f.write_str("a process that we may not look at (try as root)"),
        }
    }
}

/// Who listens where binding `wanted` would fail, if anybody does.
#[must_use]
pub fn owner(wanted: SocketAddrV4) -> Option<Owner> {
    let v4 = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let inode = v4.lines().chain(v6.lines()).find_map(|line| listener(line, wanted))?;
    Some(holder(inode).unwrap_or(Owner::Hidden))
}

/// The inode of a listening socket that takes `wanted`, if this line is one.
fn listener(line: &str, wanted: SocketAddrV4) -> Option<u64> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    if state != LISTEN || u16::from_str_radix(port, 16).ok()? != wanted.port() {
        return None;
    }
    // The address is the network's bytes read as words of this machine's own order.
    let bits = u32::from_str_radix(address.get(address.len().checked_sub(8)?..)?, 16).ok()?;
    let address = Ipv4Addr::from_bits(u32::from_be_bytes(bits.to_ne_bytes()));
    let same = address == *wanted.ip() || address.is_unspecified() || wanted.ip().is_unspecified();
    if same { fields.nth(5)?.parse().ok() } else { None }
}

fn holder(inode: u64) -> Option<Owner> {
    let socket = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors.flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == socket.as_str())
        });
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(Owner::Process { pid, name: name.trim().to_owned() });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_process_that_has_the_port_is_named() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        for ip in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
            let Some(Owner::Process { pid, name }) = owner(SocketAddrV4::new(ip, port)) else {
                panic!("{ip}: nobody found");
            };
            assert_eq!(pid, std::process::id());
            assert!(!name.is_empty());
        }
        assert_eq!(owner(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), port)), None);
        drop(socket);
        assert_eq!(owner(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)), None);
    }

    #[test]
    fn only_listening_sockets_count() {
        let wanted = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1723);
        let line = |address: &str, state: &str| {
            format!(
                "   0: {address}:06BB 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1"
            )
        };
        assert_eq!(listener(&line("00000000", "0A"), wanted), Some(4711));
        assert_eq!(listener(&line("00000000000000000000000000000000", "0A"), wanted), Some(4711));
        assert_eq!(listener(&line("00000000", "01"), wanted), None);
        assert_eq!(listener("garbage", wanted), None);
        assert_eq!(listener("", wanted), None);
    }
}
