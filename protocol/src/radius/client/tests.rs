use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::machine::{Action, drive};
use crate::radius::dictionary::{ACCT_DELAY_TIME, ACCT_STATUS_TYPE, CLASS, USER_NAME};
use crate::radius::{Attributes, Code, Forged, Secret, seal};

const SECOND: Duration = Duration::from_secs(1);

/// A client, a clock, and all that came out and was not looked at yet.
struct Rig {
    client: Client,
    now: Instant,
    sent: Vec<Transmit>,
    events: Vec<Event>,
    deadline: Option<Instant>,
    last: u64,
}

fn server(weight: u32) -> Server {
    Server {
        secret: Secret::new(*b"testing123"),
        weight,
        timeout: 2 * SECOND,
        tries: 3,
        dead_time: 30 * SECOND,
        require_message_authenticator: true,
        max_in_flight: 2048,
    }
}

fn access() -> Request {
    let mut attributes = Attributes::new();
    attributes.text(USER_NAME, "alice");
    Request::Access { attributes, password: None }
}

fn accounting(age: Duration) -> Request {
    let mut attributes = Attributes::new();
    attributes.integer(ACCT_STATUS_TYPE, 1);
    Request::Accounting { attributes, age }
}

impl Rig {
    fn new(servers: Vec<Server>) -> Self {
        Self {
            client: Client::new(servers, [7; 32]),
            now: Instant::ORIGIN,
            sent: Vec::new(),
            events: Vec::new(),
            deadline: None,
            last: 0,
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let (sent, events) = (&mut self.sent, &mut self.events);
        self.deadline = drive(&mut self.client, input, self.now, |action| match action {
            Action::Send(transmit) => sent.push(transmit),
            Action::Event(event) => events.push(event),
        });
    }

    fn ask(&mut self, request: Request) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.input(Input::Ask { ticket, request });
        ticket
    }

    /// Asks, and returns what is sent for it.
    fn asked(&mut self) -> Transmit {
        self.ask(access());
        self.one_sent()
    }

    fn one_sent(&mut self) -> Transmit {
        assert_eq!(self.sent.len(), 1, "{:?}", self.sent);
        self.sent.remove(0)
    }

    /// Lets time pass until the next deadline. Returns how long that was.
    fn wait(&mut self) -> Duration {
        let before = self.now;
        self.now = self.deadline.unwrap();
        self.input(Input::Tick);
        self.now - before
    }

    fn datagram(&mut self, server: usize, socket: u16, octets: &[u8]) {
        self.input(Input::Datagram { server, socket, octets });
    }

    /// The server answers this.
    fn answer(&mut self, to: &Transmit) {
        self.datagram(to.server, to.socket, &accept(&to.octets, true));
    }

    fn events(&mut self) -> Vec<String> {
        self.events.drain(..).map(|event| told(&event)).collect()
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Answered { ticket, answer } => {
            format!("{} answered by {}: {}", ticket.0, answer.server, answer.packet().code())
        }
        Event::Failed { ticket, failure } => format!("{} failed: {failure}", ticket.0),
        Event::Ignored { server, reason } => format!("ignored from {server}: {reason}"),
        Event::Dead { server } => format!("{server} is dead"),
        Event::Alive { server } => format!("{server} is alive"),
        Event::Unprotected { server, refused } => {
            format!("{server} sends no Message-Authenticator, refused: {refused}")
        }
    }
}

/// What the server answers to these octets.
fn accept(request: &[u8], message_authenticator: bool) -> Vec<u8> {
    let request = Packet::parse(request).unwrap();
    let code = match request.code() {
        Code::AccessRequest => Code::AccessAccept,
        _ => Code::AccountingResponse,
    };
    let mut attributes = Attributes::new();
    attributes.octets(CLASS, b"gold");
    seal::response(
        code,
        request.identifier(),
        &request.authenticator(),
        &attributes,
        message_authenticator && code == Code::AccessAccept,
        &Secret::new(*b"testing123"),
    )
    .unwrap()
}

fn identifier(transmit: &Transmit) -> u8 {
    transmit.octets[1]
}

#[test]
fn an_answer_ends_the_request() {
    let mut rig = Rig::new(vec![server(0)]);
    let sent = rig.asked();
    assert_eq!((sent.server, sent.socket), (0, 0));
    let secret = Secret::new(*b"testing123");
    let packet = Packet::parse(&sent.octets).unwrap();
    assert_eq!(packet.verify_access_request(&secret), Ok(Presence::Present));
    rig.answer(&sent);
    assert_eq!(rig.events(), ["1 answered by 0: Access-Accept"]);
    assert_eq!((rig.client.pending(), rig.deadline), (0, None));
}

/// RFC 2865 §2.5 and RFC 5080 §2.2.1.
#[test]
fn a_retransmission_is_the_same_octets_and_waits_twice_as_long() {
    let mut rig = Rig::new(vec![Server { tries: 6, ..server(0) }]);
    let first = rig.asked();
    let mut expected = 2.0;
    for _ in 0..5 {
        let waited = rig.wait().as_secs_f64();
        assert!((waited / expected - 1.0).abs() <= 0.1, "{waited} of {expected}");
        assert_eq!(rig.one_sent(), first);
        expected = (waited * 2.0).min(16.0);
    }
    rig.wait();
    assert_eq!(rig.events(), ["0 is dead", "1 failed: RADIUS does not answer"]);
}

#[test]
fn waits_are_spread_so_that_requests_do_not_come_back_together() {
    let mut rig = Rig::new(vec![server(0)]);
    for _ in 0..50 {
        rig.ask(access());
    }
    let due: HashSet<Instant> = rig.client.deadlines.iter().map(|(at, _)| *at).collect();
    assert!(due.len() > 40, "{}", due.len());
}

/// RFC 2866 §5.2, RFC 2865 §2.5: a delay that changes makes a new request.
#[test]
fn acct_delay_time_is_of_the_sending_and_only_a_new_request_changes_it() {
    let mut rig = Rig::new(vec![Server { tries: 2, ..server(0) }, server(0)]);
    rig.ask(accounting(5 * SECOND));
    let delay = |transmit: &Transmit| {
        let packet = Packet::parse(&transmit.octets).unwrap();
        packet.value(ACCT_DELAY_TIME).unwrap().and_then(|value| value.number()).unwrap()
    };
    let first = rig.one_sent();
    assert_eq!(delay(&first), 5);
    rig.wait();
    assert_eq!(rig.one_sent(), first);
    rig.wait();
    let second = rig.one_sent();
    assert_eq!(second.server, 1);
    assert!((10..=12).contains(&delay(&second)), "{}", delay(&second));
    assert_ne!(second.octets[4..20], first.octets[4..20]);
}

/// RFC 2865 §3 and RFC 5080 §2.2.2.
#[test]
fn identifiers_rotate_and_are_never_the_lowest_free() {
    let mut rig = Rig::new(vec![server(0)]);
    let mut seen = Vec::new();
    for _ in 0..256 {
        let sent = rig.asked();
        rig.answer(&sent);
        seen.push(identifier(&sent));
    }
    let each: HashSet<u8> = seen.iter().copied().collect();
    assert_eq!(each.len(), 256);
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    assert_ne!(seen[0], 0, "begins at random");
    assert_eq!(identifier(&rig.asked()), seen[0]);
}

#[test]
fn request_authenticators_never_repeat() {
    let mut rig = Rig::new(vec![server(0)]);
    let authenticators: HashSet<Vec<u8>> = (0..500)
        .map(|_| {
            let sent = rig.asked();
            rig.answer(&sent);
            sent.octets[4..20].to_vec()
        })
        .collect();
    assert_eq!(authenticators.len(), 500);
}

/// Asks and answers until the window is as wide as it gets.
fn warmed_up(rig: &mut Rig) {
    for _ in 0..2048 {
        let sent = rig.asked();
        rig.answer(&sent);
    }
    rig.events.clear();
}

/// An identifier has 8 bits: more in flight need more ports.
#[test]
fn two_thousand_requests_are_in_flight_from_eight_ports() {
    let mut rig = Rig::new(vec![server(0)]);
    warmed_up(&mut rig);
    for _ in 0..3000 {
        rig.ask(access());
    }
    let sent = std::mem::take(&mut rig.sent);
    assert_eq!((sent.len(), rig.client.waiting()), (2048, 952));
    let places: HashSet<(u16, u8)> = sent.iter().map(|t| (t.socket, identifier(t))).collect();
    assert_eq!(places.len(), 2048);
    assert_eq!(places.iter().map(|(socket, _)| *socket).max(), Some(7));
    // Each answer finds its request, whatever the order, and makes room for one that waits.
    for transmit in sent.iter().rev() {
        rig.answer(transmit);
    }
    let answered = rig.events().iter().filter(|event| event.contains("answered")).count();
    assert_eq!((answered, rig.sent.len()), (2048, 952));
}

#[test]
fn a_slow_server_gets_fewer_requests_at_once() {
    let mut rig = Rig::new(vec![Server { tries: 10, ..server(0) }]);
    warmed_up(&mut rig);
    for _ in 0..1000 {
        rig.ask(access());
    }
    let sent = std::mem::take(&mut rig.sent);
    assert_eq!(sent.len(), 1000);
    // No answer in time: from now on only half of them may be there at once.
    rig.now = rig.now + 3 * SECOND;
    rig.input(Input::Tick);
    rig.sent.clear();
    for _ in 0..500 {
        rig.ask(access());
    }
    assert_eq!(rig.sent.len(), 24);
    for transmit in &sent {
        rig.answer(transmit);
    }
    assert_eq!(rig.sent.len(), 500);
}

#[test]
fn a_request_that_was_called_off_is_never_sent() {
    let mut rig = Rig::new(vec![Server { max_in_flight: 1, ..server(0) }]);
    let first = rig.asked();
    let given_up = rig.ask(access());
    let patient = rig.ask(access());
    assert_eq!((rig.sent.len(), rig.client.waiting()), (0, 2));
    rig.input(Input::Cancel(given_up));
    rig.answer(&first);
    rig.sent.clear();
    assert_eq!(rig.client.pending(), 1);
    rig.input(Input::Cancel(patient));
    assert_eq!((rig.client.pending(), rig.deadline), (0, None));
    rig.answer(&first);
    assert_eq!(
        rig.events(),
        [
            "1 answered by 0: Access-Accept",
            "ignored from 0: nobody awaits it: a duplicate, or too late"
        ]
    );
}

#[test]
fn what_is_not_believed_is_ignored_and_the_true_answer_awaited() {
    let mut rig = Rig::new(vec![server(0), server(0)]);
    let sent = rig.asked();
    let good = accept(&sent.octets, true);
    let mut forged = good.clone();
    forged[10] ^= 1;
    let mut other_identifier = good.clone();
    other_identifier[1] ^= 1;
    let request = Packet::parse(&sent.octets).unwrap();
    let secret = Secret::new(*b"testing123");
    let none = Attributes::new();
    let authenticator = request.authenticator();
    let wrong_code = seal::response(
        Code::AccountingResponse,
        request.identifier(),
        &authenticator,
        &none,
        false,
        &secret,
    )
    .unwrap();
    rig.datagram(0, 0, &good[..30]);
    rig.datagram(0, 0, b"");
    rig.datagram(0, 0, &forged);
    rig.datagram(0, 0, &other_identifier);
    rig.datagram(0, 0, &wrong_code);
    rig.datagram(0, 0, &sent.octets);
    // The right answer, from another server or at another port of ours.
    rig.datagram(1, 0, &good);
    rig.datagram(0, 1, &good);
    rig.datagram(9, 0, &good);
    let ignored: Vec<Ignored> = rig
        .events
        .drain(..)
        .map(|event| match event {
            Event::Ignored { reason, .. } => reason,
            event => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(
        ignored,
        [
            Ignored::Malformed(crate::radius::Malformed::Truncated { have: 30, need: 44 }),
            Ignored::Malformed(crate::radius::Malformed::Truncated { have: 0, need: 20 }),
            Ignored::Forged(Forged::Authenticator),
            Ignored::Unexpected,
            Ignored::Code(Code::AccountingResponse),
            Ignored::Code(Code::AccessRequest),
            Ignored::Unexpected,
            Ignored::Unexpected,
            Ignored::Unexpected,
        ]
    );
    rig.datagram(0, 0, &good);
    rig.datagram(0, 0, &good);
    assert_eq!(
        rig.events(),
        [
            "1 answered by 0: Access-Accept",
            "ignored from 0: nobody awaits it: a duplicate, or too late"
        ]
    );
}

/// CVE-2024-3596.
#[test]
fn an_answer_without_message_authenticator_is_a_failure_where_it_is_required() {
    let mut rig = Rig::new(vec![server(0)]);
    let sent = rig.asked();
    rig.datagram(0, 0, &accept(&sent.octets, false));
    assert_eq!(
        rig.events(),
        [
            "0 sends no Message-Authenticator, refused: true",
            "1 failed: the RADIUS server's answer has no Message-Authenticator"
        ]
    );
    let lax = Server { require_message_authenticator: false, ..server(0) };
    let mut rig = Rig::new(vec![lax]);
    let sent = rig.asked();
    rig.datagram(0, 0, &accept(&sent.octets, false));
    assert_eq!(
        rig.events(),
        ["0 sends no Message-Authenticator, refused: false", "1 answered by 0: Access-Accept"]
    );
}

/// RFC 2869 §5.19.
#[test]
fn an_accounting_response_needs_no_message_authenticator() {
    let mut rig = Rig::new(vec![server(0)]);
    rig.ask(accounting(Duration::ZERO));
    let sent = rig.one_sent();
    rig.answer(&sent);
    assert_eq!(rig.events(), ["1 answered by 0: Accounting-Response"]);
}

/// RFC 5997 §3 and §4.2.
#[test]
fn a_server_is_asked_whether_it_lives() {
    let mut rig = Rig::new(vec![server(0)]);
    rig.ask(Request::Status { attributes: Attributes::new() });
    let sent = rig.one_sent();
    let packet = Packet::parse(&sent.octets).unwrap();
    let secret = Secret::new(*b"testing123");
    assert_eq!(packet.code(), Code::StatusServer);
    assert_eq!(packet.verify_access_request(&secret), Ok(Presence::Present));
    rig.answer(&sent);
    assert_eq!(rig.events(), ["1 answered by 0: Accounting-Response"]);
}

#[test]
fn without_weights_servers_are_asked_in_the_order_of_the_list() {
    let mut rig = Rig::new(vec![server(0), server(0)]);
    for _ in 0..50 {
        assert_eq!(rig.asked().server, 0);
    }
}

#[test]
fn weights_share_requests_out_and_servers_without_one_stand_by() {
    let mut rig = Rig::new(vec![server(0), server(3), server(1)]);
    let mut count = [0; 3];
    for _ in 0..1000 {
        let sent = rig.asked();
        count[sent.server] += 1;
        rig.answer(&sent);
    }
    assert_eq!(count[0], 0);
    assert!((650..850).contains(&count[1]), "{count:?}");
}

#[test]
fn when_a_server_dies_all_that_it_has_goes_to_the_next_one() {
    let mut rig = Rig::new(vec![server(0), server(0)]);
    let first = rig.asked();
    rig.now = rig.now + SECOND;
    for _ in 0..20 {
        rig.ask(access());
    }
    rig.sent.clear();
    while rig.events.is_empty() {
        rig.wait();
    }
    assert_eq!(rig.events(), ["0 is dead"]);
    let moved: Vec<Transmit> = rig.sent.drain(..).filter(|sent| sent.server == 1).collect();
    assert_eq!(moved.len(), 21);
    // What is asked now does not even try.
    assert_eq!(rig.asked().server, 1);
    for sent in &moved {
        rig.answer(sent);
    }
    assert_eq!(rig.events().len(), 21);
    // The first server was only slow: its answer comes too late for this one, and shows that it
    // lives. A copy of it shows nothing, and neither does a forged one.
    let late = "ignored from 0: nobody awaits it: a duplicate, or too late";
    let mut forged = accept(&first.octets, true);
    forged[10] ^= 1;
    rig.answer(&first);
    assert_eq!(rig.events(), ["0 is alive", late]);
    rig.answer(&first);
    rig.datagram(0, 0, &forged);
    assert_eq!(rig.events(), [late, late]);
    assert_eq!(rig.asked().server, 0);
}

/// FreeRADIUS puts an Access-Reject off by a second: with less patience than that, its answers
/// come when nobody waits for them.
#[test]
fn a_server_whose_answers_come_too_late_is_not_dead() {
    let hasty = Server { timeout: SECOND, tries: 1, ..server(0) };
    let mut rig = Rig::new(vec![hasty.clone(), hasty]);
    let first = rig.asked();
    rig.wait();
    assert_eq!(rig.events(), ["0 is dead"]);
    let second = rig.one_sent();
    rig.wait();
    assert_eq!(rig.events(), ["1 is dead", "1 failed: RADIUS does not answer"]);
    rig.answer(&first);
    rig.answer(&second);
    let told = rig.events();
    assert!(told.contains(&"0 is alive".to_owned()), "{told:?}");
    assert!(told.contains(&"1 is alive".to_owned()), "{told:?}");
    assert_eq!(rig.asked().server, 0);
}

#[test]
fn a_late_answer_is_welcome_while_the_next_server_is_asked() {
    let mut rig = Rig::new(vec![server(0), server(0)]);
    let first = rig.asked();
    while rig.sent.iter().all(|sent| sent.server == 0) {
        rig.wait();
    }
    assert_eq!(rig.events(), ["0 is dead"]);
    rig.answer(&first);
    assert_eq!(rig.events(), ["0 is alive", "1 answered by 0: Access-Accept"]);
    assert_eq!(rig.client.pending(), 0);
}

/// An Access-Reject comes a second late by default, and one lost packet is no death either.
#[test]
fn a_server_that_answers_others_is_not_dead() {
    let mut rig = Rig::new(vec![server(0), server(0)]);
    rig.asked();
    rig.wait();
    rig.wait();
    let other = rig.ask(access());
    let sent = rig.sent.pop().unwrap();
    rig.answer(&sent);
    rig.sent.clear();
    rig.wait();
    assert_eq!(rig.events(), [format!("{} answered by 0: Access-Accept", other.0)]);
    assert_eq!(rig.one_sent().server, 1);
    assert_eq!(rig.asked().server, 0);
}

/// Two servers, the first of which was found dead.
fn with_a_dead_server() -> Rig {
    let mut rig = Rig::new(vec![server(0), server(0)]);
    rig.asked();
    while rig.events.is_empty() {
        rig.wait();
    }
    let sent = rig.sent.pop().unwrap();
    rig.answer(&sent);
    rig.events.clear();
    rig.sent.clear();
    rig
}

#[test]
fn after_its_dead_time_one_request_asks_whether_a_server_lives() {
    let mut rig = with_a_dead_server();
    rig.now = rig.now + 29 * SECOND;
    assert_eq!(rig.asked().server, 1);
    rig.now = rig.now + 2 * SECOND;
    let probe = rig.asked();
    assert_eq!(probe.server, 0);
    let other = rig.asked();
    assert_eq!(other.server, 1);
    rig.answer(&other);
    rig.answer(&probe);
    assert!(rig.events().contains(&"0 is alive".to_owned()));
    assert_eq!(rig.asked().server, 0);
}

#[test]
fn who_finds_a_server_still_dead_goes_on_after_one_wait() {
    let mut rig = with_a_dead_server();
    rig.now = rig.now + 31 * SECOND;
    assert_eq!(rig.asked().server, 0);
    let waited = rig.wait();
    assert!(waited < 3 * SECOND, "{waited:?}");
    assert_eq!(rig.one_sent().server, 1);
    assert_eq!(rig.asked().server, 1);
    rig.now = rig.now + 31 * SECOND;
    assert_eq!(rig.asked().server, 0);
}

#[test]
fn a_probe_that_was_called_off_leaves_the_question_to_the_next() {
    let mut rig = with_a_dead_server();
    rig.now = rig.now + 31 * SECOND;
    assert_eq!(rig.asked().server, 0);
    rig.input(Input::Cancel(Ticket(rig.last)));
    assert_eq!(rig.asked().server, 0);
}

#[test]
fn a_dead_server_is_better_than_none() {
    let mut rig = Rig::new(vec![server(0)]);
    rig.asked();
    while rig.events.is_empty() {
        rig.wait();
    }
    assert_eq!(rig.events(), ["0 is dead", "1 failed: RADIUS does not answer"]);
    rig.sent.clear();
    for later in [SECOND, 40 * SECOND] {
        rig.now = rig.now + later;
        rig.asked();
        rig.wait();
        assert_eq!(rig.one_sent().server, 0, "each request has all its tries");
        rig.input(Input::Cancel(Ticket(rig.last)));
    }
    let sent = rig.asked();
    rig.answer(&sent);
    assert!(rig.events().contains(&"0 is alive".to_owned()));
}

#[test]
fn without_servers_there_is_no_answer() {
    let mut rig = Rig::new(Vec::new());
    rig.ask(access());
    assert_eq!(rig.events(), ["1 failed: RADIUS does not answer"]);
}

#[test]
fn what_cannot_be_sent_fails_alone() {
    let mut rig = Rig::new(vec![server(0)]);
    let mut attributes = Attributes::new();
    attributes.octets(USER_NAME, &[0; 300]);
    rig.ask(Request::Access { attributes, password: None });
    assert_eq!(
        rig.events(),
        ["1 failed: the request cannot be sent: User-Name does not fit into the packet (300 \
             octets)"]
    );
    assert_eq!(rig.client.pending(), 0);
    rig.asked();
}

#[test]
fn who_comes_when_too_many_wait_is_told() {
    let mut rig = Rig::new(vec![Server { max_in_flight: 1, ..server(0) }]);
    for _ in 0..=MAX_WAITING {
        rig.ask(access());
    }
    assert!(rig.events().is_empty());
    rig.ask(access());
    assert_eq!(rig.events(), ["65538 failed: too many requests wait for RADIUS"]);
}

/// What may happen to a client.
#[derive(Debug, Clone)]
enum Happening {
    Ask,
    Cancel(usize),
    Answer(usize),
    Noise(usize, Vec<u8>),
    Time(u16),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        5 => Just(Happening::Ask),
        1 => any::<usize>().prop_map(Happening::Cancel),
        4 => any::<usize>().prop_map(Happening::Answer),
        1 => (0_usize..4, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(server, noise)| Happening::Noise(server, noise)),
        2 => any::<u16>().prop_map(Happening::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens: each request ends once, no identifier serves two at a time, and in the
    /// end nothing is left.
    #[test]
    fn each_request_ends_exactly_once(
        happenings in prop::collection::vec(happening(), 0..300),
        weights in prop::collection::vec(0_u32..3, 1..4),
        max_in_flight in 1_usize..40,
    ) {
        let servers = weights.iter().map(|weight| Server { max_in_flight, ..server(*weight) });
        let mut rig = Rig::new(servers.collect());
        let mut open: HashSet<Ticket> = HashSet::new();
        let mut sent: Vec<Transmit> = Vec::new();
        for happening in happenings {
            match happening {
                Happening::Ask => {
                    open.insert(rig.ask(access()));
                }
                Happening::Cancel(which) => {
                    let ticket = Ticket(u64::try_from(which).unwrap() % (rig.last + 1));
                    open.remove(&ticket);
                    rig.input(Input::Cancel(ticket));
                }
                Happening::Answer(which) if !sent.is_empty() => {
                    let transmit = sent[which % sent.len()].clone();
                    rig.answer(&transmit);
                }
                Happening::Answer(_) => {}
                Happening::Noise(server, noise) => rig.datagram(server, 0, &noise),
                Happening::Time(milliseconds) => {
                    rig.now = rig.now + Duration::from_millis(milliseconds.into());
                    rig.input(Input::Tick);
                }
            }
            let mut places = HashSet::new();
            for pending in rig.client.pending.values() {
                for sent in &pending.sent {
                    prop_assert!(places.insert((sent.server, sent.socket, sent.identifier)));
                }
            }
            for event in rig.events.drain(..) {
                if let Event::Answered { ticket, .. } | Event::Failed { ticket, .. } = event {
                    prop_assert!(open.remove(&ticket), "{ticket:?} ended twice");
                }
            }
            sent.append(&mut rig.sent);
        }
        while rig.deadline.is_some() {
            rig.wait();
            for event in rig.events.drain(..) {
                if let Event::Answered { ticket, .. } | Event::Failed { ticket, .. } = event {
                    prop_assert!(open.remove(&ticket), "{ticket:?} ended twice");
                }
            }
        }
        prop_assert!(open.is_empty(), "{open:?}");
        prop_assert_eq!((rig.client.pending(), rig.client.waiting()), (0, 0));
    }
}
