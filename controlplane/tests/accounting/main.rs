//! A daemon's queue that dies at any moment: a process of its own is killed again and again, and
//! what a server hears in the end is compared with what happened.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use controlplane::accounting::keeper::{Pace, Servers};
use controlplane::accounting::record::Records;
use controlplane::accounting::{Accounting, Session, SessionIds, Volume};
use controlplane::daemon::ending::TerminateCause;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use protocol::radius::dictionary::{
    ACCT_INPUT_OCTETS, ACCT_SESSION_ID, ACCT_STATUS_TYPE, ACCT_TERMINATE_CAUSE,
};
use protocol::radius::{Attributes, Code, Packet, Secret, Value, seal};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const QUEUE: &str = "PENSTOCK_TEST_QUEUE";
const SERVER: &str = "PENSTOCK_TEST_SERVER";
const WORK: &str = "PENSTOCK_TEST_WORK";
const WAIT: &str = "PENSTOCK_TEST_WAIT";

fn secret() -> Secret {
    Secret::new("testing123".to_owned())
}

// ---- The process that dies

/// Asks the server over UDP, twice, and waits for so long each time.
#[derive(Clone, Copy)]
struct Udp {
    server: SocketAddr,
    wait: Duration,
}

impl Udp {
    /// As the test that started this process says.
    fn told() -> Self {
        let [server, wait] = [SERVER, WAIT].map(|name| std::env::var(name).unwrap());
        let wait = Duration::from_millis(wait.parse().unwrap());
        Self { server: server.parse().unwrap(), wait }
    }
}

impl Servers for Udp {
    fn account(&self, attributes: Vec<u8>, _: Duration) -> BoxFuture<'static, Result<(), String>> {
        let Self { server, wait } = *self;
        async move {
            let attributes = Attributes::from_bytes(&attributes).unwrap();
            let code = Code::AccountingRequest;
            let request = seal::hashed_request(code, 1, &attributes, false, &secret()).unwrap();
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(server).await.unwrap();
            let mut buffer = [0; 4096];
            for _ in 0..2 {
                if socket.send(&request).await.is_err() {
                    continue;
                }
                let answer = socket.recv(&mut buffer);
                if let Ok(Ok(_)) = tokio::time::timeout(wait, answer).await {
                    return Ok(());
                }
            }
            Err("no answer".to_owned())
        }
        .boxed()
    }
}

fn pace() -> Pace {
    Pace {
        journal: Duration::from_millis(5),
        shortest_interim: Duration::from_millis(5),
        first_retry: Duration::from_millis(5),
        last_retry: Duration::from_millis(50),
        ..Pace::default()
    }
}

fn begin(accounting: &Accounting, id: &str) -> Session {
    let mut attributes = Attributes::new();
    attributes.text(ACCT_SESSION_ID, id);
    let attributes = attributes.as_bytes().unwrap().to_vec();
    let volume = Volume { input_octets: 4242, ..Volume::default() };
    let meter = Arc::new(move || Some(volume));
    accounting.open(id, attributes, Some(Duration::from_millis(1)), meter).unwrap()
}

/// What the process does, run by the tests below as `child` and by nobody else.
#[test]
fn child() {
    let Ok(work) = std::env::var(WORK) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let file = PathBuf::from(std::env::var(QUEUE).unwrap());
        let ids = SessionIds::new().unwrap();
        let records = Records::new(Attributes::new(), ids.of(0));
        let servers = Arc::new(Udp::told());
        let accounting = Accounting::start(&file, 100_000, records, servers, pace()).unwrap();
        match work.as_str() {
            "serve" => serve(&accounting, &ids).await,
            "drain" => {
                until(|| accounting.stats().unwrap().queued == 0).await;
                accounting.finish(PATIENCE).await;
            }
            other => panic!("{other} is no work"),
        }
    });
}

/// Sessions come and go for ever. Tells of each that is surely in the file.
async fn serve(accounting: &Accounting, ids: &SessionIds) {
    let mut live = VecDeque::new();
    for number in 1.. {
        let id = ids.of(number);
        live.push_back(begin(accounting, &id));
        if live.len() > 5 {
            let session: Session = live.pop_front().unwrap();
            session.end(TerminateCause::UserRequest);
        }
        until(|| accounting.stats().unwrap().unwritten == 0).await;
        std::io::stdout().write_all(format!("\nsession {id}\n").as_bytes()).unwrap();
    }
}

async fn until(reached: impl Fn() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

// ---- The server and the test

/// A request as the server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    status: u32,
    id: String,
    cause: Option<u32>,
    octets: Option<u32>,
    attributes: Vec<u8>,
}

impl Heard {
    fn new(packet: Packet<'_>) -> Self {
        let number = |definition| match packet.value(definition).unwrap() {
            Some(Value::Integer(number)) => Some(number),
            _ => None,
        };
        let id = packet.first(ACCT_SESSION_ID).unwrap();
        Self {
            status: number(ACCT_STATUS_TYPE).unwrap(),
            id: String::from_utf8(id.to_vec()).unwrap(),
            cause: number(ACCT_TERMINATE_CAUSE),
            octets: number(ACCT_INPUT_OCTETS),
            attributes: packet.as_bytes()[20..].to_vec(),
        }
    }
}

/// A server that answers only while it is up. What is sent to it again from the same place is
/// answered, and not heard as another request (RFC 5080 §2.2.2).
struct Server {
    address: SocketAddr,
    up: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Server {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let up = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (is_up, hears) = (Arc::clone(&up), Arc::clone(&heard));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut known = HashSet::new();
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                if len == 0 {
                    is_up.store(true, Ordering::Relaxed);
                }
                if len == 0 || !is_up.load(Ordering::Relaxed) {
                    continue;
                }
                let packet = Packet::parse(&buffer[..len]).unwrap();
                if known.insert((from, packet.authenticator())) {
                    hears.lock().unwrap().push(Heard::new(packet));
                }
                let answer = seal::response(
                    Code::AccountingResponse,
                    packet.identifier(),
                    &packet.authenticator(),
                    &Attributes::new(),
                    false,
                    &secret(),
                );
                let _ = socket.send_to(&answer.unwrap(), from);
            }
        });
        Self { address, up, heard }
    }

    /// From here on it answers, and not what was sent to it before.
    fn come_up(&self) {
        let begin = Instant::now();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        while !self.up.load(Ordering::Relaxed) {
            assert!(begin.elapsed() < PATIENCE, "the server does not hear");
            // Behind all that still waits in its socket.
            socket.send_to(&[], self.address).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How long a process waits for its answer: nobody waits for long in vain, and none is late.
    fn wait(&self) -> String {
        if self.up.load(Ordering::Relaxed) { "20000" } else { "100" }.to_owned()
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

fn spawn(queue: &Path, server: &Server, work: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .envs([(QUEUE, queue.as_os_str())])
        .env(SERVER, server.address.to_string())
        .env(WAIT, server.wait())
        .env(WORK, work)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets sessions come and go until so many are surely known, then kills. Says which they are.
fn serve_and_kill(queue: &Path, server: &Server, sessions: usize) -> Vec<String> {
    let mut child = spawn(queue, server, "serve");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let known = lines
        .filter_map(|line| line.unwrap().strip_prefix("session ").map(str::to_owned))
        .take(sessions)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    known
}

fn drain(queue: &Path, server: &Server) {
    assert!(spawn(queue, server, "drain").wait().unwrap().success());
}

/// A number of sessions that is another one each time, and with it the moment of the kill.
const MOMENTS: [usize; 8] = [1, 7, 2, 31, 4, 17, 3, 11];

#[test]
fn exactly_one_start_and_one_stop_arrive_whenever_it_is_killed_while_servers_are_away() {
    let folder = TempDir::new().unwrap();
    let queue = folder.path().join("accounting.db");
    let server = Server::start();
    let known: BTreeSet<_> =
        MOMENTS.iter().flat_map(|moment| serve_and_kill(&queue, &server, *moment)).collect();
    assert_eq!(known.len(), MOMENTS.iter().sum::<usize>());
    assert_eq!(server.heard(), []);
    server.come_up();
    drain(&queue, &server);

    let mut of: BTreeMap<String, Vec<Heard>> = BTreeMap::new();
    let mut open = BTreeSet::new();
    for heard in server.heard() {
        match heard.status {
            1 => assert!(open.insert(heard.id.clone())),
            2 => assert!(open.remove(&heard.id)),
            // RFC 2866 §5.1: what was open is closed before.
            7 => assert!(open.is_empty(), "{open:?}"),
            _ => {}
        }
        of.entry(heard.id.clone()).or_default().push(heard);
    }
    for (id, heard) in &of {
        let told: Vec<_> = heard.iter().map(|heard| heard.status).collect();
        // Each daemon that died told of itself, and the last one of its end too.
        if [&[7][..], &[7, 8]].contains(&&told[..]) {
            continue;
        }
        let middle = told.iter().filter(|status| **status == 3).count();
        assert!(middle <= 1, "only the newest interim survives: {told:?}");
        assert_eq!((told[0], *told.last().unwrap()), (1, 2), "{id}: {told:?}");
        assert_eq!(told.len(), 2 + middle, "{id}: {told:?}");
        let stop = heard.last().unwrap();
        match TerminateCause::UserRequest.code() {
            code if stop.cause == Some(code) => assert_eq!(stop.octets, Some(4242)),
            // Killed: the last figures that were written down, if there were any.
            _ => {
                assert_eq!(stop.cause, Some(TerminateCause::NasReboot.code()));
                assert!([Some(0), Some(4242)].contains(&stop.octets));
            }
        }
    }
    let told: BTreeSet<_> = of.into_keys().collect();
    assert_eq!(known.difference(&told).next(), None);
}

#[test]
fn what_is_repeated_after_a_kill_while_servers_answer_is_the_same_to_the_octet() {
    let folder = TempDir::new().unwrap();
    let queue = folder.path().join("accounting.db");
    let server = Server::start();
    server.come_up();
    let known: BTreeSet<_> =
        MOMENTS.iter().flat_map(|moment| serve_and_kill(&queue, &server, *moment)).collect();
    drain(&queue, &server);
    let mut of: BTreeMap<(String, u32), Vec<Heard>> = BTreeMap::new();
    for heard in server.heard() {
        of.entry((heard.id.clone(), heard.status)).or_default().push(heard);
    }
    let mut repeated = 0;
    for ((id, status), mut heard) in of.clone() {
        let all = heard.len();
        heard.dedup();
        // A session is told of again and again, but it begins and ends once.
        if status != 3 {
            assert_eq!(heard.len(), 1, "{id}");
            repeated += all - 1;
        }
    }
    // What was on its way when the daemon died.
    assert!(repeated <= MOMENTS.len() * Pace::default().at_once);
    for id in known {
        assert!(of.contains_key(&(id.clone(), 1)) && of.contains_key(&(id.clone(), 2)), "{id}");
    }
}

#[test]
fn a_disk_that_is_full_for_a_while_is_counted_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let queue = folder.path().join("accounting.db");
    let server = Server::start();
    let (file, limit) = (queue.clone(), 65_536);
    let mut child = Command::new("sh")
        // Writing beyond the limit fails then, as on a full disk, and kills nobody.
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "fills_its_disk", "--nocapture", "--test-threads=1"])
        .envs([(QUEUE, file.as_os_str())])
        .env(SERVER, server.address.to_string())
        .env(WAIT, server.wait())
        .env(WORK, limit.to_string())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    server.come_up();
    drain(&queue, &server);
    let heard = server.heard();
    let count = |status| heard.iter().filter(|heard| heard.status == status).count();
    assert_eq!((count(1), count(2)), (500, 500));
}

/// The process of the test above.
#[test]
fn fills_its_disk() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Some(limit) = std::env::var(WORK).ok().and_then(|limit| limit.parse().ok()) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let file = PathBuf::from(std::env::var(QUEUE).unwrap());
        let ids = SessionIds::new().unwrap();
        let records = Records::new(Attributes::new(), ids.of(0));
        let servers = Arc::new(Udp::told());
        let accounting = Accounting::start(&file, 100_000, records, servers, pace()).unwrap();
        let stats = || accounting.stats().unwrap();
        let (before, most) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, limit, most).unwrap();
        for number in 1..=500 {
            begin(&accounting, &ids.of(number)).end(TerminateCause::UserRequest);
        }
        until(|| stats().store_errors > 0).await;
        setrlimit(Resource::RLIMIT_FSIZE, before, most).unwrap();
        // Accounting-On, and a Start and a Stop of each.
        until(|| stats().queued == 1001).await;
        assert_eq!(stats().lost, 0);
    });
}
