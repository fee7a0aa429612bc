//! One user however the name is spelled: in upper or lower case, with a domain before it.

use std::time::Duration;

use lab::caller::Caller;
use lab::client::Client;
use lab::network::SERVER;
use lab::radius::Settings;
use lab::radius::scene::{FIRST, Scene, aaa, section};
use lab::server::Driver;
use lab::wait;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_guesser_who_varies_upper_and_lower_case_is_locked_out_of_the_name() {
    let scene = lab::scene::Scene::new(Driver::RawTun, "[lockout]\nfailures = 2\n").unwrap();
    for (number, name) in [(2, "victim"), (3, "VICTIM"), (4, "Victim"), (5, "DOM\\vicTIM")] {
        let subscriber = scene.network.subscriber(number).unwrap();
        let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
        caller.start().unwrap();
        caller.call(1).unwrap();
        assert!(!caller.log_in(name, "wrong", None, SOON).unwrap());
    }
    wait::until("a lock of the name", SOON, || {
        let list = scene.server.command(&["lockout", "list"])?;
        Ok(list.to_lowercase().contains("victim").then_some(()))
    })
    .unwrap();
}

#[test]
fn a_domain_before_the_name_is_no_second_user_where_only_one_may_be() {
    // As a server that takes the domain away before it looks the name up.
    let users = "DEFAULT Cleartext-Password := \"secret123\"\n";
    let settings = format!(
        "[[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\n\
         remote-address = \"default\"\nonly-one = \"yes\"\n{}{}",
        aaa(""),
        section(FIRST, "")
    );
    let scene = Scene::with(&Settings::new(FIRST, users), &[], &settings).unwrap();
    let [one, two] = [1, 2].map(|number| scene.network.subscriber(number).unwrap());
    let _first = scene.dial(&one, "ivan", "secret123", &[]).unwrap();
    // MS-CHAPv2 proves the name without its domain (RFC 2759 §8.2): it is the same user.
    let code = scene.refused(&two, "DOM\\ivan", "secret123", &["--duration", "3s"]).unwrap();
    assert_ne!(code, Some(0), "{}", scene.logs());
    scene.await_log(&["login failed", "ivan", "only-one"]).unwrap();
}

/// Whoever greps for a user finds the begin and the end of each session.
#[test]
fn all_lines_of_a_session_have_one_name() {
    let scene = lab::scene::Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "DOM\\alice", "secret123").unwrap();
    client.wait_up().unwrap();
    let up = scene.await_log(&["session up", "user=\"alice\""]).unwrap();
    let session = up.split_whitespace().find(|word| word.starts_with("session=")).unwrap();
    client.hang_up().unwrap();
    scene.await_log(&["session ended", session, "user=\"alice\""]).unwrap();
}
