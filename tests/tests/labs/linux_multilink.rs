//! pppd in User Mode Linux with multilink: full packets that may not be fragmented pass the tunnel
//! both ways, in frames of protocol 0x003D, with MPPE and without, long and short headers.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::capture::{Capture, Trace, ppp_of};
use lab::network::{Network, SERVER, gateway_of};
use lab::server::{Driver, Server};
use lab::uml::{Guest, Uplink};
use protocol::ppp::Protocol;
use protocol::ppp::multilink::{Format, Header};

const LIMIT: Duration = Duration::from_secs(60);
/// What pings carry: bytes that a cipher would hardly make.
const PATTERN: &str = "5eedfacec0ffee00";
const PATTERN_BYTES: [u8; 8] = [0x5e, 0xed, 0xfa, 0xce, 0xc0, 0xff, 0xee, 0x00];

/// Fragments that begin a packet and do not end it, and those that do the opposite.
pub(crate) fn halves(trace: &Trace, format: Format) -> (usize, usize) {
    let headers = trace.frames().iter().filter_map(|frame| ppp_of(frame)).filter_map(|frame| {
        let (protocol, fragment) = frame;
        Header::parse(format, fragment).filter(|_| protocol == Protocol::MULTILINK)
    });
    headers.fold((0, 0), |(first, last), (header, _)| {
        let is = |yes: bool| usize::from(yes);
        (first + is(header.begin && !header.end), last + is(header.end && !header.begin))
    })
}

/// Dials, and sends packets of 1500 octets that may not be fragmented to and fro.
fn exchange(network: &Network, guest: &mut Guest, server: &Server, options: &str) -> Ipv4Addr {
    let dialled = guest.dial(SERVER, "alice", "secret123", options).unwrap();
    assert_eq!(dialled.status, 0, "{}\n{}", dialled.output, server.log());
    let route = "ip route replace 203.0.113.0/24 dev ppp0 && ip link set ppp0 mtu 1500";
    guest.run(route, LIMIT).unwrap().success().unwrap();
    // The first packet may be lost with every server.
    let ping = format!(
        "ping -c 1 -W 1 203.0.113.2; \
         ping -M do -s 1472 -c 10 -i 0.2 -W 2 -p {PATTERN} 203.0.113.2"
    );
    let pinged = guest.run(&ping, LIMIT).unwrap();
    assert!(pinged.output.contains(" 10 received"), "{}\n{}", pinged.output, server.log());
    let session = server.session_of("alice").unwrap();
    assert_eq!(session.mtu, 1500);
    let address = session.address.unwrap();
    let arguments = ["-M", "do", "-s", "1472", "-c", "10", "-i", "0.2", "-W", "2"];
    let to = address.to_string();
    let pinged = network.core.exec("ping", &[&arguments[..], &[&to]].concat()).unwrap();
    assert!(pinged.contains(" 10 received"), "{pinged}");
    address
}

fn hang_up(guest: &mut Guest) {
    let line = "kill $(head -n 1 /run/ppp0.pid); while [ -e /run/ppp0.pid ]; do sleep 0.2; done";
    guest.run(line, LIMIT).unwrap();
}

#[test]
fn full_packets_pass_between_pppd_and_us_in_fragments() {
    let network = Network::new().unwrap();
    let link = network.guest_link(2).unwrap();
    let uplink = Uplink { link: &link, address: "198.18.2.2/30", gateway: Some(gateway_of(2)) };
    let mut guest = Guest::boot(&network.internet, &uplink).unwrap();
    let dials = [
        (Driver::RawTun, "require", "require-mppe-128 nomppe-stateful", Format::Long),
        (Driver::AfXdp, "require", "require-mppe-128 nomppe-stateful mpshortseq", Format::Short),
        (Driver::RawTun, "deny", "nomppe", Format::Long),
    ];
    for (driver, encryption, options, format) in dials {
        let settings = format!("[server]\nmrru = 1600\nencryption = \"{encryption}\"\n");
        let users = [("alice", "secret123")];
        let server = Server::start(&network.concentrator, driver, &users, &settings).unwrap();
        let capture = Capture::start(&network.internet, "concentrator").unwrap();
        let options = format!("multilink mrru 1614 {options}");
        exchange(&network, &mut guest, &server, &options);
        let shown = server.command(&["session", "show", "1"]).unwrap();
        assert!(shown.contains("1600"), "{shown}");
        let stats = server.stats().unwrap();
        for name in ["multilink_sent", "multilink_received"] {
            assert!(stats.packets[name] >= 20, "{name}: {:?}", stats.packets);
        }
        hang_up(&mut guest);
        let trace = capture.finish().unwrap();
        // Pings and answers each way; none of the packets crossed whole, nor as fragments of IP.
        let (first, last) = halves(&trace, format);
        assert!(first >= 40 && last >= 40, "{first} first fragments, {last} last ones");
        let crossed = trace.holding(&PATTERN_BYTES);
        assert_eq!(crossed == 0, encryption == "require", "{crossed} frames in the clear");
        server.stop().unwrap();
    }
    guest.power_off().unwrap();
}

#[test]
fn pppd_does_without_where_we_do() {
    let network = Network::new().unwrap();
    let link = network.guest_link(2).unwrap();
    let uplink = Uplink { link: &link, address: "198.18.2.2/30", gateway: Some(gateway_of(2)) };
    let mut guest = Guest::boot(&network.internet, &uplink).unwrap();
    let users = [("alice", "secret123")];
    let server = Server::start(&network.concentrator, Driver::RawTun, &users, "").unwrap();
    let options = "require-mppe-128 nomppe-stateful multilink mrru 1614";
    let dialled = guest.dial(SERVER, "alice", "secret123", options).unwrap();
    assert_eq!(dialled.status, 0, "{}\n{}", dialled.output, server.log());
    assert_eq!(server.session_of("alice").unwrap().mtu, 1450);
    let shown = server.command(&["session", "show", "1"]).unwrap();
    assert!(shown.lines().any(|line| line.contains("mrru") && line.contains("disabled")));
    server.stop().unwrap();
    guest.power_off().unwrap();
}
