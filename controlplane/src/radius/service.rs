//! The task that drives the machine of one service: logins, or accounting.
//!
//! Owns the machine, the ports and who waits for what. Knows no attribute.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::machine::{Action, drive};
use protocol::radius::client::{
    Answer, Client as Machine, Event, Failure, Input, Request, Server, Ticket, Transmit,
};
use protocol::time::Instant;
use tokio::sync::{mpsc, oneshot};

use super::counters::{Count, Counters};
use super::news::News;
use super::ports::{Arrival, Endpoint, Ports};
use crate::clock::Clock;

/// Datagrams that wait for the task.
const ARRIVALS: usize = 1024;

type Reply = oneshot::Sender<Result<Answer, Failure>>;

/// What is wanted of the task.
#[derive(Debug)]
enum Order {
    Ask { ticket: Ticket, request: Request, reply: Reply },
    Cancel(Ticket),
}

/// Our end of the task. The task ends with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Service {
    orders: mpsc::UnboundedSender<Order>,
    last: Arc<AtomicU64>,
    addresses: Arc<[SocketAddr]>,
}

impl Service {
    pub(super) fn start(
        servers: Vec<Server>,
        endpoints: Vec<Endpoint>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let addresses: Arc<[SocketAddr]> =
            endpoints.iter().map(|endpoint| endpoint.address).collect();
        let (orders, wanted) = mpsc::unbounded_channel();
        let (arrivals, arrived) = mpsc::channel(ARRIVALS);
        let task = Task {
            machine: Machine::new(servers, seed),
            clock: Clock::start(),
            deadline: None,
            ports: Ports::new(endpoints, arrivals),
            replies: HashMap::new(),
            news: addresses.iter().map(|_| News::default()).collect(),
            addresses: Arc::clone(&addresses),
            counters,
        };
        tokio::spawn(task.run(wanted, arrived));
        Ok(Self { orders, last: Arc::default(), addresses })
    }

    /// Asks, and waits for the answer. Dropping the future calls the request off.
    pub(super) async fn ask(&self, request: Request) -> Result<Answer, Failure> {
        let ticket = Ticket(self.last.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        // The task is gone with the runtime only.
        let mut waiting = Waiting { orders: &self.orders, ticket, over: false };
        self.orders.send(Order::Ask { ticket, request, reply }).map_err(|_| Failure::NoAnswer)?;
        let answer = answer.await.unwrap_or(Err(Failure::NoAnswer));
        waiting.over = true;
        answer
    }

    pub(super) fn address(&self, server: usize) -> Option<SocketAddr> {
        self.addresses.get(server).copied()
    }
}

/// Calls a request off when nobody waits for it any more.
struct Waiting<'a> {
    orders: &'a mpsc::UnboundedSender<Order>,
    ticket: Ticket,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.orders.send(Order::Cancel(self.ticket));
        }
    }
}

struct Task {
    machine: Machine,
    clock: Clock,
    deadline: Option<Instant>,
    ports: Ports,
    replies: HashMap<Ticket, Reply>,
    news: Vec<News>,
    addresses: Arc<[SocketAddr]>,
    counters: Arc<Counters>,
}

impl Task {
    async fn run(
        mut self,
        mut wanted: mpsc::UnboundedReceiver<Order>,
        mut arrived: mpsc::Receiver<Arrival>,
    ) {
        loop {
            tokio::select! {
                order = wanted.recv() => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                Some(arrival) = arrived.recv() => self.arrival(arrival),
                () = self.clock.wait(self.deadline) => self.input(Input::Tick),
            }
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Ask { ticket, request, reply } => {
                self.replies.insert(ticket, reply);
                self.input(Input::Ask { ticket, request });
            }
            Order::Cancel(ticket) => {
                if self.replies.remove(&ticket).is_some() {
                    self.counters.add(Count::CalledOff);
                    self.input(Input::Cancel(ticket));
                }
            }
        }
    }

    fn arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Datagram { server, socket, octets } => {
                self.input(Input::Datagram { server, socket, octets: &octets });
            }
            Arrival::Refused { server, error } => {
                self.news[server].refused(self.addresses[server], &error);
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let mut actions = Vec::new();
        let now = self.clock.now();
        self.deadline = drive(&mut self.machine, input, now, |action| actions.push(action));
        for action in actions {
            match action {
                Action::Send(transmit) => self.send(&transmit),
                Action::Event(event) => self.event(event),
            }
        }
    }

    /// What cannot be sent is a lost packet: the machine sends it again, or asks another server.
    fn send(&mut self, transmit: &Transmit) {
        let Transmit { server, socket, octets } = transmit;
        self.counters.add(Count::Sent);
        if let Err(error) = self.ports.send(*server, *socket, octets) {
            self.news[*server].unsent(self.addresses[*server], &error);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Answered { ticket, answer } => {
                self.counters.add(Count::Answered);
                self.reply(ticket, Ok(answer));
            }
            Event::Failed { ticket, failure } => {
                self.counters.add(match failure {
                    Failure::Unprotected => Count::Unprotected,
                    _ => Count::NoAnswer,
                });
                self.reply(ticket, Err(failure));
            }
            Event::Ignored { server, reason } => {
                self.counters.add(Count::of_ignored(reason));
                self.news[server].ignored(self.addresses[server], reason);
            }
            Event::Dead { server } => {
                self.counters.add(Count::Dead);
                News::dead(self.addresses[server]);
            }
            Event::Alive { server } => self.news[server].alive(self.addresses[server]),
            Event::Unprotected { server, refused } => {
                self.news[server].unprotected(self.addresses[server], refused);
            }
        }
    }

    fn reply(&mut self, ticket: Ticket, answer: Result<Answer, Failure>) {
        if let Some(reply) = self.replies.remove(&ticket) {
            // Whoever asked may have gone in this very moment.
            let _ = reply.send(answer);
        }
    }
}
