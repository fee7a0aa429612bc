//! What a NIC must not do to frames before we see them, asked and told by ethtool (linux/ethtool.h).
//!
//! Changes nothing but the features that are named here, and those only where they are on.

use std::io;
use std::os::fd::AsRawFd;

use super::sys::{control_socket, interface_request};

const GET_SET_INFO: u32 = 0x37;
const GET_STRINGS: u32 = 0x1b;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
/// The set of strings that names features.
const FEATURE_NAMES: u32 = 4;
/// Octets of a name, and words.
const NAME_LEN: usize = 32;
const NAME_WORDS: usize = NAME_LEN / 4;
/// Words of a block of 32 features as it is told: available, requested, active, never changed.
const BLOCK: usize = 4;
/// Words before the blocks: command and how many there are.
const HEAD: usize = 2;

/// A feature, and what goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Feature {
    name: &'static str,
    harm: &'static str,
}

/// Packets would be merged before XDP sees them, or the kernel refuses XDP.
pub(crate) const LARGE_RECEIVE: Feature =
    Feature { name: "rx-lro", harm: "packets of subscribers would be merged" };
/// Tags would be gone before XDP sees them.
pub(crate) const STRIPPING: [Feature; 2] = [
    Feature { name: "rx-vlan-hw-parse", harm: "VLAN tags would be lost" },
    Feature { name: "rx-vlan-stag-hw-parse", harm: "service VLAN tags would be lost" },
];

/// Why a NIC cannot be used as it is.
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
}

/// Switches features off. Returns the names of those that were on.
pub(crate) fn switch_off(
    interface: &str,
    features: &[Feature],
) -> Result<Vec<&'static str>, NicError> {
    let ask = |source| NicError::Ask { interface: interface.to_owned(), source };
    let names = names(interface).map_err(ask)?;
    let places = features.iter().filter_map(|feature| {
        let place = names.iter().position(|name| name == feature.name)?;
        Some((*feature, place))
    });
    let places: Vec<(Feature, usize)> = places.collect();
    let before = active(interface, names.len()).map_err(ask)?;
    let is_on = |words: &[u32], place: usize| words[place / 32] >> (place % 32) & 1 == 1;
    let on: Vec<_> = places.into_iter().filter(|&(_, place)| is_on(&before, place)).collect();
    if on.is_empty() {
        return Ok(Vec::new());
    }
    let mut request = vec![0; HEAD + 2 * before.len()];
    (request[0], request[1]) = (SET_FEATURES, u32::try_from(before.len()).unwrap_or(0));
    for &(_, place) in &on {
        // Which ones are meant, and after that what they are to be: off.
        request[HEAD + place / 32 * 2] |= 1 << (place % 32);
    }
    ethtool(interface, &mut request).map_err(ask)?;
    let after = active(interface, names.len()).map_err(ask)?;
    match on.iter().find(|&&(_, place)| is_on(&after, place)) {
        Some((Feature { name: feature, harm }, _)) => {
            Err(NicError::Stuck { interface: interface.to_owned(), feature, harm })
        }
        None => Ok(on.iter().map(|(feature, _)| feature.name).collect()),
    }
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

/// Which of `count` features are on, 32 to a word.
fn active(interface: &str, count: usize) -> io::Result<Vec<u32>> {
    let blocks = count.div_ceil(32);
    let mut request = vec![0; HEAD + BLOCK * blocks];
    (request[0], request[1]) = (GET_FEATURES, u32::try_from(blocks).unwrap_or(0));
    ethtool(interface, &mut request)?;
    Ok(request[HEAD..].chunks(BLOCK).map(|block| block[2]).collect())
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
