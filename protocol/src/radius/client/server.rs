//! One server's state: does it live, how much can it take, which identifiers are in use; and which
//! server is the next one for a request.

use std::collections::HashMap;
use std::time::Duration;

use super::api::{Server, Ticket};
use crate::ppp::entropy::Entropy;
use crate::radius::Authenticator;
use crate::time::Instant;

/// Identifiers of one port (RFC 2865 §3).
const IDENTIFIERS: usize = 256;
/// A server that nothing is known of gets this many requests at once.
const FIRST_WINDOW: usize = 64;
/// However slow it is, it gets this many.
const SMALLEST_WINDOW: usize = 8;
/// No wait between two transmissions is longer: MRT of RFC 5080 §2.2.1.
const LONGEST_WAIT: Duration = Duration::from_secs(16);

/// A request as it was sent to one server.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) server: usize,
    pub(super) socket: u16,
    pub(super) identifier: u8,
    pub(super) authenticator: Authenticator,
    /// Sent again as they are (RFC 2865 §2.5).
    pub(super) octets: Vec<u8>,
    pub(super) first: Instant,
    pub(super) transmissions: u32,
    /// The wait that follows the last transmission.
    pub(super) wait: Duration,
    /// Whether it finds out if a dead server lives again.
    pub(super) probe: bool,
}

/// One port of ours.
#[derive(Debug)]
struct Socket {
    holders: Box<[Option<Ticket>; IDENTIFIERS]>,
    in_use: usize,
    /// Rotates: an identifier comes back after all others had their turn, so that a late answer
    /// meets no new request.
    next: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive,
    /// Left alone until then.
    Dead(Instant),
    /// Dead, and one request finds out whether it still is.
    Probed,
}

/// A server, and what is known of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Server,
    life: Life,
    last_answer: Option<Instant>,
    sockets: Vec<Socket>,
    /// Requests that nobody waits for any more, by port and identifier, as long as that is no other
    /// request's: a late answer to one is a sign of life.
    given_up: HashMap<(u16, u8), Authenticator>,
    /// Where the search for a free identifier begins.
    next_socket: usize,
    in_flight: usize,
    /// How many requests it gets at once: grows with each answer that came at the first try,
    /// halves with each wait that was in vain. What is more waits here, in order, where it can be
    /// called off, and not in the server's queue.
    window: usize,
    /// Answers since the window last grew.
    credit: usize,
    /// Whether a wait was in vain already: from then on it grows slowly.
    slow: bool,
    halved: Option<Instant>,
}

/// Who is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    Server(usize),
    /// Those that could be asked have their hands full.
    Wait,
    /// All were asked.
    Nobody,
}

impl State {
    pub(super) fn new(config: Server) -> Self {
        Self {
            life: Life::Alive,
            last_answer: None,
            sockets: Vec::new(),
            given_up: HashMap::new(),
            next_socket: 0,
            in_flight: 0,
            window: FIRST_WINDOW,
            credit: 0,
            slow: false,
            halved: None,
            config,
        }
    }

    /// Whether it lives, or may be asked whether it does.
    pub(super) fn usable(&self, now: Instant) -> bool {
        match self.life {
            Life::Alive => true,
            Life::Dead(until) => until <= now,
            Life::Probed => false,
        }
    }

    fn most(&self) -> usize {
        self.config.max_in_flight.clamp(1, IDENTIFIERS * IDENTIFIERS)
    }

    /// Room for one more request: within the window, and an identifier for it. Identifiers of
    /// requests that went on to another server are still theirs.
    fn has_room(&self) -> bool {
        let in_use: usize = self.sockets.iter().map(|socket| socket.in_use).sum();
        self.in_flight < self.window.min(self.most())
            && in_use < self.most().next_multiple_of(IDENTIFIERS)
    }

    /// The port and the identifier of a new request.
    pub(super) fn take_identifier(
        &mut self,
        ticket: Ticket,
        entropy: &mut Entropy,
    ) -> Option<(u16, u8)> {
        if self.sockets.iter().all(|socket| socket.in_use == IDENTIFIERS) {
            if self.sockets.len() >= self.most().div_ceil(IDENTIFIERS) {
                return None;
            }
            let [next] = entropy.draw();
            self.sockets.push(Socket { holders: Box::new([None; IDENTIFIERS]), in_use: 0, next });
        }
        let count = self.sockets.len();
        let index = (0..count)
            .map(|step| (self.next_socket + step) % count)
            .find(|index| self.sockets[*index].in_use < IDENTIFIERS)?;
        self.next_socket = (index + 1) % count;
        let socket = &mut self.sockets[index];
        while socket.holders[usize::from(socket.next)].is_some() {
            socket.next = socket.next.wrapping_add(1);
        }
        let identifier = socket.next;
        socket.next = identifier.wrapping_add(1);
        socket.holders[usize::from(identifier)] = Some(ticket);
        socket.in_use += 1;
        let index = u16::try_from(index).ok()?;
        self.given_up.remove(&(index, identifier));
        Some((index, identifier))
    }

    /// Gives an identifier back.
    pub(super) fn release(&mut self, socket: u16, identifier: u8) {
        if let Some(socket) = self.sockets.get_mut(usize::from(socket))
            && socket.holders[usize::from(identifier)].take().is_some()
        {
            socket.in_use -= 1;
        }
    }

    /// A request that was sent is given up before its answer came.
    pub(super) fn give_up(&mut self, sent: &Sent) {
        self.given_up.insert((sent.socket, sent.identifier), sent.authenticator);
    }

    /// What an answer to a request that was given up has to fit, once.
    pub(super) fn late(&mut self, socket: u16, identifier: u8) -> Option<Authenticator> {
        self.given_up.remove(&(socket, identifier))
    }

    /// The request that an identifier belongs to.
    pub(super) fn holder(&self, socket: u16, identifier: u8) -> Option<Ticket> {
        self.sockets.get(usize::from(socket))?.holders[usize::from(identifier)]
    }

    /// A request is sent. Says whether it finds out if the server lives again.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.in_flight += 1;
        let probe = matches!(self.life, Life::Dead(until) if until <= now);
        if probe {
            self.life = Life::Probed;
        }
        probe
    }

    /// A request is no longer waited for here.
    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The request that probed is gone. If nobody knows more than before, the next one probes.
    pub(super) fn probe_over(&mut self) {
        if self.life == Life::Probed {
            self.life = Life::Dead(Instant::ORIGIN);
        }
    }

    /// The wait that follows the first transmission (IRT of RFC 5080 §2.2.1).
    pub(super) fn first_wait(&self, entropy: &mut Entropy) -> Duration {
        jitter(self.config.timeout, self.config.timeout, entropy)
    }

    /// A believable answer came. Says whether the server was thought dead.
    pub(super) fn answered(&mut self, now: Instant, at_once: bool) -> bool {
        self.last_answer = Some(now);
        if at_once {
            self.credit += 1;
            // Doubles in the time of an answer at first; later grows by one in that time.
            if !self.slow || self.credit >= self.window {
                self.credit = 0;
                self.window = (self.window + 1).min(self.most());
            }
        }
        let revived = self.life != Life::Alive;
        self.life = Life::Alive;
        revived
    }

    /// A wait was in vain: the server has more than it can take, or is gone.
    pub(super) fn unanswered(&mut self, now: Instant, wait: Duration) {
        self.slow = true;
        // The others that were sent together with it time out together with it.
        if self.halved.is_some_and(|halved| now - halved < wait) {
            return;
        }
        self.halved = Some(now);
        self.credit = 0;
        self.window = (self.window / 2).max(SMALLEST_WINDOW);
    }

    /// A request that was first sent at `since` had all its tries. Says whether the server is now
    /// known to be dead. One that answered anybody meanwhile is not.
    pub(super) fn exhausted(&mut self, since: Instant, now: Instant) -> bool {
        if self.last_answer.is_some_and(|answer| answer >= since) {
            return false;
        }
        let news = self.life == Life::Alive;
        self.life = Life::Dead(now + self.config.dead_time);
        self.slow = false;
        self.window = FIRST_WINDOW;
        news
    }
}

/// The server for a request that was sent to those that `tried` names.
pub(super) fn pick(
    servers: &[State],
    tried: impl Fn(usize) -> bool,
    now: Instant,
    entropy: &mut Entropy,
) -> Pick {
    let left = || servers.iter().enumerate().filter(|(index, _)| !tried(*index));
    let living = || left().filter(|(_, state)| state.usable(now));
    let shared = || living().filter(|(_, state)| state.config.weight > 0);
    if shared().next().is_some() {
        let ready = || shared().filter(|(_, state)| state.has_room());
        let weights: u64 = ready().map(|(_, state)| u64::from(state.config.weight)).sum();
        if weights == 0 {
            return Pick::Wait;
        }
        let mut point = u64::from_be_bytes(entropy.draw()) % weights;
        for (index, state) in ready() {
            let weight = u64::from(state.config.weight);
            if point < weight {
                return Pick::Server(index);
            }
            point -= weight;
        }
    }
    // In the order of the list; and where all are dead, one of them is better than none.
    match living().next().or_else(|| left().next()) {
        Some((index, state)) if state.has_room() => Pick::Server(index),
        Some(_) => Pick::Wait,
        None => Pick::Nobody,
    }
}

/// RFC 5080 §2.2.1: twice the wait before, within a tenth of that, and no longer than MRT.
pub(super) fn longer(before: Duration, entropy: &mut Entropy) -> Duration {
    match before * 2 {
        wait if wait > LONGEST_WAIT => jitter(LONGEST_WAIT, LONGEST_WAIT, entropy),
        wait => jitter(wait, before, entropy),
    }
}

/// `wait` and a random part, up to a tenth of `of`, more or less.
fn jitter(wait: Duration, of: Duration, entropy: &mut Entropy) -> Duration {
    let part = u32::from(u16::from_be_bytes(entropy.draw()));
    wait + (of / 5) * part / u32::from(u16::MAX) - of / 10
}
