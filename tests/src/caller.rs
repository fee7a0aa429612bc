//! A PPTP client driven by hand, message by message: for what no honest client does.
//! Its messages and its PPP come from `protocol`; where to stop, what to repeat and what to spoil
//! is the test's choice.
//! Never answers anything by itself, save while it logs in.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use protocol::gre;
use protocol::machine::{Action, drive};
use protocol::ppp::auth::{Credential, Method};
use protocol::ppp::frame::{self, Protocol};
use protocol::ppp::link::{Config, Event, Input, Role};
use protocol::ppp::{Framing, Link};
use protocol::pptp;
use protocol::pptp::message::codes::OutgoingResult;
use protocol::pptp::message::{
    CallClearRequest, Message, OutgoingCallRequest, Sender, StartRequest, Text,
};
use protocol::pptp::stream::Splitter;

use crate::netns::Namespace;
use crate::packet::raw_ip_socket;

/// How long an honest server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const IP_HEADER: usize = 20;

/// What came on the control connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Box<Message>),
    /// The server closed the connection.
    Closed,
    /// Nothing in the time given.
    Nothing,
}

/// A client in some state of its call.
#[derive(Debug)]
pub struct Caller {
    server: Ipv4Addr,
    control: TcpStream,
    splitter: Splitter,
    unread: Vec<u8>,
    gre: UdpSocket,
    call_id: u16,
    server_call_id: u16,
    sequence: u32,
}

impl Caller {
    /// Opens the control connection from a namespace and says nothing.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(namespace: &Namespace, server: Ipv4Addr) -> Result<Self> {
        let gre = gre_socket(namespace)?;
        let control = namespace.run(|| {
            let address = SocketAddr::new(IpAddr::V4(server), pptp::PORT);
            Ok(TcpStream::connect_timeout(&address, PATIENCE)?)
        })?;
        control.set_nodelay(true)?;
        Ok(Self {
            server,
            control,
            splitter: Splitter::new(),
            unread: Vec::new(),
            gre,
            call_id: 0,
            server_call_id: 0,
            sequence: 0,
        })
    }

    /// Sends octets on the control connection.
    ///
    /// # Errors
    /// When the server has closed it.
    pub fn send_octets(&mut self, octets: &[u8]) -> Result<()> {
        self.control.write_all(octets).context("sending on the control connection")
    }

    /// What comes next on the control connection.
    ///
    /// # Errors
    /// When the server sends what is no message.
    pub fn receive(&mut self, limit: Duration) -> Result<Received> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 512];
        loop {
            let mut input = self.unread.as_slice();
            let next = self.splitter.next(&mut input);
            self.unread = input.to_vec();
            if let Some(message) = next {
                return Ok(Received::Message(Box::new(message?)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Received::Nothing);
            }
            self.control.set_read_timeout(Some(left))?;
            match self.control.read(&mut buffer) {
                Ok(0) => return Ok(Received::Closed),
                Ok(length) => self.unread.extend_from_slice(&buffer[..length]),
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionReset => return Ok(Received::Closed),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// Reads until the server closes the connection; says whether it did within `limit`.
    ///
    /// # Errors
    /// When the server sends what is no message.
    pub fn closes(&mut self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Received::Message(_) => {}
                Received::Closed => return Ok(true),
                Received::Nothing => return Ok(false),
            }
        }
    }

    /// The message that has to come.
    ///
    /// # Errors
    /// When none comes.
    pub fn expect(&mut self) -> Result<Message> {
        match self.receive(PATIENCE)? {
            Received::Message(message) => Ok(*message),
            other => bail!("instead of a message: {other:?}"),
        }
    }

    /// Establishes the control connection (RFC 2637 §3.1.3).
    ///
    /// # Errors
    /// When the server answers with anything but a Start-Control-Connection-Reply.
    pub fn start(&mut self) -> Result<()> {
        self.send_octets(&start_request())?;
        match self.expect()? {
            Message::StartReply(_) => Ok(()),
            other => bail!("instead of a Start-Control-Connection-Reply: {other:?}"),
        }
    }

    /// Places a call with this Call ID of ours (RFC 2637 §3.2.2).
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn call(&mut self, call_id: u16) -> Result<()> {
        self.send_octets(&outgoing_call_request(call_id))?;
        match self.expect()? {
            // Some servers' own Call ID is 0.
            Message::OutgoingCallReply(reply) if reply.result == OutgoingResult::Connected => {
                self.call_id = call_id;
                self.server_call_id = reply.call_id;
                Ok(())
            }
            other => bail!("instead of an Outgoing-Call-Reply: {other:?}"),
        }
    }

    /// Asks the server to clear the call (RFC 2637 §2.12).
    ///
    /// # Errors
    /// As [`Caller::send_octets`].
    pub fn clear(&mut self) -> Result<()> {
        let request = CallClearRequest { call_id: self.call_id };
        self.send_octets(&Message::CallClearRequest(request).emit())
    }

    /// The server's Call ID, that its tunnel expects in the key.
    pub fn server_call_id(&self) -> u16 {
        self.server_call_id
    }

    /// Sends a PPP frame, protocol number first, in the tunnel.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send_ppp(&mut self, frame: &[u8]) -> Result<()> {
        let packet = data_packet(self.server_call_id, self.sequence, frame)?;
        self.sequence = self.sequence.wrapping_add(1);
        self.send_gre(&packet)
    }

    /// Sends a GRE packet as it is.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send_gre(&self, packet: &[u8]) -> Result<()> {
        self.gre.send_to(packet, (self.server, 0)).context("sending GRE")?;
        Ok(())
    }

    /// The next PPP frame for our Call ID, without address and control.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive_ppp(&mut self, limit: Duration) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.gre.set_read_timeout(Some(left))?;
            let Ok(length) = self.gre.recv(&mut buffer) else { continue };
            let Some(packet) = buffer[..length].get(IP_HEADER..) else { continue };
            if let Ok((header, payload)) = gre::Header::parse(packet)
                && header.call_id == self.call_id
                && let Ok((protocol, payload)) = frame::parse(payload)
            {
                return Ok(Some([&protocol.number().to_be_bytes()[..], payload].concat()));
            }
        }
    }

    /// Logs in honestly, but never sends a frame of the protocol `withheld`. Ends when the network
    /// is up, when the link is down, or when `limit` has passed; says whether it is up.
    ///
    /// # Errors
    /// When the sockets fail.
    pub fn log_in(
        &mut self,
        user: &str,
        password: &str,
        withheld: Option<Protocol>,
        limit: Duration,
    ) -> Result<bool> {
        self.log_in_altered(user.as_bytes(), password, limit, |frame| {
            let protocol = frame::parse(frame).map(|(protocol, _)| protocol).ok();
            let sent = withheld.is_none() || protocol != withheld;
            if sent { vec![frame.to_vec()] } else { Vec::new() }
        })
    }

    /// As [`Caller::log_in`], but any octets may be the name, and `alter` says what is sent in
    /// place of each frame of an honest client.
    ///
    /// # Errors
    /// When the sockets fail.
    pub fn log_in_altered(
        &mut self,
        user: &[u8],
        password: &str,
        limit: Duration,
        mut alter: impl FnMut(&[u8]) -> Vec<Vec<u8>>,
    ) -> Result<bool> {
        let role = Role::Client {
            user: user.to_vec(),
            credential: Credential::of_password(password),
            methods: Method::ALL.to_vec(),
        };
        let mut link = Link::new(Config::new(role), [self.call_id.to_le_bytes()[0]; 32]);
        let begin = Instant::now();
        let mut frame: Option<Vec<u8>> = None;
        let mut opened = false;
        loop {
            let now = protocol::time::Instant::from_micros(
                u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX),
            );
            let input = match &frame {
                _ if !opened => Input::Open,
                Some(frame) => Input::Frame(frame),
                None => Input::Deadline,
            };
            opened = true;
            let mut frames = Vec::new();
            let mut over = None;
            drive(&mut link, input, now, |action| match action {
                Action::Send(frame) => frames.push(frame),
                Action::Event(Event::NetworkUp(_)) => over = Some(true),
                Action::Event(Event::Down(_)) => over = Some(false),
                Action::Event(_) => {}
            });
            for frame in frames.iter().flat_map(|frame| alter(frame)) {
                self.send_ppp(&frame)?;
            }
            if let Some(up) = over {
                return Ok(up);
            }
            let left = limit.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            frame = self.receive_ppp(left.min(Duration::from_millis(100)))?;
        }
    }
}

/// A well-formed Start-Control-Connection-Request.
pub fn start_request() -> Vec<u8> {
    let sender = Sender {
        framing_capabilities: 3,
        bearer_capabilities: 3,
        maximum_channels: 0,
        firmware_revision: 1,
        host_name: Text::new("caller"),
        vendor: Text::new("penstock-tests"),
    };
    Message::StartRequest(StartRequest { version: pptp::VERSION, sender }).emit().to_vec()
}

/// A well-formed Outgoing-Call-Request.
pub fn outgoing_call_request(call_id: u16) -> Vec<u8> {
    let request = OutgoingCallRequest {
        call_id,
        serial_number: 1,
        minimum_bps: 300,
        maximum_bps: 100_000_000,
        bearer_type: 3,
        framing_type: 3,
        window: 64,
        processing_delay: 0,
        phone_number_length: 0,
        phone_number: Text::EMPTY,
        subaddress: Text::EMPTY,
    };
    Message::OutgoingCallRequest(request).emit().to_vec()
}

/// A GRE packet with a PPP frame, protocol number first, for this Call ID.
///
/// # Errors
/// When the frame is longer than a packet can be.
pub fn data_packet(call_id: u16, sequence: u32, frame: &[u8]) -> Result<Vec<u8>> {
    let (protocol, payload) = frame::parse(frame)?;
    let framed = frame::emit(protocol, payload, Framing::default());
    let header = gre::Header {
        call_id,
        payload_len: u16::try_from(framed.len())?,
        sequence: Some(sequence),
        acknowledgment: None,
    };
    let mut octets = [0; gre::MAX_HEADER_LEN];
    let length = header.emit(&mut octets);
    Ok([&octets[..length], &framed].concat())
}

/// A raw GRE socket in a namespace: what is sent gets an IP header by the kernel, what is
/// received has one.
///
/// # Errors
/// Without root.
pub fn gre_socket(namespace: &Namespace) -> Result<UdpSocket> {
    namespace.run(|| {
        let raw = raw_ip_socket(gre::IP_PROTOCOL).context("opening a raw GRE socket")?;
        Ok(UdpSocket::from(raw))
    })
}
