//! A real Linux client, pppd with pptp-linux in User Mode Linux, dials the concentrator.

use std::time::Duration;

use lab::capture::{Capture, Trace};
use lab::network::{SERVER, gateway_of};
use lab::scene::Scene;
use lab::server::Driver;
use lab::uml::{Guest, Uplink};

const LIMIT: Duration = Duration::from_secs(60);
/// What pings carry: 16 bytes that a cipher would hardly make.
const PATTERN: &str = "5eedfacec0ffee00";
const PATTERN_BYTES: [u8; 8] = [0x5e, 0xed, 0xfa, 0xce, 0xc0, 0xff, 0xee, 0x00];
const ENCRYPTED: &str = "require-mppe-128";

/// A guest on the link of subscriber 2, and a capture of all that it sends and receives.
fn guest(scene: &Scene) -> (Guest, Capture) {
    let link = scene.network.guest_link(2).unwrap();
    let capture = Capture::start(&scene.network.internet, &link).unwrap();
    let uplink = Uplink { link: &link, address: "198.18.2.2/30", gateway: Some(gateway_of(2)) };
    (Guest::boot(&scene.network.internet, &uplink).unwrap(), capture)
}

/// Dials, pings the core, and checks the session as the daemon shows it.
fn dial_and_ping(scene: &Scene, guest: &mut Guest, user: (&str, &str), options: &str) {
    let dialled = guest.dial(SERVER, user.0, user.1, options).unwrap();
    assert_eq!(dialled.status, 0, "{}\n{}", dialled.output, scene.server.log());
    assert!(
        dialled.output.contains("MPPE 128-bit stateless compression enabled"),
        "{}",
        dialled.output
    );
    guest.run("ip route replace 203.0.113.0/24 dev ppp0", LIMIT).unwrap().success().unwrap();
    // The first packet may be lost with every server.
    guest.run("ping -c 1 -W 1 203.0.113.2", LIMIT).unwrap();
    let ping = format!("ping -c 3 -i 0.2 -W 2 -p {PATTERN} 203.0.113.2");
    let pinged = guest.run(&ping, LIMIT).unwrap();
    assert!(pinged.output.contains(" 3 received"), "{}\n{}", pinged.output, scene.server.log());
    // From one byte to the MTU, unfragmented.
    let session = scene.server.session_of(user.0).unwrap();
    // MPPE's header and the inner protocol field take four bytes of the MRU (RFC 3078 §3.1).
    let largest = session.mtu.min(session.mru - 4) - 28;
    for size in [1, 100, 1000, largest] {
        let ping = format!("ping -c 1 -W 2 -M do -s {size} -p {PATTERN} 203.0.113.2");
        let pinged = guest.run(&ping, LIMIT).unwrap();
        assert!(pinged.output.contains(" 1 received"), "{size}: {}", pinged.output);
    }
    let session = scene.server.session_of(user.0).unwrap();
    assert_eq!(session.encoding, "MPPE128 stateless");
    assert!(session.rx_packets >= 7 && session.tx_packets >= 7, "{session:?}");
}

/// Ends pppd in good order and waits until the daemon knows.
fn hang_up(scene: &Scene, guest: &mut Guest, user: &str) {
    let line = "kill $(head -n 1 /run/ppp0.pid); while [ -e /run/ppp0.pid ]; do sleep 0.2; done";
    guest.run(line, LIMIT).unwrap();
    lab::wait::until("the end of the session", Duration::from_secs(10), || {
        let sessions = scene.server.sessions()?;
        Ok(sessions.iter().all(|session| session.user.as_deref() != Some(user)).then_some(()))
    })
    .unwrap();
}

/// No inner byte crossed in the clear, and tshark reads the control connection.
fn judge(trace: &Trace) {
    assert_eq!(trace.holding(&PATTERN_BYTES), 0, "the pings' contents crossed in the clear");
    let plain = trace.tshark("gre && ip.src == 203.0.113.2", &["frame.number"]).unwrap();
    assert!(plain.is_empty(), "tshark sees inner packets in frames {plain:?}");
    let messages = trace.control_messages().unwrap();
    assert_eq!(messages[..4], ["SCCRQ", "SCCRP", "OCRQ", "OCRP"]);
}

fn dials_twice_in_one_boot(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let (mut guest, capture) = guest(&scene);
    dial_and_ping(&scene, &mut guest, ("alice", "secret123"), ENCRYPTED);
    hang_up(&scene, &mut guest, "alice");
    dial_and_ping(&scene, &mut guest, ("bob", "hunter2"), &format!("{ENCRYPTED} novj noipv6"));
    hang_up(&scene, &mut guest, "bob");
    guest.power_off().unwrap();
    judge(&capture.finish().unwrap());
    scene.witness_is_well().unwrap();
    scene.server.stop().unwrap();
}

#[test]
fn pppd_dials_over_raw_socket_and_tun_with_default_options_and_with_fewer() {
    dials_twice_in_one_boot(Driver::RawTun);
}

#[test]
fn pppd_dials_over_af_xdp_with_default_options_and_with_fewer() {
    dials_twice_in_one_boot(Driver::AfXdp);
}

#[test]
fn pppd_is_refused_with_a_wrong_password_as_an_unknown_user_and_without_encryption() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let (mut guest, capture) = guest(&scene);
    for (user, password, options, said) in [
        ("alice", "wrong", ENCRYPTED, "authentication failed"),
        ("nobody", "secret123", ENCRYPTED, "authentication failed"),
        ("alice", "secret123", "nomppe", "terminat"),
    ] {
        let dialled = guest.dial(SERVER, user, password, options).unwrap();
        assert_ne!(dialled.status, 0, "{user} {options}: {}", dialled.output);
        let output = dialled.output.to_lowercase();
        assert!(output.contains(said), "{user} {options}: {}", dialled.output);
    }
    guest.power_off().unwrap();
    capture.finish().unwrap().control_messages().unwrap();
    assert_eq!(scene.server.sessions().unwrap().len(), 1, "the witness alone");
    scene.witness_is_well().unwrap();
}
