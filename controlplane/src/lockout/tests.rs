//! The whole of it, with its own clock and file.

use tempfile::TempDir;

use super::*;

/// Locks that last for longer than any test.
const RULES: &str = "[lockout]\ntime = \"1h\"\nmax-time = \"1h\"\nallow = [\"198.51.100.0/24\"]\n";
const SHORT: &str = "[lockout]\ntime = \"2s\"\n";
const GUESSER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn open(folder: &TempDir, settings: &str) -> Lockouts {
    let config = config::Config::parse(settings).unwrap();
    Lockouts::open(&config.lockout, &folder.path().join("penstock.db"))
}

async fn enter(
    lockouts: &Lockouts,
    peer: Ipv4Addr,
    name: &str,
    has_sessions: bool,
) -> Result<Trial, Refused> {
    lockouts.enter(peer, name.as_bytes(), || has_sessions, || ()).await
}

async fn fail(lockouts: &Lockouts, peer: Ipv4Addr, name: &str) {
    let trial = enter(lockouts, peer, name, false).await.unwrap();
    trial.failed("wrong password", false, false).await;
}

#[tokio::test]
async fn an_address_is_locked_listed_and_cleared() {
    let folder = TempDir::new().unwrap();
    let lockouts = open(&folder, RULES);
    for n in 0..7 {
        assert!(!lockouts.refuses(GUESSER));
        fail(&lockouts, GUESSER, &format!("user-{n}")).await;
    }
    assert!(lockouts.refuses(GUESSER));
    assert_eq!(enter(&lockouts, GUESSER, "ivan", false).await.unwrap_err(), Refused::Address);
    assert_eq!(lockouts.refused(), 2);
    let list = lockouts.list();
    assert_eq!((list.len(), &list[0].subject), (1, &Subject::Address(GUESSER)));
    assert_eq!(lockouts.clear(&Which::One(Subject::Address(GUESSER))), 1);
    assert_eq!(lockouts.clear(&Which::All), 0);
    assert!(!lockouts.refuses(GUESSER));
}

#[tokio::test]
async fn the_allowed_and_everybody_without_a_limit_are_never_locked() {
    let folder = TempDir::new().unwrap();
    let lockouts = open(&folder, RULES);
    let allowed = Ipv4Addr::new(198, 51, 100, 9);
    let off = open(&folder, "[lockout]\nfailures = 0\n");
    for _ in 0..50 {
        fail(&lockouts, allowed, "ivan").await;
        fail(&off, GUESSER, "ivan").await;
    }
    assert!(!lockouts.refuses(allowed) && !off.refuses(GUESSER));
    assert_eq!((lockouts.list(), off.list()), (vec![], vec![]));
}

#[tokio::test]
async fn a_domain_a_realm_or_other_letters_make_no_other_user() {
    let folder = TempDir::new().unwrap();
    let lockouts = open(&folder, RULES);
    for n in 0..7 {
        let name = [format!("DOMAIN-{n}\\ivan"), format!("iVan@realm-{n}"), "IVAN".to_owned()];
        fail(&lockouts, Ipv4Addr::new(192, 0, 2, n), &name[usize::from(n) % 3]).await;
    }
    assert_eq!(lockouts.list()[0].subject, Subject::User(Arc::from("ivan")));
    let bound = Ipv4Addr::new(192, 0, 2, 3);
    assert_eq!(enter(&lockouts, bound, "x\\ivan", false).await.unwrap_err(), Refused::User);
    enter(&lockouts, bound, "anna", false).await.unwrap().succeeded();
    enter(&lockouts, GUESSER, "ivan", false).await.unwrap().succeeded();
    assert_eq!(lockouts.clear(&Which::One(Subject::User(Arc::from("Ivan")))), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_guesses_at_once_are_judged_than_lock_the_address() {
    let folder = TempDir::new().unwrap();
    let lockouts = open(&folder, RULES);
    let guesses = (0..40).map(|_| async {
        let trial = enter(&lockouts, GUESSER, "ivan", false).await?;
        // A judge who takes its time.
        tokio::time::sleep(Duration::from_millis(100)).await;
        trial.failed("wrong password", false, false).await;
        Ok::<_, Refused>(())
    });
    let judged = futures_util::future::join_all(guesses).await;
    assert_eq!(judged.iter().filter(|guess| guess.is_ok()).count(), 7);
    assert_eq!(judged[39], Err(Refused::Address));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_others_of_its_address_is_judged_after_them() {
    let folder = TempDir::new().unwrap();
    let lockouts = open(&folder, RULES);
    let logins = (0..40).map(|_| async {
        let trial = enter(&lockouts, GUESSER, "ivan", false).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        trial.succeeded();
        Ok::<_, Refused>(())
    });
    let judged = futures_util::future::join_all(logins).await;
    assert!(judged.iter().all(Result::is_ok));
    // One that nobody judges leaves its place.
    let stuck: Vec<_> =
        futures_util::future::join_all((0..7).map(|_| enter(&lockouts, GUESSER, "ivan", false)))
            .await;
    assert_eq!(enter(&lockouts, GUESSER, "ivan", false).await.unwrap_err(), Refused::Crowded);
    drop(stuck);
    enter(&lockouts, GUESSER, "ivan", false).await.unwrap().succeeded();
}

#[tokio::test]
async fn what_is_neither_success_nor_failure_counts_as_nothing() {
    let folder = TempDir::new().unwrap();
    let lockouts = open(&folder, RULES);
    for _ in 0..50 {
        drop(enter(&lockouts, GUESSER, "ivan", false).await.unwrap());
        let again = enter(&lockouts, GUESSER, "ivan", false).await.unwrap();
        again.failed("wrong password", true, false).await;
    }
    assert!(!lockouts.refuses(GUESSER));
}

#[tokio::test(start_paused = true)]
async fn an_address_with_sessions_is_slowed_down_and_its_right_passwords_are_not() {
    let folder = TempDir::new().unwrap();
    let lockouts = open(&folder, RULES);
    for _ in 0..7 {
        let trial = enter(&lockouts, GUESSER, "ivan", true).await.unwrap();
        trial.failed("wrong password", false, true).await;
    }
    assert!(!lockouts.refuses(GUESSER));
    // 50 guesses at once of a guesser who does not wait for answers.
    let began = tokio::time::Instant::now();
    let guesses: Vec<_> = (0..50)
        .map(|_| {
            let lockouts = lockouts.clone();
            tokio::spawn(async move {
                match enter(&lockouts, GUESSER, "ivan", true).await {
                    Ok(trial) => trial.failed("wrong password", false, true).await,
                    Err(refused) => assert_eq!(refused, Refused::Slowed),
                }
            })
        })
        .collect();
    for guess in guesses {
        guess.await.unwrap();
    }
    let (waited, judged) = (began.elapsed(), 50 - lockouts.refused());
    assert!(judged <= 2 * (waited.as_secs() / 3 + 1) && judged >= 2, "{judged} in {waited:?}");

    let began = tokio::time::Instant::now();
    for _ in 0..50 {
        enter(&lockouts, GUESSER, "anna", true).await.unwrap().succeeded();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// Who has a session and tries so many passwords at once, each of which takes a judge 100 ms, and
/// hangs up if nobody says within this time that one was right. How many were judged, in how long.
async fn tries_at_once(lockouts: &Lockouts, guesses: usize, waits: Duration) -> (usize, Duration) {
    let began = tokio::time::Instant::now();
    let guesses = (0..guesses).map(|_| async {
        let trial = enter(lockouts, GUESSER, "ivan", true).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let failed = trial.failed("wrong password", false, true);
        let _ = tokio::time::timeout(waits, failed).await;
        Ok::<_, Refused>(())
    });
    let judged = futures_util::future::join_all(guesses).await;
    let refused = judged.iter().filter(|guess| guess.is_err()).count();
    assert!(judged.iter().all(|guess| matches!(guess, Ok(()) | Err(Refused::Slowed))));
    (judged.len() - refused, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn who_has_sessions_and_guesses_with_many_at_once_is_slowed_down_after_seven() {
    let folder = TempDir::new().unwrap();
    for waits in [Duration::from_secs(60), Duration::from_millis(10)] {
        let lockouts = open(&folder, RULES);
        let (judged, time) = tries_at_once(&lockouts, 40, waits).await;
        // Seven may fail, as of any address; then two at once, of whom each takes 3.1 s.
        assert_eq!(judged, 7 + 2 * 5, "in {time:?}");
        assert!(!lockouts.refuses(GUESSER));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_slowed_down_says_so_before_it_waits() {
    let folder = TempDir::new().unwrap();
    let lockouts = open(&folder, RULES);
    let (judged, _) = tries_at_once(&lockouts, 7, Duration::MAX).await;
    assert_eq!(judged, 7);
    let slowed = std::cell::Cell::new(0);
    let slows = || slowed.set(slowed.get() + 1);
    let first = lockouts.enter(GUESSER, b"ivan", || true, slows).await.unwrap();
    let second = lockouts.enter(GUESSER, b"ivan", || true, slows).await.unwrap();
    let third = lockouts.enter(GUESSER, b"ivan", || true, slows);
    let hangs_up = tokio::time::timeout(Duration::from_secs(1), third).await;
    assert!(hangs_up.is_err());
    assert_eq!(slowed.get(), 3);
    drop((first, second));
    lockouts.enter(GUESSER, b"ivan", || true, slows).await.unwrap().succeeded();
}

/// Locks the guesser's address and the name `иван`, and writes that down.
async fn lock_both(lockouts: &Lockouts) {
    for n in 0..7 {
        fail(lockouts, GUESSER, &format!("user-{n}")).await;
        fail(lockouts, Ipv4Addr::new(203, 0, 113, n), "иван").await;
    }
    lockouts.write().await;
}

#[tokio::test]
async fn locks_outlive_a_restart() {
    let folder = TempDir::new().unwrap();
    let lockouts = open(&folder, RULES);
    lock_both(&lockouts).await;
    let before = lockouts.list();
    drop(lockouts);

    let lockouts = open(&folder, RULES);
    let subjects =
        |list: Vec<Locked>| list.into_iter().map(|lock| lock.subject).collect::<Vec<_>>();
    assert_eq!(subjects(lockouts.list()), subjects(before));
    assert!(lockouts.refuses(GUESSER));
    let bound = Ipv4Addr::new(203, 0, 113, 3);
    assert_eq!(enter(&lockouts, bound, "иван", false).await.unwrap_err(), Refused::User);
}

#[tokio::test]
async fn locks_end_in_time_after_a_restart_too() {
    let folder = TempDir::new().unwrap();
    let began = Instant::now();
    lock_both(&open(&folder, SHORT)).await;
    let lockouts = open(&folder, SHORT);
    let serving = tokio::spawn(lockouts.clone().serve());
    let ended = async {
        while lockouts.refuses(GUESSER) || lockouts.count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    // The calendar, by which they are kept, may be off by a part of a second.
    assert!(began.elapsed() > Duration::from_secs(1), "they were locked for a while");
    serving.abort();
    let _ = serving.await;
    lockouts.write().await;
    assert_eq!(open(&folder, SHORT).list(), []);
}

#[tokio::test]
async fn a_file_that_is_no_database_costs_the_memory_of_locks_alone() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("penstock-lockouts.db"), [b'x'; 4096]).unwrap();
    let lockouts = open(&folder, RULES);
    for n in 0..7 {
        fail(&lockouts, GUESSER, &format!("user-{n}")).await;
    }
    lockouts.write().await;
    assert!(lockouts.refuses(GUESSER));
}
