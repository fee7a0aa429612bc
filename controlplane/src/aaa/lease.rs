//! Which address and which interface of its own a session gets.
//!
//! Taking one may wait for the older session of the same user that has it. An address that anybody
//! else has, this machine itself, another user or another session, is never given.

use std::net::Ipv4Addr;
use std::time::Duration;

use tracing::{info, warn};

use super::place::Place;
use super::seats::Seat;
use crate::api::types::Selector;
use crate::bindings::{Claim, Refused};
use crate::config::is_for_hosts;
use crate::daemon::Daemon;
use crate::daemon::ending::Ending;
use crate::host::interface_index;
use crate::host::is_own_address;
use crate::ipv6::Given;
use crate::pool::{self, Lease};
use crate::terms::{Remote, RemoteAddress, Terms};

/// How long a login waits for the session that has its address or interface to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// The place that these terms mean, for the session that has this seat, by a tunnel between these
/// addresses, the peer's and ours. It has no address yet if
/// the peer is to choose that.
///
/// # Errors
/// If there is none, with the reason for the log.
pub(super) async fn take(
    daemon: &Daemon,
    terms: &Terms,
    seat: Seat,
    outer: [Ipv4Addr; 2],
) -> Result<Place, String> {
    let lease = match &terms.remote {
        Some(Remote::Address(address)) => Some(own_address(daemon, *address, terms, outer).await?),
        Some(Remote::Pool(pool)) => Some(of_pool(daemon, pool, terms)?),
        Some(Remote::PeerChoice(_)) => None,
        None => return Err("neither the user has an address nor the profile".to_owned()),
    };
    let claim = own_interface(daemon, &terms.user).await?;
    // Without IPv6 a session is one still.
    let (ipv6, problems) = Given::take(&daemon.prefixes, &terms.ipv6, &terms.user);
    for problem in problems {
        warn!(user = terms.user, %problem, "a session lacks an IPv6 prefix");
    }
    Ok(Place::new(daemon, lease, ipv6, claim, seat, outer))
}

/// The address that a peer wants which may choose (RFC 2865 §5.8), or the one that it gets if it
/// wants none or cannot have it.
///
/// # Errors
/// If there is none, with the reason for the log.
pub async fn choose(
    daemon: &Daemon,
    terms: &Terms,
    wanted: Option<Ipv4Addr>,
    outer: [Ipv4Addr; 2],
) -> Result<Lease, String> {
    let reason = match wanted {
        None => "the peer may choose its address, and asks for one".to_owned(),
        Some(wanted) => match free_choice(daemon, wanted, terms, outer).await {
            Ok(lease) => return Ok(lease),
            Err(reason) => format!("the peer chooses {wanted}: {reason}"),
        },
    };
    let Some(Remote::PeerChoice(Some(instead))) = &terms.remote else {
        return Err(format!("{reason}; its profile has no `remote-address` to give instead"));
    };
    info!(user = terms.user, reason, "the profile's remote-address is given");
    match instead {
        RemoteAddress::Address(address) => own_address(daemon, *address, terms, outer).await,
        RemoteAddress::Pool(pool) => of_pool(daemon, pool, terms),
    }
}

fn of_pool(daemon: &Daemon, pool: &str, terms: &Terms) -> Result<Lease, String> {
    daemon.addresses.from_pool(pool, &terms.user).map_err(|refusal| refusal.to_string())
}

/// What a peer may choose: an address for a host that is nobody's, neither a subscriber's nor that
/// of a neighbour of this machine.
async fn free_choice(
    daemon: &Daemon,
    wanted: Ipv4Addr,
    terms: &Terms,
    outer: [Ipv4Addr; 2],
) -> Result<Lease, String> {
    if !is_for_hosts(wanted) {
        return Err("no host can have that address".to_owned());
    }
    if wanted == terms.local_address {
        return Err("it is this server's end of the tunnel".to_owned());
    }
    if daemon.addresses.is_reserved(wanted) {
        return Err("it belongs to a user".to_owned());
    }
    let lease = own_address(daemon, wanted, terms, outer).await?;
    if daemon.addresses.in_a_pool(wanted) {
        return Ok(lease);
    }
    match daemon.kernel.hop_to(wanted).await {
        Ok(hop) if hop.gateway.is_none() => {
            let tun = interface_index(&daemon.config.dataplane.tun);
            Err(if tun == Some(hop.interface) {
                "it is in a network behind another subscriber".to_owned()
            } else {
                "it is in a network that this machine is in".to_owned()
            })
        }
        // Beyond a router it is as far away as any, and no route at all is as good.
        Ok(_) | Err(_) => Ok(lease),
    }
}

/// A user who dials again before the old session was found dead takes its place: the address is
/// theirs, and they cannot be in two places with it.
async fn own_address(
    daemon: &Daemon,
    address: Ipv4Addr,
    terms: &Terms,
    outer: [Ipv4Addr; 2],
) -> Result<Lease, String> {
    if address == outer[0] {
        return Err(format!("address {address} is the peer's own outer address"));
    }
    let user = &terms.user;
    let is_own = || {
        let own = daemon.users.get(user).and_then(|(user, _)| user.own_address());
        own == Some(address)
    };
    if terms.by_radius && daemon.addresses.is_reserved(address) && !is_own() {
        return Err(format!("address {address} belongs to a local user"));
    }
    let tries = async {
        loop {
            match daemon.addresses.fixed(address, user) {
                Err(pool::Refusal::InUse { holder, .. }) if holder == *user => {
                    let old = Selector { address: Some(address), ..Selector::default() };
                    daemon.sessions.disconnect(&old, &Ending::Replaced);
                    tokio::time::sleep(INTERVAL).await;
                }
                answer => return answer,
            }
        }
    };
    let lease = match tokio::time::timeout(PATIENCE, tries).await {
        Ok(answer) => answer,
        Err(_) => Err(pool::Refusal::InUse { address, holder: user.clone() }),
    };
    let lease = lease.map_err(|refusal| refusal.to_string())?;
    match is_own_address(address) {
        Ok(false) => Ok(lease),
        Ok(true) => Err(format!("address {address} is this machine's own")),
        Err(error) => Err(format!("whether {address} is this machine's own: {error}")),
    }
}

/// The same for an interface: packets of a bound user pass no other way, or the rules that name the
/// interface would not see them.
async fn own_interface(daemon: &Daemon, user: &str) -> Result<Option<Claim>, String> {
    let tries = async {
        loop {
            match daemon.bindings.claim(user) {
                Ok(claim) => return Some(claim),
                Err(Refused::None) => return None,
                Err(Refused::Taken(name)) => {
                    for session in daemon.sessions.all() {
                        if session.facts().interface.as_deref() == Some(&*name) {
                            session.disconnect(Ending::Replaced);
                        }
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, tries).await;
    waited.map_err(|_| "the user's interface is in use".to_owned())
}
