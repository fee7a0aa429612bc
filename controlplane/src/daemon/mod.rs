//! The daemon: `penstock serve`.
//!
//! | module | what |
//! |---|---|
//! | `account` | what RADIUS is told of a session |
//! | [`admission`] | how many may be there without a login |
//! | [`allowance`] | how long and how much a session may |
//! | [`banner`] | what is printed at the start |
//! | [`connection`] | the task of one control connection |
//! | [`counters`] | what the daemon counts |
//! | [`drain`] | no new calls |
//! | [`ending`] | why sessions end |
//! | [`listener`] | TCP port 1723 |
//! | `outward` | what others are told of a session |
//! | [`plan`] | the data plane's configuration out of ours |
//! | [`quiet`] | how many lines strangers may cause in the log |
//! | `serve` | from the start to the stop |
//! | [`session`] | sessions as operators see them |
//! | [`starting`] | logins begin when there is somebody to judge them |
//! | `subscriber` | one call and what it has |

mod account;
pub mod admission;
pub mod allowance;
pub mod banner;
pub mod connection;
pub mod counters;
pub mod drain;
mod duid;
pub mod ending;
pub mod listener;
mod outward;
pub mod plan;
pub mod quiet;
mod router;
mod serve;
pub mod session;
pub mod starting;
mod subscriber;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use dataplane::api::{Handle, Rules};
use protocol::pptp::connection as pptp;
use protocol::radius::Attributes;
use tokio::sync::watch as watch_channel;

use crate::aaa::landmarks::Landmarks;
use crate::aaa::seats::Seats;
use crate::aaa::{identity, profile};
use crate::accounting::store::StoreError;
use crate::accounting::{Accounting, SessionIds};
use crate::api::server::SocketError;
use crate::api::types::{PoolStats, PortStats, Stats};
use crate::bindings::{BindingError, Bindings};
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::Config;
use crate::hooks::Hooks;
use crate::host::host_name;
use crate::ipv6::pool::Prefixes;
use crate::kept;
use crate::kernel::{Kernel, KernelError};
use crate::lists::Lists;
use crate::lockout::Lockouts;
use crate::plane::Plane;
use crate::pool::Addresses;
use crate::radius;
use crate::terms::Terms;
use crate::users::claim::ClaimError;
use crate::users::{UserError, Users};
use admission::Admission;
use counters::{Count, Counters};
use drain::Drain;
use quiet::Quiet;
pub use serve::run;
use session::Sessions;
use starting::Starting;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody has the port.
    #[error("TCP {address} is taken by {owner}")]
    PortTaken {
        /// Which port.
        address: SocketAddrV4,
        /// Who.
        owner: String,
    },
    /// The port cannot be had.
    #[error("TCP {address}: {error}")]
    Listen {
        /// Which port.
        address: SocketAddrV4,
        /// What the system says.
        error: io::Error,
    },
    /// The control socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The users cannot be read.
    #[error(transparent)]
    Users(#[from] UserError),
    /// The users are another daemon's.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The clients cannot be read.
    #[error(transparent)]
    Clients(#[from] kept::StoreError),
    /// The bindings cannot be made.
    #[error(transparent)]
    Bindings(#[from] BindingError),
    /// The accounting queue cannot be used.
    #[error(transparent)]
    Accounting(#[from] StoreError),
    /// The data plane does not start.
    #[error(transparent)]
    DataPlane(#[from] dataplane::api::StartError),
    /// The kernel refuses an address or a route.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// `log-level` makes no sense.
    #[error("`log-level`: {0}")]
    LogLevel(String),
    /// The system refuses something.
    #[error("{what}: {error}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

/// What all tasks of the daemon share.
#[derive(Debug)]
pub struct Daemon {
    /// What the operator declared.
    pub config: Config,
    /// What sessions get, by the profile's name.
    pub profiles: HashMap<String, Terms>,
    /// Which packets pass, by the filter's name.
    pub filters: HashMap<String, Rules>,
    /// How we call ourselves.
    pub host_name: String,
    /// Who may in.
    pub users: Users,
    /// Interfaces that users have to themselves.
    pub bindings: Bindings,
    /// What its control connections are held to.
    pub pptp: Arc<pptp::Config>,
    /// Tunnels that we dial ourselves.
    pub clients: Clients,
    /// How many sessions each has.
    pub seats: Seats,
    /// Their addresses.
    pub addresses: Addresses,
    /// Their IPv6 prefixes.
    pub prefixes: Prefixes,
    /// Who we are to DHCPv6 clients.
    pub duid: Arc<[u8]>,
    /// Who is there.
    pub sessions: Sessions,
    /// Who we are to RADIUS servers.
    pub nas: Attributes,
    /// The sessions' Acct-Session-Ids.
    pub session_ids: SessionIds,
    /// The operator's programs for them.
    pub hooks: Hooks,
    /// nft's sets that they are in.
    pub lists: Lists,
    /// Whether there shall be no new ones.
    pub drain: Drain,
    /// What they use, told to RADIUS servers.
    pub accounting: Accounting,
    /// The packet path.
    pub plane: Plane,
    /// What several sessions told the kernel.
    pub landmarks: Landmarks,
    /// The kernel's routes.
    pub kernel: Kernel,
    /// How many may be there without a login.
    pub admission: Admission,
    /// Who guesses passwords.
    pub lockouts: Lockouts,
    /// Who else judges logins and is told of sessions.
    pub radius: radius::Client,
    /// When logins begin.
    pub starting: Starting,
    /// What happened so far.
    pub counters: Counters,
    /// How much strangers may have logged.
    pub quiet: Quiet,
    /// Becomes `true` once.
    pub stopping: watch_channel::Sender<bool>,
}

/// Waits until the daemon stops.
async fn stop_wanted(stopping: &mut watch_channel::Receiver<bool>) {
    // The sender lives as long as the daemon.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// The daemon, as its tasks hold it.
pub type Shared = Arc<Daemon>;

impl Daemon {
    /// A daemon whose parts are there; nobody is served yet.
    ///
    /// # Errors
    /// If the system gives no random numbers, or the clients cannot be read.
    pub fn new(
        config: Config,
        users: Users,
        addresses: Addresses,
        kernel: Kernel,
        handle: Handle,
    ) -> Result<Self, StartError> {
        let mut seed = [0; 8];
        let random = |error| StartError::System {
            what: "drawing random numbers",
            error: io::Error::other(error),
        };
        getrandom::fill(&mut seed).map_err(random)?;
        let name = &config.server.host_name;
        let host_name = if name.is_empty() { host_name() } else { name.clone() };
        Ok(Self {
            profiles: profile::templates(&config),
            filters: config.filters(),
            nas: identity::nas(&config, &host_name),
            pptp: Arc::new(connection::settings(&config, &host_name)),
            host_name,
            users,
            bindings: Bindings::open(&config, handle.clone())?,
            clients: Clients::open(&config)?,
            seats: Seats::default(),
            addresses,
            prefixes: Prefixes::new(&config),
            duid: duid::load(&config.database),
            sessions: Sessions::default(),
            session_ids: SessionIds::new().map_err(random)?,
            hooks: Hooks::new(&config.hooks),
            lists: Lists::default(),
            drain: Drain::default(),
            accounting: Accounting::default(),
            plane: Plane::new(handle, Clock::start(), u64::from_ne_bytes(seed)),
            landmarks: Landmarks::default(),
            kernel,
            admission: Admission::new(&config.limits),
            radius: radius::Client::start(&config)
                .map_err(|error| StartError::System { what: "starting RADIUS", error })?,
            starting: Starting::new(&config.limits),
            lockouts: Lockouts::open(&config.lockout, &config.database),
            counters: Counters::default(),
            quiet: Quiet::default(),
            stopping: watch_channel::Sender::new(false),
            config,
        })
    }

    /// Whether a line may be logged that a peer can cause without a login. Counts it if not.
    fn may_log_stranger(&self) -> bool {
        let allowed = self.quiet.allows(Instant::now());
        if !allowed {
            self.counters.add(Count::LogLinesWithheld);
        }
        allowed
    }

    /// All counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let totals = self.plane.handle().totals();
        let mut control = self.counters.all();
        control.insert("hook_failures".to_owned(), self.hooks.failures());
        control.insert("address_list_failures".to_owned(), self.lists.failures());
        control.insert("inbox_full".to_owned(), self.plane.lost_frames());
        let queue = self.starting.queue();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        control.insert("logins_waiting".to_owned(), count(queue.waiting));
        control.insert("logins_starting".to_owned(), count(queue.starting));
        control.insert("login_longest_wait_seconds".to_owned(), queue.longest_wait.as_secs());
        control.insert("refused_locked_out".to_owned(), self.lockouts.refused());
        control.extend(self.radius.counters().all());
        let by_kernel = self.lockouts.refused_by_kernel();
        control.extend(by_kernel.map(|syns| ("refused_locked_out_by_kernel".to_owned(), syns)));
        let sum = |of: fn(&dataplane::api::counters::WorkerTotals) -> u64| {
            totals.workers.iter().map(of).sum::<u64>()
        };
        let packets = [
            ("received", sum(|worker| worker.received)),
            ("sent", sum(|worker| worker.sent)),
            ("handed_over", sum(|worker| worker.handed_over)),
            ("taken_over", sum(|worker| worker.taken_over)),
            ("tunnels_taken", sum(|worker| worker.tunnels_taken)),
            ("originated", sum(|worker| worker.originated)),
            ("consumed", sum(|worker| worker.consumed)),
            ("queued", sum(|worker| worker.queued)),
            ("fragments", sum(|worker| worker.fragments)),
            ("ecn_marked", sum(|worker| worker.ecn_marked)),
            ("mss_clamped", sum(|worker| worker.mss_clamped)),
            ("fragmented", sum(|worker| worker.fragmented)),
            ("multilink_sent", sum(|worker| worker.multilink_sent)),
            ("multilink_received", sum(|worker| worker.multilink_received)),
            ("icmp_errors", sum(|worker| worker.icmp_errors)),
            ("icmp_suppressed", sum(|worker| worker.icmp_suppressed)),
        ];
        let drops = totals.drops();
        let ports = totals.ports.iter().map(|port| PortStats {
            name: port.name.clone(),
            queue: port.queue,
            rx_packets: port.received_packets,
            rx_bytes: port.received_bytes,
            tx_packets: port.sent_packets,
            tx_bytes: port.sent_bytes,
            drops: port.drops.iter().map(|(why, n)| (why.name().to_owned(), *n)).collect(),
        });
        let pools = self.addresses.usage().into_iter().map(|usage| PoolStats {
            name: usage.name,
            size: usage.size,
            free: usage.free,
        });
        Stats {
            uptime: self.plane.clock().now().as_micros() / 1_000_000,
            sessions: u64::try_from(self.sessions.up()).unwrap_or(u64::MAX),
            control,
            packets: packets.map(|(name, count)| (name.to_owned(), count)).into(),
            drops: drops.iter().map(|(why, count)| (why.name().to_owned(), count)).collect(),
            xdp: totals
                .xdp
                .iter()
                .flat_map(dataplane::api::counters::XdpCounters::iter)
                .map(|(why, count)| (why.name().to_owned(), count))
                .collect(),
            ports: ports.collect(),
            pools: pools.collect(),
            accounting: self.accounting.stats(),
            draining: self.drain.is_on(),
        }
    }
}
