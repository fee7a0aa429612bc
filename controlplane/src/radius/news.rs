//! What operators read of servers: when one falls silent, comes back, or cannot be believed.
//!
//! A fault that comes with each packet is told once a minute, with how often it happened.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::radius::client::Ignored;
use tracing::{error, info, warn};

/// How often the same fault of the same server is told.
const PAUSE: Duration = Duration::from_secs(60);

/// Remembers what was told of one server.
#[derive(Debug, Default)]
pub(super) struct News {
    refused: bool,
    warned_unprotected: bool,
    unprotected: Quiet,
    ignored: Quiet,
    unsent: Quiet,
}

/// Counts what is not told.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    told: Option<Instant>,
    since: u64,
}

impl Quiet {
    /// How often it happened since it was told, if it is to be told again.
    pub(super) fn speak(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.told.is_some_and(|told| now - told < PAUSE) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

impl News {
    pub(super) fn dead(server: SocketAddr) {
        warn!(
            %server,
            "RADIUS server does not answer; others are asked, if there are any. Check that it \
             runs, that UDP passes, and that it knows our address as a client with this secret: \
             a server ignores strangers"
        );
    }

    pub(super) fn alive(&mut self, server: SocketAddr) {
        self.refused = false;
        info!(%server, "RADIUS server answers again");
    }

    pub(super) fn refused(&mut self, server: SocketAddr, error: &io::Error) {
        if std::mem::replace(&mut self.refused, true) {
            return;
        }
        if error.kind() == io::ErrorKind::ConnectionRefused {
            warn!(%server, "nothing listens at the RADIUS server's port: is it running?");
        } else {
            warn!(%server, %error, "the RADIUS server cannot be reached");
        }
    }

    pub(super) fn unprotected(&mut self, server: SocketAddr, refused: bool) {
        if refused {
            if let Some(times) = self.unprotected.speak(Instant::now()) {
                error!(
                    %server,
                    times,
                    "RADIUS answer refused: it has no Message-Authenticator, so that anybody on \
                     the path could have made it (CVE-2024-3596). On the server: FreeRADIUS from \
                     3.2.5 on sends one by itself; before, put `update reply {{ \
                     Message-Authenticator := 0x00 }}` into `post-auth` and `Post-Auth-Type \
                     REJECT`. Or here, at your own risk: `require-message-authenticator = false` \
                     for this [[radius]]"
                );
            }
        } else if !std::mem::replace(&mut self.warned_unprotected, true) {
            warn!(
                %server,
                "RADIUS server sends no Message-Authenticator: anybody on the path can turn its \
                 refusals into acceptances (CVE-2024-3596). Update the server, then set \
                 `require-message-authenticator = true`"
            );
        }
    }

    pub(super) fn ignored(&mut self, server: SocketAddr, reason: Ignored) {
        if matches!(reason, Ignored::Unexpected) {
            return;
        }
        if let Some(times) = self.ignored.speak(Instant::now()) {
            warn!(%server, %reason, times, "RADIUS answer ignored");
        }
    }

    pub(super) fn unsent(&mut self, server: SocketAddr, error: &io::Error) {
        if let Some(times) = self.unsent.speak(Instant::now()) {
            warn!(%server, %error, times, "cannot send to the RADIUS server");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_once_a_minute_with_its_number() {
        let mut quiet = Quiet::default();
        let start = Instant::now();
        assert_eq!(quiet.speak(start), Some(1));
        for second in 1..60 {
            assert_eq!(quiet.speak(start + Duration::from_secs(second)), None);
        }
        assert_eq!(quiet.speak(start + PAUSE), Some(60));
    }
}
