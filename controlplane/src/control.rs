//! A PPTP control connection on TCP: the machine of RFC 2637 §3 with a socket around it.
//!
//! Both ends use it. What the peer does not read is bounded: we read no more of its requests
//! while answers wait. Owns no tunnel.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use protocol::machine::{Action, drive};
use protocol::pptp::connection::{Connection, Event, Input};
use protocol::time::Instant;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::clock::Clock;

/// Octets that wait for the peer before we stop to read from it.
const MAX_QUEUED: usize = 4096;

/// Octets that are read at once; bounds what one reading can make the machine say.
const READ: usize = 2048;

/// A control connection.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
    machine: Connection,
    clock: Clock,
    deadline: Option<Instant>,
    out: Vec<u8>,
    closed: bool,
}

impl Control {
    /// Puts the machine on the stream and tells it that TCP is open.
    #[must_use]
    pub fn new(stream: TcpStream, machine: Connection, clock: Clock) -> (Self, Vec<Event>) {
        let mut control =
            Self { stream, machine, clock, deadline: None, out: Vec::new(), closed: false };
        let events = control.input(Input::Opened);
        (control, events)
    }

    /// Tells the machine something. What it wants to send goes out with [`Self::next`].
    pub fn input(&mut self, input: Input<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        let Self { machine, out, .. } = self;
        self.deadline = drive(machine, input, self.clock.now(), |action| match action {
            Action::Send(message) => out.extend_from_slice(&message.emit()),
            Action::Event(event) => events.push(event),
        });
        self.closed |= matches!(events.last(), Some(Event::Closed(_)));
        events
    }

    /// When the machine is to be told [`Input::DeadlinePassed`].
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What is due by now: the machine is told so, and before that of the newest packet through one
    /// of the connection's tunnels.
    pub fn tick(&mut self, heard: impl FnOnce() -> Option<Instant>) -> Vec<Event> {
        if self.deadline.is_none_or(|deadline| deadline > self.clock.now()) {
            return Vec::new();
        }
        if let Some(heard) = heard() {
            let events = self.input(Input::PppAlive(heard));
            debug_assert!(events.is_empty(), "a sign of life is no news");
        }
        self.input(Input::DeadlinePassed)
    }

    /// Whether the machine has said that it is over: nothing comes of [`Self::next`] any more.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Waits until the connection has something to tell, [`Self::tick`] aside. Nothing is lost if the
    /// future is dropped.
    pub async fn next(&mut self) -> Vec<Event> {
        loop {
            let interest = if self.out.is_empty() {
                Interest::READABLE
            } else if self.out.len() < MAX_QUEUED {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::WRITABLE
            };
            let Ok(ready) = self.stream.ready(interest).await else {
                return self.input(Input::PeerClosed);
            };
            if ready.is_writable() && !self.out.is_empty() && self.write().is_err() {
                return self.input(Input::PeerClosed);
            }
            if ready.is_readable() && self.out.len() < MAX_QUEUED {
                let mut buffer = [0; READ];
                match self.stream.try_read(&mut buffer) {
                    Ok(0) => return self.input(Input::PeerClosed),
                    Ok(read) => {
                        let events = self.input(Input::Received(&buffer[..read]));
                        if !events.is_empty() {
                            return events;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return self.input(Input::PeerClosed),
                }
            }
        }
    }

    /// Sends what waits, as far as the peer takes it.
    pub async fn flush(&mut self) {
        while !self.out.is_empty() {
            if self.stream.writable().await.is_err() || self.write().is_err() {
                return;
            }
        }
    }

    /// Largest IP packet that the kernel knows to reach the peer, octets.
    #[must_use]
    pub fn path_mtu(&self) -> Option<u16> {
        let mtu = nix::sys::socket::getsockopt(&self.stream, nix::sys::socket::sockopt::IpMtu);
        mtu.ok().and_then(|mtu| u16::try_from(mtu).ok())
    }

    fn write(&mut self) -> io::Result<()> {
        match self.stream.try_write(&self.out) {
            Ok(written) => {
                self.out.drain(..written);
                if self.out.is_empty() {
                    self.out = Vec::new();
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The IPv4 address of a socket address: PPTP's GRE has no other here.
///
/// # Errors
/// If it is an IPv6 address.
pub fn ipv4(address: SocketAddr) -> io::Result<Ipv4Addr> {
    match address.ip().to_canonical() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}
