//! A call that we place: from TCP to its end, the PNS's side of RFC 2637 §3 and a client's of PPP.
//!
//! Both `penstock dial` and the daemon's clients place their calls here. Says each step to its
//! owner, gives the interface its address and the kernel the routes that were asked for, and takes
//! them away at the end. Never places a second call.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dataplane::api::{self, Tap, TunnelCounters, TunnelId};
use protocol::ppp::auth::{Credential, Method};
use protocol::ppp::ccp;
use protocol::ppp::link::{self, Link, Network};
use protocol::pptp::connection::{self as pptp, CallHandle, Connection, Direction};
use protocol::pptp::message::Text;
use protocol::pptp::message::codes::{DisconnectResult, StopReason};
use protocol::time::Instant;
use tokio::net::TcpStream;

use super::DialError;
use super::routes::{Routes, Through};
use crate::call::{Bounds, Call, Reach};
use crate::config::{Mrru, Span, is_for_hosts, is_for_servers, server_name};
use crate::control::{Control, ipv4};
use crate::kernel::Destination;
use crate::mailbox::Mailbox;
use crate::plane::{DEFAULT_WINDOW, Message, Plane};

/// A server that does not answer TCP by then will not.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may take to agree to the end.
pub const FAREWELL: Duration = Duration::from_secs(3);

/// How long it may take to agree to the end of a call that failed: it may be silent for good.
const FAILED_FAREWELL: Duration = Duration::from_millis(500);

/// What the data plane says that may wait for the task.
const INBOX: usize = 256;

/// What a call is placed with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How we call ourselves.
    pub host_name: String,
    /// User name, `DOMAIN\` allowed.
    pub user: String,
    /// Its password.
    pub credential: Credential,
    /// The methods that we follow.
    pub methods: Vec<Method>,
    /// Whether data has to be encrypted.
    pub encryption: ccp::Policy,
    /// Largest inner packet that we send, bytes.
    pub max_mtu: u16,
    /// Largest packet that we offer to receive, bytes.
    pub max_mru: u16,
    /// Largest packet that we put together from fragments.
    pub mrru: Mrru,
    /// Silence after which the server is asked whether it lives; twice that ends the call.
    pub keepalive: Option<Duration>,
    /// Time from TCP to an address.
    pub login_timeout: Duration,
    /// Whether the segment size of TCP connections is lowered.
    pub clamp_mss: bool,
    /// Where Ethernet frames come from and go to beside IP packets.
    pub tap: Option<Tap>,
    /// Who brings packets to the tunnel and from it.
    pub forward: api::Forward,
    /// The interface that they pass.
    pub interface: String,
    /// What is routed to that interface.
    pub through: Through,
}

/// How far a call is.
#[derive(Debug)]
pub enum Progress<'a> {
    /// TCP is open.
    TcpConnected,
    /// The control connection is established.
    Controlled,
    /// The server took the call.
    Called,
    /// A step of PPP.
    Link(link::Step),
    /// What protects data.
    Encoding(String),
    /// The machine has a route to this already, which stays in place of ours.
    RouteStays(Destination),
    /// Data passes. Comes again after a renegotiation.
    Up(&'a Network),
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    /// Why, if it was not our wish.
    pub result: Result<(), DialError>,
    /// Data could pass.
    pub was_up: bool,
    /// What passed.
    pub counters: TunnelCounters,
}

/// The address behind a name, with a port after a colon if it is not PPTP's own.
///
/// # Errors
/// If there is none.
pub async fn resolve(server: &str) -> Result<SocketAddr, DialError> {
    let failed = |reason: String| DialError::Unknown { server: server.to_owned(), reason };
    let usable = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(address) => is_for_servers(address),
        IpAddr::V6(_) => false,
    };
    tokio::net::lookup_host(server_name(server).map_err(failed)?)
        .await
        .map_err(|error| failed(error.to_string()))?
        .find(usable)
        .ok_or_else(|| failed("it has no IPv4 address that a server can have".to_owned()))
}

/// Opens TCP to a server.
///
/// # Errors
/// If it does not answer in time, or refuses.
pub async fn connect(server: SocketAddr, within: Duration) -> Result<TcpStream, DialError> {
    let failed = |reason: String| DialError::Unreachable { server, reason };
    let port = server.port();
    let stream = tokio::time::timeout(within, TcpStream::connect(server))
        .await
        .map_err(|_| {
            let seconds = within.as_secs();
            failed(format!("no answer within {seconds}s: TCP {port} may be filtered"))
        })?
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                failed("connection refused: no PPTP server listens there".to_owned())
            }
            _ => failed(error.to_string()),
        })?;
    // Small messages that wait for answers.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// A call on its way.
pub struct Outgoing<'a, W: FnMut(Progress<'_>)> {
    settings: &'a Settings,
    /// Is told each step.
    watcher: W,
    server: Ipv4Addr,
    local: Ipv4Addr,
    control: Control,
    inbox: Mailbox<Message>,
    /// The link waits in here until the call is established.
    call: Call,
    handle: Option<CallHandle>,
    established: bool,
    routes: Routes,
    up: bool,
    /// When a call that never was up is given up.
    login_until: Instant,
    /// How it ended.
    end: Option<Result<(), DialError>>,
    /// We wanted the end: when we stop to wait for the server's agreement.
    farewell: Option<Instant>,
}

impl<W: FnMut(Progress<'_>)> std::fmt::Debug for Outgoing<'_, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("server", &self.server).finish_non_exhaustive()
    }
}

impl<'a, W: FnMut(Progress<'_>)> Outgoing<'a, W> {
    /// Begins a call on an open TCP connection.
    ///
    /// # Errors
    /// If the data plane has no room, or the system refuses random numbers.
    pub async fn place(
        stream: TcpStream,
        settings: &'a Settings,
        plane: &Plane,
        routes: Routes,
        mut watcher: W,
    ) -> Result<Self, DialError> {
        watcher(Progress::TcpConnected);
        let server = stream.peer_addr().and_then(ipv4).map_err(DialError::System)?;
        let local = stream.local_addr().and_then(ipv4).map_err(DialError::System)?;
        let config = pptp::Config {
            host_name: Text::new(&settings.host_name),
            // The time for all of the login is over before.
            establish_timeout: settings.login_timeout + FAREWELL,
            call_timeout: settings.login_timeout + FAREWELL,
            stop_timeout: FAREWELL / 2,
            ..pptp::Config::default()
        };
        let (control, _) = Control::new(stream, Connection::client(config), plane.clock());
        let inbox = Mailbox::new(INBOX);
        // The tunnel is open before the server can know of it: its first frame races its reply.
        let call_id = plane
            .call_id(server)
            .map_err(|error| DialError::System(std::io::Error::other(error)))?;
        let tunnel = plane.open(call_id, local, 0, DEFAULT_WINDOW, inbox.clone()).await?;
        let link = link(settings, control.path_mtu())?;
        let clock = plane.clock();
        let mut call = Call::new(link, tunnel, clock, Reach::Everything);
        call.set_bounds(Bounds { clamp_mss: settings.clamp_mss, ..Bounds::default() }).await;
        call.set_forward(settings.forward.clone()).await;
        call.set_tap(settings.tap.clone());
        Ok(Self {
            settings,
            watcher,
            server,
            local,
            control,
            inbox,
            call,
            handle: None,
            established: false,
            routes,
            up: false,
            login_until: clock.now() + settings.login_timeout,
            end: None,
            farewell: None,
        })
    }

    /// Its tunnel.
    pub const fn tunnel(&self) -> TunnelId {
        self.call.tunnel().id()
    }

    /// Stays with the call until it ends, or until `ended`, when it takes leave.
    pub async fn run(mut self, mut ended: impl Future<Output = ()> + Unpin) -> Ended {
        loop {
            if let Some(end) = self.end.take() {
                return self.finish(end).await;
            }
            let clock = self.call.clock();
            let login_until = Some(self.login_until).filter(|_| !self.up);
            let deadlines =
                [self.call.deadline(), self.control.deadline(), self.farewell, login_until];
            let deadline = deadlines.into_iter().flatten().min();
            tokio::select! {
                events = self.control.next() => self.pptp_events(events).await,
                message = self.inbox.next(), if self.established => {
                    self.message(&message).await;
                }
                () = &mut ended, if self.farewell.is_none() => {
                    self.farewell = Some(clock.now() + FAREWELL);
                    let reason = link::Reason::Closed("closed by the user".to_owned());
                    let events = self.call.input(link::Input::Close(reason)).await;
                    self.link_events(events).await;
                    if !self.established {
                        self.end = Some(Ok(()));
                    }
                }
                () = clock.wait(deadline) => {
                    if self.farewell.is_some_and(|at| at <= clock.now()) {
                        self.end = Some(Ok(()));
                    } else if login_until.is_some_and(|at| at <= clock.now()) {
                        self.give_up().await;
                        continue;
                    }
                    let events = self.control.tick(|| self.call.tunnel().heard());
                    self.pptp_events(events).await;
                    let events = self.call.tick().await;
                    self.link_events(events).await;
                }
            }
        }
    }

    /// The time for the login is over.
    async fn give_up(&mut self) {
        let within = Span::seconds(self.settings.login_timeout.as_secs());
        let reason = link::Reason::Stalled(self.call.phase());
        let error = match self.handle {
            None => DialError::Unanswered { what: "Start-Control-Connection-Request", within },
            Some(_) if !self.established => {
                DialError::Unanswered { what: "Outgoing-Call-Request", within }
            }
            Some(_) => {
                let heard = self.call.tunnel().counters().heard.is_some();
                DialError::of_link(reason.clone(), heard, self.server, self.local)
            }
        };
        self.ends(|| error);
        // Says so, and does not wait for an answer.
        self.call.input(link::Input::Close(reason)).await;
    }

    async fn pptp_events(&mut self, events: Vec<pptp::Event>) {
        // Why the control connection ended is told after what became of its call.
        let closed = events.iter().find_map(|event| match event {
            pptp::Event::Closed(reason) => Some(*reason),
            _ => None,
        });
        for event in events {
            match event {
                pptp::Event::Established { .. } => {
                    (self.watcher)(Progress::Controlled);
                    let own_call_id = self.call.tunnel().own_call_id();
                    let direction = Direction::Outgoing;
                    // Answered by CallStarted, which changes nothing here.
                    self.handle = self
                        .control
                        .input(pptp::Input::StartCall { direction, own_call_id })
                        .iter()
                        .find_map(|event| match event {
                            pptp::Event::CallStarted { call, .. } => Some(*call),
                            _ => None,
                        });
                }
                pptp::Event::CallEstablished { peer_call_id, peer_window, .. } => {
                    (self.watcher)(Progress::Called);
                    self.established = true;
                    let tunnel = self.call.tunnel();
                    let command =
                        api::Command::SetPeer { tunnel: tunnel.id(), peer_call_id, peer_window };
                    tunnel.command(command).await;
                    let events = self.call.input(link::Input::Open).await;
                    self.link_events(events).await;
                }
                pptp::Event::CallCleared { cause, .. } => {
                    let refused = matches!(cause, pptp::ClearCause::OutgoingRefused { .. });
                    let said = match (&cause, closed) {
                        (pptp::ClearCause::ConnectionEnded, Some(reason)) => reason.to_string(),
                        // The reason follows.
                        (pptp::ClearCause::ConnectionEnded, None) => continue,
                        _ => cause.to_string(),
                    };
                    self.cleared(refused, said).await;
                }
                pptp::Event::Closed(reason) => {
                    let refused = matches!(reason, pptp::CloseReason::StartRefused { .. });
                    self.cleared(refused, reason.to_string()).await;
                }
                _ => {}
            }
        }
    }

    /// What the data plane says. We are nobody's router here.
    async fn message(&mut self, message: &Message) {
        if let Ok(input) = message.input() {
            let events = self.call.input(input).await;
            self.link_events(events).await;
        }
    }

    /// PPTP ended. Often PPP knows better why: a login that is refused ends in LCP first, and what
    /// came by the tunnel may still wait to be looked at.
    async fn cleared(&mut self, refused: bool, cause: String) {
        while let Some(message) = self.inbox.take() {
            self.message(&message).await;
        }
        let lost = link::Reason::Closed(cause.clone());
        let events = self.call.input(link::Input::Lost(lost.clone())).await;
        if !events.contains(&link::Event::Down(lost)) {
            self.link_events(events).await;
        }
        self.ends(|| DialError::Cleared { refused, cause });
    }

    async fn link_events(&mut self, events: Vec<link::Event>) {
        for event in events {
            match event {
                link::Event::Step(step) => (self.watcher)(Progress::Link(step)),
                link::Event::Encryption(encryption) => {
                    (self.watcher)(Progress::Encoding(encryption.to_string()));
                }
                link::Event::NetworkUp(network) => {
                    if let Err(error) = self.network_up(&network).await {
                        self.end.get_or_insert(Err(error));
                    }
                }
                link::Event::Down(reason) => {
                    let heard = self.call.tunnel().counters().heard.is_some();
                    let (server, local) = (self.server, self.local);
                    self.ends(|| DialError::of_link(reason, heard, server, local));
                }
                _ => {}
            }
        }
    }

    /// The first end counts; one that we wanted is none.
    fn ends(&mut self, error: impl FnOnce() -> DialError) {
        let end = if self.farewell.is_some() { Ok(()) } else { Err(error()) };
        self.end.get_or_insert(end);
    }

    async fn network_up(&mut self, network: &Network) -> Result<(), DialError> {
        // With an outer address inside, the tunnel's own packets would stay here.
        let why = match network.local {
            local if !is_for_hosts(local) => Some("no host can have"),
            local if local == self.server => Some("is its own outside of the tunnel"),
            local if local == self.local => Some("is ours outside of the tunnel"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(DialError::Address(network.local, why));
        }
        // RFC 1332 lets a server keep its address to itself: then the link has an end alone. One
        // that names its outer address has our tunnel's packets run into the tunnel, and one that
        // gives us its own has none.
        let usable = |remote: &Ipv4Addr| {
            is_for_hosts(*remote) && *remote != self.server && *remote != network.local
        };
        let remote = Some(network.remote).filter(usable);
        self.routes.up(&self.settings.interface, network.mtu, network.local, remote).await?;
        if !self.up {
            self.up = true;
            for destination in self.routes.add(&self.settings.through, self.server).await? {
                (self.watcher)(Progress::RouteStays(destination));
            }
        }
        (self.watcher)(Progress::Up(network));
        Ok(())
    }

    /// Takes leave of the server, as far as it listens.
    async fn finish(mut self, result: Result<(), DialError>) -> Ended {
        let counters = self.call.tunnel().counters();
        // What is routed here would go nowhere.
        self.routes.remove().await;
        if let Some(call) = self.handle {
            let result = DisconnectResult::Request;
            self.control.input(pptp::Input::ClearCall { call, result });
        }
        self.control.input(pptp::Input::Stop(StopReason::None));
        let patience = if result.is_ok() { FAREWELL } else { FAILED_FAREWELL };
        let goodbye = async {
            let clock = self.call.clock();
            while !self.control.is_closed() {
                let deadline = self.control.deadline();
                tokio::select! {
                    _ = self.control.next() => {}
                    () = clock.wait(deadline) => drop(self.control.tick(|| None)),
                }
            }
        };
        // Without an answer it is over as well.
        let _ = tokio::time::timeout(patience, goodbye).await;
        let _ = tokio::time::timeout(patience, self.control.flush()).await;
        Ended { result, was_up: self.up, counters }
    }
}

/// The PPP side of the call.
fn link(settings: &Settings, path_mtu: Option<u16>) -> Result<Link, DialError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| DialError::System(std::io::Error::other(error)))?;
    let role = link::Role::Client {
        user: settings.user.clone().into_bytes(),
        credential: settings.credential.clone(),
        methods: settings.methods.clone(),
    };
    let config = link::Config {
        mru: settings.max_mru,
        mrru: settings.mrru.offered(),
        bridge: settings.tap.is_some(),
        mtu: settings.max_mtu,
        outer_mtu: path_mtu.unwrap_or(1500),
        encryption: settings.encryption,
        keepalive: settings.keepalive,
        login_timeout: settings.login_timeout,
        ..link::Config::new(role)
    };
    Ok(Link::new(config, seed))
}
