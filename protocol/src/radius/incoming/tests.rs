use proptest::prelude::*;

use super::*;
use crate::radius::dictionary::{SESSION_TIMEOUT, USER_NAME, error_cause};

const TIME: u32 = 1_800_000_000;

fn secret() -> Secret {
    Secret::new(*b"testing123")
}

fn server() -> SocketAddr {
    "192.0.2.10:40000".parse().unwrap()
}

fn gate(change: impl FnOnce(&mut Rules)) -> Gate {
    let mut rules = Rules::default();
    rules.clients.insert(server().ip(), secret());
    change(&mut rules);
    Gate::new(rules)
}

fn coa(identifier: u8, protected: bool, timestamp: Option<u32>) -> Vec<u8> {
    let mut attributes = Attributes::new();
    attributes.text(USER_NAME, "alice").integer(SESSION_TIMEOUT, 60);
    attributes.octets(PROXY_STATE, b"one").octets(PROXY_STATE, b"two");
    if let Some(time) = timestamp {
        attributes.integer(EVENT_TIMESTAMP, time);
    }
    seal::hashed_request(Code::CoaRequest, identifier, &attributes, protected, &secret()).unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn ignored(admission: Admission) -> Ignored {
    match admission {
        Admission::Ignore(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn new(admission: Admission) -> Order {
    match admission {
        Admission::New(order) => order,
        other => panic!("{other:?}"),
    }
}

/// RFC 5176 §6.1.
#[test]
fn orders_come_from_the_list_alone() {
    let mut gate = gate(|_| {});
    let stranger = "192.0.2.11:40000".parse().unwrap();
    assert_eq!(ignored(gate.admit(stranger, &coa(1, true, None), TIME, at(0))), Ignored::Stranger);
    // A socket for both kinds of addresses shows IPv4 ones like this.
    let mapped = "[::ffff:192.0.2.10]:40000".parse().unwrap();
    new(gate.admit(mapped, &coa(1, true, None), TIME, at(0)));
}

/// RFC 5176 §2.3 and §3.4.
#[test]
fn orders_must_be_genuine() {
    let mut gate = gate(|_| {});
    let good = coa(1, true, None);
    for at_octet in 0..good.len() {
        let mut altered = good.clone();
        altered[at_octet] ^= 1;
        ignored(gate.admit(server(), &altered, TIME, at(0)));
    }
    ignored(gate.admit(server(), &good[..good.len() - 1], TIME, at(0)));
    let access = seal::access_request(1, &[1; 16], &Attributes::new(), None, &secret()).unwrap();
    assert_eq!(
        ignored(gate.admit(server(), &access, TIME, at(0))),
        Ignored::Code(Code::AccessRequest)
    );
    new(gate.admit(server(), &good, TIME, at(0)));
}

#[test]
fn a_message_authenticator_can_be_demanded() {
    let plain = coa(1, false, None);
    new(gate(|_| {}).admit(server(), &plain, TIME, at(0)));
    let mut strict = gate(|rules| rules.require_message_authenticator = true);
    assert_eq!(ignored(strict.admit(server(), &plain, TIME, at(0))), Ignored::Unprotected);
    new(strict.admit(server(), &coa(1, true, None), TIME, at(0)));
}

/// RFC 5176 §6.3.
#[test]
fn an_event_timestamp_is_within_five_minutes_and_can_be_demanded() {
    let mut lax = gate(|_| {});
    for (identifier, skew) in [(1, 0_i64), (2, 300), (3, -300)] {
        let time = u32::try_from(i64::from(TIME) + skew).unwrap();
        new(lax.admit(server(), &coa(identifier, false, Some(time)), TIME, at(0)));
    }
    let old = coa(4, true, Some(TIME - 301));
    assert_eq!(ignored(lax.admit(server(), &old, TIME, at(0))), Ignored::Stale(301));
    let early = coa(4, true, Some(TIME + 301));
    assert_eq!(ignored(lax.admit(server(), &early, TIME, at(0))), Ignored::Stale(301));
    let mut strict = gate(|rules| rules.require_event_timestamp = true);
    assert_eq!(ignored(strict.admit(server(), &coa(1, true, None), TIME, at(0))), Ignored::Undated);
    new(strict.admit(server(), &coa(1, true, Some(TIME)), TIME, at(0)));
}

#[test]
fn a_duplicate_gets_the_same_answer_and_does_nothing() {
    let mut gate = gate(|_| {});
    let sent = coa(1, true, Some(TIME));
    let order = new(gate.admit(server(), &sent, TIME, at(0)));
    assert_eq!(ignored(gate.admit(server(), &sent, TIME, at(1))), Ignored::Underway);
    let answer = gate.answer(&order, Ok(())).unwrap();
    assert_eq!(gate.admit(server(), &sent, TIME, at(2)), Admission::Repeat(answer.clone()));
    // From another port it is a copy all the same.
    let other_port = "192.0.2.10:50000".parse().unwrap();
    assert_eq!(gate.admit(other_port, &sent, TIME, at(3)), Admission::Repeat(answer));
    // The same identifier with other contents is another order.
    new(gate.admit(server(), &coa(1, true, Some(TIME + 1)), TIME, at(4)));
}

#[test]
fn an_order_without_date_is_forgotten_before_somebody_means_it_again() {
    let mut gate = gate(|_| {});
    for (dated, memory) in [(None, 30), (Some(TIME), 600)] {
        let sent = coa(1, true, dated);
        let order = new(gate.admit(server(), &sent, TIME, at(0)));
        gate.answer(&order, Ok(())).unwrap();
        let later = gate.admit(server(), &sent, TIME, at(memory - 1));
        assert!(matches!(later, Admission::Repeat(_)), "{later:?}");
        new(gate.admit(server(), &sent, TIME, at(memory + 1)));
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut gate = gate(|_| {});
    for number in 0..5000_u32 {
        let sent = coa(1, false, Some(TIME - 300 + number % 600));
        gate.admit(server(), &sent, TIME, at(0));
        let mut attributes = Attributes::new();
        attributes.integer(SESSION_TIMEOUT, number);
        let sent =
            seal::hashed_request(Code::CoaRequest, 2, &attributes, false, &secret()).unwrap();
        new(gate.admit(server(), &sent, TIME, at(0)));
    }
    assert!(gate.remembered.len() <= MAX_REMEMBERED && gate.order.len() <= MAX_REMEMBERED);
}

/// RFC 5176 §3.1, §3.5.
#[test]
fn an_answer_is_signed_and_says_why_not() {
    let mut gate = gate(|_| {});
    let sent = coa(9, true, None);
    let order = new(gate.admit(server(), &sent, TIME, at(0)));
    let cause = error_cause::SESSION_CONTEXT_NOT_FOUND;
    let answer = gate.answer(&order, Err(cause)).unwrap();
    let packet = Packet::parse(&answer).unwrap();
    assert_eq!((packet.code(), packet.identifier()), (Code::CoaNak, 9));
    let request = Packet::parse(&sent).unwrap().authenticator();
    assert_eq!(packet.verify_response(&request, &secret()), Ok(Presence::Present));
    assert_eq!(packet.value(ERROR_CAUSE).unwrap().and_then(|value| value.number()), Some(cause));
    let states: Vec<&[u8]> = packet.all(PROXY_STATE).collect();
    assert_eq!(states, [b"one", b"two"]);

    let none = Attributes::new();
    let sent = seal::hashed_request(Code::DisconnectRequest, 3, &none, false, &secret()).unwrap();
    let order = new(gate.admit(server(), &sent, TIME, at(0)));
    let answer = gate.answer(&order, Ok(())).unwrap();
    assert_eq!(Packet::parse(&answer).unwrap().code(), Code::DisconnectAck);
}

proptest! {
    #[test]
    fn arbitrary_datagrams_are_ignored(datagram: Vec<u8>, time: u32) {
        let mut gate = gate(|_| {});
        ignored(gate.admit(server(), &datagram, time, at(0)));
    }
}
