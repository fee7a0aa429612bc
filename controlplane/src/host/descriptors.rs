//! How many files this process may have open, and how many connections that is.
//!
//! A control connection is a descriptor, from the moment that it is accepted until its last call has
//! ended, and a bridged session's device is one more. Without descriptors nobody is accepted any
//! more, so the limit is compared with `[limits]` beforehand. Never lowers a limit.

use std::fmt;
use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::may;
use crate::config::Config;

/// What is open beside connections: sockets and rings of the data plane, databases, the control
/// socket and who uses it.
const BESIDE: u64 = 512;

/// A hook that runs: its two outputs, and itself.
const OF_A_HOOK: u64 = 3;

/// Requests that a source port to a RADIUS server can have on their way (RFC 2865 §3: an octet tells
/// them apart), once for logins and once for accounts.
const REQUESTS_OF_A_PORT: u32 = 256;

/// Each client has a control connection, and a device of its own.
const OF_A_CLIENT: u64 = 2;

/// The bit of CAP_SYS_RESOURCE, which raises limits (capability.h).
const CAP_SYS_RESOURCE: u32 = 24;

/// The limit, and what the configuration wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// Files that may be open.
    limit: u64,
    /// Connections without a session (`max-half-open`); 0 is no limit.
    half_open: u64,
    /// Sessions (`max-sessions`); 0 is no limit.
    sessions: u64,
    /// What one session has open.
    each: u64,
    /// What is open anyhow.
    beside: u64,
}

impl Descriptors {
    /// With the limit that a daemon of this configuration has when it is started as we were.
    #[must_use]
    pub fn attainable(config: &Config) -> Self {
        let wanted = Self::new(config, 0);
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
        let limit = if may(CAP_SYS_RESOURCE) {
            hard.max(wanted.needed().min(most_of_a_process()))
        } else {
            hard
        };
        Self { limit, ..wanted }
    }

    /// Raises this process's limit as far as it is of use and permitted, and gives what it is then.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn raise(config: &Config) -> io::Result<Self> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let limit = Self::attainable(config).limit;
        setrlimit(Resource::RLIMIT_NOFILE, limit, limit.max(hard))?;
        Ok(Self::new(config, limit))
    }

    fn new(config: &Config, limit: u64) -> Self {
        let is_bridged = config.profile.iter().any(|profile| {
            config.resolve(&profile.name).is_some_and(|resolved| resolved.bridge.is_some())
        });
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let ports = |in_flight: u32| 2 * u64::from(in_flight.div_ceil(REQUESTS_OF_A_PORT));
        let has_hooks = config.hooks.programs().next().is_some();
        let hooks = if has_hooks { OF_A_HOOK * u64::from(config.hooks.max_running) } else { 0 };
        let beside = [
            BESIDE,
            hooks,
            config.radius.iter().map(|server| ports(server.max_in_flight)).sum(),
            count(config.client.len()).saturating_mul(OF_A_CLIENT),
            count(config.binding.len()),
        ];
        Self {
            limit,
            half_open: config.limits.max_half_open.into(),
            sessions: config.limits.max_sessions.into(),
            each: if is_bridged { 2 } else { 1 },
            beside: beside.into_iter().fold(0, u64::saturating_add),
        }
    }

    /// What the configuration permits to be open at once, as far as it has limits.
    const fn needed(&self) -> u64 {
        let sessions = self.sessions.saturating_mul(self.each);
        self.half_open.saturating_add(sessions).saturating_add(self.beside)
    }

    /// Whether all fit that `[limits]` permits. Where it has no limit there is nothing to compare.
    #[must_use]
    pub const fn suffice(&self) -> bool {
        self.needed() <= self.limit
    }
}

impl fmt::Display for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, half_open, sessions, each, .. } = self;
        if self.suffice() {
            let left = (limit - self.needed() + sessions * each) / each;
            return write!(
                f,
                "descriptors: {limit}, room for {left} sessions beside `max-half-open` ({half_open})"
            );
        }
        write!(
            f,
            "descriptors: {limit} are too few for `max-half-open` ({half_open}) and `max-sessions` \
             ({sessions}), which need {}: beyond them nobody is accepted. Raise the limit (`ulimit \
             -Hn`, `LimitNOFILE=` of the unit), or lower those two",
            self.needed()
        )
    }
}

/// The kernel's own limit for the limit.
fn most_of_a_process() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(settings: &str, limit: u64) -> Descriptors {
        Descriptors::new(&Config::parse(settings).unwrap(), limit)
    }

    #[test]
    fn a_limit_below_what_limits_permit_is_too_low() {
        let settings = "[limits]\nmax-half-open = 100\nmax-sessions = 5000\n";
        assert!(judged(settings, 100 + 5000 + BESIDE).suffice());
        let few = judged(settings, 100 + 5000 + BESIDE - 1);
        assert!(!few.suffice());
        insta::assert_snapshot!(few, @"descriptors: 5611 are too few for `max-half-open` (100) and `max-sessions` (5000), which need 5612: beyond them nobody is accepted. Raise the limit (`ulimit -Hn`, `LimitNOFILE=` of the unit), or lower those two");
    }

    #[test]
    fn without_a_limit_of_sessions_it_is_said_how_many_find_room() {
        let enough = judged("[limits]\nmax-half-open = 1000\n", 20_000);
        assert!(enough.suffice());
        insta::assert_snapshot!(enough, @"descriptors: 20000, room for 18488 sessions beside `max-half-open` (1000)");
        assert!(!judged("", 20_000).suffice(), "30,000 half open are the default");
    }

    #[test]
    fn bridged_sessions_clients_radius_and_hooks_have_descriptors_of_their_own() {
        let bare = judged("[limits]\nmax-sessions = 1000\n", 0).needed();
        let settings = "[limits]\nmax-sessions = 1000\n\
            [[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\nbridge = \"br0\"\n\
            [[binding]]\nname = \"pptp-in1\"\nuser = \"ivan\"\n\
            [[client]]\nname = \"pptp-out1\"\nconnect-to = \"s\"\nuser = \"u\"\n\
            [[radius]]\naddress = \"192.0.2.10\"\nsecret = \"s\"\nmax-in-flight = 257\n\
            [hooks]\nup = \"/bin/true\"\nmax-running = 5\n";
        let more = 1000 + 1 + OF_A_CLIENT + 2 * 2 + 5 * OF_A_HOOK;
        assert_eq!(judged(settings, 0).needed(), bare + more);
    }

    #[test]
    fn raising_never_lowers() {
        let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let raised = Descriptors::raise(&Config::default()).unwrap();
        let after = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(after.0 >= before.1 && after.1 >= before.1, "{before:?} {after:?}");
        assert_eq!(after.0, raised.limit);
    }
}
