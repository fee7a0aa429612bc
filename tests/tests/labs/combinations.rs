//! What an operator switches on together: multilink, IPv6, bridging and interfaces for users, with
//! pppd where it has the feature and with our client mode where nobody else has.

use std::time::Duration;

use lab::capture::Capture;
use lab::netns::Namespace;
use lab::network::{Network, SERVER, gateway_of};
use lab::server::{Driver, Server};
use lab::uml::{Guest, Uplink};
use lab::wait;
use serde_json::Value;

use crate::bridging::office;
use crate::linux_ipv6::{CORE, PATTERN, PATTERN_BYTES, SETTINGS, give_ipv6};
use crate::linux_multilink::halves;

const LIMIT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(30);
const USERS: [(&str, &str); 1] = [("alice", "secret123")];
const BINDING: &str = "[[binding]]\nname = \"pptp-in1\"\nuser = \"alice\"\n";

/// Nothing passes forward by the user's interface.
fn forbid(place: &Namespace, word: &str) {
    let rule = format!(
        "add table inet t; add chain inet t c {{ type filter hook forward priority 0; }}; \
         add rule inet t c {word} pptp-in1 drop"
    );
    place.exec("nft", &[&rule]).unwrap();
}

fn permit(place: &Namespace) {
    place.exec("nft", &["delete table inet t"]).unwrap();
}

/// Full packets of both families in fragments, by an interface of the user's own.
fn full_packets_of_both_families(driver: Driver) {
    let network = Network::new().unwrap();
    give_ipv6(&network);
    let link = network.guest_link(2).unwrap();
    let uplink = Uplink { link: &link, address: "198.18.2.2/30", gateway: Some(gateway_of(2)) };
    let mut guest = Guest::boot(&network.internet, &uplink).unwrap();
    guest.load_ipv6().unwrap();
    let settings = format!("server.mrru = 1600\n{BINDING}{SETTINGS}");
    let server = Server::start(&network.concentrator, driver, &USERS, &settings).unwrap();
    let capture = Capture::start(&network.internet, "concentrator").unwrap();
    let options = "require-mppe-128 nomppe-stateful +ipv6 multilink mrru 1614";
    let dialled = guest.dial(SERVER, "alice", "secret123", options).unwrap();
    assert_eq!(dialled.status, 0, "{}\n{}", dialled.output, server.log());
    // pppd is up with the first family that is; an address that comes later takes routes away.
    let line = "until ip -4 -o address show dev ppp0 | grep -q peer; do sleep 0.1; done && \
                ip route replace 203.0.113.0/24 dev ppp0 && ip link set ppp0 mtu 1500 && \
                for n in 1 2 3 4 5 6 7 8 9; do \
                ip -6 -o address show dev ppp0 | grep -q 2001 && break; sleep 1; done";
    guest.run(line, LIMIT).unwrap().success().unwrap();
    let session = server.session_of("alice").unwrap();
    assert_eq!(session.mtu, 1500);

    let full = |to: &str, octets: u16, count: u8| {
        format!("ping -M do -s {octets} -c {count} -i 0.2 -W 2 -p {PATTERN} {to}")
    };
    for (to, octets) in [("203.0.113.2", 1472), (CORE, 1452)] {
        // The first packet may be lost with every server.
        let line = format!("ping -c 1 -W 1 {to}; {}", full(to, octets, 5));
        let pinged = guest.run(&line, LIMIT).unwrap().output;
        assert!(pinged.contains(" 5 received"), "{pinged}\n{}", server.log());
    }
    let asked = "ip -6 -o address show dev ppp0 | sed -n 's/.*inet6 \\(2001[^/]*\\).*/\\1/p'";
    let shown = guest.run(asked, LIMIT).unwrap().output;
    let own = shown.lines().find(|line| line.starts_with("2001:")).unwrap().to_owned();
    let address = session.address.unwrap().to_string();
    for (to, octets) in [(address.as_str(), "1472"), (own.as_str(), "1452")] {
        let arguments = ["-M", "do", "-s", octets, "-c", "5", "-i", "0.2", "-W", "2", to];
        let pinged = network.core.exec("ping", &arguments);
        assert!(pinged.is_ok_and(|said| said.contains(" 5 received")), "{to}\n{}", server.log());
    }

    // A rule that names the interface stops both families, each direction by itself.
    for word in ["iifname", "oifname"] {
        forbid(&network.concentrator, word);
        for (to, octets) in [("203.0.113.2", 1472), (CORE, 1452)] {
            let pinged = guest.run(&full(to, octets, 2), LIMIT).unwrap().output;
            assert!(pinged.contains(" 0 received"), "{word}: {pinged}");
        }
        permit(&network.concentrator);
    }
    let pinged = guest.run(&full(CORE, 1452, 3), LIMIT).unwrap().output;
    assert!(pinged.contains(" 3 received"), "{pinged}\n{}", server.log());
    let trace = capture.finish().unwrap();
    let (first, last) = halves(&trace, protocol::ppp::multilink::Format::Long);
    assert!(first >= 40 && last >= 40, "{first} first fragments, {last} last ones");
    assert_eq!(trace.holding(&PATTERN_BYTES), 0, "the pings' contents crossed in the clear");
    guest.power_off().unwrap();
    server.stop().unwrap();
}

#[test]
fn full_packets_of_both_families_pass_a_users_interface_over_raw_socket_and_tun() {
    full_packets_of_both_families(Driver::RawTun);
}

#[test]
fn full_packets_of_both_families_pass_a_users_interface_over_af_xdp() {
    full_packets_of_both_families(Driver::AfXdp);
}

/// Both daemons have their ports by AF_XDP. Frames go by the bridges, packets by the interfaces, and
/// a rule about the interface stops packets alone.
#[test]
fn a_bridged_session_with_an_interface_between_two_daemons_on_af_xdp() {
    let network = Network::new().unwrap();
    let far = network.subscriber(2).unwrap();
    let here = office(&network.concentrator, "here", "10.50.0.1/24", "stp_state 0");
    let there = office(&far, "there", "10.50.0.2/24", "stp_state 0");
    let profile = |local: &str| {
        format!(
            "server.mrru = 1600\n[[profile]]\nname = \"default\"\nlocal-address = \"{local}\"\n\
             remote-address = \"default\"\nbridge = \"br0\"\n"
        )
    };
    let settings = format!("{}{BINDING}", profile("10.99.0.1"));
    let server = Server::start(&network.concentrator, Driver::AfXdp, &USERS, &settings).unwrap();
    let settings = format!(
        "{}[[pool]]\nname = \"default\"\nranges = [\"10.77.0.2-10.77.0.254\"]\n[[client]]\n\
         name = \"office\"\nconnect-to = \"{SERVER}\"\nuser = \"alice\"\n\
         password = \"secret123\"\nmrru = 1600\nroutes = [\"203.0.113.0/24\"]\n\
         [[dataplane.interface]]\nname = \"wan\"\nrole = \"access\"\n",
        profile("10.77.0.1")
    );
    // The lab's own word for AF_XDP names the concentrator's ports.
    let daemon = Server::start(&far, Driver::RawTun, &[], &settings).unwrap();
    assert!(daemon.log().contains("AF_XDP"), "{}", daemon.log());
    wait::until("the tunnel", SOON, || {
        let list = daemon.command(&["client", "list", "--json"])?;
        let list: Vec<Value> = serde_json::from_str(&list)?;
        Ok((list[0]["status"] == "connected").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{}\n{}", daemon.log(), server.log()));

    let answers = |from: &Namespace, to: &str, octets: &str| {
        let _ = from.exec("ping", &["-c", "1", "-W", "1", to]);
        let arguments = ["-M", "do", "-s", octets, "-c", "4", "-i", "0.2", "-W", "2", to];
        from.exec("ping", &arguments).is_ok_and(|said| said.contains(" 4 received"))
    };
    wait::until("the bridges' ports", SOON, || {
        Ok(answers(&here, "10.50.0.2", "1472").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{}\n{}", daemon.log(), server.log()));
    assert!(answers(&there, "10.50.0.1", "1472"));
    assert!(answers(&far, "203.0.113.2", "1472"), "{}\n{}", daemon.log(), server.log());
    let printed = server.command(&["session", "list"]).unwrap();
    let row = printed.lines().find(|line| line.contains("alice")).unwrap();
    assert!(row.starts_with("R ") && row.contains("pptp-in1"), "{printed}");
    for word in ["iifname", "oifname"] {
        forbid(&network.concentrator, word);
        assert!(!answers(&far, "203.0.113.2", "1472"), "{word}");
        assert!(answers(&here, "10.50.0.2", "1472"), "{word}");
        permit(&network.concentrator);
    }
    assert!(answers(&far, "203.0.113.2", "1472"));
    daemon.stop().unwrap();
    server.stop().unwrap();
}
