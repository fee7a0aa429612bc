//! `penstock dial`: a PPTP client with a data plane and a TUN interface of its own.
//!
//! The same machines as the server's, the other side of them. Says each step with its time, and
//! if it fails what an operator can do about it. Changes the kernel's routes only where told to.

mod arguments;
mod error;
mod output;
mod routes;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dataplane::api::{self, Events, Handle};
use protocol::ppp::auth::{Credential, Method};
use protocol::ppp::link::{self, Link, Network};
use protocol::pptp::connection::{self as pptp, CallHandle, Connection, Direction};
use protocol::pptp::message::Text;
use protocol::pptp::message::codes::{DisconnectResult, StopReason};
use protocol::time::Instant;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

pub use arguments::Arguments;
pub use error::DialError;

use crate::call::{Call, Outcome, Reach};
use crate::clock::Clock;
use crate::config::Span;
use crate::control::{Control, ipv4};
use crate::host::{host_name, interface_exists};
use crate::kernel::Kernel;
use crate::plane::{self, DEFAULT_WINDOW, Frame, Plane, Tunnel};
use output::Output;
use routes::Routes;

/// A server that does not answer TCP by then will not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may take to agree to the end.
const FAREWELL: Duration = Duration::from_secs(3);

/// Control frames that may wait for the task.
const INBOX: usize = 256;

/// Calls, and stays until told to end.
///
/// # Errors
/// If the call fails, or is lost.
pub fn run(arguments: &Arguments, password: Zeroizing<String>) -> Result<(), DialError> {
    let credential = Credential::of_password(&password);
    drop(password);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DialError::System)?
        .block_on(dial(arguments, credential))
}

async fn dial(arguments: &Arguments, credential: Credential) -> Result<(), DialError> {
    let output = Output::new(arguments.json);
    let ended = ended(arguments.duration.map(Span::duration));
    let mut ended = std::pin::pin!(ended);
    let server = resolve(&arguments.server).await?;
    let (interface, handle, events) = start(arguments).await?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| DialError::System(std::io::Error::other(error)))?;
    let plane = Plane::new(handle, Clock::start(), u64::from_ne_bytes(seed));
    let deliver = plane.clone();
    let delivery = tokio::spawn(async move {
        deliver.deliver(events).await;
    });
    let result = {
        let stream = tokio::select! {
            stream = connect(server) => stream?,
            () = &mut ended => return Ok(()),
        };
        output.step("tcp-connected");
        match Dialler::new(stream, server, arguments, credential, &plane, interface, output).await {
            Ok(dialler) => dialler.run(ended).await,
            Err(error) => Err(error),
        }
    };
    delivery.abort();
    plane.handle().stop();
    result
}

/// SIGINT, SIGTERM, or the time is over.
async fn ended(duration: Option<Duration>) {
    let caught = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = caught(SignalKind::interrupt()) => {}
        _ = caught(SignalKind::terminate()) => {}
        () = over => {}
    }
}

async fn resolve(server: &str) -> Result<SocketAddr, DialError> {
    let with_port = match server.rsplit_once(':') {
        Some(_) => server.to_owned(),
        None => format!("{server}:{}", protocol::pptp::PORT),
    };
    let failed = |reason: String| DialError::Unknown { server: server.to_owned(), reason };
    tokio::net::lookup_host(with_port)
        .await
        .map_err(|error| failed(error.to_string()))?
        .find(SocketAddr::is_ipv4)
        .ok_or_else(|| failed("it has no IPv4 address".to_owned()))
}

async fn connect(server: SocketAddr) -> Result<TcpStream, DialError> {
    let failed = |reason: String| DialError::Unreachable { server, reason };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(server))
        .await
        .map_err(|_| failed("no answer: TCP 1723 may be filtered".to_owned()))?
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

/// Starts a data plane with the interface that was asked for, or with the first of RouterOS's
/// names that is free.
async fn start(arguments: &Arguments) -> Result<(String, Handle, Events), DialError> {
    let started = async |name: String| {
        let config = api::Config {
            workers: 1,
            tun: api::Tun { name, mtu: arguments.max_mtu, ..api::Tun::default() },
            max_tunnels: 1,
            frames: 2048,
            ..api::Config::default()
        };
        plane::start(config).await
    };
    if let Some(name) = &arguments.interface {
        let (handle, events) = started(name.clone()).await?;
        return Ok((name.clone(), handle, events));
    }
    let mut number = 1_u32;
    loop {
        let name = format!("pptp-out{number}");
        number += 1;
        if interface_exists(&name) {
            continue;
        }
        match started(name.clone()).await {
            Ok((handle, events)) => return Ok((name, handle, events)),
            // Another call took the name at the same moment.
            Err(_) if interface_exists(&name) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

struct Dialler<'a> {
    arguments: &'a Arguments,
    output: Output,
    server: SocketAddr,
    server_address: Ipv4Addr,
    local: Ipv4Addr,
    interface: String,
    control: Control,
    frames: mpsc::Receiver<Frame>,
    /// The link waits in here until the call is established.
    call: Call,
    handle: Option<CallHandle>,
    established: bool,
    routes: Routes,
    up: bool,
    /// How it ended.
    end: Option<Result<(), DialError>>,
    /// We wanted the end: when we stop to wait for the server's agreement.
    farewell: Option<Instant>,
}

impl<'a> Dialler<'a> {
    async fn new(
        stream: TcpStream,
        server: SocketAddr,
        arguments: &'a Arguments,
        credential: Credential,
        plane: &Plane,
        interface: String,
        output: Output,
    ) -> Result<Self, DialError> {
        let server_address = ipv4(server).map_err(DialError::System)?;
        let local = stream.local_addr().and_then(ipv4).map_err(DialError::System)?;
        let config = pptp::Config {
            host_name: Text::new(&host_name()),
            establish_timeout: arguments.login_timeout.duration(),
            call_timeout: arguments.login_timeout.duration(),
            stop_timeout: FAREWELL / 2,
            ..pptp::Config::default()
        };
        let (control, _) = Control::new(stream, Connection::client(config), plane.clock());
        let (inbox, frames) = mpsc::channel(INBOX);
        // The tunnel is open before the server can know of it: its first frame races its reply.
        let call_id = plane
            .call_id(server_address)
            .map_err(|error| DialError::System(std::io::Error::other(error)))?;
        let tunnel = plane.open(call_id, local, 0, DEFAULT_WINDOW, inbox).await?;
        let call = link(arguments, credential, tunnel, plane, control.path_mtu())?;
        let kernel = Kernel::connect()?;
        Ok(Self {
            arguments,
            output,
            server,
            server_address,
            local,
            routes: Routes::new(kernel, server_address),
            interface,
            control,
            frames,
            call,
            handle: None,
            established: false,
            up: false,
            end: None,
            farewell: None,
        })
    }

    async fn run(mut self, mut ended: impl Future<Output = ()> + Unpin) -> Result<(), DialError> {
        loop {
            if let Some(end) = self.end.take() {
                return self.finish(end).await;
            }
            let clock = self.call.clock();
            let deadline = [self.call.deadline(), self.farewell].into_iter().flatten().min();
            tokio::select! {
                events = self.control.next() => self.pptp_events(events).await,
                Some(frame) = self.frames.recv(), if self.established => {
                    let outcome = self.call.input(link::Input::Frame(&frame.bytes)).await;
                    self.link_outcome(outcome).await;
                }
                () = &mut ended, if self.farewell.is_none() => {
                    self.farewell = Some(clock.now() + FAREWELL);
                    let reason = link::Reason::Closed("closed by the user".to_owned());
                    let outcome = self.call.input(link::Input::Close(reason)).await;
                    self.link_outcome(outcome).await;
                    if !self.established {
                        self.end = Some(Ok(()));
                    }
                }
                () = clock.wait(deadline) => {
                    if self.farewell.is_some_and(|at| at <= clock.now()) {
                        self.end = Some(Ok(()));
                    }
                    let outcome = self.call.tick().await;
                    self.link_outcome(outcome).await;
                }
            }
        }
    }

    async fn pptp_events(&mut self, events: Vec<pptp::Event>) {
        for event in events {
            match event {
                pptp::Event::Established { .. } => {
                    self.output.step("control-connection");
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
                    self.output.step("call");
                    self.established = true;
                    let tunnel = self.call.tunnel();
                    let command =
                        api::Command::SetPeer { tunnel: tunnel.id(), peer_call_id, peer_window };
                    tunnel.command(command).await;
                    let outcome = self.call.input(link::Input::Open).await;
                    self.link_outcome(outcome).await;
                }
                pptp::Event::CallCleared { cause, .. } => {
                    let refused = matches!(cause, pptp::ClearCause::OutgoingRefused { .. });
                    self.cleared(refused, cause.to_string()).await;
                }
                pptp::Event::Closed(reason) => {
                    let refused = matches!(reason, pptp::CloseReason::StartRefused { .. });
                    self.cleared(refused, reason.to_string()).await;
                }
                _ => {}
            }
        }
    }

    /// PPTP ended. Often PPP knows better why: a login that is refused ends in LCP first, and what
    /// came by the tunnel may still wait to be looked at.
    async fn cleared(&mut self, refused: bool, cause: String) {
        while let Ok(frame) = self.frames.try_recv() {
            let outcome = self.call.input(link::Input::Frame(&frame.bytes)).await;
            self.link_outcome(outcome).await;
        }
        let lost = link::Reason::Closed(cause.clone());
        let outcome = self.call.input(link::Input::Lost(lost.clone())).await;
        if !outcome.events.contains(&link::Event::Down(lost)) {
            self.link_outcome(outcome).await;
        }
        self.ends(|| DialError::Cleared { refused, cause });
    }

    async fn link_outcome(&mut self, outcome: Outcome) {
        if outcome.alive {
            let events = self.control.input(pptp::Input::PppAlive);
            debug_assert!(events.is_empty(), "a sign of life is no news");
        }
        for event in outcome.events {
            match event {
                link::Event::Step(step) => self.output.step(&step.to_string()),
                link::Event::Encryption(encryption) => {
                    self.output.encoding(&encryption.to_string());
                }
                link::Event::NetworkUp(network) => {
                    if let Err(error) = self.network_up(&network).await {
                        self.end.get_or_insert(Err(error));
                    }
                }
                link::Event::Down(reason) => {
                    let heard = self.call.tunnel().counters().heard.is_some();
                    let (server, local) = (self.server_address, self.local);
                    self.ends(|| DialError::of_link(reason, heard, server, local));
                }
                link::Event::Authenticate(_)
                | link::Event::FramingAgreed { .. }
                | link::Event::NetworkDown => {}
            }
        }
    }

    /// The first end counts; one that we wanted is none.
    fn ends(&mut self, error: impl FnOnce() -> DialError) {
        let end = if self.farewell.is_some() { Ok(()) } else { Err(error()) };
        self.end.get_or_insert(end);
    }

    async fn network_up(&mut self, network: &Network) -> Result<(), DialError> {
        // RFC 1332 lets a server keep its address to itself: then the link has an end alone.
        let remote = Some(network.remote).filter(|remote| !remote.is_unspecified());
        self.routes.up(&self.interface, network.mtu, network.local, remote).await?;
        if !self.up {
            self.up = true;
            self.routes.add(self.arguments, &self.interface).await?;
            self.output.up(&self.interface, network);
        }
        Ok(())
    }

    /// Takes leave of the server, as far as it listens.
    async fn finish(mut self, end: Result<(), DialError>) -> Result<(), DialError> {
        let counters = self.call.tunnel().counters();
        if let Some(call) = self.handle {
            let result = DisconnectResult::Request;
            self.control.input(pptp::Input::ClearCall { call, result });
        }
        self.control.input(pptp::Input::Stop(StopReason::None));
        let goodbye = async {
            while !self.control.is_closed() {
                self.control.next().await;
            }
        };
        // Without an answer it is over as well.
        let _ = tokio::time::timeout(FAREWELL, goodbye).await;
        let _ = tokio::time::timeout(FAREWELL, self.control.flush()).await;
        self.routes.remove().await;
        let reason = end.as_ref().err().map_or_else(|| "closed".to_owned(), ToString::to_string);
        self.output.down(&reason, self.up, &counters, self.server);
        end
    }
}

/// The PPP side of the call.
fn link(
    arguments: &Arguments,
    credential: Credential,
    tunnel: Tunnel,
    plane: &Plane,
    path_mtu: Option<u16>,
) -> Result<Call, DialError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| DialError::System(std::io::Error::other(error)))?;
    let role = link::Role::Client {
        user: arguments.user.clone().into_bytes(),
        credential,
        methods: arguments.allow.iter().copied().map(Method::from).collect(),
    };
    let keepalive = arguments.keepalive_timeout.unless_zero();
    let config = link::Config {
        mru: arguments.max_mru,
        mtu: arguments.max_mtu,
        outer_mtu: path_mtu.unwrap_or(1500),
        encryption: arguments.encryption.into(),
        keepalive,
        login_timeout: arguments.login_timeout.duration(),
        ..link::Config::new(role)
    };
    Ok(Call::new(Link::new(config, seed), tunnel, plane.clock(), Reach::Everything, keepalive))
}
