//! pppd in User Mode Linux with IPv6: its kernel makes an address of what we advertise, pings pass
//! both ways, a DHCPv6 client gets its prefix, and a host of the core reaches what lies behind it.

use std::time::Duration;

use lab::capture::Capture;
use lab::client::Client;
use lab::netns::Namespace;
use lab::network::{CORE_LINK, Network, SERVER, gateway_of};
use lab::radius::scene::Scene;
use lab::server::{Driver, Server};
use lab::uml::{Guest, Uplink};
use lab::wait;

const LIMIT: Duration = Duration::from_secs(120);
const OPTIONS: &str = "require-mppe-128 nomppe-stateful +ipv6";
pub(crate) const PATTERN: &str = "5eedfacec0ffee00";
pub(crate) const PATTERN_BYTES: [u8; 8] = [0x5e, 0xed, 0xfa, 0xce, 0xc0, 0xff, 0xee, 0x00];
/// Asks for routers and prints what they say.
const RDISC6: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/bin/rdisc6");
/// A host of the core.
pub(crate) const CORE: &str = "2001:db8:c::2";
/// The concentrator's own address.
const OWN: &str = "2001:db8::1";
const USERS: [(&str, &str); 2] = [("alice", "secret123"), ("bob", "hunter2")];

pub(crate) const SETTINGS: &str = "[[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\n\
    remote-address = \"default\"\nlocal-ipv6-address = \"2001:db8::1\"\n\
    remote-ipv6-prefix-pool = \"links\"\ndhcpv6-pd-pool = \"delegated\"\n\
    ipv6-dns-server = [\"2001:db8:c::53\"]\ndomain = \"corp.example\"\n\
    dns-server = [\"10.9.9.9\"]\ndhcp-routes = [\"10.0.0.0/8\"]\n\
    [[pool]]\nname = \"default\"\nranges = [\"10.99.0.2-10.99.15.254\"]\n\
    [[ipv6-pool]]\nname = \"links\"\nprefix = \"2001:db8:100::/48\"\nprefix-length = 64\n\
    [[ipv6-pool]]\nname = \"delegated\"\nprefix = \"2001:db8:200::/48\"\nprefix-length = 56\n";

/// IPv6 between the concentrator and the core.
pub(crate) fn give_ipv6(network: &Network) {
    for namespace in [&network.concentrator, &network.core] {
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "0").unwrap();
        }
    }
    network.concentrator.sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
    let address = |namespace: &Namespace, link: &str, address: &str| {
        namespace.ip(&format!("-6 address add {address}/64 dev {link} nodad")).unwrap();
    };
    address(&network.concentrator, CORE_LINK, "2001:db8:c::1");
    address(&network.core, "concentrator", CORE);
    network.core.ip("-6 route add 2001:db8::/32 via 2001:db8:c::1").unwrap();
}

fn guest(network: &Network) -> Guest {
    let link = network.guest_link(2).unwrap();
    let uplink = Uplink { link: &link, address: "198.18.2.2/30", gateway: Some(gateway_of(2)) };
    let mut guest = Guest::boot(&network.internet, &uplink).unwrap();
    guest.load_ipv6().unwrap();
    guest
}

fn dial(server: &Server, guest: &mut Guest, user: (&str, &str), options: &str) {
    let dialled = guest.dial(SERVER, user.0, user.1, options).unwrap();
    assert_eq!(dialled.status, 0, "{}\n{}", dialled.output, server.log());
}

/// Waits until the guest's kernel has made an address of this prefix, and returns it.
fn address(server: &Server, guest: &mut Guest, prefix: &str) -> String {
    let line = format!(
        "for n in 1 2 3 4 5 6 7 8 9; do ip -6 -o address show dev ppp0 | grep -q {prefix} && \
         break; sleep 1; done; ip -6 -o address show dev ppp0; ip -6 route"
    );
    let shown = guest.run(&line, LIMIT).unwrap().output;
    let address = shown.split_whitespace().find(|word| word.starts_with(prefix));
    let Some(address) = address.and_then(|word| word.strip_suffix("/64")) else {
        panic!("no address of {prefix}:\n{shown}\n{}", server.log())
    };
    assert!(shown.contains("default via fe80::"), "no default route:\n{shown}");
    address.to_owned()
}

fn ping(server: &Server, guest: &mut Guest, options: &str) {
    let line =
        format!("ping -6 -c 1 -W 1 {options}; ping -6 -c 3 -i 0.3 -W 3 -p {PATTERN} {options}");
    let pinged = guest.run(&line, LIMIT).unwrap();
    assert!(pinged.output.contains(" 3 received"), "{}\n{}", pinged.output, server.log());
}

fn core_pings(network: &Network, server: &Server, address: &str) {
    let arguments = ["-6", "-c", "3", "-i", "0.3", "-W", "3", "-p", PATTERN, address];
    let pinged = network.core.exec("ping", &arguments);
    assert!(pinged.is_ok(), "{pinged:?}\n{}", server.log());
}

fn ipv6_through_the_tunnel(driver: Driver) {
    let network = Network::new().unwrap();
    give_ipv6(&network);
    let mut guest = guest(&network);
    let server = Server::start(&network.concentrator, driver, &USERS, SETTINGS).unwrap();
    let capture = Capture::start(&network.internet, "concentrator").unwrap();
    dial(&server, &mut guest, USERS[0], OPTIONS);
    let own = address(&server, &mut guest, "2001:db8:100:");
    ping(&server, &mut guest, CORE);
    ping(&server, &mut guest, OWN);
    // The link's own address answers too.
    let router =
        "$(ip -6 route show default | sed -n 's/.*via \\([^ ]*\\).*/\\1/p' | head -n 1)%ppp0";
    ping(&server, &mut guest, router);
    core_pings(&network, &server, &own);
    let steered = server.stats().unwrap().count(&["redirect_subscriber_ipv6"]);
    assert_eq!(steered > 0, matches!(driver, Driver::AfXdp), "{steered}");
    // Not our own word for what is advertised (RFC 4861 §4.2, RFC 8106 §5.1).
    let asked = guest.run(&format!("{RDISC6} -1 ppp0"), LIMIT).unwrap().output;
    for word in [
        "2001:db8:100::/64",
        "2001:db8:c::53",
        "Stateful other conf.      :          Yes",
        " 1450 ",
    ] {
        assert!(asked.contains(word), "{word}:\n{asked}");
    }
    // An address of the pool that nobody has (RFC 4443 §3.1).
    let nobody = "ping -6 -c 3 -i 0.3 -W 3 2001:db8:100:fff::9 || true";
    let answers = network.core.exec("sh", &["-c", nobody]).unwrap();
    assert!(answers.contains("Address unreachable"), "{answers}");
    // What is larger than the tunnel's MTU comes back with it, and then arrives in pieces.
    let large = network.core.exec("ping", &["-6", "-c", "3", "-W", "3", "-s", "1440", &own]);
    assert!(large.is_ok(), "{large:?}\n{}", server.log());
    let session = server.session_of("alice").unwrap();
    assert_eq!(session.ipv6_prefix.as_deref(), Some("2001:db8:100::/64"));
    assert_eq!(session.delegated_ipv6_prefix.as_deref(), Some("2001:db8:200::/56"));
    assert!(session.ipv6_link_address.unwrap().starts_with("fe80::"));

    // A spoofed source is dropped.
    guest.run("ip -6 address add 2001:db8:bad::1/128 dev lo", LIMIT).unwrap();
    let spoofed = format!("ping -6 -c 2 -W 1 -I 2001:db8:bad::1 {CORE}");
    let spoofed = guest.run(&spoofed, LIMIT).unwrap();
    assert!(!spoofed.output.contains("bytes from"), "{}", spoofed.output);
    let drops = server.session_of("alice").unwrap().drops;
    assert!(drops.get("source_foreign") >= Some(&2), "{drops:?}");
    ping(&server, &mut guest, CORE);
    let trace = capture.finish().unwrap();
    assert_eq!(trace.holding(&PATTERN_BYTES), 0, "the pings' contents crossed in the clear");

    // A client without IPv6 has its IPv4, and the prefix is free for it again.
    let line = "kill $(head -n 1 /run/ppp0.pid); while [ -e /run/ppp0.pid ]; do sleep 0.2; done";
    guest.run(line, LIMIT).unwrap();
    wait::until("the end of the session", Duration::from_secs(20), || {
        Ok(server.sessions()?.is_empty().then_some(()))
    })
    .unwrap();
    dial(&server, &mut guest, USERS[0], "require-mppe-128 nomppe-stateful noipv6");
    guest.run("ip route replace 203.0.113.0/24 dev ppp0", LIMIT).unwrap().success().unwrap();
    let pinged = guest.run("ping -c 4 -i 0.3 -W 3 203.0.113.2", LIMIT).unwrap();
    assert!(pinged.output.contains("bytes from"), "{}\n{}", pinged.output, server.log());
    let session = server.session_of("alice").unwrap();
    assert_eq!(session.ipv6_prefix.as_deref(), Some("2001:db8:100::/64"));
    assert_eq!(session.ipv6_link_address, None);
    guest.power_off().unwrap();
    server.stop().unwrap();
}

#[test]
fn ipv6_passes_through_the_tunnel_over_raw_socket_and_tun() {
    ipv6_through_the_tunnel(Driver::RawTun);
}

#[test]
fn ipv6_passes_through_the_tunnel_over_af_xdp() {
    ipv6_through_the_tunnel(Driver::AfXdp);
}

/// wide-dhcpv6's client gets a prefix by DHCPv6 and gives its LAN a part of it, which the core
/// reaches.
#[test]
fn a_dhcpv6_client_gets_its_prefix_and_gives_it_back() {
    let network = Network::new().unwrap();
    give_ipv6(&network);
    let mut guest = guest(&network);
    let server = Server::start(&network.concentrator, Driver::RawTun, &USERS, SETTINGS).unwrap();
    dial(&server, &mut guest, USERS[0], OPTIONS);
    address(&server, &mut guest, "2001:db8:100:");
    for line in [
        "mount -t tmpfs tmpfs /var/lib && mkdir -p /var/lib/dhcpv6",
        "echo 0 > /proc/sys/net/ipv6/conf/vec0/accept_dad",
        "printf 'interface ppp0 { send ia-pd 0; request domain-name-servers, domain-name; };\\n\
         id-assoc pd 0 { prefix-interface vec0 { sla-id 5; sla-len 8; }; };\\n' > /run/dhcp6c.conf",
        "dhcp6c -c /run/dhcp6c.conf -f -D -p /run/dhcp6c.pid ppp0 > /run/dhcp6c.log 2>&1 &",
    ] {
        guest.run(line, LIMIT).unwrap().success().unwrap();
    }
    let line = "for n in 1 2 3 4 5 6 7 8 9; do ip -6 -o address show dev vec0 | grep -q 2001 && break; \
                sleep 1; done; ip -6 -o address show dev vec0";
    let shown = guest.run(line, LIMIT).unwrap().output;
    let lan = shown.split_whitespace().find(|word| word.starts_with("2001:db8:200:5:"));
    let log = |guest: &mut Guest| guest.run("cat /run/dhcp6c.log", LIMIT).unwrap().output;
    let Some(lan) = lan.and_then(|word| word.strip_suffix("/64")).map(str::to_owned) else {
        panic!("no address of the prefix:\n{shown}\n{}\n{}", log(&mut guest), server.log())
    };
    core_pings(&network, &server, &lan);
    let said = log(&mut guest);
    for word in ["2001:db8:c::53", "corp.example"] {
        assert!(said.contains(word), "{word}:\n{said}");
    }
    // It releases what it has, and ends once that is answered.
    let line = "kill $(cat /run/dhcp6c.pid); for n in 1 2 3 4 5 6 7 8 9; do \
                grep -q 'status code: success' /run/dhcp6c.log && break; sleep 1; done";
    guest.run(line, LIMIT).unwrap();
    let said = log(&mut guest);
    assert!(said.contains("status code: success"), "{said}\n{}", server.log());
    guest.power_off().unwrap();
    server.stop().unwrap();
}

/// `/ppp secret` with prefixes of its own: they are the link's and the router's behind it, and the
/// kernel knows them while the session lasts.
#[test]
fn a_users_own_prefixes_are_the_sessions() {
    let network = Network::new().unwrap();
    give_ipv6(&network);
    let mut guest = guest(&network);
    let server = Server::start(&network.concentrator, Driver::RawTun, &USERS, SETTINGS).unwrap();
    let add = ["user", "add", "carol", "--remote-ipv6-prefix", "2001:db8:300:7::/64"];
    let more = ["--delegated-ipv6-prefix", "2001:db8:301::/56"];
    let routes = ["--ipv6-routes", "2001:db8:302::/48,2001:db8:303::/64"];
    server.command_with_input(&[&add[..], &more, &routes].concat(), "pw\n").unwrap();
    let told = || {
        let routes = network.concentrator.ip("-6 route show").unwrap();
        let own = routes.lines().filter(|line| line.starts_with("2001:db8:30"));
        own.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(), Vec::<String>::new());
    dial(&server, &mut guest, ("carol", "pw"), OPTIONS);
    let own = address(&server, &mut guest, "2001:db8:300:7:");
    core_pings(&network, &server, &own);
    guest.run("ip -6 address add 2001:db8:302:9::9/128 dev lo", LIMIT).unwrap();
    core_pings(&network, &server, "2001:db8:302:9::9");
    let session = server.session_of("carol").unwrap();
    assert_eq!(session.ipv6_prefix.as_deref(), Some("2001:db8:300:7::/64"));
    assert_eq!(session.delegated_ipv6_prefix.as_deref(), Some("2001:db8:301::/56"));
    let prefixes = ["2001:db8:300:7::/64", "2001:db8:301::/56", "2001:db8:302::/48"];
    let told_now = told();
    for prefix in prefixes.iter().chain(&["2001:db8:303::/64"]) {
        assert!(told_now.iter().any(|told| told == prefix), "{prefix}: {told_now:?}");
    }
    server.command(&["session", "disconnect", "--user", "carol"]).unwrap();
    wait::until("the end of the routes", LIMIT, || Ok(told().is_empty().then_some(()))).unwrap();
    guest.power_off().unwrap();
    server.stop().unwrap();
}

/// What Windows asks after IPCP, and what it is told (RFC 2131 §4.3.5, RFC 3442).
#[test]
fn a_dhcpinform_through_the_tunnel_is_answered_from_the_profile() {
    let network = Network::new().unwrap();
    give_ipv6(&network);
    let server = Server::start(&network.concentrator, Driver::RawTun, &USERS, SETTINGS).unwrap();
    let subscriber = network.subscriber(1).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, USERS[1].0, USERS[1].1).unwrap();
    client.wait_up().unwrap();
    let own = server.session_of("bob").unwrap().address.unwrap();
    let mut inform = vec![0; 236];
    inform[..8].copy_from_slice(&[1, 8, 6, 0, 0xDE, 0xAD, 0xBE, 0xEF]);
    inform[12..16].copy_from_slice(&own.octets());
    inform.extend([99, 130, 83, 99, 53, 1, 8, 55, 3, 6, 15, 249, 255]);
    let reply = subscriber
        .run(|| {
            let socket = std::net::UdpSocket::bind((own, 68))?;
            socket.set_broadcast(true)?;
            let link = std::fs::read_dir("/proc/sys/net/ipv4/conf")?
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .find(|name| name.starts_with("pptp"))
                .unwrap();
            nix::sys::socket::setsockopt(
                &socket,
                nix::sys::socket::sockopt::BindToDevice,
                &std::ffi::OsString::from(link),
            )?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            let mut buffer = [0; 1500];
            for _ in 0..5 {
                socket.send_to(&inform, (std::net::Ipv4Addr::BROADCAST, 67))?;
                if let Ok(length) = socket.recv(&mut buffer) {
                    return Ok(buffer[..length].to_vec());
                }
            }
            anyhow::bail!("no answer")
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    assert_eq!((reply[0], &reply[4..8]), (2, &[0xDE, 0xAD, 0xBE, 0xEF][..]));
    assert_eq!(reply[12..20], [&own.octets()[..], &[0; 4]].concat());
    let options = &reply[240..];
    let holds = |wanted: &[u8]| options.windows(wanted.len()).any(|window| window == wanted);
    assert!(holds(&[53, 1, 5]) && holds(&[54, 4, 10, 99, 0, 1]), "{options:?}");
    assert!(holds(&[6, 4, 10, 9, 9, 9]) && holds(b"\x0f\x0ccorp.example"), "{options:?}");
    assert!(holds(&[249, 6, 8, 10, 10, 99, 0, 1]) && !holds(&[121, 6]), "{options:?}");
    client.hang_up().unwrap();
    server.stop().unwrap();
}

/// FreeRADIUS gives prefixes, identifier and name server, and is told of them.
#[test]
fn radius_gives_ipv6_and_accounts_for_it() {
    let users = "alice Cleartext-Password := \"secret123\"\n\
        \tFramed-IP-Address = 10.99.0.77,\n\tFramed-IPv6-Prefix = \"2001:db8:700:7::/64\",\n\
        \tFramed-Interface-Id = \"0:0:0:77\",\n\tDelegated-IPv6-Prefix = \"2001:db8:800::/56\",\n\
        \tFramed-IPv6-Route = \"2001:db8:900::/48 :: 1\"\n";
    let scene = Scene::new(users, "").unwrap();
    give_ipv6(&scene.network);
    // The daemon's interface was made before.
    scene.network.concentrator.sysctl("net/ipv6/conf/penstock/disable_ipv6", "0").unwrap();
    let mut guest = guest(&scene.network);
    dial(&scene.server, &mut guest, USERS[0], OPTIONS);
    let own = address(&scene.server, &mut guest, "2001:db8:700:7:");
    assert_eq!(own, "2001:db8:700:7::77", "of the identifier that RADIUS gave");
    ping(&scene.server, &mut guest, CORE);
    // The kernel has routes to what no pool covers.
    guest.run("ip -6 address add 2001:db8:900::5/128 dev lo", LIMIT).unwrap();
    core_pings(&scene.network, &scene.server, "2001:db8:900::5");
    let start = scene
        .radius
        .await_accounting("an account with IPv6", |records| {
            records
                .iter()
                .find(|record| format!("{record:?}").contains("2001:db8:800::/56"))
                .cloned()
        })
        .unwrap();
    assert!(format!("{start:?}").contains("2001:db8:700:7::/64"), "{start:?}");
    guest.run("kill $(head -n 1 /run/ppp0.pid); sleep 1", LIMIT).unwrap();
    scene.await_gone("alice").unwrap();
    wait::until("the routes' end", LIMIT, || {
        let routes = scene.network.concentrator.ip("-6 route show dev penstock")?;
        let left = routes.contains("2001:db8:7") || routes.contains("2001:db8:9");
        Ok((!left).then_some(()))
    })
    .unwrap();
    guest.power_off().unwrap();
}
