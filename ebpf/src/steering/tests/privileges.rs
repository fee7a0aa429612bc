//! What rights loading and attaching take, in a thread that gives its other rights away.

use super::kernel::keep_capabilities;
use super::ports::in_a_network_namespace;
use super::*;

const CAP_NET_ADMIN: u32 = 12;
const CAP_BPF: u32 = 39;

/// Without CAP_PERFMON the verifier allows no offsets into a packet that the packet chooses.
#[test]
fn two_capabilities_are_enough() {
    in_a_network_namespace(|| {
        keep_capabilities(&[CAP_NET_ADMIN, CAP_BPF]);
        let mut steering = Steering::load(CAPACITY).unwrap();
        steering.attach("lo", &untagged(Roles::Both), 1).unwrap();

        let error =
            Steering::load(CAPACITY).unwrap().attach("lo", &untagged(Roles::Both), 1).unwrap_err();
        assert!(matches!(error, Error::Occupied { .. }), "{error}");
    });
}

#[test]
fn missing_capabilities_are_told() {
    in_a_network_namespace(|| {
        keep_capabilities(&[CAP_BPF]);
        let error = Steering::load(CAPACITY).unwrap_err().to_string();
        assert!(error.starts_with("BPF needs CAP_NET_ADMIN: run as root, or grant it"), "{error}");

        keep_capabilities(&[]);
        let error = Steering::load(CAPACITY).unwrap_err().to_string();
        assert!(error.starts_with("BPF needs CAP_BPF and CAP_NET_ADMIN: "), "{error}");
    });
}
