//! What a NIC must not do to frames before we see them, and over which of its queues it spreads them:
//! asked and told by ethtool (linux/ethtool.h).
//!
//! Changes nothing but the features that are named here, where they are on, and the queues that RSS
//! may choose, where not all are driven.

use std::io;
use std::os::fd::AsRawFd;

use super::sys::{control_socket, interface_request};

const GET_SET_INFO: u32 = 0x37;
const GET_STRINGS: u32 = 0x1b;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
const GET_INDIRECTION: u32 = 0x38;
const SET_INDIRECTION: u32 = 0x39;
/// The set of strings that names features.
const FEATURE_NAMES: u32 = 4;
/// Octets of a name, and words.
const NAME_LEN: usize = 32;
const NAME_WORDS: usize = NAME_LEN / 4;
/// Words of a block of 32 features as it is told: available, requested, active, never changed.
const BLOCK: usize = 4;
/// Words before the blocks, or the queues: command and how many there are.
const HEAD: usize = 2;

/// A feature, and what goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Feature {
    name: &'static str,
    harm: &'static str,
    /// It does no harm to a port that carries no VLANs.
    only_to_vlans: bool,
}

const FEATURES: [Feature; 3] = [
    // Packets would be merged before XDP sees them, or the kernel refuses XDP.
    Feature {
        name: "rx-lro",
        harm: "packets of subscribers would be merged",
        only_to_vlans: false,
    },
    // Tags would be gone before XDP sees them.
    Feature {
        name: "rx-vlan-hw-parse",
        harm: "frames of VLANs look as if they had no tag",
        only_to_vlans: true,
    },
    Feature {
        name: "rx-vlan-stag-hw-parse",
        harm: "frames of service VLANs look as if they had no tag",
        only_to_vlans: true,
    },
];

/// Why a NIC cannot be used as it is, or not as one would like.
#[derive(Debug, thiserror::Error)]
pub enum NicError {
    /// It does not tell or does not obey.
    #[error("asking {interface} what it does to frames: {source}")]
    Ask {
        /// The interface.
        interface: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A feature cannot be switched off.
    #[error("{interface} does not switch `{feature}` off, and with it {harm}")]
    Stuck {
        /// The interface.
        interface: String,
        /// As `ethtool -k` has it.
        feature: &'static str,
        /// What it does.
        harm: &'static str,
    },
    /// It does not say which queues RSS uses.
    #[error(
        "{interface} does not say over which of its queues it spreads packets: what does not come by \
         those that are driven ({queues}) goes by the kernel"
    )]
    Unknown {
        /// The interface.
        interface: String,
        /// How many are driven.
        queues: u32,
    },
    /// RSS cannot be kept to the queues that are driven.
    #[error(
        "{interface} spreads packets over more queues than are driven ({queues}), and that cannot be \
         changed ({source}): drive all of them (`queues = 0`)"
    )]
    Spread {
        /// The interface.
        interface: String,
        /// How many are driven.
        queues: u32,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// A NIC as it is.
#[derive(Debug)]
pub(crate) struct Nic {
    interface: String,
    /// Blocks of 32 features that the kernel knows.
    blocks: usize,
    /// Features of ours that are on.
    on: Vec<Active>,
    /// The queues that RSS chooses from.
    spread: Option<Vec<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Active {
    feature: Feature,
    /// Its number.
    place: usize,
    changeable: bool,
}

/// How a port is to be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Whether some of its frames are told by VLAN tags.
    pub(crate) has_vlans: bool,
    /// How many of its queues are driven, from the first on.
    pub(crate) queues: u32,
    /// How many it has.
    pub(crate) of: u32,
}

/// What has to be done before a NIC can be used, and what is to be known.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    off: Vec<Active>,
    spread: Option<Vec<u32>>,
    queues: u32,
    /// What cannot be had, and need not be.
    pub(crate) warnings: Vec<NicError>,
}

impl Needs {
    /// What will be done.
    pub(crate) fn changes(&self) -> Vec<String> {
        let off =
            self.off.iter().map(|active| format!("`{}` is switched off", active.feature.name));
        let queues = self.queues;
        let spread = self
            .spread
            .iter()
            .map(|_| format!("RSS is kept to the queues that are driven ({queues})"));
        off.chain(spread).collect()
    }
}

impl Nic {
    /// Asks an interface of the thread's network namespace.
    pub(crate) fn survey(interface: &str) -> Result<Self, NicError> {
        let ask = |source| NicError::Ask { interface: interface.to_owned(), source };
        let names = names(interface).map_err(ask)?;
        let blocks = features(interface, names.len()).map_err(ask)?;
        let is = |place: usize, word: usize| blocks[place / 32][word] >> (place % 32) & 1 == 1;
        let on = FEATURES.iter().filter_map(|&feature| {
            let place = names.iter().position(|name| name == feature.name)?;
            let (changeable, active) = (is(place, 0), is(place, 2));
            active.then_some(Active { feature, place, changeable })
        });
        Ok(Self {
            on: on.collect(),
            blocks: blocks.len(),
            spread: indirection(interface).map_err(ask)?,
            interface: interface.to_owned(),
        })
    }

    /// What has to be done so that it can be used so.
    ///
    /// # Errors
    /// If it cannot.
    pub(crate) fn needs(&self, usage: Usage) -> Result<Needs, NicError> {
        let mut needs = Needs { queues: usage.queues, ..Needs::default() };
        for active in &self.on {
            if active.changeable {
                needs.off.push(*active);
            } else {
                self.stuck(active, usage, &mut needs)?;
            }
        }
        if usage.queues < usage.of {
            match &self.spread {
                Some(spread) => needs.spread = kept_to(spread, usage.queues),
                None => needs.warnings.push(NicError::Unknown {
                    interface: self.interface.clone(),
                    queues: usage.queues,
                }),
            }
        }
        Ok(needs)
    }

    fn stuck(&self, active: &Active, usage: Usage, needs: &mut Needs) -> Result<(), NicError> {
        let Feature { name, harm, only_to_vlans } = active.feature;
        let stuck = NicError::Stuck { interface: self.interface.clone(), feature: name, harm };
        if only_to_vlans && !usage.has_vlans {
            needs.warnings.push(stuck);
            return Ok(());
        }
        Err(stuck)
    }

    /// Makes it usable so. The value is what was done, and what could not be had.
    ///
    /// # Errors
    /// If it cannot be used so.
    pub(crate) fn prepare(&self, usage: Usage) -> Result<Needs, NicError> {
        let interface = &self.interface;
        let mut needs = self.needs(usage)?;
        let mut request = vec![0; HEAD + 2 * self.blocks];
        (request[0], request[1]) = (SET_FEATURES, u32::try_from(self.blocks).unwrap_or(0));
        for active in &needs.off {
            // Which ones are meant, and after that what they are to be: off.
            request[HEAD + active.place / 32 * 2] |= 1 << (active.place % 32);
        }
        if !needs.off.is_empty() {
            ethtool(interface, &mut request)
                .map_err(|source| NicError::Ask { interface: interface.clone(), source })?;
            let after = Self::survey(interface)?;
            needs.off.retain(|active| !after.on.contains(active));
            for active in &after.on {
                self.stuck(active, usage, &mut needs)?;
            }
        }
        if let Some(spread) = &needs.spread {
            let mut request = vec![SET_INDIRECTION, u32::try_from(spread.len()).unwrap_or(0)];
            request.extend(spread);
            ethtool(interface, &mut request).map_err(|source| {
                let queues = usage.queues;
                NicError::Spread { interface: interface.clone(), queues, source }
            })?;
        }
        Ok(needs)
    }
}

/// A table of as many places that names the first `queues` alone. `None` if this one does already.
fn kept_to(spread: &[u32], queues: u32) -> Option<Vec<u32>> {
    let beyond = spread.iter().any(|&queue| queue >= queues);
    beyond.then(|| (0..queues).cycle().take(spread.len()).collect())
}

/// Names of all features that the kernel knows, in its order.
fn names(interface: &str) -> io::Result<Vec<String>> {
    // Command, reserved, which sets (64 bits), and the size of the one that is asked for.
    let mut info = [GET_SET_INFO, 0, 1 << FEATURE_NAMES, 0, 0];
    ethtool(interface, &mut info)?;
    let count = info[4] as usize;
    let mut strings = vec![0; 3 + count * NAME_WORDS];
    (strings[0], strings[1]) = (GET_STRINGS, FEATURE_NAMES);
    strings[2] = info[4];
    ethtool(interface, &mut strings)?;
    let name = |words: &[u32]| {
        let octets: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let end = octets.iter().position(|&octet| octet == 0).unwrap_or(NAME_LEN);
        String::from_utf8_lossy(&octets[..end]).into_owned()
    };
    Ok(strings[3..].chunks(NAME_WORDS).map(name).collect())
}

/// What `count` features are, 32 to a block.
fn features(interface: &str, count: usize) -> io::Result<Vec<[u32; BLOCK]>> {
    let blocks = count.div_ceil(32);
    let mut request = vec![0; HEAD + BLOCK * blocks];
    (request[0], request[1]) = (GET_FEATURES, u32::try_from(blocks).unwrap_or(0));
    ethtool(interface, &mut request)?;
    Ok(request[HEAD..].as_chunks().0.to_vec())
}

/// The queues that RSS chooses from, by the packet's hash. `None` if the driver does not say.
fn indirection(interface: &str) -> io::Result<Option<Vec<u32>>> {
    // Without room for them it says how many they are.
    let mut size = [GET_INDIRECTION, 0];
    match ethtool(interface, &mut size) {
        Ok(()) if size[1] == 0 => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
        result => result?,
    }
    let mut request = vec![0; HEAD + size[1] as usize];
    request[..HEAD].copy_from_slice(&size);
    ethtool(interface, &mut request)?;
    Ok(Some(request.split_off(HEAD)))
}

/// A request of ethtool whose room for the answer is in `words`: all of the commands above write no
/// more than the sizes in them say.
fn ethtool(interface: &str, words: &mut [u32]) -> io::Result<()> {
    let mut request =
        interface_request(interface).ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    let control = control_socket()?;
    // SAFETY: the request and the words live through the call, and the kernel writes to no more of
    // them than their first words say.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(changeable: bool, spread: Option<Vec<u32>>) -> Nic {
        let on = FEATURES.iter().zip(0..);
        let on = on.map(|(&feature, place)| Active { feature, place, changeable }).collect();
        Nic { interface: "eth0".to_owned(), blocks: 1, on, spread }
    }

    #[test]
    fn rss_is_kept_to_the_queues_that_are_driven() {
        assert_eq!(kept_to(&[0, 1, 2, 3, 0, 1, 2], 3), Some(vec![0, 1, 2, 0, 1, 2, 0]));
        assert_eq!(kept_to(&[0, 1, 2, 0], 3), None);
        let usage = Usage { has_vlans: false, queues: 2, of: 4 };
        let needs = nic(true, Some(vec![0, 1, 2, 3])).needs(usage).unwrap();
        assert_eq!(needs.spread, Some(vec![0, 1, 0, 1]));
        insta::assert_snapshot!(needs.changes().join("\n"), @"
        `rx-lro` is switched off
        `rx-vlan-hw-parse` is switched off
        `rx-vlan-stag-hw-parse` is switched off
        RSS is kept to the queues that are driven (2)
        ");
        // What is driven as a whole is left as it is.
        let all = Usage { queues: 4, ..usage };
        assert_eq!(nic(true, Some(vec![0, 1, 2, 3])).needs(all).unwrap().spread, None);
        assert!(nic(true, None).needs(all).unwrap().warnings.is_empty());
    }

    #[test]
    fn what_a_card_does_not_obey_or_say_is_told() {
        let usage = Usage { has_vlans: true, queues: 2, of: 4 };
        let mut stuck = nic(false, None);
        let merges = stuck.needs(usage).unwrap_err();
        stuck.on.remove(0);
        let strips = stuck.needs(usage).unwrap_err();
        let needs = stuck.needs(Usage { has_vlans: false, ..usage }).unwrap();
        let said = [merges, strips].into_iter().chain(needs.warnings);
        let said: Vec<String> = said.map(|error| error.to_string()).collect();
        insta::assert_snapshot!(said.join("\n"), @"
        eth0 does not switch `rx-lro` off, and with it packets of subscribers would be merged
        eth0 does not switch `rx-vlan-hw-parse` off, and with it frames of VLANs look as if they had no tag
        eth0 does not switch `rx-vlan-hw-parse` off, and with it frames of VLANs look as if they had no tag
        eth0 does not switch `rx-vlan-stag-hw-parse` off, and with it frames of service VLANs look as if they had no tag
        eth0 does not say over which of its queues it spreads packets: what does not come by those that are driven (2) goes by the kernel
        ");
    }
}
