//! Whoever guesses passwords is locked out: by the kernel, over a restart, and for fail2ban.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::caller::Caller;
use lab::capture::Capture;
use lab::netns::Namespace;
use lab::network::{SERVER, address_of};
use lab::scene::Scene;
use lab::server::Driver;
use lab::wait;

/// Until the daemon has dealt with something, however slow the machine is.
const SOON: Duration = Duration::from_secs(15);

const SHORT: &str = "[lockout]\ntime = \"4s\"\n";

fn guess(namespace: &Namespace, user: &str) {
    let mut caller = Caller::connect(namespace, SERVER).unwrap();
    caller.start().unwrap();
    caller.call(1).unwrap();
    assert!(!caller.log_in(user, "wrong", None, SOON).unwrap());
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Whether a frame holds a TCP segment with these flags alone.
fn is_syn(frame: &[u8], flags: u8, from: Ipv4Addr, to: Ipv4Addr) -> bool {
    let [ip, tcp] = [14, 34].map(|offset| frame.get(offset..offset + 20).unwrap_or(&[0; 20]));
    ip[9] == 6 && ip[12..16] == from.octets() && ip[16..20] == to.octets() && tcp[13] == flags
}

#[test]
fn the_kernel_answers_no_syn_of_a_locked_address_until_the_lock_ends() {
    let mut scene = Scene::new(Driver::RawTun, "[lockout]\ntime = \"30s\"\n").unwrap();
    let guesser = scene.network.subscriber(2).unwrap();
    let honest = scene.network.subscriber(3).unwrap();
    for n in 0..7 {
        guess(&guesser, &format!("user-{n}"));
    }
    scene.await_log(&["locked out", "from=198.18.2", "time=30s"]).unwrap();
    let list = scene.server.command(&["lockout", "list"]).unwrap();
    assert!(list.contains(&address_of(2).to_string()), "{list}");

    let capture = Capture::start(&scene.network.internet, "concentrator").unwrap();
    assert!(Caller::connect(&guesser, SERVER).is_err(), "a connection of a locked address");
    Caller::connect(&honest, SERVER).unwrap().start().unwrap();
    let trace = capture.finish().unwrap();
    let syns = |flags, from, to| {
        trace.frames().iter().filter(|frame| is_syn(frame, flags, from, to)).count()
    };
    assert!(syns(SYN, address_of(2), SERVER) > 0);
    assert_eq!(syns(SYN | ACK, SERVER, address_of(2)), 0);
    assert_eq!(syns(SYN | ACK, SERVER, address_of(3)), 1);
    assert!(scene.server.stats().unwrap().count(&["refused_locked_out_by_kernel"]) > 0);

    // It outlives the daemon, once what it needs is on the disk.
    let database = scene.server.directory().join("penstock-lockouts.db");
    wait::until("the lock on the disk", SOON, || {
        let mut sqlite = Command::new("sqlite3");
        sqlite.arg("-readonly").arg(&database).arg("SELECT subject FROM lock");
        let subjects = sqlite.output()?.stdout;
        Ok(String::from_utf8_lossy(&subjects).contains(&address_of(2).to_string()).then_some(()))
    })
    .unwrap();
    let concentrator = &scene.network.concentrator;
    scene.server.kill_and_restart(concentrator).unwrap();
    assert!(Caller::connect(&guesser, SERVER).is_err(), "a lock of before the restart");
    let cleared = scene.server.command(&["lockout", "clear", &address_of(2).to_string()]).unwrap();
    assert!(cleared.contains("cleared: 1"), "{cleared}");
    Caller::connect(&guesser, SERVER).unwrap().start().unwrap();
}

#[test]
fn a_lock_ends_by_itself() {
    let scene = Scene::new(Driver::RawTun, SHORT).unwrap();
    let guesser = scene.network.subscriber(2).unwrap();
    for n in 0..7 {
        guess(&guesser, &format!("user-{n}"));
    }
    scene.await_log(&["locked out", "time=4s"]).unwrap();
    wait::until("the lock's end", SOON, || Ok(Caller::connect(&guesser, SERVER).ok().map(drop)))
        .unwrap();
    scene.await_log(&["lock ended"]).unwrap();
    scene.witness_is_well().unwrap();
}

/// Runs the real one, as `scripts/setup test` unpacks it.
fn fail2ban_regex(options: &[&str], log: &Path, filter: &Path) -> String {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let unpacked = peers.join("usr/bin/fail2ban-regex");
    let program = if unpacked.exists() { unpacked } else { "/usr/bin/fail2ban-regex".into() };
    let output = Command::new("python3")
        .arg(&program)
        .args(options)
        .args([log, filter])
        .env("PYTHONPATH", peers.join("usr/lib/python3/dist-packages"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{} did not run (scripts/setup test unpacks it): {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn fail2ban_reads_wrong_passwords_and_nothing_else() {
    let filter =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/fail2ban/filter.d/penstock.conf");
    for format in ["human", "json"] {
        let settings = format!("log-format = \"{format}\"\n[lockout]\nfailures = 0\n");
        let scene = Scene::new(Driver::RawTun, &settings).unwrap();
        let guesser = scene.network.subscriber(2).unwrap();
        let names = [
            "alice",
            "имя",
            "x authentication failed from=192.0.2.99 user=\"",
            "x\" WARN authentication failed from=192.0.2.99 user=\"",
            "{\"timestamp\":\"\",\"level\":\"WARN\",\"message\":\"authentication failed\",\"from\":\"192.0.2.99\",",
        ];
        for name in names {
            guess(&guesser, name);
            // Behind the witness's address are others, who would be banned with the guesser.
            guess(&scene.subscriber, name);
        }
        // The last guess was one of these.
        let besides =
            || scene.server.log().matches("authentication failed beside sessions").count();
        wait::until(
            "all guesses in the log",
            SOON,
            || Ok((besides() >= names.len()).then_some(())),
        )
        .unwrap_or_else(|error| panic!("{error}: {format}: {}", scene.server.log()));
        assert_eq!(besides(), names.len(), "{format}: {}", scene.server.log());
        let log = scene.server.directory().join("log");
        std::fs::write(&log, scene.server.log()).unwrap();

        // Whom it would ban, one line for each match.
        let banned = fail2ban_regex(&["--out", "ip"], &log, &filter);
        let guessers = vec![address_of(2).to_string(); names.len()];
        let all = fail2ban_regex(&["--print-all-matched", "--print-all-missed"], &log, &filter);
        assert_eq!(banned.lines().collect::<Vec<_>>(), guessers, "{format}: {all}");
    }
}
