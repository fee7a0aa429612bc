//! The captures can be read: both directions of each control connection, and GRE.

mod common;

use common::pcap;

#[test]
fn a_capture_yields_the_control_connection_both_ways_and_gre() {
    let packets = pcap::read("stateless128.pcap");
    let streams = pcap::tcp_streams(&packets);
    assert_eq!(streams.len(), 2);
    assert_eq!(streams[1].1, 1723);
    assert_eq!(&streams[0].2[4..8], &0x1A2B_3C4D_u32.to_be_bytes());
    assert!(packets.iter().filter(|packet| packet.gre().is_some()).count() > 20);
}
