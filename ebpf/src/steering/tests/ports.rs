//! Attaching to interfaces and delivery to AF_XDP sockets, in a network namespace that lives as
//! long as the test's thread.

use std::process::Command;
use std::thread;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};

use super::frames::*;
use super::kernel::{CountingSocket, send_frame};
use super::*;

pub(super) fn in_a_network_namespace(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|error| panic!("this test needs root: {error}"));
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Two queues each way: what leaves `far` by queue k arrives at `near` by queue k.
fn veth() -> u32 {
    ip(
        "link add near numrxqueues 2 numtxqueues 2 type veth peer name far numrxqueues 2 numtxqueues 2",
    );
    ip("link set near up");
    ip("link set far up");
    if_nametoindex("far").unwrap()
}

fn count(steering: &Steering, reason: Reason) -> u64 {
    steering.counters().unwrap().get(reason)
}

#[test]
fn frames_reach_the_socket_of_their_port_and_queue() {
    in_a_network_namespace(|| {
        let far = veth();
        let mut steering = load();
        steering.insert_listener(LISTENER).unwrap();
        steering.insert_tunnel(PEER, CALL_ID).unwrap();
        // Another port first, so that the run of `near` does not begin at 0.
        steering.attach("lo", &untagged(Roles::Core), 1).unwrap();
        let near = steering.attach("near", &untagged(Roles::Access), 2).unwrap();
        assert_eq!(near.mode, Mode::Native);

        let frame = pptp(PEER, LISTENER, CALL_ID).bytes();
        send_frame(far, &frame);
        assert_eq!(count(&steering, Reason::PassGreNoSocket), 1);

        let sockets = [0, 1].map(|queue| CountingSocket::bound(near.ifindex, queue));
        for (queue, socket) in (0..).zip(&sockets) {
            steering.register_socket(near.ifindex, queue, socket).unwrap();
        }
        for _ in 0..5 {
            send_frame(far, &frame);
        }
        assert_eq!(count(&steering, Reason::RedirectTunnel), 5);
        assert_eq!(sockets.iter().map(CountingSocket::reached).sum::<u64>(), 5);

        for queue in [0, 1] {
            steering.unregister_socket(near.ifindex, queue).unwrap();
        }
        send_frame(far, &frame);
        assert_eq!(count(&steering, Reason::PassGreNoSocket), 2);
    });
}

#[test]
fn roles_are_each_ports_own_and_can_change() {
    in_a_network_namespace(|| {
        let far = veth();
        let mut steering = load();
        steering.insert_prefix(SUBSCRIBER, 16, PrefixAction::Steer).unwrap();
        let near = steering.attach("near", &untagged(Roles::Access), 2).unwrap();
        steering.attach("far", &untagged(Roles::Core), 2).unwrap();

        let frame = Frame::ipv4(UDP, STRANGER, SUBSCRIBER, vec![0; 32]).bytes();
        send_frame(far, &frame);
        assert_eq!(count(&steering, Reason::DropAccessToSubscriber), 1);
        send_frame(near.ifindex, &frame);
        assert_eq!(count(&steering, Reason::PassSubscriberNoSocket), 1);
        steering.set_roles(near.ifindex, Tags::None, Roles::Both).unwrap();
        send_frame(far, &frame);
        assert_eq!(count(&steering, Reason::PassSubscriberNoSocket), 2);
    });
}

#[test]
fn a_driver_without_native_xdp_gets_the_generic_mode() {
    in_a_network_namespace(|| {
        let attachment = load().attach("lo", &untagged(Roles::Both), 1).unwrap();
        let Mode::Generic { refusal } = attachment.mode else { panic!("{:?}", attachment.mode) };
        assert!(refusal.contains("not supported"), "{refusal}");
    });
}

#[test]
fn another_program_stays_and_is_named() {
    in_a_network_namespace(|| {
        veth();
        let mut first = load();
        first.attach("near", &untagged(Roles::Access), 1).unwrap();
        let mut second = load();
        let error = second.attach("near", &untagged(Roles::Access), 1).unwrap_err().to_string();
        assert!(error.starts_with("interface near has another XDP program, program "), "{error}");
        assert!(error.contains("(`steering`)"), "{error}");
        drop(first);
        second.attach("near", &untagged(Roles::Access), 1).unwrap();
    });
}

#[test]
fn detaching_leaves_nothing_behind() {
    in_a_network_namespace(|| {
        veth();
        let mut steering = load();
        let near = steering.attach("near", &untagged(Roles::Access), 2).unwrap().ifindex;
        assert!(interface::attached_program(near).unwrap().is_some());
        let error = steering.attach("near", &untagged(Roles::Access), 2).unwrap_err();
        assert!(matches!(error, Error::AlreadyAttached { .. }), "{error}");

        steering.detach(near).unwrap();
        assert_eq!(interface::attached_program(near).unwrap(), None);
        assert!(matches!(steering.detach(near), Err(Error::NotAttached { .. })));

        steering.attach("near", &untagged(Roles::Core), 2).unwrap();
        drop(steering);
        assert_eq!(interface::attached_program(near).unwrap(), None);
    });
}

#[test]
fn wrong_names_and_numbers_are_told() {
    in_a_network_namespace(|| {
        veth();
        let mut steering = load();
        let error = steering.attach("nowhere", &untagged(Roles::Core), 1).unwrap_err();
        assert_eq!(error.to_string(), "there is no interface nowhere here");
        let error = steering.attach("near", &untagged(Roles::Core), 17).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no room for another of the 16 sockets that the map was made for"
        );
        let near = steering.attach("near", &untagged(Roles::Core), 2).unwrap().ifindex;
        let socket = CountingSocket::unbound();
        let error = steering.register_socket(near, 2, &socket).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("interface {near} was attached with 2 queues, there is no queue 2")
        );
        let error = steering.register_socket(near, 0, std::io::stderr()).unwrap_err();
        assert!(matches!(error, Error::Map { .. }), "{error}");
    });
}
