//! Ethernet as far as a worker needs it: off on the way in, on by the way out.
//!
//! IEEE 802.3 type-encoded frames that carry IP, behind two VLAN tags at most (IEEE 802.1Q).
//! Knows no priorities: what we send has none.

use ebpf::{Tag, TagKind, Tags};

use crate::frame::Frame;

/// Octets of a header without tags.
pub(crate) const HEADER_LEN: usize = 14;
/// Where the first ethertype stands.
const TYPE: usize = 12;
/// Octets of a tag.
const TAG_LEN: usize = 4;
/// Octets of the longest header.
pub(crate) const MAX_HEADER_LEN: usize = HEADER_LEN + 2 * TAG_LEN;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ethertype([u8; 2]);

impl Ethertype {
    /// RFC 894.
    pub(crate) const IPV4: Self = Self([0x08, 0x00]);
    /// RFC 2464 §3.
    pub(crate) const IPV6: Self = Self([0x86, 0xDD]);

    fn is_ip(self) -> bool {
        self == Self::IPV4 || self == Self::IPV6
    }
}

/// Takes the Ethernet header off. `false`, and the frame as it was, if it has tags or does not
/// carry IP.
#[inline]
pub(crate) fn strip(frame: &mut Frame) -> bool {
    let carries_ip = frame
        .data()
        .first_chunk::<HEADER_LEN>()
        .is_some_and(|&[.., high, low]| Ethertype([high, low]).is_ip());
    carries_ip && frame.pull_front(HEADER_LEN)
}

/// Takes the Ethernet header and all tags off. `None`, and the frame as it was, if it does not
/// carry IP or has more than two tags.
pub(crate) fn strip_tagged(frame: &mut Frame) -> Option<Tags> {
    let mut tags = Tags::None;
    let mut rest = frame.data().get(TYPE..)?;
    loop {
        let (ethertype, behind) = rest.split_first_chunk::<2>()?;
        let kind = match u16::from_be_bytes(*ethertype) {
            0x8100 => TagKind::Customer,
            0x88A8 => TagKind::Service,
            _ if Ethertype(*ethertype).is_ip() => break,
            _ => return None,
        };
        let (control, next) = behind.split_first_chunk::<2>()?;
        tags = tags.with(Tag { kind, id: u16::from_be_bytes(*control) & 0x0FFF })?;
        rest = next;
    }
    frame.pull_front(HEADER_LEN + tags.as_slice().len() * TAG_LEN).then_some(tags)
}

/// The addresses of a header: the receiver's MAC, then the sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends(pub(crate) [u8; TYPE]);

impl Ends {
    pub(crate) fn new(to: [u8; 6], from: [u8; 6]) -> Self {
        let mut ends = [0; TYPE];
        ends[..6].copy_from_slice(&to);
        ends[6..].copy_from_slice(&from);
        Self(ends)
    }

    /// The header without tags.
    #[inline]
    pub(crate) fn header(&self, carried: Ethertype) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..TYPE].copy_from_slice(&self.0);
        header[TYPE..].copy_from_slice(&carried.0);
        header
    }
}

/// Puts an Ethernet header without tags on. `false` if there is no room.
#[inline]
pub(crate) fn add(frame: &mut Frame, ends: &Ends, carried: Ethertype) -> bool {
    frame.push_front_array(&ends.header(carried))
}

/// Puts an Ethernet header with these tags on. `false` if there is no room.
pub(crate) fn add_tagged(frame: &mut Frame, ends: &Ends, tags: &[Tag], carried: Ethertype) -> bool {
    let Some(header) = frame.push_front(HEADER_LEN + tags.len() * TAG_LEN) else { return false };
    let (addresses, mut rest) = header.split_at_mut(TYPE);
    addresses.copy_from_slice(&ends.0);
    for tag in tags {
        let (octets, next) = rest.split_at_mut(TAG_LEN);
        octets[..2].copy_from_slice(&tag.ethertype().to_be_bytes());
        octets[2..].copy_from_slice(&tag.id.to_be_bytes());
        rest = next;
    }
    rest.copy_from_slice(&carried.0);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Pool, Region};

    #[test]
    fn tags_are_announced_by_their_ethertypes() {
        let mut frame = Pool::new(Region::new(64).unwrap(), 64).take().unwrap();
        assert!(frame.fill(&[0x45]));
        let tags: Tags = "4094.7".parse().unwrap();
        let ends = Ends::new([1; 6], [2; 6]);
        assert!(add_tagged(&mut frame, &ends, tags.as_slice(), Ethertype::IPV4));
        let header = [0x88, 0xA8, 0x0F, 0xFE, 0x81, 0x00, 0x00, 0x07, 0x08, 0x00];
        assert_eq!(frame.data(), [&[1; 6][..], &[2; 6], &header, &[0x45]].concat());
    }

    proptest! {
        #[test]
        fn what_is_put_on_comes_off(
            kinds in proptest::collection::vec((any::<bool>(), 0_u16..4096, 0_u16..16), 0..4),
            payload in proptest::collection::vec(any::<u8>(), 0..64),
            cut in proptest::option::of(0_usize..30),
            carried in prop_oneof![Just(Ethertype::IPV4), Just(Ethertype::IPV6)],
        ) {
            let mut frame = Pool::new(Region::new(64).unwrap(), 64).take().unwrap();
            let mut octets = vec![0; TYPE];
            let mut tags = Some(Tags::None);
            for (is_service, id, priority) in kinds {
                let kind = if is_service { TagKind::Service } else { TagKind::Customer };
                let tag = Tag { kind, id };
                octets.extend(tag.ethertype().to_be_bytes());
                octets.extend((priority << 12 | id).to_be_bytes());
                tags = tags.and_then(|tags| tags.with(tag));
            }
            octets.extend(carried.0);
            let header = octets.len();
            octets.extend(&payload);
            octets.truncate(cut.unwrap_or(usize::MAX));
            prop_assert!(frame.fill(&octets));
            if octets.len() < header {
                tags = None;
            }
            prop_assert_eq!(strip_tagged(&mut frame), tags);
            let Some(tags) = tags else {
                prop_assert_eq!(frame.data(), &octets[..]);
                return Ok(());
            };
            let payload = &octets[header..];
            prop_assert_eq!(frame.data(), payload);
            let ends = Ends::new([1; 6], [2; 6]);
            let fits = match tags {
                Tags::None => add(&mut frame, &ends, carried),
                _ => add_tagged(&mut frame, &ends, tags.as_slice(), carried),
            };
            prop_assert!(fits);
            prop_assert_eq!(strip_tagged(&mut frame), Some(tags));
            prop_assert_eq!(frame.data(), payload);
        }
    }
}
