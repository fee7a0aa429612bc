//! Asking the kernel for all its links, addresses, neighbours and routes.
//!
//! A full table takes seconds, in which changes have to be followed: so it is asked for on a thread
//! beside, which hands over what it has in parts and waits until they are taken. Keeps nothing.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::proto::new_connection;
use rtnetlink::sys::SocketAddr;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::{Handle, IpVersion};
use tokio::sync::mpsc::{Receiver, channel};

use super::message::{Change, dumped};
use super::mirror::MirrorError;
use super::next_hop::Message;
use super::rib::Rib;

/// Changes in a part: what follows the kernel is held up by no more than these.
const PART: usize = 256;
/// Parts that wait.
const AHEAD: usize = 4;
/// No worker holds on to a snapshot for longer: it is for one turn.
const TURN: Duration = Duration::from_secs(1);

/// The kernel is being asked.
#[derive(Debug)]
pub(super) struct Dump {
    parts: Receiver<Vec<Change>>,
    thread: JoinHandle<Result<(), MirrorError>>,
}

impl Dump {
    /// Begins, in the network namespace of the calling thread.
    pub(super) fn start(table: Option<u32>) -> Result<Self, MirrorError> {
        let (sender, parts) = channel(AHEAD);
        let thread = thread::Builder::new().name("all-routes".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let (connection, kernel, _) = rtnetlink::new_connection()?;
                tokio::spawn(connection);
                let mut part = Vec::new();
                let learn = async |change| {
                    part.push(change);
                    part.len() < PART || sender.send(std::mem::take(&mut part)).await.is_ok()
                };
                ask(&kernel, table, learn).await?;
                // Whoever does not listen any more has no use for it.
                let _ = sender.send(part).await;
                Ok(())
            })
        })?;
        Ok(Self { parts, thread })
    }

    /// The next part. `None`: that was all, or it failed.
    pub(super) async fn next(&mut self) -> Option<Vec<Change>> {
        self.parts.recv().await
    }

    /// How it ended, after the last part.
    pub(super) fn end(self) -> Result<(), MirrorError> {
        // A panic has been told by the thread itself.
        self.thread.join().unwrap_or(Err(MirrorError::Lost))
    }
}

/// Asks for all there is, until `learn` says `false`: first what routes are made of.
pub(super) async fn ask(
    kernel: &Handle,
    table: Option<u32>,
    mut learn: impl AsyncFnMut(Change) -> bool,
) -> Result<(), MirrorError> {
    let mut goes_on = async |message: Message| match dumped(&message, table) {
        Some(change) => learn(change).await,
        None => true,
    };
    let mut links = kernel.link().get().execute();
    while let Some(link) = links.try_next().await? {
        if !goes_on(Message::Route(RouteNetlinkMessage::NewLink(link))).await {
            return Ok(());
        }
    }
    if !ask_for_rules(kernel, &mut goes_on).await? {
        return Ok(());
    }
    let (connection, asking, _) = new_connection(NETLINK_ROUTE)?;
    tokio::spawn(connection);
    let mut next_hops = asking
        .request(Message::ask_for_next_hops(), SocketAddr::new(0, 0))
        .map_err(|_| MirrorError::Lost)?;
    while let Some(answer) = next_hops.next().await {
        let message = match answer.payload {
            NetlinkPayload::InnerMessage(message) => message,
            // Linux before 5.3 has none.
            NetlinkPayload::Error(error) if error.raw_code() == -libc::EOPNOTSUPP => break,
            NetlinkPayload::Error(error) => {
                return Err(rtnetlink::Error::NetlinkError(error).into());
            }
            _ => continue,
        };
        if !goes_on(message).await {
            return Ok(());
        }
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = kernel.address().get();
        request.message_mut().header.family = family;
        let mut addresses = request.execute();
        while let Some(address) = addresses.try_next().await? {
            if !goes_on(Message::Route(RouteNetlinkMessage::NewAddress(address))).await {
                return Ok(());
            }
        }
        let mut neighbours = kernel.neighbours().get().set_address_family(family).execute();
        while let Some(neighbour) = neighbours.try_next().await? {
            if !goes_on(Message::Route(RouteNetlinkMessage::NewNeighbour(neighbour))).await {
                return Ok(());
            }
        }
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let mut routes = kernel.route().get(request).execute();
        while let Some(route) = routes.try_next().await? {
            if !goes_on(Message::Route(RouteNetlinkMessage::NewRoute(route))).await {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Asks for all policy rules, until `goes_on` says `false`, which is the answer then.
pub(super) async fn ask_for_rules(
    kernel: &Handle,
    mut goes_on: impl AsyncFnMut(Message) -> bool,
) -> Result<bool, MirrorError> {
    for version in [IpVersion::V4, IpVersion::V6] {
        let mut rules = kernel.rule().get(version.clone()).execute();
        loop {
            let rule = match rules.try_next().await {
                Ok(Some(rule)) => rule,
                Ok(None) => break,
                // A kernel without IPv6 has none of its rules.
                Err(_) if matches!(version, IpVersion::V6) => break,
                Err(error) => return Err(error.into()),
            };
            if !goes_on(Message::Route(RouteNetlinkMessage::NewRule(rule))).await {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Forgets a whole table where nobody waits for it, and after the last worker has looked at it, which
/// would have to take it apart otherwise.
pub(super) fn drop_aside(rib: Rib) {
    let dropped = thread::Builder::new().name("old-routes".into()).spawn(move || {
        thread::sleep(TURN);
        drop(rib);
    });
    if let Err(error) = dropped {
        tracing::debug!(%error, "old routes are forgotten in line");
    }
}
