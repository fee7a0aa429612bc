//! What several test binaries share.

pub mod mppe;
pub mod pcap;
pub mod ppp;
