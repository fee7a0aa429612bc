//! One client: PPTP's machine on TCP, and its calls, of which a client has one unless told
//! otherwise.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use protocol::machine::{Action, drive};
use protocol::pptp::PORT;
use protocol::pptp::connection::{self as pptp, Connection, Direction};
use protocol::pptp::message::codes::DisconnectResult;
use protocol::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use super::call::Call;
use super::wire::Frame;
use super::{Plan, Shared, Tally, Up};

/// Reasons of failures that are told apart.
const REASONS: usize = 50;

/// How long it waits for the reason of a call that the server cleared: TCP overtakes GRE.
const LATE: Duration = Duration::from_millis(300);

/// How long it waits for the end of a session that it hung up.
const LEAVE: Duration = Duration::from_secs(5);

/// Dials the calls of connection number `trunk` until they are up, holds them, hangs up.
pub(super) async fn run(trunk: usize, shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    let clients = shared.plan.clients_of(trunk);
    let calls = clients.len();
    let work = async {
        let turn = match &shared.turns {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        // Spread evenly, in an order that has nothing to do with addresses.
        let all = shared.plan.trunks().max(1);
        let share = ((trunk * 7919) % all) as f64 / all as f64;
        sleep(shared.plan.ramp.mul_f64(share)).await;
        let mut dials = 0_usize;
        let session = loop {
            dials += 1;
            shared.tally(|tally| tally.dials += calls as u64);
            match Session::dial(clients.clone(), dials, &shared).await {
                Ok(session) => break session,
                Err(reason) => count_failures(&shared, calls, reason),
            }
            if dials == shared.plan.tries {
                drop(turn);
                shared.tally(|tally| tally.given_up += calls);
                return None;
            }
            let span = shared.plan.rest.end.saturating_sub(shared.plan.rest.start);
            let share = ((trunk + dials) * 7919 % 1000) as f64 / 1000.0;
            sleep(shared.plan.rest.start + span.mul_f64(share)).await;
        };
        drop(turn);
        let at = shared.began.elapsed();
        let ups = session.calls.iter().map(|call| Up { at, steps: call.steps });
        shared.tally(|tally| tally.up.extend(ups));
        Some(session)
    };
    let session = tokio::select! {
        session = work => session,
        () = stopped(&mut stop) => None,
    };
    let Some(mut session) = session else { return };
    tokio::select! {
        reason = session.hold() => {
            session.calls.iter().for_each(|call| call.close(&shared));
            shared.tally(|tally| tally.lost += calls as u64);
            count_failures(&shared, calls, format!("lost: {reason}"));
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

/// A connection that fails takes its calls along.
fn count_failures(shared: &Shared, calls: usize, reason: String) {
    shared.tally(|Tally { failures, .. }| {
        // A server may choose the words.
        let is_kept = failures.len() < REASONS || failures.contains_key(&reason);
        let reason = if is_kept { reason } else { "other reasons".to_owned() };
        *failures.entry(reason).or_default() += calls as u64;
    });
}

/// A dial and what comes of it.
struct Session<'a> {
    shared: &'a Shared,
    stream: TcpStream,
    connection: Connection,
    deadline: Option<Instant>,
    calls: Vec<Call>,
    /// Clients of this connection, and frames for them.
    first: usize,
    frames: mpsc::Receiver<Frame>,
    ended: Option<String>,
    events: VecDeque<pptp::Event>,
}

impl<'a> Session<'a> {
    async fn dial(
        clients: std::ops::Range<usize>,
        dial: usize,
        shared: &'a Shared,
    ) -> Result<Self, String> {
        let began = StdInstant::now();
        let Plan { server, patience, sources, .. } = shared.plan;
        let (deadline, first) = (began + patience, clients.start);
        let server = SocketAddr::new(server.into(), PORT);
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(address) = sources.address_of(first) {
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
        let (sender, frames) = mpsc::channel(32);
        let call = |client| {
            let call = Call::new(client, dial, shared, address, began);
            shared.wire.plug_in(client, call.own_call_id.get(), sender.clone());
            call
        };
        let mut session = Self {
            shared,
            stream,
            connection: Connection::client(pptp::Config::default()),
            deadline: None,
            calls: clients.map(call).collect(),
            first,
            frames,
            ended: None,
            events: VecDeque::new(),
        };
        session.control(pptp::Input::Opened).await;
        while !session.calls.iter().all(|call| call.is_up) {
            if session.is_over() {
                return Err(session.reason().await);
            }
            if timeout_at(deadline.into(), session.turn()).await.is_err() {
                let waiting = session.calls.iter().find(|call| !call.is_up);
                let step = waiting.map_or("PPTP", Call::step);
                return Err(format!("gave up after {patience:?}: no answer to {step}"));
            }
        }
        Ok(session)
    }

    /// Whether a call of it, or all of it, is over.
    fn is_over(&self) -> bool {
        let mut calls = self.calls.iter();
        self.ended.is_some() || calls.any(|call| call.ended.is_some() || call.cleared.is_some())
    }

    /// Why it is over: what the link said of itself tells more than how the call was cleared.
    async fn reason(&mut self) -> String {
        let last_frames = async {
            while self.calls.iter().all(|call| call.ended.is_none()) {
                let Some((client, frame)) = self.frames.recv().await else { break };
                self.frame(client, frame);
            }
        };
        // Without a reason of the link there is the call's.
        let _ = timeout(LATE, last_frames).await;
        let mut calls = self.calls.iter();
        let of_link = calls.find_map(|call| call.ended.clone());
        let of_call = || self.calls.iter().find_map(|call| call.cleared.clone());
        let reason = of_link.or_else(of_call).or_else(|| self.ended.clone());
        reason.unwrap_or_else(|| "it is over".to_owned())
    }

    /// Keeps the session until it ends.
    async fn hold(&mut self) -> String {
        while !self.is_over() {
            self.turn().await;
        }
        self.reason().await
    }

    async fn hang_up(&mut self) {
        let calls: Vec<_> = self.calls.iter().filter_map(|call| call.handle).collect();
        for call in calls {
            let result = DisconnectResult::Request;
            self.control(pptp::Input::ClearCall { call, result }).await;
        }
        while self.ended.is_none() && self.calls.iter().any(|call| call.cleared.is_none()) {
            self.turn().await;
        }
    }

    /// Waits for something to happen, and deals with it.
    async fn turn(&mut self) {
        let mut buffer = [0; 2048];
        let connection = self.when(self.deadline);
        let link = self.when(self.calls.iter().filter_map(|call| call.deadline).min());
        tokio::select! {
            read = self.stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => self.control(pptp::Input::PeerClosed).await,
                Ok(length) => self.control(pptp::Input::Received(&buffer[..length])).await,
            },
            Some((client, frame)) = self.frames.recv() => self.frame(client, frame),
            () = at(connection) => self.control(pptp::Input::DeadlinePassed).await,
            () = at(link) => {
                let now = self.shared.now();
                for call in &mut self.calls {
                    if call.deadline.is_some_and(|deadline| deadline <= now) {
                        call.deadline_passed(self.shared);
                    }
                }
            }
        }
    }

    fn frame(&mut self, client: usize, frame: Vec<u8>) {
        if let Some(call) = self.calls.get_mut(client.wrapping_sub(self.first)) {
            call.frame(self.shared, frame);
        }
    }

    fn when(&self, deadline: Option<Instant>) -> Option<StdInstant> {
        deadline.map(|deadline| self.shared.began + deadline.since(Instant::ORIGIN))
    }

    async fn control(&mut self, input: pptp::Input<'_>) {
        let (mut out, now) = (Vec::new(), self.shared.now());
        let Self { connection, events, .. } = self;
        self.deadline = drive(connection, input, now, |action| match action {
            Action::Send(message) => out.extend_from_slice(&message.emit()),
            Action::Event(event) => events.push_back(event),
        });
        // That the peer is gone is read next.
        let _ = self.stream.write_all(&out).await;
        while let Some(event) = self.events.pop_front() {
            match event {
                pptp::Event::Established { .. } => {
                    let ids: Vec<_> = self.calls.iter().map(|call| call.own_call_id).collect();
                    for own_call_id in ids {
                        let direction = Direction::Outgoing;
                        let input = pptp::Input::StartCall { direction, own_call_id };
                        Box::pin(self.control(input)).await;
                    }
                }
                pptp::Event::CallStarted { call: handle, own_call_id } => {
                    for call in self.calls.iter_mut().filter(|call| call.own_call_id == own_call_id)
                    {
                        call.handle = Some(handle);
                    }
                }
                pptp::Event::CallEstablished { call: handle, peer_call_id, .. } => {
                    for call in self.calls.iter_mut().filter(|call| call.handle == Some(handle)) {
                        call.open(self.shared, peer_call_id);
                    }
                }
                pptp::Event::CallCleared { call: handle, cause, .. } => {
                    for call in self.calls.iter_mut().filter(|call| call.handle == Some(handle)) {
                        call.cleared.get_or_insert(format!("call: {cause}"));
                    }
                }
                pptp::Event::Closed(reason) => {
                    self.ended.get_or_insert(format!("connection: {reason}"));
                }
                _ => {}
            }
        }
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
