//! The file, the order of what may be sent, and the thread with servers that answer as they are
//! told.

use std::collections::HashSet;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use protocol::radius::Attributes;
use tempfile::TempDir;

use super::store::{Change, Waiting};
use super::window::Window;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn usage(seconds: u64) -> Usage {
    let volume = Volume { input_octets: seconds << 32, ..Volume::default() };
    Usage { seconds, volume }
}

fn opened(session: &str) -> Change {
    let (attributes, start) = (b"common".to_vec(), format!("start {session}").into_bytes());
    Change::Opened { session: session.into(), at: 10, attributes, start }
}

fn measured(session: &str, seconds: u64, told: bool) -> Change {
    let interim = told.then(|| format!("interim {session} {seconds}").into_bytes());
    Change::Measured { session: session.into(), at: 10 + seconds, usage: usage(seconds), interim }
}

fn closed(session: &str) -> Change {
    let stop = format!("stop {session}").into_bytes();
    Change::Closed { session: session.into(), at: 90, stop }
}

fn service(status: Status) -> Change {
    Change::Service { status, at: 100, attributes: format!("{status:?}").into_bytes() }
}

fn folder() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("accounting.db");
    (folder, file)
}

fn contents(store: &Store) -> Vec<String> {
    let all = store.after(0, 1000).unwrap();
    assert_eq!(all.len() as u64, store.len());
    let text = |request: &Waiting| {
        String::from_utf8(store.request(request.number).unwrap().unwrap().1).unwrap()
    };
    all.iter().map(text).collect()
}

fn write(store: &mut Store, changes: &[Change]) {
    assert_eq!(store.write(changes, &HashSet::new()).unwrap().lost, 0);
}

#[test]
fn a_sessions_requests_keep_their_order_and_only_the_newest_interim() {
    let (_folder, file) = folder();
    let mut store = Store::open(&file, 100).unwrap();
    write(&mut store, &[opened("a"), measured("a", 60, true), opened("b")]);
    write(&mut store, &[measured("a", 120, true), measured("b", 60, false)]);
    assert_eq!(contents(&store), ["start a", "interim a 120", "start b"]);
    assert_eq!(store.oldest().unwrap(), Some(10));
    write(&mut store, &[closed("a")]);
    assert_eq!(contents(&store), ["start a", "start b", "stop a"]);
}

#[test]
fn what_is_on_its_way_is_not_touched() {
    let (_folder, file) = folder();
    let mut store = Store::open(&file, 100).unwrap();
    write(&mut store, &[opened("a"), Change::Done(1), measured("a", 60, true)]);
    let sent = HashSet::from([2]);
    store.write(&[measured("a", 120, true)], &sent).unwrap();
    assert_eq!(contents(&store), ["interim a 60", "interim a 120"]);
    // Nobody answers, and something newer waits.
    write(&mut store, &[Change::Unanswered(2)]);
    assert_eq!(contents(&store), ["interim a 120"]);
    // Nothing newer waits.
    write(&mut store, &[Change::Unanswered(3)]);
    store.write(&[closed("a")], &HashSet::from([3])).unwrap();
    assert_eq!(contents(&store), ["interim a 120", "stop a"]);
}

#[test]
fn sessions_of_a_daemon_that_died_are_stopped_with_their_last_figures_and_then_it_is_on() {
    let (_folder, file) = folder();
    let mut store = Store::open(&file, 100).unwrap();
    write(&mut store, &[opened("a"), opened("b"), measured("a", 60, false), closed("b")]);
    drop(store);
    let mut store = Store::open(&file, 100).unwrap();
    let stop = |orphan: &store::Orphan| {
        assert_eq!(orphan.attributes, b"common");
        format!("reboot at {} after {:?}", orphan.at, orphan.usage.seconds).into_bytes()
    };
    assert_eq!(store.recover(stop, service(Status::On)).unwrap(), 1);
    let queue = ["start a", "start b", "stop b", "reboot at 70 after 60", "On"];
    assert_eq!(contents(&store), queue);
    assert_eq!(store.recover(stop, service(Status::On)).unwrap(), 0);
}

#[test]
fn a_queue_that_is_full_still_takes_stops_and_says_what_it_loses() {
    let (_folder, file) = folder();
    let mut store = Store::open(&file, 10).unwrap();
    let names: Vec<_> = (0..11).map(|number| number.to_string()).collect();
    let starts: Vec<_> = names.iter().map(|name| opened(name)).collect();
    assert_eq!(store.write(&starts, &HashSet::new()).unwrap().lost, 1);
    let more = [measured("3", 60, true), closed("0"), closed("1")];
    assert_eq!(store.write(&more, &HashSet::new()).unwrap().lost, 2);
    assert_eq!((store.len(), contents(&store).pop().unwrap()), (11, "stop 0".to_owned()));
}

#[test]
fn a_file_that_was_large_is_small_again_when_the_requests_are_gone() {
    let (_folder, file) = folder();
    // As earlier versions made it.
    let old = rusqlite::Connection::open(&file).unwrap();
    old.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE trash (a); DROP TABLE trash;")
        .unwrap();
    drop(old);
    let mut store = Store::open(&file, 100_000).unwrap();
    let start = vec![0; 1000];
    let names: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
    let begin = |name: &String| match opened(name) {
        Change::Opened { session, at, attributes, .. } => {
            Change::Opened { session, at, attributes, start: start.clone() }
        }
        other => other,
    };
    write(&mut store, &names.iter().map(begin).collect::<Vec<_>>());
    let size = || std::fs::metadata(&file).unwrap().len();
    drop(store);
    assert!(size() > 10_000_000, "{}", size());
    let mut store = Store::open(&file, 100_000).unwrap();
    let ends: Vec<_> = names.iter().map(|name| closed(name)).collect();
    write(&mut store, &ends);
    write(&mut store, &(1..=20_000).map(Change::Done).collect::<Vec<_>>());
    assert!(store.is_empty());
    for _ in 0..20 {
        store.compact().unwrap();
    }
    drop(store);
    assert!(size() < 4_000_000, "{}", size());
}

#[test]
fn a_queue_in_use_is_refused() {
    let (_folder, file) = folder();
    let _first = Store::open(&file, 100).unwrap();
    let error = Store::open(&file, 100).unwrap_err().to_string();
    assert!(error.ends_with("is in use by another process"), "{error}");
}

#[test]
fn a_queue_that_is_damaged_or_newer_is_refused_with_the_reason() {
    let (_folder, file) = folder();
    std::fs::write(&file, [b'x'; 4096]).unwrap();
    let error = Store::open(&file, 100).unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let other = rusqlite::Connection::open(&file).unwrap();
    other.pragma_update(None, "user_version", 7).unwrap();
    drop(other);
    let error = Store::open(&file, 100).unwrap_err().to_string();
    assert!(error.contains("has schema 7"), "{error}");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let error = Store::open(&file, 100).unwrap_err().to_string();
    assert!(error.starts_with("accounting queue"), "{error}");
}

fn waiting(number: i64, session: Option<&str>) -> Waiting {
    let status = if session.is_some() { Status::Start } else { Status::On };
    Waiting { number, session: session.map(Arc::from), status }
}

fn ready(window: &mut Window) -> Vec<i64> {
    std::iter::from_fn(|| window.take()).collect()
}

#[test]
fn requests_of_one_session_go_one_by_one_and_those_of_others_beside_them() {
    let mut window = Window::default();
    window.load(&[waiting(1, Some("a")), waiting(2, Some("b")), waiting(3, Some("a"))]);
    assert_eq!(ready(&mut window), [1, 2]);
    window.failed(1);
    assert_eq!(ready(&mut window), [1]);
    window.done(1);
    assert_eq!(ready(&mut window), [3]);
    window.load(&[waiting(4, Some("a")), waiting(5, Some("b"))]);
    window.done(2);
    assert_eq!(ready(&mut window), [5]);
}

#[test]
fn what_concerns_all_sessions_goes_alone() {
    // RFC 2866 §5.1: a server closes what is open when it hears Accounting-On.
    let mut window = Window::default();
    let queue = [waiting(1, Some("a")), waiting(2, None), waiting(3, None), waiting(4, Some("b"))];
    window.load(&queue);
    assert_eq!(ready(&mut window), [1]);
    assert_eq!(window.wants(), Some((1, 1023)));
    window.done(1);
    for (number, next) in [(2, 2), (3, 3), (4, 4)] {
        window.load(&queue[next - 1..]);
        assert_eq!(ready(&mut window), [number]);
        assert_eq!(window.wants().is_none(), number != 4);
        window.failed(number);
        assert_eq!(ready(&mut window), [number]);
        window.done(number);
    }
}

#[test]
fn one_that_nobody_answers_does_not_keep_the_turn() {
    let mut window = Window::default();
    window.load(&[waiting(1, Some("a")), waiting(2, Some("b")), waiting(3, Some("c"))]);
    let turns: Vec<_> = (0..5)
        .map(|_| {
            let number = window.take().unwrap();
            window.failed(number);
            number
        })
        .collect();
    assert_eq!(turns, [1, 2, 3, 1, 2]);
}

proptest! {
    #[test]
    fn every_request_is_sent_once_in_its_sessions_order(
        sessions in prop::collection::vec(prop::option::weighted(0.9, 0_u8..5), 1..60),
        choices in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 400),
    ) {
        let queue: Vec<_> = (1_i64..)
            .zip(&sessions)
            .map(|(number, session)| waiting(number, session.map(|it| it.to_string()).as_deref()))
            .collect();
        let mut window = Window::default();
        let mut sent: Vec<i64> = Vec::new();
        let mut done: Vec<i64> = Vec::new();
        for (fails, choice) in choices {
            if let Some((after, room)) = window.wants() {
                let from = usize::try_from(after).unwrap();
                window.load(&queue[from..queue.len().min(from + room.min(3))]);
            }
            sent.extend(window.take());
            if sent.is_empty() {
                continue;
            }
            let number = sent.remove(choice.index(sent.len()));
            if fails {
                window.failed(number);
                continue;
            }
            window.done(number);
            let session = |number: i64| sessions[usize::try_from(number).unwrap() - 1];
            for earlier in &queue[..usize::try_from(number).unwrap() - 1] {
                let other = session(earlier.number);
                let alike = other == session(number);
                prop_assert!(
                    done.contains(&earlier.number) || !(alike || other.is_none() || session(number).is_none()),
                    "{} before {}", number, earlier.number
                );
            }
            done.push(number);
        }
        let once: HashSet<_> = done.iter().collect();
        prop_assert_eq!(once.len(), done.len());
    }
}

/// Servers that answer as they are told.
#[derive(Default)]
struct Script {
    is_away: AtomicBool,
    heard: Mutex<Vec<Vec<u8>>>,
}

struct Scripted(Arc<Script>);

impl Servers for Scripted {
    fn account(&self, attributes: Vec<u8>, _: Duration) -> BoxFuture<'static, Result<(), String>> {
        let script = Arc::clone(&self.0);
        async move {
            if script.is_away.load(Ordering::Relaxed) {
                return Err("no answer".to_owned());
            }
            lock(&script.heard).push(attributes);
            Ok(())
        }
        .boxed()
    }
}

fn pace() -> Pace {
    Pace {
        journal: Duration::from_millis(20),
        shortest_interim: Duration::from_millis(20),
        first_retry: Duration::from_millis(5),
        last_retry: Duration::from_millis(20),
        ..Pace::default()
    }
}

fn start(file: &Path, script: &Arc<Script>) -> Accounting {
    let records = Records::new(Attributes::new(), "boot".to_owned());
    let servers = Arc::new(Scripted(Arc::clone(script)));
    Accounting::start(file, 1000, records, servers, pace()).unwrap()
}

/// Acct-Status-Type and Acct-Session-Id of what was heard; `common` attributes are the id alone.
fn heard(script: &Script) -> Vec<(u8, String)> {
    let told = |octets: &Vec<u8>| {
        let mut rest = &octets[..];
        let (mut status, mut id) = (0, String::new());
        while let [kind, len, ..] = *rest {
            let value = &rest[2..usize::from(len)];
            match kind {
                40 => status = value[3],
                44 => id = String::from_utf8(value.to_vec()).unwrap(),
                _ => {}
            }
            rest = &rest[usize::from(len)..];
        }
        (status, id)
    };
    lock(&script.heard).iter().map(told).collect()
}

fn common(id: &str) -> Vec<u8> {
    let mut attributes = Attributes::new();
    attributes.text(protocol::radius::dictionary::ACCT_SESSION_ID, id);
    attributes.as_bytes().unwrap().to_vec()
}

fn open(accounting: &Accounting, id: &str, interim: Option<Duration>) -> Session {
    let meter = Arc::new(|| Some(Volume::default()));
    accounting.open(id, common(id), interim, meter).unwrap()
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_were_away_hear_everything_in_order() {
    let (_folder, file) = folder();
    let script = Arc::new(Script::default());
    script.is_away.store(true, Ordering::Relaxed);
    let accounting = start(&file, &script);
    let session = open(&accounting, "a", None);
    until("away", || !accounting.stats().unwrap().servers_answer).await;
    session.end(TerminateCause::UserRequest);
    assert_eq!(heard(&script), []);
    script.is_away.store(false, Ordering::Relaxed);
    until("answers", || lock(&script.heard).len() == 3).await;
    let told = |status, id: &str| (status, id.to_owned());
    assert_eq!(heard(&script), [told(7, "boot"), told(1, "a"), told(2, "a")]);
    until("emptiness", || accounting.stats().unwrap().queued == 0).await;
    let stats = accounting.stats().unwrap();
    assert_eq!((stats.answered, stats.lost, stats.oldest), (3, 0, None));
    assert!(stats.servers_answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_lives_is_told_of_again_and_again_and_a_stop_ends_with_off() {
    let (_folder, file) = folder();
    let script = Arc::new(Script::default());
    let accounting = start(&file, &script);
    let session = open(&accounting, "a", Some(Duration::from_millis(1)));
    let quiet = open(&accounting, "b", None);
    until("interims", || heard(&script).iter().filter(|(status, _)| *status == 3).count() > 2)
        .await;
    drop((session, quiet));
    accounting.finish(PATIENCE).await;
    let heard = heard(&script);
    assert_eq!(heard.last().unwrap(), &(8, "boot".to_owned()));
    assert!(heard.iter().all(|(status, id)| *status != 3 || id == "a"));
    for (status, count) in [(1, 2), (2, 2), (7, 1), (8, 1)] {
        assert_eq!(heard.iter().filter(|(kind, _)| *kind == status).count(), count, "{status}");
    }
}

#[test]
fn no_two_starts_of_the_daemon_make_the_same_ids() {
    let ids = SessionIds::new().unwrap();
    assert_eq!(ids.of(1).len(), 20);
    assert_ne!(ids.of(1), ids.of(2));
    assert!(ids.of(1).bytes().all(|byte| byte.is_ascii_hexdigit()));
}
