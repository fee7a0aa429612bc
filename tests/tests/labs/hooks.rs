//! The operator's programs and nftables' sets: told of each session, and never waited for.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use lab::network::address_of;
use lab::radius::scene::Scene;
use lab::wait;

const SOON: Duration = Duration::from_secs(20);
const USERS: &str = "alice Cleartext-Password := \"secret123\"\n\
    \tFramed-IP-Address = 10.98.7.6,\n\tMikrotik-Address-List = \"paying\"\n\
    bob Cleartext-Password := \"hunter2\"\n";

fn program(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn await_text(path: &Path, parts: &[&str]) {
    let mut text = String::new();
    wait::until(&format!("{parts:?} in {}", path.display()), 2 * SOON, || {
        text = std::fs::read_to_string(path).unwrap_or_default();
        Ok(parts.iter().all(|part| text.contains(part)).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {text}"));
}

#[test]
fn programs_and_address_lists_hear_of_each_session() {
    let folder = tempfile::TempDir::new().unwrap();
    let told = folder.path().join("told");
    for name in ["up", "down"] {
        let line = format!(
            "echo {name} $4 $5 $6 $PEERNAME >> {0}; cat {1}.$1 >> {0}; true",
            told.display(),
            folder.path().join("radattr").display()
        );
        program(&folder.path().join(name), &line);
    }
    let at = folder.path().display();
    let settings =
        format!("[hooks]\nup = \"{at}/up\"\ndown = \"{at}/down\"\nradattr = \"{at}/radattr\"\n");
    let scene = Scene::new(USERS, &settings).unwrap();
    let subscriber = scene.network.subscriber(1).unwrap();
    let client = scene.dial(&subscriber, "alice", "secret123", &[]).unwrap();
    let peer = address_of(1);
    await_text(&told, &[&format!("up 10.99.0.1 10.98.7.6 {peer} alice"), "Framed-IP-Address"]);
    let set = || scene.network.concentrator.exec("nft", &["list", "table", "inet", "penstock"]);
    wait::until("the address in the set", SOON, || {
        let table = set()?;
        Ok((table.contains("set paying") && table.contains("10.98.7.6")).then_some(()))
    })
    .unwrap();
    client.hang_up().unwrap();
    await_text(&told, &[&format!("down 10.99.0.1 10.98.7.6 {peer} alice")]);
    wait::until("the set without the address", SOON, || {
        Ok((!set()?.contains("10.98.7.6")).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_slow_program_keeps_nobody_waiting() {
    let folder = tempfile::TempDir::new().unwrap();
    let told = folder.path().join("told");
    program(
        &folder.path().join("up"),
        &format!("echo up $PEERNAME >> {}; exec sleep 600", told.display()),
    );
    let settings = format!(
        "[hooks]\nup = \"{}/up\"\nmax-running = 1\ntimeout = \"20s\"\n",
        folder.path().display()
    );
    let scene = Scene::new(USERS, &settings).unwrap();
    let [one, two] = [1, 2].map(|number| scene.network.subscriber(number).unwrap());
    let alice = scene.dial(&one, "alice", "secret123", &[]).unwrap();
    await_text(&told, &["up alice"]);
    // The first one's program stands in the only place; the second subscriber does not care.
    let bob = scene.dial(&two, "bob", "hunter2", &[]).unwrap();
    assert!(!std::fs::read_to_string(&told).unwrap().contains("bob"));
    // It is killed when its time is over, and the next one runs.
    await_text(&told, &["up bob"]);
    alice.hang_up().unwrap();
    bob.hang_up().unwrap();
    scene.await_gone("bob").unwrap();
}
