//! VLAN tags of a frame, and which of them name a port.
//!
//! IEEE 802.1Q (customer tags) and what was 802.1ad (service tags). Knows no priorities: a tag is its
//! kind and its VLAN ID. A frame has two at most here; more are the kernel's business.

use std::fmt;
use std::str::FromStr;

/// What announces a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagKind {
    /// Ethertype 0x8100.
    Customer,
    /// Ethertype 0x88A8.
    Service,
}

/// A VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// What announces it.
    pub kind: TagKind,
    /// VLAN ID, 1 to 4094.
    pub id: u16,
}

impl Tag {
    /// As keys of ports have it (`TAG_*`).
    pub(crate) fn bits(&self) -> u16 {
        let kind = match self.kind {
            TagKind::Customer => 0x1000,
            TagKind::Service => 0x2000,
        };
        kind | self.id & 0x0FFF
    }

    /// The ethertype that announces it.
    #[must_use]
    pub const fn ethertype(self) -> u16 {
        match self.kind {
            TagKind::Customer => 0x8100,
            TagKind::Service => 0x88A8,
        }
    }
}

/// The tags of a frame, outermost first: none, one or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Tags {
    /// No tag.
    #[default]
    None,
    /// One.
    One([Tag; 1]),
    /// Two (QinQ).
    Two([Tag; 2]),
}

/// Why there are no such tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagsError {
    /// Not of the form.
    #[error(
        "`{0}` is no VLAN: write \"100\", or \"100.200\" for VLAN 200 inside of service VLAN 100"
    )]
    Form(String),
    /// An ID that no VLAN has.
    #[error("VLAN IDs go from 1 to 4094, not {0}")]
    Id(u16),
}

impl Tags {
    /// The tags, outermost first.
    #[must_use]
    pub const fn as_slice(&self) -> &[Tag] {
        match self {
            Self::None => &[],
            Self::One(tags) => tags,
            Self::Two(tags) => tags,
        }
    }

    /// With another tag inside of all others. `None` if there are two already.
    #[must_use]
    pub const fn with(self, tag: Tag) -> Option<Self> {
        match self {
            Self::None => Some(Self::One([tag])),
            Self::One([outer]) => Some(Self::Two([outer, tag])),
            Self::Two(_) => None,
        }
    }
}

impl fmt::Display for Tags {
    /// IDs, outermost first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, tag) in self.as_slice().iter().enumerate() {
            let dot = if at > 0 { "." } else { "" };
            write!(f, "{dot}{}", tag.id)?;
        }
        Ok(())
    }
}

impl FromStr for Tags {
    type Err = TagsError;

    /// `100` is a customer tag; of two, as in `100.200`, the first is a service tag.
    fn from_str(text: &str) -> Result<Self, TagsError> {
        let id = |text: &str| {
            let id = text.parse().map_err(|_| TagsError::Form(text.to_owned()))?;
            if (1..4095).contains(&id) { Ok(id) } else { Err(TagsError::Id(id)) }
        };
        let customer = |text| Ok(Tag { kind: TagKind::Customer, id: id(text)? });
        match text.split_once('.') {
            None => Ok(Self::One([customer(text)?])),
            Some((outer, inner)) => {
                let outer = Tag { kind: TagKind::Service, id: id(outer)? };
                Ok(Self::Two([outer, customer(inner)?]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_a_vlan_and_two_are_one_inside_of_a_service_vlan() {
        let customer = |id| Tag { kind: TagKind::Customer, id };
        assert_eq!("7".parse(), Ok(Tags::One([customer(7)])));
        let outer = Tag { kind: TagKind::Service, id: 100 };
        let two = Tags::Two([outer, customer(200)]);
        assert_eq!("100.200".parse(), Ok(two));
        assert_eq!(two.to_string(), "100.200");
        assert_eq!(Tags::None.with(outer).and_then(|one| one.with(customer(200))), Some(two));
        assert_eq!(two.with(outer), None);
        for (text, said) in [
            ("", "`` is no VLAN"),
            ("eth0", "`eth0` is no VLAN"),
            ("1.2.3", "`2.3` is no VLAN"),
            ("0", "not 0"),
            ("100.4095", "not 4095"),
        ] {
            let error = text.parse::<Tags>().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
