//! GRE packets of all clients, by one raw socket: it sends from any of their addresses, and what
//! comes in goes to the client that has the address and the Call ID.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use protocol::gre;
use protocol::ppp::frame::{self, Protocol as PppProtocol};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, watch};

use super::{Carrier, Data, Sources};

/// Enough for all clients' packets of some milliseconds.
const BUFFER: usize = 64 << 20;

/// How often it is looked whether to stop.
const GLANCE: Duration = Duration::from_millis(200);

/// Packets that are read or written at once.
const BURST: usize = 64;
/// Octets of the largest packet on an Ethernet, and some.
const PACKET: usize = 2048;

/// Whose it is, and its octets.
pub(super) type Frame = (usize, Vec<u8>);

/// The GRE socket of all clients.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    server: Ipv4Addr,
    sources: Sources,
    lines: Vec<Line>,
    carrier: Option<Arc<dyn Carrier>>,
}

/// A client's end of its tunnel.
#[derive(Debug, Default)]
struct Line {
    /// Own Call ID, and where frames for it go.
    inbox: Mutex<Option<(u16, mpsc::Sender<Frame>)>>,
    /// Of the next packet that it sends.
    sequence: AtomicU32,
    /// Of the newest packet that it received.
    newest: AtomicU32,
}

impl Wire {
    pub(super) fn open(
        server: Ipv4Addr,
        clients: usize,
        sources: Sources,
        carrier: Option<Arc<dyn Carrier>>,
    ) -> Result<Self> {
        let protocol = Protocol::from(i32::from(gre::IP_PROTOCOL));
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))
            .context("a raw socket (needs root)")?;
        socket.set_header_included_v4(true)?;
        socket.set_read_timeout(Some(GLANCE))?;
        // Root may have more than net.core.rmem_max allows.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &BUFFER)?;
        let lines = (0..clients).map(|_| Line::default()).collect();
        Ok(Self { socket, server, sources, lines, carrier })
    }

    /// Who carries the data of sessions.
    pub(super) fn carrier(&self) -> Option<&Arc<dyn Carrier>> {
        self.carrier.as_ref()
    }

    /// A new tunnel of a client: its frames go there from now on, and numbers begin anew.
    pub(super) fn plug_in(&self, client: usize, call_id: u16, frames: mpsc::Sender<Frame>) {
        if let Some(line) = self.lines.get(client) {
            let mut inbox = line.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            line.sequence.store(0, Ordering::Relaxed);
            line.newest.store(0, Ordering::Relaxed);
            *inbox = Some((call_id, frames));
        }
    }

    /// The GRE sequence number of the newest packet that a client received, 0 before the first.
    pub fn newest(&self, client: usize) -> u32 {
        self.lines.get(client).map_or(0, |line| line.newest.load(Ordering::Relaxed))
    }

    /// Brings frames to their clients, on a thread of its own, until it is told to stop.
    pub(super) fn deliver(&self, stop: &watch::Receiver<bool>) {
        let mut buffers = vec![[0; PACKET]; BURST];
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BURST, None);
        while !*stop.borrow() && stop.has_changed().is_ok() {
            // That nothing came within a glance is no error to act on.
            let Ok((lengths, count)) = self.read(&mut buffers, &mut headers) else { continue };
            let packets = buffers.iter().zip(lengths).take(count);
            let data: Vec<_> =
                packets.filter_map(|(buffer, length)| self.take(buffer.get(..length)?)).collect();
            if let Some(carrier) = self.carrier.as_ref().filter(|_| !data.is_empty()) {
                carrier.receive(&data);
            }
        }
    }

    /// Lengths of the packets that came, and how many came.
    fn read(
        &self,
        buffers: &mut [[u8; PACKET]],
        headers: &mut MultiHeaders<SockaddrIn>,
    ) -> Result<([usize; BURST], usize), Errno> {
        let mut slices: Vec<_> =
            buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let packets = recvmmsg(
            self.socket.as_raw_fd(),
            headers,
            slices.iter_mut(),
            MsgFlags::MSG_WAITFORONE,
            None,
        )?;
        let (mut lengths, mut count) = ([0; BURST], 0);
        for (packet, length) in packets.zip(&mut lengths) {
            *length = packet.bytes;
            count += 1;
        }
        Ok((lengths, count))
    }

    /// Gives a control frame to its client; data is returned.
    fn take<'a>(&self, packet: &'a [u8]) -> Option<Data<'a>> {
        let header = usize::from(packet.first()? & 0x0F) * 4;
        let to = Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?);
        let (gre, frame) = gre::Header::parse(packet.get(header..)?).ok()?;
        let sequence = gre.sequence?;
        let client = self.sources.client_of(to, gre.call_id)?;
        let line = self.lines.get(client)?;
        let inbox = line.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let (call_id, sender) = inbox.as_ref()?;
        if *call_id != gre.call_id {
            return None;
        }
        // One thread reads, so nobody else moves it but a new dial.
        if gre::is_after(sequence, line.newest.load(Ordering::Relaxed)) {
            line.newest.store(sequence, Ordering::Relaxed);
        }
        match frame::parse(frame) {
            Ok((PppProtocol::COMPRESSED, payload)) => Some(Data { client, sequence, payload }),
            _ => {
                // Whoever is too slow loses frames, as on a real link.
                let _ = sender.try_send((client, frame.to_vec()));
                None
            }
        }
    }

    /// Appends the outer headers of a packet with `length` octets of PPP, and gives the client's
    /// sequence number away.
    ///
    /// # Errors
    /// When no IP packet can be so long.
    pub fn begin(
        &self,
        packet: &mut Vec<u8>,
        client: usize,
        from: Ipv4Addr,
        call_id: u16,
        length: usize,
    ) -> io::Result<()> {
        let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let line = self.lines.get(client).ok_or(io::ErrorKind::NotFound)?;
        let newest = line.newest.load(Ordering::Relaxed);
        let header = gre::Header {
            call_id,
            payload_len: u16::try_from(length).map_err(too_long)?,
            sequence: Some(line.sequence.fetch_add(1, Ordering::Relaxed)),
            acknowledgment: (newest > 0).then_some(newest),
        };
        let mut octets = [0; gre::MAX_HEADER_LEN];
        let gre = header.emit(&mut octets);
        let total = u16::try_from(20 + gre + length).map_err(too_long)?;
        // The kernel fills in identification and checksum.
        packet.extend([0x45, 0, (total >> 8) as u8, (total & 0xFF) as u8, 0, 0, 0, 0, 64]);
        packet.extend([gre::IP_PROTOCOL, 0, 0]);
        packet.extend(from.octets());
        packet.extend(self.server.octets());
        packet.extend(&octets[..gre]);
        Ok(())
    }

    /// Sends packets that have their outer headers; gives how many went out.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that its queues are full.
    pub fn send_all(&self, packets: &[Vec<u8>]) -> io::Result<usize> {
        let to = SockaddrIn::from(SocketAddrV4::new(self.server, 0));
        let mut sent = 0;
        let mut headers = MultiHeaders::preallocate(BURST, None);
        for burst in packets.chunks(BURST) {
            let slices: Vec<_> = burst.iter().map(|packet| [IoSlice::new(packet)]).collect();
            let addresses = vec![Some(to); burst.len()];
            let result = sendmmsg(
                self.socket.as_raw_fd(),
                &mut headers,
                &slices,
                &addresses,
                [],
                MsgFlags::empty(),
            );
            match result {
                Ok(results) => sent += results.count(),
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    /// Sends a PPP frame.
    pub(super) fn send(
        &self,
        client: usize,
        from: Ipv4Addr,
        call_id: u16,
        frame: &[u8],
    ) -> io::Result<()> {
        let mut packet = Vec::with_capacity(64 + frame.len());
        self.begin(&mut packet, client, from, call_id, frame.len() + 2)?;
        packet.extend([0xFF, 0x03]);
        packet.extend(frame);
        let to = SocketAddrV4::new(self.server, 0);
        self.socket.send_to(&packet, &to.into()).map(drop)
    }
}
