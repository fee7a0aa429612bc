//! Packets made in the kernel, in a network namespace that lives as long as the test's thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Read;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ebpf::{Error, Generator, Toward};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, Socket, Type};

fn in_a_network_namespace(test: impl FnOnce() + Send) {
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
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// A broadcast frame of a type that nobody else uses, told apart by its number.
fn frame(number: u8) -> [u8; 60] {
    let mut frame = [number; 60];
    frame[..14].copy_from_slice(&[255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x88, 0xB5]);
    frame
}

/// Numbers of all frames that the namespace's interfaces bring in.
struct Arrivals(Socket);

impl Arrivals {
    fn new() -> Self {
        let protocol = Protocol::from(i32::from(0x88B5_u16.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        Self(socket)
    }

    fn numbers(&mut self, count: usize) -> Vec<u8> {
        let mut frame = [0; 100];
        (0..count)
            .map(|_| {
                assert_eq!(self.0.read(&mut frame).unwrap(), 60);
                frame[59]
            })
            .collect()
    }
}

#[test]
fn packets_come_in_by_the_interface_that_was_named_in_turn_and_go_on_where_they_ended() {
    in_a_network_namespace(|| {
        ip("link add here type veth peer name there");
        ip("link set here up");
        ip("link set there up");
        let here = if_nametoindex("here").unwrap();
        let mut arrivals = Arrivals::new();
        let mut generator = Generator::load(8).unwrap();
        let frames = [frame(1), frame(2), frame(3)];
        generator.fill(frames.iter().map(<[u8; 60]>::as_slice)).unwrap();

        generator.send(4, Toward::Kernel(here)).unwrap();
        assert_eq!(arrivals.numbers(4), [1, 2, 3, 1]);
        generator.send(1000, Toward::Nothing).unwrap();
        generator.send(2, Toward::Kernel(here)).unwrap();
        assert_eq!(arrivals.numbers(2), [3, 1], "1000 packets went nowhere, after the second");
    });
}

#[test]
fn what_cannot_be_sent_is_refused_with_a_reason() {
    in_a_network_namespace(|| {
        let mut generator = Generator::load(2).unwrap();
        let refused = |error: Error, why: &str| assert!(error.to_string().contains(why), "{error}");
        refused(generator.send(1, Toward::Nothing).unwrap_err(), "Invalid argument");
        refused(generator.fill([[0; 2000].as_slice()]).unwrap_err(), "2000 octets");
        refused(generator.fill([[0; 60].as_slice(), &[0; 61]]).unwrap_err(), "61 octets");
        refused(generator.fill([[0; 60].as_slice(); 3]).unwrap_err(), "more than 2");
    });
}
