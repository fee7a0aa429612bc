//! Two offices' bridges joined by PPTP (BCP, RFC 3518): our client mode against our server, for no
//! other peer with BCP runs here; so what crossed is read by tshark, which is none of ours.

use std::time::Duration;

use lab::capture::Capture;
use lab::netns::{self, Namespace};
use lab::network::{Network, SERVER};
use lab::packet::{Direction, PacketSocket};
use lab::server::{Driver, Server};
use lab::wait;

const SOON: Duration = Duration::from_secs(30);
const USERS: [(&str, &str); 3] =
    [("alice", "secret123"), ("bob", "secret123"), ("carol", "secret123")];
/// Carried by the tagged frame.
const PATTERN: &[u8] = b"a frame of VLAN 7, and no other";

/// A bridge in a namespace, and a host behind it.
pub fn office(place: &Namespace, label: &str, address: &str, bridge: &str) -> Namespace {
    place.ip("link add br0 type bridge").unwrap();
    place.ip(&format!("link set br0 type bridge {bridge}")).unwrap();
    place.ip("link set br0 up").unwrap();
    let host = Namespace::new(label).unwrap();
    netns::join((place, "lan"), (&host, "eth0")).unwrap();
    place.ip("link set lan master br0").unwrap();
    host.address("eth0", address).unwrap();
    host
}

fn settings(encryption: &str, more: &str) -> String {
    format!(
        "[server]\nmrru = 1600\nencryption = \"{encryption}\"\n\
         [[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\n\
         remote-address = \"default\"\nbridge = \"br0\"\n{more}"
    )
}

fn client(name: &str, user: &str) -> String {
    format!(
        "[[client]]\nname = \"{name}\"\nconnect-to = \"{SERVER}\"\nuser = \"{user}\"\n\
         password = \"secret123\"\nmrru = 1600\n"
    )
}

/// A daemon that dials from its own office.
fn branch(place: &Namespace, encryption: &str, clients: &[(&str, &str)]) -> Server {
    let clients: String = clients.iter().map(|(name, user)| client(name, user)).collect();
    let pool = "[[pool]]\nname = \"default\"\nranges = [\"10.77.0.2-10.77.0.254\"]\n";
    let text = settings(encryption, &format!("{pool}{clients}")).replace("10.99.0.1", "10.77.0.1");
    Server::start(place, Driver::RawTun, &[], &text).unwrap()
}

fn pings(from: &Namespace, to: &str, octets: &str) {
    wait::until("a ping", SOON, || {
        let once = ["-c", "1", "-W", "1", to];
        Ok(from.exec("ping", &once).is_ok().then_some(()))
    })
    .unwrap();
    let arguments = ["-M", "do", "-s", octets, "-c", "5", "-i", "0.2", "-W", "2", to];
    let pinged = from.exec("ping", &arguments).unwrap();
    assert!(pinged.contains(" 5 received"), "{pinged}");
}

/// A frame of VLAN 7 from one host to the other.
fn tagged_frame_crosses(from: &Namespace, to: &Namespace, octets: usize) {
    let sender = PacketSocket::open(from, "eth0", Direction::Incoming).unwrap();
    let receiver = PacketSocket::open(to, "eth0", Direction::Incoming).unwrap();
    let mut frame = [&[0xFF; 6][..], &[2, 0, 0, 0, 0, 7], &[0x81, 0, 0, 7, 0x88, 0xB5]].concat();
    frame.extend_from_slice(PATTERN);
    frame.resize(octets, 0);
    sender.send(&frame).unwrap();
    let mut buffer = [0; 2048];
    wait::until("the tagged frame", SOON, || {
        let length = receiver.receive(&mut buffer, Duration::from_millis(100))?;
        let came = length.is_some_and(|length| {
            buffer[..length].windows(PATTERN.len()).any(|window| window == PATTERN)
        });
        Ok(came.then_some(()))
    })
    .unwrap();
}

#[test]
fn two_bridges_are_one_lan_with_full_frames_and_tags_beside_routed_packets() {
    for (encryption, driver) in [("require", Driver::AfXdp), ("deny", Driver::RawTun)] {
        let network = Network::new().unwrap();
        let far = network.subscriber(2).unwrap();
        let here = office(&network.concentrator, "here", "10.50.0.1/24", "stp_state 0");
        let there = office(&far, "there", "10.50.0.2/24", "stp_state 0");
        let capture = Capture::start(&network.internet, "concentrator").unwrap();
        let text = settings(encryption, "");
        let server = Server::start(&network.concentrator, driver, &USERS, &text).unwrap();
        let daemon = branch(&far, encryption, &[("office", "alice")]);
        pings(&here, "10.50.0.2", "1472");
        pings(&there, "10.50.0.1", "1472");
        // The longest that Ethernet has travels in fragments, a short one does not.
        for octets in [1518, 100] {
            tagged_frame_crosses(&there, &here, octets);
            tagged_frame_crosses(&here, &there, octets);
        }
        // IP by the same session: RouterOS routes and bridges at once.
        pings(&far, "10.99.0.1", "1400");
        let drops = server.session_of("alice").unwrap().drops;
        assert!(!drops.contains_key("frame_refused"), "{drops:?}");
        daemon.stop().unwrap();
        wait::until("the end of the TAP", SOON, || {
            let ports = network.concentrator.ip("link show master br0")?;
            Ok((!ports.contains("ptap")).then_some(()))
        })
        .unwrap();
        server.stop().unwrap();

        let trace = capture.finish().unwrap();
        if encryption == "require" {
            assert_eq!(trace.holding(PATTERN), 0, "a frame crossed in the clear");
            continue;
        }
        // Not our own word for it: tshark reads options and frames.
        let options = trace.tshark("bcp_ncp", &["bcp_ncp.lcp.opt.type"]).unwrap();
        assert!(options.len() >= 4 && options.iter().all(|types| types == "3,8"), "{options:?}");
        // Ethernet, tagged frames, and spanning trees inline, which tshark shows as text only.
        assert_eq!(trace.holding(&[3, 3, 1, 8, 3, 1, 9, 2]), options.len());
        let frames = ["bcp_bpdu.flags", "bcp_bpdu.mac_type", "eth.src", "vlan.id"];
        let frames = trace.tshark("bcp_bpdu && !_ws.malformed", &frames).unwrap();
        let tagged = frames.iter().filter(|frame| frame.contains("02:00:00:00:00:07"));
        assert!(tagged.clone().count() >= 2, "{frames:?}");
        assert!(tagged.clone().all(|frame| frame.ends_with("\t7")), "{frames:?}");
        assert_eq!(trace.tshark("bcp_bpdu && _ws.malformed", &["frame.number"]).unwrap().len(), 0);
    }
}

/// The manual: a bridge should have an administrative MAC, for links of PPP have none. Ours have one
/// that no bridge takes for its own, even where the operator gave it none.
#[test]
fn a_bridge_keeps_its_mac_and_mtu_while_sessions_come_and_go() {
    let network = Network::new().unwrap();
    let far = network.subscriber(2).unwrap();
    let _here = office(&network.concentrator, "here", "10.50.0.1/24", "stp_state 0");
    let _there = office(&far, "there", "10.50.0.2/24", "stp_state 0");
    let of_bridge = || {
        let shown = network.concentrator.ip("-o link show br0").unwrap();
        let after = |word: &str| {
            let rest = shown.split(word).nth(1).unwrap_or_default();
            rest.split_whitespace().next().unwrap_or_default().to_owned()
        };
        (after("link/ether "), after(" mtu "))
    };
    let before = of_bridge();
    assert!(!before.0.is_empty() && before.1 == "1500", "{before:?}");
    let text = settings("require", "");
    let server = Server::start(&network.concentrator, Driver::RawTun, &USERS, &text).unwrap();
    let daemon = branch(&far, "require", &[("one", "alice"), ("two", "bob")]);
    for user in ["alice", "bob"] {
        server.session_of(user).unwrap();
    }
    let ports = || network.concentrator.ip("-o link show master br0").unwrap();
    wait::until("both ports", SOON, || Ok((ports().matches("ptap").count() == 2).then_some(())))
        .unwrap();
    assert!(ports().contains("link/ether fe:"), "{}", ports());
    assert_eq!(of_bridge(), before);
    daemon.stop().unwrap();
    wait::until("no port", SOON, || Ok((!ports().contains("ptap")).then_some(()))).unwrap();
    assert_eq!(of_bridge(), before);
    server.stop().unwrap();
}

/// Without `mrru` a full frame does not fit, and nothing can cut it.
#[test]
fn frames_that_are_too_long_are_dropped_counted_and_said() {
    let network = Network::new().unwrap();
    let far = network.subscriber(2).unwrap();
    let here = office(&network.concentrator, "here", "10.50.0.1/24", "stp_state 0");
    let _there = office(&far, "there", "10.50.0.2/24", "stp_state 0");
    let text = settings("require", "").replace("mrru = 1600", "");
    let server = Server::start(&network.concentrator, Driver::RawTun, &USERS, &text).unwrap();
    let daemon = branch(&far, "require", &[("office", "alice")]);
    pings(&here, "10.50.0.2", "1300");
    let arguments = ["-M", "do", "-s", "1472", "-c", "2", "-i", "0.2", "-W", "1", "10.50.0.2"];
    here.exec("ping", &arguments).unwrap_err();
    let drops = server.session_of("alice").unwrap().drops;
    assert_eq!(drops.get("frame_refused"), Some(&2), "{drops:?}");
    assert!(server.log().contains("give both ends `mrru`"), "{}", server.log());
    daemon.stop().unwrap();
    server.stop().unwrap();
}

/// Two tunnels between the same two bridges: the bridges' spanning tree, whose packets cross, opens
/// the loop. A third office, on a tunnel of its own, is on the same LAN.
#[test]
fn a_loop_of_tunnels_is_opened_by_the_spanning_tree() {
    const TREE: &str = "stp_state 1 forward_delay 200 hello_time 100 max_age 600";
    let network = Network::new().unwrap();
    let (far, third) = (network.subscriber(2).unwrap(), network.subscriber(3).unwrap());
    let here = office(&network.concentrator, "here", "10.50.0.1/24", TREE);
    let there = office(&far, "there", "10.50.0.2/24", TREE);
    let elsewhere = office(&third, "elsewhere", "10.50.0.3/24", TREE);
    let text = settings("require", "");
    let server = Server::start(&network.concentrator, Driver::RawTun, &USERS, &text).unwrap();
    let twice = branch(&far, "require", &[("one", "alice"), ("two", "bob")]);
    let once = branch(&third, "require", &[("three", "carol")]);
    wait::until("a port that blocks", SOON, || {
        let ports = [&network.concentrator, &far, &third];
        let links = ports.map(|place| place.exec("bridge", &["link"]));
        Ok(links.iter().flatten().any(|links| links.contains("state blocking")).then_some(()))
    })
    .unwrap();
    pings(&here, "10.50.0.2", "1472");
    pings(&elsewhere, "10.50.0.2", "1472");
    pings(&there, "10.50.0.3", "56");
    for daemon in [twice, once, server] {
        daemon.stop().unwrap();
    }
}
