//! What tests of drivers and of whole data planes need: a network namespace of their own, `ip`, and
//! a tunnel with its other end.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::expect_used, reason = "a test")]

pub mod subscriber;

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use dataplane::api::{
    Command as Order, Encryption, Forward, Handle, Limits, Network, Outer, Prefix, TunnelId,
};
use subscriber::{Subscriber, keys};

/// Our end of every tunnel.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// Runs `test` in a new network namespace, which goes with the thread. Needs root.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let outcome = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
            .expect("this test makes a network namespace, which needs root");
        // The kernel's own IPv6 chatter would mix with the packets of the test.
        for which in ["all", "default"] {
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
        }
        ip("link set lo up");
        test();
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these words in the namespace of the calling thread.
pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip is there");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Repeats `attempt` until it returns something, for up to ten seconds.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Opens an encrypted tunnel between these outer addresses, with this Call ID at both ends, to the
/// subscriber `inner`; the value is the subscriber.
pub fn dial(
    handle: &Handle,
    (local, peer): (Ipv4Addr, Ipv4Addr),
    call_id: u16,
    inner: Ipv4Addr,
    mtu: u16,
) -> Subscriber {
    dial_by(Forward::Fast, handle, (local, peer), call_id, inner, mtu)
}

/// As [`dial`], with what the tunnel may carry.
pub fn dial_limited(
    handle: &Handle,
    ends: (Ipv4Addr, Ipv4Addr),
    call_id: u16,
    inner: Ipv4Addr,
    limits: Limits,
) -> Subscriber {
    let tunnel = open(Forward::Fast, handle, ends, call_id, vec![Prefix::host(inner)], 1456);
    handle.command(Order::SetLimits { tunnel, limits }).expect("the worker takes orders");
    let (local, peer) = ends;
    Subscriber::new(peer, local, (call_id, call_id), inner)
}

/// As [`dial`], with the one who forwards its packets.
pub fn dial_by(
    forward: Forward,
    handle: &Handle,
    (local, peer): (Ipv4Addr, Ipv4Addr),
    call_id: u16,
    inner: Ipv4Addr,
    mtu: u16,
) -> Subscriber {
    open(forward, handle, (local, peer), call_id, vec![Prefix::host(inner)], mtu);
    Subscriber::new(peer, local, (call_id, call_id), inner)
}

/// Opens an encrypted tunnel to these networks, as [`dial`] does to one address.
pub fn open(
    forward: Forward,
    handle: &Handle,
    (local, peer): (Ipv4Addr, Ipv4Addr),
    call_id: u16,
    prefixes: Vec<Prefix>,
    mtu: u16,
) -> TunnelId {
    let outer = Outer { local, peer, own_call_id: call_id, peer_call_id: call_id, peer_window: 64 };
    let tunnel = handle.open(outer).expect("the tunnel opens");
    let (receive, send) = keys(call_id);
    let encryption = Encryption::stateless(receive, send);
    let network = Some(Network { prefixes, mtu, local: GATEWAY, clamp_mss: true });
    for order in [
        Order::SetEncryption { tunnel, encryption },
        Order::SetForward { tunnel, forward },
        Order::SetNetwork { tunnel, network },
    ] {
        handle.command(order).expect("the worker takes orders");
    }
    tunnel
}

/// Numbers of capabilities (linux/capability.h).
pub const CAP_NET_ADMIN: u32 = 12;
pub const CAP_NET_RAW: u32 = 13;
pub const CAP_IPC_LOCK: u32 = 14;

/// Takes a capability away from the calling thread.
pub fn give_up(capability: u32) {
    #[repr(C)]
    struct Header {
        version: u32,
        thread: i32,
    }
    // Version 3 of the interface; effective, permitted and inheritable, 32 bits each, twice.
    let header = Header { version: 0x2008_0522, thread: 0 };
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: both structures have the layout of version 3 and live through the call.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw const header, &raw mut sets) };
    sets[0][0] &= !(1 << capability);
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) };
    assert_eq!((got, set), (0, 0), "{}", std::io::Error::last_os_error());
}
