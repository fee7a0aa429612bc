//! pppd in User Mode Linux proves itself by each method, to a FreeRADIUS and to our own users, and
//! is refused by each with a wrong password. One guest and one boot: the daemon is what is started
//! anew.

use std::time::Duration;

use lab::capture::{Capture, ppp_of};
use lab::network::{Network, SERVER, gateway_of};
use lab::radius::scene::Scene;
use lab::server::{Driver, Server};
use lab::uml::{Guest, Uplink};
use lab::wait;
use protocol::ppp::Protocol;

const LIMIT: Duration = Duration::from_secs(60);
/// What pings carry: bytes that a cipher would hardly make.
const PATTERN: &str = "5eedfacec0ffee00";
const PATTERN_BYTES: [u8; 8] = [0x5e, 0xed, 0xfa, 0xce, 0xc0, 0xff, 0xee, 0x00];
const OURS: [(&str, &str); 1] = [("alice", "secret123")];
const RADIUS: &str =
    "alice Cleartext-Password := \"secret123\"\nbob Cleartext-Password := \"hunter2\"\n";
const ALL: &str = "[server]\nauthentication = [\"mschap2\", \"mschap1\", \"chap\", \"pap\"]";

/// What pppd may not use, so that one method is left, and what it says of that one.
const METHODS: [(&str, &str, &str); 4] = [
    ("PAP", "refuse-chap refuse-mschap refuse-mschap-v2 refuse-eap", "PAP authentication"),
    ("CHAP-MD5", "refuse-pap refuse-mschap refuse-mschap-v2 refuse-eap", "CHAP authentication"),
    ("MS-CHAPv1", "refuse-pap refuse-chap refuse-mschap-v2 refuse-eap", "CHAP authentication"),
    ("MS-CHAPv2", "refuse-pap refuse-chap refuse-mschap refuse-eap", "CHAP authentication"),
];

fn guest(network: &Network) -> Guest {
    let link = network.guest_link(2).unwrap();
    let uplink = Uplink { link: &link, address: "198.18.2.2/30", gateway: Some(gateway_of(2)) };
    Guest::boot(&network.internet, &uplink).unwrap()
}

/// Pings the core through the tunnel that is up, and hangs up.
fn ping_and_hang_up(server: &Server, guest: &mut Guest) {
    guest.run("ip route replace 203.0.113.0/24 dev ppp0", LIMIT).unwrap().success().unwrap();
    // The first packet may be lost with every server.
    let ping =
        format!("ping -c 1 -W 1 203.0.113.2; ping -c 2 -i 0.2 -W 2 -p {PATTERN} 203.0.113.2");
    let pinged = guest.run(&ping, LIMIT).unwrap();
    assert!(pinged.output.contains(" 2 received"), "{}\n{}", pinged.output, server.log());
    let line = "kill $(head -n 1 /run/ppp0.pid); while [ -e /run/ppp0.pid ]; do sleep 0.2; done";
    guest.run(line, LIMIT).unwrap();
    wait::until("the end of the session", Duration::from_secs(10), || {
        Ok(server.sessions()?.is_empty().then_some(()))
    })
    .unwrap();
}

#[test]
fn pppd_proves_itself_by_every_method_and_fails_by_each_with_a_wrong_password() {
    let scene = Scene::new(RADIUS, &format!("{ALL}\nencryption = \"deny\"\n")).unwrap();
    let mut guest = guest(&scene.network);
    let server = &scene.server;
    for (method, refusals, said) in METHODS {
        let options = format!("{refusals} nomppe");
        let dialled = guest.dial(SERVER, "alice", "secret123", &options).unwrap();
        assert_eq!(dialled.status, 0, "{method}: {}\n{}", dialled.output, server.log());
        assert!(dialled.output.contains(&format!("{said} succeeded")), "{}", dialled.output);
        assert_eq!(server.session_of("alice").unwrap().encoding, "none");
        ping_and_hang_up(server, &mut guest);

        let dialled = guest.dial(SERVER, "bob", "wrong", &options).unwrap();
        assert_ne!(dialled.status, 0, "{method}: {}\n{}", dialled.output, server.log());
        assert!(dialled.output.contains(&format!("{said} failed")), "{}", dialled.output);
        assert!(server.sessions().unwrap().is_empty());
    }
    assert_eq!(scene.radius.requests().unwrap().len(), 8);
    let Scene { server, network, .. } = scene;
    server.stop().unwrap();

    // The same methods where data must be encrypted: those that give no keys are not offered.
    let settings = format!("{ALL}\nencryption = \"require\"\n");
    let server = Server::start(&network.concentrator, Driver::RawTun, &OURS, &settings).unwrap();
    let capture = Capture::start(&network.internet, "concentrator").unwrap();
    for (method, refusals, said) in &METHODS[2..] {
        let options = format!("{refusals} require-mppe-128 nomppe-stateful");
        let dialled = guest.dial(SERVER, "alice", "secret123", &options).unwrap();
        assert_eq!(dialled.status, 0, "{method}: {}\n{}", dialled.output, server.log());
        assert!(dialled.output.contains(&format!("{said} succeeded")), "{}", dialled.output);
        assert_eq!(server.session_of("alice").unwrap().encoding, "MPPE128 stateless", "{method}");
        ping_and_hang_up(&server, &mut guest);
    }
    for (method, refusals, _) in &METHODS[..2] {
        let dialled = guest.dial(SERVER, "alice", "secret123", refusals).unwrap();
        assert_ne!(dialled.status, 0, "{method}: {}", dialled.output);
        // The log says it in an operator's words.
        let said = format!("client offers {method} only");
        wait::until(&said, LIMIT, || Ok(server.log().contains(&said).then_some(())))
            .unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    }
    let trace = capture.finish().unwrap();
    assert_eq!(trace.holding(&PATTERN_BYTES), 0, "the pings' contents crossed in the clear");
    assert_eq!(trace.holding(b"secret123"), 0, "the password crossed in the clear");
    guest.power_off().unwrap();
    server.stop().unwrap();
}

/// RFC 1994 §2: a challenge may come at any time. The session goes on beside it, with the keys that
/// it has, until the answer is wrong.
#[test]
fn pppd_is_asked_again_and_again_until_its_password_is_another() {
    let network = Network::new().unwrap();
    let mut guest = guest(&network);
    let settings = format!(
        "{ALL}\nencryption = \"prefer\"\nchap-interval = \"1s\"\n\
         [[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\n\
         remote-address = \"default\"\nonly-one = \"yes\"\n"
    );
    let server = Server::start(&network.concentrator, Driver::RawTun, &OURS, &settings).unwrap();
    server.command_with_input(&["user", "add", "bob"], "secret123\n").unwrap();
    for (method, refusals, said) in &METHODS[1..] {
        let capture = Capture::start(&network.internet, "concentrator").unwrap();
        let dialled = guest.dial(SERVER, "alice", "secret123", refusals).unwrap();
        assert_eq!(dialled.status, 0, "{method}: {}\n{}", dialled.output, server.log());
        assert!(dialled.output.contains(&format!("{said} succeeded")), "{}", dialled.output);
        let session = server.session_of("alice").unwrap();
        guest.run("ip route replace 203.0.113.0/24 dev ppp0", LIMIT).unwrap().success().unwrap();
        let pinged = guest.run("ping -c 25 -i 0.2 -W 2 203.0.113.2", LIMIT).unwrap();
        let lost = |line: &&str| line.contains("packet loss");
        let loss = pinged.output.lines().find(lost).unwrap_or_default();
        // The first packet may be lost with every server.
        assert!([" 25 received", " 24 received"].iter().any(|word| loss.contains(word)), "{loss}");
        assert_eq!(server.session_of("alice").unwrap().id, session.id);
        ping_and_hang_up(&server, &mut guest);
        let trace = capture.finish().unwrap();
        let codes = |wanted: u8| {
            let frames = trace.frames().iter().filter_map(|frame| ppp_of(frame));
            let is_it = |(protocol, packet): &(Protocol, &[u8])| {
                *protocol == Protocol::CHAP && packet.first() == Some(&wanted)
            };
            frames.filter(is_it).count()
        };
        let [challenges, responses, successes] = [1, 2, 3].map(codes);
        let all = [challenges, responses, successes];
        assert!(successes >= 4, "{method}: {all:?}");
        assert!(challenges <= successes + 2 && responses <= successes + 2, "{method}: {all:?}");
    }
    // Whose password is another meanwhile is put out at the next challenge, with the reason.
    let dialled = guest.dial(SERVER, "bob", "secret123", "require-mppe-128").unwrap();
    assert_eq!(dialled.status, 0, "{}\n{}", dialled.output, server.log());
    server.command_with_input(&["user", "set", "bob", "--password"], "another\n").unwrap();
    let end = wait::until("the end of bob's session", Duration::from_secs(20), || {
        let is_it = |line: &&str| line.contains("session ended") && line.contains("bob");
        Ok(server.log().lines().find(is_it).map(str::to_owned))
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    assert!(end.contains("password"), "{end}");
    assert!(server.sessions().unwrap().is_empty());
    guest.power_off().unwrap();
    server.stop().unwrap();
}
