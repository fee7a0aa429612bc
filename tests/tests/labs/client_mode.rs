//! A daemon that dials: RouterOS's `/interface pptp-client`, its statuses, its routes, and what it
//! does with servers that are none. The server is ours here; a Linux one stands in `linux.rs`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use lab::netns::Namespace;
use lab::network::{CORE, SERVER, address_of, gateway_of};
use lab::scene::Scene;
use lab::server::{Driver, Server};
use lab::traffic;
use lab::wait;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
/// What the dialling daemon itself serves: nothing that meets the other one's addresses.
const OWN: &str = "\
[[profile]]
name = \"default\"
local-address = \"10.77.0.1\"
remote-address = \"default\"
[[pool]]
name = \"default\"
ranges = [\"10.77.0.2-10.77.0.254\"]
";
const DECLARED: &str = "\
[[client]]
name = \"to-office\"
connect-to = \"192.0.2.1\"
user = \"alice\"
password = \"secret123\"
routes = [\"203.0.113.0/24\"]
comment = \"declared\"
";

fn client(daemon: &Server, name: &str) -> Value {
    let clients = daemon.command(&["client", "list", "--json"]).unwrap();
    let clients: Vec<Value> = serde_json::from_str(&clients).unwrap();
    let found = clients.into_iter().find(|client| client["name"] == name);
    found.unwrap_or_else(|| panic!("no client {name}"))
}

/// Waits until a client is as `is` says, and gives it.
fn becomes(daemon: &Server, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let found = wait::until(&format!("{name}: {what}"), SOON, || {
        let client = client(daemon, name);
        Ok(is(&client).then_some(client))
    });
    found.unwrap_or_else(|error| panic!("{error}\n{:#}\n{}", client(daemon, name), daemon.log()))
}

fn connected(daemon: &Server, name: &str) -> Value {
    becomes(daemon, name, "connected", |client| client["status"] == "connected")
}

fn terminated(daemon: &Server, name: &str, reason: &str) -> Value {
    becomes(daemon, name, reason, |client| {
        client["reason"].as_str().is_some_and(|said| said.contains(reason))
    })
}

fn routes(namespace: &Namespace) -> String {
    namespace.ip("route show").unwrap()
}

/// A daemon in a subscriber's namespace.
fn dialler(scene: &Scene, settings: &str) -> (Namespace, Server) {
    let subscriber = scene.network.subscriber(2).unwrap();
    let daemon = Server::start(&subscriber, Driver::RawTun, &[("carol", "pw")], settings).unwrap();
    (subscriber, daemon)
}

fn dials_and_comes_back(server: Driver, ports: &str) {
    let scene = Scene::new(server, "").unwrap();
    let (subscriber, daemon) = dialler(&scene, &format!("{OWN}{DECLARED}{ports}"));
    let up = connected(&daemon, "to-office");
    assert_eq!(up["encoding"], "MPPE128 stateless");
    assert_eq!((up["mtu"].as_u64(), up["mru"].as_u64()), (Some(1446), Some(1450)));
    assert_eq!(
        (up["running"].as_bool(), up["source"].as_str()),
        (Some(true), Some("configuration"))
    );
    let session = scene.server.session_of("alice").unwrap();
    assert_eq!(up["local-address"], session.address.unwrap().to_string());
    // The kernel routes by the client's own interface, whose line is up.
    let link = subscriber.ip("-o link show to-office").unwrap();
    assert!(link.contains("LOWER_UP") && link.contains("mtu 1446"), "{link}");
    subscriber.run(|| traffic::ping_exchange(CORE, [56, 1000, 1418], 5)).unwrap();

    // The server ends the session: the client says why, waits, and dials again by itself.
    scene.server.command(&["session", "disconnect", "--user", "alice"]).unwrap();
    terminated(&daemon, "to-office", "hung up");
    let again = becomes(&daemon, "to-office", "connected again", |client| {
        client["status"] == "connected" && client["calls"] == 2
    });
    assert_eq!(again["reason"], Value::Null);
    subscriber.run(|| traffic::ping_exchange(CORE, [56], 5)).unwrap();

    // What the file declares, commands do not change.
    for command in [&["client", "disable", "to-office"][..], &["client", "remove", "to-office"]] {
        let refused = daemon.command(command).unwrap_err().to_string();
        assert!(refused.contains("declared in the configuration file"), "{refused}");
    }
    daemon.stop().unwrap();
    let left = subscriber.ip("-o link").unwrap();
    assert!(!left.contains("to-office"), "{left}");
    wait::until("the end of the session", SOON, || {
        let sessions = scene.server.sessions()?;
        Ok(sessions.iter().all(|session| session.user.as_deref() != Some("alice")).then_some(()))
    })
    .unwrap();
    scene.witness_is_well().unwrap();
}

#[test]
fn a_client_dials_and_comes_back_over_raw_socket_and_tun() {
    dials_and_comes_back(Driver::RawTun, "");
}

#[test]
fn a_client_dials_and_comes_back_where_af_xdp_has_the_port() {
    let port = "[[dataplane.interface]]\nname = \"wan\"\nrole = \"access\"\n";
    dials_and_comes_back(Driver::AfXdp, port);
}

/// The manual: server for some connections and client for others.
#[test]
fn one_daemon_serves_some_and_dials_others_at_once() {
    let scene = Scene::new(Driver::AfXdp, "").unwrap();
    let (subscriber, daemon) = dialler(&scene, &format!("{OWN}{DECLARED}"));
    connected(&daemon, "to-office");
    subscriber.sysctl("net/ipv4/ip_forward", "1").unwrap();
    // A branch dials the daemon that dials the office; what the branch sends goes on by there.
    let branch = scene.network.subscriber(3).unwrap();
    let mut carol = lab::client::Client::dial(&branch, address_of(2), "carol", "pw").unwrap();
    carol.wait_up().unwrap();
    let address = daemon.session_of("carol").unwrap().address.unwrap();
    // The office knows no way to the branch's inner address: the way there is the test's own.
    let office = client(&daemon, "to-office")["local-address"].as_str().unwrap().to_owned();
    subscriber
        .exec(
            "nft",
            &["add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; \\
              add rule ip t c oifname to-office masquerade"],
        )
        .unwrap();
    branch.run(|| traffic::ping_exchange(CORE, [56, 1000], 5)).unwrap();
    assert!(address.to_string() != office);
    scene.witness_is_well().unwrap();
}

#[test]
fn a_default_route_leads_into_the_tunnel_and_leaves_no_trace() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let (subscriber, daemon) = dialler(&scene, OWN);
    let before = routes(&subscriber);
    let add = ["client", "add", "--connect-to", "192.0.2.1", "--user", "alice"];
    let added = daemon
        .command_with_input(&[&add[..], &["--add-default-route", "yes"]].concat(), "secret123\n")
        .unwrap();
    assert_eq!(added.trim(), "name: pptp-out1");
    connected(&daemon, "pptp-out1");
    let during = routes(&subscriber);
    assert!(during.contains("0.0.0.0/1 dev pptp-out1"), "{during}");
    // The server stays reachable as it was: the tunnel does not swallow itself.
    assert!(during.contains(&format!("{SERVER} via {} dev wan", gateway_of(2))), "{during}");
    subscriber.run(|| traffic::ping_exchange(CORE, [56, 1000], 5)).unwrap();
    let session = scene.server.session_of("alice").unwrap();
    assert!(session.rx_packets > 1, "{session:?}");

    // With a distance it is one default route among others.
    daemon.command(&["client", "set", "pptp-out1", "--default-route-distance", "50"]).unwrap();
    let is_default = |routes: &str| {
        let mut lines = routes.lines().filter(|line| line.starts_with("default dev pptp-out1 "));
        lines.any(|line| line.contains("metric 50"))
    };
    wait::until("the other default route", SOON, || {
        Ok(is_default(&routes(&subscriber)).then_some(()))
    })
    .unwrap();
    assert!(!routes(&subscriber).contains("0.0.0.0/1"));

    daemon.command(&["client", "disable", "pptp-out1"]).unwrap();
    let off = terminated(&daemon, "pptp-out1", "disabled");
    assert_eq!(off["status"], "terminated");
    wait::until("the routes as they were", SOON, || {
        Ok((routes(&subscriber) == before).then_some(()))
    })
    .unwrap();
    daemon.command(&["client", "enable", "pptp-out1"]).unwrap();
    connected(&daemon, "pptp-out1");
    let shown = daemon.command(&["client", "monitor", "pptp-out1", "--once"]).unwrap();
    assert!(shown.contains("status: connected") && shown.contains("MPPE128 stateless"), "{shown}");
    daemon.command(&["client", "remove", "pptp-out1"]).unwrap();
    assert!(daemon.command(&["client", "monitor", "pptp-out1", "--once"]).is_err());
    wait::until("the end of the interface", SOON, || {
        Ok((!subscriber.ip("-o link")?.contains("pptp-out1")).then_some(()))
    })
    .unwrap();
}

/// The machine's own routes stay as they are, whatever a client is told to route, and are there when
/// it has gone.
#[test]
fn the_machines_own_routes_are_left_alone() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let (subscriber, daemon) = dialler(&scene, OWN);
    subscriber.ip(&format!("route add 10.44.0.0/16 via {}", gateway_of(2))).unwrap();
    subscriber.ip(&format!("route add default via {} metric 5", gateway_of(2))).unwrap();
    // The operator's own way to the server.
    subscriber.ip(&format!("route add 192.0.2.1 via {}", gateway_of(2))).unwrap();
    let before = routes(&subscriber);
    assert!(before.contains("10.44.0.0/16 via") && before.contains("metric 5"), "{before}");
    let connected_network = before.lines().find(|line| line.contains("proto kernel")).unwrap();
    let own = connected_network.split(' ').next().unwrap();
    let add = ["client", "add", "--connect-to", "192.0.2.1", "--user", "alice"];
    let everything = ["--add-default-route", "yes", "--default-route-distance", "5"];
    let routed = ["--route", "10.44.0.0/16", "--route", "10.45.0.0/16", "--route", own];
    let arguments = [&add[..], &everything, &routed].concat();
    daemon.command_with_input(&arguments, "secret123\n").unwrap();
    connected(&daemon, "pptp-out1");
    let during = routes(&subscriber);
    assert!(during.contains("10.45.0.0/16 dev pptp-out1"), "{during}");
    for line in before.lines() {
        assert!(during.contains(line), "{line}:\n{during}");
    }
    for destination in ["10.44.0.0/16", own, "0.0.0.0/0"] {
        let said = format!("destination={destination}");
        let log = daemon.log();
        let mut lines = log.lines().filter(|line| line.contains(&said));
        assert!(lines.any(|line| line.contains("already: left alone")), "{said}\n{log}");
    }
    daemon.command(&["client", "disable", "pptp-out1"]).unwrap();
    wait::until("the routes as they were", SOON, || {
        Ok((routes(&subscriber) == before).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{before}\n{}", routes(&subscriber)));
    daemon.stop().unwrap();
}

#[test]
fn a_client_that_was_added_is_there_after_a_crash() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let (subscriber, mut daemon) = dialler(&scene, OWN);
    let add = ["client", "add", "--name", "office", "--connect-to", "192.0.2.1", "--user", "alice"];
    daemon.command_with_input(&add, "secret123\n").unwrap();
    connected(&daemon, "office");
    daemon.kill_and_restart(&subscriber).unwrap();
    connected(&daemon, "office");
    let printed = daemon.command(&["client", "list"]).unwrap();
    assert!(printed.contains("R ") && !printed.contains("secret123"), "{printed}");
    assert!(!daemon.log().contains("secret123"));
}

/// A server of one line: takes connections on this port of the core and treats each as told.
fn impostor(scene: &Scene, port: u16, treat: fn(std::net::TcpStream)) {
    let listener = scene.network.core.run(|| Ok(TcpListener::bind((CORE, port))?)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            treat(stream);
        }
    });
}

#[test]
fn servers_that_are_none_are_named_and_harm_nobody() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    // One that takes the first message and is gone, one that talks of something else, one that
    // sends what was sent.
    impostor(&scene, 2001, |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
    });
    impostor(&scene, 2002, |mut stream| {
        let _ = stream.write_all(&b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(100));
    });
    // One that resets the connection, and one that talks without end.
    impostor(&scene, 2003, |stream| {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    impostor(&scene, 2004, |mut stream| {
        std::thread::spawn(move || while stream.write_all(&[0x1A; 4096]).is_ok() {});
    });
    // One that says nothing is given up after the time for a login, a minute.
    impostor(&scene, 2005, |stream| {
        std::thread::spawn(move || {
            let mut stream = stream;
            while stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        });
    });
    let (_subscriber, daemon) = dialler(&scene, &format!("{OWN}{DECLARED}"));
    let office = connected(&daemon, "to-office");
    let add = ["client", "add", "--name", "silent", "--connect-to", "203.0.113.2:2005"];
    let add = [&add[..], &["--user", "alice"]].concat();
    daemon.command_with_input(&add, "secret123\n").unwrap();
    for (name, server, reason) in [
        ("gone", "203.0.113.2:2001", "closed by the peer"),
        ("http", "203.0.113.2:2002", "not PPTP"),
        ("echo", "203.0.113.2:7", "unexpected Start-Control-Connection-Request"),
        ("reset", "203.0.113.2:2003", "closed by the peer"),
        ("garbage", "203.0.113.2:2004", "not PPTP"),
        ("refused", "203.0.113.2", "connection refused: no PPTP server listens there"),
        ("unknown", "no-such-host.invalid", "server no-such-host.invalid: "),
    ] {
        let add = ["client", "add", "--name", name, "--connect-to", server, "--user", "alice"];
        daemon.command_with_input(&add, "secret123\n").unwrap();
        let client = terminated(&daemon, name, reason);
        assert!(client["mtu"].is_null() && client["running"] == false, "{client}");
    }
    // A wrong password is tried again slowly: nobody is to be locked out for it.
    let add = ["client", "add", "--name", "wrong", "--connect-to", "192.0.2.1", "--user", "bob"];
    daemon.command_with_input(&add, "guess\n").unwrap();
    let wrong = becomes(&daemon, "wrong", "its next call", |client| !client["next-call"].is_null());
    assert!(wrong["reason"].as_str().unwrap().contains("wrong password"), "{wrong}");
    assert!(wrong["next-call"].as_f64().unwrap() > 15.0, "{wrong}");
    // What is refused at once.
    for (arguments, said) in [
        (&["--name", "sixteen-letters-"][..], "is no name of an interface"),
        (&["--name", "to-office"], "exists already"),
        (&["--name", "penstock"], "the data plane's own"),
        (&["--profile", "gold"], "there is no profile `gold`"),
        (&["--max-mtu", "10"], "576 to 1500"),
    ] {
        let add = [&add[..2], &["--connect-to", "x", "--user", "u"], arguments].concat();
        let refused = daemon.command_with_input(&add, "pw\n").unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    for server in ["::1", "192.0.2.1:0", "224.0.0.1"] {
        let add = ["client", "add", "--name", "nowhere", "--connect-to", server, "--user", "u"];
        let refused = daemon.command_with_input(&add, "pw\n").unwrap_err().to_string();
        assert!(refused.contains("exit status: 2"), "{refused}");
    }
    assert_eq!(client(&daemon, "silent")["status"], "dialing");
    // The good client never noticed.
    let after = client(&daemon, "to-office");
    assert_eq!((&after["calls"], &after["status"]), (&office["calls"], &office["status"]));
    scene.witness_is_well().unwrap();
}
