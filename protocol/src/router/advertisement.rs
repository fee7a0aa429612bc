//! Router Solicitations in, Router Advertisements out.
//!
//! Implements RFC 4861 §4.1, §4.2, §4.6.2, §4.6.4, §6.1.1 (what a valid solicitation is) and
//! RFC 8106 §5.1 (RDNSS). Takes nothing from a solicitation but that it was sent.

use std::net::Ipv6Addr;

use super::Settings;

/// ICMPv6 types (RFC 4861 §4).
pub(super) const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;

/// Option types (RFC 4861 §4.6, RFC 8106 §5.1).
const SOURCE_LINK_LAYER: u8 = 1;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const RDNSS: u8 = 25;

/// The hop limit that a host shall use.
const HOP_LIMIT: u8 = 64;
/// DNS servers and more can be asked for by DHCPv6 (RFC 4861 §4.2).
const OTHER_CONFIGURATION: u8 = 0x40;
/// Seconds that we are the default router, three times the longest interval (RFC 4861 §6.2.1).
const ROUTER_LIFETIME: u16 = 1800;
/// Prefix flags: on-link, autonomous (RFC 4861 §4.6.2).
const ON_LINK_AUTONOMOUS: u8 = 0xC0;
const ON_LINK: u8 = 0x80;

/// Whether an ICMPv6 message that came from `source` is a solicitation to be answered.
pub(super) fn is_solicitation(message: &[u8], source: Ipv6Addr, hop_limit: u8) -> bool {
    /// Octets before the options.
    const HEADER: usize = 8;
    let [SOLICITATION, 0, ..] = *message else { return false };
    let Some(mut options) = message.get(HEADER..) else { return false };
    // What was forwarded comes from elsewhere (RFC 4861 §6.1.1).
    if hop_limit != 255 {
        return false;
    }
    // Each has its length in units of eight octets, and none has zero.
    while let Some((&kind, &length)) = options.first().zip(options.get(1)) {
        let Some(rest) = options.get(usize::from(length) * 8..).filter(|_| length != 0) else {
            return false;
        };
        if kind == SOURCE_LINK_LAYER && source.is_unspecified() {
            return false;
        }
        options = rest;
    }
    options.is_empty()
}

/// The advertisement, its checksum to be filled in.
pub(super) fn emit(settings: &Settings) -> Vec<u8> {
    let flags = if settings.delegated.is_some() || !settings.dns.is_empty() {
        OTHER_CONFIGURATION
    } else {
        0
    };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, flags];
    message.extend(ROUTER_LIFETIME.to_be_bytes());
    // Reachable time and retransmission timer: nobody asks for neighbours on this link.
    message.extend([0; 8]);
    if let Some(prefix) = settings.prefix {
        let length = prefix.length();
        // Addresses are made of 64 bits of prefix and 64 of identifier (RFC 4862 §5.5.3).
        let flags = if length == 64 { ON_LINK_AUTONOMOUS } else { ON_LINK };
        message.extend([PREFIX, 4, length, flags]);
        message.extend(settings.lifetimes.valid.to_be_bytes());
        message.extend(settings.lifetimes.preferred.to_be_bytes());
        message.extend([0; 4]);
        message.extend(prefix.address().octets());
    }
    message.extend([MTU, 1, 0, 0]);
    message.extend(u32::from(settings.mtu).to_be_bytes());
    if !settings.dns.is_empty() {
        let count = settings.dns.len().min(Settings::MAX_DNS);
        message.extend([RDNSS, 1 + 2 * u8::try_from(count).unwrap_or(0), 0, 0]);
        message.extend(u32::from(ROUTER_LIFETIME).to_be_bytes());
        message.extend(settings.dns.iter().take(count).flat_map(Ipv6Addr::octets));
    }
    message
}
