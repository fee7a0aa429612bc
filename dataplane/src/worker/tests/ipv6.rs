//! IPv6 in the tunnel: whose packets pass, what is said to the router, and what no tunnel carries.

mod ethernet;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::bench::{
    ACCESS, Bench, CORE, CORE_MAC, INNER, RAW, SERVER_MAC, SOURCE, TUN, ethernet, outer,
};
use super::subscriber::{Subscriber, ipv4};
use crate::api::filter::Action;
use crate::api::{
    Command, DropReason, Encryption, Event, Forward, Ipv6Network, Ipv6Prefix, Network, Prefix,
    Rule, Rules, TunnelId,
};
use crate::ipv6::{self, View};

const FAR: &str = "2001:db8:ffff::9";
const HOST: &str = "2001:db8:1:1::5";
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
const LINK: &str = "fe80::5";

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn packet_of(next: u8, from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    [&ipv6::header(length, next, address(from), address(to))[..], payload].concat()
}

fn packet(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    packet_of(17, from, to, payload)
}

fn with_ipv6(packet: &[u8]) -> Vec<u8> {
    [&[0x00, 0x57], packet].concat()
}

/// One hop later.
fn one_hop_on(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[7] -= 1;
    packet
}

impl Bench {
    fn ipv6(&self, tunnel: TunnelId, prefixes: &[&str]) {
        let ipv6 = (!prefixes.is_empty()).then(|| Ipv6Network {
            prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
            local: address("2001:db8:1:1::1"),
            peer: address(LINK),
        });
        self.handle.command(Command::SetIpv6 { tunnel, ipv6 }).unwrap();
    }

    fn dual(&mut self) -> (TunnelId, Subscriber) {
        let (tunnel, subscriber) = self.dial(9, INNER);
        self.ipv6(tunnel, &["2001:db8:1:1::/64", "2001:db8:200::/56"]);
        (tunnel, subscriber)
    }
}

#[test]
fn packets_of_the_prefixes_pass_both_ways() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dual();
    for host in [HOST, "2001:db8:200:ff::1"] {
        let (up, down) = (packet(host, FAR, &[1; 60]), packet(FAR, host, &[2; 60]));
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&up)));
        // The number may be compressed (RFC 1661 §6.5).
        bench.push(0, RAW, &subscriber.encrypt_data(&[&[0x57], &up[..]].concat()));
        bench.push(0, TUN, &down);
        bench.turn();
        // The kernel forwards, and takes a hop.
        assert_eq!(bench.pop(0, TUN), [&up[..], &up]);
        let sent = bench.pop(0, ACCESS);
        assert_eq!(subscriber.decrypt(&sent[0][14..]), down);
    }
    let counters = bench.handle.counters(tunnel).unwrap();
    assert_eq!((counters.rx_packets, counters.tx_packets), (4, 2));
    assert_eq!(counters.rx_bytes, 400);
    assert!(bench.drops().is_empty());
}

#[test]
fn a_spoofed_source_is_dropped_and_the_next_packet_is_read() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dual();
    for source in ["2001:db8:1:2::5", "2001:db8:ffff::1", "fe80::6", "::1", "::"] {
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&packet(source, FAR, &[1; 60]))));
        let good = packet(HOST, FAR, &[3; 60]);
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&good)));
        bench.turn();
        assert_eq!(bench.pop(0, TUN), [good], "{source}");
    }
    assert_eq!(bench.drops(), [(DropReason::SourceForeign, 5)]);
}

#[test]
fn without_ipv6_nothing_of_it_passes_and_ipv4_goes_on() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    for open in [false, true, false] {
        bench.ipv6(tunnel, if open { &["2001:db8:1:1::/64"] } else { &[] });
        let (up, down) = (packet(HOST, FAR, &[1; 60]), packet(FAR, HOST, &[2; 60]));
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&up)));
        bench.push(0, TUN, &down);
        bench.push(0, RAW, &subscriber.encrypt(Ipv4Addr::new(100, 64, 0, 9), &[7]));
        bench.turn();
        // One that nobody is there for is answered.
        let is_error = |packet: &Vec<u8>| packet[0] >> 4 == 6 && packet[6] == ipv6::ICMPV6;
        let (errors, ups): (Vec<_>, _) = bench.pop(0, TUN).into_iter().partition(is_error);
        assert_eq!((ups.len(), errors.len()), if open { (2, 0) } else { (1, 1) });
        let sent = bench.pop(0, ACCESS);
        assert_eq!(sent.len(), usize::from(open));
        if open {
            assert_eq!(subscriber.decrypt(&sent[0][14..]), down);
        }
    }
    assert_eq!(bench.drops(), [(DropReason::SourceForeign, 2), (DropReason::NoTunnel, 2)]);
}

#[test]
fn a_worker_wishes_a_tunnel_away_whose_ipv6_comes_from_another() {
    let mut bench = Bench::new(2);
    let (tunnel, _) = bench.dial(8, INNER);
    bench.ipv6(tunnel, &["2001:db8:1:1::/64"]);
    for _ in 0..200 {
        for _ in 0..8 {
            bench.push(1, TUN, &packet(FAR, HOST, &[1; 60]));
        }
        bench.turn();
        bench.pop_all();
    }
    let wishes = bench.wishes();
    assert!(wishes.iter().any(|wish| wish.tunnel == tunnel && wish.to == 1), "{wishes:?}");
}

#[test]
fn the_cores_martians_reach_no_subscriber() {
    let mut bench = Bench::new(1);
    bench.dual();
    for source in ["::", "::1", "::ffff:10.0.0.1", "fe80::1", "ff0e::1", HOST] {
        let packet = packet(source, HOST, &[1; 60]);
        bench.push(0, CORE, &ethernet(CORE_MAC, SERVER_MAC, &packet));
    }
    bench.turn();
    assert!(bench.pop(0, ACCESS).is_empty());
    assert_eq!(bench.drops(), [(DropReason::SourceMartian, 6)]);
}

#[test]
fn without_encryption_it_is_the_same() {
    let mut bench = Bench::new(1);
    let tunnel = bench.handle.open(outer(9)).unwrap();
    bench.protect(tunnel, Encryption::None);
    bench.network(tunnel, Some(INNER));
    bench.ipv6(tunnel, &["2001:db8:1:1::/64"]);
    let mut subscriber = Subscriber::new(outer(9).peer, outer(9).local, (9, 7), INNER);
    let (up, down) = (packet(HOST, FAR, &[1; 9]), packet(FAR, HOST, &[2; 9]));
    let frame = subscriber.frame(&with_ipv6(&up));
    bench.push(0, RAW, &frame);
    bench.push(0, RAW, &frame);
    bench.push(0, RAW, &subscriber.frame(&with_ipv6(&packet("2001:db8::1", FAR, &[1]))));
    bench.push(0, TUN, &down);
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [up]);
    let sent = bench.pop(0, ACCESS);
    let plain = [&[0xFF, 0x03, 0x00, 0x57], &down[..]].concat();
    assert_eq!(subscriber.read(&sent[0][14..]).frame, plain);
    assert_eq!(bench.drops(), [(DropReason::SequenceReplayed, 1), (DropReason::SourceForeign, 1)]);
}

#[test]
fn subscribers_reach_each_other_and_nothing_comes_back_by_its_tunnel() {
    for workers in [1, 2] {
        let mut bench = Bench::new(workers);
        let (_, mut subscriber) = bench.dual();
        let (other, mut neighbour) = bench.dial(8, OTHER);
        bench.ipv6(other, &["2001:db8:1:2::/64"]);
        let to = packet(HOST, "2001:db8:1:2::7", &[1; 60]);
        let back = packet(HOST, "2001:db8:200::77", &[1; 60]);
        let owner = usize::from(9 % workers);
        bench.push(owner, RAW, &subscriber.encrypt_data(&with_ipv6(&to)));
        bench.push(owner, RAW, &subscriber.encrypt_data(&with_ipv6(&back)));
        bench.turn();
        let sent = bench.pop(usize::from(8 % workers), ACCESS);
        assert_eq!(neighbour.decrypt(&sent[0][14..]), one_hop_on(&to));
        assert_eq!(bench.drops(), [(DropReason::DestinationForbidden, 1)]);
        // At the end of its hops the kernel answers.
        let mut last = to.clone();
        last[7] = 1;
        bench.push(owner, RAW, &subscriber.encrypt_data(&with_ipv6(&last)));
        bench.turn();
        assert_eq!(bench.pop(owner, TUN), [last]);
    }
}

/// What a peer says to its router goes to the control plane, and nothing else of the link goes
/// anywhere.
#[test]
fn solicitations_and_dhcp_are_events_and_other_talk_of_the_link_ends_here() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dual();
    let solicitation = packet_of(58, LINK, "ff02::2", &[133, 0, 0, 0, 0, 0, 0, 0]);
    let unspecified = packet_of(58, "::", "ff02::2", &[133, 0, 0, 0, 0, 0, 0, 0]);
    let dhcpv6 = packet_of(17, LINK, "ff02::1:2", &[2, 34, 2, 35, 0, 8, 0, 0]);
    let echo = packet_of(58, LINK, "fe80::1", &[128, 0, 0, 0]);
    for asked in [&solicitation, &unspecified, &dhcpv6, &echo] {
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(asked)));
    }
    for talk in [
        packet_of(58, LINK, "ff02::16", &[143, 0, 0, 0]),
        packet_of(17, LINK, "ff02::fb", &[0x14, 0xE9, 0x14, 0xE9, 0, 8, 0, 0]),
        packet_of(6, LINK, "fe80::1", &[0; 20]),
        packet_of(58, LINK, FAR, &[135, 0, 0, 0]),
        packet_of(17, HOST, "ff0e::1", &[0; 8]),
        packet_of(17, HOST, "::1", &[0; 8]),
        packet_of(17, HOST, "::ffff:10.0.0.1", &[0; 8]),
    ] {
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&talk)));
    }
    let discover = ipv4(17, 64, INNER, Ipv4Addr::BROADCAST, &[0, 68, 0, 67, 0, 8, 0, 0]);
    bench.push(0, RAW, &subscriber.encrypt_packet(&discover));
    let netbios = ipv4(17, 64, INNER, Ipv4Addr::BROADCAST, &[0, 137, 0, 137, 0, 8, 0, 0]);
    bench.push(0, RAW, &subscriber.encrypt_packet(&netbios));
    bench.turn();
    let mut asked: Vec<Vec<u8>> = Vec::new();
    for event in bench.events() {
        let Event::Packet { tunnel: of, packet } = event else { panic!("{event:?}") };
        assert_eq!(of, tunnel);
        asked.push(packet.into());
    }
    asked.sort();
    let mut expected = [solicitation.clone(), unspecified, dhcpv6, echo, discover];
    expected.sort();
    assert_eq!(asked, expected);
    assert!(bench.pop(0, TUN).is_empty());
    assert_eq!(bench.drops(), [(DropReason::DestinationForbidden, 8)]);

    // A flood is bounded, and leaves control frames alone.
    for _ in 0..100 {
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&solicitation)));
        bench.turn();
    }
    assert_eq!(bench.events().len(), 11);
    bench.push(0, RAW, &subscriber.frame(&[0xC0, 0x21, 11, 1, 0, 8, 0, 0, 0, 0]));
    bench.turn_after(Duration::from_secs(2));
    assert_eq!(bench.events().len(), 1);
    bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&solicitation)));
    bench.turn();
    assert_eq!(bench.events().len(), 1);
}

#[test]
fn the_router_answers_through_the_tunnel() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dual();
    // No rule is about it.
    let rules = Rules::new(vec![Rule::all(Action::Drop)]).unwrap();
    let command = Command::SetFilters { tunnel, incoming: Rules::default(), outgoing: rules };
    bench.handle.command(command).unwrap();
    let advertisement = packet_of(58, "fe80::1", "ff02::1", &[134, 0, 0, 0]);
    let packet: Box<[u8]> = advertisement.clone().into();
    bench.handle.command(Command::SendPacket { tunnel, packet }).unwrap();
    let garbage: Box<[u8]> = [0x00, 0x11].into();
    bench.handle.command(Command::SendPacket { tunnel, packet: garbage }).unwrap();
    bench.push(0, TUN, &packet_of(17, FAR, HOST, &[0; 8]));
    bench.turn();
    let sent = bench.pop(0, ACCESS);
    assert_eq!(sent.len(), 1);
    assert_eq!(subscriber.decrypt(&sent[0][14..]), advertisement);
    assert_eq!(bench.drops(), [(DropReason::CoreMalformed, 1), (DropReason::FilteredOutgoing, 1)]);
}

#[test]
fn what_the_kernel_says_on_its_interface_goes_into_no_tunnel() {
    let mut bench = Bench::new(1);
    bench.dual();
    bench.push(0, TUN, &packet_of(58, "fe80::9", "ff02::2", &[133, 0, 0, 0, 0, 0, 0, 0]));
    bench.push(0, TUN, &packet_of(58, "fe80::9", LINK, &[128, 0, 0, 0]));
    bench.push(0, TUN, &packet(FAR, "2001:db8:9::1", &[1]));
    bench.push(0, TUN, &[0x60, 0, 0]);
    bench.turn();
    assert!(bench.pop(0, ACCESS).is_empty());
    let drops =
        [(DropReason::NotIpv4, 2), (DropReason::CoreMalformed, 1), (DropReason::NoTunnel, 1)];
    assert_eq!(bench.drops(), drops);
}

/// RFC 4443 §3.1.
#[test]
fn an_address_without_a_session_is_unreachable() {
    let mut bench = Bench::new(1);
    bench.dual();
    let lost = packet(FAR, "2001:db8:9::1", &[1; 1400]);
    bench.push(0, TUN, &lost);
    // Errors are about no errors, and scans have a rate.
    bench.push(0, TUN, &packet_of(58, FAR, "2001:db8:9::1", &[1, 3, 0, 0]));
    bench.push(0, TUN, &packet("fe80::1", "2001:db8:9::1", &[1]));
    bench.turn();
    let [error] = &bench.pop(0, TUN)[..] else { panic!("one error") };
    let view = View::parse(error).unwrap();
    assert_eq!((view.source, view.destination), (SOURCE, address(FAR)));
    assert_eq!((view.next_header, view.total_len), (ipv6::ICMPV6, 1280));
    assert_eq!(
        (&error[40..42], &error[44..48], &error[48..]),
        (&[1, 3][..], &[0; 4][..], &lost[..1232])
    );
    assert_eq!(ipv6::pseudo_sum(view.source, view.destination, ipv6::ICMPV6, &error[40..]), 0xFFFF);
    for _ in 0..200 {
        bench.push(0, TUN, &lost);
    }
    bench.turn();
    assert!((50..80).contains(&bench.pop(0, TUN).len()));
    assert_eq!(bench.drops(), [(DropReason::NoTunnel, 203)]);
}

/// RFC 4443 §3.2, RFC 8200 §5.
#[test]
fn a_packet_that_is_too_big_is_answered_with_the_mtu() {
    let mut bench = Bench::new(1);
    let (tunnel, _) = bench.dual();
    let network = Network {
        prefixes: vec![Prefix::host(INNER)],
        mtu: 1400,
        local: Ipv4Addr::new(10, 0, 0, 1),
        clamp_mss: true,
    };
    bench.handle.command(Command::SetNetwork { tunnel, network: Some(network) }).unwrap();
    let big = packet(FAR, HOST, &[1; 1361]);
    bench.push(0, TUN, &big);
    // Errors get no errors, and nobody answers a link-local source.
    bench.push(0, TUN, &packet_of(58, FAR, HOST, &[[3, 0], [0; 2]].concat().repeat(341)));
    bench.push(0, TUN, &packet("fe80::7", HOST, &[1; 1361]));
    bench.turn();
    assert!(bench.pop(0, ACCESS).is_empty());
    let errors = bench.pop(0, TUN);
    assert_eq!(errors.len(), 1);
    let error = &errors[0];
    let view = View::parse(error).unwrap();
    assert_eq!((view.source, view.destination), (address("2001:db8:1:1::1"), address(FAR)));
    assert_eq!((view.next_header, error.len()), (58, 1280));
    assert_eq!(ipv6::pseudo_sum(view.source, view.destination, 58, &error[40..]), 0xFFFF);
    assert_eq!(error[40..42], [2, 0]);
    assert_eq!(error[44..48], 1400_u32.to_be_bytes());
    assert_eq!(error[48..], big[..1232]);
    assert_eq!(bench.drops(), [(DropReason::TooBig, 3)]);
}

#[test]
fn segments_are_lowered_to_the_mtu_less_sixty() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dual();
    let syn = |from: &str, to: &str| {
        let mut segment = vec![0; 24];
        (segment[12], segment[13]) = (0x60, 0x02);
        segment[20..].copy_from_slice(&[2, 4, 0xFF, 0x00]);
        let sum = ipv6::pseudo_sum(address(from), address(to), 6, &segment);
        segment[16..18].copy_from_slice(&(!sum).to_be_bytes());
        packet_of(6, from, to, &segment)
    };
    bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&syn(HOST, FAR))));
    bench.push(0, TUN, &syn(FAR, HOST));
    bench.turn();
    let up = bench.pop(0, TUN).remove(0);
    let down = subscriber.decrypt(&bench.pop(0, ACCESS)[0][14..]);
    for out in [up, down] {
        let view = View::parse(&out).unwrap();
        let mss = u16::from_be_bytes([out[62], out[63]]);
        assert_eq!(mss, super::bench::MTU - 60);
        assert_eq!(ipv6::pseudo_sum(view.source, view.destination, 6, &out[40..]), 0xFFFF);
    }
}

#[test]
fn rules_hold_for_ipv6_too() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dual();
    let mail = Rule { protocol: Some(6), dst_port: Some(25..=25), ..Rule::all(Action::Drop) };
    let ipv4 = Rule { dst_address: Some(Prefix::host(INNER).into()), ..Rule::all(Action::Drop) };
    let net: Ipv6Prefix = "2001:db8:bad::/48".parse().unwrap();
    let bad = Rule { dst_address: Some(net.into()), ..Rule::all(Action::Drop) };
    let incoming = Rules::new(vec![mail, ipv4, bad]).unwrap();
    let command = Command::SetFilters { tunnel, incoming, outgoing: Rules::default() };
    bench.handle.command(command).unwrap();
    let tcp = |port: u8| [&[1, 2, 0, port][..], &[0; 16]].concat();
    let hidden = [&[6, 0, 0, 0, 0, 0, 0, 0][..], &tcp(25)].concat();
    let endless = [60, 0, 0, 0, 0, 0, 0, 0].repeat(9);
    for (next, payload) in [(6, tcp(25)), (6, tcp(80)), (60, hidden), (60, endless)] {
        let packet = packet_of(next, HOST, FAR, &payload);
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&packet)));
    }
    let bad = packet_of(6, HOST, "2001:db8:bad::1", &tcp(80));
    bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&bad)));
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [packet_of(6, HOST, FAR, &tcp(80))]);
    assert_eq!(bench.drops(), [(DropReason::FilteredIncoming, 4)]);
}

#[test]
fn what_the_kernel_forwards_goes_by_it_both_ways() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    bench.handle.command(Command::SetForward { tunnel, forward: Forward::Kernel }).unwrap();
    bench.network(tunnel, Some(INNER));
    bench.ipv6(tunnel, &["2001:db8:1:1::/64"]);
    let (other, mut neighbour) = bench.dial(8, OTHER);
    bench.ipv6(other, &["2001:db8:1:2::/64"]);
    let (to, from) =
        (packet("2001:db8:1:2::7", HOST, &[1; 60]), packet(HOST, "2001:db8:1:2::7", &[1; 60]));
    bench.push(0, RAW, &neighbour.encrypt_data(&with_ipv6(&to)));
    bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&from)));
    bench.turn();
    let mut by_kernel = bench.pop(0, TUN);
    by_kernel.sort();
    let mut expected = [to.clone(), from];
    expected.sort();
    assert_eq!(by_kernel, expected);
    bench.push(0, TUN, &to);
    bench.turn();
    assert_eq!(subscriber.decrypt(&bench.pop(0, ACCESS)[0][14..]), to);
}

#[test]
fn a_tunnel_that_is_closed_leaves_no_prefix_behind() {
    let mut bench = Bench::new(2);
    let (tunnel, _) = bench.dual();
    bench.turn();
    bench.handle.close(tunnel);
    bench.turn();
    for worker in 0..2 {
        bench.push(worker, TUN, &packet(FAR, HOST, &[1]));
    }
    bench.turn();
    assert_eq!(bench.drops(), [(DropReason::NoTunnel, 2)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_packets_are_all_accounted_for(
        packets in prop::collection::vec(
            (any::<bool>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..120), 0_u8..4),
            1..30,
        ),
    ) {
        let mut bench = Bench::new(2);
        let (_, mut subscriber) = bench.dual();
        for (up, next, payload, form) in packets {
            let bytes = match form {
                0 => [&[0x60][..], &payload].concat(),
                1 => packet_of(next, LINK, "ff02::2", &payload),
                2 => packet_of(next, HOST, FAR, &payload),
                _ => packet_of(next, FAR, HOST, &payload),
            };
            if up {
                bench.push(1, RAW, &subscriber.encrypt_data(&with_ipv6(&bytes)));
            } else {
                bench.push(0, TUN, &bytes);
            }
        }
        // It checks that every frame and packet is somewhere.
        bench.turn();
    }
}
