//! GRE packets of all clients, by one raw socket: it sends from any of their addresses, and what
//! comes in goes to the client that has the address.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use protocol::gre;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, watch};

use super::FIRST;

/// Enough for all clients' packets of some milliseconds.
const BUFFER: usize = 64 << 20;

/// How often it is looked whether to stop.
const GLANCE: Duration = Duration::from_millis(200);

/// A client's Call ID and where its frames go.
type Inbox = Option<(u16, mpsc::Sender<Vec<u8>>)>;

#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    inboxes: Vec<Mutex<Inbox>>,
}

impl Wire {
    pub(super) fn open(clients: usize) -> Result<Self> {
        let protocol = Protocol::from(i32::from(gre::IP_PROTOCOL));
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))
            .context("a raw socket (needs root)")?;
        socket.set_header_included_v4(true)?;
        socket.set_read_timeout(Some(GLANCE))?;
        // Root may have more than net.core.rmem_max allows.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &BUFFER)?;
        let inboxes = (0..clients).map(|_| Mutex::default()).collect();
        Ok(Self { socket, inboxes })
    }

    /// Frames to this client and Call ID go here from now on.
    pub(super) fn plug_in(&self, client: usize, call_id: u16) -> mpsc::Receiver<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(32);
        if let Some(inbox) = self.inboxes.get(client) {
            *inbox.lock().unwrap_or_else(PoisonError::into_inner) = Some((call_id, sender));
        }
        receiver
    }

    /// Brings frames to their clients, on a thread of its own, until it is told to stop.
    pub(super) fn deliver(&self, stop: &watch::Receiver<bool>) {
        let mut buffer = vec![0; 4096];
        while !*stop.borrow() && stop.has_changed().is_ok() {
            let read = (&self.socket).read(&mut buffer);
            if let Some(packet) = read.ok().and_then(|length| buffer.get(..length)) {
                self.take(packet);
            }
        }
    }

    fn take(&self, packet: &[u8]) -> Option<()> {
        let header = usize::from(packet.first()? & 0x0F) * 4;
        let to = Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?);
        let client = usize::try_from(to.to_bits().checked_sub(FIRST)?).ok()?;
        let (gre, frame) = gre::Header::parse(packet.get(header..)?).ok()?;
        gre.sequence?;
        let inbox = self.inboxes.get(client)?.lock().unwrap_or_else(PoisonError::into_inner);
        let (call_id, sender) = inbox.as_ref()?;
        if *call_id == gre.call_id {
            // Whoever is too slow loses frames, as on a real link.
            let _ = sender.try_send(frame.to_vec());
        }
        Some(())
    }

    /// Sends a PPP frame.
    pub(super) fn send(
        &self,
        from: Ipv4Addr,
        server: Ipv4Addr,
        (call_id, sequence): (u16, u32),
        frame: &[u8],
    ) -> io::Result<()> {
        let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let payload_len = u16::try_from(frame.len() + 2).map_err(too_long)?;
        let header =
            gre::Header { call_id, payload_len, sequence: Some(sequence), acknowledgment: None };
        let mut octets = [0; gre::MAX_HEADER_LEN];
        let length = header.emit(&mut octets);
        let total = u16::try_from(20 + length + 2 + frame.len()).map_err(too_long)?;
        let mut packet = Vec::with_capacity(usize::from(total));
        // The kernel fills in identification and checksum.
        packet.extend([0x45, 0, (total >> 8) as u8, (total & 0xFF) as u8, 0, 0, 0, 0, 64]);
        packet.extend([gre::IP_PROTOCOL, 0, 0]);
        packet.extend(from.octets());
        packet.extend(server.octets());
        packet.extend(&octets[..length]);
        packet.extend([0xFF, 0x03]);
        packet.extend(frame);
        let to = SocketAddrV4::new(server, 0);
        self.socket.send_to(&packet, &to.into()).map(drop)
    }
}
