//! What the machine around the daemon notices of sessions: hooks run, addresses are in nft's sets,
//! a daemon that drains has no port.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use lab::client::Client;
use lab::network::SERVER;
use lab::scene::Scene;
use lab::server::Driver;
use lab::wait;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_hook_is_told_of_a_session_and_of_what_it_used() {
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("log");
    let hook = folder.path().join("hook");
    let text = format!(
        "#!/bin/sh\necho \"$PEERNAME $4 $5 $6 $IPREMOTE ${{BYTES_RCVD:+ended}}\" >> {}\n",
        log.display()
    );
    std::fs::write(&hook, text).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).unwrap();
    let hook = hook.display();
    let settings = format!("[hooks]\nup = \"{hook}\"\ndown = \"{hook}\"\n");
    let scene = Scene::new(Driver::RawTun, &settings).unwrap();
    let session = scene.witness_session().unwrap();
    let address = session.address.unwrap();
    let line = format!("witness 10.99.0.1 {address} {} {address} ", session.peer_address);
    let lines = |count| {
        wait::until("lines of the hook", SOON, || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            Ok((text.lines().count() >= count).then_some(text))
        })
    };
    assert_eq!(lines(1).unwrap(), format!("{line}\n"));
    scene.server.command(&["session", "disconnect", "--user", "witness"]).unwrap();
    assert_eq!(lines(2).unwrap(), format!("{line}\n{line}ended\n"));
}

#[test]
fn a_daemon_that_drains_refuses_new_callers_and_keeps_those_it_has() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let said = scene.server.command(&["drain"]).unwrap();
    assert!(said.contains("yes"), "{said}");
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
    // The server cannot be reached.
    assert_eq!(client.process().wait_exit(SOON).unwrap().code(), Some(5));
    scene.witness_is_well().unwrap();
    assert!(scene.server.command(&["stats"]).unwrap().contains("draining"));
    scene.server.command(&["drain", "--stop"]).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
    client.wait_up().unwrap();
    scene.server.command(&["drain", "--disconnect-after", "0s"]).unwrap();
    scene.await_log(&["session ended", "alice", "the server is draining"]).unwrap();
    scene.await_log(&["session ended", "witness", "Admin-Reset"]).unwrap();
}

#[test]
fn addresses_are_in_nfts_sets_while_sessions_last_and_not_after_a_daemon_that_died() {
    let settings = "[[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\n\
                    remote-address = \"default\"\naddress-list = [\"gold\", \"customers\"]\n";
    let mut scene = Scene::new(Driver::RawTun, settings).unwrap();
    let concentrator = &scene.network.concentrator;
    let nft = |arguments: &[&str]| concentrator.exec("nft", arguments).unwrap();
    let address = scene.witness_address().unwrap().to_string();
    let holds = |set: &str, wanted: bool| {
        let what = format!("{set} to hold the subscriber: {wanted}");
        wait::until(&what, SOON, || {
            let listing = concentrator.exec("nft", &["list", "set", "inet", "penstock", set]);
            let held = listing.is_ok_and(|listing| listing.contains(&address));
            Ok((held == wanted).then_some(()))
        })
        .unwrap();
    };
    holds("gold", true);
    holds("customers", true);
    // What is the operator's own stays whatever happens.
    nft(&["add", "element", "inet", "penstock", "gold", "{ 192.0.2.1 }"]);
    scene.server.kill_and_restart(concentrator).unwrap();
    holds("gold", false);
    holds("customers", false);
    assert!(nft(&["list", "set", "inet", "penstock", "gold"]).contains("192.0.2.1"));
}
