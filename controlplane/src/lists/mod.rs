//! RouterOS's address-lists: sets of nftables that hold the addresses of subscribers while their
//! sessions last, for the operator's own rules.
//!
//! Sets are made when they are needed, unless the operator made them. Our elements have a comment
//! by which those that a dead daemon left are found, so elements of others stay. Whatever nft
//! refuses is logged and counted; sessions never wait for it.

mod nft;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
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
    queue: Arc<Queue>,
    failures: Arc<AtomicU64>,
    _task: Task,
}

/// What nft has yet to do.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is something to do.
    more: Notify,
    /// All is done.
    idle: Notify,
}

/// An address that comes and goes while nft runs leaves nothing to do, so no more waits than
/// there are addresses in lists, and than there were when nft began.
#[derive(Debug, Default)]
struct Waiting {
    /// Whether the address is to be in the list.
    changes: HashMap<(String, Ipv4Addr), bool>,
    /// How many nft is at.
    underway: usize,
}

impl Queue {
    fn push(&self, order: Order) {
        let Order { list, address, present } = order;
        let mut waiting = self.waiting();
        let key = (list, address);
        // It follows its opposite, of which nothing has happened.
        if waiting.changes.remove(&key).is_none() {
            waiting.changes.insert(key, present);
        }
        drop(waiting);
        self.more.notify_one();
    }

    /// The next batch, once there is one.
    async fn take(&self) -> Vec<Order> {
        loop {
            let batch: Vec<Order> = {
                let mut waiting = self.waiting();
                let keys: Vec<_> = waiting.changes.keys().take(BATCH).cloned().collect();
                waiting.underway = keys.len();
                let order = |key: (String, Ipv4Addr)| {
                    let present = waiting.changes.remove(&key)?;
                    Some(Order { list: key.0, address: key.1, present })
                };
                keys.into_iter().filter_map(order).collect()
            };
            if !batch.is_empty() {
                return batch;
            }
            self.idle.notify_one();
            self.more.notified().await;
        }
    }

    fn is_idle(&self) -> bool {
        let waiting = self.waiting();
        waiting.underway == 0 && waiting.changes.is_empty()
    }

    /// It is whole between any two statements.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let (queue, failures) = (Arc::<Queue>::default(), Arc::<AtomicU64>::default());
        let keeper = Keeper { table, sets: HashSet::new(), failures: Arc::clone(&failures) };
        let task = Task(tokio::spawn(keeper.run(Arc::clone(&queue))));
        Self(Some(Arc::new(Inner { queue, failures, _task: task })))
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
            while !inner.queue.is_idle() {
                inner.queue.idle.notified().await;
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
            inner.queue.push(order);
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
}

impl Keeper {
    async fn run(mut self, queue: Arc<Queue>) {
        self.clean().await;
        loop {
            let batch = queue.take().await;
            self.carry_out(&batch).await;
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn order(address: u8, present: bool) -> Order {
        Order { list: "vpn".to_owned(), address: Ipv4Addr::new(10, 0, 0, address), present }
    }

    #[test]
    fn addresses_that_come_and_go_while_nft_runs_cost_no_room() {
        let queue = Queue::default();
        for round in 0..10_000 {
            queue.push(order(1, round % 2 == 0));
            queue.push(order(2, round % 2 != 0));
        }
        assert!(queue.waiting().changes.is_empty());
        assert!(queue.is_idle());
        queue.push(order(3, true));
        let batch = queue.take().now_or_never().unwrap();
        assert_eq!((batch.len(), batch[0].address), (1, Ipv4Addr::new(10, 0, 0, 3)));
        assert!(!queue.is_idle(), "nft is at it");
        // What is under way has happened: it is taken out again afterwards.
        queue.push(order(3, false));
        let batch = queue.take().now_or_never().unwrap();
        assert_eq!((batch.len(), batch[0].present), (1, false));
        assert!(queue.take().now_or_never().is_none());
        assert!(queue.is_idle());
    }
}
