//! The demonstration's traffic: numbered datagrams both ways through every tunnel, each checked
//! byte for byte, and TCP and pings in turn.
//! A datagram counts as arrived only where its contents are those that were sent.
//! Never sends faster than its pace, whatever was lost.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::netns::Namespace;
use lab::network::CORE;
use lab::traffic;

const PORT: u16 = 9;
/// Each subscriber sends one datagram a tick; the core answers each.
const TICK: Duration = Duration::from_millis(4);
/// Datagram lengths in turn, bytes; with UDP and IP headers the last fits every tunnel.
const LENGTHS: [usize; 4] = [64, 300, 900, 1400];
/// Subscriber's number, then the datagram's.
const HEADER: usize = 12;
/// Tells the core's bytes from the subscriber's.
const ANSWER: u64 = 1 << 63;

/// What came of one subscriber's traffic.
#[derive(Debug, Default)]
pub(crate) struct Score {
    pub(crate) up_sent: AtomicU64,
    pub(crate) up_arrived: AtomicU64,
    pub(crate) down_sent: AtomicU64,
    pub(crate) down_arrived: AtomicU64,
    /// TCP conversations whose bytes all came back.
    pub(crate) conversations: AtomicU64,
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

    /// Datagrams lost, of those sent, in percent. Those under way count as lost until they come.
    pub(crate) fn loss(&self) -> f64 {
        let sent = self.up_sent.load(Relaxed) + self.down_sent.load(Relaxed);
        let arrived = self.up_arrived.load(Relaxed) + self.down_arrived.load(Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a percentage is shown with two digits")]
        if sent == 0 { 0.0 } else { 100.0 * sent.saturating_sub(arrived) as f64 / sent as f64 }
    }
}

/// Runs all traffic until told to end.
pub(crate) fn start(
    core: &Namespace,
    subscribers: &[Arc<Namespace>],
    ending: &Arc<AtomicBool>,
) -> Result<Vec<Arc<Score>>> {
    let scores: Vec<Arc<Score>> = subscribers.iter().map(|_| Arc::default()).collect();
    let socket = core.run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let (core_scores, flag) = (scores.clone(), Arc::clone(ending));
    std::thread::spawn(move || answer(&socket, &core_scores, &flag));

    let sockets = subscribers
        .iter()
        .map(|subscriber| subscriber.run(subscriber_socket))
        .collect::<Result<Vec<_>>>()?;
    let (subscriber_scores, flag) = (scores.clone(), Arc::clone(ending));
    std::thread::spawn(move || send(&sockets, &subscriber_scores, &flag));

    let tcp = core.run(|| traffic::TcpEcho::start(PORT))?;
    let (subscribers, probe_scores, flag) =
        (subscribers.to_vec(), scores.clone(), Arc::clone(ending));
    std::thread::spawn(move || {
        while !flag.load(Relaxed) {
            for (subscriber, score) in subscribers.iter().zip(&probe_scores) {
                probe(subscriber, score);
            }
        }
        drop(tcp);
    });
    Ok(scores)
}

fn subscriber_socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((CORE, PORT)).context("routing to the core")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The subscribers' side: a datagram each a tick, and all answers that are there.
fn send(sockets: &[UdpSocket], scores: &[Arc<Score>], ending: &AtomicBool) {
    let mut next = Instant::now();
    let mut sequence = 0_u64;
    let mut buffer = [0; 2048];
    while !ending.load(Relaxed) {
        for (number, (socket, score)) in (0_u32..).zip(sockets.iter().zip(scores)) {
            if socket.send(&datagram(number, sequence, 0)).is_ok() {
                score.up_sent.fetch_add(1, Relaxed);
            }
            while let Ok(length) = socket.recv(&mut buffer) {
                if is_whole(&buffer[..length], ANSWER).is_some_and(|of| of.0 == number) {
                    score.down_arrived.fetch_add(1, Relaxed);
                }
            }
        }
        sequence += 1;
        next += TICK;
        // After a stall the pace goes on from now: no burst makes up for it.
        next = next.max(Instant::now());
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
        if socket.send_to(&datagram(number, sequence, ANSWER), from).is_ok() {
            score.down_sent.fetch_add(1, Relaxed);
        }
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
