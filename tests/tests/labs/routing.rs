//! Routers that speak BGP with the concentrator's BIRD, which puts their routes into the kernel: a path
//! moves from one next hop to the other under a subscriber's traffic.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::client::Client;
use lab::netns::{self, Namespace};
use lab::network::{CORE_LINK, POOL_PREFIX, SERVER};
use lab::process::Process;
use lab::scene::Scene;
use lab::server::Driver;
use lab::traffic::{UdpEcho, deepen};
use lab::wait;
use tempfile::TempDir;

/// A network that both routers lead to, and a host in it, which each of them plays.
const PREFIX: &str = "198.51.100.0/24";
const HOST: &str = "198.51.100.9/32";
const ECHO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 9), 7);
const CONCENTRATOR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const SOON: Duration = Duration::from_secs(40);
/// Packets a second, roughly.
const PACE: Duration = Duration::from_millis(1);

/// A BIRD of the lab's own.
struct Bird {
    socket: PathBuf,
    process: Process,
}

fn program(name: &str) -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/usr/sbin").join(name);
    if unpacked.exists() { unpacked } else { name.into() }
}

impl Bird {
    fn start(namespace: &Namespace, directory: &Path, name: &str, config: &str) -> Result<Self> {
        let file = directory.join(format!("{name}.conf"));
        let socket = directory.join(format!("{name}.ctl"));
        std::fs::write(&file, config)?;
        let mut command = namespace.command(&program("bird").to_string_lossy());
        command.arg("-f").arg("-c").arg(&file).arg("-s").arg(&socket);
        let process = Process::start(&format!("bird of {name}"), command)?;
        Ok(Self { socket, process })
    }

    /// What BIRD answers to a command.
    fn ask(&self, words: &str) -> Result<String> {
        let mut command = std::process::Command::new(program("birdc"));
        let output = command.arg("-s").arg(&self.socket).args(words.split(' ')).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "birdc {words}: {text}\n{}", self.process.output());
        Ok(text)
    }
}

/// A router in the core's network.
struct Router {
    namespace: Namespace,
    address: Ipv4Addr,
    bird: Bird,
    _echo: UdpEcho,
}

impl Router {
    fn start(core: &Namespace, directory: &Path, number: u8) -> Result<Self> {
        let name = format!("router{number}");
        let namespace = Namespace::new(&name)?;
        netns::join((core, &name), (&namespace, "core"))?;
        core.ip(&format!("link set dev {name} master lan"))?;
        let address = Ipv4Addr::new(203, 0, 113, 10 + number);
        namespace.address("core", &format!("{address}/24"))?;
        namespace.route(POOL_PREFIX, CONCENTRATOR)?;
        namespace.address("lo", HOST)?;
        let echo = namespace.run(|| UdpEcho::start(ECHO.port()))?;
        let system = 65_000 + u32::from(number);
        let config = format!(
            "log stderr all;
             router id {address};
             protocol device {{ }}
             protocol static anycast {{ ipv4; route {PREFIX} unreachable; }}
             protocol bgp concentrator {{
                 local {address} as {system};
                 neighbor {CONCENTRATOR} as 65000;
                 connect delay time 1;
                 connect retry time 1;
                 error wait time 1, 2;
                 ipv4 {{ import none; export all; }};
             }}"
        );
        let bird = Bird::start(&namespace, directory, &name, &config)?;
        Ok(Self { namespace, address, bird, _echo: echo })
    }
}

fn config_of_the_concentrator() -> String {
    let peer = |number: u8, preference: u8| {
        format!(
            "protocol bgp router{number} {{
                 local {CONCENTRATOR} as 65000;
                 neighbor 203.0.113.{} as {};
                 connect delay time 1;
                 connect retry time 1;
                 error wait time 1, 2;
                 ipv4 {{
                     import filter {{ bgp_local_pref = {preference}; accept; }};
                     export none;
                 }};
             }}",
            10 + number,
            65_000 + u32::from(number)
        )
    };
    format!(
        "log stderr all;
         router id {CONCENTRATOR};
         protocol device {{ }}
         protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
         {}
         {}",
        peer(1, 200),
        peer(2, 100)
    )
}

/// A subscriber's numbered datagrams, and who answered which.
struct Flow {
    ends: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Instant>>>,
    heard: Arc<Mutex<HashMap<usize, IpAddr>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Flow {
    fn start(subscriber: &Namespace) -> Result<Self> {
        let socket = subscriber.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            deepen(&socket)?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            Ok(Arc::new(socket))
        })?;
        let ends = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::new(Mutex::new(HashMap::new()));
        let sender = std::thread::spawn({
            let (socket, ends, sent) = (Arc::clone(&socket), Arc::clone(&ends), Arc::clone(&sent));
            move || {
                while !ends.load(Relaxed) {
                    let number = {
                        let mut sent = sent.lock().unwrap();
                        sent.push(Instant::now());
                        sent.len() - 1
                    };
                    // What is not sent is not answered, and so counts as lost.
                    let _ = socket.send_to(&number.to_be_bytes(), ECHO);
                    std::thread::sleep(PACE);
                }
            }
        });
        let receiver = std::thread::spawn({
            let (ends, heard) = (Arc::clone(&ends), Arc::clone(&heard));
            move || {
                let mut octets = [0; 8];
                while !ends.load(Relaxed) {
                    if let Ok((8, from)) = socket.recv_from(&mut octets) {
                        let number = usize::from_be_bytes(octets);
                        heard.lock().unwrap().insert(number, from.ip());
                    }
                }
            }
        });
        Ok(Self { ends, sent, heard, threads: vec![sender, receiver] })
    }

    fn sent(&self) -> usize {
        self.sent.lock().unwrap().len()
    }

    /// Waits until this router has answered what was sent since, and then a few hundred more.
    fn await_answers(&self, router: &Router) -> Result<()> {
        let since = self.sent();
        wait::until(&format!("answers of {}", router.address), SOON, || {
            let heard = self.heard.lock().unwrap();
            let by = |number: usize| heard.get(&number) == Some(&IpAddr::V4(router.address));
            let count = (since..self.sent()).filter(|&number| by(number)).count();
            Ok((count >= 300).then_some(()))
        })
    }

    /// From the first packet to the last that was lost of those between these numbers.
    fn gap(&self, from: usize, to: usize) -> Duration {
        let heard = self.heard.lock().unwrap();
        let lost: Vec<_> = (from..to).filter(|number| !heard.contains_key(number)).collect();
        let sent = self.sent.lock().unwrap();
        match (lost.first(), lost.last()) {
            (Some(&first), Some(&last)) => sent[last] - sent[first] + PACE,
            _ => Duration::ZERO,
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.ends.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// BIRD moves a path to the other next hop: what its old one swallows meanwhile is no more than the
/// packets of a tenth of a second, and nothing where the old one still works.
#[test]
fn a_path_that_bgp_moves_under_traffic_is_followed_within_100_ms() {
    const MOVES: usize = 5;
    let scene = Scene::new(Driver::AfXdp, "").unwrap();
    let core = &scene.network.core;
    core.ip("link add lan type bridge forward_delay 0").unwrap();
    core.ip("link set dev lan up").unwrap();
    core.ip("address flush dev concentrator").unwrap();
    core.ip("link set dev concentrator master lan").unwrap();
    core.address("lan", "203.0.113.2/24").unwrap();
    core.route(POOL_PREFIX, CONCENTRATOR).unwrap();
    let directory = TempDir::new().unwrap();
    let routers = [1, 2].map(|number| Router::start(core, directory.path(), number).unwrap());
    let concentrator = &scene.network.concentrator;
    let bird =
        Bird::start(concentrator, directory.path(), "concentrator", &config_of_the_concentrator())
            .unwrap();
    let is_by = |router: &Router| {
        wait::until(&format!("the path by {}", router.address), SOON, || {
            let route = concentrator.ip(&format!("route show {PREFIX}"))?;
            Ok(route.contains(&format!("via {} dev {CORE_LINK}", router.address)).then_some(()))
        })
        .with_context(|| bird.ask("show protocols all").unwrap_or_default())
    };
    let [first, second] = &routers;
    is_by(first).unwrap();
    // Both are known, so that one can take over.
    wait::until("both routers", SOON, || {
        let paths = bird.ask(&format!("show route for {PREFIX} all"))?;
        Ok((paths.matches("BGP.next_hop").count() == 2).then_some(()))
    })
    .unwrap();

    let subscriber = scene.network.subscriber(2).unwrap();
    let options = ["--route", PREFIX];
    let mut client =
        Client::dial_with(&subscriber, SERVER, "alice", "secret123", &options).unwrap();
    client.wait_up().unwrap();
    let flow = Flow::start(&subscriber).unwrap();
    flow.await_answers(first).unwrap();
    let (mut away, mut back) = (Vec::new(), Vec::new());
    for _ in 0..MOVES {
        let begun = flow.sent();
        first.bird.ask("disable anycast").unwrap();
        // It has said so, and is no way to there any more.
        first.namespace.ip(&format!("address del {HOST} dev lo")).unwrap();
        flow.await_answers(second).unwrap();
        away.push(flow.gap(begun, flow.sent() - 200));

        let begun = flow.sent();
        first.namespace.address("lo", HOST).unwrap();
        first.bird.ask("enable anycast").unwrap();
        flow.await_answers(first).unwrap();
        back.push(flow.gap(begun, flow.sent() - 200));
    }
    println!(
        "packets were lost for {away:?} where the old way ended, and {back:?} where it stayed"
    );
    // The middle one, for the machine may be busy with other things during some.
    let middle = |gaps: &mut [Duration]| {
        gaps.sort_unstable();
        gaps[gaps.len() / 2]
    };
    let (away, back) = (middle(&mut away), middle(&mut back));
    assert!(away <= Duration::from_millis(100), "{away:?}\n{}", scene.server.log());
    assert_eq!(back, Duration::ZERO, "{}", scene.server.log());
    drop(flow);
    client.hang_up().unwrap();
}

/// A rule keeps packets that it may send another way from workers, and nobody has to find that out by
/// how slow they are.
#[test]
fn policy_rules_are_named_with_what_they_cost() {
    let scene = Scene::new(Driver::AfXdp, "").unwrap();
    let concentrator = &scene.network.concentrator;
    let check = || concentrator.run(|| scene.server.command(&["check"])).unwrap();
    let said = check();
    assert!(said.contains("no policy rule (ip rule) keeps packets from AF_XDP"), "{said}");
    concentrator.ip("rule add from 10.99.0.0/20 lookup 100 priority 3000").unwrap();
    let said = check();
    let cost = "3000: from 10.99.0.0/20 lookup 100 (subscribers' packets from 10.99.0.0/20 go by the \
                kernel)";
    assert!(said.contains(cost), "{said}");
    wait::until("the log names the rule", SOON, || {
        Ok(scene.server.log().contains(cost).then_some(()))
    })
    .unwrap();
}
