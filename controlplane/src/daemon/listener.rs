//! Accepts TCP connections on port 1723 and gives each its task.
//!
//! Refuses what is too much before it costs anything, and does not spin when the system refuses.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tracing::warn;

use super::counters::Count;
use super::{Shared, StartError, connection, drain, stop_wanted};
use crate::control::ipv4;
use crate::host::port::owner;

/// Connections that the kernel keeps until we accept them: as many as its `somaxconn` allows.
const BACKLOG: u16 = u16::MAX;

/// Without descriptors or memory the next try will fail too: give sessions time to end.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes the port.
///
/// # Errors
/// If somebody has it already, with the name, or the system refuses.
pub fn bind(address: SocketAddrV4) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::V4(address))?;
        socket.listen(BACKLOG.into())
    };
    bound().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken {
            address,
            owner: owner(address).map_or_else(|| "nobody we can see".to_owned(), |o| o.to_string()),
        },
        _ => StartError::Listen { address, error },
    })
}

/// Accepts until the daemon stops, then waits for the tasks.
pub async fn serve(mut listener: TcpListener, shared: Shared) {
    let mut tasks = JoinSet::new();
    let mut stopping = shared.stopping.subscribe();
    let mut drain = shared.drain.subscribe();
    let mut open = true;
    loop {
        let drains = drain.borrow_and_update().is_some();
        if drains == open {
            let changed = if drains {
                drain::close(&listener)
            } else {
                drain::open(&listener, BACKLOG.into()).map(|opened| listener = opened)
            };
            match changed {
                Ok(()) => open = !drains,
                Err(error) => warn!(%error, drains, "the port stays as it is"),
            }
        }
        tokio::select! {
            // The daemon has the sender.
            _ = drain.changed() => {}
            accepted = listener.accept(), if open => match accepted {
                Ok((stream, peer)) => admit(stream, peer, &shared, &mut tasks),
                // The peer gave up before we looked.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    shared.counters.add(Count::AcceptErrors);
                    if shared.may_log_stranger() {
                        warn!(%error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = tasks.join_next() => {}
            () = stop_wanted(&mut stopping) => break,
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

fn admit(stream: TcpStream, peer: SocketAddr, shared: &Shared, tasks: &mut JoinSet<()>) {
    shared.counters.add(Count::Connections);
    let Ok(address) = ipv4(peer) else { return };
    if !shared.config.server.serves(address) {
        shared.counters.add(Count::ClientIpRange);
        if shared.may_log_stranger() {
            warn!(%peer, reason = "not in `client-ip-range`", "connection refused");
        }
        return;
    }
    // Where the kernel has no filter for it, or the lock is younger than the connection.
    if shared.lockouts.refuses(address) {
        if shared.may_log_stranger() {
            warn!(%peer, reason = "locked out", "connection refused");
        }
        return;
    }
    match shared.admission.enter(address) {
        Ok(permit) => {
            // Small messages that wait for answers.
            let _ = stream.set_nodelay(true);
            tasks.spawn(connection::run(stream, peer, permit, Arc::clone(shared)));
        }
        Err(count) => {
            shared.counters.add(count);
            if shared.may_log_stranger() {
                warn!(%peer, reason = count.reason(), "connection refused");
            }
        }
    }
}
