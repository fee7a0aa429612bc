//! One client: PPTP's machine on TCP, PPP's link on the wire.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use protocol::machine::{Action, drive};
use protocol::ppp::Framing;
use protocol::ppp::auth::{Credential, Method};
use protocol::ppp::link::{self, Encryption, Link, Network, Step};
use protocol::pptp::PORT;
use protocol::pptp::connection::{self as pptp, CallHandle, Connection, Direction};
use protocol::pptp::message::codes::DisconnectResult;
use protocol::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use super::{Plan, Shared, Steps, Tunnel, Up};

/// How long it waits for the end of a session that it hung up.
const LEAVE: Duration = Duration::from_secs(5);

/// Dials until it is up, holds the session, hangs up.
pub(super) async fn run(client: usize, shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    let work = async {
        let turn = match &shared.turns {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        // Spread evenly, in an order that has nothing to do with addresses.
        let place = (client * 7919) % shared.plan.clients.max(1);
        let share = place as f64 / shared.plan.clients.max(1) as f64;
        sleep(shared.plan.ramp.mul_f64(share)).await;
        let mut dials = 0_usize;
        let session = loop {
            dials += 1;
            shared.tally(|tally| tally.dials += 1);
            match Session::dial(client, dials, &shared).await {
                Ok(session) => break session,
                Err(reason) => count_failure(&shared, reason),
            }
            if dials == shared.plan.tries {
                drop(turn);
                shared.tally(|tally| tally.given_up += 1);
                return None;
            }
            let span = shared.plan.rest.end.saturating_sub(shared.plan.rest.start);
            let share = ((client + dials) * 7919 % 1000) as f64 / 1000.0;
            sleep(shared.plan.rest.start + span.mul_f64(share)).await;
        };
        drop(turn);
        let up = Up { at: shared.began.elapsed(), steps: session.steps };
        shared.tally(|tally| tally.up.push(up));
        Some(session)
    };
    let session = tokio::select! {
        session = work => session,
        () = stopped(&mut stop) => None,
    };
    let Some(mut session) = session else { return };
    tokio::select! {
        reason = session.hold() => {
            if let Some(carrier) = shared.wire.carrier() {
                carrier.close(client);
            }
            shared.tally(|tally| tally.lost += 1);
            count_failure(&shared, format!("lost: {reason}"));
        }
        () = stopped(&mut stop) => {
            let _ = timeout(LEAVE, session.hang_up()).await;
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender there is nobody left to hold sessions for.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn count_failure(shared: &Shared, reason: String) {
    shared.tally(|tally| *tally.failures.entry(reason).or_default() += 1);
}

/// A dial and what comes of it.
struct Session<'a> {
    client: usize,
    shared: &'a Shared,
    stream: TcpStream,
    connection: Connection,
    connection_deadline: Option<Instant>,
    link: Link,
    link_deadline: Option<Instant>,
    frames: mpsc::Receiver<Vec<u8>>,
    address: Ipv4Addr,
    own_call_id: NonZeroU16,
    call: Option<CallHandle>,
    peer_call_id: u16,
    framing: Framing,
    encryption: Encryption,
    began: StdInstant,
    steps: Steps,
    /// The call is there.
    open: bool,
    up: bool,
    ended: Option<String>,
    events: VecDeque<pptp::Event>,
}

impl<'a> Session<'a> {
    async fn dial(client: usize, dial: usize, shared: &'a Shared) -> Result<Self, String> {
        let began = StdInstant::now();
        let Plan { server, patience, sources, ref accounts, seed, .. } = shared.plan;
        let deadline = began + patience;
        let server = SocketAddr::new(server.into(), PORT);
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(address) = sources.address_of(client) {
                socket.bind(SocketAddr::new(address.into(), 0))?;
            }
            let stream = socket.connect(server).await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?.ip();
            std::io::Result::Ok((stream, local))
        };
        let (stream, address) = match timeout_at(deadline.into(), connect).await {
            Ok(Ok((stream, IpAddr::V4(address)))) => (stream, address),
            Ok(Ok((_, IpAddr::V6(_)))) => return Err("TCP: an IPv6 address".to_owned()),
            Ok(Err(error)) => return Err(format!("TCP: {}", in_words(&error))),
            Err(_) => return Err(format!("gave up after {patience:?}: no answer to TCP")),
        };
        let (user, password) = accounts[client % accounts.len()].clone();
        let role = link::Role::Client {
            user: user.into_bytes(),
            credential: Credential::of_password(&password),
            methods: vec![Method::MsChapV2],
        };
        let own_call_id = sources.call_id_of(client, dial);
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&(client as u64).to_be_bytes());
        entropy[8..16].copy_from_slice(&(dial as u64).to_be_bytes());
        entropy[16..24].copy_from_slice(&seed.to_be_bytes());
        let mut session = Self {
            client,
            shared,
            stream,
            connection: Connection::client(pptp::Config::default()),
            connection_deadline: None,
            link: Link::new(link::Config::new(role), entropy),
            link_deadline: None,
            frames: shared.wire.plug_in(client, own_call_id.get()),
            address,
            own_call_id,
            call: None,
            peer_call_id: 0,
            framing: Framing::default(),
            encryption: Encryption::None,
            began,
            steps: Steps { tcp: began.elapsed(), ..Steps::default() },
            open: false,
            up: false,
            ended: None,
            events: VecDeque::new(),
        };
        session.control(pptp::Input::Opened).await;
        while !session.up {
            if let Some(reason) = session.ended.take() {
                return Err(reason);
            }
            if timeout_at(deadline.into(), session.turn()).await.is_err() {
                return Err(format!("gave up after {patience:?}: no answer to {}", session.step()));
            }
        }
        Ok(session)
    }

    /// What the server has not answered yet.
    fn step(&self) -> &'static str {
        let Steps { lcp, authentication, ccp, .. } = self.steps;
        if !self.open {
            "PPTP"
        } else if lcp.is_zero() {
            "LCP (is GRE filtered?)"
        } else if authentication.is_zero() {
            "the login"
        } else if ccp.is_zero() {
            "CCP"
        } else {
            "IPCP"
        }
    }

    /// Keeps the session until it ends.
    async fn hold(&mut self) -> String {
        loop {
            if let Some(reason) = self.ended.take() {
                return reason;
            }
            self.turn().await;
        }
    }

    async fn hang_up(&mut self) {
        if let Some(call) = self.call {
            let result = DisconnectResult::Request;
            self.control(pptp::Input::ClearCall { call, result }).await;
            self.hold().await;
        }
    }

    /// Waits for something to happen, and deals with it.
    async fn turn(&mut self) {
        let mut buffer = [0; 2048];
        let (connection, link) =
            (self.when(self.connection_deadline), self.when(self.link_deadline));
        tokio::select! {
            read = self.stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => self.control(pptp::Input::PeerClosed).await,
                Ok(length) => self.control(pptp::Input::Received(&buffer[..length])).await,
            },
            // The server's first frame may overtake the reply that opens the call.
            Some(frame) = self.frames.recv(), if self.open => self.ppp(link::Input::Frame(&frame)),
            () = at(connection) => self.control(pptp::Input::DeadlinePassed).await,
            () = at(link) => self.ppp(link::Input::Deadline),
        }
    }

    fn now(&self) -> Instant {
        let micros = self.shared.began.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn when(&self, deadline: Option<Instant>) -> Option<StdInstant> {
        deadline.map(|deadline| self.shared.began + deadline.since(Instant::ORIGIN))
    }

    async fn control(&mut self, input: pptp::Input<'_>) {
        let (mut out, now) = (Vec::new(), self.now());
        let Self { connection, events, .. } = self;
        self.connection_deadline = drive(connection, input, now, |action| match action {
            Action::Send(message) => out.extend_from_slice(&message.emit()),
            Action::Event(event) => events.push_back(event),
        });
        // That the peer is gone is read next.
        let _ = self.stream.write_all(&out).await;
        while let Some(event) = self.events.pop_front() {
            match event {
                pptp::Event::Established { .. } => {
                    let own_call_id = self.own_call_id;
                    let direction = Direction::Outgoing;
                    let input = pptp::Input::StartCall { direction, own_call_id };
                    Box::pin(self.control(input)).await;
                }
                pptp::Event::CallStarted { call, .. } => self.call = Some(call),
                pptp::Event::CallEstablished { call, peer_call_id, .. } => {
                    self.call = Some(call);
                    self.peer_call_id = peer_call_id;
                    self.steps.call = self.began.elapsed();
                    self.open = true;
                    self.ppp(link::Input::Open);
                }
                pptp::Event::CallCleared { cause, .. } => self.end(format!("call: {cause}")),
                pptp::Event::Closed(reason) => self.end(format!("connection: {reason}")),
                _ => {}
            }
        }
    }

    fn ppp(&mut self, input: link::Input<'_>) {
        let (mut frames, mut events, now) = (Vec::new(), Vec::new(), self.now());
        self.link_deadline = drive(&mut self.link, input, now, |action| match action {
            Action::Send(frame) => frames.push(frame),
            Action::Event(event) => events.push(event),
        });
        for frame in frames {
            // What a full socket loses is sent again by the link.
            let Self { client, address, peer_call_id, .. } = *self;
            let _ = self.shared.wire.send(client, address, peer_call_id, &frame);
        }
        let elapsed = self.began.elapsed();
        for event in events {
            match event {
                link::Event::Step(Step::LcpUp) => self.steps.lcp = elapsed,
                link::Event::Step(Step::Authenticated) => self.steps.authentication = elapsed,
                link::Event::Step(Step::CcpUp) => self.steps.ccp = elapsed,
                link::Event::FramingAgreed { framing, .. } => self.framing = framing,
                link::Event::Encryption(encryption) => self.encryption = encryption,
                link::Event::NetworkUp(network) => {
                    self.steps.up = elapsed;
                    self.up = true;
                    self.carry(network);
                }
                link::Event::NetworkDown => {
                    if let Some(carrier) = self.shared.wire.carrier() {
                        carrier.close(self.client);
                    }
                }
                link::Event::Down(reason) => self.end(format!("link: {reason}")),
                _ => {}
            }
        }
    }

    fn carry(&self, network: Network) {
        if let Some(carrier) = self.shared.wire.carrier() {
            let tunnel = Tunnel {
                from: self.address,
                peer_call_id: self.peer_call_id,
                framing: self.framing,
                network,
                encryption: self.encryption.clone(),
            };
            carrier.open(self.client, &tunnel, self.shared.wire.newest(self.client));
        }
    }

    /// The first reason counts.
    fn end(&mut self, reason: String) {
        self.ended.get_or_insert(reason);
    }
}

/// The kernel's own words, without a number.
fn in_words(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

async fn at(deadline: Option<StdInstant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
