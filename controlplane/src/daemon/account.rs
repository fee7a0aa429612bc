//! A session's account: what of it RADIUS servers are told, and when (RFC 2866).
//!
//! It is opened when the session has its address and not before, follows its terms, and ends with
//! it. Never waits.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use protocol::radius::{Attributes, TooLong};
use tracing::error;

use super::Daemon;
use super::ending::TerminateCause;
use super::outward::Ends;
use super::session::Session;
use crate::aaa::identity;
use crate::accounting::keeper::{Meter, Pace, Servers};
use crate::accounting::record::{Authentic, Facts, Records};
use crate::accounting::store::StoreError;
use crate::accounting::{self, Accounting};
use crate::radius::Client;
use crate::terms::Terms;

/// Opens the queue and tells the servers that the daemon begins, if any takes accounts.
///
/// # Errors
/// If the queue's file cannot be used.
pub(super) fn start(daemon: &Daemon) -> Result<Accounting, StoreError> {
    if !daemon.radius.accounts() {
        return Ok(Accounting::default());
    }
    let records = Records::new(daemon.nas.clone(), daemon.session_ids.of(0));
    let (queue, limit) = (daemon.config.accounting_queue(), daemon.config.accounting.max_records);
    Accounting::start(&queue, limit, records, Arc::new(daemon.radius.clone()), Pace::default())
}

impl Servers for Client {
    fn account(
        &self,
        attributes: Vec<u8>,
        age: Duration,
    ) -> BoxFuture<'static, Result<(), String>> {
        let client = self.clone();
        async move {
            let attributes = Attributes::from_bytes(&attributes).ok_or("it divides into none")?;
            Self::account(&client, attributes, age).await.map_err(|failure| failure.to_string())
        }
        .boxed()
    }
}

/// The account of a session that is up.
#[derive(Debug)]
pub(super) struct Account {
    told: accounting::Session,
    /// What its Access-Request had.
    identity: Attributes,
    address: Ipv4Addr,
    /// How often it is told of where its terms do not say.
    interim: Option<Duration>,
}

impl Account {
    /// `name` is as the peer sent it: that is how RADIUS knows its users, if it gives them no other
    /// name. Ours have one each, whatever Windows puts in front. `None` if nothing is accounted.
    pub(super) fn open(
        daemon: &Daemon,
        session: &Session,
        name: &[u8],
        ends: Ends,
        meter: Arc<Meter>,
    ) -> Option<Self> {
        let Ends { peer, local, remote: address, .. } = ends;
        let (id, terms) = (session.id(), session.terms()?);
        let name = match &terms.account_name {
            Some(given) => given,
            None if terms.by_radius => name,
            None => terms.user.as_bytes(),
        };
        let identity = identity::session(daemon, id, name, peer, local);
        let interim = daemon.config.aaa.interim_update.unless_zero();
        let attributes = match attributes(&identity, &terms, address, session) {
            Ok(attributes) => attributes,
            Err(error) => {
                error!(session = id, %error, "the session is not accounted");
                return None;
            }
        };
        let often = terms.interim.or(interim);
        let id = daemon.session_ids.of(id);
        let told = daemon.accounting.open(&id, attributes, often, meter)?;
        Some(Self { told, identity, address, interim })
    }

    /// The session's terms may be others now.
    pub(super) fn renew(&self, session: &Session) {
        let Some(terms) = session.terms() else { return };
        match attributes(&self.identity, &terms, self.address, session) {
            Ok(attributes) => self.told.change(attributes, terms.interim.or(self.interim)),
            Err(error) => error!(session = session.id(), %error, "the account stays as it was"),
        }
    }

    /// The session ended; its tunnel is still open.
    pub(super) fn end(self, cause: TerminateCause) {
        self.told.end(cause);
    }
}

fn attributes(
    identity: &Attributes,
    terms: &Terms,
    address: Ipv4Addr,
    session: &Session,
) -> Result<Vec<u8>, TooLong> {
    let known = session.facts();
    let authentic = if terms.by_radius { Authentic::Radius } else { Authentic::Local };
    let facts = Facts {
        authentic,
        address,
        netmask: terms.netmask,
        ipv6_prefix: known.ipv6_prefix,
        delegated_ipv6_prefix: known.delegated_ipv6_prefix,
        interface_id: known.interface_id,
        class: &terms.class,
    };
    facts.attributes(identity).as_bytes().map(<[u8]>::to_vec)
}
