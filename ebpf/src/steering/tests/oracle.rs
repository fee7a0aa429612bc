//! The program's verdicts, said once more in Rust and compared on arbitrary frames.

use std::cell::RefCell;

use proptest::prelude::*;

use super::frames::*;
use super::verdicts::Bench;
use super::*;

fn expected(frame: &[u8], roles: Roles) -> Reason {
    let mut rest = &frame[12..];
    let mut tags = Vec::new();
    while let [high, low, behind @ ..] = rest
        && let ethertype @ (CUSTOMER | SERVICE) = u16::from_be_bytes([*high, *low])
        && tags.len() < 2
    {
        let [high, low, next @ ..] = behind else { return Reason::PassShort };
        if next.len() < 2 {
            return Reason::PassShort;
        }
        tags.push((ethertype, u16::from_be_bytes([*high, *low]) & 0x0FFF));
        rest = next;
    }
    match tags[..] {
        [] | [(CUSTOMER, VLAN)] | [(SERVICE, SERVICE_VLAN), (CUSTOMER, VLAN)] => {}
        _ => return Reason::PassVlan,
    }
    let (ethertype, ip) = rest.split_at(2);
    match ethertype {
        [0x08, 0x00] => {}
        [0x86, 0xDD] => return expected_ipv6(ip, frame[0] & 1 == 1, roles),
        _ => return Reason::PassNotIp,
    }
    if ip.len() < 20 {
        return Reason::PassShort;
    }
    if frame[0] & 1 == 1 {
        return Reason::PassGroupAddress;
    }
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    let to_subscriber = address(16).octets()[..2] == [10, 20] && address(16) != OWN;
    if roles == Roles::Access && to_subscriber {
        return Reason::DropAccessToSubscriber;
    }
    if ip[0] != 0x45 {
        return Reason::PassIpOptions;
    }
    if u16::from_be_bytes([ip[6], ip[7]]) & 0x3FFF != 0 {
        return Reason::PassFragment;
    }
    if ip[9] == GRE && roles != Roles::Core && address(16) == LISTENER {
        return expected_gre(&ip[20..], u16::from_be_bytes([ip[2], ip[3]]), address(12));
    }
    match address(16) {
        _ if roles == Roles::Access => Reason::PassNoCoreRole,
        OWN | BY_KERNEL => Reason::PassExemptPrefix,
        _ if to_subscriber => Reason::RedirectSubscriber,
        _ => Reason::PassNoPrefix,
    }
}

fn expected_ipv6(ip: &[u8], is_group: bool, roles: Roles) -> Reason {
    let Some(to) = ip.get(24..40) else { return Reason::PassShort };
    if is_group {
        return Reason::PassGroupAddress;
    }
    if ip[0] >> 4 != 6 {
        return Reason::PassNotIp;
    }
    let is_in = |prefix: Ipv6Addr, octets: usize| to[..octets] == prefix.octets()[..octets];
    let is_own = is_in(OWN_IPV6, 16);
    match roles {
        Roles::Access if is_in(SUBSCRIBER_IPV6, 6) && !is_own => Reason::DropAccessToSubscriber,
        Roles::Access => Reason::PassNoCoreRole,
        _ if is_own || is_in(BY_KERNEL_IPV6, 8) => Reason::PassExemptPrefix,
        _ if is_in(SUBSCRIBER_IPV6, 6) => Reason::RedirectSubscriberIpv6,
        _ => Reason::PassNoPrefix,
    }
}

fn expected_gre(gre: &[u8], total_length: u16, source: Ipv4Addr) -> Reason {
    if gre.len() < 8 || total_length < 28 {
        return Reason::PassGreShort;
    }
    if gre[0] & 0x20 == 0 || gre[1] & 7 != 1 || gre[2..4] != [0x88, 0x0B] {
        return Reason::PassGreNotPptp;
    }
    match (source, u16::from_be_bytes([gre[6], gre[7]])) {
        (PEER, CALL_ID) => Reason::RedirectTunnel,
        (_, CALL_ID) => Reason::DropOtherPeer,
        _ => Reason::DropUnknownTunnel,
    }
}

prop_compose! {
    fn gre()(
        flags in prop_oneof![4 => Just(0x30), 1 => any::<u8>()],
        version in prop_oneof![4 => Just(0x81), 1 => any::<u8>()],
        protocol in prop_oneof![8 => Just(0x880B), 1 => any::<u16>()],
        call_id in prop_oneof![Just(CALL_ID), Just(UNUSED_CALL_ID), any::<u16>()],
        rest in prop::collection::vec(any::<u8>(), 0..16),
    ) -> Vec<u8> {
        let mut gre = vec![flags, version];
        gre.extend(protocol.to_be_bytes());
        gre.extend([0, 0]);
        gre.extend(call_id.to_be_bytes());
        gre.extend(rest);
        gre
    }
}

fn tag() -> impl Strategy<Value = (u16, u16)> {
    let control = prop_oneof![
        4 => Just(VLAN), 4 => Just(SERVICE_VLAN), 1 => Just(0xE000 | VLAN), 1 => any::<u16>()
    ];
    (prop_oneof![2 => Just(CUSTOMER), 1 => Just(SERVICE)], control)
}

prop_compose! {
    /// Mostly right frames with something wrong here and there, cut anywhere.
    fn plausible()(
        group in prop::bool::weighted(0.05),
        tags in prop_oneof![
            2 => Just(vec![]),
            3 => prop::collection::vec(tag(), 0..4),
            1 => Just(vec![(SERVICE, SERVICE_VLAN), (CUSTOMER, VLAN)]),
        ],
        ethertype in prop_oneof![16 => Just(0x0800), 1 => Just(0x8100), 1 => any::<u16>()],
        version_and_length in prop_oneof![16 => Just(0x45), 1 => any::<u8>()],
        fragment in prop_oneof![8 => Just(0), 8 => Just(0x4000), 1 => any::<u16>()],
        protocol in prop_oneof![8 => Just(GRE), 4 => Just(UDP), 1 => any::<u8>()],
        source in prop_oneof![Just(PEER), Just(OTHER_PEER), any::<u32>().prop_map(Into::into)],
        destination in prop_oneof![
            4 => Just(LISTENER), 2 => Just(SUBSCRIBER), 1 => Just(OWN), 1 => Just(BY_KERNEL),
            1 => Just(STRANGER), 1 => any::<u32>().prop_map(Into::into)
        ],
        payload in gre(),
        total_length in prop::option::weighted(0.1, any::<u16>()),
        cut in prop::option::weighted(0.2, 14_usize..68),
    ) -> Vec<u8> {
        let mut frame = Frame::ipv4(protocol, source, destination, payload);
        frame.destination_mac[0] |= u8::from(group);
        frame.tags = tags;
        frame.ethertype = ethertype;
        frame.version_and_length = version_and_length;
        frame.fragment = fragment;
        frame.total_length = total_length.unwrap_or(frame.total_length);
        let mut bytes = frame.bytes();
        bytes.truncate(cut.unwrap_or(bytes.len()));
        bytes
    }
}

prop_compose! {
    fn plausible_ipv6()(
        group in prop::bool::weighted(0.05),
        tags in prop_oneof![
            2 => Just(vec![]),
            1 => prop::collection::vec(tag(), 0..3),
            1 => Just(vec![(SERVICE, SERVICE_VLAN), (CUSTOMER, VLAN)]),
        ],
        version in prop_oneof![16 => Just(0x60), 1 => any::<u8>()],
        next in any::<u8>(),
        destination in prop_oneof![
            4 => Just(SUBSCRIBER_IPV6), 2 => Just(OWN_IPV6), 2 => Just(BY_KERNEL_IPV6),
            1 => Just(STRANGER_IPV6), 1 => any::<Ipv6Addr>()
        ],
        host in prop::bool::weighted(0.5),
        payload in prop::collection::vec(any::<u8>(), 0..32),
        cut in prop::option::weighted(0.2, 14_usize..80),
    ) -> Vec<u8> {
        let mut frame = Ipv6Frame::new(next, destination, payload);
        frame.destination = Ipv6Addr::from_bits(destination.to_bits() ^ u128::from(host));
        frame.destination_mac[0] |= u8::from(group);
        frame.tags = tags;
        frame.version_and_class = version;
        let mut bytes = frame.bytes();
        bytes.truncate(cut.unwrap_or(bytes.len()));
        bytes
    }
}

#[test]
fn the_program_judges_every_frame_as_the_oracle_does() {
    let bench = RefCell::new(Bench::with_socket(Roles::Both));
    let frames = prop_oneof![
        8 => plausible(),
        4 => plausible_ipv6(),
        1 => prop::collection::vec(any::<u8>(), 14..100),
    ];
    let roles = prop_oneof![Just(Roles::Access), Just(Roles::Core), Just(Roles::Both)];
    proptest!(ProptestConfig::with_cases(4096), |(frame in frames, roles in roles)| {
        let mut bench = bench.borrow_mut();
        bench.set_roles(roles);
        prop_assert_eq!(bench.judge(&frame), expected(&frame, roles));
    });
}
