//! Encrypted traffic of many tunnels: the sender paces packets round robin over those that are up,
//! the receiver decrypts what comes, checks it and keeps the score.
//!
//! Implements a client's ends of RFC 2637 §4 and RFC 3078 §7.1, with the product's MPPE engine in
//! bursts, so that one core loads a server that has several.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dataplane::mppe::{Engine, ReceiveBurst, ReceiveState, SendBurst, SendState, States};
use hdrhistogram::Histogram;
use lab::load::wire::Wire;
use lab::load::{Carrier, Data, Tunnel};
use protocol::mppe::Header;
use protocol::ppp::Framing;
use protocol::ppp::frame::{self, Protocol};
use protocol::ppp::link::Encryption;
use protocol::time::Instant as Time;

use crate::run::interrupt;

use super::packet::{Kind, Mark, SHORTEST, Unexpected};

/// Packets that are encrypted and sent together.
const BURST: usize = 64;
/// A sender that is behind by more has lost what it did not send.
const LAG: Duration = Duration::from_millis(100);

/// Where packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The next tunnel's inner address, through the server.
    Peers,
    /// An address that answers ICMP echoes; None: the server's own inside each tunnel.
    Echo(Option<Ipv4Addr>),
    /// A reflector.
    Reflector(Ipv4Addr),
}

/// What is sent, beside where to.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Packets a second of each tunnel.
    pub rate: f64,
    /// Octets of inner packets, in turn.
    pub sizes: Vec<usize>,
    pub duration: Duration,
}

/// Tunnels, and what passes them.
#[derive(Debug)]
pub struct Traffic {
    run: u32,
    kind: Kind,
    to: To,
    began: Instant,
    sending: Mutex<Sending>,
    receiving: Mutex<Receiving>,
}

/// What a tunnel's packets did.
#[derive(Debug, Clone, Default)]
pub struct Score {
    pub sent: u64,
    pub received: u64,
    /// Came after one that was sent later.
    pub reordered: u64,
    pub duplicates: u64,
    newest: u32,
    /// Which of the 64 numbers up to the newest came.
    seen: u64,
}

/// What came of it all.
#[derive(Debug)]
pub struct Outcome {
    /// Of the tunnels that took part.
    pub scores: Vec<Score>,
    /// µs.
    pub latency: Histogram<u64>,
    /// Packets that were not what was sent, by what they were instead.
    pub wrong: BTreeMap<String, u64>,
    /// Packets that this machine could not send in time.
    pub unsent: u64,
    /// For how long was sent.
    pub took: Duration,
}

#[derive(Debug)]
struct Sending {
    engine: Engine,
    burst: SendBurst,
    tunnels: Slots<Outgoing>,
    plaintexts: Vec<Vec<u8>>,
    packets: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Outgoing {
    state: SendState,
    from: Ipv4Addr,
    peer_call_id: u16,
    framing: Framing,
    local: Ipv4Addr,
    gateway: Ipv4Addr,
    mtu: u16,
    sent: u64,
}

#[derive(Debug)]
struct Receiving {
    engine: Engine,
    burst: ReceiveBurst,
    tunnels: Slots<ReceiveState>,
    buffers: Vec<Vec<u8>>,
    /// Indices of packets in `buffers`.
    clients: Vec<usize>,
    scores: Vec<Score>,
    /// To whom each tunnel's packets have to come back.
    arrivals: Vec<usize>,
    latency: Histogram<u64>,
    wrong: BTreeMap<String, u64>,
}

/// Tunnels that are up, by client.
#[derive(Debug)]
struct Slots<T>(Vec<Option<T>>);

impl<T> Slots<T> {
    fn new(clients: usize) -> Self {
        Self((0..clients).map(|_| None).collect())
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.0.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }
}

impl States<SendState> for Slots<Outgoing> {
    fn state(&mut self, slot: u32) -> Option<&mut SendState> {
        self.get_mut(slot).map(|tunnel| &mut tunnel.state)
    }
}

impl States<ReceiveState> for Slots<ReceiveState> {
    fn state(&mut self, slot: u32) -> Option<&mut ReceiveState> {
        self.get_mut(slot)
    }
}

impl Traffic {
    /// For so many clients; `run` tells its packets from those of other runs.
    ///
    /// # Errors
    /// Never with these bounds of the histogram.
    pub fn new(clients: usize, to: To, port: u16, run: u32) -> anyhow::Result<Self> {
        let kind = if matches!(to, To::Echo(_)) { Kind::Echo } else { Kind::Datagram(port) };
        Ok(Self {
            run,
            kind,
            to,
            began: Instant::now(),
            sending: Mutex::new(Sending {
                engine: Engine::new(),
                burst: SendBurst::default(),
                tunnels: Slots::new(clients),
                plaintexts: vec![Vec::new(); BURST],
                packets: Vec::new(),
            }),
            receiving: Mutex::new(Receiving {
                engine: Engine::new(),
                burst: ReceiveBurst::default(),
                tunnels: Slots::new(clients),
                buffers: Vec::new(),
                clients: Vec::new(),
                scores: vec![Score::default(); clients],
                arrivals: vec![usize::MAX; clients],
                latency: Histogram::new_with_bounds(1, 120_000_000, 3)?,
                wrong: BTreeMap::new(),
            }),
        })
    }

    /// The largest inner packet that all tunnels take, octets.
    pub fn mtu(&self) -> Option<usize> {
        let sending = locked(&self.sending);
        sending.tunnels.0.iter().flatten().map(|tunnel| usize::from(tunnel.mtu)).min()
    }

    /// Sends for the duration, or until it is interrupted, waits for what is under way, and gives the score.
    ///
    /// # Errors
    /// When the kernel refuses to send.
    pub fn exchange(
        &self,
        wire: &Wire,
        pace: &Pace,
        mut tick: impl FnMut(Duration),
    ) -> anyhow::Result<Outcome> {
        let live: Vec<usize> = {
            let sending = locked(&self.sending);
            let up = sending.tunnels.0.iter().enumerate();
            up.filter(|(_, tunnel)| tunnel.is_some()).map(|(client, _)| client).collect()
        };
        let turned = live.iter().cycle().skip(1);
        for (&client, &next) in live.iter().zip(turned) {
            locked(&self.receiving).arrivals[client] =
                if self.to == To::Peers { next } else { client };
        }
        let start = Instant::now();
        let per_second = pace.rate * live.len() as f64;
        let (mut turn, mut unsent) = (0, 0);
        loop {
            let elapsed = start.elapsed();
            if elapsed >= pace.duration || interrupt::check().is_err() {
                break;
            }
            tick(elapsed);
            let due = turns(elapsed, per_second);
            let late = due.saturating_sub(turns(LAG, per_second) + BURST);
            if late > turn {
                unsent += (late - turn) as u64;
                turn = late;
            }
            if due <= turn {
                let next = (turn + 1) as f64 / per_second;
                let wait = Duration::from_secs_f64(next).saturating_sub(elapsed);
                std::thread::sleep(
                    wait.clamp(Duration::from_micros(100), Duration::from_millis(20)),
                );
                continue;
            }
            let end = due.min(turn + BURST);
            unsent += self.send(wire, &live, turn..end, &pace.sizes)?;
            turn = end;
        }
        let took = start.elapsed();
        self.await_quiet(&live);
        self.outcome(&live, unsent, took)
    }

    /// Waits until all has come back, or nothing comes any more.
    fn await_quiet(&self, live: &[usize]) {
        const LIMIT: Duration = Duration::from_secs(2);
        const QUIET: Duration = Duration::from_millis(500);
        let sent: u64 = {
            let sending = locked(&self.sending);
            let tunnels = live.iter().filter_map(|&client| sending.tunnels.0[client].as_ref());
            tunnels.map(|tunnel| tunnel.sent).sum()
        };
        let (start, mut last, mut count) = (Instant::now(), Instant::now(), 0);
        while start.elapsed() < LIMIT && last.elapsed() < QUIET && count < sent {
            std::thread::sleep(Duration::from_millis(10));
            let now = locked(&self.receiving).scores.iter().map(|score| score.received).sum();
            if now > count {
                (count, last) = (now, Instant::now());
            }
        }
    }

    fn outcome(&self, live: &[usize], unsent: u64, took: Duration) -> anyhow::Result<Outcome> {
        let (sending, mut receiving) = (locked(&self.sending), locked(&self.receiving));
        for (score, tunnel) in receiving.scores.iter_mut().zip(&sending.tunnels.0) {
            // Those that went down meanwhile keep what they had sent by then.
            if let Some(tunnel) = tunnel {
                score.sent += tunnel.sent;
            }
        }
        let fresh = Histogram::new_with_bounds(1, 120_000_000, 3)?;
        Ok(Outcome {
            scores: live.iter().map(|&client| receiving.scores[client].clone()).collect(),
            latency: std::mem::replace(&mut receiving.latency, fresh),
            wrong: std::mem::take(&mut receiving.wrong),
            unsent,
            took,
        })
    }

    /// Sends one packet for each turn of a tunnel that is still up; gives how many could not be sent.
    fn send(
        &self,
        wire: &Wire,
        live: &[usize],
        turns: std::ops::Range<usize>,
        sizes: &[usize],
    ) -> io::Result<u64> {
        let mut sending = locked(&self.sending);
        let Sending { engine, burst, tunnels, plaintexts, packets } = &mut *sending;
        let micros = (self.began.elapsed().as_micros() & 0xFFFF_FFFF) as u32;
        burst.clear();
        let mut clients = [0; BURST];
        let mut count = 0;
        for turn in turns {
            let place = turn % live.len();
            let (client, next) = (live[place], live[(place + 1) % live.len()]);
            let next = tunnels.0[next].as_ref().map(|tunnel| tunnel.local);
            let (Some(tunnel), Some(next)) = (tunnels.0[client].as_mut(), next) else {
                continue;
            };
            let to = match self.to {
                To::Peers => next,
                To::Echo(None) => tunnel.gateway,
                To::Echo(Some(to)) | To::Reflector(to) => to,
            };
            // All tunnels get all sizes.
            let size = sizes[(turn / live.len() + place) % sizes.len()];
            let length = size.clamp(SHORTEST, usize::from(tunnel.mtu).max(SHORTEST));
            let mark = Mark {
                tunnel: u16::try_from(client).unwrap_or(u16::MAX),
                sequence: (tunnel.sent & 0xFFFF_FFFF) as u32,
                micros,
            };
            tunnel.sent += 1;
            let plaintext = &mut plaintexts[count];
            plaintext.clear();
            plaintext.extend([0x00, 0x21]);
            self.kind.emit(plaintext, [tunnel.local, to], length, mark, self.run);
            let slot = u32::try_from(client).unwrap_or(u32::MAX);
            burst.push(slot, tunnels.state(slot), plaintext.len());
            clients[count] = client;
            count += 1;
        }
        burst.plan();
        engine.derive_keys(burst);
        engine.apply(burst, &mut plaintexts[..]);
        packets.resize_with(count, Vec::new);
        for (index, packet) in packets.iter_mut().enumerate() {
            let (client, data) = (clients[index], &plaintexts[index]);
            let Some(tunnel) = tunnels.0[client].as_ref() else { continue };
            let header = burst.header(index).map(Header::to_octets).unwrap_or_default();
            let ppp = frame::Header::new(Protocol::COMPRESSED, tunnel.framing);
            let length = ppp.as_bytes().len() + header.len() + data.len();
            packet.clear();
            wire.begin(packet, client, tunnel.from, tunnel.peer_call_id, length)?;
            packet.extend(ppp.as_bytes());
            packet.extend(header);
            packet.extend(data);
        }
        burst.commit(tunnels);
        let sent = wire.send_all(packets)?;
        Ok((count - sent) as u64)
    }
}

impl Carrier for Traffic {
    fn open(&self, client: usize, tunnel: &Tunnel, newest: u32) {
        // Our proposal is encryption or nothing.
        let Encryption::Mppe { receive, send } = &tunnel.encryption else { return };
        let now = Time::from_micros(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(0));
        if let Some(slot) = locked(&self.receiving).tunnels.0.get_mut(client) {
            *slot = Some(ReceiveState::new(&receive.key, newest, now));
        }
        let mut sending = locked(&self.sending);
        if let Some(slot) = sending.tunnels.0.get_mut(client) {
            let sent = slot.as_ref().map_or(0, |before| before.sent);
            *slot = Some(Outgoing {
                state: SendState::new(&send.key),
                from: tunnel.from,
                peer_call_id: tunnel.peer_call_id,
                framing: tunnel.framing,
                local: tunnel.network.local,
                gateway: tunnel.network.remote,
                mtu: tunnel.network.mtu,
                sent,
            });
        }
    }

    fn close(&self, client: usize) {
        let closed = locked(&self.sending).tunnels.0.get_mut(client).and_then(Option::take);
        let mut receiving = locked(&self.receiving);
        if let Some(slot) = receiving.tunnels.0.get_mut(client) {
            *slot = None;
        }
        if let (Some(score), Some(closed)) = (receiving.scores.get_mut(client), closed) {
            score.sent += closed.sent;
        }
    }

    fn receive(&self, packets: &[Data<'_>]) {
        let since = self.began.elapsed().as_micros();
        let now = Time::from_micros(u64::try_from(since).unwrap_or(u64::MAX));
        locked(&self.receiving).receive(packets, now, self.kind, self.run);
    }
}

impl Receiving {
    fn receive(&mut self, packets: &[Data<'_>], now: Time, kind: Kind, run: u32) {
        self.burst.clear();
        self.clients.clear();
        for &Data { client, sequence, payload } in packets {
            let Some((&header, data)) = payload.split_first_chunk() else { continue };
            let index = self.clients.len();
            if self.buffers.len() == index {
                self.buffers.push(Vec::new());
            }
            self.buffers[index].clear();
            self.buffers[index].extend_from_slice(data);
            let slot = u32::try_from(client).unwrap_or(u32::MAX);
            let state = self.tunnels.state(slot);
            self.burst.push(slot, state, sequence, Header::from_octets(header), data.len());
            self.clients.push(client);
        }
        self.burst.plan(now, &mut self.tunnels);
        self.engine.derive_keys(&mut self.burst);
        self.engine.apply(&self.burst, &mut self.buffers[..]);
        for index in 0..self.clients.len() {
            if self.burst.status(index).is_ok() {
                self.judge(index, now, kind, run);
            }
        }
        self.burst.commit(&mut self.tunnels);
        for index in 0..self.clients.len() {
            if let Err(refused) = self.burst.status(index) {
                self.count_wrong(format!("MPPE: {refused}"));
            }
        }
    }

    fn judge(&mut self, index: usize, now: Time, kind: Kind, run: u32) {
        let packet = match frame::parse(&self.buffers[index]) {
            Ok((Protocol::IPV4, packet)) => packet,
            // Another protocol that the server sends; what cannot be a frame was not decrypted well.
            Ok(_) => return self.burst.accept(index),
            Err(_) => return,
        };
        let parsed = kind.parse(packet, run);
        self.burst.accept(index);
        let mark = match parsed {
            Ok(mark) => mark,
            Err(Unexpected::Foreign) => return,
            Err(Unexpected::Corrupt) => return self.count_wrong("contents differ".to_owned()),
            Err(Unexpected::Error(kind, code)) => {
                return self.count_wrong(format!("ICMP error, type {kind} code {code}"));
            }
        };
        let sender = usize::from(mark.tunnel);
        if self.arrivals.get(sender) != Some(&self.clients[index]) {
            return self.count_wrong("came by another tunnel".to_owned());
        }
        let taken = ((now.as_micros() & 0xFFFF_FFFF) as u32).wrapping_sub(mark.micros);
        self.latency.saturating_record(u64::from(taken));
        self.scores[sender].count(mark.sequence);
    }

    fn count_wrong(&mut self, what: String) {
        *self.wrong.entry(what).or_default() += 1;
    }
}

impl Score {
    fn count(&mut self, sequence: u32) {
        let is_first = self.received == 0 && self.duplicates == 0;
        let ahead = sequence.wrapping_sub(self.newest);
        if is_first || ahead.cast_signed() > 0 {
            let shift = if is_first { 64 } else { ahead };
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.newest = sequence;
            self.received += 1;
            return;
        }
        let behind = self.newest.wrapping_sub(sequence);
        let bit = 1_u64.checked_shl(behind).unwrap_or(0);
        if self.seen & bit != 0 {
            self.duplicates += 1;
        } else {
            // What is further behind than we remember is late, and counts.
            self.seen |= bit;
            self.reordered += 1;
            self.received += 1;
        }
    }
}

/// Packets that are due after a time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive, and what does not fit is capped"
)]
fn turns(elapsed: Duration, per_second: f64) -> usize {
    (elapsed.as_secs_f64() * per_second) as usize
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_and_repeated_packets_are_told_apart() {
        let mut score = Score::default();
        for sequence in [0, 1, 3, 2, 2, 3, 200, 150, 150, 149] {
            score.count(sequence);
        }
        assert_eq!((score.received, score.reordered, score.duplicates), (7, 3, 3));
    }
}
