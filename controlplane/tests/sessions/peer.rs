//! A client made of the machines' other side: on TCP, and with GRE by the test's wire.
//!
//! Goes as far as it is told: every step can be the last.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use controlplane::clock::Clock;
use controlplane::control::Control;
use protocol::gre;
use protocol::machine::{Action, drive};
use protocol::mppe::{Header as MppeHeader, Stateless};
use protocol::ppp::auth::{Credential, Method};
use protocol::ppp::ccp;
use protocol::ppp::frame::{self, Protocol};
use protocol::ppp::link::{self, Encryption, Link, Network, Step};
use protocol::pptp::connection::{self as pptp, Connection, Direction};
use protocol::time::Instant;
use tokio::net::{TcpSocket, UnixDatagram};
use tokio::sync::mpsc;

use super::server::{PATIENCE, Server};

/// Something that a peer notices.
#[derive(Debug)]
pub enum News {
    Control(pptp::Event),
    Link(link::Event),
}

/// What a peer is to be.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The last octet of its address on loopback.
    pub host: u8,
    pub call_id: u16,
    pub user: &'a str,
    pub password: &'a str,
    pub encryption: ccp::Policy,
}

impl<'a> Caller<'a> {
    /// A user with the right password, at a place of their own.
    pub fn new(host: u8, user: &'a str, password: &'a str) -> Self {
        Self { host, call_id: 7, user, password, encryption: ccp::Policy::default() }
    }
}

/// A client's end of one call.
pub struct Line {
    link: Link,
    /// Where the server's frames come; it may be another than the call is asked for with.
    call_id: u16,
    /// What arrives for its Call ID.
    frames: mpsc::UnboundedReceiver<Vec<u8>>,
    server_call_id: u16,
    call: Option<pptp::CallHandle>,
    sequence: u32,
    deadline: Option<Instant>,
    mppe: Option<(Stateless, Stateless)>,
}

impl Line {
    fn new(caller: &Caller<'_>, frames: mpsc::UnboundedReceiver<Vec<u8>>) -> Self {
        let role = link::Role::Client {
            user: caller.user.as_bytes().to_vec(),
            credential: Credential::of_password(caller.password),
            methods: vec![Method::MsChapV2],
        };
        let config = link::Config { encryption: caller.encryption, ..link::Config::new(role) };
        Self {
            link: Link::new(config, [caller.host; 32]),
            call_id: caller.call_id,
            frames,
            server_call_id: 0,
            call: None,
            sequence: 0,
            deadline: None,
            mppe: None,
        }
    }
}

/// A client.
pub struct Peer {
    pub control: Control,
    clock: Clock,
    address: Ipv4Addr,
    server: Ipv4Addr,
    gre: Arc<UnixDatagram>,
    line: Line,
    is_established: bool,
    news: std::collections::VecDeque<News>,
    /// Whether each PPP frame is sent again at once, as after a lost answer.
    pub twice: bool,
}

impl Peer {
    /// Opens TCP, and sends the start message.
    pub async fn connect(server: &Server, caller: Caller<'_>) -> Self {
        let address = Ipv4Addr::new(127, 0, 0, caller.host);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.into(), 0)).unwrap();
        let stream = socket.connect(server.address).await.unwrap();
        let clock = Clock::start();
        let config = pptp::Config::default();
        let (control, _) = Control::new(stream, Connection::client(config), clock);
        Self {
            control,
            clock,
            address,
            server: Ipv4Addr::LOCALHOST,
            gre: server.gre(),
            line: Line::new(&caller, server.plug_in(address, caller.call_id)),
            is_established: false,
            news: std::collections::VecDeque::new(),
            twice: false,
        }
    }

    /// The next call is another one in the same control connection; the old one rests.
    pub fn another(&mut self, server: &Server, caller: Caller<'_>) -> Line {
        let frames = server.plug_in(self.address, caller.call_id);
        std::mem::replace(&mut self.line, Line::new(&caller, frames))
    }

    /// Goes on with this call; the other rests.
    pub fn switch(&mut self, line: &mut Line) {
        std::mem::swap(&mut self.line, line);
    }

    /// Works until there is more news.
    async fn work(&mut self) {
        let before = self.news.len();
        while self.news.len() == before {
            tokio::select! {
                events = self.control.next(), if !self.control.is_closed() => {
                    self.news.extend(events.into_iter().map(News::Control));
                }
                Some(frame) = self.line.frames.recv() => {
                    let data = matches!(frame::parse(&frame), Ok((Protocol::COMPRESSED, _)));
                    if !data {
                        self.tell(link::Input::Frame(&frame)).await;
                    }
                }
                () = self.clock.wait(self.line.deadline) => self.tell(link::Input::Deadline).await,
            }
        }
    }

    /// Waits for news of this kind, and takes it. Other news stays to be asked for.
    pub async fn until<T>(&mut self, what: &str, wanted: impl Fn(&News) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(place) = self.news.iter().position(|news| wanted(news).is_some()) {
                    return self.news.remove(place).as_ref().and_then(&wanted);
                }
                self.work().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await.ok().flatten();
        assert!(found.is_some(), "{what} did not come, but {:#?}", self.news);
        found.unwrap()
    }

    /// The control connection is established.
    pub async fn established(&mut self) {
        if !self.is_established {
            self.until("the control connection", |news| {
                matches!(news, News::Control(pptp::Event::Established { .. })).then_some(())
            })
            .await;
            self.is_established = true;
        }
    }

    /// Asks for a call and gets it.
    pub async fn call(&mut self, call_id: u16) {
        self.request(call_id).await;
        let (call, id) = self
            .until("the call", |news| match news {
                News::Control(pptp::Event::CallEstablished { call, peer_call_id, .. }) => {
                    Some((*call, *peer_call_id))
                }
                _ => None,
            })
            .await;
        self.line.call = Some(call);
        self.line.server_call_id = id;
    }

    /// Asks for a call and does not get it: why.
    pub async fn refused(&mut self, call_id: u16) -> String {
        self.request(call_id).await;
        self.cleared().await
    }

    /// Asks for a call, and does not wait for the answer.
    pub async fn ask_for_call(&mut self, call_id: u16) {
        self.request(call_id).await;
        // What was asked is still in our hands.
        self.control.flush().await;
    }

    async fn request(&mut self, call_id: u16) {
        self.established().await;
        let own_call_id = call_id.try_into().unwrap();
        let direction = Direction::Outgoing;
        let events = self.control.input(pptp::Input::StartCall { direction, own_call_id });
        self.news.extend(events.into_iter().map(News::Control));
    }

    /// Begins PPP.
    pub async fn open(&mut self) {
        self.tell(link::Input::Open).await;
    }

    /// PPP reached this step.
    pub async fn step(&mut self, wanted: Step) {
        self.until("the step", |news| {
            matches!(news, News::Link(link::Event::Step(step)) if *step == wanted).then_some(())
        })
        .await;
    }

    /// All of it: the network, or why there is none.
    pub async fn log_in(&mut self, call_id: u16) -> Result<Network, String> {
        assert_eq!(call_id, self.line.call_id, "frames would come to nobody");
        self.call(call_id).await;
        self.open().await;
        self.until("the network", |news| match news {
            News::Link(link::Event::NetworkUp(network)) => Some(Ok(*network)),
            News::Link(link::Event::Down(reason)) => Some(Err(reason.to_string())),
            _ => None,
        })
        .await
    }

    /// Whether the control connection is established or closed.
    pub async fn outcome(&mut self) -> Result<(), String> {
        self.until("an answer", |news| match news {
            News::Control(pptp::Event::Established { .. }) => Some(Ok(())),
            News::Control(pptp::Event::Closed(reason)) => Some(Err(reason.to_string())),
            _ => None,
        })
        .await
    }

    /// Why the link went down.
    pub async fn down(&mut self) -> String {
        self.until("the link's end", |news| match news {
            News::Link(link::Event::Down(reason)) => Some(reason.to_string()),
            _ => None,
        })
        .await
    }

    /// Why the call was cleared.
    pub async fn cleared(&mut self) -> String {
        self.until("the call's end", |news| match news {
            News::Control(pptp::Event::CallCleared { cause, .. }) => Some(cause.to_string()),
            _ => None,
        })
        .await
    }

    /// Why the control connection ended.
    pub async fn closed(&mut self) -> String {
        self.until("the connection's end", |news| match news {
            News::Control(pptp::Event::Closed(reason)) => Some(reason.to_string()),
            _ => None,
        })
        .await
    }

    /// Hangs up as a PNS does, with Call-Clear-Request, and waits for the answer.
    pub async fn hang_up(&mut self) {
        let call = self.line.call.unwrap();
        let result = protocol::pptp::message::codes::DisconnectResult::Request;
        let events = self.control.input(pptp::Input::ClearCall { call, result });
        self.news.extend(events.into_iter().map(News::Control));
        self.cleared().await;
    }

    /// Sends an inner packet, encrypted.
    pub async fn send(&mut self, packet: &[u8]) {
        let (sending, _) = self.line.mppe.as_mut().unwrap();
        let mut data = [&[0x00, 0x21], packet].concat();
        let header = sending.encrypt(&mut data);
        let frame = [&[0x00, 0xFD], &header.to_octets()[..], &data].concat();
        self.send_ppp(&frame).await;
    }

    /// The next inner packet from the server.
    pub async fn receive(&mut self) -> Vec<u8> {
        let wait = async {
            loop {
                let frame = self.line.frames.recv().await.unwrap();
                let Ok((Protocol::COMPRESSED, payload)) = frame::parse(&frame) else { continue };
                let (header, data) = payload.split_first_chunk().unwrap();
                let mut data = data.to_vec();
                let (_, receiving) = self.line.mppe.as_mut().unwrap();
                receiving.decrypt(MppeHeader::from_octets(*header), &mut data).unwrap();
                let protocol = if data[0] == 0x21 { 1 } else { 2 };
                return data.split_off(protocol);
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    /// Sends a PPP frame, whatever it is.
    pub async fn send_ppp(&mut self, frame: &[u8]) {
        let call_id = self.line.server_call_id;
        let ppp = [&[0xFF, 0x03], frame].concat();
        let packet = outer(self.address, self.server, call_id, self.line.sequence, &ppp);
        self.line.sequence += 1;
        self.gre.send(&packet).await.unwrap();
    }

    async fn tell(&mut self, input: link::Input<'_>) {
        let mut frames = Vec::new();
        let Self { line: Line { link, mppe, deadline, .. }, news, .. } = self;
        *deadline = drive(link, input, self.clock.now(), |action| match action {
            Action::Send(frame) => frames.push(frame),
            Action::Event(event) => {
                if let link::Event::Encryption(Encryption::Mppe { receive, send }) = &event {
                    let (send, receive) = (send.key.clone(), receive.key.clone());
                    *mppe = Some((Stateless::new(send), Stateless::new(receive)));
                }
                news.push_back(News::Link(event));
            }
        });
        for frame in frames {
            self.send_ppp(&frame).await;
            if self.twice {
                self.send_ppp(&frame).await;
            }
        }
    }
}

/// A PPP frame in GRE in IP.
pub fn outer(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    call_id: u16,
    sequence: u32,
    ppp: &[u8],
) -> Vec<u8> {
    let payload_len = u16::try_from(ppp.len()).unwrap();
    let header =
        gre::Header { call_id, payload_len, sequence: Some(sequence), acknowledgment: None };
    let mut octets = [0; gre::MAX_HEADER_LEN];
    let len = header.emit(&mut octets);
    ip(gre::IP_PROTOCOL, source, destination, &[&octets[..len], ppp].concat())
}

/// An IPv4 packet.
pub fn ip(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let sum: u32 =
        packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xFFFF) + (sum >> 16);
    let checksum = u16::try_from(0xFFFF - ((sum & 0xFFFF) + (sum >> 16))).unwrap();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}
