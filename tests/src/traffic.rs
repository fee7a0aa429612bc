//! UDP, TCP and ICMP traffic whose contents are checked on return.
//! All of it works in the network namespace of the calling thread; full-size packets carry DF, so
//! that nothing is fragmented unseen.
//! Never counts a packet as arrived whose bytes differ from those sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::impair::SplitMix;
use crate::packet::{raw_ip_socket, set_option};

/// How long an echo may take before it is sent for again.
const ECHO_PATIENCE: Duration = Duration::from_secs(1);
/// How long an echo may take before it is lost: the machine may be busy with other things.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
/// How often a server looks whether it should end.
const GLANCE: Duration = Duration::from_millis(50);
const RECEIVE_BUFFER: libc::c_int = 8 << 20;
const IP_PROTOCOL_ICMP: u8 = 1;
const IP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;

/// `length` bytes that no other seed gives and that no compression or accident repeats.
pub fn payload(seed: u64, length: usize) -> Vec<u8> {
    let mut random = SplitMix(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.draw().to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What came of packets sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// How many were sent.
    pub sent: u64,
    /// How many came back whole.
    pub returned: u64,
}

impl Outcome {
    /// Whether none was lost.
    pub fn whole(self) -> bool {
        self.sent > 0 && self.sent == self.returned
    }
}

/// Gives a socket room for what comes while its reader does not run: losses that are counted
/// should be the network's.
///
/// # Errors
/// Without root.
pub fn deepen(socket: &UdpSocket) -> Result<()> {
    Ok(set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?)
}

/// A UDP server that sends back what it gets.
#[derive(Debug)]
pub struct UdpEcho {
    _server: Server,
}

impl UdpEcho {
    /// Serves on this port of all addresses of the calling thread's namespace.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
            .with_context(|| format!("serving UDP echo on port {port}"))?;
        socket.set_read_timeout(Some(GLANCE))?;
        deepen(&socket)?;
        let server = Server::start(move |ending| {
            let mut buffer = vec![0; 65535];
            while !ending.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // An echo that cannot be sent is missed by who waits for it.
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Ok(Self { _server: server })
    }
}

/// A TCP server that sends back what it gets.
#[derive(Debug)]
pub struct TcpEcho {
    _server: Server,
}

impl TcpEcho {
    /// Serves on this port of all addresses of the calling thread's namespace.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .with_context(|| format!("serving TCP echo on port {port}"))?;
        listener.set_nonblocking(true)?;
        let server = Server::start(move |ending| {
            while !ending.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        std::thread::spawn(move || echo_stream(stream));
                    }
                    Err(_) => std::thread::sleep(GLANCE),
                }
            }
        });
        Ok(Self { _server: server })
    }
}

fn echo_stream(mut stream: TcpStream) {
    // A peer that is gone without a word must not keep the thread.
    let prepared = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_nodelay(true))
        .and_then(|()| stream.set_read_timeout(Some(Duration::from_secs(30))));
    if prepared.is_err() {
        return;
    }
    let mut buffer = vec![0; 65536];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Sends one datagram of each size (payload bytes) and awaits its echo; a lost one is sent again
/// up to `retries` times, and each sending counts.
///
/// # Errors
/// When the socket cannot be used, or a size never came back.
pub fn udp_exchange(
    to: SocketAddrV4,
    sizes: impl IntoIterator<Item = usize>,
    retries: usize,
) -> Result<Outcome> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
    socket.connect(to)?;
    let mut outcome = Outcome::default();
    for size in sizes {
        let sent = payload(size as u64, size);
        retried(&mut outcome, retries, &format!("UDP to {to}, {size} bytes"), |patience| {
            socket.send(&sent).with_context(|| format!("sending {size} bytes to {to}"))?;
            awaited(&socket, patience, |received| received == sent)
        })?;
    }
    Ok(outcome)
}

/// How many of 200 datagrams of 1000 bytes, sent at once to a UDP echo, come back.
///
/// # Errors
/// When the kernel refuses to send.
pub fn burst(to: SocketAddrV4) -> Result<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    deepen(&socket)?;
    socket.connect(to)?;
    for _ in 0..200 {
        socket.send(&[7; 1000])?;
    }
    socket.set_read_timeout(Some(Duration::from_millis(700)))?;
    let mut buffer = [0; 2000];
    Ok(std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count())
}

/// Pings: one echo request of each size (ICMP payload bytes), as [`udp_exchange`].
///
/// # Errors
/// As [`udp_exchange`].
pub fn ping_exchange(
    to: Ipv4Addr,
    sizes: impl IntoIterator<Item = usize>,
    retries: usize,
) -> Result<Outcome> {
    let raw = raw_ip_socket(IP_PROTOCOL_ICMP).context("opening a raw ICMP socket")?;
    set_option(&raw, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
    let socket = UdpSocket::from(raw);
    socket.connect(SocketAddr::new(IpAddr::V4(to), 0))?;
    let mut outcome = Outcome::default();
    let mut sequence = 0_u16;
    for size in sizes {
        let data = payload(size as u64, size);
        retried(&mut outcome, retries, &format!("ping to {to}, {size} bytes"), |patience| {
            sequence = sequence.wrapping_add(1);
            let request = echo_request(sequence, &data);
            socket.send(&request).with_context(|| format!("sending {size} bytes to {to}"))?;
            awaited(&socket, patience, |packet| {
                let Some(message) = packet.get(IP_HEADER..) else { return false };
                // Echo Reply, and from the identifier on the bytes of the request (RFC 792).
                message.first() == Some(&0) && message.get(4..) == request.get(4..)
            })
        })?;
    }
    Ok(outcome)
}

/// Writes a message of each size (bytes) into one TCP connection and reads it back.
///
/// # Errors
/// When the connection fails or stalls for 10 s, or other bytes come back.
pub fn tcp_exchange(to: SocketAddrV4, sizes: impl IntoIterator<Item = usize>) -> Result<Outcome> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(to), Duration::from_secs(10))
        .with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut outcome = Outcome::default();
    for size in sizes {
        let sent = payload(size as u64, size);
        let mut received = vec![0; size];
        outcome.sent += 1;
        stream.write_all(&sent).with_context(|| format!("sending {size} bytes to {to}"))?;
        stream.read_exact(&mut received).with_context(|| format!("{size} bytes from {to}"))?;
        ensure!(sent == received, "{to} returned other bytes than the {size} sent");
        outcome.returned += 1;
    }
    Ok(outcome)
}

fn retried(
    outcome: &mut Outcome,
    retries: usize,
    what: &str,
    mut attempt: impl FnMut(Duration) -> Result<bool>,
) -> Result<()> {
    for left in (0..=retries).rev() {
        outcome.sent += 1;
        if attempt(if left == 0 { LAST_PATIENCE } else { ECHO_PATIENCE })? {
            outcome.returned += 1;
            return Ok(());
        }
    }
    bail!("{what}: no echo after {} attempts", retries + 1)
}

/// Whether a packet that `matches` comes before the patience ends.
fn awaited(
    socket: &UdpSocket,
    patience: Duration,
    matches: impl Fn(&[u8]) -> bool,
) -> Result<bool> {
    let deadline = Instant::now() + patience;
    let mut buffer = vec![0; 65535];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(length) if matches(&buffer[..length]) => return Ok(true),
            // An echo that came after its time, or a stranger's packet.
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            // The far end's port or route is not there (yet): as good as lost.
            Err(_) => return Ok(false),
        }
    }
}

fn echo_request(sequence: u16, data: &[u8]) -> Vec<u8> {
    let identifier = (std::process::id() & 0xFFFF) as u16;
    let mut message = Vec::with_capacity(ICMP_HEADER + data.len());
    message.extend_from_slice(&[8, 0, 0, 0]);
    message.extend_from_slice(&identifier.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(data);
    let sum = internet_checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    let [.., high, low] = sum.to_be_bytes();
    !u16::from_be_bytes([high, low])
}

/// A thread that serves until its value is dropped.
#[derive(Debug)]
struct Server {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(serve: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ending);
        let thread = std::thread::spawn(move || serve(&flag));
        Self { ending, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
