//! More logins than RADIUS answers at once, and strangers who only take room: whoever waits gets
//! in, and nobody is asked about who has gone.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::mpsc;
use std::time::Duration;

use lab::caller::Caller;
use lab::netns::Namespace;
use lab::network::SERVER;
use lab::radius::Settings;
use lab::radius::relay::{self, Fate, Relay};
use lab::radius::scene::{ECHO, FIRST, SECOND, Scene, aaa, section};
use lab::{traffic, wait};

const PATIENCE: Duration = Duration::from_secs(40);
const SOON: Duration = Duration::from_secs(20);

/// A concentrator that asks a FreeRADIUS behind a relay with this fate about `users` users.
fn scene(users: usize, fate: Fate, settings: &str, keys: &str) -> (Scene, Relay) {
    let mut all = String::new();
    for user in 0..users {
        writeln!(all, "user{user} Cleartext-Password := \"secret\"").unwrap();
    }
    let server = section(SECOND, &format!("accounting-port = 0\n{keys}"));
    let settings = format!("{settings}{}{server}", aaa(""));
    let scene = Scene::with(&Settings::new(FIRST, &all), &[], &settings).unwrap();
    let at = |address: Ipv4Addr| SocketAddrV4::new(address, 1812);
    let relay = Relay::start(&scene.network.core, at(SECOND), at(FIRST), fate).unwrap();
    (scene, relay)
}

fn place(subscriber: &Namespace, call_id: u16) -> Caller {
    let mut caller = Caller::connect(subscriber, SERVER).unwrap();
    caller.start().unwrap();
    caller.call(call_id).unwrap();
    caller
}

#[test]
fn sixty_logins_at_once_all_get_in_while_radius_answers_twenty_a_second() {
    let (scene, _relay) =
        scene(60, relay::paced(20), "[limits]\nmax-half-open-per-address = 0\n", "");
    let subscriber = scene.network.subscriber(1).unwrap();
    let up: Vec<_> = std::thread::scope(|scope| {
        let subscriber = &subscriber;
        let logins: Vec<_> = (0..60_u16)
            .map(|user| {
                scope.spawn(move || {
                    let mut caller = place(subscriber, user + 1);
                    let name = format!("user{user}");
                    let up = caller.log_in(&name, "secret", None, PATIENCE).unwrap();
                    (up, caller)
                })
            })
            .collect();
        logins.into_iter().map(|login| login.join().unwrap()).collect()
    });
    let failed = up.iter().filter(|(up, _)| !up).count();
    assert_eq!(failed, 0, "{failed} of 60 were kept out\n{}", scene.logs());
    wait::until("all sessions", SOON, || Ok((scene.server.sessions()?.len() == 60).then_some(())))
        .unwrap();
    assert_eq!(scene.radius.requests().unwrap().len(), 60, "each was asked about once");
}

#[test]
fn radius_is_not_asked_about_who_hung_up_while_waiting() {
    // One at a time, and the first waits until it is let go.
    let (let_go, held) = mpsc::channel::<()>();
    let mut held = Some(held);
    let fate: Fate = Box::new(move |_, answer| {
        if let Some(held) = held.take() {
            let _ = held.recv_timeout(PATIENCE);
        }
        vec![(Duration::ZERO, answer.to_vec())]
    });
    let (scene, _relay) = scene(6, fate, "", "max-in-flight = 1\ntimeout = \"60s\"");
    let subscriber = scene.network.subscriber(1).unwrap();
    let waiting = |user: u16, limit: Duration| {
        let mut caller = place(&subscriber, user + 1);
        let up = caller.log_in(&format!("user{user}"), "secret", None, limit).unwrap();
        (up, caller)
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| waiting(0, PATIENCE));
        wait::until("the first request", SOON, || {
            Ok((scene.radius.requests()?.len() == 1).then_some(()))
        })
        .unwrap();
        // These hang up before their turn has come.
        let impatient: Vec<_> = (1..5)
            .map(|user| scope.spawn(move || waiting(user, Duration::from_millis(600))))
            .collect();
        for caller in impatient {
            assert!(!caller.join().unwrap().0);
        }
        wait::until("the first one alone", SOON, || {
            let all = scene.server.command(&["session", "list", "--all"])?;
            Ok((all.lines().count() == 2).then_some(()))
        })
        .unwrap();
        let_go.send(()).unwrap();
        let (up, _first) = first.join().unwrap();
        assert!(up, "{}", scene.logs());
    });
    let (up, _last) = waiting(5, PATIENCE);
    assert!(up, "{}", scene.logs());
    let asked: Vec<_> = scene
        .radius
        .requests()
        .unwrap()
        .iter()
        .filter_map(|request| request.get("User-Name").map(str::to_owned))
        .collect();
    assert_eq!(asked, ["user0", "user5"]);
}

#[test]
fn half_open_connections_and_a_slow_server_keep_no_subscriber_out() {
    let late = relay::late(Duration::from_millis(900));
    let (scene, _relay) = scene(20, late, "", "timeout = \"5s\"");
    let [honest, other] = [1, 2].map(|number| scene.network.subscriber(number).unwrap());
    let witness = scene.dial(&honest, "user0", "secret", &[]).unwrap();
    let before = scene.server.footprint().unwrap();

    // Strangers connect from many addresses, as far as each may, and stand there.
    let strangers: Vec<_> =
        (10..18).map(|number| scene.network.subscriber(number).unwrap()).collect();
    let mut standing = Vec::new();
    for stranger in &strangers {
        standing.extend((0..60).filter_map(|_| Caller::connect(stranger, SERVER).ok()));
    }
    // Others go on to where RADIUS is asked, and all wait for it side by side.
    std::thread::scope(|scope| {
        let other = &other;
        let logins: Vec<_> = (1..20_u16)
            .map(|user| {
                scope.spawn(move || {
                    let mut caller = place(other, user);
                    caller.log_in(&format!("user{user}"), "secret", None, PATIENCE).unwrap()
                })
            })
            .collect();
        let exchanged =
            honest.run(|| traffic::udp_exchange(ECHO, [1, 100, 1000, 1400], 3)).unwrap();
        assert_eq!(exchanged.returned, 4, "{exchanged:?}");
        for login in logins {
            assert!(login.join().unwrap(), "{}", scene.logs());
        }
    });
    drop(standing);
    scene.server.await_descriptors_of(&before).unwrap();
    witness.hang_up().unwrap();
}
