//! Thousands of tunnels against any PPTP server: dials at a rate, then sends encrypted packets both
//! ways and checks what comes back.
//!
//! Without a server it loads a penstock of its own in network namespaces of this machine.
//!
//! | module | what |
//! |---|---|
//! | `accounts` | names and passwords |
//! | `sources` | addresses to dial from |
//! | `packet` | what goes through the tunnels |
//! | `traffic` | sending, receiving, the score |
//! | `figures` | the result |

mod accounts;
mod figures;
mod packet;
mod sources;
mod traffic;

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::load::{Carrier, Load, Plan, Tally};
use protocol::pptp::PORT;

use crate::dial::Users;
use crate::dial::scene::{SERVER, Scene};
use crate::run::{Run, interrupt};
pub use figures::section;
use figures::{Figures, Question};
use packet::SHORTEST;
use sources::{Origin, Range};
use traffic::{Pace, To, Traffic};

/// UDP port of reflectors and of packets between tunnels.
pub const REFLECTOR_PORT: u16 = 4747;
/// Tunnels have numbers of 16 bits in packets.
const MOST: u32 = 60_000;
/// How the seven small, four middle and one large packet of an IMIX follow each other.
const IMIX: [usize; 12] = [40, 576, 40, 40, 576, 40, 1400, 40, 576, 40, 576, 40];

/// What to load, and with what.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server: name or address [default: a penstock in network namespaces of this machine]
    server: Option<String>,
    /// File of logins, taken in turn: lines `user password`, or as chap-secrets
    #[arg(long, value_name = "FILE", required_unless_present = "server_is_ours")]
    users: Option<PathBuf>,
    /// Load a penstock of our own, with users of our own
    #[arg(long = "own-server", conflicts_with_all = ["server", "users", "source"])]
    server_is_ours: bool,
    /// Tunnels
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=MOST.into()))]
    tunnels: u32,
    /// Packets a second of each tunnel
    #[arg(long, default_value_t = 50.0, value_parser = positive)]
    rate: f64,
    /// Octets of inner packets, or imix: seven of 40, four of 576, one of 1400
    #[arg(long, default_value = "imix")]
    size: Size,
    /// How long to send
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    duration: Duration,
    /// Where packets go: `echo` (ICMP) to the server's inner address, `echo:ADDRESS` to another,
    /// `peers`: each tunnel to the next one's inner address, `reflector:ADDRESS`: to `penstock-bench
    /// reflect` there
    #[arg(long, value_name = "WHERE", default_value = "echo")]
    to: Destination,
    /// Network of which each tunnel has an address of its own; this machine takes it for its own
    /// meanwhile, and the server has to route it here [default: this machine's address for all]
    #[arg(long, value_name = "NETWORK")]
    source: Option<Range>,
    /// Dials begun a second
    #[arg(long, default_value_t = 200.0, value_parser = positive)]
    dial_rate: f64,
    /// When a dial is given up
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = span)]
    patience: Duration,
    /// Dials of a tunnel before it is given up for good
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    tries: u16,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.01..=1e7).contains(number));
    number.ok_or_else(|| "a number from 0.01 to 10000000".to_owned())
}

/// A time such as `500ms`, `10s` or `2m`.
fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    let span =
        number.parse::<u32>().ok().map(|number| Duration::from_millis(u64::from(number) * millis));
    span.filter(|span| !span.is_zero()).ok_or_else(|| "a time such as 500ms, 10s or 2m".to_owned())
}

/// Octets of packets.
#[derive(Debug, Clone)]
struct Size {
    name: String,
    octets: Vec<usize>,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octets = match text {
            "imix" => IMIX.to_vec(),
            number => match number.parse() {
                Ok(octets) if (SHORTEST..=1500).contains(&octets) => vec![octets],
                _ => return Err(format!("{SHORTEST} to 1500, or imix")),
            },
        };
        Ok(Self { name: text.to_owned(), octets })
    }
}

/// As [`To`], in words.
#[derive(Debug, Clone)]
struct Destination {
    name: String,
    to: To,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, address) = text
            .split_once(':')
            .map_or((text, None), |(kind, address)| (kind, Some(address.parse::<Ipv4Addr>())));
        let to = match (kind, address) {
            ("peers", None) => To::Peers,
            ("echo", None) => To::Echo(None),
            ("echo", Some(Ok(address))) => To::Echo(Some(address)),
            ("reflector", Some(Ok(address))) => To::Reflector(address),
            _ => return Err("echo, echo:ADDRESS, peers or reflector:ADDRESS".to_owned()),
        };
        Ok(Self { name: text.to_owned(), to })
    }
}

/// Loads and prints.
///
/// # Errors
/// When not all tunnels came up, stayed up and brought back what was sent as it was sent.
pub fn run(arguments: &Arguments, run: &mut Run) -> Result<()> {
    let tunnels = usize::try_from(arguments.tunnels)?;
    ensure!(
        tunnels > 1 || arguments.to.to != To::Peers,
        "--to peers needs two tunnels: each sends to the next one"
    );
    interrupt::watch()?;
    if arguments.server_is_ours {
        let scene = Scene::new(Users::Local, tunnels, 0)?;
        let plan = Plan { patience: arguments.patience, ..Plan::storm(SERVER, tunnels) };
        scene.clients.ip(&format!("route replace local {} dev lo", lab::load::CLIENTS))?;
        return scene.clients.run(|| load(arguments, plan, SERVER, run));
    }
    let name = arguments.server.as_deref().context("no server is given (or --own-server)")?;
    let server = resolve(name)?;
    let users = arguments.users.as_deref().context("no users are given: --users FILE")?;
    let accounts = accounts::read(users)?;
    if let Some(range) = arguments.source.filter(|range| range.holds(server)) {
        bail!("--source {range} holds the server's own address {server}");
    }
    let origin = Origin::new(arguments.source, tunnels)?;
    let plan = Plan {
        accounts,
        sources: origin.sources,
        seed: fastrand::u64(..),
        ..Plan::storm(server, tunnels)
    };
    load(arguments, plan, server, run)
}

fn resolve(name: &str) -> Result<Ipv4Addr> {
    let addresses = (name, PORT).to_socket_addrs().with_context(|| format!("server {name}"))?;
    let found = addresses.into_iter().find_map(|address| match address {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    });
    found.with_context(|| format!("server {name} has no IPv4 address"))
}

/// Dials, sends, hangs up.
fn load(arguments: &Arguments, plan: Plan, server: Ipv4Addr, run: &mut Run) -> Result<()> {
    let tunnels = plan.clients;
    let plan = Plan {
        ramp: Duration::from_secs_f64(tunnels as f64 / arguments.dial_rate),
        patience: arguments.patience,
        rest: Duration::from_millis(500)..Duration::from_millis(1500),
        tries: usize::from(arguments.tries),
        ..plan
    };
    let traffic =
        Arc::new(Traffic::new(tunnels, arguments.to.to, REFLECTOR_PORT, fastrand::u32(..))?);
    let carrier: Arc<dyn Carrier> = Arc::<Traffic>::clone(&traffic);
    let began = Instant::now();
    let load = Load::start_here(plan, Some(carrier))?;
    let bar = run.progress("dialling", tunnels as u64);
    let up = loop {
        let (up, given_up) = load.settled();
        bar.set_position(up as u64);
        if up + given_up >= tunnels || interrupt::check().is_err() {
            break up;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    bar.finish_and_clear();
    let dialled = began.elapsed();
    let question = Question {
        server: server.to_string(),
        tunnels,
        rate: arguments.rate,
        size: arguments.size.name.clone(),
        to: arguments.to.name.clone(),
    };
    let mut figures = Figures::of_dials(question, &load.tally(), dialled);
    run.record(&figures)?;
    if let Err(interrupted) = interrupt::check() {
        load.stop();
        return Err(interrupted);
    }
    if up == 0 {
        bail!("no tunnel came up: {}", reasons(&load.stop()));
    }
    if up == 1 && arguments.to.to == To::Peers {
        bail!("only one tunnel came up, with nobody to send to: {}", reasons(&load.stop()));
    }

    let largest = arguments.size.octets.iter().max().copied().unwrap_or_default();
    if let Some(mtu) = traffic.mtu().filter(|&mtu| mtu < largest) {
        run.say(format_args!("packets are cut to {mtu} octets, the server's MTU"))?;
    }
    let pace = Pace {
        rate: arguments.rate,
        sizes: arguments.size.octets.clone(),
        duration: arguments.duration,
    };
    let bar = run.progress("sending, s", pace.duration.as_secs());
    let outcome =
        traffic.exchange(load.wire(), &pace, |elapsed| bar.set_position(elapsed.as_secs()))?;
    bar.finish_and_clear();
    let tally = load.stop();
    figures.add_traffic(&tally, &outcome);
    run.record(&figures)?;
    for table in figures.tables() {
        run.show(&table)?;
    }
    interrupt::check()?;
    verdict(&figures, &tally)
}

/// Whether all went well.
fn verdict(figures: &Figures, tally: &Tally) -> Result<()> {
    let mut complaints = Vec::new();
    if tally.given_up > 0 {
        complaints
            .push(format!("{} of {} tunnels did not come up", tally.given_up, figures.tunnels));
    }
    if tally.lost > 0 {
        complaints.push(format!("{} tunnels were lost", tally.lost));
    }
    if figures.sent > 0 && figures.received == 0 {
        complaints.push(format!("none of {} packets came back", figures.sent));
    }
    let wrong: u64 = figures.wrong.values().sum();
    if wrong > 0 {
        complaints.push(format!("{wrong} packets were not what was sent: {:?}", figures.wrong));
    }
    if complaints.is_empty() {
        return Ok(());
    }
    let because =
        if tally.failures.is_empty() { String::new() } else { format!(": {}", reasons(tally)) };
    bail!("{}{because}", complaints.join("; "))
}

/// Why dials failed, the commonest reason first.
fn reasons(tally: &Tally) -> String {
    let mut reasons: Vec<_> = tally.failures.iter().collect();
    reasons.sort_by_key(|&(_, count)| std::cmp::Reverse(*count));
    let words = reasons.into_iter().map(|(reason, count)| format!("{count} × {reason}"));
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_in_words() {
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(
            (span("90s"), span("2m")),
            (Ok(Duration::from_secs(90)), Ok(Duration::from_secs(120)))
        );
        for bad in ["", "0s", "1h", "s", "-1s"] {
            span(bad).unwrap_err();
        }
        assert_eq!("imix".parse::<Size>().unwrap().octets.len(), 12);
        assert_eq!("64".parse::<Size>().unwrap().octets, [64]);
        for bad in ["39", "1501", "mix"] {
            bad.parse::<Size>().unwrap_err();
        }
        let to = |text: &str| text.parse::<Destination>().map(|destination| destination.to);
        assert_eq!(to("peers"), Ok(To::Peers));
        assert_eq!(to("echo:192.0.2.1"), Ok(To::Echo(Some(Ipv4Addr::new(192, 0, 2, 1)))));
        assert_eq!(to("reflector:192.0.2.1"), Ok(To::Reflector(Ipv4Addr::new(192, 0, 2, 1))));
        for bad in ["peers:1.2.3.4", "reflector", "echo:here", ""] {
            to(bad).unwrap_err();
        }
    }
}
