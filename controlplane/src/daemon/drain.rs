//! `penstock drain`: no new calls, while those that are there go on, or go bit by bit.
//!
//! New callers meet a closed port, which makes them try another address of the server's name at
//! once; an accepted connection that is closed again would not. The sockets themselves stay, with
//! whatever the lockout attached to them.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use super::Shared;
use super::ending::Ending;

/// Whether the daemon drains.
#[derive(Debug)]
pub struct Drain(watch::Sender<Option<Plan>>);

/// How it drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// When sessions that are still there begin to be disconnected.
    pub disconnect_at: Option<Instant>,
    /// How many of them a second.
    pub rate: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Drain {
    /// Begins, or goes on otherwise; `None` ends it.
    pub fn set(&self, plan: Option<Plan>) {
        self.0.send_replace(plan);
        match plan {
            Some(plan) => {
                let after =
                    plan.disconnect_at.map(|at| at.saturating_duration_since(Instant::now()));
                let after = after.map(|after| after.as_secs());
                info!(disconnect_after = after, rate = plan.rate, "draining: no new calls");
            }
            None => info!("calls are accepted again"),
        }
    }

    /// Whether it does.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Told when that changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Plan>> {
        self.0.subscribe()
    }
}

/// Disconnects sessions when their time has come, for as long as it is polled.
pub async fn serve(shared: Shared) {
    let mut plans = shared.drain.subscribe();
    loop {
        let plan = *plans.borrow_and_update();
        let disconnects = async {
            let Some(Plan { disconnect_at: Some(at), rate }) = plan else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(at.into()).await;
            loop {
                disconnect(&shared, rate);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = disconnects => {}
            // The daemon has the sender, and we the daemon.
            _ = plans.changed() => {}
        }
    }
}

/// The oldest first. Those that are ending already are some of them.
fn disconnect(shared: &Shared, rate: u32) {
    let mut left = rate;
    for session in shared.sessions.all() {
        if left == 0 {
            break;
        }
        if session.wish().is_none() {
            session.disconnect(Ending::Drained);
            left -= 1;
        }
    }
}

/// Closes the port: who connects is refused by the kernel. Those who connected and were not
/// accepted yet are reset.
pub(super) fn close(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).shutdown(Shutdown::Both)
}

/// Opens it again. The same socket by another descriptor: of the first one the runtime remembers
/// for ever that it was closed.
pub(super) fn open(listener: &TcpListener, backlog: i32) -> io::Result<TcpListener> {
    SockRef::from(listener).listen(backlog)?;
    TcpListener::from_std(listener.as_fd().try_clone_to_owned()?.into())
}
