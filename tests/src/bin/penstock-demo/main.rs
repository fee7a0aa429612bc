//! The demonstration: 20 subscribers dial a concentrator on AF_XDP in a lab of network namespaces
//! and move traffic both ways, until Ctrl-C or for `DURATION` seconds.
//! All figures come from the daemon and from the traffic; nothing it made is left behind.

mod flow;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::client::Client;
use lab::network::{ACCESS_LINK, CORE_LINK, CORE_PREFIX, Network, SERVER};
use lab::server::{Driver, Server, Session};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use flow::{Score, Traffic};
use table::{Measured, Table};

const SUBSCRIBERS: u8 = 20;
const PASSWORD: &str = "first light";
/// Every tunnel must have moved data by then, also where `DURATION` is shorter.
const FIRST_DATA: Duration = Duration::from_secs(30);
const REDRAW: Duration = Duration::from_secs(1);
/// Between tables where they are not drawn in place.
const REPRINT: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let duration = duration()?;
    catch_signals()?;
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the demonstration makes network namespaces: run it as root"
    );
    demonstrate(duration)?;
    say(&format!("All {SUBSCRIBERS} tunnels moved data both ways; the lab is gone."));
    Ok(())
}

fn demonstrate(duration: Option<Duration>) -> Result<()> {
    say(&format!(
        "Lab: {SUBSCRIBERS} subscribers - internet - concentrator {SERVER} - core {CORE_PREFIX}"
    ));
    let network = Network::new()?;
    let subscribers = (1..=SUBSCRIBERS)
        .map(|number| network.subscriber(number).map(Arc::new))
        .collect::<Result<Vec<_>>>()?;
    let names: Vec<String> = (1..=SUBSCRIBERS).map(|number| format!("user{number:02}")).collect();
    let users: Vec<_> = names.iter().map(|name| (name.as_str(), PASSWORD)).collect();
    let mut server = Server::start(&network.concentrator, Driver::AfXdp, &users, "")?;
    say(&packet_path(&mut server)?);

    let mut calls = Vec::new();
    for (name, subscriber) in names.iter().zip(&subscribers) {
        calls.push(Client::dial(subscriber, SERVER, name, PASSWORD)?);
    }
    for call in &mut calls {
        log_in(call).with_context(|| format!("log of the concentrator:\n{}", server.log()))?;
    }

    let traffic = Traffic::start(&network.core, &subscribers)?;
    let shown = show(&server, &names, traffic.scores(), duration);
    let scores = traffic.stop();
    shown?;

    say("\nHanging up.");
    for call in calls {
        call.hang_up()?;
    }
    server.stop()?;
    let still: Vec<_> = names
        .iter()
        .zip(&scores)
        .filter(|(_, score)| !score.complete())
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(still.is_empty(), "no data both ways through the tunnels of: {}", still.join(", "));
    Ok(())
}

/// Waits for a login and prints its steps, with the times that the client measured.
fn log_in(call: &mut Client) -> Result<()> {
    ensure!(!INTERRUPTED.load(Relaxed), "interrupted");
    let up = call.wait_up();
    for line in call.process().lines() {
        say(&format!("{}  {}", call.user(), line.text));
    }
    up
}

#[expect(clippy::print_stdout, reason = "this is what the demonstration is for")]
fn say(text: &str) {
    println!("{text}");
}

/// What the daemon itself says of the drivers that it uses.
fn packet_path(server: &mut Server) -> Result<String> {
    let mut said = Vec::new();
    for link in [ACCESS_LINK, CORE_LINK] {
        let driver = format!("{link}: AF_XDP");
        let (_, line) = server.process().wait_line(
            "the concentrator's word that it uses AF_XDP",
            0,
            Duration::from_secs(10),
            |line| line.contains(&driver),
        )?;
        said.push(line.text.trim().to_owned());
    }
    Ok(said.join("\n"))
}

/// Shows the table until the end, and waits at least for every tunnel's first data.
fn show(
    server: &Server,
    names: &[String],
    scores: &[Arc<Score>],
    duration: Option<Duration>,
) -> Result<()> {
    let started = Instant::now();
    let mut table = Table::new();
    let interval = if table.is_live() { REDRAW } else { REPRINT };
    let measured = |user: &str| {
        let index = names.iter().position(|name| name == user)?;
        let score = &scores[index];
        Some(Measured { loss: score.loss(), round_trip: score.round_trip.load(Relaxed) })
    };
    let mut next = started + REDRAW;
    loop {
        if Instant::now() >= next {
            table.draw(&by_user(server)?, measured)?;
            next += interval;
        }
        let elapsed = started.elapsed();
        let all = scores.iter().all(|score| score.complete());
        let over = duration.is_some_and(|duration| elapsed >= duration);
        if INTERRUPTED.load(Relaxed) || over && (all || elapsed >= FIRST_DATA) {
            table.draw(&by_user(server)?, measured)?;
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn by_user(server: &Server) -> Result<Vec<Session>> {
    let mut sessions = server.sessions()?;
    sessions.sort_by(|one, other| one.user.cmp(&other.user));
    Ok(sessions)
}

fn duration() -> Result<Option<Duration>> {
    match std::env::var("DURATION") {
        Ok(text) if !text.is_empty() => {
            let seconds = text.parse().with_context(|| format!("DURATION={text}: not seconds"))?;
            Ok(Some(Duration::from_secs(seconds)))
        }
        _ => Ok(None),
    }
}

extern "C" fn interrupted(_signal: libc::c_int) {
    INTERRUPTED.store(true, Relaxed);
}

/// Ctrl-C and kin end the show, and all is removed as at its own end.
fn catch_signals() -> Result<()> {
    let action =
        SigAction::new(SigHandler::Handler(interrupted), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}
