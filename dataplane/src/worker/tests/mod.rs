//! Workers between memory ports: packets in, packets out.

mod bench;
mod session;
#[path = "../../../tests/common/subscriber.rs"]
mod subscriber;
