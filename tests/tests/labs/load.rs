//! `penstock-bench load`: what it measures of a real pptpd and of penstock, and what it says of
//! servers that are none, that refuse, or that go away.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::netns::{self, Namespace};
use lab::process::Process;
use lab::server::{self, Driver, Server};
use lab::uml::{Guest, Uplink};
use lab::wait;
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(90);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);

/// A machine to load from, and the one that is loaded.
struct Lab {
    client: Namespace,
    server: Namespace,
    folder: TempDir,
}

/// How a load ended.
struct Loaded {
    status: Option<i32>,
    output: String,
    figures: Option<Value>,
}

impl Lab {
    fn new() -> Self {
        let (client, server) =
            (Namespace::new("client").unwrap(), Namespace::new("server").unwrap());
        netns::join((&client, "server"), (&server, "client")).unwrap();
        client.address("server", &format!("{CLIENT}/24")).unwrap();
        server.address("client", &format!("{SERVER}/24")).unwrap();
        Self { client, server, folder: TempDir::new().unwrap() }
    }

    fn users(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("users");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn start(&self, arguments: &[&str]) -> Process {
        let users = self.folder.path().join("users");
        if !users.exists() {
            self.users("alice secret123\n");
        }
        let mut command = self.client.command(&bench().to_string_lossy());
        command.args(["load", &SERVER.to_string(), "--out"]).arg(self.folder.path());
        command.arg("--users").arg(users).args(arguments);
        Process::start("penstock-bench load", command).unwrap()
    }

    fn finish(&self, mut load: Process) -> Loaded {
        let status = load.wait_exit(LIMIT).unwrap().code();
        let figures = std::fs::read_to_string(self.folder.path().join("load.json")).ok();
        let figures = figures.map(|json| serde_json::from_str(&json).unwrap());
        Loaded { status, output: load.output(), figures }
    }

    fn load(&self, arguments: &[&str]) -> Loaded {
        self.finish(self.start(arguments))
    }

    fn penstock(&self, settings: &str) -> Server {
        let users = [("alice", "secret123"), ("bob", "secret456")];
        Server::start(&self.server, Driver::RawTun, &users, settings).unwrap()
    }
}

impl Loaded {
    /// It ended with 1 and said this.
    fn fails_with(&self, reason: &str) {
        assert_eq!(self.status, Some(1), "{}", self.output);
        assert!(self.output.contains(reason), "{reason:?} in {}", self.output);
    }

    fn count(&self, name: &str) -> u64 {
        let figures = self.figures.as_ref().unwrap_or_else(|| panic!("{}", self.output));
        figures[name].as_u64().unwrap_or_else(|| panic!("{name} of {figures:#}"))
    }
}

fn bench() -> PathBuf {
    let path = server::penstock().unwrap().with_file_name("penstock-bench");
    assert!(Path::new(&path).is_file(), "cargo build --workspace --bins makes {}", path.display());
    path
}

/// Two ends of ours agreeing is no proof: this one is pptpd, pppd and Linux's ppp_mppe.
#[test]
fn echoes_of_every_size_cross_a_linux_server_by_several_tunnels() {
    let lab = Lab::new();
    // The guest's link is raw: it has to end where no address is.
    netns::join((&lab.server, "guest"), (&lab.server, "guest-far")).unwrap();
    lab.server.ip("address del 10.7.0.1/24 dev client").unwrap();
    lab.server.address("client", "10.7.1.1/24").unwrap();
    lab.client.address("server", "10.7.1.2/24").unwrap();
    lab.client.ip("address del 10.7.0.2/24 dev server").unwrap();
    lab.client.route("default", Ipv4Addr::new(10, 7, 1, 1)).unwrap();
    lab.server.address("guest", "10.7.0.2/24").unwrap();
    lab.server.sysctl("net/ipv4/ip_forward", "1").unwrap();
    let uplink = Uplink {
        link: "guest-far",
        address: "10.7.0.1/24",
        gateway: Some(Ipv4Addr::new(10, 7, 0, 2)),
    };
    let mut guest = Guest::boot(&lab.server, &uplink).unwrap();
    for line in [
        "printf 'alice * secret123 *\\nbob * secret456 *\\ncarol * secret789 *\\n' > /etc/ppp/chap-secrets",
        "printf 'name pptpd\\nrequire-mschap-v2\\nrequire-mppe-128\\n' > /etc/ppp/options",
        "printf 'localip 10.99.0.1\\nremoteip 10.99.0.10-20\\n' > /run/pptpd.conf",
        "pptpd -c /run/pptpd.conf -o /etc/ppp/options",
        "until grep -q :06BB /proc/net/tcp; do sleep 0.1; done",
    ] {
        guest.run(line, Duration::from_secs(20)).unwrap().success().unwrap();
    }
    lab.users("alice * secret123 *\nbob * secret456 *\ncarol * secret789 *\n");
    let loaded =
        lab.load(&["--tunnels", "3", "--rate", "10", "--duration", "3s", "--dial-rate", "1"]);
    assert_eq!(loaded.status, Some(0), "{}", loaded.output);
    assert_eq!((loaded.count("up"), loaded.count("lost_tunnels")), (3, 0), "{}", loaded.output);
    let (sent, received) = (loaded.count("sent"), loaded.count("received"));
    // pptpd's pty loses some of what comes close together.
    assert!(sent >= 80 && received * 2 >= sent, "{received} of {sent}\n{}", loaded.output);
    let figures = loaded.figures.as_ref().unwrap();
    assert!(figures["wrong"].as_object().unwrap().is_empty(), "{figures:#}");
    assert!(figures["pps_per_tunnel"]["min"].as_f64().unwrap() > 0.0, "{figures:#}");
    guest.power_off().unwrap();
}

#[test]
fn tunnels_with_addresses_of_their_own_reach_each_other_and_a_reflector() {
    let lab = Lab::new();
    lab.server.route("10.200.0.0/16", CLIENT).unwrap();
    let core = Namespace::new("core").unwrap();
    netns::join((&lab.server, "core"), (&core, "server")).unwrap();
    lab.server.address("core", "203.0.113.1/24").unwrap();
    core.address("server", "203.0.113.2/24").unwrap();
    core.route("default", Ipv4Addr::new(203, 0, 113, 1)).unwrap();
    lab.server.sysctl("net/ipv4/ip_forward", "1").unwrap();
    let mut command = core.command(&bench().to_string_lossy());
    command.arg("reflect");
    let mut reflector = Process::start("penstock-bench reflect", command).unwrap();
    reflector.wait_line("the reflector", 0, LIMIT, |line| line.contains("reflecting")).unwrap();
    let server = lab.penstock("");
    lab.users("alice secret123\nbob secret456\n");
    for to in ["peers", "reflector:203.0.113.2", "echo:203.0.113.2"] {
        let loaded = lab.load(&[
            "--source",
            "10.200.0.0/16",
            "--tunnels",
            "12",
            "--to",
            to,
            "--duration",
            "1s",
        ]);
        assert_eq!(loaded.status, Some(0), "{}\n{}", loaded.output, server.log());
        assert_eq!(loaded.count("up"), 12);
        let (sent, received) = (loaded.count("sent"), loaded.count("received"));
        assert!(received > 0 && received * 10 >= sent * 9, "{}", loaded.output);
        let about = std::fs::read_to_string(lab.folder.path().join("about/load.json")).unwrap();
        let about: Value = serde_json::from_str(&about).unwrap();
        assert!(about["error"].is_null() && about["machine"]["cores"].as_u64() > Some(0));
    }
    // The addresses were ours for the run alone.
    let routes = lab.client.ip("route show table local").unwrap();
    assert!(!routes.contains("10.200."), "{routes}");
}

#[test]
fn wrong_passwords_are_named_and_those_who_got_in_are_measured() {
    let lab = Lab::new();
    let _server = lab.penstock("");
    lab.users("alice secret123\nbob guessed\n");
    let loaded = lab.load(&["--tunnels", "2", "--tries", "1", "--duration", "1s"]);
    loaded.fails_with("1 of 2 tunnels did not come up: 1 × link: wrong password");
    assert_eq!((loaded.count("up"), loaded.count("received") > 0), (1, true));

    let loaded = lab.load(&["--tunnels", "2", "--tries", "1", "--to", "peers"]);
    loaded.fails_with("only one tunnel came up");
    lab.users("bob guessed\n");
    let loaded = lab.load(&["--tries", "1", "--tunnels", "1"]);
    loaded.fails_with("no tunnel came up: 1 × link: wrong password");
    assert_eq!(loaded.count("up"), 0);
}

#[test]
fn nobody_there_and_a_closed_port_are_told_apart() {
    let lab = Lab::new();
    let refused = lab.load(&["--tries", "1", "--tunnels", "3"]);
    refused.fails_with("no tunnel came up: 3 × TCP: Connection refused");
    lab.server.ip("link set client down").unwrap();
    let silent = lab.load(&["--tries", "1", "--tunnels", "2", "--patience", "1s"]);
    silent.fails_with("2 × gave up after 1s: no answer to TCP");
    assert_eq!(silent.count("dials"), 2);
}

#[test]
fn a_server_that_talks_nonsense_or_nothing_is_named() {
    let lab = Lab::new();
    let listener = lab.server.run(|| Ok(TcpListener::bind((SERVER, 1723))?)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 156];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&[b'H'; 200]).unwrap();
            // The client closes first.
            let _ = stream.read(&mut request);
        });
        lab.load(&["--tries", "1", "--tunnels", "1"])
            .fails_with("no tunnel came up: 1 × connection: ");
    });
    // It takes the connection and never says a word.
    lab.load(&["--tries", "1", "--tunnels", "1", "--patience", "1s"])
        .fails_with("gave up after 1s: no answer to PPTP");
}

#[test]
fn a_server_that_goes_away_in_the_middle_leaves_what_was_measured_by_then() {
    let lab = Lab::new();
    let mut server = lab.penstock("");
    let load = lab.start(&["--tunnels", "4", "--duration", "30s"]);
    wait::until("four sessions with traffic", LIMIT, || {
        let sessions = server.sessions()?;
        let busy = sessions.iter().filter(|session| session.rx_packets > 20).count();
        Ok((busy == 4).then_some(()))
    })
    .unwrap();
    server.process().signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    let loaded = lab.finish(load);
    loaded.fails_with("4 tunnels were lost: 4 × lost: ");
    assert!(loaded.count("received") > 40, "{}", loaded.output);
    assert_eq!(loaded.count("lost_tunnels"), 4);
}

#[test]
fn a_load_that_is_interrupted_keeps_its_figures_and_gives_its_addresses_back() {
    let lab = Lab::new();
    lab.server.ip(&format!("route add 10.70.0.0/24 via {CLIENT}")).unwrap();
    let server = lab.penstock("");
    let source = ["--source", "10.70.0.0/24"];
    let load = lab.start(&[&source[..], &["--tunnels", "3", "--duration", "60s"]].concat());
    wait::until("three sessions with traffic", LIMIT, || {
        let sessions = server.sessions()?;
        let busy = sessions.iter().filter(|session| session.rx_packets > 20).count();
        Ok((busy == 3).then_some(()))
    })
    .unwrap();
    load.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    let loaded = lab.finish(load);
    loaded.fails_with("interrupted");
    assert!(loaded.count("received") > 40, "{}", loaded.output);
    let routes = lab.client.ip("route show table local").unwrap();
    assert!(!routes.contains("10.70.0.0/24"), "{routes}");
    let loaded = lab.finish(lab.start(&["--source", "10.7.0.0/24"]));
    loaded.fails_with("--source 10.7.0.0/24 holds the server's own address 10.7.0.1");
}

/// A login series of its own server: several calls share a connection where descriptors are few, and
/// where even that does not do, it says so at once.
#[test]
fn dials_share_connections_where_descriptors_are_few() {
    let folder = TempDir::new().unwrap();
    let dial = |descriptors: u32| {
        let line = format!(
            "ulimit -n {descriptors}; exec setpriv --bounding-set -sys_resource --inh-caps -sys_resource {} \
             dial --sessions 120 --hold 1 --out {}",
            bench().display(),
            folder.path().display(),
        );
        let lab = Namespace::new("dial").unwrap();
        let mut command = lab.command("sh");
        command.args(["-c", &line]);
        let mut dial = Process::start("penstock-bench dial", command).unwrap();
        (dial.wait_exit(LIMIT).unwrap().code(), dial.output())
    };
    let (status, output) = dial(150);
    assert_eq!(status, Some(0), "{output}");
    let json = std::fs::read_to_string(folder.path().join("dial.json")).unwrap();
    let figures: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((figures["sessions"].as_u64(), figures["up"].as_u64()), (Some(120), Some(120)));
    assert_eq!(figures["calls_per_connection"].as_u64(), Some(3), "{figures:#}");
    assert_eq!(figures["failures"].as_u64(), Some(0));
    // A busy machine may be late with some, which are dialled again.
    let dials = figures["dials_per_session"].as_f64().unwrap();
    assert!((1.0..1.5).contains(&dials), "{figures:#}");

    let (status, output) = dial(105);
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("120 sessions need 8 connections at least"), "{output}");
}

#[test]
fn too_few_addresses_or_descriptors_are_said_before_anything_is_dialled() {
    let lab = Lab::new();
    lab.load(&["--source", "10.200.0.0/29", "--tunnels", "9"])
        .fails_with("9 tunnels need as many addresses, and --source 10.200.0.0/29 has 6");
    lab.users("# nobody\n");
    lab.load(&[]).fails_with("has no users");
    lab.users("alice secret123\n");
    // As `ulimit -n` and without the right to raise it.
    let users = lab.folder.path().join("users");
    let line = format!(
        "ulimit -n 150; exec setpriv --bounding-set -sys_resource --inh-caps -sys_resource {} load {SERVER} \
         --users {} --tunnels 100 --out {}",
        bench().display(),
        users.display(),
        lab.folder.path().display(),
    );
    let mut command = lab.client.command("sh");
    command.args(["-c", &line]);
    let limited = Process::start("penstock-bench load", command).unwrap();
    lab.finish(limited)
        .fails_with("100 connections need 200 descriptors, and this process may have 150");
}
