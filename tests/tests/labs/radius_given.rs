//! Networks, pools and limits that a real FreeRADIUS gives, where two sessions are given the same
//! and where what is given is somebody else's.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::client::Client;
use lab::radius::Record;
use lab::radius::scene::{ECHO, Scene};
use lab::{traffic, wait};

const SOON: Duration = Duration::from_secs(20);

const USERS: &str = "one Cleartext-Password := \"secret123\"\n\
    \tFramed-Route = \"10.97.0.0/24 0.0.0.0 1\",\n\
    \tFramed-Route += \"10.96.0.0/24\",\n\
    \tFramed-Route += \"203.0.113.0/24\",\n\
    \tFramed-Route += \"10.99.0.0/24\",\n\
    \tFramed-Route += \"0.0.0.0/0 0.0.0.0 1\"\n\
    two Cleartext-Password := \"secret123\"\n\
    \tFramed-Route = \"10.97.0.0/24 0.0.0.0 1\"\n\
    masked Cleartext-Password := \"secret123\"\n\
    \tFramed-IP-Address = 10.95.0.9,\n\tFramed-IP-Netmask = 255.255.255.248\n\
    pooled Cleartext-Password := \"secret123\"\n\tFramed-Pool = \"big\"\n\
    lost Cleartext-Password := \"secret123\"\n\tFramed-Pool = \"gone\"\n\
    thief Cleartext-Password := \"secret123\"\n\tFramed-IP-Address = 10.94.0.1\n\
    capped Cleartext-Password := \"secret123\"\n\tMikrotik-Total-Limit = 20000\n\
    sender Cleartext-Password := \"secret123\"\n\tMikrotik-Recv-Limit = 10000\n\
    receiver Cleartext-Password := \"secret123\"\n\tMikrotik-Xmit-Limit = 10000\n";

const POOL: &str = "[[pool]]\nname = \"big\"\nranges = [\"10.93.0.2-10.93.0.9\"]\n\
    [[pool]]\nname = \"default\"\nranges = [\"10.99.0.2-10.99.0.99\"]\n\
    [[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\nremote-address = \"default\"\n";

/// The concentrator's routes to these, as the kernel prints them.
fn routes(scene: &Scene, network: &str) -> String {
    scene.network.concentrator.ip(&format!("route show {network}")).unwrap()
}

/// Waits until the concentrator has a route of its tunnels to this network.
fn await_routed(scene: &Scene, network: &str) {
    let routed = wait::until(&format!("a route to {network}"), SOON, || {
        Ok(routes(scene, network).contains("dev penstock").then_some(()))
    });
    routed.unwrap_or_else(|error| panic!("{error}\n{}", scene.logs()));
}

fn hang_up(scene: &Scene, client: Client, user: &str) {
    client.hang_up().unwrap();
    scene.await_gone(user).unwrap();
}

#[test]
fn networks_of_two_sessions_stay_until_the_last_one_ends_and_others_networks_are_left_alone() {
    let scene = Scene::new(USERS, "").unwrap();
    let [first, second, third] = [1, 2, 3].map(|number| scene.network.subscriber(number).unwrap());
    let lan = routes(&scene, "203.0.113.0/24");
    let pool = routes(&scene, "10.99.0.0/24");
    let one = scene.dial(&first, "one", "secret123", &[]).unwrap();
    // RFC 2865 §5.22: several, and each that is not somebody else's.
    await_routed(&scene, "10.97.0.0/24");
    await_routed(&scene, "10.96.0.0/24");
    scene.server.session_of("one").unwrap();
    assert_eq!(routes(&scene, "203.0.113.0/24"), lan);
    assert_eq!(routes(&scene, "10.99.0.0/24"), pool);
    assert!(!routes(&scene, "default").contains("penstock"), "{}", scene.logs());
    scene.await_log(&["WARN", "203.0.113.0/24"]).unwrap();
    scene.await_log(&["WARN", "0.0.0.0/0"]).unwrap();

    let two = scene.dial(&second, "two", "secret123", &[]).unwrap();
    scene.server.session_of("two").unwrap();
    scene.network.core.ip("route add 10.97.0.0/24 via 203.0.113.1").unwrap();
    first.ip("address add 10.97.0.9/32 dev lo").unwrap();
    let behind = Ipv4Addr::new(10, 97, 0, 9);
    // The newer of the two had it, and the other one has it again.
    hang_up(&scene, two, "two");
    await_routed(&scene, "10.97.0.0/24");
    let pinged = scene.network.core.run(|| traffic::ping_exchange(behind, [56, 1000], 3));
    assert_eq!(pinged.unwrap_or_default().returned, 2, "{}", scene.logs());
    hang_up(&scene, one, "one");
    wait::until("the routes' end", SOON, || {
        let left = routes(&scene, "10.97.0.0/24") + &routes(&scene, "10.96.0.0/24");
        Ok(left.is_empty().then_some(()))
    })
    .unwrap();

    // RFC 2865 §5.9: the network that the address lies in is behind the subscriber.
    let masked = scene.dial(&third, "masked", "secret123", &[]).unwrap();
    await_routed(&scene, "10.95.0.8/29");
    hang_up(&scene, masked, "masked");
}

#[test]
fn a_users_own_end_of_the_tunnel_goes_with_the_last_session_that_has_it() {
    let scene = Scene::new(USERS, "").unwrap();
    for user in ["anna", "boris"] {
        let add = ["user", "add", user, "--local-address", "10.92.0.1"];
        scene.server.command_with_input(&add, "known here\n").unwrap();
    }
    let has = || {
        let addresses = scene.network.concentrator.ip("-4 address show dev penstock").unwrap();
        addresses.contains("10.92.0.1")
    };
    let [first, second] = [1, 2].map(|number| scene.network.subscriber(number).unwrap());
    let anna = scene.dial(&first, "anna", "known here", &[]).unwrap();
    let boris = scene.dial(&second, "boris", "known here", &[]).unwrap();
    for user in ["anna", "boris"] {
        scene.server.session_of(user).unwrap();
    }
    wait::until("the address", SOON, || Ok(has().then_some(()))).unwrap();
    hang_up(&scene, anna, "anna");
    let own = Ipv4Addr::new(10, 92, 0, 1);
    let pinged = second.run(|| traffic::ping_exchange(own, [56], 3)).unwrap();
    assert_eq!(pinged.returned, 1, "{}", scene.logs());
    hang_up(&scene, boris, "boris");
    wait::until("the address's end", SOON, || Ok((!has()).then_some(()))).unwrap();
}

#[test]
fn pools_and_addresses_of_radius_are_given_or_refused_with_the_reason() {
    let scene = Scene::new(USERS, POOL).unwrap();
    let add = ["user", "add", "owner", "--remote-address", "10.94.0.1"];
    scene.server.command_with_input(&add, "known here\n").unwrap();
    let [first, second] = [1, 2].map(|number| scene.network.subscriber(number).unwrap());
    let pooled = scene.dial(&first, "pooled", "secret123", &[]).unwrap();
    let session = scene.server.session_of("pooled").unwrap();
    assert_eq!(session.address, Some(Ipv4Addr::new(10, 93, 0, 2)));
    scene.network.core.ip("route add 10.93.0.0/24 via 203.0.113.1").unwrap();
    let exchanged = first.run(|| traffic::udp_exchange(ECHO, [100, 1000], 3)).unwrap();
    assert_eq!(exchanged.returned, 2, "{}", scene.logs());
    for (user, reason) in [
        ("lost", "there is no pool `gone`"),
        // It is kept for the user to whom it belongs.
        ("thief", "10.94.0.1 belongs to a local user"),
    ] {
        assert_ne!(scene.refused(&second, user, "secret123", &[]).unwrap(), Some(0));
        scene.await_log(&["login failed", user, reason]).unwrap();
    }
    pooled.hang_up().unwrap();
}

#[test]
fn octet_limits_of_radius_end_sessions_that_used_them_up() {
    let scene = Scene::new(USERS, "").unwrap();
    let subscribers = [1, 2, 3].map(|number| scene.network.subscriber(number).unwrap());
    let users = ["capped", "sender", "receiver"];
    let reasons = ["total limit", "receive limit", "transmit limit"];
    let mut clients = Vec::new();
    for (subscriber, user) in subscribers.iter().zip(users) {
        clients.push(scene.dial(subscriber, user, "secret123", &[]).unwrap());
        // 12 of 1000 octets each way: more than all of the limits.
        let sizes = [1000; 12];
        subscriber.run(|| traffic::udp_exchange(ECHO, sizes, 1)).unwrap();
    }
    for ((client, user), reason) in clients.iter_mut().zip(users).zip(reasons) {
        client.process().wait_exit(SOON).unwrap();
        scene.await_log(&["session ended", user, reason]).unwrap();
        let of =
            |record: &&Record| record.get("User-Name") == Some(user) && record.status() == "Stop";
        let stop =
            scene.radius.await_accounting("the stop", |all| all.iter().find(of).cloned()).unwrap();
        assert_eq!(stop.get("Acct-Terminate-Cause"), Some("NAS-Request"), "{stop:#?}");
    }
}
