//! Packet in, verdict and reason out, by BPF_PROG_RUN.

use super::frames::*;
use super::kernel::{CountingSocket, prog_run};
use super::*;
use crate::reason::Verdict;

/// Frames of BPF_PROG_RUN come in by it.
const LOOPBACK: u32 = 1;

/// The program with a tunnel, a listener and a subscribers' prefix, and perhaps a socket.
pub(super) struct Bench {
    steering: Steering,
    _socket: Option<CountingSocket>,
}

impl Bench {
    pub(super) fn new(roles: Roles) -> Self {
        let mut steering = load();
        steering.insert_listener(LISTENER).unwrap();
        steering.insert_tunnel(PEER, CALL_ID).unwrap();
        let prefix = Ipv4Addr::new(10, 20, 255, 255);
        steering.insert_prefix(prefix, 16, PrefixAction::Steer).unwrap();
        steering.insert_prefix(OWN, 32, PrefixAction::Own).unwrap();
        steering.insert_prefix(BY_KERNEL, 32, PrefixAction::Kernel).unwrap();
        steering.insert_prefix(SUBSCRIBER_IPV6, 48, PrefixAction::Steer).unwrap();
        steering.insert_prefix(OWN_IPV6, 128, PrefixAction::Own).unwrap();
        steering.insert_prefix(BY_KERNEL_IPV6, 64, PrefixAction::Kernel).unwrap();
        let mut bench = Self { steering, _socket: None };
        bench.set_roles(roles);
        bench
    }

    pub(super) fn with_socket(roles: Roles) -> Self {
        let mut bench = Self::new(roles);
        let socket = CountingSocket::unbound();
        bench.steering.maps.sockets.set(0, socket.as_fd().as_raw_fd(), 0).unwrap();
        bench._socket = Some(socket);
        bench
    }

    /// As `attach` would, without touching the machine's loopback.
    pub(super) fn set_roles(&mut self, roles: Roles) {
        for tags in [Tags::None, VLAN.to_string().parse().unwrap(), qinq()] {
            self.set_port(tags, roles, 1);
        }
    }

    fn set_port(&mut self, tags: Tags, roles: Roles, queues: u32) {
        let entry = PortEntry { roles: roles.bits(), first_socket: 0, queues };
        self.steering.maps.ports.set(PortKey::new(LOOPBACK, tags), entry).unwrap();
    }

    /// The one reason that was counted. Asserts that the verdict is that reason's.
    pub(super) fn judge(&mut self, frame: &[u8]) -> Reason {
        let before = self.steering.counters().unwrap();
        let program: &mut Xdp = program(&mut self.steering.ebpf).unwrap();
        let verdict = match prog_run(program.fd().unwrap().as_fd(), frame) {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            4 => Verdict::Redirect,
            other => panic!("verdict {other}"),
        };
        let after = self.steering.counters().unwrap();
        let counted: Vec<(Reason, u64)> = Reason::ALL
            .into_iter()
            .map(|reason| (reason, after.get(reason) - before.get(reason)))
            .filter(|(_, packets)| *packets > 0)
            .collect();
        let [(reason, 1)] = counted[..] else { panic!("one packet, one reason: {counted:?}") };
        assert_eq!(verdict, reason.verdict(), "{reason:?}");
        reason
    }
}

fn qinq() -> Tags {
    format!("{SERVICE_VLAN}.{VLAN}").parse().unwrap()
}

fn udp(destination: Ipv4Addr) -> Frame {
    Frame::ipv4(UDP, STRANGER, destination, vec![0; 16])
}

#[test]
fn gre_of_a_known_tunnel_goes_to_the_queues_socket() {
    let frame = pptp(PEER, LISTENER, CALL_ID).bytes();
    for roles in [Roles::Access, Roles::Both] {
        assert_eq!(Bench::with_socket(roles).judge(&frame), Reason::RedirectTunnel);
    }
}

#[test]
fn gre_of_a_known_tunnel_goes_to_the_kernel_where_no_socket_waits() {
    let frame = pptp(PEER, LISTENER, CALL_ID).bytes();
    assert_eq!(Bench::new(Roles::Access).judge(&frame), Reason::PassGreNoSocket);
}

#[test]
fn gre_by_a_queue_that_the_port_does_not_have_goes_to_the_kernel() {
    let mut bench = Bench::with_socket(Roles::Both);
    bench.set_port(Tags::None, Roles::Both, 0);
    assert_eq!(bench.judge(&pptp(PEER, LISTENER, CALL_ID).bytes()), Reason::PassGreNoSocket);
    assert_eq!(bench.judge(&udp(SUBSCRIBER).bytes()), Reason::PassSubscriberNoSocket);
}

#[test]
fn gre_of_no_known_tunnel_is_dropped() {
    let mut bench = Bench::with_socket(Roles::Access);
    let unused = pptp(PEER, LISTENER, UNUSED_CALL_ID).bytes();
    assert_eq!(bench.judge(&unused), Reason::DropUnknownTunnel);
    let others = pptp(OTHER_PEER, LISTENER, CALL_ID).bytes();
    assert_eq!(bench.judge(&others), Reason::DropOtherPeer);
}

#[test]
fn a_tunnel_is_unknown_again_when_it_is_gone() {
    let mut bench = Bench::with_socket(Roles::Access);
    let frame = pptp(PEER, LISTENER, CALL_ID).bytes();
    bench.steering.insert_tunnel(OTHER_PEER, CALL_ID).unwrap();
    bench.steering.remove_tunnel(PEER, CALL_ID).unwrap();
    assert_eq!(bench.judge(&frame), Reason::DropOtherPeer);
    bench.steering.remove_tunnel(OTHER_PEER, CALL_ID).unwrap();
    assert_eq!(bench.judge(&frame), Reason::DropUnknownTunnel);
}

#[test]
fn gre_to_an_address_where_pptp_is_not_served_is_the_kernels() {
    let mut bench = Bench::with_socket(Roles::Access);
    let frame = pptp(PEER, LISTENER, UNUSED_CALL_ID).bytes();
    let foreign = pptp(PEER, STRANGER, CALL_ID).bytes();
    assert_eq!(bench.judge(&foreign), Reason::PassNoCoreRole);
    bench.set_roles(Roles::Both);
    assert_eq!(bench.judge(&foreign), Reason::PassNoPrefix);
    bench.steering.remove_listener(LISTENER).unwrap();
    assert_eq!(bench.judge(&frame), Reason::PassNoPrefix);
}

/// A subscriber may run a tunnel of its own through us.
#[test]
fn gre_to_a_subscriber_is_a_subscribers_packet() {
    let frame = pptp(STRANGER, SUBSCRIBER, CALL_ID).bytes();
    assert_eq!(Bench::with_socket(Roles::Both).judge(&frame), Reason::RedirectSubscriber);
}

#[test]
fn gre_to_a_listener_by_a_core_port_is_the_kernels() {
    let frame = pptp(PEER, LISTENER, CALL_ID).bytes();
    assert_eq!(Bench::with_socket(Roles::Core).judge(&frame), Reason::PassNoPrefix);
}

/// RFC 2637 §4.1: version 1, protocol type 0x880B, key present.
#[test]
fn gre_that_is_not_pptps_is_the_kernels() {
    let mut bench = Bench::with_socket(Roles::Access);
    let pptp = pptp(PEER, LISTENER, CALL_ID);
    for (octet, value) in [(1, 0x00), (1, 0x02), (2, 0x08), (3, 0x00), (0, 0x10)] {
        let mut frame = pptp.clone();
        frame.payload[octet] = value;
        assert_eq!(bench.judge(&frame.bytes()), Reason::PassGreNotPptp, "{octet}: {value:#04x}");
    }
}

#[test]
fn gre_with_acknowledgement_alone_is_steered_too() {
    let mut frame = pptp(PEER, LISTENER, CALL_ID);
    frame.payload[0] = 0x20;
    frame.payload[1] = 0x81;
    assert_eq!(Bench::with_socket(Roles::Access).judge(&frame.bytes()), Reason::RedirectTunnel);
}

#[test]
fn a_truncated_frame_is_the_kernels_at_every_length() {
    let mut bench = Bench::with_socket(Roles::Both);
    for frame in [pptp(PEER, LISTENER, CALL_ID), pptp(PEER, LISTENER, UNUSED_CALL_ID)] {
        let bytes = frame.bytes();
        for length in 14..34 {
            assert_eq!(bench.judge(&bytes[..length]), Reason::PassShort, "{length}");
        }
        for length in 34..42 {
            assert_eq!(bench.judge(&bytes[..length]), Reason::PassGreShort, "{length}");
        }
    }
    let bytes = udp(SUBSCRIBER).bytes();
    for length in 14..34 {
        assert_eq!(bench.judge(&bytes[..length]), Reason::PassShort, "{length}");
    }
}

#[test]
fn ethernet_padding_is_no_gre_header() {
    let mut bench = Bench::with_socket(Roles::Access);
    let mut frame = pptp(PEER, LISTENER, CALL_ID);
    for total_length in [0, 20, 27] {
        frame.total_length = total_length;
        assert_eq!(bench.judge(&frame.bytes()), Reason::PassGreShort, "{total_length}");
    }
}

#[test]
fn fragments_are_the_kernels() {
    const MORE_FRAGMENTS: u16 = 0x2000;
    let mut bench = Bench::with_socket(Roles::Both);
    for mut frame in [pptp(PEER, LISTENER, CALL_ID), udp(SUBSCRIBER)] {
        for fragment in [MORE_FRAGMENTS, 0x0001, 0x1FFF, MORE_FRAGMENTS | 0x00B9] {
            frame.fragment = fragment;
            assert_eq!(bench.judge(&frame.bytes()), Reason::PassFragment, "{fragment:#06x}");
        }
    }
}

#[test]
fn whole_packets_are_steered_whatever_the_dont_fragment_bit_says() {
    let mut bench = Bench::with_socket(Roles::Both);
    for fragment in [0x0000, 0x4000] {
        let mut frame = pptp(PEER, LISTENER, CALL_ID);
        frame.fragment = fragment;
        assert_eq!(bench.judge(&frame.bytes()), Reason::RedirectTunnel);
    }
}

#[test]
fn ip_options_are_the_kernels() {
    let mut bench = Bench::with_socket(Roles::Both);
    for mut frame in [pptp(PEER, LISTENER, CALL_ID), udp(SUBSCRIBER)] {
        for version_and_length in [0x46, 0x4F, 0x44, 0x65, 0x00] {
            frame.version_and_length = version_and_length;
            assert_eq!(bench.judge(&frame.bytes()), Reason::PassIpOptions);
        }
    }
}

#[test]
fn what_carries_no_ip_is_the_kernels() {
    let mut bench = Bench::with_socket(Roles::Both);
    let mut frame = pptp(PEER, LISTENER, CALL_ID);
    for (ethertype, reason) in [(0x0806, Reason::PassNotIp), (0x0026, Reason::PassNotIp)] {
        frame.ethertype = ethertype;
        assert_eq!(bench.judge(&frame.bytes()), reason, "{ethertype:#06x}");
    }
}

/// RFC 1812 §5.3.4.
#[test]
fn what_was_broadcast_on_the_link_is_the_kernels() {
    let mut frame = udp(SUBSCRIBER);
    frame.destination_mac = [0xFF; 6];
    let reason = Bench::with_socket(Roles::Both).judge(&frame.bytes());
    assert_eq!(reason, Reason::PassGroupAddress);
}

#[test]
fn the_control_connection_is_the_kernels() {
    let segment = [4, 0, 1723_u16.to_be_bytes()[0], 1723_u16.to_be_bytes()[1]];
    let frame = Frame::ipv4(TCP, PEER, LISTENER, segment.repeat(5)).bytes();
    assert_eq!(Bench::with_socket(Roles::Access).judge(&frame), Reason::PassNoCoreRole);
    assert_eq!(Bench::with_socket(Roles::Both).judge(&frame), Reason::PassNoPrefix);
}

#[test]
fn packets_to_subscribers_are_steered_by_core_ports_only() {
    let frame = udp(SUBSCRIBER).bytes();
    for (roles, reason) in [
        (Roles::Core, Reason::RedirectSubscriber),
        (Roles::Both, Reason::RedirectSubscriber),
        (Roles::Access, Reason::DropAccessToSubscriber),
    ] {
        assert_eq!(Bench::with_socket(roles).judge(&frame), reason);
    }
    assert_eq!(Bench::new(Roles::Core).judge(&frame), Reason::PassSubscriberNoSocket);
}

/// The kernel would forward it into the tunnel: whole, in fragments, with options, by any protocol.
#[test]
fn nobody_on_an_access_port_reaches_a_subscriber() {
    let mut bench = Bench::with_socket(Roles::Access);
    for subscriber in [SUBSCRIBER, BY_KERNEL] {
        for mut frame in [udp(subscriber), pptp(PEER, subscriber, CALL_ID)] {
            for (version_and_length, fragment) in [(0x45, 0), (0x46, 0), (0x45, 0x2000), (0x4F, 9)]
            {
                (frame.version_and_length, frame.fragment) = (version_and_length, fragment);
                assert_eq!(bench.judge(&frame.bytes()), Reason::DropAccessToSubscriber);
            }
        }
    }
    // A subscriber may reach our own address there, and whoever is none of them.
    for destination in [OWN, STRANGER] {
        assert_eq!(bench.judge(&udp(destination).bytes()), Reason::PassNoCoreRole);
    }
}

#[test]
fn an_address_where_pptp_is_served_may_lie_among_subscribers() {
    let mut bench = Bench::with_socket(Roles::Access);
    bench.steering.insert_prefix(LISTENER, 24, PrefixAction::Steer).unwrap();
    let connection = Frame::ipv4(TCP, PEER, LISTENER, vec![0; 20]);
    assert_eq!(bench.judge(&connection.bytes()), Reason::PassNoCoreRole);
    assert_eq!(bench.judge(&pptp(PEER, LISTENER, CALL_ID).bytes()), Reason::RedirectTunnel);
    let mut piece = pptp(PEER, LISTENER, CALL_ID);
    piece.fragment = 0x2000;
    assert_eq!(bench.judge(&piece.bytes()), Reason::PassFragment);
}

#[test]
fn the_longest_prefix_decides() {
    let mut bench = Bench::with_socket(Roles::Core);
    for exempt in [OWN, BY_KERNEL] {
        assert_eq!(bench.judge(&udp(exempt).bytes()), Reason::PassExemptPrefix);
    }
    bench.steering.remove_prefix(OWN, 32).unwrap();
    assert_eq!(bench.judge(&udp(OWN).bytes()), Reason::RedirectSubscriber);
    bench.steering.remove_prefix(SUBSCRIBER, 16).unwrap();
    assert_eq!(bench.judge(&udp(OWN).bytes()), Reason::PassNoPrefix);
    bench.steering.insert_prefix(STRANGER, 0, PrefixAction::Steer).unwrap();
    assert_eq!(bench.judge(&udp(OWN).bytes()), Reason::RedirectSubscriber);
}

#[test]
fn an_unknown_port_is_the_kernels() {
    let mut bench = Bench::with_socket(Roles::Both);
    bench.steering.maps.ports.remove(PortKey::new(LOOPBACK, Tags::None)).unwrap();
    let frame = pptp(PEER, LISTENER, UNUSED_CALL_ID).bytes();
    assert_eq!(bench.judge(&frame), Reason::PassUnknownPort);
}

/// IEEE 802.1Q: three bits of priority and one of drop eligibility stand before the VLAN ID.
#[test]
fn tagged_packets_are_steered_whatever_their_priority() {
    let mut bench = Bench::with_socket(Roles::Both);
    for control in [VLAN, 0xF000 | VLAN] {
        for tags in [vec![(CUSTOMER, control)], vec![(SERVICE, SERVICE_VLAN), (CUSTOMER, control)]]
        {
            let mut frame = pptp(PEER, LISTENER, CALL_ID);
            frame.tags.clone_from(&tags);
            assert_eq!(bench.judge(&frame.bytes()), Reason::RedirectTunnel);
            frame = udp(SUBSCRIBER);
            frame.tags = tags;
            assert_eq!(bench.judge(&frame.bytes()), Reason::RedirectSubscriber);
        }
    }
}

#[test]
fn each_vlan_has_a_role_of_its_own() {
    let mut bench = Bench::with_socket(Roles::Core);
    bench.set_port(qinq(), Roles::Access, 1);
    let (core, access) = (vec![(CUSTOMER, VLAN)], vec![(SERVICE, SERVICE_VLAN), (CUSTOMER, VLAN)]);
    for (mut frame, tags, reason) in [
        (pptp(PEER, LISTENER, CALL_ID), &access, Reason::RedirectTunnel),
        (pptp(PEER, LISTENER, CALL_ID), &core, Reason::PassNoPrefix),
        (udp(SUBSCRIBER), &core, Reason::RedirectSubscriber),
        (udp(SUBSCRIBER), &access, Reason::DropAccessToSubscriber),
    ] {
        frame.tags.clone_from(tags);
        assert_eq!(bench.judge(&frame.bytes()), reason);
    }
}

#[test]
fn tags_without_a_role_are_the_kernels() {
    let mut bench = Bench::with_socket(Roles::Both);
    let mut frame = pptp(PEER, LISTENER, CALL_ID);
    let whole = (SERVICE, SERVICE_VLAN);
    for (tags, reason) in [
        (vec![(CUSTOMER, VLAN + 1)], Reason::PassVlan),
        // A tag of priority alone.
        (vec![(CUSTOMER, 0)], Reason::PassVlan),
        (vec![(SERVICE, VLAN)], Reason::PassVlan),
        (vec![whole], Reason::PassVlan),
        (vec![whole, (CUSTOMER, VLAN + 1)], Reason::PassVlan),
        (vec![(CUSTOMER, SERVICE_VLAN), (CUSTOMER, VLAN)], Reason::PassVlan),
        (vec![whole, (CUSTOMER, VLAN), (CUSTOMER, VLAN)], Reason::PassNotIp),
    ] {
        frame.tags = tags;
        assert_eq!(bench.judge(&frame.bytes()), reason, "{:?}", frame.tags);
    }
}

#[test]
fn a_frame_that_ends_within_a_tag_is_the_kernels() {
    let mut bench = Bench::with_socket(Roles::Both);
    let mut frame = pptp(PEER, LISTENER, CALL_ID);
    frame.tags = vec![(SERVICE, SERVICE_VLAN), (CUSTOMER, VLAN)];
    let bytes = frame.bytes();
    for length in 14..42 {
        assert_eq!(bench.judge(&bytes[..length]), Reason::PassShort, "{length}");
    }
}

/// What is behind the header is not looked at: options, fragments, or PPTP's GRE number.
#[test]
fn ipv6_is_judged_by_its_destination_alone() {
    const OPTIONS: u8 = 0;
    const FRAGMENT: u8 = 44;
    let mut bench = Bench::with_socket(Roles::Both);
    for (to, core, access) in [
        (SUBSCRIBER_IPV6, Reason::RedirectSubscriberIpv6, Reason::DropAccessToSubscriber),
        (BY_KERNEL_IPV6, Reason::PassExemptPrefix, Reason::DropAccessToSubscriber),
        (OWN_IPV6, Reason::PassExemptPrefix, Reason::PassNoCoreRole),
        (STRANGER_IPV6, Reason::PassNoPrefix, Reason::PassNoCoreRole),
        (Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 1), Reason::PassNoPrefix, Reason::PassNoCoreRole),
    ] {
        for next in [UDP, TCP, GRE, OPTIONS, FRAGMENT] {
            let mut frame = Ipv6Frame::new(next, to, vec![0; 16]);
            for tags in
                [vec![], vec![(CUSTOMER, VLAN)], vec![(SERVICE, SERVICE_VLAN), (CUSTOMER, VLAN)]]
            {
                frame.tags = tags;
                let bytes = frame.bytes();
                for (roles, reason) in
                    [(Roles::Core, core), (Roles::Both, core), (Roles::Access, access)]
                {
                    bench.set_roles(roles);
                    assert_eq!(bench.judge(&bytes), reason, "{to} {next}");
                }
            }
        }
    }
    let frame = Ipv6Frame::new(UDP, SUBSCRIBER_IPV6, vec![]).bytes();
    assert_eq!(Bench::new(Roles::Core).judge(&frame), Reason::PassSubscriberNoSocket);
}

#[test]
fn what_is_no_whole_packet_of_ipv6_for_us_is_the_kernels() {
    let mut bench = Bench::with_socket(Roles::Core);
    let mut frame = Ipv6Frame::new(UDP, SUBSCRIBER_IPV6, vec![0; 8]);
    let bytes = frame.bytes();
    for length in 14..54 {
        assert_eq!(bench.judge(&bytes[..length]), Reason::PassShort, "{length}");
    }
    assert_eq!(bench.judge(&bytes[..54]), Reason::RedirectSubscriberIpv6);
    for version in [0x45, 0x50, 0x70, 0x00] {
        frame.version_and_class = version;
        assert_eq!(bench.judge(&frame.bytes()), Reason::PassNotIp, "{version:#04x}");
    }
    frame.version_and_class = 0x6F;
    assert_eq!(bench.judge(&frame.bytes()), Reason::RedirectSubscriberIpv6, "a traffic class");
    frame.destination_mac = [0x33, 0x33, 0, 0, 0, 1];
    assert_eq!(bench.judge(&frame.bytes()), Reason::PassGroupAddress);
}
