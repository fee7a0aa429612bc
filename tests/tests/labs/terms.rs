//! What a profile and a secret hold a session to, with data through it: rate, times, filters, how
//! many a user may have, and what is left when addresses run out.

use std::time::Duration;

use lab::client::Client;
use lab::netns::Namespace;
use lab::network::{CORE, SERVER};
use lab::scene::{ECHO, Scene};
use lab::server::Driver;
use lab::{traffic, wait};

const SOON: Duration = Duration::from_secs(20);

fn dial(scene: &Scene, number: u8, user: &str, password: &str) -> (Namespace, Client) {
    let subscriber = scene.network.subscriber(number).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, user, password).unwrap();
    client.wait_up().unwrap();
    // The first packet may be lost with every server.
    subscriber.run(|| traffic::udp_exchange(ECHO, [100], 5)).unwrap();
    (subscriber, client)
}

fn add(scene: &Scene, user: &str, options: &[&str]) {
    let arguments = [&["user", "add", user], options].concat();
    scene.server.command_with_input(&arguments, "secret\n").unwrap();
}

#[test]
fn a_rate_holds_one_session_and_a_change_of_the_user_reaches_it_at_once() {
    let scene = Scene::new(
        Driver::RawTun,
        "[[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\nremote-address = \"default\"\n\
         [[profile]]\nname = \"slow\"\nrate-limit = \"128k/128k\"\n",
    )
    .unwrap();
    add(&scene, "ivan", &["--profile", "slow"]);
    let (slow, _ivan) = dial(&scene, 2, "ivan", "secret");
    let (fast, _alice) = dial(&scene, 3, "alice", "secret123");
    // 128 kbit/s are 16 of these datagrams a second.
    let limited = slow.run(|| traffic::burst(ECHO)).unwrap();
    assert!(limited < 100, "{limited} of 200 with a limit");
    let free = fast.run(|| traffic::burst(ECHO)).unwrap();
    assert!(free >= 150, "{free} of 200 without");

    scene.server.command(&["user", "set", "ivan", "--rate-limit", "100M/100M", "--apply"]).unwrap();
    let changed = slow.run(|| traffic::burst(ECHO)).unwrap();
    assert!(changed >= 150, "{changed} of 200 after the change");
    scene.witness_is_well().unwrap();
}

#[test]
fn a_second_login_replaces_the_first_or_is_refused_as_the_profile_says() {
    let scene = Scene::new(
        Driver::RawTun,
        "[[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\nremote-address = \"default\"\n\
         [[profile]]\nname = \"first\"\nonly-one = \"yes\"\n\
         [[profile]]\nname = \"last\"\nonly-one = \"replace\"\n",
    )
    .unwrap();
    add(&scene, "ivan", &["--profile", "first"]);
    add(&scene, "olga", &["--profile", "last"]);
    let (_one, mut ivan) = dial(&scene, 2, "ivan", "secret");
    let other = scene.network.subscriber(3).unwrap();
    // Upper or lower case are one user here.
    let mut second = Client::dial(&other, SERVER, "ivan", "secret").unwrap();
    assert_ne!(second.process().wait_exit(SOON).unwrap().code(), Some(0));
    assert!(ivan.process().poll().unwrap().is_none(), "the first lives");
    scene.await_log(&["login failed", "ivan", "only-one"]).unwrap();

    let (_two, mut olga) = dial(&scene, 4, "olga", "secret");
    let mut replaced = Client::dial(&other, SERVER, "olga", "secret").unwrap();
    replaced.wait_up().unwrap();
    olga.process().wait_exit(SOON).unwrap();
    scene.witness_is_well().unwrap();
}

#[test]
fn times_and_filters_of_a_profile_hold() {
    let scene = Scene::new(
        Driver::RawTun,
        "[[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\nremote-address = \"default\"\n\
         [[profile]]\nname = \"short\"\nsession-timeout = \"3s\"\n\
         [[profile]]\nname = \"idle\"\nidle-timeout = \"3s\"\n\
         [[profile]]\nname = \"filtered\"\nincoming-filter = \"no-echo\"\n\
         [[filter]]\nname = \"no-echo\"\n\
         rules = [{ action = \"drop\", protocol = \"udp\", dst-port = \"7\" }]\n",
    )
    .unwrap();
    for name in ["short", "idle", "filtered"] {
        add(&scene, name, &["--profile", name]);
    }
    let (_one, mut short) = dial(&scene, 2, "short", "secret");
    let (_two, mut idle) = dial(&scene, 3, "idle", "secret");
    let three = scene.network.subscriber(4).unwrap();
    let mut filtered = Client::dial(&three, SERVER, "filtered", "secret").unwrap();
    filtered.wait_up().unwrap();
    // Pings pass, what the filter names does not.
    three.run(|| traffic::ping_exchange(CORE, [56, 500], 3)).unwrap();
    assert_eq!(three.run(|| traffic::burst(ECHO)).unwrap(), 0);
    three.run(|| traffic::tcp_exchange(ECHO, [1000])).unwrap();

    short.process().wait_exit(SOON).unwrap();
    idle.process().wait_exit(SOON).unwrap();
    scene.await_log(&["session ended", "\"short\"", "Session-Timeout"]).unwrap();
    scene.await_log(&["session ended", "\"idle\"", "Idle-Timeout"]).unwrap();
    scene.witness_is_well().unwrap();
}

#[test]
fn when_addresses_run_out_the_next_pool_is_used_and_then_the_log_says_so() {
    let scene = Scene::new(
        Driver::RawTun,
        "[[pool]]\nname = \"default\"\nranges = [\"10.99.0.2-10.99.15.254\"]\n\
         [[pool]]\nname = \"one\"\nranges = [\"10.98.0.1\"]\nnext = \"other\"\n\
         [[pool]]\nname = \"other\"\nranges = [\"10.98.0.2\"]\n\
         [[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\nremote-address = \"default\"\n\
         [[profile]]\nname = \"few\"\nremote-address = \"one\"\n",
    )
    .unwrap();
    for name in ["ivan", "olga", "petr"] {
        add(&scene, name, &["--profile", "few"]);
    }
    scene.network.core.ip("route add 10.98.0.0/16 via 203.0.113.1").unwrap();
    let (_one, ivan) = dial(&scene, 2, "ivan", "secret");
    let (_two, _olga) = dial(&scene, 3, "olga", "secret");
    let address = |user| scene.server.session_of(user).unwrap().address.unwrap().to_string();
    assert_eq!((address("ivan"), address("olga")), ("10.98.0.1".into(), "10.98.0.2".into()));
    let third = scene.network.subscriber(4).unwrap();
    let mut petr = Client::dial(&third, SERVER, "petr", "secret").unwrap();
    assert_ne!(petr.process().wait_exit(SOON).unwrap().code(), Some(0));
    scene.await_log(&["login failed", "petr", "pool"]).unwrap();
    ivan.hang_up().unwrap();
    wait::until("the free address", SOON, || {
        let mut petr = Client::dial(&third, SERVER, "petr", "secret")?;
        Ok(petr.wait_up().is_ok().then_some(()))
    })
    .unwrap();
    scene.witness_is_well().unwrap();
}
