//! What Linux's pptp-linux and pptpd sent each other, read and written again.

mod common;

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use common::pcap;
use protocol::gre::{self, Header, Verdict, Window};
use protocol::machine::{Action, drive};
use protocol::pptp::PORT;
use protocol::pptp::connection::{ClearCause, Config, Connection, Direction, Event, Input};
use protocol::pptp::message::Message;
use protocol::pptp::message::codes::DisconnectResult;
use protocol::pptp::stream::Splitter;
use protocol::time::Instant;

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

#[test]
fn sequence_numbers_of_real_peers_pass_the_window_once_and_in_order() {
    for name in CAPTURES {
        let packets = pcap::read(name);
        let mut windows = BTreeMap::new();
        for packet in &packets {
            let Some(octets) = packet.gre() else { continue };
            let (header, _) = Header::parse(octets).unwrap();
            let Some(sequence) = header.sequence else { continue };
            let window = windows.entry(packet.src).or_insert_with(Window::new);
            assert_eq!(window.check(sequence), Verdict::New { gap: 0 }, "{name}: {sequence}");
            window.commit(sequence);
            assert_eq!(window.check(sequence), Verdict::Duplicate, "{name}: {sequence}");
        }
        assert_eq!(windows.len(), 2, "{name}: both ends sent");
    }
}

/// What one end said in a capture in which the client clears its call.
fn said_by(server: bool) -> Vec<u8> {
    let streams = pcap::tcp_streams(&pcap::read("wrong-password.pcap"));
    let stream = streams.into_iter().find(|(_, port, _)| (*port == PORT) == server);
    stream.map(|(_, _, octets)| octets).unwrap_or_default()
}

fn own() -> NonZeroU16 {
    NonZeroU16::new(20_054).unwrap_or(NonZeroU16::MIN)
}

/// Gives inputs to one end and keeps what it says and tells.
fn feed(machine: &mut Connection, input: Input<'_>) -> (Vec<Message>, Vec<Event>) {
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    drive(machine, input, Instant::ORIGIN, |action| match action {
        Action::Send(message) => sent.push(message),
        Action::Event(event) => events.push(event),
    });
    (sent, events)
}

#[test]
fn our_server_serves_what_pptp_linux_says() {
    let octets = said_by(false);
    let (start, rest) = octets.split_at(156);
    let (request, clear) = rest.split_at(168);
    let mut server = Connection::server(Config::default());
    feed(&mut server, Input::Opened);
    let (sent, events) = feed(&mut server, Input::Received(start));
    assert!(matches!(sent[..], [Message::StartReply(_)]));
    let [Event::Established { peer, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (peer.host_name.as_bytes(), peer.vendor.as_bytes()),
        (&b"local"[..], &b"cananian"[..])
    );

    let (sent, events) = feed(&mut server, Input::Received(request));
    let [Event::CallRequested { call, request }] = events[..] else { panic!("{events:?}") };
    assert_eq!((sent.len(), request.peer_call_id(), request.peer_window()), (0, 20_054, Some(3)));
    let (sent, _) = feed(&mut server, Input::Accept { call, own_call_id: NonZeroU16::MIN });
    assert!(matches!(sent[..], [Message::OutgoingCallReply(_)]));

    let (sent, events) = feed(&mut server, Input::Received(clear));
    let [Message::CallDisconnectNotify(notify)] = sent[..] else { panic!("{sent:?}") };
    assert_eq!((notify.call_id, notify.result), (1, DisconnectResult::Request));
    let [Event::CallCleared { cause, .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!(cause, ClearCause::Requested);
}

#[test]
fn our_client_understands_pptpd_which_gives_call_id_0() {
    let octets = said_by(true);
    let (start, reply) = octets.split_at(156);
    let mut client = Connection::client(Config::default());
    feed(&mut client, Input::Opened);
    feed(&mut client, Input::Received(start));
    assert!(client.is_established());
    let direction = Direction::Outgoing;
    let (_, events) = feed(&mut client, Input::StartCall { direction, own_call_id: own() });
    let [Event::CallStarted { call, .. }] = events[..] else { panic!("{events:?}") };
    let (_, events) = feed(&mut client, Input::Received(reply));
    let (peer_call_id, peer_window) = (0, 3);
    let own_call_id = own();
    assert_eq!(events, [Event::CallEstablished { call, own_call_id, peer_call_id, peer_window }]);
}
