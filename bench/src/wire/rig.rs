//! The product's data plane between two links, and a generator that keeps it busy.
//!
//! ```text
//!  peers ── access ▐ worker ▌ core ── core network        each side a network namespace
//! ```
//!
//! The generator makes packets in the kernel, on a core of its own, beyond the far ends of the links.
//! It sends no more than the rings hold: the worker is never idle, and nothing is lost. What the worker
//! sends ends at the far ends' stacks, which drop frames for a MAC address that is nobody's.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dataplane::DataPlane;
use dataplane::api::config::PortReport;
use dataplane::api::{
    Command, Config, Encryption, Events, Handle, Interface, Network, Prefix, Role, Tun, TunnelId,
};
use dataplane::frame::{Frame, Pool, Region};
use dataplane::mppe::{Cipher, Engine};
use ebpf::{Generator as Source, Toward};
use lab::netns::{self, Namespace};
use lab::wait;
use nix::net::if_::if_nametoindex;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::pipeline::network::{Core, Subscriber};
use crate::pipeline::traffic::{Direction, Generator};

/// Where the worker runs, and where the generator does.
const WORKER: usize = 0;
const GENERATOR: usize = 1;
/// Packets that are sent at a time in a flood.
const CHUNK: u32 = 64;
/// Nobody waits for longer for a packet.
const LIMIT: Duration = Duration::from_secs(5);

/// The MAC address of both of our links, as the generator's frames have it.
const OURS: &str = "02:00:00:00:00:01";
const NOBODYS: &str = "02:00:00:00:00:99";

/// How frames come in and go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Driver {
    /// AF_XDP on both links.
    #[serde(rename = "AF_XDP")]
    #[value(name = "af-xdp")]
    AfXdp,
    /// A raw socket and a TUN; links are the kernel's.
    #[serde(rename = "raw+TUN")]
    #[value(name = "raw-tun")]
    RawTun,
}

impl Driver {
    /// Packets that are made at a time, and that may be under way: they fit AF_XDP's rings of 1024,
    /// or a TUN's queue of 500.
    const fn under_way(self) -> (u32, u64) {
        match self {
            Self::AfXdp => (256, 960),
            Self::RawTun => (128, 448),
        }
    }
}

impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AfXdp => "AF_XDP",
            Self::RawTun => "raw+TUN",
        })
    }
}

/// Whether packets are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Mppe,
}

/// What a round came to.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Processor time of the worker's thread for a packet, nanoseconds.
    pub ns: f64,
    /// Thousand packets a second.
    pub kpps: f64,
    /// The worker's processor time in percent of the time that passed.
    pub busy: f64,
}

/// What came of more packets than the worker can carry.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Thousand packets a second that were sent…
    pub offered_kpps: f64,
    /// …and that tunnels carried.
    pub carried_kpps: f64,
    /// For so long.
    pub time: Duration,
}

/// Links, a data plane and packets.
#[derive(Debug)]
pub struct Rig {
    peers: Far,
    core: Far,
    plain: Set,
    mppe: Set,
    source: Source,
    under_way: (u32, u64),
    frames: Vec<Frame>,
    worker: ClockId,
    handle: Handle,
    _events: Events,
    _concentrator: Namespace,
}

/// The far end of a link.
#[derive(Debug)]
struct Far {
    namespace: Namespace,
    ifindex: u32,
}

/// Tunnels of one kind, and who makes their packets.
#[derive(Debug)]
struct Set {
    tunnels: Vec<TunnelId>,
    generator: Generator,
}

impl Rig {
    /// A worker with `tunnels` tunnels of each kind, and packets to send `packets` of at a time.
    ///
    /// # Errors
    /// Without root or a second core.
    pub fn open(driver: Driver, tunnels: u16, packets: u32) -> Result<Self> {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        ensure!(
            cores.iter().any(|core| core.id == GENERATOR),
            "the worker and the generator need a core each, numbers {WORKER} and {GENERATOR}"
        );
        let concentrator = Namespace::new("concentrator")?;
        let peers = Far::join(&concentrator, "access", "192.0.2.1/24")?;
        let core = Far::join(&concentrator, "core", "198.18.0.1/24")?;
        concentrator.route("100.64.0.0/10", Ipv4Addr::new(192, 0, 2, 2))?;
        concentrator.route("default", Ipv4Addr::new(198, 18, 0, 2))?;
        concentrator.sysctl("net/ipv4/ip_forward", "1")?;
        let subscribers = Prefix { address: Ipv4Addr::new(10, 0, 0, 0), length: 16 };
        let interface =
            |name: &str, role| Interface { name: name.to_owned(), role, queues: None, below: None };
        let config = Config {
            cores: vec![WORKER],
            interfaces: match driver {
                Driver::AfXdp => {
                    vec![interface("access", Role::Access), interface("core", Role::Core)]
                }
                Driver::RawTun => Vec::new(),
            },
            listen: vec![Ipv4Addr::new(192, 0, 2, 1)],
            tun: Tun { pools: vec![subscribers], ..Tun::default() },
            ..Config::default()
        };
        let before = threads()?;
        let (handle, events) = concentrator.run(|| Ok(DataPlane::start(&config)?))?;
        let worker = clock_of_new_thread(&before)?;
        if let Some(PortReport { name, mode, .. }) = handle
            .report()
            .workers
            .iter()
            .flat_map(|worker| &worker.ports)
            .find(|port| port.driver == "AF_XDP" && !port.mode.starts_with("native"))
        {
            bail!("{name} runs as {mode}: the kernel has no native XDP for veth");
        }

        let region = Region::new(packets)?;
        let mut pool = Pool::new(region, 0);
        let frames = std::iter::from_fn(|| pool.take()).take(packets as usize).collect();
        let destinations = Core::new(tunnels.into()).destinations;
        let open = |numbers: std::ops::Range<u16>, kind| {
            let subscribers: Vec<_> = numbers.map(Subscriber::new).collect();
            let tunnels =
                subscribers.iter().map(|&one| open(&handle, one, kind)).collect::<Result<_>>()?;
            let cipher = Cipher::Mppe(Engine::new());
            let generator = Generator::new(subscribers, destinations.clone(), cipher, 7);
            let generator = if kind == Kind::Plain { generator.plain() } else { generator };
            anyhow::Ok(Set { tunnels, generator })
        };
        let mppe = open(0..tunnels, Kind::Mppe)?;
        let plain = open(tunnels..2 * tunnels, Kind::Plain)?;
        let source = peers.namespace.run(|| {
            let mut source = Source::load(packets)?;
            source.stand_by("lo")?;
            Ok(source)
        })?;
        Ok(Self {
            peers,
            core,
            plain,
            mppe,
            source,
            under_way: driver.under_way(),
            frames,
            worker,
            handle,
            _events: events,
            _concentrator: concentrator,
        })
    }

    /// Sends each frame once, with an inner packet of `payload` octets.
    ///
    /// # Errors
    /// When a packet was lost.
    pub fn round(&mut self, direction: Direction, payload: u16, kind: Kind) -> Result<Sample> {
        let Self { peers, core, source, frames, handle, worker, .. } = self;
        let set = match kind {
            Kind::Plain => &mut self.plain,
            Kind::Mppe => &mut self.mppe,
        };
        let far = match direction {
            Direction::Uplink => peers,
            Direction::Downlink => core,
        };
        set.generator.fill(direction, payload.into(), frames);
        source.fill(frames.iter().map(Frame::data))?;
        let total = frames.len() as u64;
        let (chunk, most) = self.under_way;
        let lost = losses(handle);
        let carried = || set.carried(handle, direction);
        let before = carried();
        let (took, cost) = far.namespace.run(|| {
            pin(GENERATOR);
            let (began, cpu) = (Instant::now(), clock_gettime(*worker)?);
            let (mut sent, mut done, mut heard) = (0, 0, began);
            while done < total {
                let now = carried() - before;
                if now > done {
                    (done, heard) = (now, Instant::now());
                }
                if sent < total && sent - done + u64::from(chunk) <= most {
                    let chunk = u64::from(chunk).min(total - sent);
                    source.send(u32::try_from(chunk)?, Toward::Wire(far.ifindex))?;
                    sent += chunk;
                } else if heard.elapsed() > LIMIT {
                    bail!("{done} of {sent} packets came through; {}", losses(handle));
                }
            }
            let cost = Duration::from(clock_gettime(*worker)?).saturating_sub(cpu.into());
            Ok((began.elapsed().as_secs_f64(), cost.as_secs_f64()))
        })?;
        let now = losses(handle);
        ensure!(now == lost, "the worker lost packets: before {lost}, now {now}");
        let packets = total as f64;
        Ok(Sample {
            ns: cost * 1e9 / packets,
            kpps: packets / took / 1000.0,
            busy: 100.0 * cost / took,
        })
    }
}

impl Rig {
    /// Sends so many thousand encrypted packets a second, or as many as the generator can make, whether
    /// the worker can carry them or not. Packets of subscribers come in bursts of all frames: each can
    /// be sent but once, and making them takes a pause.
    ///
    /// # Errors
    /// If the generator fails.
    pub fn flood(
        &mut self,
        direction: Direction,
        payload: u16,
        kpps: f64,
        time: Duration,
    ) -> Result<Flood> {
        let Self { peers, core, source, frames, handle, mppe, .. } = self;
        let far = match direction {
            Direction::Uplink => peers,
            Direction::Downlink => core,
        };
        let (mut offered, mut carried, mut spent) = (0_u64, 0_u64, Duration::ZERO);
        let mut is_filled = false;
        while spent < time {
            if direction == Direction::Uplink || !is_filled {
                mppe.generator.fill(direction, payload.into(), frames);
                source.fill(frames.iter().map(Frame::data))?;
                is_filled = true;
            }
            // What can be sent again, is.
            let total = match direction {
                Direction::Uplink => frames.len() as u64,
                Direction::Downlink => u64::MAX,
            };
            let before = mppe.carried(handle, direction);
            let left = time - spent;
            let (sent, took) = far.namespace.run(|| {
                pin(GENERATOR);
                let began = Instant::now();
                let mut sent = 0;
                while sent < total && began.elapsed() < left {
                    // As many as are due by now, a few at a time.
                    let due = began.elapsed().as_secs_f64() * kpps * 1000.0;
                    if (sent as f64) < due {
                        let chunk = u64::from(CHUNK).min(total - sent);
                        source.send(u32::try_from(chunk)?, Toward::Wire(far.ifindex))?;
                        sent += chunk;
                    }
                }
                Ok((sent, began.elapsed()))
            })?;
            offered += sent;
            carried += mppe.carried(handle, direction) - before;
            spent += took;
        }
        let kpps = |packets: u64| packets as f64 / spent.as_secs_f64() / 1000.0;
        Ok(Flood { offered_kpps: kpps(offered), carried_kpps: kpps(carried), time: spent })
    }
}

/// Has the calling thread run on this core, if the process may.
fn pin(core: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(core) = cores.into_iter().find(|known| known.id == core) {
        core_affinity::set_for_current(core);
    }
}

impl Far {
    /// A link of the concentrator's that has this address, whose network's host 2 is nobody.
    fn join(concentrator: &Namespace, link: &str, address: &str) -> Result<Self> {
        let namespace = Namespace::new(link)?;
        netns::join((concentrator, link), (&namespace, "far"))?;
        concentrator.ip(&format!("link set dev {link} address {OURS}"))?;
        concentrator.address(link, address)?;
        let nobody = address.replace(".1/24", ".2");
        concentrator
            .ip(&format!("neigh replace {nobody} lladdr {NOBODYS} nud permanent dev {link}"))?;
        // Without a program of its own a veth takes frames of XDP only with this.
        concentrator.exec("ethtool", &["-K", link, "gro", "on"])?;
        let ifindex = namespace.run(|| Ok(if_nametoindex("far")?))?;
        Ok(Self { namespace, ifindex })
    }
}

impl Set {
    /// Packets that its tunnels have carried.
    fn carried(&self, handle: &Handle, direction: Direction) -> u64 {
        let counters = self.tunnels.iter().filter_map(|&tunnel| handle.counters(tunnel));
        counters
            .map(|counters| match direction {
                Direction::Uplink => counters.rx_packets,
                Direction::Downlink => counters.tx_packets,
            })
            .sum()
    }
}

/// Opens a tunnel on a data plane that runs.
fn open(handle: &Handle, subscriber: Subscriber, kind: Kind) -> Result<TunnelId> {
    let tunnel = handle.open(subscriber.outer())?;
    let (receive, send) = subscriber.keys();
    let encryption = match kind {
        Kind::Plain => Encryption::None,
        Kind::Mppe => Encryption::stateless(receive, send),
    };
    let prefixes = vec![Prefix::host(subscriber.inner())];
    let local = subscriber.outer().local;
    let network = Some(Network { prefixes, mtu: 1456, local, clamp_mss: true });
    for command in
        [Command::SetEncryption { tunnel, encryption }, Command::SetNetwork { tunnel, network }]
    {
        let full = handle.command(command).is_err();
        ensure!(!full, "the worker takes no orders");
    }
    Ok(tunnel)
}

/// All that was dropped so far, in words: by the worker and its ports.
fn losses(handle: &Handle) -> String {
    let totals = handle.totals();
    let of_worker = totals
        .drops()
        .iter()
        .map(|(reason, count)| (reason.name().to_owned(), count))
        .collect::<Vec<_>>();
    let of_ports = totals.ports.iter().flat_map(|port| {
        port.drops.iter().map(|(reason, count)| (format!("{} {reason:?}", port.name), *count))
    });
    let dropped = of_worker.into_iter().chain(of_ports).filter(|(_, count)| *count > 0);
    let text: Vec<_> = dropped.map(|(reason, count)| format!("{reason}: {count}")).collect();
    if text.is_empty() { "no drops".to_owned() } else { text.join(", ") }
}

/// This process's threads.
fn threads() -> Result<Vec<i32>> {
    let tasks = std::fs::read_dir("/proc/self/task").context("listing threads")?;
    let id = |task: std::io::Result<std::fs::DirEntry>| {
        Ok(task?.file_name().to_string_lossy().parse()?)
    };
    tasks.map(id).collect()
}

/// The processor time of the worker that was not among `before`. A thread says its name when it runs.
fn clock_of_new_thread(before: &[i32]) -> Result<ClockId> {
    wait::until("the worker's thread", LIMIT, || {
        let is_worker = |thread: &i32| {
            let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
            !before.contains(thread) && name.is_ok_and(|name| name.trim() == "worker-0")
        };
        // A thread's clock, as clock_getcpuclockid(3) would name it: CPUCLOCK_PERTHREAD and
        // CPUCLOCK_SCHED of the kernel's posix-timers.h.
        let worker = threads()?.into_iter().find(is_worker);
        Ok(worker.map(|thread| ClockId::from_raw((!thread << 3) | 4 | 2)))
    })
}
