//! The demonstration's traffic: numbered datagrams both ways through every tunnel, each checked
//! byte for byte, and TCP and pings in turn.
//! A datagram counts as arrived only where its contents are those that were sent.
//! Never sends faster than its pace, nor more than the tunnel brings back: a slow machine shows
//! lower rates, not losses.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::netns::Namespace;
use lab::network::CORE;
use lab::traffic;

const PORT: u16 = 9;
/// Each subscriber sends at most one datagram a tick; the core answers each.
const TICK: Duration = Duration::from_millis(4);
/// Datagrams of one subscriber that may be without their answer.
const WINDOW: u64 = 16;
/// An answer that is not there by then is lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// Datagram lengths in turn, bytes; with UDP and IP headers the last fits every tunnel.
const LENGTHS: [usize; 4] = [64, 300, 900, 1400];
/// Subscriber's number, then the datagram's.
const HEADER: usize = 12;
/// Tells the core's bytes from the subscriber's.
const ANSWER: u64 = 1 << 63;

/// What came of one subscriber's traffic.
#[derive(Debug, Default)]
pub(crate) struct Score {
    sent: AtomicU64,
    up_arrived: AtomicU64,
    down_arrived: AtomicU64,
    lost: AtomicU64,
    /// TCP conversations whose bytes all came back.
    conversations: AtomicU64,
    /// The last ping's time, microseconds; 0 before the first came back.
    pub(crate) round_trip: AtomicU64,
}

impl Score {
    /// Whether data passed both ways, by UDP and by TCP.
    pub(crate) fn complete(&self) -> bool {
        [&self.up_arrived, &self.down_arrived, &self.conversations, &self.round_trip]
            .iter()
            .all(|count| count.load(Relaxed) > 0)
    }

    /// Datagrams that were lost on their way up or their answers on the way down, in percent.
    pub(crate) fn loss(&self) -> f64 {
        let (sent, lost) = (self.sent.load(Relaxed), self.lost.load(Relaxed));
        #[expect(clippy::cast_precision_loss, reason = "a percentage is shown with two digits")]
        if sent == 0 { 0.0 } else { 100.0 * lost as f64 / sent as f64 }
    }
}

/// All traffic, on threads of its own.
pub(crate) struct Traffic {
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    scores: Vec<Arc<Score>>,
}

impl Traffic {
    /// Starts it between the core and subscribers whose tunnels are up.
    pub(crate) fn start(core: &Namespace, subscribers: &[Arc<Namespace>]) -> Result<Self> {
        let scores: Vec<Arc<Score>> = subscribers.iter().map(|_| Arc::default()).collect();
        let socket = core.run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        traffic::deepen(&socket)?;
        let tcp = core.run(|| traffic::TcpEcho::start(PORT))?;
        let mut flows = Vec::new();
        for (number, (subscriber, score)) in (0..).zip(subscribers.iter().zip(&scores)) {
            flows.push(Flow {
                number,
                socket: subscriber.run(subscriber_socket)?,
                score: Arc::clone(score),
                next: 0,
                unanswered: VecDeque::new(),
            });
        }

        let mut traffic = Self { ending: Arc::default(), threads: Vec::new(), scores };
        let scores = traffic.scores.clone();
        traffic.spawn(move |ending| answer(&socket, &scores, ending));
        traffic.spawn(move |ending| send(flows, ending));
        let (subscribers, scores) = (subscribers.to_vec(), traffic.scores.clone());
        traffic.spawn(move |ending| {
            let mut turns = subscribers.iter().zip(&scores).cycle();
            while !ending.load(Relaxed)
                && let Some((subscriber, score)) = turns.next()
            {
                probe(subscriber, score);
            }
            drop(tcp);
        });
        Ok(traffic)
    }

    fn spawn(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) {
        let ending = Arc::clone(&self.ending);
        self.threads.push(std::thread::spawn(move || work(&ending)));
    }

    /// One for each subscriber, in their order.
    pub(crate) fn scores(&self) -> &[Arc<Score>] {
        &self.scores
    }

    /// Ends it and gives what came of it.
    pub(crate) fn stop(self) -> Vec<Arc<Score>> {
        self.ending.store(true, Relaxed);
        for thread in self.threads {
            // A thread that panicked has said so, and its traffic is missing in the scores.
            let _ = thread.join();
        }
        self.scores
    }
}

fn subscriber_socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((CORE, PORT)).context("routing to the core")?;
    socket.set_nonblocking(true)?;
    traffic::deepen(&socket)?;
    Ok(socket)
}

/// One subscriber's side of its flow.
struct Flow {
    number: u32,
    socket: UdpSocket,
    score: Arc<Score>,
    next: u64,
    /// Numbers and times of datagrams without an answer yet.
    unanswered: VecDeque<(u64, Instant)>,
}

impl Flow {
    fn tick(&mut self, now: Instant) {
        let mut buffer = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let Some((number, sequence)) = is_whole(&buffer[..length], ANSWER) else { continue };
            if number == self.number
                && let Some(at) = self.unanswered.iter().position(|(sent, _)| *sent == sequence)
            {
                self.unanswered.remove(at);
                self.score.down_arrived.fetch_add(1, Relaxed);
            }
        }
        while self.unanswered.front().is_some_and(|(_, at)| now.duration_since(*at) > PATIENCE) {
            self.unanswered.pop_front();
            self.score.lost.fetch_add(1, Relaxed);
        }
        if (self.unanswered.len() as u64) < WINDOW
            && self.socket.send(&datagram(self.number, self.next, 0)).is_ok()
        {
            self.unanswered.push_back((self.next, now));
            self.next += 1;
            self.score.sent.fetch_add(1, Relaxed);
        }
    }
}

/// The subscribers' side: all flows, each tick.
fn send(mut flows: Vec<Flow>, ending: &AtomicBool) {
    let mut next = Instant::now();
    while !ending.load(Relaxed) {
        for flow in &mut flows {
            flow.tick(Instant::now());
        }
        // After a stall the pace goes on from now: no burst makes up for it.
        next = (next + TICK).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The core's side: an answer to each datagram that came whole.
fn answer(socket: &UdpSocket, scores: &[Arc<Score>], ending: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !ending.load(Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some((number, sequence)) = is_whole(&buffer[..length], 0) else { continue };
        let Some(score) = usize::try_from(number).ok().and_then(|number| scores.get(number)) else {
            continue;
        };
        score.up_arrived.fetch_add(1, Relaxed);
        // An answer that cannot be sent is missed by its subscriber.
        let _ = socket.send_to(&datagram(number, sequence, ANSWER), from);
    }
}

/// A ping and a TCP conversation. What fails is tried again at the next turn.
fn probe(subscriber: &Namespace, score: &Score) {
    let start = Instant::now();
    if subscriber.run(|| traffic::ping_exchange(CORE, [56], 0)).is_ok() {
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        score.round_trip.store(micros.max(1), Relaxed);
    }
    let core = SocketAddrV4::new(CORE, PORT);
    if subscriber.run(|| traffic::tcp_exchange(core, [1, 1400, 20_000])).is_ok() {
        score.conversations.fetch_add(1, Relaxed);
    }
}

fn datagram(number: u32, sequence: u64, side: u64) -> Vec<u8> {
    let length = LENGTHS[usize::try_from(sequence % 4).unwrap_or(0)];
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend(traffic::payload(u64::from(number) << 40 ^ sequence ^ side, length - HEADER));
    bytes
}

/// Whose datagram this is and its number, if no byte differs from what that side sent.
fn is_whole(bytes: &[u8], side: u64) -> Option<(u32, u64)> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (sequence, _) = rest.split_first_chunk()?;
    let (number, sequence) = (u32::from_be_bytes(*number), u64::from_be_bytes(*sequence));
    (bytes == datagram(number, sequence, side)).then_some((number, sequence))
}
