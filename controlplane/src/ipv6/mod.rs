//! IPv6 of sessions: what they are given, and prefixes that no two of them have.
//!
//! RFC 5072 gives a session its link, RFC 4861 the link's prefix, RFC 8415 the prefix that is
//! delegated to the router behind it.
//!
//! | module | what |
//! |---|---|
//! | [`pool`] | prefixes for sessions, each given once |

pub mod pool;

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use protocol::ipv6::{Ipv6Prefix, NoPrefix};
use protocol::ppp::InterfaceId;
use protocol::ppp::link;
use serde::{Deserialize, Serialize};

use pool::{Lease, Prefixes};

/// Every link of IPv6 carries packets of so many octets (RFC 8200 §5).
pub const SMALLEST_MTU: u16 = 1280;

/// An IPv6 prefix as operators write it: `2001:db8:1::/48`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(pub Ipv6Prefix);

impl FromStr for Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for Prefix {
    type Error = NoPrefix;

    fn try_from(text: String) -> Result<Self, NoPrefix> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where a prefix comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is this one.
    Prefix(Ipv6Prefix),
    /// One of this `[[ipv6-pool]]`.
    Pool(String),
}

/// What a session is given of IPv6.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ipv6 {
    /// Whether it may have any.
    pub enabled: bool,
    /// Our address beside the link's own.
    pub local: Option<Ipv6Addr>,
    /// The identifier that the peer has to take (Framed-Interface-Id, RFC 3162 §2.2).
    pub interface_id: Option<InterfaceId>,
    /// The prefix of the link, which is advertised.
    pub prefix: Option<Source>,
    /// The prefix that is delegated by DHCPv6.
    pub delegated: Option<Source>,
    /// Further networks behind the subscriber.
    pub routes: Vec<Ipv6Prefix>,
    /// Name servers.
    pub dns: Vec<Ipv6Addr>,
}

impl Ipv6 {
    fn is_wanted(&self) -> bool {
        let has_prefix = self.prefix.is_some() || self.delegated.is_some();
        self.enabled && (has_prefix || self.local.is_some() || !self.routes.is_empty())
    }

    /// What IPV6CP is to do for a session that was given this.
    #[must_use]
    pub fn negotiation(&self, given: Option<&Given>) -> link::Ipv6 {
        match (given, self.interface_id) {
            (None, _) => link::Ipv6::No,
            (Some(_), Some(id)) => link::Ipv6::Identifier(id),
            (Some(_), None) => link::Ipv6::AnyIdentifier,
        }
    }
}

/// The prefixes that a session has. Dropping it gives them back.
#[derive(Debug, Default)]
pub struct Given {
    prefix: Option<Lease>,
    delegated: Option<Lease>,
    routes: Vec<Lease>,
}

impl Given {
    /// What these terms mean for this user, and what of it cannot be had, with the reasons. `None`:
    /// the session has no IPv6.
    #[must_use]
    pub fn take(
        prefixes: &Prefixes,
        terms: &Ipv6,
        user: &str,
    ) -> (Option<Self>, Vec<pool::Refusal>) {
        let mut problems = Vec::new();
        if !terms.is_wanted() {
            return (None, problems);
        }
        let mut lease = |source: &Source| {
            let lease = match source {
                Source::Prefix(prefix) => prefixes.fixed(*prefix, user),
                Source::Pool(pool) => prefixes.from_pool(pool, user),
            };
            lease.map_err(|refusal| problems.push(refusal)).ok()
        };
        let given = Self {
            prefix: terms.prefix.as_ref().and_then(&mut lease),
            delegated: terms.delegated.as_ref().and_then(&mut lease),
            routes: terms
                .routes
                .iter()
                .filter_map(|route| lease(&Source::Prefix(*route)))
                .collect(),
        };
        let has_any = given.all().next().is_some() || terms.local.is_some();
        (has_any.then_some(given), problems)
    }

    /// The link's prefix.
    #[must_use]
    pub fn prefix(&self) -> Option<Ipv6Prefix> {
        self.prefix.as_ref().map(Lease::prefix)
    }

    /// The prefix that is delegated.
    #[must_use]
    pub fn delegated(&self) -> Option<Ipv6Prefix> {
        self.delegated.as_ref().map(Lease::prefix)
    }

    /// What of it none of these pools' routes covers.
    #[must_use]
    pub fn unrouted(&self, pools: &[Ipv6Prefix]) -> Vec<Ipv6Prefix> {
        let holds = |pool: &Ipv6Prefix, prefix: Ipv6Prefix| {
            pool.length() <= prefix.length() && pool.contains(prefix.address())
        };
        self.all().filter(|prefix| !pools.iter().any(|pool| holds(pool, *prefix))).collect()
    }

    /// All that lies behind the session.
    pub fn all(&self) -> impl Iterator<Item = Ipv6Prefix> {
        self.prefix.iter().chain(&self.delegated).chain(&self.routes).map(Lease::prefix)
    }
}

/// Whether a subscriber's network can be in this prefix: not everywhere, not of a link, not of
/// groups, nor of this machine alone (RFC 4291 §2.4).
///
/// # Errors
/// With the reason, if it cannot.
pub fn is_for_subscribers(prefix: Ipv6Prefix) -> Result<(), String> {
    let special = [
        Ipv6Prefix::around(Ipv6Addr::UNSPECIFIED, 48),
        Ipv6Prefix::around(Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 0), 10),
        Ipv6Prefix::around(Ipv6Addr::new(0xFF00, 0, 0, 0, 0, 0, 0, 0), 8),
    ];
    if prefix.length() < 8 || special.iter().any(|special| special.overlaps(prefix)) {
        return Err(format!("no subscriber can have {prefix}"));
    }
    Ok(())
}

/// Whether a session's link can have this prefix: hosts make addresses of no other length
/// (RFC 4862 §5.5.3).
///
/// # Errors
/// With the reason, if it cannot.
pub fn is_for_links(prefix: Ipv6Prefix) -> Result<(), String> {
    is_for_subscribers(prefix)?;
    match prefix.length() {
        64 => Ok(()),
        length => Err(format!("{prefix}: a link's prefix has 64 bits, not {length}")),
    }
}

/// Whether this prefix can be delegated: a router cuts its links' out of it.
///
/// # Errors
/// With the reason, if it cannot.
pub fn is_for_routers(prefix: Ipv6Prefix) -> Result<(), String> {
    is_for_subscribers(prefix)?;
    match prefix.length() {
        ..=64 => Ok(()),
        length => Err(format!("{prefix}: a delegated prefix has at most 64 bits, not {length}")),
    }
}
