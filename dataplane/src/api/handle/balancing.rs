//! Tunnels that move between workers: the orders, and the thread that weighs who should have which.
//!
//! Never waits for a worker: a tunnel that cannot move now is wished for again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Handle, Party};
use crate::api::{Forward, StartError, TunnelId};
use crate::balance::{self, Advice, Balancer, Wish, Wishes};
use crate::mailbox::{Move, Order};

impl Handle {
    /// Has a tunnel move to another worker, with all that is its. `false` if it is there, cannot go now
    /// or has devices of its own, which stay where they are read.
    pub(crate) fn move_tunnel(&self, tunnel: TunnelId, to: u16) -> bool {
        let mut registry = self.registry();
        let workers = &self.0.workers;
        let Some(registered) = registry.get_mut(tunnel) else { return false };
        let Ok(from) = u16::try_from(registered.owner) else { return false };
        let stays = registered.bridged || matches!(registered.forward, Forward::Device(_));
        if from == to
            || usize::from(to) >= workers.len()
            || stays
            || !workers.iter().all(|worker| worker.mailbox.has_room())
            || registered.shared.moving.swap(true, Ordering::AcqRel)
        {
            return false;
        }
        registered.owner = usize::from(to);
        // The old owner learns of it last: whoever hears of the move by it has the order already.
        let others = workers.iter().enumerate().filter(|(number, _)| *number != usize::from(from));
        let old = workers.get(usize::from(from)).into_iter();
        for worker in others.map(|(_, worker)| worker).chain(old) {
            // There is room, and only whoever has the lock gives orders.
            let _ = worker.mailbox.order(Order::Move(Move { tunnel, from, to }));
        }
        true
    }

    /// Weighs what workers wish, from now on.
    pub(crate) fn balance(&self, wishes: Arc<Wishes>) -> Result<(), StartError> {
        let inner = Arc::downgrade(&self.0);
        let thread = std::thread::Builder::new()
            .name("balance".to_owned())
            .spawn(move || {
                let mut balancer = Balancer::default();
                let mut last: Option<(Instant, Vec<Duration>)> = None;
                loop {
                    std::thread::park_timeout(balance::INTERVAL);
                    let Some(handle) = inner.upgrade().map(Handle) else { return };
                    if handle.is_stopped() {
                        return;
                    }
                    let now = Instant::now();
                    let busy = handle.busy();
                    if let Some((then, before)) = &last {
                        let time = now.duration_since(*then).as_secs_f64();
                        let parts: Vec<_> = busy
                            .iter()
                            .zip(before)
                            .map(|(busy, before)| busy.saturating_sub(*before).as_secs_f64() / time)
                            .collect();
                        let heard = std::iter::from_fn(|| wishes.pop());
                        for advice in balancer.advise(&parts, heard, now) {
                            handle.follow(advice);
                        }
                    }
                    last = Some((now, busy));
                }
            })
            .map_err(|error| StartError::system("starting the thread that balances", error))?;
        self.adopt(thread);
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.0.workers.first().is_none_or(|worker| worker.mailbox.stopped())
    }

    /// For how long each worker has worked.
    fn busy(&self) -> Vec<Duration> {
        let micros = |worker: &Party| Duration::from_micros(worker.meter.busy_micros.get());
        self.0.workers.iter().map(micros).collect()
    }

    fn follow(&self, advice: Advice) {
        match advice {
            Advice::Move(Wish { tunnel, to, why }) => {
                if self.move_tunnel(tunnel, to) {
                    tracing::debug!(tunnel = tunnel.slot, worker = to, ?why, "a tunnel moves");
                }
            }
            Advice::Shed { worker, order } => {
                // Held, as only one thread at a time gives orders.
                let _registry = self.registry();
                if let Some(worker) = self.0.workers.get(usize::from(worker)) {
                    // One that has no room for orders is asked again.
                    let _ = worker.mailbox.order(Order::Shed(order));
                }
            }
        }
    }
}
