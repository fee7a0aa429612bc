//! BCP's options, and the header of bridged frames.
//!
//! Implements RFC 3518 §4 and §5 for Ethernet. Rejects what only token rings need and what is
//! obsolete; spanning trees' packets travel like any frame (Management-Inline). Learns no address.

use super::frame::Protocol;
use super::negotiation::{Judgement, Policy, Settlement};
use super::options::{Opt, OptionList, Options};

/// Option types (RFC 3518 §5).
pub mod option {
    /// MAC-Support: a kind of frames that its sender takes.
    pub const MAC_SUPPORT: u8 = 3;
    /// Tinygram-Compression.
    pub const TINYGRAM: u8 = 4;
    /// MAC-Address.
    pub const MAC_ADDRESS: u8 = 6;
    /// IEEE-802-Tagged-Frame.
    pub const TAGGED: u8 = 8;
    /// Management-Inline.
    pub const MANAGEMENT_INLINE: u8 = 9;
}

/// IEEE 802.3 with canonical addresses, as a MAC type.
const ETHERNET: u8 = 1;
/// Values of options that switch something.
const ENABLED: u8 = 1;
const DISABLED: u8 = 2;

/// The flags of the header (RFC 3518 §4.2): a check sequence follows the frame, its end of zeros
/// was left away; and how many octets of padding follow.
const CHECK_SEQUENCE: u8 = 0x80;
const TINYGRAM: u8 = 0x20;
const PADS: u8 = 0x0F;
/// Octets of an Ethernet header.
const ETHERNET_HEADER: usize = 14;
const CHECK_SEQUENCE_LEN: usize = 4;

/// What stands before a frame that we send: no flags, Ethernet.
pub const HEADER: [u8; 2] = [0, ETHERNET];

/// The Ethernet frame in a bridged packet. `None` if it is none that a peer of ours may send, or
/// not believable: its source has to be a single station's, and its length field true.
#[must_use]
pub fn parse(packet: &[u8]) -> Option<&[u8]> {
    let [flags, ETHERNET, rest @ ..] = packet else { return None };
    if flags & !(CHECK_SEQUENCE | TINYGRAM | PADS) != 0 {
        return None;
    }
    let check = if flags & CHECK_SEQUENCE != 0 { CHECK_SEQUENCE_LEN } else { 0 };
    let behind = usize::from(flags & PADS) + check;
    let frame = rest.get(..rest.len().checked_sub(behind)?)?;
    let (header, payload) = frame.split_first_chunk::<ETHERNET_HEADER>()?;
    let source = &header[6..12];
    if source[0] & 1 != 0 || source.iter().all(|octet| *octet == 0) {
        return None;
    }
    // IEEE 802.3: up to 1500 it is the payload's length, from 0x0600 on its protocol.
    match u16::from_be_bytes([header[12], header[13]]) {
        length @ 0..=1500 => usize::from(length) <= payload.len(),
        1501..0x0600 => false,
        _ => true,
    }
    .then_some(frame)
}

/// Whether an Ethernet frame has a VLAN tag, of a customer or a service.
#[must_use]
pub fn is_tagged(frame: &[u8]) -> bool {
    matches!(frame.get(12..14), Some([0x81, 0x00] | [0x88, 0xA8]))
}

/// State of BCP's options.
#[derive(Debug, Clone)]
pub(crate) struct Bcp {
    /// What we ask for, until it is rejected.
    mac_support: bool,
    tagged: bool,
    inline: bool,
    /// The peer takes frames with VLAN tags.
    peer_takes_tagged: bool,
}

impl Bcp {
    pub(crate) const fn new() -> Self {
        Self { mac_support: true, tagged: true, inline: true, peer_takes_tagged: false }
    }

    /// Whether the peer takes frames with VLAN tags.
    pub(crate) const fn peer_takes_tagged(&self) -> bool {
        self.peer_takes_tagged
    }
}

impl Policy for Bcp {
    const PROTOCOL: Protocol = Protocol::BCP;

    fn knows(_code: u8) -> bool {
        false
    }

    fn request(&self) -> OptionList {
        let mut options = OptionList::new();
        if self.mac_support {
            options.push(option::MAC_SUPPORT, &[ETHERNET]);
        }
        if self.tagged {
            options.push(option::TAGGED, &[ENABLED]);
        }
        if self.inline {
            options.push(option::MANAGEMENT_INLINE, &[]);
        }
        options
    }

    fn judge(&mut self, option: Opt<'_>) -> Judgement {
        match (option.kind, option.data) {
            // It says what its sender takes, and there may be several (RFC 3518 §5.3).
            (option::MAC_SUPPORT, [_])
            | (option::TINYGRAM | option::TAGGED, [ENABLED | DISABLED])
            | (option::MANAGEMENT_INLINE, []) => Judgement::Ack,
            (option::TINYGRAM | option::TAGGED, _) => Judgement::Nak(vec![DISABLED]),
            // Zeros ask for an address (RFC 3518 §5.6): ours to give are none.
            (option::MAC_ADDRESS, address) if address.len() == 6 && address != [0; 6] => {
                Judgement::Ack
            }
            _ => Judgement::Reject,
        }
    }

    fn missing(&self, _request: Options<'_>) -> OptionList {
        OptionList::new()
    }

    fn settle(&self, _unacceptable: bool) -> Settlement {
        Settlement::GiveIn
    }

    fn agreed(&mut self, request: Options<'_>) {
        let tagged = request.find(option::TAGGED);
        self.peer_takes_tagged = tagged.is_some_and(|tagged| tagged.data == [ENABLED]);
    }

    fn naked(&mut self, option: Opt<'_>) {
        self.rejected(option.kind);
    }

    fn rejected(&mut self, kind: u8) {
        match kind {
            option::MAC_SUPPORT => self.mac_support = false,
            option::TAGGED => self.tagged = false,
            option::MANAGEMENT_INLINE => self.inline = false,
            _ => {}
        }
    }

    fn is_hopeless(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ethernet(protocol: [u8; 2], payload: &[u8]) -> Vec<u8> {
        [&[0xFF; 6][..], &[2, 0, 0, 0, 0, 1], &protocol, payload].concat()
    }

    #[test]
    fn check_sequences_and_padding_are_left_out() {
        // RFC 3518 §4.2.
        let frame = ethernet([8, 0], &[1; 46]);
        for (flags, behind) in [(0, 0), (0x80, 4), (0x03, 3), (0x83, 7), (0x20, 0)] {
            let packet = [&[flags, 1], &frame[..], &vec![9; behind]].concat();
            assert_eq!(parse(&packet), Some(&frame[..]), "{flags:02x}");
        }
    }

    #[test]
    fn what_is_no_frame_of_ethernet_is_refused() {
        let frame = ethernet([8, 0], &[1; 46]);
        // LAN identification, control packets' indicator, other MACs, too much padding.
        for header in [[0x40, 1], [0x10, 1], [0, 3], [0, 0]] {
            assert_eq!(parse(&[&header, &frame[..]].concat()), None, "{header:02x?}");
        }
        assert_eq!(parse(&[&[0x8F, 1], &frame[..20]].concat()), None);
        let mut group = frame.clone();
        group[6] |= 1;
        assert_eq!(parse(&[&HEADER, &group[..]].concat()), None);
        // A spanning tree's packet has a length, and it is true.
        assert!(parse(&[&HEADER, &ethernet([0, 38], &[0x42; 46])[..]].concat()).is_some());
        assert_eq!(parse(&[&HEADER, &ethernet([0, 47], &[0x42; 46])[..]].concat()), None);
        assert_eq!(parse(&[&HEADER, &ethernet([5, 0xFF], &[0; 46])[..]].concat()), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Some(frame) = parse(&bytes) {
                prop_assert!(frame.len() >= ETHERNET_HEADER && frame.len() + 2 <= bytes.len());
            }
        }

        #[test]
        fn what_is_sent_is_read(payload in prop::collection::vec(any::<u8>(), 0..1600)) {
            let frame = ethernet([0x81, 0], &payload);
            prop_assert!(is_tagged(&frame));
            let packet = [&HEADER, &frame[..]].concat();
            prop_assert_eq!(parse(&packet), Some(&frame[..]));
        }
    }
}
