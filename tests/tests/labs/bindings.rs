//! Interfaces for users that commands add: there at once and after a crash, in the way of all
//! packets of the user, gone with the binding.

use std::time::Duration;

use lab::client::Client;
use lab::network::{CORE, SERVER};
use lab::scene::Scene;
use lab::server::Driver;
use lab::traffic;
use lab::wait;

const SOON: Duration = Duration::from_secs(30);

fn a_binding_comes_and_goes(driver: Driver) {
    let mut scene = Scene::new(driver, "").unwrap();
    let list = |scene: &Scene| scene.server.command(&["binding", "list"]).unwrap();
    let links = |scene: &Scene| scene.network.concentrator.ip("-o link").unwrap();
    let add = ["binding", "add", "--user", "alice", "--comment", "the north"];
    assert_eq!(scene.server.command(&add).unwrap().trim(), "name: pptp-in1");
    assert!(links(&scene).contains("pptp-in1"));
    let alice = |scene: &Scene, number| {
        let subscriber = scene.network.subscriber(number).unwrap();
        let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
        client.wait_up().unwrap();
        (subscriber, client)
    };
    let (subscriber, _client) = alice(&scene, 2);
    let reaches = || subscriber.run(|| traffic::ping_exchange(CORE, [56, 1000], 4)).is_ok();
    assert!(reaches(), "{}", scene.server.log());
    let printed = scene.server.command(&["session", "list"]).unwrap();
    let row = printed.lines().find(|line| line.contains("alice")).unwrap();
    assert!(row.starts_with("R ") && row.contains("pptp-in1"), "{printed}");
    // A rule that names the interface stops each direction by itself.
    for word in ["iifname", "oifname"] {
        let rule = format!(
            "add table ip t; add chain ip t c {{ type filter hook forward priority 0; }}; \
             add rule ip t c {word} pptp-in1 drop"
        );
        scene.network.concentrator.exec("nft", &[&rule]).unwrap();
        assert!(!reaches(), "{word}");
        scene.network.concentrator.exec("nft", &["delete table ip t"]).unwrap();
    }
    assert!(reaches());

    // What makes no sense is refused with the reason, and changes nothing.
    for (arguments, said) in [
        (&["add", "--user", "bob", "--name", "pptp-in1"][..], "exists already"),
        (&["add", "--user", "bob", "--name", "sixteen-letters-"], "is no name of an interface"),
        (&["add", "--user", "bob", "--name", "access"], "interface named access already"),
        (&["set", "pptp-in9", "--user", "bob"], "there is no binding `pptp-in9`"),
        (&["set", "pptp-in1"], "say what to change"),
        (&["remove", "pptp-in9"], "there is no binding"),
    ] {
        let arguments = [&["binding"], arguments].concat();
        let refused = scene.server.command(&arguments).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    assert!(list(&scene).contains("the north"), "{}", list(&scene));
    // Clients' interfaces have names out of the same bag.
    let dial = |name| {
        let add = ["client", "add", "--name", name, "--connect-to", "192.0.2.9", "--user", "x"];
        let more = ["--disabled"];
        scene.server.command_with_input(&[&add[..], &more].concat(), "pw\n")
    };
    for (name, said) in [("pptp-in1", "there is a binding"), ("access", "named access already")] {
        let refused = dial(name).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    dial("pptp-out7").unwrap();
    let add = ["binding", "add", "--user", "bob", "--name", "pptp-out7"];
    let refused = scene.server.command(&add).unwrap_err().to_string();
    assert!(refused.contains("there is a client `pptp-out7`"), "{refused}");

    // Without it the session ends: its packets would pass beside the rules.
    scene.server.command(&["binding", "disable", "pptp-in1"]).unwrap();
    scene.await_log(&["session ended", "alice", "operator"]).unwrap();
    wait::until("the end of the interface", SOON, || {
        Ok((!links(&scene).contains("pptp-in1")).then_some(()))
    })
    .unwrap();
    assert!(list(&scene).lines().any(|line| line.starts_with("X ")), "{}", list(&scene));
    scene.server.command(&["binding", "enable", "pptp-in1"]).unwrap();
    scene.witness_is_well().unwrap();

    let concentrator = &scene.network.concentrator;
    scene.server.kill_and_restart(concentrator).unwrap();
    assert!(links(&scene).contains("pptp-in1"), "{}", scene.server.log());
    let (_subscriber, _client) = alice(&scene, 3);
    assert!(list(&scene).lines().any(|line| line.starts_with("R ")), "{}", list(&scene));
    scene.server.command(&["binding", "remove", "pptp-in1"]).unwrap();
    wait::until("the end of the interface", SOON, || {
        Ok((!links(&scene).contains("pptp-in1")).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_binding_that_is_added_carries_its_user_over_raw_socket_and_tun() {
    a_binding_comes_and_goes(Driver::RawTun);
}

#[test]
fn a_binding_that_is_added_carries_its_user_over_af_xdp() {
    a_binding_comes_and_goes(Driver::AfXdp);
}
