//! The first example of the RouterOS manual: HomeOffice and RemoteOffice, two routers with a tunnel
//! between them, with the manual's addresses, users and pings.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::netns::{self, Namespace};
use lab::server::{Driver, Server};
use lab::uml::{Guest, Uplink};
use lab::{traffic, wait};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);
const HOME_ISP: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 254);
const REMOTE_ISP: Ipv4Addr = Ipv4Addr::new(192, 168, 81, 254);

/// `/ppp secret add name=ex service=pptp password=lkjrht local-address=10.0.103.1
/// remote-address=10.0.103.2` and `/interface pptp-server add user=ex`.
const HOME: &str = "\
[[profile]]
name = \"default\"
local-address = \"10.0.103.1\"
[[binding]]
name = \"pptp-in1\"
user = \"ex\"
";
const REMOTE: &str = "server.enabled = false\n";
const PORTS: &str = "\
[[dataplane.interface]]
name = \"ToInternet\"
role = \"access\"
[[dataplane.interface]]
name = \"LocalHomeOffice\"
role = \"core\"
";

struct Offices {
    home: Namespace,
    home_computer: Namespace,
    remote: Namespace,
    remote_computer: Namespace,
    _internet: Namespace,
}

impl Offices {
    fn build() -> Self {
        let [internet, home, home_computer, remote, remote_computer] =
            ["internet", "HomeOffice", "home computer", "RemoteOffice", "remote computer"]
                .map(|label| Namespace::new(label).unwrap());
        for (office, outer, isp, link) in [
            (&home, "192.168.80.1/24", HOME_ISP, "home"),
            (&remote, "192.168.81.1/24", REMOTE_ISP, "remote"),
        ] {
            netns::join((&internet, link), (office, "ToInternet")).unwrap();
            internet.address(link, &format!("{isp}/24")).unwrap();
            office.address("ToInternet", outer).unwrap();
            office.route("default", isp).unwrap();
            office.sysctl("net/ipv4/ip_forward", "1").unwrap();
        }
        for (office, computer, link, network) in [
            (&home, &home_computer, "LocalHomeOffice", "10.150.2"),
            (&remote, &remote_computer, "LocalRemoteOff", "10.150.1"),
        ] {
            netns::join((office, link), (computer, "lan")).unwrap();
            office.address(link, &format!("{network}.254/24")).unwrap();
            computer.address("lan", &format!("{network}.1/24")).unwrap();
            computer.route("default", format!("{network}.254").parse().unwrap()).unwrap();
        }
        internet.sysctl("net/ipv4/ip_forward", "1").unwrap();
        Self { home, home_computer, remote, remote_computer, _internet: internet }
    }
}

fn answers(from: &Namespace, to: &str) -> bool {
    from.exec("ping", &["-c", "3", "-i", "0.2", "-W", "2", to])
        .is_ok_and(|said| said.contains(" 3 received"))
}

/// The first packet may be lost with every server.
fn pings(from: &Namespace, to: &str, server: &Server) {
    let _ = from.exec("ping", &["-c", "1", "-W", "1", to]);
    assert!(answers(from, to), "{to} does not answer\n{}", server.log());
}

fn status(daemon: &Server) -> Value {
    let clients = daemon.command(&["client", "list", "--json"]).unwrap();
    serde_json::from_str::<Vec<Value>>(&clients).unwrap().remove(0)
}

fn two_routers(ports: &str) {
    let offices = Offices::build();
    let Offices { home, home_computer, remote, remote_computer, .. } = &offices;
    let server = Server::start(home, Driver::RawTun, &[], &format!("{HOME}{ports}")).unwrap();
    let add = ["user", "add", "ex", "--remote-address", "10.0.103.2"];
    server.command_with_input(&add, "lkjrht\n").unwrap();
    // As the manual prints it: the interface is there before its user.
    let printed = server.command(&["session", "list"]).unwrap();
    let idle = printed.lines().nth(1).unwrap_or_default();
    assert!(idle.contains("pptp-in1") && idle.contains("ex"), "{printed}");
    assert!(home.ip("-o link show pptp-in1").unwrap().contains("NO-CARRIER"));

    // `/interface pptp-client add connect-to=192.168.80.1 user=ex password=lkjrht disabled=no`
    let client = Server::start(remote, Driver::RawTun, &[], REMOTE).unwrap();
    let add = ["client", "add", "--connect-to", "192.168.80.1", "--user", "ex"];
    let added = client.command_with_input(&add, "lkjrht\n").unwrap();
    assert_eq!(added.trim(), "name: pptp-out1");
    wait::until("the tunnel", SOON, || Ok((status(&client)["running"] == true).then_some(())))
        .unwrap_or_else(|error| panic!("{error}\n{}\n{}", client.log(), server.log()));

    // `/ip route add dst-address 10.150.1.0/24 gateway 10.0.103.2`, and the other way.
    home.route("10.150.1.0/24", Ipv4Addr::new(10, 0, 103, 2)).unwrap();
    remote.route("10.150.2.0/24", Ipv4Addr::new(10, 0, 103, 1)).unwrap();
    // `/ping 10.0.103.1`, `/ping 10.150.2.254`.
    pings(remote, "10.0.103.1", &server);
    pings(remote, "10.150.2.254", &server);
    pings(home, "10.0.103.2", &server);
    pings(home_computer, "10.150.1.1", &server);
    pings(remote_computer, "10.150.2.1", &server);

    let session = server.session_of("ex").unwrap();
    assert_eq!(session.address, Some(Ipv4Addr::new(10, 0, 103, 2)));
    let printed = server.command(&["session", "list"]).unwrap();
    let row = printed.lines().nth(1).unwrap();
    assert!(row.starts_with("R ") && row.contains("pptp-in1"), "{printed}");
    let link = home.ip("-o link show pptp-in1").unwrap();
    assert!(link.contains(&format!("mtu {} ", session.mtu)), "{link}");
    assert!(link.contains("LOWER_UP"), "{link}");

    // Rules that name the interface see all that passes it, each way.
    for (hook, word) in [("forward", "iifname"), ("forward", "oifname")] {
        let rule = format!(
            "add table ip t; add chain ip t c {{ type filter hook {hook} priority 0; }}; \
             add rule ip t c {word} pptp-in1 drop"
        );
        home.exec("nft", &[&rule]).unwrap();
        assert!(!answers(home_computer, "10.150.1.1"), "{word}");
        assert!(!answers(remote_computer, "10.150.2.1"), "{word}");
        home.exec("nft", &["delete table ip t"]).unwrap();
        pings(home_computer, "10.150.1.1", &server);
    }

    // The client goes and comes: what names the interfaces stays.
    client.command(&["client", "disable", "pptp-out1"]).unwrap();
    wait::until("the interface without a session", SOON, || {
        Ok(home.ip("-o link show pptp-in1")?.contains("NO-CARRIER").then_some(()))
    })
    .unwrap();
    client.command(&["client", "enable", "pptp-out1"]).unwrap();
    wait::until(
        "the tunnel again",
        SOON,
        || Ok((status(&client)["running"] == true).then_some(())),
    )
    .unwrap();
    pings(remote, "10.0.103.1", &server);
    server.stop().unwrap();
    client.stop().unwrap();
}

#[test]
fn two_routers_over_raw_socket_and_tun() {
    two_routers("");
}

#[test]
fn two_routers_where_af_xdp_has_the_ports_of_home_office() {
    two_routers(PORTS);
}

/// A guest of User Mode Linux in place of an office's router: the namespace carries its link.
fn linux_router(label: &str, address: &str, isp: Ipv4Addr) -> (Namespace, Namespace, Guest) {
    let [internet, wire] = ["internet", label].map(|label| Namespace::new(label).unwrap());
    netns::join((&internet, "linux"), (&wire, "guest")).unwrap();
    internet.address("linux", &format!("{isp}/24")).unwrap();
    internet.sysctl("net/ipv4/ip_forward", "1").unwrap();
    let uplink = Uplink { link: "guest", address, gateway: Some(isp) };
    let guest = Guest::boot(&wire, &uplink).unwrap();
    (internet, wire, guest)
}

/// The router that is ours, with its LAN.
fn our_router(internet: &Namespace, address: &str, isp: Ipv4Addr, lan: &str) -> Namespace {
    let router = Namespace::new("router").unwrap();
    netns::join((internet, "ours"), (&router, "ToInternet")).unwrap();
    internet.address("ours", &format!("{isp}/24")).unwrap();
    router.address("ToInternet", address).unwrap();
    router.route("default", isp).unwrap();
    router.sysctl("net/ipv4/ip_forward", "1").unwrap();
    router.ip("link add lan type veth peer name lan-host").unwrap();
    for link in ["lan", "lan-host"] {
        router.ip(&format!("link set {link} up")).unwrap();
    }
    router.address("lan", lan).unwrap();
    router
}

/// The manual's pings, from Linux.
fn guest_pings(guest: &mut Guest, addresses: &[&str], log: &dyn Fn() -> String) {
    for to in addresses {
        // The first packet may be lost with every server.
        let line = format!("ping -c 1 -W 1 {to}; ping -c 3 -i 0.2 -W 2 {to}");
        let said = guest.run(&line, LIMIT).unwrap().output;
        assert!(said.contains(" 3 received"), "{said}\n{}", log());
    }
}

/// HomeOffice is ours, RemoteOffice is Linux with pppd and pptp-linux.
#[test]
fn a_linux_router_is_the_remote_office() {
    let (internet, _wire, mut remote) = linux_router("RemoteOffice", "192.168.81.1/24", REMOTE_ISP);
    let home = our_router(&internet, "192.168.80.1/24", HOME_ISP, "10.150.2.254/24");
    let server = Server::start(&home, Driver::RawTun, &[], HOME).unwrap();
    let routes = ["--routes", "10.150.1.0/24 10.0.103.2 1"];
    let add = ["user", "add", "ex", "--service", "pptp", "--remote-address", "10.0.103.2"];
    server.command_with_input(&[&add[..], &routes].concat(), "lkjrht\n").unwrap();
    let options = "require-mppe-128 nomppe-stateful";
    remote.run("ip address add 10.150.1.254/24 dev lo", LIMIT).unwrap().success().unwrap();
    let home_office = Ipv4Addr::new(192, 168, 80, 1);
    let dialled = remote.dial(home_office, "ex", "lkjrht", options).unwrap();
    assert_eq!(dialled.status, 0, "{}\n{}", dialled.output, server.log());
    remote.run("ip route add 10.150.2.0/24 dev ppp0", LIMIT).unwrap().success().unwrap();
    guest_pings(&mut remote, &["10.0.103.1", "10.150.2.254"], &|| server.log());
    // By the route of the secret, from LAN to LAN.
    let said = home.exec("ping", &["-c", "3", "-i", "0.2", "-I", "10.150.2.254", "10.150.1.254"]);
    assert!(said.is_ok_and(|said| said.contains(" 3 received")), "{}", server.log());
    let row = server.command(&["session", "list"]).unwrap();
    assert!(row.contains("pptp-in1") && row.contains("10.0.103.2"), "{row}");
    remote.power_off().unwrap();
    server.stop().unwrap();
}

/// HomeOffice is Linux with pptpd, RemoteOffice is our client mode.
#[test]
fn a_linux_router_is_the_home_office() {
    let (internet, _wire, mut home) = linux_router("HomeOffice", "192.168.80.1/24", HOME_ISP);
    let remote = our_router(&internet, "192.168.81.1/24", REMOTE_ISP, "10.150.1.254/24");
    for line in [
        "ip address add 10.150.2.254/24 dev lo",
        "printf 'ex * lkjrht *\\n' > /etc/ppp/chap-secrets",
        "printf 'name pptpd\\nrequire-mschap-v2\\nrequire-mppe-128\\n' > /etc/ppp/options",
        "printf 'localip 10.0.103.1\\nremoteip 10.0.103.2\\n' > /run/pptpd.conf",
        "pptpd -c /run/pptpd.conf -o /etc/ppp/options",
        "until grep -q :06BB /proc/net/tcp; do sleep 0.1; done",
    ] {
        home.run(line, LIMIT).unwrap().success().unwrap();
    }
    let client = Server::start(&remote, Driver::RawTun, &[], REMOTE).unwrap();
    let add = ["client", "add", "--connect-to", "192.168.80.1", "--user", "ex"];
    client.command_with_input(&add, "lkjrht\n").unwrap();
    wait::until("the tunnel", SOON, || Ok((status(&client)["running"] == true).then_some(())))
        .unwrap_or_else(|error| panic!("{error}\n{}", client.log()));
    assert_eq!(status(&client)["local-address"], "10.0.103.2");
    remote.route("10.150.2.0/24", Ipv4Addr::new(10, 0, 103, 1)).unwrap();
    home.run("ip route add 10.150.1.0/24 dev ppp0", LIMIT).unwrap().success().unwrap();
    // pptpd's pty loses the first packet and bursts: each is tried again.
    for to in [Ipv4Addr::new(10, 0, 103, 1), Ipv4Addr::new(10, 150, 2, 254)] {
        remote.run(|| traffic::ping_exchange(to, [56, 56, 56], 5)).unwrap();
    }
    guest_pings(&mut home, &["10.0.103.2", "10.150.1.254"], &|| client.log());
    client.stop().unwrap();
    home.power_off().unwrap();
}
