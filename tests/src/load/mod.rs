//! Thousands of PPTP clients in one process, on the machines of `protocol`: each has an address of
//! its own, dials, negotiates MS-CHAPv2 and MPPE like a real client, dials again when that fails,
//! holds its session and hangs up. What data sessions carry is a [`Carrier`]'s business.
//! Depends on nothing of the server's: any PPTP server can be dialled.
//!
//! | module | what |
//! |---|---|
//! | `client` | one client and its connection |
//! | `call` | a call of it |
//! | [`wire`] | GRE packets of all clients |

mod call;
mod client;
pub mod wire;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use protocol::ppp::Framing;
use protocol::ppp::link::{Encryption, Network};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use crate::netns::Namespace;
use crate::wait;
use wire::Wire;

/// Bits of the network from which clients take their addresses, for routes to them.
pub const CLIENTS: &str = "10.64.0.0/14";
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 0);

/// Descriptors for other things than connections.
const DESCRIPTORS: u64 = 100;

/// Dials of a client that follow each other and have Call IDs of their own.
const CALL_IDS: usize = 8;

/// Addresses that clients dial from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// Each connection from one of its own, from this one on. The kernel has to take them for its
    /// own.
    Each {
        /// The first connection's.
        first: Ipv4Addr,
        /// Calls of a connection: 1 to [`Sources::MOST`].
        calls: usize,
    },
    /// All from the one by which the kernel reaches the server: at most [`Sources::MOST`].
    Shared,
}

impl Sources {
    /// Clients that can share an address.
    pub const MOST: usize = 65_535 / CALL_IDS;

    /// Of a connection.
    const fn calls(self) -> usize {
        match self {
            Self::Each { calls, .. } => calls,
            Self::Shared => 1,
        }
    }

    /// The address that a client's connection is to have, if not any.
    fn address_of(self, client: usize) -> Option<Ipv4Addr> {
        match self {
            Self::Each { first, calls } => {
                let trunk = u32::try_from(client / calls).ok()?;
                Some(Ipv4Addr::from_bits(first.to_bits().checked_add(trunk)?))
            }
            Self::Shared => None,
        }
    }

    /// The Call ID of a client's dial: not 0, and others for dials that follow each other, so that
    /// late frames find nobody.
    fn call_id_of(self, client: usize, dial: usize) -> NonZeroU16 {
        let slot = match self {
            Self::Each { calls, .. } => client % calls,
            Self::Shared => client,
        };
        let id = 1 + slot * CALL_IDS + dial % CALL_IDS;
        u16::try_from(id).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN)
    }

    /// Whose packet it is.
    fn client_of(self, to: Ipv4Addr, call_id: u16) -> Option<usize> {
        let slot = usize::from(call_id).checked_sub(1)? / CALL_IDS;
        match self {
            Self::Each { first, calls } => {
                let trunk = usize::try_from(to.to_bits().checked_sub(first.to_bits())?).ok()?;
                (slot < calls).then_some(trunk * calls + slot)
            }
            Self::Shared => Some(slot),
        }
    }
}

/// A packet that came encrypted.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// Whose tunnel it came by.
    pub client: usize,
    /// Its GRE sequence number.
    pub sequence: u32,
    /// From the MPPE header on.
    pub payload: &'a [u8],
}

/// A tunnel that data may pass.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// Outer address of our end.
    pub from: Ipv4Addr,
    /// The server's Call ID.
    pub peer_call_id: u16,
    /// How frames of ours begin.
    pub framing: Framing,
    /// What IPCP agreed on.
    pub network: Network,
    /// What CCP agreed on.
    pub encryption: Encryption,
}

/// Carries the data of sessions.
pub trait Carrier: std::fmt::Debug + Send + Sync {
    /// Data may pass now, with new keys. `newest` is the GRE sequence number received last.
    fn open(&self, client: usize, tunnel: &Tunnel, newest: u32);
    /// Data may pass no longer.
    fn close(&self, client: usize);
    /// Packets that came one after the other.
    fn receive(&self, packets: &[Data<'_>]);
}

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
    /// How often a client dials before it gives up for good. Zero: for ever.
    pub tries: usize,
    /// Names and passwords, in turn.
    pub accounts: Arc<[(String, String)]>,
    /// Where they dial from.
    pub sources: Sources,
    /// What their challenges come from.
    pub seed: u64,
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
            tries: 0,
            accounts: (0..clients).map(account).collect(),
            sources: Sources::Each { first: FIRST, calls: 1 },
            seed: 0,
        }
    }

    /// The same with so many calls on each connection, 1 to 16 (servers limit them): what there is
    /// to do where there are too few descriptors.
    #[must_use]
    pub fn with_calls(self, calls: usize) -> Self {
        Self { sources: Sources::Each { first: FIRST, calls: calls.max(1) }, ..self }
    }

    /// Connections.
    fn trunks(&self) -> usize {
        self.clients.div_ceil(self.sources.calls())
    }

    /// Which clients have their calls on a connection.
    fn clients_of(&self, trunk: usize) -> Range<usize> {
        let calls = self.sources.calls();
        trunk * calls..self.clients.min((trunk + 1) * calls)
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
    /// Clients that gave up for good.
    pub given_up: usize,
}

/// What clients share.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    wire: Arc<Wire>,
    began: Instant,
    tally: Mutex<Tally>,
    turns: Option<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Shared {
    fn now(&self) -> protocol::time::Instant {
        let micros = self.began.elapsed().as_micros();
        protocol::time::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

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
        namespace.run(|| Self::start_here(plan, None))
    }

    /// Lets the clients begin, in the calling thread's namespace; their addresses are its own.
    ///
    /// # Errors
    /// Without root, or with too few descriptors.
    pub fn start_here(plan: Plan, carrier: Option<Arc<dyn Carrier>>) -> Result<Self> {
        allow_connections(plan.trunks())?;
        // Its threads begin here, and so live in the namespace.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("starting threads")?;
        let wire = Arc::new(Wire::open(plan.server, plan.clients, plan.sources, carrier)?);
        let (stop, stopping) = watch::channel(false);
        let at_once = plan.at_once.div_ceil(plan.sources.calls());
        let turns = (at_once > 0).then(|| Semaphore::new(at_once));
        let (done, reading) = watch::channel(false);
        let (tally, began) = (Mutex::default(), Instant::now());
        let reader = Arc::clone(&wire);
        let shared = Arc::new(Shared { plan, wire, began, tally, turns, stop: stopping });
        std::thread::spawn(move || reader.deliver(&reading));
        let clients = (0..shared.plan.trunks())
            .map(|client| runtime.spawn(client::run(client, Arc::clone(&shared))))
            .collect();
        Ok(Self { runtime, shared, stop, done, clients })
    }

    /// By which data is sent.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.shared.wire
    }

    /// What happened so far.
    pub fn tally(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many came up, and how many gave up for good.
    pub fn settled(&self) -> (usize, usize) {
        let tally = self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
        (tally.up.len(), tally.given_up)
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

/// How many connections a process of this user may have.
pub fn most_connections() -> usize {
    let files = Resource::RLIMIT_NOFILE;
    // Where the limit cannot be raised, it is what it is.
    let _ =
        getrlimit(files).map(|(_, hard)| setrlimit(files, hard.max(1 << 20), hard.max(1 << 20)));
    let limit = getrlimit(files).map_or(0, |(_, hard)| hard);
    usize::try_from(limit.saturating_sub(DESCRIPTORS)).unwrap_or(usize::MAX)
}

/// How many calls have to share a connection for so many clients.
pub fn calls_needed(clients: usize) -> usize {
    clients.div_ceil(most_connections().max(1)).max(1)
}

/// Lets this process, and those that it starts from now on, have so many connections.
///
/// # Errors
/// Without root, where the limit is lower.
pub fn allow_connections(count: usize) -> Result<()> {
    let files = Resource::RLIMIT_NOFILE;
    let (_, hard) = getrlimit(files)?;
    let needed = u64::try_from(count)? + DESCRIPTORS;
    let limit = hard.max(needed);
    setrlimit(files, limit, limit).with_context(|| {
        format!(
            "{count} connections need {needed} descriptors, and this process may have {hard}: \
             raise the hard limit (ulimit -Hn) or give it CAP_SYS_RESOURCE"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_finds_the_client_that_dialled_for_it() {
        let first = Ipv4Addr::new(10, 0, 0, 1);
        let each = Sources::Each { first, calls: 1 };
        let four = Sources::Each { first, calls: 4 };
        for client in [0, 1, 300, Sources::MOST - 1] {
            for dial in [1, 2, 8, 9, 1000] {
                let address = each.address_of(client).unwrap();
                let call_id = each.call_id_of(client, dial).get();
                assert_eq!(each.client_of(address, call_id), Some(client));
                let address = four.address_of(client).unwrap();
                let call_id = four.call_id_of(client, dial).get();
                assert_eq!(four.client_of(address, call_id), Some(client));
                let call_id = Sources::Shared.call_id_of(client, dial).get();
                assert_eq!(Sources::Shared.client_of(address, call_id), Some(client));
            }
        }
        assert_eq!(each.client_of(Ipv4Addr::new(9, 0, 0, 1), 1), None);
        assert_eq!(Sources::Shared.client_of(Ipv4Addr::LOCALHOST, 0), None);
    }

    #[test]
    fn dials_that_follow_each_other_differ() {
        let ids: std::collections::HashSet<_> =
            (1..=CALL_IDS).map(|dial| Sources::Shared.call_id_of(7, dial)).collect();
        assert_eq!(ids.len(), CALL_IDS);
    }
}
