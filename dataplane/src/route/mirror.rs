//! The thread that follows the kernel by rtnetlink and publishes snapshots. Subscribes first and
//! dumps then, so that nothing is missed; gathers changes for a moment, so that a thousand a second
//! cost fifty snapshots; asks for all again where the kernel tells only part or a message was lost, and
//! goes on with what it has until it has all.
//! Never makes a worker wait. If the kernel cannot be followed, the last snapshot stands.
//!
//! It changes one thing: it tells the kernel which neighbours are in use. The kernel sees none of the
//! packets that workers send, and would neither look for a gateway nor notice that a neighbour is
//! gone or has another MAC address now. From Linux 5.16 on it looks after gateways by itself once
//! told (`NTF_EXT_MANAGED`); older ones are told again as long as routes lead there. Of all others on
//! our ports that it once found it is had to make sure (`NTF_USE`) as soon as it is not any more, some
//! at a time.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_channel::mpsc::UnboundedReceiver as Messages;
use futures_util::StreamExt;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourState,
};
use rtnetlink::proto::new_connection;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, SocketAddr};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::dump::{self, Dump};
use super::message::{Change, change};
use super::next_hop::Message;
use super::rib::Rib;
use super::rules::{Rule, Ruled};
use super::tables::Told;
use super::{Routes, Routing};

/// How long changes are gathered before workers see them.
const BATCH: Duration = Duration::from_millis(20);
/// When to look again after the kernel told only part: what it does silently it may do after it has
/// told the rest.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// How long after all was told what is told may be in it.
const SETTLING: Duration = Duration::from_secs(1);
/// How often it is seen to that neighbours are looked after: as long as the kernel waits before it
/// asks one of which it is not sure (DELAY_FIRST_PROBE_TIME of RFC 4861 §10, which Linux follows for
/// both families).
const USE: Duration = Duration::from_secs(5);
/// Of how many the kernel is had to make sure each time: some milliseconds of work, and 50 questions
/// a second on all links together.
const USED_AT_ONCE: usize = 256;
/// Pause before following is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Room for messages that wait for us, bytes; the kernel grants net.core.rmem_max at most.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Why the kernel's routes cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// No thread, or no netlink socket.
    #[error("following the kernel's routes: {0}")]
    Io(#[from] io::Error),
    /// The kernel refused to tell.
    #[error("asking the kernel for its routes: {0}")]
    Netlink(#[from] rtnetlink::Error),
    /// The netlink socket failed.
    #[error("the kernel's routes are told no more")]
    Lost,
}

/// Follows the kernel as long as it lives.
#[derive(Debug)]
pub struct Mirror {
    routes: Arc<Routes>,
    ports: Option<UnboundedSender<HashSet<u32>>>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Follows the kernel's routes in the caller's network namespace; the first snapshot is there
    /// when this returns. `ports` are the interface indices that workers can send by.
    ///
    /// # Errors
    /// [`MirrorError`], if nothing can be learned at all. Later troubles are logged.
    pub fn start(
        ports: impl IntoIterator<Item = u32>,
        routing: Routing,
    ) -> Result<Self, MirrorError> {
        let routes = Arc::new(Routes::default());
        let (ports_sender, ports_receiver) = unbounded_channel();
        let (started_sender, started) = mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ports = ports.into_iter().collect();
        let thread = thread::Builder::new().name("routes".into()).spawn({
            let routes = Arc::clone(&routes);
            move || {
                runtime.block_on(run(&routes, (ports, routing), ports_receiver, &started_sender));
            }
        })?;
        let mirror = Self { routes, ports: Some(ports_sender), thread: Some(thread) };
        started.recv().map_err(|_| MirrorError::Lost)??;
        Ok(mirror)
    }

    /// What the workers read.
    pub fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes)
    }

    /// The interface indices that workers can send by from now on.
    pub fn set_ports(&self, ports: impl IntoIterator<Item = u32>) {
        if let Some(sender) = &self.ports {
            // The thread ends only when we do.
            let _ = sender.send(ports.into_iter().collect());
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.ports = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been told by the thread itself.
            let _ = thread.join();
        }
    }
}

async fn run(
    routes: &Routes,
    (ports, routing): (HashSet<u32>, Routing),
    mut new_ports: UnboundedReceiver<HashSet<u32>>,
    started: &mpsc::SyncSender<Result<(), MirrorError>>,
) {
    let first = Follower::new(ports, routing.clone()).await;
    let mut follower = match first {
        Ok(mut follower) => {
            follower.publish(routes);
            // The caller waits for it.
            let _ = started.send(Ok(()));
            follower
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    loop {
        let error = match follower.follow(routes, &mut new_ports).await {
            Ok(()) => return,
            Err(error) => error,
        };
        tracing::warn!(%error, "routes are not followed, the last ones stand");
        let ports = follower.rib.ports().clone();
        follower = loop {
            sleep(RETRY).await;
            match Follower::new(ports.clone(), routing.clone()).await {
                Ok(new) => {
                    let Follower { managed, announced, .. } = follower;
                    break Follower { managed, announced, ..new };
                }
                Err(error) => tracing::debug!(%error, "routes are still not followed"),
            }
            if new_ports.is_closed() {
                return;
            }
        };
        follower.publish(routes);
    }
}

type RouteMessages = Messages<(NetlinkMessage<Message>, SocketAddr)>;

struct Follower {
    messages: RouteMessages,
    kernel: Handle,
    rib: Rib,
    routing: Routing,
    /// What will be known when the kernel has told all again.
    resync: Option<Resync>,
    /// Until then messages may be older than what is known.
    settled: Instant,
    /// What the log says that policy rules cost.
    announced: Vec<String>,
    /// The neighbour that it was had to make sure of last.
    used: Option<(u32, IpAddr)>,
    /// Gateways that the kernel was told to look after.
    managed: BTreeSet<(u32, IpAddr)>,
}

/// All is being asked for.
struct Resync {
    dump: Dump,
    rib: Rib,
    /// What changed meanwhile: the kernel may have told it before or after that.
    changes: Vec<Change>,
    /// It told only part meanwhile, too.
    again: bool,
}

/// For how long the kernel is to look after a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    Managed,
    /// Now, and then no longer.
    Once,
}

impl Follower {
    async fn new(ports: HashSet<u32>, routing: Routing) -> Result<Self, MirrorError> {
        let messages = subscribe()?;
        // A socket of its own: answers do not compete with messages for room.
        let (connection, kernel, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let mut rib = Rib::new(ports, routing.clone());
        dump::ask(&kernel, routing.table, async |change| {
            rib.apply(change);
            true
        })
        .await?;
        Ok(Self {
            messages,
            kernel,
            rib,
            routing,
            resync: None,
            settled: Instant::now() + SETTLING,
            announced: Vec::new(),
            used: None,
            managed: BTreeSet::new(),
        })
    }

    /// Until the ports' sender is gone (`Ok`) or the kernel is lost.
    async fn follow(
        &mut self,
        routes: &Routes,
        new_ports: &mut UnboundedReceiver<HashSet<u32>>,
    ) -> Result<(), MirrorError> {
        let mut due = None;
        let mut second_look = None;
        let mut told = Told::All;
        let mut use_neighbours = interval(USE);
        use_neighbours.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = [due, second_look].into_iter().flatten().min();
            tokio::select! {
                message = self.messages.next() => {
                    let (message, _) = message.ok_or(MirrorError::Lost)?;
                    if let Some(this) = self.apply(&message) {
                        due = due.or_else(|| Some(Instant::now() + BATCH));
                        told = told.and(this);
                    }
                }
                changes = next(&mut self.resync), if self.resync.is_some() => {
                    if self.learn(changes)? {
                        due = due.or_else(|| Some(Instant::now()));
                    }
                }
                ports = new_ports.recv() => {
                    let Some(ports) = ports else {
                        self.release(&BTreeSet::new()).await;
                        return Ok(());
                    };
                    if let Some(resync) = &mut self.resync {
                        resync.rib.set_ports(ports.clone());
                    }
                    self.rib.set_ports(ports);
                    due = due.or_else(|| Some(Instant::now() + BATCH));
                }
                _ = use_neighbours.tick() => self.use_neighbours().await,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    let look_again = second_look.take_if(|at| *at <= Instant::now()).is_some();
                    if told == Told::Part || look_again {
                        self.ask_for_all()?;
                    }
                    if told == Told::Part {
                        second_look = Some(Instant::now() + SECOND_LOOK);
                    }
                    told = Told::All;
                    due = None;
                    self.publish(routes);
                }
            }
        }
    }

    /// Shows workers what is known now.
    fn publish(&mut self, routes: &Routes) {
        let costs = self.rib.ruled().costs();
        if costs != self.announced {
            for rule in costs.iter().filter(|rule| !self.announced.contains(rule)) {
                tracing::warn!(%rule, "a policy rule (ip rule) keeps packets from the fast path");
            }
            self.announced = costs;
        }
        routes.publish(self.rib.snapshot());
    }

    /// Has the kernel asked for all, once at a time.
    fn ask_for_all(&mut self) -> Result<(), MirrorError> {
        match &mut self.resync {
            Some(resync) => resync.again = true,
            None => {
                let rib = Rib::new(self.rib.ports().clone(), self.routing.clone());
                let dump = Dump::start(self.routing.table)?;
                self.resync = Some(Resync { dump, rib, changes: Vec::new(), again: false });
            }
        }
        Ok(())
    }

    /// Takes the next part of all, or, if there is no more, all together. `true` if that is so.
    fn learn(&mut self, part: Option<Vec<Change>>) -> Result<bool, MirrorError> {
        let Some(resync) = &mut self.resync else { return Ok(false) };
        if let Some(part) = part {
            for change in part {
                resync.rib.apply(change);
            }
            resync.rib.prepare();
            return Ok(false);
        }
        let Some(Resync { dump, mut rib, changes, again }) = self.resync.take() else {
            return Ok(false);
        };
        dump.end()?;
        let told = changes.into_iter().fold(Told::All, |told, change| told.and(rib.repeat(change)));
        dump::drop_aside(std::mem::replace(&mut self.rib, rib));
        self.settled = Instant::now() + SETTLING;
        if again || told == Told::Part {
            self.ask_for_all()?;
        }
        Ok(true)
    }

    async fn use_neighbours(&mut self) {
        for gateway in self.rib.unsure_gateways() {
            if self.tell(gateway, Care::Managed).await {
                self.managed.insert(gateway);
            }
        }
        let gateways = self.rib.gateways();
        self.release(&gateways).await;
        let stale = self.rib.stale_neighbours(self.used, USED_AT_ONCE);
        self.used = stale.last().copied();
        for neighbour in stale {
            if !gateways.contains(&neighbour) {
                self.tell(neighbour, Care::Once).await;
            }
        }
    }

    /// Leaves those to the kernel that are not among the ones in use any more.
    async fn release(&mut self, used: &BTreeSet<(u32, IpAddr)>) {
        let unused: Vec<_> = self.managed.difference(used).copied().collect();
        for gateway in unused {
            // With its interface gone, so is the neighbour.
            self.tell(gateway, Care::Once).await;
            self.managed.remove(&gateway);
        }
    }

    async fn tell(&self, (ifindex, address): (u32, IpAddr), care: Care) -> bool {
        let mut request = self
            .kernel
            .neighbours()
            .add(ifindex, address)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        if care == Care::Managed {
            let managed = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
            request.message_mut().attributes.push(managed);
        }
        let told = request.execute().await;
        if let Err(error) = &told {
            tracing::debug!(%address, %error, "the kernel does not look for a neighbour");
        }
        told.is_ok()
    }

    /// `None` if the message changes nothing.
    fn apply(&mut self, message: &NetlinkMessage<Message>) -> Option<Told> {
        match &message.payload {
            NetlinkPayload::InnerMessage(inner) => {
                let change = change(inner, message.header.flags, self.routing.table);
                let change = change?;
                if let Some(resync) = &mut self.resync {
                    resync.changes.push(change.clone());
                }
                let is_settled = Instant::now() >= self.settled;
                Some(if is_settled { self.rib.apply(change) } else { self.rib.repeat(change) })
            }
            NetlinkPayload::Overrun(_) => {
                tracing::debug!("the kernel told of routes faster than we read: asking for all");
                Some(Told::Part)
            }
            _ => None,
        }
    }
}

/// What the policy rules of the caller's network namespace cost: each that keeps packets from workers,
/// with the packets that go by the kernel because of it.
///
/// # Errors
/// [`MirrorError`], if the kernel does not tell its rules.
pub(crate) fn policy_rules(routing: &Routing) -> Result<Vec<String>, MirrorError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, kernel, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let mut rules = Vec::new();
        dump::ask_for_rules(&kernel, async |message| {
            if let Message::Route(RouteNetlinkMessage::NewRule(rule)) = message {
                rules.extend(Rule::read(&rule));
            }
            true
        })
        .await?;
        Ok(Ruled::new(&rules, routing).costs())
    })
}

/// The next part of all that there is.
async fn next(resync: &mut Option<Resync>) -> Option<Vec<Change>> {
    resync.as_mut()?.dump.next().await
}

/// Messages of all changes from now on.
fn subscribe() -> Result<RouteMessages, MirrorError> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Neigh,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Ipv4Rule,
        MulticastGroup::Ipv6Rule,
        // Routes that name a next hop change and vanish with it, and nothing else is said of that.
        MulticastGroup::Nexthop,
    ];
    let (mut connection, _, messages) = new_connection(NETLINK_ROUTE)?;
    let socket = connection.socket_mut().socket_mut();
    socket.bind_auto()?;
    for group in groups {
        match socket.add_membership(group as u32) {
            // Linux before 5.3 has no next hops that routes could name.
            Err(_) if group == MulticastGroup::Nexthop => {}
            joined => joined?,
        }
    }
    socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
    tokio::spawn(connection);
    Ok(messages)
}
