//! The users' database locked, full, read-only, corrupt or another daemon's: the operator is told
//! which file and why, and whoever is known or in already notices nothing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::client::Client;
use lab::disk::Disk;
use lab::network::SERVER;
use lab::process::Process;
use lab::scene::Scene;
use lab::server::{Driver, Server};

const LIMIT: Duration = Duration::from_secs(20);

/// Settings for a database in this directory.
fn database_in(directory: &Path) -> String {
    format!("database = \"{}\"\n", directory.join("penstock.db").display())
}

/// A user of the database logs in and out: it is in memory, whatever the disk does.
fn carol_gets_in(scene: &Scene, number: u8) {
    let subscriber = scene.network.subscriber(number).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "carol", "known before").unwrap();
    client.wait_up().unwrap();
    client.hang_up().unwrap();
}

fn add(server: &Server, user: &str, password: &str) -> anyhow::Result<String> {
    server.command_with_input(&["user", "add", user], &format!("{password}\n"))
}

/// What a daemon says that does not start.
fn refusal(scene: &Scene, settings: &str) -> String {
    let settings =
        format!("{settings}[server]\nlisten = [\"127.0.0.1:1724\"]\n[dataplane]\ntun = \"two\"\n");
    let other =
        Server::start(&scene.network.concentrator, Driver::RawTun, &[], &settings).map(drop);
    format!("{:?}", other.unwrap_err())
}

#[test]
fn a_full_disk_refuses_changes_and_keeps_everyone_in() {
    let disk = Disk::new(4096).unwrap();
    let mut scene = Scene::new(Driver::RawTun, &database_in(disk.path())).unwrap();
    add(&scene.server, "carol", "known before").unwrap();
    let filling = disk.fill().unwrap();
    let refused = add(&scene.server, "dave", "too late").unwrap_err().to_string();
    assert!(refused.contains("penstock.db") && refused.contains("full"), "{refused}");
    carol_gets_in(&scene, 2);
    scene.witness_is_well().unwrap();

    std::fs::remove_file(filling).unwrap();
    add(&scene.server, "dave", "in time").unwrap();
    // What was acknowledged outlives the daemon, and what was refused does not appear.
    scene.server.kill_and_restart(&scene.network.concentrator).unwrap();
    let users = scene.server.command(&["user", "list"]).unwrap();
    assert!(users.contains("carol") && users.contains("dave"), "{users}");
}

#[test]
fn a_locked_database_refuses_changes_after_a_while_and_keeps_everyone_in() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    add(&scene.server, "carol", "known before").unwrap();
    let file = scene.server.directory().join("penstock.db");
    let mut command = scene.network.core.command("sqlite3");
    command.arg(&file);
    let mut locker = Process::start("sqlite3", command).unwrap();
    locker.send("BEGIN IMMEDIATE; SELECT 'locked';").unwrap();
    locker.wait_line("the lock", 0, LIMIT, |line| line == "locked").unwrap();

    // While the change waits for the disk, nobody else does; once, for a busy machine may take
    // longer over a login than the change waits.
    let overtakes = |number| {
        std::thread::scope(|scope| {
            let adding = scope.spawn(|| add(&scene.server, "dave", "too late"));
            carol_gets_in(&scene, number);
            let overtook = !adding.is_finished();
            let refused = adding.join().unwrap().unwrap_err().to_string();
            assert!(refused.contains("penstock.db") && refused.contains("locked"), "{refused}");
            overtook
        })
    };
    assert!((2..5).any(overtakes), "a login waited for the disk");
    scene.witness_is_well().unwrap();

    locker.send("ROLLBACK; SELECT 'free';").unwrap();
    locker.wait_line("the end of the lock", 0, LIMIT, |line| line == "free").unwrap();
    add(&scene.server, "dave", "in time").unwrap();
}

#[test]
fn a_database_that_cannot_be_used_is_named_before_anybody_is_served() {
    let disk = Disk::new(4096).unwrap();
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let file = disk.path().join("penstock.db");

    let sixty_four_kib_of_no_database: Vec<u8> = lab::traffic::payload(1, 65536);
    for (contents, reason) in [
        (&sixty_four_kib_of_no_database[..], "file is not a database"),
        // The first page of a database was cut short.
        (&b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20"[..], "malformed"),
    ] {
        std::fs::write(&file, contents).unwrap();
        let said = refusal(&scene, &database_in(disk.path()));
        assert!(said.contains("penstock.db: ") && said.contains(reason), "{reason}: {said}");
        assert_eq!(std::fs::read(&file).unwrap(), contents, "{reason}: it was written to");
    }

    // A database whose pages are garbage, but for the first.
    std::fs::remove_file(&file).unwrap();
    let other = Server::start(
        &lab::netns::Namespace::new("elsewhere").unwrap(),
        Driver::RawTun,
        &[],
        &database_in(disk.path()),
    )
    .unwrap();
    for number in 0..200 {
        add(&other, &format!("user{number}"), "secret").unwrap();
    }
    other.stop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    assert!(bytes.len() > 3 * 4096, "{}", bytes.len());
    bytes[4096..].fill(0xA5);
    std::fs::write(&file, &bytes).unwrap();
    let said = refusal(&scene, &database_in(disk.path()));
    assert!(said.contains("penstock.db") && said.contains("malformed"), "{said}");

    disk.make_read_only().unwrap();
    let said = refusal(&scene, &database_in(disk.path()));
    assert!(said.contains("penstock.db") && said.to_lowercase().contains("read"), "{said}");
    scene.witness_is_well().unwrap();
}

#[test]
fn a_second_daemon_on_one_database_is_refused() {
    let mut scene = Scene::new(Driver::RawTun, "").unwrap();
    let settings = database_in(scene.server.directory());
    let said = refusal(&scene, &settings);
    assert!(said.contains("penstock.db") && said.contains("penstock"), "{said}");
    // By another name it is the same file.
    let alias = tempfile::TempDir::new().unwrap();
    let link = alias.path().join("penstock.db");
    std::os::unix::fs::symlink(scene.server.directory().join("penstock.db"), link).unwrap();
    refusal(&scene, &database_in(alias.path()));
    scene.witness_is_well().unwrap();

    // A daemon that was killed leaves nothing behind that could keep the next one out.
    scene.server.kill_and_restart(&scene.network.concentrator).unwrap();
    // The command line is no daemon.
    let listed = Command::new(lab::server::penstock().unwrap())
        .args(["user", "list", "--config"])
        .arg(scene.server.directory().join("penstock.toml"))
        .output()
        .unwrap();
    assert!(listed.status.success());
}
