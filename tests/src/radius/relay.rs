//! A hop before a RADIUS server: what passes it may be delayed, paced, spoiled, repeated or lost.
//! A client of the hop keeps its port and identifiers: each of its ports has one of the hop's.
//! Never answers by itself: what comes back began as a real server's answer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Namespace;
use crate::traffic::deepen;

/// How often the hop looks whether it should end.
const GLANCE: Duration = Duration::from_millis(20);

/// What the hop does with an answer: the packets that go to the client in its place, each after a
/// time. Arguments are the request and the answer.
pub type Fate = Box<dyn FnMut(&[u8], &[u8]) -> Vec<(Duration, Vec<u8>)> + Send>;

/// Hands every answer on as it is, but `delay` later.
pub fn late(delay: Duration) -> Fate {
    Box::new(move |_, answer| vec![(delay, answer.to_vec())])
}

/// Hands on what `alter` makes of the request and the answer, and nothing where it gives nothing.
pub fn altered(mut alter: impl FnMut(&[u8], &[u8]) -> Option<Vec<u8>> + Send + 'static) -> Fate {
    Box::new(move |request, answer| {
        alter(request, answer).into_iter().map(|packet| (Duration::ZERO, packet)).collect()
    })
}

/// Hands on `rate` answers a second, in their order: a server that is busy.
pub fn paced(rate: u32) -> Fate {
    let step = Duration::from_secs(1) / rate;
    let mut free = Instant::now();
    Box::new(move |_, answer| {
        let now = Instant::now();
        free = free.max(now) + step;
        vec![(free - now, answer.to_vec())]
    })
}

/// A running hop.
#[derive(Debug)]
pub struct Relay {
    ending: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// A packet on its way to a client, and the time at which it leaves.
type Leaving = Reverse<(Instant, u64, SocketAddr, Vec<u8>)>;

impl Relay {
    /// Serves at `at` in a namespace, hands requests to `server` and answers back by `fate`.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(
        namespace: &Namespace,
        at: SocketAddrV4,
        server: SocketAddrV4,
        fate: Fate,
    ) -> Result<Self> {
        let front = namespace.run(|| {
            let front = UdpSocket::bind(at).with_context(|| format!("relaying at {at}"))?;
            front.set_nonblocking(true)?;
            deepen(&front)?;
            Ok(front)
        })?;
        let ending = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicU64::new(0));
        let mut hop = Hop {
            front,
            server,
            clients: Vec::new(),
            known: HashMap::new(),
            leaving: BinaryHeap::new(),
            fate,
            sequence: 0,
            requests: Arc::clone(&requests),
        };
        let flag = Arc::clone(&ending);
        // Its thread lives in the namespace: sockets for new clients are opened there.
        let (started, start) = std::sync::mpsc::channel();
        let handle = namespace.path();
        let thread = std::thread::spawn(move || {
            let entered = enter(&handle);
            let failed = entered.is_err();
            let _ = started.send(entered);
            while !failed && !flag.load(Ordering::Relaxed) {
                // A port that nobody listens on answers with an error: as good as silence.
                let _ = hop.turn();
            }
        });
        start.recv().context("the relay's thread died")??;
        Ok(Self { ending, requests, thread: Some(thread) })
    }

    /// How many packets of clients came, retransmissions too.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn enter(namespace: &str) -> Result<()> {
    let handle = std::fs::File::open(namespace)?;
    nix::sched::setns(&handle, nix::sched::CloneFlags::CLONE_NEWNET)?;
    Ok(())
}

/// A client's port.
struct Client {
    address: SocketAddr,
    back: UdpSocket,
    /// The last request of each identifier.
    requests: HashMap<u8, Vec<u8>>,
}

struct Hop {
    front: UdpSocket,
    server: SocketAddrV4,
    clients: Vec<Client>,
    known: HashMap<SocketAddr, usize>,
    leaving: BinaryHeap<Leaving>,
    fate: Fate,
    sequence: u64,
    requests: Arc<AtomicU64>,
}

impl Hop {
    fn turn(&mut self) -> Result<()> {
        self.wait()?;
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = self.front.recv_from(&mut buffer) {
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.request(from, &buffer[..length])?;
        }
        for client in &mut self.clients {
            while let Ok(length) = client.back.recv(&mut buffer) {
                let answer = &buffer[..length];
                let request = answer.get(1).and_then(|id| client.requests.get(id));
                let Some(request) = request else { continue };
                for (delay, packet) in (self.fate)(request, answer) {
                    self.sequence += 1;
                    let at = Instant::now() + delay;
                    self.leaving.push(Reverse((at, self.sequence, client.address, packet)));
                }
            }
        }
        while self.leaving.peek().is_some_and(|Reverse(next)| next.0 <= Instant::now()) {
            if let Some(Reverse((_, _, to, packet))) = self.leaving.pop() {
                // A client that has closed its port awaits nothing.
                let _ = self.front.send_to(&packet, to);
            }
        }
        Ok(())
    }

    fn request(&mut self, from: SocketAddr, packet: &[u8]) -> Result<()> {
        let index = match self.known.get(&from) {
            Some(index) => *index,
            None => {
                let back = UdpSocket::bind("0.0.0.0:0")?;
                back.set_nonblocking(true)?;
                back.connect(self.server)?;
                self.clients.push(Client { address: from, back, requests: HashMap::new() });
                self.known.insert(from, self.clients.len() - 1);
                self.clients.len() - 1
            }
        };
        let client = &mut self.clients[index];
        if let Some(id) = packet.get(1) {
            client.requests.insert(*id, packet.to_vec());
        }
        client.back.send(packet)?;
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        let limit = self.leaving.peek().map_or(GLANCE, |Reverse(next)| {
            next.0.saturating_duration_since(Instant::now()).min(GLANCE)
        });
        let sockets = self.clients.iter().map(|client| &client.back);
        let mut polled: Vec<_> = std::iter::once(&self.front)
            .chain(sockets)
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut polled, PollTimeout::try_from(limit)?)?;
        Ok(())
    }
}
