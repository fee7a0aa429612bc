//! What the world outside is told of a session that is up: its account, the operator's hooks, and
//! nft's sets.
//!
//! It follows the session's terms, and ends with it: dropping it does what the end needs. Must be
//! dropped before the tunnel, which has the figures.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Daemon;
use super::account::Account;
use super::ending::TerminateCause;
use super::session::Session;
use crate::accounting::Volume;
use crate::accounting::keeper::Meter;
use crate::hooks::{About, Visit};
use crate::lists::Member;

/// What is told of a session.
#[derive(Debug)]
pub(super) struct Outward {
    account: Option<Account>,
    hooks: Option<Visit>,
    lists: Option<Member>,
}

/// Both ends of a session's tunnel, and of the network in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) peer: Ipv4Addr,
    pub(super) local: Ipv4Addr,
    /// The subscriber's address.
    pub(super) remote: Ipv4Addr,
    /// Ours.
    pub(super) own: Ipv4Addr,
}

impl Outward {
    /// The session is up. `name` is as the peer sent it. `None` if it has no terms.
    pub(super) fn open(
        daemon: &Daemon,
        session: &Session,
        name: &[u8],
        ends: Ends,
    ) -> Option<Self> {
        let terms = session.terms()?;
        let meter = meter(daemon, session);
        let (own, tun) = (session.facts().interface, &daemon.config.dataplane.tun);
        let about = About {
            device: own.as_ref().unwrap_or(tun).clone(),
            interface: own.unwrap_or_else(|| format!("pptp{}", session.id())),
            user: terms.user.clone(),
            local: ends.own,
            remote: ends.remote,
            peer: ends.peer,
            called: ends.local,
            session: daemon.session_ids.of(session.id()),
            attributes: terms.radius.clone(),
        };
        Some(Self {
            account: Account::open(daemon, session, name, ends, Arc::clone(&meter)),
            hooks: daemon.hooks.up(about, meter),
            lists: daemon.lists.enter(ends.remote, &terms.address_lists),
        })
    }

    /// The session's terms are others now.
    pub(super) fn renew(&mut self, session: &Session) {
        let Some(terms) = session.terms() else { return };
        if let Some(account) = &self.account {
            account.renew(session);
        }
        if let Some(lists) = &mut self.lists {
            lists.change(&terms.address_lists);
        }
        if let Some(hooks) = &mut self.hooks {
            hooks.change(&terms.radius);
        }
    }

    /// The session has other addresses now, but the same terms.
    pub(super) fn readdress(&self, session: &Session) {
        if let Some(account) = &self.account {
            account.renew(session);
        }
    }

    /// The session ended; its tunnel is still open.
    pub(super) fn end(self, cause: TerminateCause) {
        if let Some(account) = self.account {
            account.end(cause);
        }
    }
}

fn meter(daemon: &Daemon, session: &Session) -> Arc<Meter> {
    let (plane, tunnel) = (daemon.plane.clone(), session.tunnel());
    Arc::new(move || {
        let counters = plane.handle().counters(tunnel)?;
        Some(Volume {
            input_octets: counters.rx_bytes,
            input_packets: counters.rx_packets,
            output_octets: counters.tx_bytes,
            output_packets: counters.tx_packets,
        })
    })
}
