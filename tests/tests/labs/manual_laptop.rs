//! The second example of the RouterOS manual: a laptop in the internet has an address of the
//! office's own network, and the router answers ARP for it.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::netns::{self, Namespace};
use lab::process::Process;
use lab::server::{Driver, Server, penstock};
use lab::uml::{Guest, Uplink};
use lab::wait;

const SOON: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);
const OFFICE: Ipv4Addr = Ipv4Addr::new(192, 168, 81, 1);
const ISP: Ipv4Addr = Ipv4Addr::new(192, 168, 81, 254);
const LAPTOP_ISP: Ipv4Addr = Ipv4Addr::new(192, 168, 90, 254);

/// `/ppp secret add name=ex service=pptp password=lkjrht local-address=10.150.1.254
/// remote-address=10.150.1.2`, `/interface ethernet set Office arp=proxy-arp`.
const SETTINGS: &str = "\
server.proxy-arp = [\"Office\"]
[[profile]]
name = \"default\"
local-address = \"10.150.1.254\"
";
/// `/interface pptp-server add name=FromLaptop user=ex`.
const BINDING: &str = "[[binding]]\nname = \"FromLaptop\"\nuser = \"ex\"\n";
const PORTS: &str = "\
[[dataplane.interface]]
name = \"ToInternet\"
role = \"access\"
[[dataplane.interface]]
name = \"Office\"
role = \"core\"
";

struct Office {
    internet: Namespace,
    router: Namespace,
    computer: Namespace,
    server: Server,
}

impl Office {
    fn build(settings: &str) -> Self {
        let [internet, router, computer] = ["internet", "RemoteOffice", "office computer"]
            .map(|label| Namespace::new(label).unwrap());
        netns::join((&internet, "office"), (&router, "ToInternet")).unwrap();
        netns::join((&router, "Office"), (&computer, "lan")).unwrap();
        internet.address("office", &format!("{ISP}/24")).unwrap();
        router.address("ToInternet", &format!("{OFFICE}/24")).unwrap();
        router.route("default", ISP).unwrap();
        router.address("Office", "10.150.1.254/24").unwrap();
        // It has no route to the laptop but its own network.
        computer.address("lan", "10.150.1.1/24").unwrap();
        internet.sysctl("net/ipv4/ip_forward", "1").unwrap();
        router.sysctl("net/ipv4/ip_forward", "1").unwrap();
        let settings = format!("{SETTINGS}{settings}");
        let server = Server::start(&router, Driver::RawTun, &[], &settings).unwrap();
        let add = ["user", "add", "ex", "--remote-address", "10.150.1.2"];
        server.command_with_input(&add, "lkjrht\n").unwrap();
        Self { internet, router, computer, server }
    }

    /// The office sees the laptop as a neighbour, and while it is there alone.
    fn computer_reaches_the_laptop(&self) {
        let ping = |count| {
            self.computer.exec("ping", &["-c", count, "-i", "0.2", "-W", "2", "10.150.1.2"])
        };
        let _ = ping("1");
        let said = ping("3").unwrap_or_else(|error| panic!("{error}\n{}", self.server.log()));
        assert!(said.contains(" 3 received"), "{said}");
        let mac = self.router.ip("-o link show Office").unwrap();
        let mac = mac.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let neighbour = self.computer.ip("neigh show 10.150.1.2").unwrap();
        assert!(neighbour.contains(&mac), "{neighbour} is not {mac}");
        let proxied = self.proxied();
        assert!(proxied.starts_with("10.150.1.2 dev Office "), "{proxied}");
        assert_eq!(proxied.lines().count(), 1, "{proxied}");
    }

    fn proxied(&self) -> String {
        self.router.ip("neigh show proxy").unwrap()
    }

    fn forgets_the_laptop(&self) {
        wait::until("the end of proxy ARP", SOON, || Ok(self.proxied().is_empty().then_some(())))
            .unwrap();
    }
}

fn laptop(office: &Office) -> Namespace {
    let laptop = Namespace::new("laptop").unwrap();
    netns::join((&office.internet, "laptop"), (&laptop, "wan")).unwrap();
    office.internet.address("laptop", &format!("{LAPTOP_ISP}/24")).unwrap();
    laptop.address("wan", "192.168.90.1/24").unwrap();
    laptop.route("default", LAPTOP_ISP).unwrap();
    laptop
}

fn dial(laptop: &Namespace) -> Process {
    let mut command = laptop.command(&penstock().unwrap().to_string_lossy());
    command.args(["dial", "192.168.81.1", "--user", "ex", "--route", "10.150.1.0/24"]);
    let mut dial = Process::start("penstock dial", command).unwrap();
    dial.send("lkjrht").unwrap();
    dial.wait_line("the tunnel", 0, SOON, |line| line.contains(" up: ")).unwrap();
    dial
}

fn our_client(settings: &str) {
    let office = Office::build(settings);
    let laptop = laptop(&office);
    let mut dial = dial(&laptop);
    office.computer_reaches_the_laptop();
    let said = laptop.exec("ping", &["-c", "3", "-i", "0.2", "10.150.1.1"]).unwrap();
    assert!(said.contains(" 3 received"), "{said}");
    dial.stop(SOON).unwrap();
    office.forgets_the_laptop();
    office.server.stop().unwrap();
}

#[test]
fn a_laptop_is_in_the_offices_network_by_an_interface_of_its_own() {
    our_client(BINDING);
}

#[test]
fn a_laptop_is_in_the_offices_network_as_a_dynamic_session() {
    our_client("");
}

#[test]
fn a_laptop_is_in_the_offices_network_where_af_xdp_has_the_ports() {
    our_client(PORTS);
}

#[test]
fn proxy_arp_outlives_neither_a_daemon_that_stops_nor_one_that_is_killed() {
    let mut office = Office::build("");
    let laptop = laptop(&office);
    let first = dial(&laptop);
    office.computer_reaches_the_laptop();
    // The operator's own.
    office.router.ip("neigh add proxy 10.150.1.77 dev Office").unwrap();
    office.server.kill_and_restart(&office.router).unwrap();
    let own = "10.150.1.77 dev Office proxy";
    assert_eq!(office.proxied().trim(), own);
    drop(first);
    let _second = dial(&laptop);
    wait::until("proxy ARP", SOON, || Ok(office.proxied().contains("10.150.1.2 ").then_some(())))
        .unwrap();
    let Office { server, router, .. } = office;
    server.stop().unwrap();
    assert_eq!(router.ip("neigh show proxy").unwrap().trim(), own);
}

#[test]
fn a_linux_laptop_is_in_the_offices_network() {
    let office = Office::build(BINDING);
    netns::join((&office.internet, "laptop"), (&office.internet, "guest")).unwrap();
    office.internet.address("laptop", &format!("{LAPTOP_ISP}/24")).unwrap();
    let uplink = Uplink { link: "guest", address: "192.168.90.1/24", gateway: Some(LAPTOP_ISP) };
    let mut laptop = Guest::boot(&office.internet, &uplink).unwrap();
    let options = "require-mppe-128 nomppe-stateful";
    laptop.dial(OFFICE, "ex", "lkjrht", options).unwrap().success().unwrap();
    laptop.run("ip route add 10.150.1.0/24 dev ppp0", LIMIT).unwrap().success().unwrap();
    office.computer_reaches_the_laptop();
    let pinged = laptop.run("ping -c 3 -i 0.2 10.150.1.1", LIMIT).unwrap();
    assert!(pinged.output.contains(" 3 received"), "{}", pinged.output);
    laptop.power_off().unwrap();
    office.server.stop().unwrap();
}
