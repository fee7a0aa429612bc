//! UDP ports towards servers.
//!
//! Each is connected, so that only the server's own address is heard, and the kernel says when
//! nothing listens there. Bound to a random port by the kernel, as RFC 5080 §2.2.1 would have it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use protocol::radius::MAX_LEN;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Where a server is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// Our address towards it, if it matters.
    pub(super) source: Option<IpAddr>,
}

/// What came in from a server's address.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A datagram.
    Datagram { server: usize, socket: u16, octets: Vec<u8> },
    /// The server's machine says that nothing listens there, or the network that there is no way.
    Refused { server: usize, error: io::Error },
}

/// All ports of a service.
#[derive(Debug)]
pub(super) struct Ports {
    endpoints: Vec<Endpoint>,
    sockets: Vec<Vec<Arc<UdpSocket>>>,
    arrivals: mpsc::Sender<Arrival>,
    readers: JoinSet<()>,
}

impl Ports {
    pub(super) fn new(endpoints: Vec<Endpoint>, arrivals: mpsc::Sender<Arrival>) -> Self {
        let sockets = endpoints.iter().map(|_| Vec::new()).collect();
        Self { endpoints, sockets, arrivals, readers: JoinSet::new() }
    }

    /// Sends to a server, and opens the port for it if it is the first time.
    pub(super) fn send(&mut self, server: usize, socket: u16, octets: &[u8]) -> io::Result<()> {
        while self.sockets[server].len() <= usize::from(socket) {
            self.open(server)?;
        }
        let socket = self.sockets[server][usize::from(socket)].as_raw_fd();
        // Not by tokio, which knows nothing yet of a port that was just opened.
        let sent = match send(socket, octets, MsgFlags::MSG_DONTWAIT) {
            // What the kernel heard of an earlier datagram; this one was not sent.
            Err(Errno::ECONNREFUSED) => send(socket, octets, MsgFlags::MSG_DONTWAIT),
            sent => sent,
        };
        match sent {
            // A full buffer is a lost packet: it will be sent again.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn open(&mut self, server: usize) -> io::Result<()> {
        let endpoint = self.endpoints[server];
        let any = match endpoint.address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let source = SocketAddr::new(endpoint.source.unwrap_or(any), 0);
        let socket = std::net::UdpSocket::bind(source)?;
        socket.connect(endpoint.address)?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let number = u16::try_from(self.sockets[server].len()).map_err(io::Error::other)?;
        let reader = read(Arc::clone(&socket), server, number, self.arrivals.clone());
        self.readers.spawn(reader);
        self.sockets[server].push(socket);
        Ok(())
    }
}

/// Hands on what arrives at one port. Where nobody has time for it, the kernel's buffer fills and
/// then loses datagrams.
async fn read(socket: Arc<UdpSocket>, server: usize, number: u16, arrivals: mpsc::Sender<Arrival>) {
    let mut buffer = [0; MAX_LEN];
    loop {
        let arrival = match socket.recv(&mut buffer).await {
            Ok(length) => {
                Arrival::Datagram { server, socket: number, octets: buffer[..length].to_vec() }
            }
            Err(error) => Arrival::Refused { server, error },
        };
        if arrivals.send(arrival).await.is_err() {
            return;
        }
    }
}
