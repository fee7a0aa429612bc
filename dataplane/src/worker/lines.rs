//! What a port's frames are for: each line is an interface of the kernel, whose addresses, routes and
//! neighbours count, and the VLAN tags by which its frames pass the port.
//!
//! Never looks at a frame.

use ebpf::Tags;

use crate::api::Role;

/// An interface of the kernel as its frames pass a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The tags of its frames, outermost first.
    pub tags: Tags,
    /// The interface's index: the port's own, or that of a VLAN or a bond above it.
    pub ifindex: u32,
    /// What comes in by it.
    pub role: Role,
}

/// All lines of a port.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    pub(crate) fn new(lines: Vec<Line>) -> Self {
        Self(lines)
    }

    /// The role of all frames, if none of them has tags.
    #[inline]
    pub(crate) fn untagged(&self) -> Option<Role> {
        match *self.0.as_slice() {
            [Line { tags: Tags::None, role, .. }] => Some(role),
            _ => None,
        }
    }

    /// The role of frames with these tags.
    pub(crate) fn role(&self, tags: Tags) -> Option<Role> {
        self.0.iter().find(|line| line.tags == tags).map(|line| line.role)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }
}
