//! A power cut, with the real line and a model of the rest: clients that give up and dial again, a
//! judge who answers 200 a second however many ask, and time that jumps from event to event.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::line::Line;
use super::window::Window;

/// The longest wait in the line.
const PATIENCE: Duration = Duration::from_secs(60);
/// When a client gives up and dials again a little later.
const CLIENT_GIVES_UP: Duration = Duration::from_secs(45);
/// Between two verdicts of the judge.
const SERVICE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Dials(usize),
    GivesUp(usize, u32),
    /// Its LCP is through: the judge is asked.
    Asks(usize, u32),
    /// The judge is done with the request that it took up.
    Judged,
    Tick,
}

#[derive(Debug, Clone, Copy, Default)]
struct Client {
    /// Its GRE is filtered: it never comes to be judged.
    stuck: bool,
    dials: u32,
    place: Option<u64>,
    up: Option<Duration>,
}

struct Storm {
    start: Instant,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    line: Line<usize>,
    clients: Vec<Client>,
    /// Requests at the judge, with the time they were sent.
    asked: VecDeque<(usize, u32, Duration)>,
    requests: usize,
    most_asked: usize,
    random: u64,
}

impl Storm {
    fn new(clients: usize, stuck_every: usize) -> Self {
        let start = Instant::now();
        let mut storm = Self {
            start,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            line: Line::new(Window::new(0, start)),
            clients: vec![Client::default(); clients],
            asked: VecDeque::new(),
            requests: 0,
            most_asked: 0,
            random: 1,
        };
        for client in 0..clients {
            storm.clients[client].stuck = stuck_every != 0 && client % stuck_every == 0;
            let after = storm.random(0, 1000);
            storm.after(after, Event::Dials(client));
        }
        storm.after(Duration::ZERO, Event::Tick);
        storm
    }

    /// Milliseconds from `least` to `most` (xorshift).
    fn random(&mut self, least: u64, most: u64) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        Duration::from_millis(least + self.random % (most - least))
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.events.push(Reverse((self.now + time, event)));
    }

    fn turns(&mut self) {
        while let Some(client) = self.line.next(self.start + self.now) {
            if !self.clients[client].stuck {
                let lcp = self.random(50, 300);
                self.after(lcp, Event::Asks(client, self.clients[client].dials));
            }
        }
    }

    /// Whether this is about the client's present dial.
    fn current(&self, client: usize, dial: u32) -> bool {
        self.clients[client].dials == dial && self.clients[client].place.is_some()
    }

    fn run(&mut self, until: Duration) {
        while let Some(Reverse((at, event))) = self.events.pop()
            && at <= until
        {
            self.now = at;
            let now = self.start + at;
            match event {
                Event::Dials(client) => {
                    self.clients[client].dials += 1;
                    let dial = self.clients[client].dials;
                    self.clients[client].place = Some(self.line.join(client, now));
                    self.after(CLIENT_GIVES_UP, Event::GivesUp(client, dial));
                }
                Event::GivesUp(client, dial) if self.current(client, dial) => {
                    if self.clients[client].up.is_none() {
                        self.redial(client);
                    }
                }
                Event::Asks(client, dial) if self.current(client, dial) => {
                    if let Some(place) = self.clients[client].place {
                        self.line.asked(place);
                    }
                    self.requests += 1;
                    self.asked.push_back((client, dial, at));
                    self.most_asked = self.most_asked.max(self.asked.len());
                    if self.asked.len() == 1 {
                        self.after(SERVICE, Event::Judged);
                    }
                }
                Event::Judged => {
                    let Some((client, dial, sent)) = self.asked.pop_front() else { continue };
                    if let Some(place) = self.clients[client].place
                        && self.current(client, dial)
                    {
                        self.line.verdict(place, at - sent, now);
                        self.clients[client].up = Some(at);
                    }
                    if !self.asked.is_empty() {
                        self.after(SERVICE, Event::Judged);
                    }
                }
                Event::Tick => {
                    while self.line.end_stalled(false, now) {}
                    while let Some(client) = self.line.end_waiting(PATIENCE, now) {
                        self.redial(client);
                    }
                    self.after(Duration::from_millis(500), Event::Tick);
                }
                Event::GivesUp(..) | Event::Asks(..) => {}
            }
            self.turns();
        }
    }

    fn redial(&mut self, client: usize) {
        if let Some(place) = self.clients[client].place.take() {
            self.line.leave(place);
        }
        let pause = self.random(2000, 6000);
        self.after(pause, Event::Dials(client));
    }
}

#[test]
fn twenty_thousand_are_up_within_twice_the_ideal_time() {
    let mut storm = Storm::new(20_000, 0);
    let ideal = SERVICE * 20_000;
    storm.run(2 * ideal);
    let up: Vec<_> = storm.clients.iter().filter_map(|client| client.up).collect();
    let last = up.iter().max().copied().unwrap_or_default();
    let dials: u32 = storm.clients.iter().map(|client| client.dials).sum();
    println!(
        "{} up, the last after {last:?} (ideal {ideal:?}), {dials} dials, {} requests, {} at most \
         at once",
        up.len(),
        storm.requests,
        storm.most_asked
    );
    assert_eq!(up.len(), 20_000);
    // Nobody is asked about who has given up; some give up while they are asked about.
    assert!(storm.requests < 20_400, "{} requests", storm.requests);
    assert!(storm.most_asked <= 500, "more than clients wait for: {}", storm.most_asked);
    assert_eq!((storm.line.turns(), storm.line.waiting()), (0, 0));
}

#[test]
fn those_whose_gre_is_filtered_do_not_hold_up_the_others() {
    // Every second one, which never comes further than its turn.
    let mut storm = Storm::new(4_000, 2);
    let ideal = SERVICE * 2_000;
    storm.run(4 * ideal);
    let up = storm.clients.iter().filter(|client| client.up.is_some()).count();
    assert_eq!(up, 2_000, "at {:?}", storm.now);
}
