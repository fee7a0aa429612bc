//! What crosses the API: JSON objects with RouterOS's words in kebab-case as keys.
//!
//! Both ends use these types. Of a password its NT hash crosses; the password itself only for users
//! who may use CHAP-MD5.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Span;
use crate::ipv6::Prefix;
use crate::kernel::Destination;
use crate::lockout::{Locked, Subject, Which};
use crate::rate_limit::RateLimit;
use crate::terms::{RemoteAddress, Route, Terms};
use crate::users::secret::Service;
use crate::users::{Change, OnConflict, Source, User};

/// A user as the API shows one: all but the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UserView {
    /// The name.
    pub name: String,
    /// What the secret is for.
    pub service: Service,
    /// Where the user may call from; empty is from everywhere.
    pub caller_id: Vec<Destination>,
    /// The profile, if the user has one of their own.
    pub profile: Option<String>,
    /// Our end of the tunnel, if it is not the profile's.
    pub local_address: Option<Ipv4Addr>,
    /// The address or pool, if it is not the profile's.
    pub remote_address: Option<RemoteAddress>,
    /// Networks behind the user.
    pub routes: Vec<Route>,
    /// The prefix of the link, if it is not one of the profile's.
    pub remote_ipv6_prefix: Option<Prefix>,
    /// The prefix that is delegated, if it is not one of the profile's.
    pub delegated_ipv6_prefix: Option<Prefix>,
    /// IPv6 networks behind the user.
    pub ipv6_routes: Vec<Prefix>,
    /// The rate, if it is not the profile's.
    pub rate_limit: Option<RateLimit>,
    /// The time a session may last, if it is not the profile's.
    pub session_timeout: Option<Span>,
    /// The time a session may carry no packet, if it is not the profile's.
    pub idle_timeout: Option<Span>,
    /// Octets that a session may send us.
    pub limit_bytes_in: Option<u64>,
    /// Octets that a session may be sent.
    pub limit_bytes_out: Option<u64>,
    /// Whether the user may call from outside of `local-networks`.
    pub remote_access: bool,
    /// Whether the user may use CHAP-MD5: the clear password is kept.
    pub allow_chap: bool,
    /// Refused until enabled again.
    pub disabled: bool,
    /// The operator's note.
    pub comment: String,
    /// `database` or `users-file`.
    pub source: String,
}

impl UserView {
    /// Everything of a user but the password and its hash.
    #[must_use]
    pub fn new(user: &User, source: Source) -> Self {
        let user = user.clone();
        Self {
            name: user.name,
            service: user.service,
            caller_id: user.caller_id,
            profile: user.profile,
            local_address: user.local_address,
            remote_address: user.remote_address,
            routes: user.routes,
            remote_ipv6_prefix: user.remote_ipv6_prefix,
            delegated_ipv6_prefix: user.delegated_ipv6_prefix,
            ipv6_routes: user.ipv6_routes,
            rate_limit: user.rate_limit,
            session_timeout: user.session_timeout,
            idle_timeout: user.idle_timeout,
            limit_bytes_in: user.limit_bytes_in,
            limit_bytes_out: user.limit_bytes_out,
            remote_access: user.remote_access,
            allow_chap: user.credential.clear().is_some(),
            disabled: user.disabled,
            comment: user.comment,
            source: match source {
                Source::Database => "database".to_owned(),
                Source::File => "users-file".to_owned(),
            },
        }
    }
}

/// Users to import.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Import {
    /// They, each with name and password.
    pub users: Vec<Change>,
    /// What to do with those that exist already.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// Whether live sessions are to follow a change of their user.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Apply {
    /// They are.
    pub apply: bool,
}

/// How many live sessions followed a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Sessions that were changed.
    pub changed: usize,
    /// Sessions that were told to end.
    pub disconnected: usize,
}

/// A session as the API shows one. `rx` is from the subscriber, `tx` to the subscriber; packets
/// and bytes are inner IP packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SessionView {
    /// Names the session until the daemon ends.
    pub id: u64,
    /// `up`, or how far the login is: `lcp`, `authentication`, `encryption`, `address`.
    pub state: String,
    /// Who, as sent by the peer; `null` before authentication.
    pub user: Option<String>,
    /// The interface that the session has to itself; `null` for dynamic ones.
    pub interface: Option<String>,
    /// Where the tunnel comes from.
    pub peer_address: Ipv4Addr,
    /// The subscriber's inner address; `null` before the session is up.
    pub address: Option<Ipv4Addr>,
    /// Our inner address.
    pub local_address: Option<Ipv4Addr>,
    /// The IPv6 prefix of the link; `null` without one.
    pub ipv6_prefix: Option<Prefix>,
    /// The IPv6 prefix that is delegated; `null` without one.
    pub delegated_ipv6_prefix: Option<Prefix>,
    /// The subscriber's IPv6 address on the link; `null` while IPV6CP is not open.
    pub ipv6_link_address: Option<Ipv6Addr>,
    /// How data is protected: `MPPE128 stateless`, or `none`.
    pub encoding: String,
    /// Largest inner packet to the subscriber, bytes.
    pub mtu: u16,
    /// Largest PPP packet from the subscriber, bytes.
    pub mru: u16,
    /// Largest packet from the subscriber that is put together from fragments (multilink), bytes;
    /// `null` without.
    pub mrru: Option<u16>,
    /// Seconds since the session came up; since its call was accepted while it is not.
    pub uptime: u64,
    /// Inner packets from the subscriber.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Inner packets to the subscriber.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// GRE packets from the peer that never came.
    pub rx_lost: u64,
    /// GRE packets from the peer that came after a later one.
    pub rx_reordered: u64,
    /// GRE packets from the peer that came twice.
    pub rx_duplicate: u64,
    /// Microseconds from a GRE packet to the peer until its acknowledgement, smoothed, with what the
    /// peer waits before it acknowledges; `null` if it acknowledged none.
    pub round_trip_micros: Option<u64>,
    /// Packets of this tunnel that were dropped, both ways, by reason; zeros left out.
    pub drops: BTreeMap<String, u64>,
    /// Seconds since a data packet passed, `null` if none did.
    pub idle_time: Option<u64>,
    /// What it is given and held to now; `null` before authentication.
    pub terms: Option<TermsView>,
}

/// What a session is given and held to. Limits that there are not are `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TermsView {
    /// The profile.
    pub profile: String,
    /// Whether RADIUS granted the login.
    pub radius: bool,
    /// Acct-Session-Id.
    pub acct_session_id: String,
    /// As RouterOS writes it.
    pub rate_limit: RateLimit,
    /// Seconds that it may last.
    pub session_timeout: Option<u64>,
    /// Seconds without a packet.
    pub idle_timeout: Option<u64>,
    /// Bytes that may come from the subscriber.
    pub limit_bytes_in: Option<u64>,
    /// Bytes that may go to the subscriber.
    pub limit_bytes_out: Option<u64>,
    /// Bytes both ways together.
    pub limit_bytes_total: Option<u64>,
    /// For packets from the subscriber.
    pub incoming_filter: Option<String>,
    /// For packets to the subscriber.
    pub outgoing_filter: Option<String>,
    /// nftables sets.
    pub address_lists: Vec<String>,
    /// Networks behind the subscriber, those among them that are left out, too.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns_servers: Vec<Ipv4Addr>,
    /// WINS servers.
    pub wins_servers: Vec<Ipv4Addr>,
    /// Seconds between two interim accounts, where it has an interval of its own.
    pub interim_update: Option<u64>,
    /// Every Class of RADIUS in hexadecimal, in order.
    pub class: Vec<String>,
}

impl TermsView {
    /// These terms, of the session with this Acct-Session-Id.
    #[must_use]
    pub fn new(terms: &Terms, acct_session_id: String) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        let hex = |class: &Vec<u8>| class.iter().map(|octet| format!("{octet:02x}")).collect();
        Self {
            profile: terms.profile.clone(),
            radius: terms.by_radius,
            acct_session_id,
            rate_limit: terms.rate_limit,
            session_timeout: seconds(terms.session_timeout),
            idle_timeout: seconds(terms.idle_timeout),
            limit_bytes_in: terms.receive_limit,
            limit_bytes_out: terms.transmit_limit,
            limit_bytes_total: terms.total_limit,
            incoming_filter: terms.incoming_filter.clone(),
            outgoing_filter: terms.outgoing_filter.clone(),
            address_lists: terms.address_lists.clone(),
            routes: terms.routes.clone(),
            dns_servers: terms.dns.into_iter().flatten().collect(),
            wins_servers: terms.wins.into_iter().flatten().collect(),
            interim_update: seconds(terms.interim),
            class: terms.class.iter().map(hex).collect(),
        }
    }
}

/// An interface that a user has to itself, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BindingView {
    /// The interface.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// RouterOS's flag X.
    pub disabled: bool,
    /// A session has it.
    pub running: bool,
    /// The operator's note.
    pub comment: String,
    /// `configuration` or `database`.
    pub source: String,
}

/// What to change of a binding. A key left out leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct BindingChange {
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Not given until enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The operator's note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Which sessions are meant. At least one key; all that are given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Selector {
    /// The session of that id.
    pub id: Option<u64>,
    /// All of that user.
    pub user: Option<String>,
    /// The one that has that inner address.
    pub address: Option<Ipv4Addr>,
    /// All from that outer address.
    pub peer_address: Option<Ipv4Addr>,
    /// All there are.
    pub all: bool,
}

impl Selector {
    /// Whether it says anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this session is meant.
    #[must_use]
    pub fn fits(&self, session: &SessionView) -> bool {
        self.id.is_none_or(|id| id == session.id)
            && self.user.as_ref().is_none_or(|user| session.user.as_ref() == Some(user))
            && self.address.is_none_or(|address| session.address == Some(address))
            && self.peer_address.is_none_or(|address| session.peer_address == address)
    }
}

/// What live sessions are to be held to from now on. A key left out leaves as it is; empty takes
/// the limit away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SessionChange {
    /// How fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How long from their beginning; zero is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<Span>,
    /// How long without a packet; zero is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Span>,
    /// Filter for packets from the subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming_filter: Option<String>,
    /// Filter for packets to the subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outgoing_filter: Option<String>,
}

/// Which sessions to change, and how.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SessionSet {
    /// Which.
    pub sessions: Selector,
    /// How.
    pub change: SessionChange,
}

/// How many sessions were told to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnected {
    /// The number.
    pub disconnected: usize,
}

/// A lock on an address or a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LockoutView {
    /// The peer address that is locked, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The user name that is locked for the addresses that failed for it, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Seconds that are left.
    pub left: u64,
    /// When it ends, seconds since 1970.
    pub until: i64,
    /// How many locks in a row it is, from 1: each is twice as long as the one before.
    pub locks: u32,
}

impl From<Locked> for LockoutView {
    fn from(locked: Locked) -> Self {
        let (address, user) = match locked.subject {
            Subject::Address(address) => (Some(address), None),
            Subject::User(user) => (None, Some(user.to_string())),
        };
        let left = locked.left.as_millis().div_ceil(1000);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        Self { address, user, left, until: locked.until, locks: locked.locks }
    }
}

/// Which locks to clear: one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockoutSelector {
    /// That of this peer address.
    pub address: Option<Ipv4Addr>,
    /// That of this user.
    pub user: Option<String>,
    /// All there are.
    pub all: bool,
}

impl LockoutSelector {
    /// What is meant; `None` if it is not one of the three.
    #[must_use]
    pub fn which(self) -> Option<Which> {
        match (self.address, self.user, self.all) {
            (Some(address), None, false) => Some(Which::One(Subject::Address(address))),
            (None, Some(user), false) => Some(Which::One(Subject::User(user.into()))),
            (None, None, true) => Some(Which::All),
            _ => None,
        }
    }
}

/// How many locks were cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    /// The number.
    pub cleared: usize,
}

/// The daemon's and the data plane's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stats {
    /// Seconds since the daemon started.
    pub uptime: u64,
    /// Sessions that are up.
    pub sessions: u64,
    /// What the daemon counts: accepted, refused and ended, by reason.
    pub control: BTreeMap<String, u64>,
    /// Packets through the workers, by what became of them.
    pub packets: BTreeMap<String, u64>,
    /// Packets that the workers dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// The XDP program's verdicts, by reason; empty without AF_XDP.
    pub xdp: BTreeMap<String, u64>,
    /// What each port carried and lost.
    pub ports: Vec<PortStats>,
    /// How full the pools are.
    pub pools: Vec<PoolStats>,
    /// How the accounting queue does; `null` if nothing is accounted.
    pub accounting: Option<AccountingStats>,
    /// Whether new calls are refused.
    pub draining: bool,
}

/// How to drain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct DrainOrder {
    /// No longer.
    pub stop: bool,
    /// Seconds after which sessions that are still there are disconnected; `null` is never.
    pub disconnect_after: Option<u64>,
    /// How many of them a second.
    pub rate: Option<u32>,
}

/// What draining has to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Whether new calls are refused.
    pub draining: bool,
    /// Sessions that are there.
    pub sessions: usize,
}

/// The accounting queue. What it counts is counted since the daemon started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AccountingStats {
    /// What sessions said and the queue's file has not taken yet.
    pub unwritten: u64,
    /// Requests that wait for an answer of a server.
    pub queued: u64,
    /// Seconds since the oldest of them was made; `null` if none waits.
    pub oldest: Option<u64>,
    /// Whether a server answered lately.
    pub servers_answer: bool,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that no server wanted to answer, while it did answer others.
    pub given_up: u64,
    /// Requests that found no room in the queue, or no way into it.
    pub lost: u64,
    /// How often the queue's file failed.
    pub store_errors: u64,
}

/// One queue of one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortStats {
    /// The interface, or `gre` for the raw socket.
    pub name: String,
    /// The queue's number.
    pub queue: u32,
    /// Packets received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets that the port lost, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// One address pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PoolStats {
    /// The pool.
    pub name: String,
    /// Addresses that it has.
    pub size: usize,
    /// Addresses that can still be given.
    pub free: usize,
}

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The reason.
    pub error: String,
}
