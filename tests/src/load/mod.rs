//! Thousands of PPTP clients in one process, on the machines of `protocol`: each has an address of
//! its own, dials, negotiates MS-CHAPv2 and MPPE like a real client, dials again when that fails,
//! holds its session and hangs up.
//! Sends no data: what it loads is whoever makes and keeps sessions.
//!
//! | module | what |
//! |---|---|
//! | `client` | one client |
//! | `wire` | GRE packets of all clients |

mod client;
mod wire;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use crate::netns::Namespace;
use crate::wait;
use wire::Wire;

/// Bits of the network from which clients take their addresses, for routes to them.
pub const CLIENTS: &str = "10.64.0.0/14";
const FIRST: u32 = Ipv4Addr::new(10, 64, 1, 0).to_bits();

/// What the clients do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom they dial.
    pub server: Ipv4Addr,
    /// How many they are.
    pub clients: usize,
    /// How many dial at once; the others follow as those get in. Zero: all.
    pub at_once: usize,
    /// The time over which those who dial at once begin.
    pub ramp: Duration,
    /// When a client gives up its dial.
    pub patience: Duration,
    /// How long it rests then, at random.
    pub rest: Range<Duration>,
}

impl Plan {
    /// Clients that dial one after the other, as fast as `at_once` of them get in.
    pub fn steady(server: Ipv4Addr, clients: usize, at_once: usize) -> Self {
        Self {
            server,
            clients,
            at_once,
            ramp: Duration::ZERO,
            patience: Duration::from_secs(45),
            rest: Duration::from_secs(2)..Duration::from_secs(6),
        }
    }

    /// A power cut: all dial within two seconds.
    pub fn storm(server: Ipv4Addr, clients: usize) -> Self {
        Self { ramp: Duration::from_secs(2), ..Self::steady(server, clients, 0) }
    }
}

/// The name and the password of a client.
pub fn account(client: usize) -> (String, String) {
    (format!("user{client:05}"), format!("secret{client:05}"))
}

/// When a client reached each step of its last dial, since that began.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "the steps of a dial, in their order")]
pub struct Steps {
    pub tcp: Duration,
    pub call: Duration,
    pub lcp: Duration,
    pub authentication: Duration,
    pub ccp: Duration,
    pub up: Duration,
}

/// A client that is up.
#[derive(Debug, Clone, Copy)]
pub struct Up {
    /// Since all of them began.
    pub at: Duration,
    /// Its last dial.
    pub steps: Steps,
}

/// What happened so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Those that came up.
    pub up: Vec<Up>,
    /// Dials, all together.
    pub dials: u64,
    /// Dials that failed, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Sessions that ended before they were to.
    pub lost: u64,
}

/// What clients share.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    wire: Wire,
    began: Instant,
    tally: Mutex<Tally>,
    turns: Option<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Shared {
    fn tally(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    runtime: Runtime,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    /// Ends the reader, by being dropped at the latest.
    done: watch::Sender<bool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Lets the clients begin, in a namespace that has a route to the server.
    ///
    /// # Errors
    /// Without root.
    pub fn start(namespace: &Namespace, plan: Plan) -> Result<Self> {
        namespace.ip(&format!("route replace local {CLIENTS} dev lo"))?;
        namespace.run(|| {
            allow_connections(plan.clients)?;
            // Its threads begin here, and so live in the namespace.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("starting threads")?;
            let wire = Wire::open(plan.clients)?;
            let (stop, stopping) = watch::channel(false);
            let turns = (plan.at_once > 0).then(|| Semaphore::new(plan.at_once));
            let (done, reading) = watch::channel(false);
            let (tally, began) = (Mutex::default(), Instant::now());
            let shared = Arc::new(Shared { plan, wire, began, tally, turns, stop: stopping });
            let reader = Arc::clone(&shared);
            std::thread::spawn(move || reader.wire.deliver(&reading));
            let clients = (0..shared.plan.clients)
                .map(|client| runtime.spawn(client::run(client, Arc::clone(&shared))))
                .collect();
            Ok(Self { runtime, shared, stop, done, clients })
        })
    }

    /// What happened so far.
    pub fn tally(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many are up.
    pub fn up(&self) -> usize {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).up.len()
    }

    /// Waits until all are up.
    ///
    /// # Errors
    /// When they are not in time; the message says why.
    pub fn wait_up(&self, limit: Duration) -> Result<()> {
        let all = self.shared.plan.clients;
        let waited =
            wait::until(&format!("{all} sessions"), limit, || Ok((self.up() >= all).then_some(())));
        waited.with_context(|| {
            let Tally { up, dials, failures, .. } = self.tally();
            format!("{} up after {dials} dials; failures: {failures:?}", up.len())
        })
    }

    /// Hangs up all of them in good order.
    pub fn stop(self) -> Tally {
        self.stop.send_replace(true);
        self.runtime.block_on(async {
            for client in self.clients {
                // A client that died has said so.
                let _ = client.await;
            }
        });
        self.done.send_replace(true);
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Lets this process, and those that it starts from now on, have so many connections.
///
/// # Errors
/// Without root, where the limit is lower.
pub fn allow_connections(count: usize) -> Result<()> {
    let files = Resource::RLIMIT_NOFILE;
    let (_, hard) = getrlimit(files)?;
    let limit = hard.max(u64::try_from(count)? + 500);
    setrlimit(files, limit, limit)
        .with_context(|| format!("{count} connections need descriptors, the limit is {hard}"))
}

/// The address of a client.
fn address(client: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST + u32::try_from(client).unwrap_or(0))
}
