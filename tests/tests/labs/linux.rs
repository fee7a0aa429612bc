//! A Linux server is dialled by a Linux client, so that the harness itself is known to be good, and
//! by our client: two ends of ours agreeing is no proof.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::capture::{Capture, Trace};
use lab::client::Client;
use lab::netns::{self, Namespace};
use lab::server::{Driver, Server};
use lab::uml::{Guest, Uplink};
use lab::{traffic, wait};

const LIMIT: Duration = Duration::from_secs(20);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
/// The server's inner address.
const INNER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// A subscriber's machine, and the network between it and a Linux server.
fn way_to_the_server() -> (Namespace, Namespace) {
    let (subscriber, wire) =
        (Namespace::new("subscriber").unwrap(), Namespace::new("wire").unwrap());
    netns::join((&subscriber, "wan"), (&wire, "subscriber")).unwrap();
    netns::join((&wire, "to-server"), (&wire, "server")).unwrap();
    subscriber.address("wan", "10.7.1.2/24").unwrap();
    subscriber.route("default", Ipv4Addr::new(10, 7, 1, 1)).unwrap();
    wire.address("subscriber", "10.7.1.1/24").unwrap();
    wire.address("to-server", "10.7.0.2/24").unwrap();
    wire.sysctl("net/ipv4/ip_forward", "1").unwrap();
    (subscriber, wire)
}

/// pptpd and pppd behind the link `server` of a namespace.
fn linux_server(wire: &Namespace) -> Guest {
    let uplink = Uplink { link: "server", address: "10.7.0.1/24", gateway: None };
    let mut server = Guest::boot(wire, &uplink).unwrap();
    for line in [
        "printf 'alice * secret123 *\\n' | tee /etc/ppp/chap-secrets > /etc/ppp/pap-secrets",
        "printf 'name pptpd\\nrequire-mschap-v2\\nrequire-mppe-128\\n' > /etc/ppp/options",
        "printf 'localip 10.99.0.1\\nremoteip 10.99.0.10\\n' > /run/pptpd.conf",
        "pptpd -c /run/pptpd.conf -o /etc/ppp/options",
        "until grep -q :06BB /proc/net/tcp; do sleep 0.1; done",
    ] {
        server.run(line, LIMIT).unwrap().success().unwrap();
    }
    server
}

fn judge(trace: &Trace, secret: &[u8]) {
    assert_eq!(trace.holding(secret), 0, "contents crossed in the clear");
    let messages = trace.control_messages().unwrap();
    assert_eq!(messages[..4], ["SCCRQ", "SCCRP", "OCRQ", "OCRP"]);
}

#[test]
fn a_linux_client_dials_a_linux_server_and_nothing_passes_in_the_clear() {
    let wire = Namespace::new("wire").unwrap();
    netns::join((&wire, "client"), (&wire, "server")).unwrap();
    let capture = Capture::start(&wire, "client").unwrap();
    let _server = linux_server(&wire);
    let uplink = Uplink { link: "client", address: "10.7.0.2/24", gateway: None };
    let mut client = Guest::boot(&wire, &uplink).unwrap();
    let options = "require-mppe-128 nomppe-stateful";
    let dialled = client.dial(SERVER, "alice", "secret123", options).unwrap().success().unwrap();
    assert!(
        dialled.output.contains("MPPE 128-bit stateless compression enabled"),
        "{}",
        dialled.output
    );
    // The first packet may be lost with every server.
    client.run(&format!("ping -c 1 -W 1 {INNER}"), LIMIT).unwrap();
    let ping = format!("ping -c 3 -i 0.2 -p 5eed5eed5eed5eed {INNER}");
    let pinged = client.run(&ping, LIMIT).unwrap();
    assert!(pinged.output.contains(" 3 received"), "{}", pinged.output);
    client.power_off().unwrap();
    judge(&capture.finish().unwrap(), &[0x5e, 0xed, 0x5e, 0xed]);
}

#[test]
fn our_clients_dial_a_linux_server_by_every_method_and_strength_and_pings_of_every_size_return() {
    let (subscriber, wire) = way_to_the_server();
    let capture = Capture::start(&subscriber, "wan").unwrap();
    let mut server = linux_server(&wire);
    server.run("ip route add 10.7.1.0/24 via 10.7.0.2", LIMIT).unwrap().success().unwrap();

    let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
    client.wait_up().unwrap();
    // pptpd's pty loses what comes in a burst, and the first packet: each is tried again.
    let sizes = [0, 56, 500, 1000, 1300];
    subscriber.run(|| traffic::ping_exchange(INNER, sizes, 5)).unwrap();
    client.hang_up().unwrap();

    // The daemon's own client mode, to the same server.
    let settings = format!(
        "[server]\nenabled = false\n[[client]]\nname = \"pptp-out1\"\nconnect-to = \"{SERVER}\"\n\
         user = \"alice\"\npassword = \"secret123\"\n"
    );
    let daemon = Server::start(&subscriber, Driver::RawTun, &[], &settings).unwrap();
    let pings = || subscriber.run(|| traffic::ping_exchange(INNER, [56, 1000], 5));
    wait::until("the client's tunnel", LIMIT, || {
        let list = daemon.command(&["client", "list", "--json"])?;
        Ok(list.contains("\"connected\"").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
    pings().unwrap();
    daemon.stop().unwrap();
    judge(&capture.finish().unwrap(), &traffic::payload(500, 500)[..16]);

    // Each method that the server may insist on, of which only MS-CHAP gives keys; each strength
    // and mode that it has.
    let stateful = ["--encryption-mode", "stateful"];
    let weak = ["--encryption-strengths", "128,40"];
    for (method, options, encryption, more, encoding) in [
        ("mschap1", "require-mschap\\nrequire-mppe-128", "require", &[][..], "MPPE128 stateless"),
        ("chap", "require-chap\\nnomppe", "deny", &[], "none"),
        ("pap", "require-pap\\nnomppe", "deny", &[], "none"),
        ("mschap2", "require-mppe-40\\nnomppe-128", "require", &weak, "MPPE40 stateless"),
        ("mschap2", "require-mppe-128\\nmppe-stateful", "require", &stateful, "MPPE128 stateful"),
        ("mschap2", "nomppe", "allow", &weak, "none"),
    ] {
        let require = if method == "mschap2" { "require-mschap-v2\\n" } else { "" };
        let line = format!("printf 'name pptpd\\n{require}{options}\\n' > /etc/ppp/options");
        server.run(&line, LIMIT).unwrap().success().unwrap();
        let options = ["--allow", method, "--encryption", encryption];
        let options = [&options[..], more].concat();
        let dial =
            |password| Client::dial_with(&subscriber, SERVER, "alice", password, &options).unwrap();
        let mut client = dial("secret123");
        client.wait_up().unwrap_or_else(|error| panic!("{method}: {error:?}"));
        let said = client.process().output();
        assert!(said.contains(encoding), "{options:?}: {said}");
        pings().unwrap_or_else(|error| panic!("{method}: {error:?}"));
        client.hang_up().unwrap();
        // pptpd's pty loses a Failure in a burst, too: then the login is only hung up on.
        let refused = (0..3).any(|_| {
            let mut client = dial("wrong");
            let status = client.process().wait_exit(LIMIT).unwrap();
            assert!([Some(7), Some(8)].contains(&status.code()), "{}", client.process().output());
            status.code() == Some(7)
        });
        assert!(refused, "{method}");
    }
}

/// The daemon's client mode with a server that is not ours.
#[test]
fn our_daemon_dials_a_linux_server_and_comes_back_when_pppd_is_killed() {
    let (subscriber, wire) = way_to_the_server();
    let mut server = linux_server(&wire);
    server.run("ip route add 10.7.1.0/24 via 10.7.0.2", LIMIT).unwrap().success().unwrap();

    let settings = "server.enabled = false\n[[profile]]\nname = \"default\"\n\
                    local-address = \"10.77.0.1\"\n";
    let daemon = Server::start(&subscriber, Driver::RawTun, &[], settings).unwrap();
    let connected = |calls: u64| {
        wait::until("the tunnel", LIMIT, || {
            let clients = daemon.command(&["client", "list", "--json"])?;
            let client = serde_json::from_str::<Vec<serde_json::Value>>(&clients)?.remove(0);
            let up = client["status"] == "connected" && client["calls"].as_u64() >= Some(calls);
            Ok(up.then_some(client))
        })
        .unwrap()
    };
    let add = ["client", "add", "--connect-to", "10.7.0.1", "--user", "alice"];
    daemon.command_with_input(&add, "secret123\n").unwrap();
    let client = connected(1);
    assert_eq!(
        (&client["encoding"], &client["local-address"]),
        (&serde_json::json!("MPPE128 stateless"), &serde_json::json!("10.99.0.10"),)
    );
    // pptpd's pty loses what comes in a burst, and the first packet: each is tried again.
    subscriber.run(|| traffic::ping_exchange(INNER, [0, 56, 500, 1000, 1300], 5)).unwrap();
    server.run("kill -9 $(cat /run/ppp0.pid)", LIMIT).unwrap();
    connected(2);
    subscriber.run(|| traffic::ping_exchange(INNER, [56, 1000], 5)).unwrap();
}
