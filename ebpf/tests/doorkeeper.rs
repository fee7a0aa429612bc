//! The filter of listening sockets, in a network namespace that lives as long as the test's thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use ebpf::{Doorkeeper, Error};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

const LOCKED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const FREE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Connects from this address.
fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    // The first SYN alone: the second comes after a second.
    socket.connect_timeout(&to.into(), Duration::from_millis(600))?;
    Ok(socket.into())
}

fn in_a_network_namespace(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|error| panic!("this test needs root: {error}"));
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
            assert!(up.success());
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn a_locked_address_gets_no_answer_to_its_syn_and_others_do() {
    in_a_network_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let mut doorkeeper = Doorkeeper::load(10).unwrap();
        doorkeeper.guard(&listener).unwrap();
        let before = connect(LOCKED, server).unwrap();
        let (mut inherited, _) = listener.accept().unwrap();

        doorkeeper.lock(LOCKED).unwrap();
        let error = connect(LOCKED, server).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "neither accepted nor refused");
        assert_eq!(doorkeeper.dropped().unwrap(), 1);
        connect(FREE, server).unwrap();
        // The connection that was there goes on.
        (&before).write_all(b"still here").unwrap();
        let mut read = [0; 10];
        inherited.read_exact(&mut read).unwrap();

        doorkeeper.unlock(LOCKED).unwrap();
        connect(LOCKED, server).unwrap();
        // The listener keeps its filter, and the filter its map.
        doorkeeper.lock(LOCKED).unwrap();
        drop(doorkeeper);
        connect(LOCKED, server).unwrap_err();
    });
}

#[test]
fn the_map_is_as_large_as_was_asked_for() {
    let mut doorkeeper = Doorkeeper::load(2).unwrap();
    doorkeeper.lock(LOCKED).unwrap();
    doorkeeper.lock(FREE).unwrap();
    let error = doorkeeper.lock(Ipv4Addr::new(127, 0, 0, 4)).unwrap_err();
    assert!(matches!(error, Error::Full { limit: 2, .. }), "{error}");
    doorkeeper.lock(LOCKED).unwrap();
}
