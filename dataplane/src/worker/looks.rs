//! When a worker looks at its sockets: the raw one, the TUN and the devices of tunnels.
//!
//! A look is a system call. A worker that has rings takes its packets from there, and what comes by
//! sockets beside them is little: it looks in every turn while they bring something and when it was
//! asleep, and otherwise only so often. Never puts off a look of a worker that has sockets alone.

use std::time::Duration;

use protocol::time::Instant;

/// The longest time between two looks of a worker that does not sleep: what packets of the kernel may
/// wait for longer than those of rings.
const PAUSE: Duration = Duration::from_micros(100);

/// When to look next.
#[derive(Debug)]
pub(super) struct Looks {
    has_rings: bool,
    next: Instant,
}

impl Looks {
    pub(super) const fn new(has_rings: bool) -> Self {
        Self { has_rings, next: Instant::ORIGIN }
    }

    /// Whether to look in the turn that begins. That is a look.
    #[inline]
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if !self.has_rings {
            return true;
        }
        let is_due = self.next <= now;
        if is_due {
            self.next = now + PAUSE;
        }
        is_due
    }

    /// There is something, or there may be: the next turn looks.
    #[inline]
    pub(super) const fn soon(&mut self) {
        self.next = Instant::ORIGIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_beside_rings_are_looked_at_now_and_then_or_while_they_bring_something() {
        let at = Instant::from_micros;
        let mut looks = Looks::new(true);
        assert!(looks.is_due(at(1000)));
        assert!(!looks.is_due(at(1000)) && !looks.is_due(at(1099)));
        assert!(looks.is_due(at(1100)));
        looks.soon();
        assert!(looks.is_due(at(1101)));
        assert!(!looks.is_due(at(1200)) && looks.is_due(at(1201)));
        let mut alone = Looks::new(false);
        assert!(alone.is_due(at(1000)) && alone.is_due(at(1000)));
    }
}
