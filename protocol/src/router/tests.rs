use proptest::prelude::*;

use super::*;
use crate::machine::{Action, drive};

const HOST: u64 = 0x42;

pub(super) fn settings() -> Settings {
    Settings {
        local: InterfaceId::new(1).unwrap(),
        remote: InterfaceId::new(HOST).unwrap(),
        prefix: Some("2001:db8:100:7::/64".parse().unwrap()),
        delegated: Some("2001:db8:200::/56".parse().unwrap()),
        dns: vec!["2001:db8::53".parse().unwrap(), "2001:db8::54".parse().unwrap()],
        domain: Some("corp.example".parse().unwrap()),
        mtu: 1446,
        duid: Arc::from([0, 4, 9, 9, 9, 9]),
        lifetimes: Lifetimes::default(),
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

/// What a router says, and when it wants to speak next, in seconds.
fn say(router: &mut Router, input: Input<'_>, seconds: u64) -> (Vec<Box<[u8]>>, Option<u64>) {
    let mut sent = Vec::new();
    let next = drive(router, input, at(seconds), |action| {
        if let Action::Send(packet) = action {
            sent.push(packet);
        }
    });
    (sent, next.map(|next| next.as_micros() / 1_000_000))
}

fn up() -> Router {
    let mut router = Router::default();
    say(&mut router, Input::Ipv6(Some(settings())), 0);
    router
}

fn host() -> Ipv6Addr {
    InterfaceId::new(HOST).unwrap().link_local()
}

fn solicitation(source: Ipv6Addr, options: &[u8]) -> Box<[u8]> {
    let mut message = [&[133, 0, 0, 0, 0, 0, 0, 0][..], options].concat();
    packet::icmpv6(source, ALL_ROUTERS, &mut message)
}

#[test]
fn an_advertisement_says_all_that_a_host_needs() {
    let mut router = Router::default();
    let (sent, _) = say(&mut router, Input::Ipv6(Some(settings())), 0);
    let read = packet::parse_ipv6(&sent[0]).unwrap();
    assert_eq!((read.hop_limit, read.destination), (255, ALL_NODES));
    assert_eq!(read.source.to_string(), "fe80::1");
    let Ipv6Payload::Icmp(message) = read.payload else { panic!("no ICMPv6") };
    // RFC 4861 §4.2: type, code; hop limit 64, O flag, 1800 s.
    assert_eq!((message[0], message[1]), (134, 0));
    assert_eq!(message[4..8], [64, 0x40, 0x07, 0x08]);
    // §4.6.2: 64 bits, on-link and autonomous, 3600 s and 1800 s.
    assert_eq!(message[16..20], [3, 4, 64, 0xC0]);
    assert_eq!(message[20..28], [0, 0, 0x0E, 0x10, 0, 0, 0x07, 0x08]);
    assert_eq!(message[32..40], [0x20, 1, 0x0D, 0xB8, 1, 0, 0, 7]);
    // §4.6.4, RFC 8106 §5.1.
    assert_eq!(message[48..56], [5, 1, 0, 0, 0, 0, 0x05, 0xA6]);
    assert_eq!(message[56..64], [25, 5, 0, 0, 0, 0, 0x07, 0x08]);
    assert_eq!(message.len(), 56 + 40);
}

#[test]
fn a_link_without_prefix_and_names_still_has_a_router() {
    let bare = Settings { prefix: None, delegated: None, dns: vec![], ..settings() };
    let message = advertisement::emit(&bare);
    assert_eq!((message[5], message.len()), (0, 24));
    // Hosts make no addresses of a prefix that is no /64 (RFC 4862 §5.5.3).
    let long = Settings { prefix: Some("2001:db8::/80".parse().unwrap()), ..bare };
    assert_eq!(advertisement::emit(&long)[16..20], [3, 4, 80, 0x80]);
}

#[test]
fn advertisements_come_thrice_soon_and_then_seldom() {
    let mut router = Router::default();
    let (sent, mut next) = say(&mut router, Input::Ipv6(Some(settings())), 0);
    assert_eq!(sent.len(), 1);
    let mut times = Vec::new();
    while times.len() < 5 {
        let due = next.unwrap();
        let (sent, then) = say(&mut router, Input::Deadline, due);
        assert_eq!(sent.len(), 1);
        times.push(due);
        next = then;
    }
    assert_eq!(times, [16, 32, 483, 934, 1385]);
    let (sent, next) = say(&mut router, Input::Ipv6(None), 1400);
    assert!(sent.is_empty() && next.is_none());
}

#[test]
fn a_flood_of_solicitations_gets_one_answer_in_three_seconds() {
    let mut router = up();
    let mut answers = 0;
    for second in 100..130 {
        for _ in 0..50 {
            let (sent, _) = say(&mut router, Input::Packet(&solicitation(host(), &[])), second);
            answers += sent.len();
        }
        let (sent, next) = say(&mut router, Input::Deadline, second);
        answers += sent.len();
        assert!(next.unwrap() <= second + 3, "who came too soon is not forgotten");
    }
    assert_eq!(answers, 10);
}

/// RFC 4861 §6.1.1.
#[test]
fn only_valid_solicitations_are_answered() {
    let answered = |packet: &[u8]| !say(&mut up(), Input::Packet(packet), 100).0.is_empty();
    assert!(answered(&solicitation(host(), &[])));
    assert!(answered(&solicitation(Ipv6Addr::UNSPECIFIED, &[])));
    assert!(answered(&solicitation(host(), &[1, 1, 0, 0, 0, 0, 0, 0])));
    assert!(!answered(&solicitation(Ipv6Addr::UNSPECIFIED, &[1, 1, 0, 0, 0, 0, 0, 0])));
    assert!(!answered(&solicitation(host(), &[1, 0, 0, 0, 0, 0, 0, 0])), "length 0");
    assert!(!answered(&solicitation(host(), &[1, 2, 0, 0, 0, 0, 0, 0])), "length beyond the end");
    assert!(!answered(&solicitation(host(), &[1])));
    assert!(!answered(&solicitation("fe80::66".parse().unwrap(), &[])), "not the host's");
    let mut forwarded = solicitation(host(), &[]);
    forwarded[7] = 254;
    assert!(!answered(&forwarded));
    let mut broken = solicitation(host(), &[]);
    broken[45] ^= 1;
    assert!(!answered(&broken), "checksum");
    assert!(say(&mut Router::default(), Input::Packet(&solicitation(host(), &[])), 9).0.is_empty());
}

#[test]
fn the_link_address_answers_pings_and_nothing_else_does() {
    let echo = |to: Ipv6Addr| {
        let mut message = [128, 0, 0, 0, 1, 2, 3, 4, 5];
        packet::icmpv6(host(), to, &mut message)
    };
    let local = InterfaceId::new(1).unwrap().link_local();
    let (sent, _) = say(&mut up(), Input::Packet(&echo(local)), 5);
    let reply = packet::parse_ipv6(&sent[0]).unwrap();
    assert_eq!((reply.source, reply.destination), (local, host()));
    let Ipv6Payload::Icmp(message) = reply.payload else { panic!("no ICMPv6") };
    assert_eq!((message[0], &message[4..]), (129, &[1, 2, 3, 4, 5][..]));
    for other in [ALL_ROUTERS, ALL_NODES, "2001:db8::1".parse().unwrap()] {
        assert!(say(&mut up(), Input::Packet(&echo(other)), 5).0.is_empty());
    }
}

#[test]
fn a_prefix_is_delegated_over_udp() {
    let mut router = up();
    let solicit = [
        1, 1, 2, 3, 0, 1, 0, 4, 0, 3, 0, 1, 0, 14, 0, 0, 0, 25, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0,
        0, 0, 0,
    ];
    let request = packet::udp_ipv6((host(), 546), (ALL_DHCP, 547), &solicit);
    let mut events = Vec::new();
    let mut sent = Vec::new();
    drive(&mut router, Input::Packet(&request), at(5), |action| match action {
        Action::Send(packet) => sent.push(packet),
        Action::Event(event) => events.push(event),
    });
    assert_eq!(events, [Event::Delegated]);
    let reply = packet::parse_ipv6(&sent[0]).unwrap();
    assert_eq!(reply.destination, host());
    assert!(matches!(reply.payload, Ipv6Payload::Udp(546, [7, 1, 2, 3, ..])));
    // Another port, and the address of somebody else, are not a server's.
    for (port, to) in [(548, ALL_DHCP), (547, ALL_NODES)] {
        let stray = packet::udp_ipv6((host(), 546), (to, port), &solicit);
        assert!(say(&mut router, Input::Packet(&stray), 6).0.is_empty());
    }
}

#[test]
fn only_the_host_itself_is_answered_over_ipv4() {
    let mut router = Router::default();
    let remote = Ipv4Addr::new(10, 99, 0, 7);
    let ipv4 = Ipv4Settings {
        local: Ipv4Addr::new(10, 99, 0, 1),
        remote,
        dns: [Some(Ipv4Addr::new(10, 9, 9, 9)), None],
        wins: [None; 2],
        domain: None,
        routes: vec![],
    };
    let mut inform = vec![0; 236];
    inform[0] = 1;
    inform.extend([99, 130, 83, 99, 53, 1, 8, 255]);
    let packet = |source| packet::udp_ipv4((source, 68), (Ipv4Addr::BROADCAST, 67), &inform);
    assert!(say(&mut router, Input::Packet(&packet(remote)), 1).0.is_empty(), "not up yet");
    say(&mut router, Input::Ipv4(Some(ipv4)), 1);
    let (sent, _) = say(&mut router, Input::Packet(&packet(remote)), 1);
    let (source, port, reply) = packet::parse_udp_ipv4(&sent[0]).unwrap();
    assert_eq!((source, port, reply[0]), (Ipv4Addr::new(10, 99, 0, 1), 68, 2));
    let stranger = packet(Ipv4Addr::new(10, 99, 0, 8));
    assert!(say(&mut router, Input::Packet(&stranger), 1).0.is_empty());
}

#[test]
fn domains_are_checked_before_anyone_is_told() {
    assert_eq!("example.com.".parse::<Domain>().unwrap().labels(), b"\x07example\x03com\x00");
    let long = "a".repeat(64);
    for wrong in ["", ".", "a..b", "a b", "ü.de", &long] {
        assert!(wrong.parse::<Domain>().is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn arbitrary_packets_never_panic_and_never_get_two_answers(
        bytes: Vec<u8>,
        message in prop::collection::vec(any::<u8>(), 0..80),
        kind in prop_oneof![Just(133_u8), Just(128), any::<u8>()],
        seconds in 3_u64..1000,
    ) {
        let mut router = up();
        let _ = say(&mut router, Input::Packet(&bytes), seconds);
        let mut icmp = [&[kind, 0, 0, 0][..], &message].concat();
        let icmp = packet::icmpv6(host(), ALL_ROUTERS, &mut icmp);
        let udp = packet::udp_ipv6((host(), 546), (ALL_DHCP, 547), &message);
        for packet in [icmp, udp] {
            let (sent, _) = say(&mut router, Input::Packet(&packet), seconds);
            prop_assert!(sent.len() <= 1);
        }
    }
}
