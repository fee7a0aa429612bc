//! A real pppd that may choose its address (Framed-IP-Address 255.255.255.255, RFC 2865 §5.8): it
//! gets the one that it wants while that is nobody else's, and one of its profile otherwise.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::network::{SERVER, gateway_of};
use lab::radius::scene::Scene;
use lab::uml::{Guest, Uplink};
use lab::wait;

const LIMIT: Duration = Duration::from_secs(60);
const USERS: &str = "alice Cleartext-Password := \"secret123\"\n\
    \tFramed-IP-Address = 255.255.255.255\n\
    bob Cleartext-Password := \"secret123\"\n\tFramed-IP-Address = 10.98.0.5\n";

#[test]
fn pppd_gets_the_address_that_it_chooses_unless_that_is_somebody_elses() {
    let scene = Scene::new(USERS, "").unwrap();
    let link = scene.network.guest_link(2).unwrap();
    let uplink = Uplink { link: &link, address: "198.18.2.2/30", gateway: Some(gateway_of(2)) };
    let mut guest = Guest::boot(&scene.network.internet, &uplink).unwrap();
    let other = scene.network.subscriber(1).unwrap();
    let bob = scene.dial(&other, "bob", "secret123", &[]).unwrap();
    scene.network.core.ip("route add 10.98.0.0/16 via 203.0.113.1").unwrap();
    for (wish, expected) in [
        ("10.98.0.9", Some(Ipv4Addr::new(10, 98, 0, 9))),
        // Another session's, a neighbour's and our own.
        ("10.98.0.5", None),
        ("203.0.113.77", None),
        ("203.0.113.1", None),
    ] {
        let dialled = guest
            .dial(
                SERVER,
                "alice",
                "secret123",
                &format!("{wish}: ipcp-accept-local require-mppe-128 nomppe-stateful"),
            )
            .unwrap();
        assert_eq!(dialled.status, 0, "{wish}: {}\n{}", dialled.output, scene.logs());
        let address = scene.server.session_of("alice").unwrap().address.unwrap();
        match expected {
            Some(expected) => assert_eq!(address, expected, "{}", scene.logs()),
            None => assert!(address.to_string().starts_with("10.99."), "{wish}: {address}"),
        }
        guest.run("ip route replace 203.0.113.2/32 dev ppp0", LIMIT).unwrap().success().unwrap();
        let pinged = guest
            .run("ping -c 1 -W 1 203.0.113.2; ping -c 2 -i 0.2 -W 2 203.0.113.2", LIMIT)
            .unwrap();
        assert!(pinged.output.contains(" 2 received"), "{}\n{}", pinged.output, scene.logs());
        let line =
            "kill $(head -n 1 /run/ppp0.pid); while [ -e /run/ppp0.pid ]; do sleep 0.2; done";
        guest.run(line, LIMIT).unwrap();
        wait::until("the end of the session", Duration::from_secs(10), || {
            Ok((scene.server.sessions()?.len() == 1).then_some(()))
        })
        .unwrap();
    }
    bob.hang_up().unwrap();
}
