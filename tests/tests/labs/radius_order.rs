//! Users of our own and of RADIUS side by side: who is asked first, and whom the other may judge.

use lab::radius::Settings;
use lab::radius::scene::{FIRST, Scene, aaa, section};

const LOCAL: [(&str, &str); 2] = [("local", "here"), ("both", "here")];
const REMOTE: &str =
    "remote Cleartext-Password := \"there\"\nboth Cleartext-Password := \"there\"\n";

/// A login, by user and password.
type Login = (&'static str, &'static str);

const LOCAL_USER: Login = ("local", "here");
const REMOTE_USER: Login = ("remote", "there");
const BOTH_HERE: Login = ("both", "here");
const BOTH_THERE: Login = ("both", "there");

fn scene(keys: &str) -> Scene {
    // FreeRADIUS refuses a second late, and later on a busy machine.
    let server = section(FIRST, "timeout = \"10s\"\ntries = 1\ndead-time = \"1s\"");
    Scene::with(&Settings::new(FIRST, REMOTE), &LOCAL, &format!("{}{server}", aaa(keys))).unwrap()
}

/// Tries logins; each names whether it should get in and whether RADIUS is asked.
fn judge(scene: &Scene, number: u8, logins: &[(Login, bool, bool)]) {
    let subscriber = scene.network.subscriber(number).unwrap();
    for ((user, password), enters, asked) in logins {
        let before = scene.radius.requests().unwrap().len();
        if *enters {
            scene.dial(&subscriber, user, password, &[]).unwrap().hang_up().unwrap();
            scene.await_gone(user).unwrap();
        } else {
            let status = scene.refused(&subscriber, user, password, &[]).unwrap();
            assert_ne!(status, Some(0), "{user} {password}");
        }
        let after = scene.radius.requests().unwrap().len();
        assert_eq!(after > before, *asked, "{user} with {password}\n{}", scene.logs());
    }
}

#[test]
fn our_own_users_come_first_and_radius_is_asked_about_strangers() {
    let mut scene = scene("");
    judge(
        &scene,
        1,
        &[
            (LOCAL_USER, true, false),
            (REMOTE_USER, true, true),
            (BOTH_HERE, true, false),
            (BOTH_THERE, false, false),
        ],
    );
    scene.radius.stop().unwrap();
    judge(&scene, 2, &[(LOCAL_USER, true, false), (REMOTE_USER, false, false)]);
}

#[test]
fn whom_our_own_refuse_radius_may_let_in_if_the_operator_says_so() {
    let scene = scene("fallback = \"refused\"");
    let logins =
        [(BOTH_HERE, true, false), (BOTH_THERE, true, true), (("both", "no"), false, true)];
    judge(&scene, 1, &logins);
}

#[test]
fn radius_comes_first_and_our_own_when_it_is_silent_or_knows_nobody() {
    let mut scene = scene("order = \"radius-first\"");
    // A refusal of RADIUS stands: it does not say whether it knows the user.
    judge(
        &scene,
        1,
        &[(REMOTE_USER, true, true), (BOTH_THERE, true, true), (BOTH_HERE, false, true)],
    );
    scene.radius.stop().unwrap();
    judge(&scene, 2, &[(LOCAL_USER, true, false), (BOTH_HERE, true, false)]);
}

#[test]
fn with_radius_first_and_no_fallback_its_silence_lets_nobody_in() {
    let mut scene = scene("order = \"radius-first\"\nfallback = \"no\"");
    judge(&scene, 1, &[(BOTH_THERE, true, true), (LOCAL_USER, false, true)]);
    scene.radius.stop().unwrap();
    judge(&scene, 2, &[(LOCAL_USER, false, false), (REMOTE_USER, false, false)]);
    scene.await_log(&["login failed", "remote", "RADIUS"]).unwrap();
}
