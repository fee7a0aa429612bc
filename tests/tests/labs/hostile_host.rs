//! A machine, an operator and servers that do not do as expected: dead daemons' leavings, names
//! and ports that are taken, files that make no sense, a control socket full of garbage.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::caller::Caller;
use lab::client::Client;
use lab::netns::{self, Namespace};
use lab::network::SERVER;
use lab::process::Process;
use lab::scene::Scene;
use lab::server::{Driver, penstock};
use nix::fcntl::{FcntlArg, fcntl};

const SOON: Duration = Duration::from_secs(20);

/// Runs a command that has to fail by itself; gives its exit code and what it said.
fn failing(command: Command) -> (i32, String) {
    let mut process = Process::start("a command that fails", command).unwrap();
    process.close_input();
    let status = process.wait_exit(SOON).unwrap();
    let output = process.output();
    assert!(!output.contains("panicked"), "{output}");
    (status.code().unwrap_or_else(|| panic!("{status}: {output}")), output)
}

fn serve(namespace: &Namespace, config: &Path) -> Command {
    let mut command = namespace.command(&penstock().unwrap().to_string_lossy());
    command.arg("serve").arg("--config").arg(config);
    command
}

/// A configuration whose files lie in `folder`, with more at its top.
fn configuration(folder: &Path, more: &str) -> std::path::PathBuf {
    let file = folder.join("penstock.toml");
    let folder = folder.display();
    let text = format!(
        "database = \"{folder}/penstock.db\"\ncontrol-socket = \"{folder}/control.sock\"\n{more}\n"
    );
    fs::write(&file, text).unwrap();
    file
}

fn killed_and_started_again(driver: Driver) {
    let mut scene = Scene::new(driver, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    for round in 0..3 {
        let socket = scene.server.directory().join("control.sock");
        scene.server.kill_and_restart(&scene.network.concentrator).unwrap();
        assert!(socket.exists());
        let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
        client.wait_up().unwrap_or_else(|error| {
            panic!("round {round}: {error:#}\n{}", scene.server.log());
        });
        client.hang_up().unwrap();
    }
    let links = scene.network.concentrator.ip("-details link show").unwrap();
    let programs = if driver == Driver::AfXdp { 2 } else { 0 };
    assert_eq!(links.matches("prog/xdp").count(), programs, "{links}");
    assert_eq!(links.matches("tun type tun").count(), 1, "{links}");
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way_of_the_next_on_raw_sockets() {
    killed_and_started_again(Driver::RawTun);
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way_of_the_next_on_af_xdp() {
    killed_and_started_again(Driver::AfXdp);
}

#[test]
fn a_stop_in_the_middle_of_logins_is_a_clean_one() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut callers = Vec::new();
    for step in 0..20_u16 {
        let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
        if step % 4 > 0 {
            caller.start().unwrap();
        }
        if step % 4 > 1 {
            caller.call(step).unwrap();
        }
        if step % 4 > 2 {
            // Half a login: LCP is open, the rest is not answered any more.
            let limit = Duration::from_millis(100);
            let _ = caller.log_in("bob", "hunter2", Some(protocol::ppp::Protocol::CHAP), limit);
        }
        callers.push(caller);
    }
    let Scene { server, network, .. } = scene;
    let begin = Instant::now();
    let log = server.stop().unwrap();
    assert!(log.contains("stopped") && !log.contains("panicked"), "{log}");
    assert!(begin.elapsed() < SOON);
    let links = network.concentrator.ip("link show").unwrap();
    assert!(!links.contains("penstock"), "{links}");
    for caller in &mut callers {
        assert!(caller.closes(SOON).unwrap());
    }
}

#[test]
fn what_is_taken_is_named_and_left_alone() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let concentrator = &scene.network.concentrator;
    let config = scene.server.directory().join("penstock.toml");
    let (code, said) = failing(serve(concentrator, &config));
    assert_eq!(code, 1);
    assert!(said.contains("another penstock is running"), "{said}");

    // A socket of its own, but the same TUN.
    let other = tempfile::tempdir().unwrap();
    let listen = "[server]\nlisten = [\"127.0.0.1:1724\"]\n";
    let (code, said) = failing(serve(concentrator, &configuration(other.path(), listen)));
    assert_eq!(code, 1);
    assert!(said.contains("there is an interface named penstock already"), "{said}");

    // What starts in vain leaves no socket to connect to in vain.
    assert!(!other.path().join("control.sock").exists(), "a socket was left");
    assert!(scene.server.directory().join("control.sock").exists());
    scene.witness_is_well().unwrap();
}

#[test]
fn a_stranger_on_the_port_is_named() {
    let namespace = Namespace::new("machine").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let _taken = namespace.run(|| Ok(TcpListener::bind("0.0.0.0:1723")?)).unwrap();
    let (code, said) = failing(serve(&namespace, &configuration(folder.path(), "")));
    assert_eq!(code, 1);
    let own = format!("(pid {})", std::process::id());
    assert!(said.contains("1723") && said.contains(&own), "{said}");
}

#[test]
fn rights_that_are_missing_are_named() {
    let namespace = Namespace::new("machine").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "");
    let mut command = namespace.command("setpriv");
    command.args(["--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"]);
    command.arg(penstock().unwrap()).arg("serve").arg("--config").arg(&config);
    let (code, said) = failing(command);
    assert_eq!(code, 1);
    assert!(said.contains("CAP_NET_"), "{said}");
}

#[test]
fn configurations_that_make_no_sense_are_refused_with_a_reason() {
    let namespace = Namespace::new("machine").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let deep = format!("a = {}{}", "[".repeat(20_000), "]".repeat(20_000));
    for (what, text) in [
        ("binary", "\0\u{1b}[2J\u{7f}".repeat(100).into_bytes()),
        ("no UTF-8", vec![0xFF; 100]),
        ("unknown key", b"[server]\nlissten = []\n".to_vec()),
        ("wrong type", b"[limits]\nmax-sessions = \"many\"\n".to_vec()),
        ("negative", b"[limits]\nmax-sessions = -1\n".to_vec()),
        ("huge", b"[limits]\nmax-half-open = 99999999999999999999\n".to_vec()),
        ("empty pool", b"[[pool]]\nname = \"default\"\nranges = []\n".to_vec()),
        (
            "pool from end to begin",
            b"[[pool]]\nname = \"default\"\nranges = [\"10.0.0.9-10.0.0.1\"]\n".to_vec(),
        ),
        ("profile of nothing", b"[server]\ndefault-profile = \"none\"\n".to_vec()),
        ("name of an interface", b"[dataplane]\ntun = \"a name that is far too long\"\n".to_vec()),
        (
            "interface that is not there",
            b"[[dataplane.interface]]\nname = \"eth77\"\nrole = \"both\"\n".to_vec(),
        ),
        ("time", b"[server]\nkeepalive-timeout = \"soon\"\n".to_vec()),
        ("log-level", b"log-level = \"a=b=c,,,[\"\n".to_vec()),
        ("nested", deep.into_bytes()),
    ] {
        let file = configuration(folder.path(), "");
        let mut whole = fs::read(&file).unwrap();
        whole.extend(text);
        fs::write(&file, whole).unwrap();
        let (code, said) = failing(serve(&namespace, &file));
        assert!(code == 1 || code == 2, "{what}: {code}: {said}");
        assert!(said.contains("penstock: ") && said.len() < 4000, "{what}: {said}");
        assert!(!said.contains('\u{1b}'), "{what}: {said:?}");
    }
    for missing in [folder.path().join("nothing"), folder.path().to_owned()] {
        let (code, said) = failing(serve(&namespace, &missing));
        assert!(code == 1 || code == 2, "{said}");
        assert!(said.contains(&missing.display().to_string()), "{said}");
    }
}

#[test]
fn garbage_on_the_control_socket_gets_an_answer_or_nothing() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let socket = scene.server.directory().join("control.sock");
    let before = scene.server.footprint().unwrap();
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(1 << 20)).into_bytes();
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000)).into_bytes();
    let body = |length: &str, body: &str| {
        format!(
            "POST /v1/users HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    let deep = "[".repeat(100_000);
    let sent: Vec<Vec<u8>> = vec![
        vec![0; 5000],
        (0..=255).cycle().take(100_000).collect(),
        b"GET".to_vec(),
        long,
        many,
        body("2", "{}"),
        body("99999999999999999999", "{"),
        body("1000000000", "{\"name\": \""),
        body("100000", &deep),
        body("33", "{\"name\": \"x\", \"password\": null}\0\0"),
        b"DELETE /v1/users/%00%1b%ff HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        b"PATCH /v1/users/../../etc HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        b"GET /v1/sessions HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /v1/stats HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n".to_vec(),
    ];
    let mut waiting = Vec::new();
    for bytes in sent.iter().cycle().take(sent.len() * 4) {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        // The daemon may have had enough of it before the end.
        let _ = stream.write_all(bytes);
        let mut answer = [0; 4096];
        if let Ok(length) = stream.read(&mut answer) {
            let answer = String::from_utf8_lossy(&answer[..length]);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{answer}");
        }
        waiting.push(stream);
    }
    assert_eq!(scene.server.sessions().unwrap().len(), 1);
    assert!(scene.server.command(&["user", "list"]).unwrap().contains("witness"));
    drop(waiting);
    scene.server.await_descriptors_of(&before).unwrap();
    let log = scene.server.log();
    assert!(!log.contains("panicked"), "{log}");
    scene.witness_is_well().unwrap();
}

#[test]
fn a_users_file_that_breaks_while_in_use_loses_only_what_it_broke() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let users = scene.server.directory().join("users");
    let mut text = b"\"alice\" * \"other words\" *\nbob\n\xff\xfe * x *\n".to_vec();
    text.extend(b"\"evil\x1b[2J\" * x *\n\"twice\" * a 10.1.1.1\n\"again\" * b 10.1.1.1\n");
    text.extend(b"\"open * x *\n");
    text.extend(vec![b'y'; 1 << 20]);
    fs::write(&users, &text).unwrap();
    scene.await_log(&["users-file", "line=2"]).unwrap();
    let log = scene.server.log();
    assert!(!log.contains('\u{1b}') && log.lines().all(|line| line.len() < 2000), "{log}");

    let mut client = Client::dial(&subscriber, SERVER, "alice", "other words").unwrap();
    client.wait_up().unwrap();
    client.hang_up().unwrap();
    // Without the file those who are in stay, and its last word counts.
    fs::remove_file(&users).unwrap();
    fs::create_dir(&users).unwrap();
    scene.await_log(&["users-file cannot be read"]).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "alice", "other words").unwrap();
    client.wait_up().unwrap();
    scene.witness_is_well().unwrap();
}

#[test]
fn a_database_that_is_no_database_stops_the_start_and_says_which_file() {
    let namespace = Namespace::new("machine").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "");
    let database = folder.path().join("penstock.db");
    fs::write(&database, [0x5A; 8192]).unwrap();
    let (code, said) = failing(serve(&namespace, &config));
    assert_eq!(code, 1);
    assert!(said.contains("penstock.db"), "{said}");
    assert_eq!(fs::read(&database).unwrap(), [0x5A; 8192], "what is not ours is left as it is");

    fs::remove_file(&database).unwrap();
    fs::create_dir(&database).unwrap();
    let (code, said) = failing(serve(&namespace, &config));
    assert!(code == 1 && said.contains("penstock.db"), "{said}");
}

#[test]
fn a_database_that_is_locked_or_damaged_stops_no_login() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    scene.server.command_with_input(&["user", "add", "ivan"], "pa ss\n").unwrap();
    let folder = scene.server.directory();

    // As another program would that writes: WAL_WRITE_LOCK, the octet 120 of the shared memory.
    let shared = OpenOptions::new().read(true).write(true).open(folder.join("penstock.db-shm"));
    let shared = shared.unwrap();
    let lock = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap(),
        l_start: 120,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&shared, FcntlArg::F_SETLK(&lock)).unwrap();
    let refused = scene.server.command_with_input(&["user", "add", "olga"], "x\n").unwrap_err();
    assert!(refused.to_string().contains("locked"), "{refused}");
    let mut client = Client::dial(&subscriber, SERVER, "ivan", "pa ss").unwrap();
    client.wait_up().unwrap();
    client.hang_up().unwrap();
    drop(shared);
    scene.server.command_with_input(&["user", "add", "olga"], "x\n").unwrap();

    // Damaged under the daemon: it goes on from memory.
    for name in ["penstock.db", "penstock.db-wal"] {
        let file = OpenOptions::new().write(true).open(folder.join(name)).unwrap();
        file.write_all_at(&[0xA5; 4096], 0).unwrap();
    }
    let mut client = Client::dial(&subscriber, SERVER, "ivan", "pa ss").unwrap();
    client.wait_up().unwrap();
    let _ = scene.server.command_with_input(&["user", "add", "anna"], "x\n");
    assert!(!scene.server.log().contains("panicked"));
    scene.witness_is_well().unwrap();
}

/// `penstock dial` to a server that does `behave` with each connection.
fn dialled(behave: fn(std::net::TcpStream), more: &[&str]) -> (i32, String, Duration) {
    let (client, server) = (Namespace::new("client").unwrap(), Namespace::new("server").unwrap());
    netns::join((&client, "wan"), (&server, "wan")).unwrap();
    client.address("wan", "10.7.0.1/24").unwrap();
    server.address("wan", "10.7.0.2/24").unwrap();
    let listener = server.run(|| Ok(TcpListener::bind("0.0.0.0:1723")?)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || behave(stream));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&password).unwrap();
    file.write_all(b"secret\n").unwrap();
    let mut command = client.command(&penstock().unwrap().to_string_lossy());
    command.args(["dial", &Ipv4Addr::new(10, 7, 0, 2).to_string(), "--user", "alice"]);
    command.arg("--password-file").arg(&password).args(more);
    let begin = Instant::now();
    let (code, said) = failing(command);
    let links = client.ip("link show").unwrap();
    assert!(!links.contains("pptp-out"), "{links}");
    (code, said, begin.elapsed())
}

#[test]
fn a_server_that_is_none_ends_the_call_with_a_reason() {
    let (code, said, _) = dialled(drop, &[]);
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("closed by the peer"), "{said}");

    let (code, said, _) = dialled(
        |mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n\x1b[2J");
            let _ = stream.read(&mut [0; 1024]);
        },
        &[],
    );
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("protocol violation") && !said.contains('\u{1b}'), "{said}");

    // What we say comes back to us: a request is no reply.
    let (code, said, _) = dialled(
        |mut stream| {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
        },
        &[],
    );
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("unexpected Start-Control-Connection-Request"), "{said}");
}

#[test]
fn a_server_that_says_nothing_is_given_up_when_the_login_time_is_over() {
    let (code, said, took) = dialled(
        |mut stream| {
            while let Ok(1..) = stream.read(&mut [0; 1024]) {}
        },
        &["--login-timeout", "2s"],
    );
    assert_eq!(code, 8, "{said}");
    let expected = "the server did not answer Start-Control-Connection-Request within 2s";
    assert!(said.contains(expected), "{said}");
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// To a script 0 means that it worked.
#[test]
fn a_link_that_is_not_up_when_the_time_is_over_has_failed() {
    let (code, said, took) = dialled(
        |mut stream| {
            while let Ok(1..) = stream.read(&mut [0; 1024]) {}
        },
        &["--duration", "2s"],
    );
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("did not answer Start-Control-Connection-Request within 2s"), "{said}");
    assert!(took < Duration::from_secs(6), "{took:?}");

    let namespace = Namespace::new("client").unwrap();
    namespace.ip("link add nowhere type veth peer name hole").unwrap();
    for link in ["nowhere", "hole"] {
        namespace.ip(&format!("link set {link} up")).unwrap();
    }
    namespace.address("nowhere", "10.7.0.1/24").unwrap();
    // Somebody has the address, and never answers TCP.
    namespace.ip("neigh add 10.7.0.2 lladdr 02:00:00:00:00:02 dev nowhere").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    File::create(&password).unwrap().write_all(b"secret\n").unwrap();
    let mut command = namespace.command(&penstock().unwrap().to_string_lossy());
    command.args(["dial", "10.7.0.2", "--user", "alice", "--duration", "2s"]);
    command.arg("--password-file").arg(&password);
    let (code, said) = failing(command);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("10.7.0.2:1723 is unreachable: no answer within 2s"), "{said}");
}

#[test]
fn a_name_of_an_interface_that_is_taken_is_said_so() {
    let namespace = Namespace::new("client").unwrap();
    namespace.ip("link add pptp-out1 type veth peer name other").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    File::create(&password).unwrap().write_all(b"secret\n").unwrap();
    let mut command = namespace.command(&penstock().unwrap().to_string_lossy());
    command.args(["dial", "10.7.0.2", "--user", "alice", "--interface", "pptp-out1"]);
    command.arg("--password-file").arg(&password);
    let (code, said) = failing(command);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("pptp-out1"), "{said}");
}

/// Then a socket can be bound to any address, which does not make it the machine's own.
#[test]
fn where_sockets_may_be_bound_to_any_address_our_end_of_tunnels_is_still_set_up() {
    let mut scene = Scene::new(Driver::RawTun, "").unwrap();
    let concentrator = &scene.network.concentrator;
    let ends = || concentrator.ip("-oneline -4 address show type tun").unwrap();
    let before = ends();
    assert!(before.contains("inet "), "{before}");
    concentrator.sysctl("net/ipv4/ip_nonlocal_bind", "1").unwrap();
    scene.server.kill_and_restart(concentrator).unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
    client.wait_up().unwrap_or_else(|error| panic!("{error:#}\n{}", scene.server.log()));
    let address = |text: &str| {
        text.split_whitespace().skip_while(|word| *word != "inet").nth(1).map(ToOwned::to_owned)
    };
    assert_eq!(address(&ends()), address(&before));
    client.hang_up().unwrap();
}
