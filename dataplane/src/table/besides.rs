//! Sequence numbers that a peer used for what is no data packet by itself: what is missing there was
//! not lost.
//!
//! Knows the newest few only, each once: anyone can forge a clear frame, and none hides more than the
//! one number that it has.

/// Numbers that are known: those of a login's last frames, or of a packet's fragments.
const KNOWN: usize = 16;

/// The newest of them.
#[derive(Debug, Default)]
pub(super) struct Besides {
    numbers: [u32; KNOWN],
    /// How many were ever noted; wraps.
    noted: usize,
}

impl Besides {
    /// Takes a number in. `false` if it is known already.
    pub(super) fn note(&mut self, number: u32) -> bool {
        if self.knows(number) {
            return false;
        }
        self.numbers[self.noted % KNOWN] = number;
        self.noted = self.noted.wrapping_add(1);
        true
    }

    pub(super) fn knows(&self, number: u32) -> bool {
        self.numbers().any(|known| known == number)
    }

    /// How many of the `gap` numbers before this one are known.
    pub(super) fn among(&self, gap: u32, before: u32) -> u32 {
        let known = self.numbers().filter(|&known| (1..=gap).contains(&before.wrapping_sub(known)));
        known.fold(0, |count, _| count + 1)
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.numbers.iter().copied().take(self.noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_once_and_only_where_it_lies() {
        let mut besides = Besides::default();
        assert_eq!((besides.knows(0), besides.among(u32::MAX, 5)), (false, 0));
        assert!(besides.note(u32::MAX) && besides.note(1) && !besides.note(1));
        assert_eq!(besides.among(3, 2), 2, "2^32 - 1 to 1");
        assert_eq!(besides.among(1, 2), 1);
        assert_eq!(besides.among(0, 2), 0);
        assert_eq!(besides.among(9, 1), 1, "nor is it before itself");
        for number in 10..26 {
            assert!(besides.note(number));
        }
        assert!(!besides.knows(1) && besides.knows(10));
        assert_eq!(besides.among(1000, 1000), 16);
    }
}
