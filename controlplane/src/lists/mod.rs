//! RouterOS's address-lists: sets of nftables that hold the addresses of subscribers while their
//! sessions last, for the operator's own rules.
//!
//! Sets are made when they are needed, unless the operator made them. Our elements have a comment
//! by which those that a dead daemon left are found, so elements of others stay. Whatever nft
//! refuses is logged and counted; sessions never wait for it.

mod nft;

use std::collections::{BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::{AddressList, Table};
use nft::Order;

/// Changes that one run of nft makes at most.
const BATCH: usize = 1000;

/// The lists. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Lists(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    /// As many wait as sessions come and go while nft runs.
    orders: mpsc::UnboundedSender<Order>,
    failures: Arc<AtomicU64>,
    idle: Arc<tokio::sync::Notify>,
    waiting: Arc<AtomicU64>,
    _task: Task,
}

/// Ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lists {
    /// Keeps the sets of this table. What a dead daemon left in them goes first. Needs a runtime.
    #[must_use]
    pub fn start(table: Table) -> Self {
        let (orders, taken) = mpsc::unbounded_channel();
        let (failures, waiting) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let idle = Arc::<tokio::sync::Notify>::default();
        let keeper = Keeper {
            table,
            sets: HashSet::new(),
            failures: Arc::clone(&failures),
            waiting: Arc::clone(&waiting),
            idle: Arc::clone(&idle),
        };
        let task = Task(tokio::spawn(keeper.run(taken)));
        Self(Some(Arc::new(Inner { orders, failures, idle, waiting, _task: task })))
    }

    /// Puts the address into these lists. Dropping the answer takes it out again.
    #[must_use]
    pub fn enter(&self, address: Ipv4Addr, names: &[String]) -> Option<Member> {
        self.0.as_ref()?;
        let mut member = Member { lists: self.clone(), address, names: BTreeSet::new() };
        member.change(names);
        Some(member)
    }

    /// Waits until nft has done all, or for so long.
    pub async fn finish(&self, patience: Duration) {
        let Some(inner) = &self.0 else { return };
        let done = async {
            while inner.waiting.load(Ordering::Acquire) > 0 {
                inner.idle.notified().await;
            }
        };
        if tokio::time::timeout(patience, done).await.is_err() {
            warn!("nft did not take all addresses out of their lists in time");
        }
    }

    /// Addresses that could not be put into a list or taken out.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.failures.load(Ordering::Relaxed))
    }

    fn order(&self, order: Order) {
        if let Some(inner) = &self.0 {
            inner.waiting.fetch_add(1, Ordering::AcqRel);
            if inner.orders.send(order).is_err() {
                inner.waiting.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// An address in lists.
#[derive(Debug)]
pub struct Member {
    lists: Lists,
    address: Ipv4Addr,
    names: BTreeSet<String>,
}

impl Member {
    /// Other lists from now on. One whose name nft cannot write is logged and left out.
    pub fn change(&mut self, names: &[String]) {
        let is_possible = |name: &&String| match AddressList::check_name(name) {
            Ok(()) => true,
            Err(reason) => {
                warn!(address = %self.address, %reason, "not in the list");
                false
            }
        };
        let wanted: BTreeSet<_> = names.iter().filter(is_possible).cloned().collect();
        let address = self.address;
        for list in self.names.difference(&wanted) {
            self.lists.order(Order { list: list.clone(), address, present: false });
        }
        for list in wanted.difference(&self.names) {
            self.lists.order(Order { list: list.clone(), address, present: true });
        }
        self.names = wanted;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.change(&[]);
    }
}

/// The task that runs nft.
struct Keeper {
    table: Table,
    /// Sets that are there.
    sets: HashSet<String>,
    failures: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
    idle: Arc<tokio::sync::Notify>,
}

impl Keeper {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        self.clean().await;
        let mut batch = Vec::new();
        while orders.recv_many(&mut batch, BATCH).await > 0 {
            self.carry_out(&batch).await;
            let done = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            batch.clear();
            self.waiting.fetch_sub(done, Ordering::AcqRel);
            self.idle.notify_one();
        }
    }

    /// Takes out what a daemon left that died.
    async fn clean(&mut self) {
        let found = match nft::list(&self.table).await {
            Ok(found) => found,
            Err(error) => return warn!(%error, "address-lists cannot be read"),
        };
        let orders: Vec<_> = found
            .ours
            .into_iter()
            .map(|(list, address)| Order { list, address, present: false })
            .collect();
        self.sets = found.sets;
        if !orders.is_empty() {
            info!(addresses = orders.len(), "address-lists: taking out what a daemon left");
            for part in orders.chunks(BATCH) {
                self.carry_out(part).await;
            }
        }
    }

    /// All at once; if nft refuses that, one by one, so that one that is wrong spoils no other.
    async fn carry_out(&mut self, orders: &[Order]) {
        let missing = self.missing(orders);
        if nft::apply(&self.table, &missing, orders).await.is_ok() {
            self.sets.extend(missing);
            return;
        }
        for order in orders {
            let one = std::slice::from_ref(order);
            let missing = self.missing(one);
            match nft::apply(&self.table, &missing, one).await {
                Ok(()) => self.sets.extend(missing),
                Err(error) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    // The operator may have removed it: it is made anew next time.
                    self.sets.remove(&order.list);
                    warn!(list = order.list, address = %order.address, %error, "address-list");
                }
            }
        }
    }

    fn missing(&self, orders: &[Order]) -> HashSet<String> {
        let lists = orders.iter().map(|order| &order.list);
        lists.filter(|list| !self.sets.contains(*list)).cloned().collect()
    }
}
