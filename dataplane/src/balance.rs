//! Who should have which tunnel: what workers wish, weighed against how busy they are.
//!
//! A tunnel's packets cost least where they arrive, and a worker that is overloaded loses them, so
//! the second counts for more. Decides twice a second and never lets a tunnel move to and fro. Moves
//! nothing itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;

use crate::api::TunnelId;
use crate::mailbox::Shed;

/// How often it is decided.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);
/// Wishes that are heard in that time.
const WISHES: usize = 1024;
/// The part of its time from which on a worker has too much to do…
const TOO_MUCH: f64 = 0.9;
/// …if another one has so much less…
const LESS: f64 = 0.2;
/// …and up to which a worker takes tunnels.
const TAKES: f64 = 0.7;
/// A tunnel that has moved stays for so long.
const STAYS: Duration = Duration::from_secs(10);

/// That a tunnel were another worker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) tunnel: TunnelId,
    pub(crate) to: u16,
    pub(crate) why: Why,
}

/// Why a tunnel should move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its packets arrive there.
    Arrives,
    /// Its worker has too much to do.
    TooMuch,
}

/// The wishes of all workers.
pub(crate) type Wishes = ArrayQueue<Wish>;

pub(crate) fn wishes() -> Wishes {
    ArrayQueue::new(WISHES)
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Advice {
    Move(Wish),
    /// A worker is to say what it could do without.
    Shed {
        worker: u16,
        order: Shed,
    },
}

/// Remembers what has moved.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    moved: HashMap<TunnelId, Instant>,
}

impl Balancer {
    /// What to do with these wishes. `busy` is the part of its time that each worker has worked.
    pub(crate) fn advise(
        &mut self,
        busy: &[f64],
        wishes: impl Iterator<Item = Wish>,
        now: Instant,
    ) -> Vec<Advice> {
        self.moved.retain(|_, moved| now.duration_since(*moved) < STAYS);
        let takes = |to: u16| busy.get(usize::from(to)).is_some_and(|&busy| busy <= TAKES);
        let mut advice = Vec::new();
        for wish in wishes.filter(|wish| takes(wish.to)) {
            self.moved.entry(wish.tunnel).or_insert_with(|| {
                advice.push(Advice::Move(wish));
                now
            });
        }
        advice.extend(shed(busy));
        advice
    }
}

/// The busiest worker gives to the one with the least to do, so that both have as much.
fn shed(busy: &[f64]) -> Option<Advice> {
    let numbered = || (0_u16..).zip(busy.iter().copied());
    let (worker, most) = numbered().max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let (to, least) = numbered().min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    if most < TOO_MUCH || most - least < LESS || least > TAKES {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 50")]
    let percent = ((most - least) / 2.0 / most * 100.0) as u32;
    Some(Advice::Shed { worker, order: Shed { to, percent } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(slot: u32, to: u16, why: Why) -> Wish {
        Wish { tunnel: TunnelId { slot, generation: 0 }, to, why }
    }

    #[test]
    fn a_tunnel_goes_to_whoever_has_time_and_then_stays_for_a_while() {
        let mut balancer = Balancer::default();
        let now = Instant::now();
        let there = wish(1, 1, Why::Arrives);
        let advise = |balancer: &mut Balancer, busy: &[f64], wish, now| {
            balancer.advise(busy, std::iter::once(wish), now)
        };
        assert_eq!(advise(&mut balancer, &[0.5, 0.8], there, now), [], "it has no time");
        assert_eq!(advise(&mut balancer, &[0.5, 0.1], there, now), [Advice::Move(there)]);
        let back = wish(1, 0, Why::TooMuch);
        assert_eq!(advise(&mut balancer, &[0.1, 0.5], back, now + STAYS / 2), []);
        let later = advise(&mut balancer, &[0.1, 0.5], back, now + STAYS);
        assert_eq!(later, [Advice::Move(back)]);
        assert_eq!(advise(&mut balancer, &[0.1], wish(2, 9, Why::Arrives), now), [], "nobody");
    }

    #[test]
    fn a_worker_that_has_too_much_gives_half_of_the_difference() {
        let shed =
            |busy: &[f64]| Balancer::default().advise(busy, std::iter::empty(), Instant::now());
        assert_eq!(shed(&[0.89, 0.0]), [], "it is not overloaded");
        assert_eq!(shed(&[1.0, 0.95]), [], "nobody has less to do");
        assert_eq!(shed(&[1.0, 0.75, 0.8]), [], "nor time for more");
        let order = Shed { to: 1, percent: 50 };
        assert_eq!(shed(&[0.3, 0.0, 1.0]), [Advice::Shed { worker: 2, order }]);
        let order = Shed { to: 0, percent: 20 };
        assert_eq!(shed(&[0.6, 1.0]), [Advice::Shed { worker: 1, order }]);
    }
}
