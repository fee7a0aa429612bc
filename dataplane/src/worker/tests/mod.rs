//! Workers between memory ports: packets in, packets out. After every turn all frames and packets
//! are accounted for.

mod bench;
#[path = "../../../../protocol/tests/common/mod.rs"]
mod captured;
mod captures;
mod echoes;
mod forwarding;
mod handover;
mod hostile;
mod inner;
mod ipv6;
mod looks;
mod moving;
mod multilink;
mod policy;
mod session;
mod stateful;
#[path = "../../../tests/common/subscriber.rs"]
mod subscriber;
mod tcp;
