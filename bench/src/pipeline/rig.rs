//! Workers between memory ports, turned by the bench so that it knows the processor time of turns.
//!
//! A round first fills all frames with packets and then gives them to the workers an interval at a
//! time, so that a frame's packet has long left the near caches when its worker sees it, as it has
//! on a NIC. Only turns that had work are counted. A round of which a packet was dropped fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use dataplane::api::config::PortReport;
use dataplane::api::{Command, Config, Encryption, Handle, Network, Prefix, Role, TunnelId};
use dataplane::frame::{Frame, Pool, Region};
use dataplane::io::Link;
use dataplane::io::memory::{MemoryPort, cable};
use dataplane::mppe::Cipher;
use dataplane::{Attachment, DataPlane, Kind, ManualWorker};
use protocol::time::Instant;

use super::network::{self, Core, Subscriber};
use super::traffic::{Direction, Generator};
use crate::cpu;

/// Packets that a worker is given at a time. Those that it hands over fit the other's ring twice.
const INTERVAL: usize = 512;
/// Frames of a worker beyond those that carry the bench's packets: its pool's and acknowledgements.
const SPARE: u32 = 2048;
/// Time from interval to interval as workers see it: four million packets a second. Within an
/// interval it stands, or else turns that only send acknowledgements would bring the next ones due.
const PACE: Duration = Duration::from_micros(128);
/// Octets of an acknowledgement alone: Ethernet 14, IPv4 20, GRE 12.
const ACKNOWLEDGEMENT: usize = 46;
/// Tunnels that are opened before workers are turned: an order of each fits their rings.
const OPENED: usize = 1000;

/// Which packets have their tunnel with another worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    None,
    Every,
}

/// Workers, tunnels, and packets for them.
#[derive(Debug)]
pub struct Rig {
    handle: Handle,
    tunnels: Vec<TunnelId>,
    lanes: Vec<Lane>,
    /// By the worker that has the tunnels.
    generators: Vec<Generator>,
}

/// A worker and the far ends of its ports.
#[derive(Debug)]
struct Lane {
    worker: ManualWorker,
    access: MemoryPort,
    core: MemoryPort,
    /// Those of the round, used in turn.
    frames: Vec<Frame>,
    pool: Pool,
    now: Instant,
}

impl Rig {
    /// Workers that have `tunnels` encrypted tunnels between them, with `frames` frames each.
    pub fn new(workers: usize, tunnels: u16, frames: u32, core: &Core) -> anyhow::Result<Self> {
        let total = (frames + SPARE).checked_mul(u32::try_from(workers)?).context("frames")?;
        let region = Region::new(total)?;
        let (mut ports, mut far) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (access, far_access) = attach("access", network::ACCESS, Role::Access);
            let (core, far_core) = attach("core", network::CORE, Role::Core);
            ports.push(vec![access, core]);
            far.push((far_access, far_core));
        }
        let config = Config { workers, ..Config::default() };
        let (handle, made) = DataPlane::by_hand(&config, region, ports, Arc::clone(&core.routes))?;
        let mut lanes = Vec::new();
        for (worker, (access, core)) in made.into_iter().zip(far) {
            let mut pool = Pool::new(region, 0);
            let taken = std::iter::from_fn(|| pool.take()).take(frames as usize).collect();
            let now = Instant::ORIGIN;
            lanes.push(Lane { worker, access, core, frames: taken, pool, now });
        }
        let generators = (0..workers).map(|worker| {
            let own = (0..tunnels).filter(|&number| network::owner(number, workers) == worker);
            let seed = worker as u64;
            let destinations = Arc::clone(&core.destinations);
            Generator::new(own.map(Subscriber::new).collect(), destinations, Cipher::Null, seed)
        });
        let generators = generators.collect();
        let mut rig = Self { handle, tunnels: Vec::new(), lanes, generators };
        rig.open(tunnels)?;
        Ok(rig)
    }

    fn open(&mut self, tunnels: u16) -> anyhow::Result<()> {
        for number in 0..tunnels {
            let subscriber = Subscriber::new(number);
            let tunnel = self.handle.open(subscriber.outer())?;
            let (receive, send) = subscriber.keys();
            let encryption = Encryption::stateless(receive, send);
            self.handle.command(Command::SetEncryption { tunnel, encryption })?;
            let prefixes = vec![Prefix::host(subscriber.inner())];
            let local = subscriber.outer().local;
            let network = Some(Network { prefixes, mtu: 1456, local, clamp_mss: true });
            self.handle.command(Command::SetNetwork { tunnel, network })?;
            self.tunnels.push(tunnel);
            if self.tunnels.len().is_multiple_of(OPENED) {
                self.take_orders();
            }
        }
        self.take_orders();
        Ok(())
    }

    fn take_orders(&mut self) {
        for lane in &mut self.lanes {
            while lane.worker.turn(lane.now) {}
        }
    }

    /// What packets are encrypted with from now on, at both ends.
    pub fn set_cipher(&mut self, cipher: impl Fn() -> Cipher) {
        for (lane, generator) in self.lanes.iter_mut().zip(&mut self.generators) {
            lane.worker.set_cipher(cipher());
            generator.set_cipher(cipher());
        }
    }

    /// What each stage costs for a packet of `length` octets, nanoseconds, in a round of its own.
    pub fn stages(
        &mut self,
        direction: Direction,
        length: usize,
        handover: Handover,
    ) -> anyhow::Result<BTreeMap<String, f64>> {
        self.measure_stages(true);
        let sent: usize = self.lanes.iter().map(|lane| lane.frames.len()).sum();
        self.round(direction, length, handover)?;
        let mut stages = BTreeMap::new();
        for (stage, time) in self.lanes.iter().flat_map(|lane| lane.worker.stages()) {
            let cost = time.as_secs_f64() * 1e9 / sent as f64;
            *stages.entry(stage.name().to_owned()).or_default() += cost;
        }
        self.measure_stages(false);
        Ok(stages)
    }

    fn measure_stages(&mut self, on: bool) {
        self.lanes.iter_mut().for_each(|lane| lane.worker.measure_stages(on));
    }

    /// Sends each frame once, with an inner packet of `length` octets. The processor time that the
    /// workers together took for a packet, nanoseconds, for each interval but the first quarter.
    pub fn round(
        &mut self,
        direction: Direction,
        length: usize,
        handover: Handover,
    ) -> anyhow::Result<Vec<f64>> {
        let workers = self.lanes.len();
        let before = self.carried(direction);
        let sent: usize = self.lanes.iter().map(|lane| lane.frames.len()).sum();
        if handover == Handover::Every {
            self.generators.rotate_left(1);
        }
        let fed = AtomicUsize::new(0);
        let results: Vec<anyhow::Result<_>> = std::thread::scope(|scope| {
            let lanes = self.lanes.iter_mut().zip(&mut self.generators).enumerate();
            let threads: Vec<_> = lanes
                .map(|(number, (lane, generator))| {
                    let fed = &fed;
                    scope.spawn(move || {
                        pin(number, workers);
                        generator.fill(direction, length, &mut lane.frames);
                        lane.round(direction, fed, workers)
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        if handover == Handover::Every {
            self.generators.rotate_right(1);
        }
        let drops = self.handle.totals().drops();
        ensure!(drops.total() == 0, "packets were dropped: {drops:?}");
        let carried = self.carried(direction) - before;
        ensure!(carried == sent as u64, "{carried} of {sent} packets were carried");

        let lanes: Vec<Vec<Duration>> = results.into_iter().collect::<Result<_, _>>()?;
        ensure!(lanes.len() == workers, "a worker panicked");
        let intervals = lanes.iter().map(Vec::len).min().unwrap_or_default();
        let cost = |at| lanes.iter().filter_map(|lane| lane.get(at)).sum::<Duration>();
        let packets = (INTERVAL * workers) as f64;
        Ok((intervals / 4..intervals).map(|at| cost(at).as_secs_f64() * 1e9 / packets).collect())
    }

    /// Packets that all tunnels counted so far.
    fn carried(&self, direction: Direction) -> u64 {
        let counters = self.tunnels.iter().filter_map(|&tunnel| self.handle.counters(tunnel));
        counters
            .map(|counters| match direction {
                Direction::Uplink => counters.rx_packets,
                Direction::Downlink => counters.tx_packets,
            })
            .sum()
    }
}

impl Lane {
    /// Gives the worker all frames, and takes as many back. What each interval cost.
    fn round(
        &mut self,
        direction: Direction,
        fed: &AtomicUsize,
        workers: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut frames = std::mem::take(&mut self.frames).into_iter();
        let mut costs = Vec::new();
        while frames.len() > 0 {
            let entry = match direction {
                Direction::Uplink => &self.access,
                Direction::Downlink => &self.core,
            };
            for frame in frames.by_ref().take(INTERVAL) {
                ensure!(entry.push(frame).is_ok(), "the cable holds an interval");
            }
            self.now = self.now + PACE;
            costs.push(self.work(fed, costs.len() * workers + workers)?);
            self.collect(direction);
        }
        Ok(costs)
    }

    /// Turns the worker until nothing is left to do, here and on its way from other workers: until
    /// they have come to `goal` intervals together.
    fn work(&mut self, fed: &AtomicUsize, goal: usize) -> anyhow::Result<Duration> {
        let mut cost = Duration::ZERO;
        let mut since = Some(cpu::now()?);
        let mut is_fed = false;
        loop {
            let is_last = fed.load(Ordering::Acquire) >= goal;
            let start = match since {
                Some(start) => start,
                None => cpu::now()?,
            };
            if self.worker.turn(self.now) {
                since = Some(start);
                continue;
            }
            if let Some(start) = since.take() {
                cost += cpu::now()?.saturating_sub(start);
            }
            if !is_fed {
                is_fed = true;
                fed.fetch_add(1, Ordering::Release);
            } else if is_last {
                return Ok(cost);
            }
        }
    }

    fn collect(&mut self, direction: Direction) {
        let (exit, other) = match direction {
            Direction::Uplink => (&self.core, &self.access),
            Direction::Downlink => (&self.access, &self.core),
        };
        let arrived = std::iter::from_fn(|| exit.pop().or_else(|| other.pop()));
        for frame in arrived {
            if frame.len() > ACKNOWLEDGEMENT {
                self.frames.push(frame);
            } else {
                self.pool.put(frame);
            }
        }
    }
}

fn attach(name: &str, ifindex: u32, role: Role) -> (Attachment, MemoryPort) {
    let (near, far) = cable(Link::Ethernet, 4 * INTERVAL);
    let report = PortReport {
        name: name.to_owned(),
        driver: "memory",
        queue: 0,
        role,
        lines: Vec::new(),
        mode: String::new(),
    };
    (
        Attachment {
            kind: Kind::Interface(ifindex),
            report,
            port: Box::new(near),
            lines: Vec::new(),
        },
        far,
    )
}

/// Workers that run beside each other have a core each, where there are enough.
pub(super) fn pin(number: usize, workers: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if workers > 1
        && cores.len() >= workers
        && let Some(&core) = cores.get(number)
    {
        // Without it the figures are only less steady.
        let _ = core_affinity::set_for_current(core);
    }
}

#[cfg(test)]
mod tests {
    use dataplane::mppe::Engine;

    use super::*;

    /// A round fails by itself if a packet was dropped or not counted by its tunnel.
    #[test]
    fn every_packet_is_accepted_whatever_the_cipher_and_whoever_has_its_tunnel() {
        let core = Core::new(100);
        for workers in [1, 2] {
            let mut rig = Rig::new(workers, 40, 1024, &core).unwrap();
            for real in [false, true, false] {
                let cipher = || if real { Cipher::Mppe(Engine::new()) } else { Cipher::Null };
                rig.set_cipher(cipher);
                for direction in [Direction::Uplink, Direction::Downlink] {
                    for handover in [Handover::None, Handover::Every] {
                        let costs = rig.round(direction, 64, handover).unwrap();
                        assert_eq!(costs.len(), 2);
                        let frames: usize = rig.lanes.iter().map(|lane| lane.frames.len()).sum();
                        assert_eq!(frames, workers * 1024, "frames go round");
                    }
                }
            }
            let handed: u64 = rig.handle.totals().workers.iter().map(|one| one.handed_over).sum();
            assert_eq!(handed, if workers == 1 { 0 } else { 3 * 2 * 2048 });
        }
    }

    #[test]
    fn stages_of_a_direction_take_its_time() {
        let mut rig = Rig::new(1, 4, 1024, &Core::new(10)).unwrap();
        rig.set_cipher(|| Cipher::Mppe(Engine::new()));
        for (direction, stage, foreign) in [
            (Direction::Uplink, "inspect", "envelope"),
            (Direction::Downlink, "envelope", "inspect"),
        ] {
            let stages = rig.stages(direction, 64, Handover::None).unwrap();
            assert!(stages[stage] > 0.0 && stages["keystream"] > 0.0, "{stages:?}");
            assert!(stages[foreign] < f64::EPSILON, "{stages:?}");
        }
    }

    #[test]
    fn ends_of_different_ciphers_are_found_out() {
        let mut rig = Rig::new(1, 4, 1024, &Core::new(10)).unwrap();
        rig.set_cipher(|| Cipher::Mppe(Engine::new()));
        rig.generators[0].set_cipher(Cipher::Null);
        let error = rig.round(Direction::Uplink, 64, Handover::None).unwrap_err();
        assert!(error.to_string().contains("dropped"), "{error}");
    }
}
