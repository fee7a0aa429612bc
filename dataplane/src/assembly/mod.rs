//! Puts a data plane together: memory, ports, workers, threads.
//!
//! Does all that can fail before the first thread starts, so that a configuration is either running
//! as a whole or refused with a reason. Never touches a packet.

mod manual;
mod netlink;
mod physical;
mod pools;
mod ports;
mod topology;

use std::sync::Arc;
use std::time::Instant;

use core_affinity::CoreId;
use ebpf::Tags;

use crate::api::config::{MIN_FRAMES, PortReport, WorkerReport};
use crate::api::events::EventRings;
use crate::api::handle::{Machinery, Party};
use crate::api::{Config, Events, Handle, Report, StartError};
use crate::balance::{self, Wishes};
use crate::counters::WorkerMeter;
use crate::frame::{Pool, Region};
use crate::io::{Port, source_toward};
use crate::mailbox::Mailbox;
use crate::mppe::Choice;
use crate::route::{Mirror, Routes};
use crate::worker::{Attached, Lines, Sleep, Surroundings, Worker};

use ports::Opened;

pub use crate::worker::{Kind, Line};
pub use manual::ManualWorker;
pub use ports::policy_rules;

/// The most workers that one data plane has.
const MAX_WORKERS: usize = 64;
/// The fewest frames per worker that keep all rings stocked.
/// The part of a worker's frames that may wait for tunnels' rates: a quarter.
const QUEUED_SHARE: usize = 4;
/// The part of a worker's frames that may hold fragments of packets: an eighth.
const FRAGMENTS_SHARE: usize = 8;
/// `RT_TABLE_MAIN` of linux/rtnetlink.h.
const MAIN_TABLE: u32 = 254;
/// Free frames that a worker keeps to itself.
const POOL: usize = 512;

/// Starts data planes.
#[derive(Debug, Clone, Copy)]
pub struct DataPlane;

/// A port that is ready to be driven.
pub struct Attachment {
    /// What it is.
    pub kind: Kind,
    /// How it is reported.
    pub report: PortReport,
    /// Its driver.
    pub port: Box<dyn Port>,
    /// Interfaces of the kernel whose frames pass it, by VLAN tags. Empty: none has tags, and all
    /// are the port's own.
    pub lines: Vec<Line>,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment")
            .field("kind", &self.kind)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl DataPlane {
    /// Starts a data plane on this machine: opens sockets, TUN and AF_XDP queues in the network
    /// namespace of the calling thread. All of it ends with the handle.
    ///
    /// # Errors
    /// If the configuration is out of range or the system refuses something; nothing is left then.
    pub fn start(config: &Config) -> Result<(Handle, Events), StartError> {
        check(config)?;
        let Opened { ports, machinery, region } = ports::open(config)?;
        let routes = machinery.mirror.as_ref().map(Mirror::routes);
        Self::assemble(config, region, ports, machinery, routes)?.run()
    }

    /// Starts workers with ports that the caller made: `ports` has one list for each worker.
    ///
    /// # Errors
    /// If the configuration is out of range or the system refuses threads or descriptors.
    pub fn launch(
        config: &Config,
        region: &'static Region,
        ports: Vec<Vec<Attachment>>,
    ) -> Result<(Handle, Events), StartError> {
        check(config)?;
        Self::assemble(config, region, ports, Machinery::default(), None)?.run()
    }

    fn assemble(
        config: &Config,
        region: &'static Region,
        ports: Vec<Vec<Attachment>>,
        machinery: Machinery,
        routes: Option<Arc<Routes>>,
    ) -> Result<Assembled, StartError> {
        if ports.len() != config.workers {
            return Err(StartError::Config("one list of ports for each worker".to_owned()));
        }
        let epoch = Instant::now();
        let cores = cores(config)?;
        let mppe =
            Choice::of(config.mppe).map_err(|error| StartError::Config(error.to_string()))?;
        tracing::info!(kernel = %mppe, "MPPE");
        let mailboxes = (0..config.workers)
            .map(|_| Mailbox::new().map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|errno| StartError::system("making an eventfd", errno))?;
        let events = Arc::new(EventRings::new(config.workers));
        let wishes = Arc::new(balance::wishes());
        let surroundings = Surroundings {
            mailboxes: mailboxes.clone(),
            events: Arc::clone(&events),
            wishes: Arc::clone(&wishes),
            routes,
            kernel: mppe.kernel,
            queued: config.frames as usize / QUEUED_SHARE,
            fragments: config.frames as usize / FRAGMENTS_SHARE,
            source_toward,
        };

        let mut report = Report { workers: Vec::new(), mppe };
        let mut parties = Vec::new();
        let mut workers = Vec::new();
        for ((number, ports), mailbox) in (0..).zip(ports).zip(mailboxes) {
            let core = cores.get(usize::from(number)).copied();
            let meter = Arc::new(WorkerMeter::default());
            parties.push(Party {
                mailbox,
                meter: Arc::clone(&meter),
                ports: ports.iter().map(|port| Arc::clone(port.port.counters())).collect(),
            });
            let (reports, attached) = ports.into_iter().map(Attachment::split).unzip();
            report.workers.push(WorkerReport { core: core.map(|core| core.id), ports: reports });
            let pool = Pool::new(region, POOL);
            let worker = Worker::new(number, attached, pool, meter, surroundings.clone());
            workers.push((worker, core));
        }
        let handle = Handle::new(parties, machinery, config.max_tunnels, epoch, report);
        let rest = if config.busy_poll.is_some() { Sleep::Never } else { Sleep::WhenIdle };
        let wishes = config.balance.then_some(wishes);
        Ok(Assembled { handle, events: Events::new(events), workers, epoch, rest, wishes })
    }
}

/// A data plane that does not run yet.
struct Assembled {
    handle: Handle,
    events: Events,
    /// Each with the core that it is to be pinned to.
    workers: Vec<(Worker, Option<CoreId>)>,
    epoch: Instant,
    rest: Sleep,
    /// What workers wish of each other, where that is to be heard.
    wishes: Option<Arc<Wishes>>,
}

impl Assembled {
    /// Starts the workers' threads.
    fn run(self) -> Result<(Handle, Events), StartError> {
        let Self { handle, events, mut workers, epoch, rest, wishes } = self;
        let poll_sets = workers
            .iter_mut()
            .map(|(worker, _)| worker.poll_set())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|errno| StartError::system("making a worker's poll set", errno))?;
        let several = workers.len() > 1;
        // From here on a failure drops the handle, which stops the threads that run already.
        for (number, ((worker, core), poll_set)) in workers.into_iter().zip(poll_sets).enumerate() {
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    if let Some(core) = core
                        && !core_affinity::set_for_current(core)
                    {
                        tracing::warn!(worker = number, core = core.id, "worker is not pinned");
                    }
                    worker.run(&poll_set, epoch, rest);
                })
                .map_err(|error| StartError::system("starting a worker", error))?;
            handle.adopt(thread);
        }
        if let Some(wishes) = wishes.filter(|_| several) {
            handle.balance(wishes)?;
        }
        Ok((handle, events))
    }
}

impl Attachment {
    fn split(self) -> (PortReport, Attached) {
        let Self { kind, report, port, mut lines } = self;
        if let Kind::Interface(ifindex) = kind
            && lines.is_empty()
        {
            lines.push(Line { tags: Tags::None, ifindex, role: report.role });
        }
        (report, Attached { port, kind, lines: Lines::new(lines) })
    }
}

fn check(config: &Config) -> Result<(), StartError> {
    let refuse = |reason: &str| Err(StartError::Config(reason.to_owned()));
    if !(1..=MAX_WORKERS).contains(&config.workers) {
        return refuse("between 1 and 64 workers can run");
    }
    if !config.cores.is_empty() && config.cores.len() < config.workers {
        return refuse("fewer cores than workers are named");
    }
    if config.max_tunnels == 0 || config.max_tunnels > u32::MAX >> 1 {
        return refuse("max_tunnels lies between 1 and 2^31 - 1");
    }
    if config.frames < MIN_FRAMES {
        return refuse("a worker needs at least 1024 frames");
    }
    if config.tun.name.is_empty() || config.tun.name.len() > 15 {
        return refuse("an interface's name has 1 to 15 bytes");
    }
    if config.tun.pools.iter().any(|pool| pool.length > 32) {
        return refuse("a prefix has at most 32 bits");
    }
    // A kernel that was asked for is not measured, so this costs nothing.
    if let Some(kernel) = config.mppe {
        Choice::of(Some(kernel)).map_err(|error| StartError::Config(error.to_string()))?;
    }
    Ok(())
}

/// The cores to pin to, one for each worker; fewer where pinning is of no use or the system does
/// not say which cores there are.
fn cores(config: &Config) -> Result<Vec<CoreId>, StartError> {
    let have = core_affinity::get_core_ids().unwrap_or_default();
    if config.cores.is_empty() && config.workers == 1 && config.interfaces.is_empty() {
        // A lone worker on the kernel's own devices gains nothing from a core, and processes of
        // this kind (a client for each tunnel) would all crowd the first one.
        return Ok(Vec::new());
    }
    if config.cores.is_empty() {
        // More workers than cores share them.
        return Ok(have.into_iter().cycle().take(config.workers).collect());
    }
    config
        .cores
        .iter()
        .take(config.workers)
        .map(|&id| {
            have.iter().find(|core| core.id == id).copied().ok_or_else(|| {
                StartError::Config(format!("core {id} is not among those that the process may use"))
            })
        })
        .collect()
}
