//! Which Call IDs are in use: tunnels of several peers may have the same one (RFC 2637 §4.1 names a
//! tunnel by peer and Call ID), so they are counted here and the program sees one bit for each.
//! Never touches a map itself.

use crate::layout::CALL_ID_WORDS;

/// Tunnels per Call ID.
pub(crate) struct CallIds(Vec<u32>);

/// A word of the bitmap, to be written to the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) index: u32,
    pub(crate) bits: u64,
}

impl CallIds {
    pub(crate) fn new() -> Self {
        Self(vec![0; CALL_ID_WORDS * 64])
    }

    /// One more tunnel has this Call ID. The word that changed, if one did.
    pub(crate) fn take(&mut self, call_id: u16) -> Option<Word> {
        let tunnels = &mut self.0[usize::from(call_id)];
        *tunnels += 1;
        (*tunnels == 1).then(|| self.word(call_id))
    }

    /// One tunnel less has this Call ID. The word that changed, if one did.
    pub(crate) fn release(&mut self, call_id: u16) -> Option<Word> {
        let tunnels = &mut self.0[usize::from(call_id)];
        *tunnels = tunnels.saturating_sub(1);
        (*tunnels == 0).then(|| self.word(call_id))
    }

    fn word(&self, call_id: u16) -> Word {
        let index = call_id / 64;
        let first = usize::from(index) * 64;
        let bits = self.0[first..first + 64]
            .iter()
            .enumerate()
            .fold(0, |bits, (bit, tunnels)| bits | u64::from(*tunnels > 0) << bit);
        Word { index: index.into(), bits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_set_while_any_tunnel_has_the_call_id() {
        let mut call_ids = CallIds::new();
        assert_eq!(call_ids.take(0x0102), Some(Word { index: 4, bits: 0b100 }));
        assert_eq!(call_ids.take(0x0102), None);
        assert_eq!(call_ids.take(0x0100), Some(Word { index: 4, bits: 0b101 }));
        assert_eq!(call_ids.release(0x0102), None);
        assert_eq!(call_ids.release(0x0102), Some(Word { index: 4, bits: 0b001 }));
        assert_eq!(call_ids.take(0xFFFF), Some(Word { index: 1023, bits: 1 << 63 }));
    }
}
