//! What Linux's pptp-linux and pptpd sent each other, read and written again.

mod common;

use common::pcap;
use protocol::gre::{self, Header};
use protocol::pptp::PORT;
use protocol::pptp::message::Message;
use protocol::pptp::stream::Splitter;

const CAPTURES: [&str; 8] = [
    "chap-md5.pcap",
    "client-without-mppe.pcap",
    "mppe40.pcap",
    "mschapv1-mppe128.pcap",
    "multilink-mppe128.pcap",
    "stateless128-count-wrap.pcap",
    "stateless128.pcap",
    "wrong-password.pcap",
];

fn messages(mut octets: &[u8]) -> Vec<Message> {
    let mut splitter = Splitter::new();
    let each = std::iter::from_fn(|| splitter.next(&mut octets));
    each.collect::<Result<_, _>>().unwrap_or_default()
}

#[test]
fn control_connections_of_real_peers_read_and_are_emitted_octet_for_octet() {
    for name in CAPTURES {
        let streams = pcap::tcp_streams(&pcap::read(name));
        assert_eq!(streams.len(), 2, "{name}");
        for (source, port, octets) in streams {
            let messages = messages(&octets);
            let again: Vec<u8> =
                messages.iter().flat_map(|message| message.emit().to_vec()).collect();
            assert!(messages.len() >= 2, "{name}: {source}:{port}");
            assert_eq!(again, octets, "{name}: {source}:{port}");
        }
    }
}

#[test]
fn the_dialogue_of_a_session_that_ends_reads_as_the_rfc_orders_it() {
    let packets = pcap::read("wrong-password.pcap");
    let mut dialogue = String::new();
    for (_, port, octets) in pcap::tcp_streams(&packets) {
        let who = if port == PORT { "server (PAC)" } else { "client (PNS)" };
        for message in messages(&octets) {
            dialogue += &format!("{who}: {message:?}\n");
        }
    }
    insta::assert_snapshot!(dialogue);
}

#[test]
fn gre_headers_of_real_peers_are_emitted_octet_for_octet() {
    let mut acks_alone = 0;
    for name in CAPTURES {
        for packet in pcap::read(name).iter().filter_map(pcap::Packet::gre) {
            let (header, payload) = Header::parse(packet).unwrap();
            let mut buffer = [0; gre::MAX_HEADER_LEN];
            let len = header.emit(&mut buffer);
            assert_eq!([&buffer[..len], payload].concat(), packet, "{name}");
            acks_alone += usize::from(header.sequence.is_none());
        }
    }
    assert!(acks_alone > 0);
}
