//! Address ranges as prefixes, which is what kernels and packet paths route by.
//!
//! Exactly the addresses of the range, by as few prefixes as possible.

use std::net::Ipv4Addr;

use super::AddressRange;

impl AddressRange {
    /// Network addresses and prefix lengths, ascending; at most 62 of them.
    #[must_use]
    pub fn prefixes(&self) -> Vec<(Ipv4Addr, u8)> {
        let mut prefixes = Vec::new();
        let end = u64::from(self.last.to_bits()) + 1;
        let mut next = u64::from(self.first.to_bits());
        while next < end {
            // The largest block that begins here and does not reach beyond the end.
            let aligned = next.trailing_zeros().min(32);
            let fits = (end - next).ilog2();
            let bits = aligned.min(fits);
            let address = u32::try_from(next).unwrap_or(u32::MAX);
            let length = u8::try_from(32 - bits).unwrap_or(0);
            prefixes.push((Ipv4Addr::from_bits(address), length));
            next += 1 << bits;
        }
        prefixes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prefixes_are_exactly_the_range(first: u32, more in 0_u32..1 << 20) {
            let last = first.saturating_add(more);
            let range = AddressRange { first: first.into(), last: last.into() };
            let prefixes = range.prefixes();
            prop_assert!(prefixes.len() <= 62);
            let mut next = u64::from(first);
            for (address, length) in prefixes {
                prop_assert_eq!(u64::from(address.to_bits()), next);
                let size = 1_u64 << (32 - length);
                prop_assert_eq!(next % size, 0);
                next += size;
            }
            prop_assert_eq!(next, u64::from(last) + 1);
        }
    }
}
