//! Drives PPP links without a network: one against a script, or two against each other over a
//! network that loses, repeats and reorders by seed, under a clock that jumps.

// Each test binary compiles this module and uses only a part of it.
#![allow(dead_code)]
// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use protocol::machine::{Action, drive};
use protocol::mppe::Strength;
use protocol::mschap::{Exchange, NtHash};
use protocol::ppp::auth::chap::{self, Value};
use protocol::ppp::auth::mschapv2::Response;
use protocol::ppp::auth::{Attempt, Credential, Method, Refusal};
use protocol::ppp::ccp::{Policy, Strengths};
use protocol::ppp::frame::{self, Protocol};
use protocol::ppp::link::{
    Addresses, Bridging, Config, Encryption, Event, Identifiers, Input, Ipv6, Link, Network, Phase,
    Reason, Role, Verdict,
};
use protocol::ppp::multilink::Multilink;
use protocol::ppp::options::Options;
use protocol::ppp::packet::{Packet, code};
use protocol::time::Instant;

pub const USER: &[u8] = b"alice";
pub const PASSWORD: &str = "secret123";

pub fn server_config() -> Config {
    server_with(&[Method::MsChapV2])
}

/// A server that accepts these methods.
pub fn server_with(methods: &[Method]) -> Config {
    Config::new(Role::Server {
        name: b"penstock".to_vec(),
        methods: methods.to_vec(),
        challenge_interval: None,
    })
}

pub fn client_config(password: &str) -> Config {
    client_with(password, &[Method::MsChapV2])
}

/// A client that follows these methods.
pub fn client_with(password: &str, methods: &[Method]) -> Config {
    Config::new(Role::Client {
        user: USER.to_vec(),
        credential: Credential::of_password(password),
        methods: methods.to_vec(),
    })
}

pub const STRENGTHS_ALL: [Strength; 3] = [Strength::Bits40, Strength::Bits56, Strength::Bits128];

pub fn require(strengths: &[Strength]) -> Policy {
    Policy::require(Strengths::of(strengths))
}

pub const fn addresses() -> Addresses {
    Addresses {
        local: Ipv4Addr::new(10, 99, 0, 1),
        remote: Some(Ipv4Addr::new(10, 99, 0, 10)),
        dns: [Some(Ipv4Addr::new(10, 99, 0, 53)), None],
        wins: [None, None],
        ipv6: Ipv6::No,
        bridge: false,
    }
}

/// The verdict of a user table that knows `alice` alone.
pub fn judge(attempt: &Attempt) -> Verdict {
    let stored = Credential::of_password(PASSWORD);
    let accepted = attempt.verify(&stored).ok().filter(|_| attempt.name == USER);
    match accepted {
        Some(accepted) => Verdict::Accept {
            accepted,
            addresses: addresses(),
            encryption: None,
            message: "Welcome".into(),
        },
        None => Verdict::Reject {
            refusal: Refusal::WrongPassword,
            message: "Denied".into(),
            retry: None,
        },
    }
}

pub const fn seconds(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

/// One link with all that it said.
pub struct End {
    pub link: Link,
    pub now: Instant,
    pub deadline: Option<Instant>,
    /// Frames that were sent since the last look.
    pub sent: Vec<Vec<u8>>,
    pub events: Vec<Event>,
    pub encryption: Option<Encryption>,
    pub network: Option<Network>,
    pub ipv6: Option<Identifiers>,
    pub down: Option<Reason>,
    /// Every key pair ever announced.
    keys: Vec<Encryption>,
    /// MS-CHAPv1 has one key for both directions (RFC 3079 §2).
    may_share_key: bool,
    /// Answer [`Event::Authenticate`] at once?
    pub judges: bool,
    /// What a verdict says of IPv6.
    pub given_ipv6: Ipv6,
    pub transcript: String,
}

impl End {
    pub fn new(config: Config, seed: u8) -> Self {
        let (Role::Server { methods, .. } | Role::Client { methods, .. }) = &config.role;
        Self {
            may_share_key: methods.contains(&Method::MsChapV1),
            link: Link::new(config, [seed; 32]),
            now: Instant::ORIGIN,
            deadline: None,
            sent: Vec::new(),
            events: Vec::new(),
            encryption: None,
            network: None,
            ipv6: None,
            down: None,
            keys: Vec::new(),
            judges: true,
            given_ipv6: Ipv6::No,
            transcript: String::new(),
        }
    }

    pub fn input(&mut self, input: Input<'_>) {
        let mut attempts = Vec::new();
        let mut actions = Vec::new();
        self.deadline = drive(&mut self.link, input, self.now, |action| actions.push(action));
        for action in actions {
            match action {
                Action::Send(frame) => {
                    self.note(">", &describe(&frame));
                    self.sent.push(frame.into());
                }
                Action::Event(event) => {
                    self.note("*", &describe_event(&event));
                    self.event(&event, &mut attempts);
                    self.events.push(event);
                }
            }
        }
        if self.down.is_some() {
            assert_eq!(self.link.phase(), Phase::Ended);
            assert_eq!(self.deadline, None, "an ended link waits for nothing");
        } else if self.link.phase() != Phase::Dead {
            let deadline = self.deadline;
            assert!(self.link.phase() == Phase::Up || deadline.is_some(), "every phase ends");
        }
        if !self.judges {
            return;
        }
        for attempt in attempts {
            let mut verdict = judge(&attempt);
            if let Verdict::Accept { addresses, .. } = &mut verdict {
                addresses.ipv6 = self.given_ipv6;
            }
            self.input(Input::Verdict { identifier: attempt.identifier, verdict });
        }
    }

    fn event(&mut self, event: &Event, attempts: &mut Vec<Attempt>) {
        match event {
            Event::Authenticate(attempt) => attempts.push(attempt.clone()),
            Event::Encryption(encryption) => {
                assert!(self.network.is_none(), "keys change only while no data passes");
                if let Encryption::Mppe { receive, send } = encryption {
                    let one = receive.key == send.key;
                    assert!(self.may_share_key || !one, "one key for two directions");
                    assert!(!self.keys.contains(encryption), "keys never come back");
                }
                self.keys.push(encryption.clone());
                self.encryption = Some(encryption.clone());
            }
            Event::NetworkUp(network) => {
                assert!(self.network.is_none());
                assert!(self.encryption.is_some(), "encryption is agreed before data");
                self.network = Some(*network);
            }
            Event::NetworkDown => assert!(self.network.take().is_some()),
            Event::Ipv6Up(identifiers) => {
                assert!(self.ipv6.is_none());
                assert_ne!(identifiers.local, identifiers.remote, "one identifier for two ends");
                self.ipv6 = Some(*identifiers);
            }
            Event::Ipv6Down => assert!(self.ipv6.take().is_some()),
            Event::Down(reason) => {
                assert!(self.network.is_none(), "data stops before the link ends");
                assert!(self.ipv6.is_none(), "IPv6 stops before the link ends");
                assert!(self.down.is_none());
                self.down = Some(reason.clone());
            }
            Event::Step(_)
            | Event::FramingAgreed { .. }
            | Event::AddressWanted(_)
            | Event::MultilinkAgreed(_)
            | Event::BridgeUp(_)
            | Event::BridgeDown
            | Event::Resynchronise => {}
        }
    }

    fn note(&mut self, sign: &str, text: &str) {
        let seconds = self.now.as_micros() as f64 / 1e6;
        writeln!(self.transcript, "{seconds:6.2} {sign} {text}").unwrap();
    }

    pub fn open(&mut self) {
        self.input(Input::Open);
    }

    /// The peer sends this frame; returns what was answered.
    pub fn receive(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.note("<", &describe(frame));
        self.input(Input::Frame(frame));
        std::mem::take(&mut self.sent)
    }

    /// Lets the clock run, from deadline to deadline; returns what was sent.
    pub fn wait(&mut self, until: Instant) -> Vec<Vec<u8>> {
        while let Some(deadline) = self.deadline.filter(|&deadline| deadline <= until) {
            assert!(deadline >= self.now, "a deadline lies in the future");
            self.now = deadline;
            self.input(Input::Deadline);
            assert!(
                self.deadline.is_none_or(|next| next > deadline),
                "a deadline that passed is dealt with"
            );
        }
        self.now = self.now.max(until);
        std::mem::take(&mut self.sent)
    }

    pub fn reason(&self) -> String {
        self.down.as_ref().map_or_else(|| "still running".into(), ToString::to_string)
    }
}

/// A packet of a control protocol as a frame.
pub fn packet(protocol: Protocol, code: u8, identifier: u8, data: &[u8]) -> Vec<u8> {
    let packet = Packet { code, identifier, data }.emit();
    [&protocol.number().to_be_bytes()[..], &packet].concat()
}

pub fn parse(frame: &[u8]) -> (Protocol, Packet<'_>) {
    let (protocol, payload) = frame::parse(frame).unwrap();
    (protocol, Packet::parse(payload).unwrap())
}

/// The frames of one protocol and code among these.
pub fn only(frames: &[Vec<u8>], protocol: Protocol, code: u8) -> Vec<Packet<'_>> {
    frames
        .iter()
        .map(|frame| parse(frame))
        .filter(|(of, packet)| *of == protocol && packet.code == code)
        .map(|(_, packet)| packet)
        .collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A frame as a line of a transcript.
pub fn describe(frame: &[u8]) -> String {
    let Ok((protocol, payload)) = frame::parse(frame) else {
        return format!("garbage {}", hex(frame));
    };
    let Ok(packet) = Packet::parse(payload) else {
        return format!("{protocol} {}", hex(payload));
    };
    let Packet { code, identifier, data } = packet;
    if protocol == Protocol::PAP {
        let name = ["", "Request", "Ack", "Nak"][usize::from(code.min(3))];
        return format!("PAP {name} {identifier} {}", hex(data));
    }
    if protocol == Protocol::CHAP {
        let name = ["", "Challenge", "Response", "Success", "Failure"][usize::from(code.min(4))];
        let data = if code <= 2 { hex(data) } else { String::from_utf8_lossy(data).into() };
        return format!("CHAP {name} {identifier} {data}");
    }
    let name = match code {
        code::CONFIGURE_REQUEST => "Configure-Request",
        code::CONFIGURE_ACK => "Configure-Ack",
        code::CONFIGURE_NAK => "Configure-Nak",
        code::CONFIGURE_REJECT => "Configure-Reject",
        code::TERMINATE_REQUEST => "Terminate-Request",
        code::TERMINATE_ACK => "Terminate-Ack",
        code::CODE_REJECT => "Code-Reject",
        code::PROTOCOL_REJECT => "Protocol-Reject",
        code::ECHO_REQUEST => "Echo-Request",
        code::ECHO_REPLY => "Echo-Reply",
        code::IDENTIFICATION => "Identification",
        code::RESET_REQUEST => "Reset-Request",
        code::RESET_ACK => "Reset-Ack",
        _ => "code?",
    };
    let mut line = format!("{protocol} {name} {identifier}");
    match Options::parse(data) {
        Ok(options) if code <= code::CONFIGURE_REJECT => {
            for option in options {
                write!(line, " {}:{}", option.kind, hex(option.data)).unwrap();
            }
        }
        _ if code == code::TERMINATE_REQUEST => {
            write!(line, " {:?}", String::from_utf8_lossy(data)).unwrap();
        }
        _ => write!(line, " {}", hex(data)).unwrap(),
    }
    line
}

fn describe_event(event: &Event) -> String {
    match event {
        Event::Step(step) => format!("step {step}"),
        Event::FramingAgreed { framing, peer_mru } => {
            let (ac, p) = (framing.compress_address_control, framing.compress_protocol);
            format!("framing: leave FF 03 away {ac}, short protocol {p}; peer MRU {peer_mru}")
        }
        Event::BridgeUp(Bridging { largest, tagged }) => {
            format!("bridge up: frames up to {largest}, tagged {tagged}")
        }
        Event::BridgeDown => "bridge down".into(),
        Event::MultilinkAgreed(Multilink { receive, send }) => {
            let receive = receive.map(|of| format!("{:?} up to {}", of.format, of.mrru));
            let send = send.map(|of| format!("{:?} above {}", of.format, of.largest));
            format!("multilink: receive {receive:?}, send {send:?}")
        }
        Event::Authenticate(attempt) => {
            format!(
                "authenticate {} {}",
                attempt.identifier,
                String::from_utf8_lossy(&attempt.name)
            )
        }
        Event::AddressWanted(address) => format!("wants address {address:?}"),
        Event::Encryption(encryption) => format!("encryption {encryption}"),
        Event::NetworkUp(network) => {
            let Network { local, remote, dns, wins, mtu } = network;
            format!("network up: {local} -> {remote}, DNS {dns:?}, WINS {wins:?}, MTU {mtu}")
        }
        Event::Resynchronise => "start the keystream again".into(),
        Event::NetworkDown => "network down".into(),
        Event::Ipv6Up(Identifiers { local, remote }) => format!("IPv6 up: {local} -> {remote}"),
        Event::Ipv6Down => "IPv6 down".into(),
        Event::Down(reason) => format!("down: {reason}"),
    }
}

/// A small generator for impairments (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// How bad a network is.
#[derive(Clone, Copy)]
pub struct Impairment {
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    /// Extra delay, up to this: what reorders.
    pub jitter: Duration,
}

pub const PERFECT: Impairment =
    Impairment { loss_percent: 0, duplicate_percent: 0, jitter: Duration::ZERO };

/// Two links and what is under way between them.
pub struct Pair {
    pub ends: [End; 2],
    pub now: Instant,
    pub impairment: Impairment,
    random: Random,
    under_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sequence: u64,
}

pub const SERVER: usize = 0;
pub const CLIENT: usize = 1;

impl Pair {
    pub fn new(server: Config, client: Config, seed: u64, impairment: Impairment) -> Self {
        let seeds = seed.to_le_bytes();
        Self {
            ends: [End::new(server, seeds[0] ^ 0x55), End::new(client, seeds[0] ^ 0xAA)],
            now: Instant::ORIGIN,
            impairment,
            random: Random(seed),
            under_way: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub fn open(&mut self) {
        for end in &mut self.ends {
            end.open();
        }
        self.transmit();
    }

    /// Puts on the wire what the ends want to send.
    pub fn transmit(&mut self) {
        for from in [SERVER, CLIENT] {
            for frame in std::mem::take(&mut self.ends[from].sent) {
                let copies = 1 + usize::from(self.random.chance(self.impairment.duplicate_percent));
                for _ in 0..copies {
                    if self.random.chance(self.impairment.loss_percent) {
                        continue;
                    }
                    let thousandths = self.random.next() % 1000;
                    let extra = self.impairment.jitter.mul_f64(thousandths as f64 / 1000.0);
                    let at = self.now + Duration::from_millis(10) + extra;
                    self.sequence += 1;
                    self.under_way.insert((at, self.sequence), (1 - from, frame.clone()));
                }
            }
        }
    }

    /// Runs both until this instant.
    pub fn run(&mut self, until: Instant) {
        for _ in 0..100_000 {
            let arrival = self.under_way.keys().next().map(|&(at, _)| at);
            let deadlines = self.ends.iter().filter_map(|end| end.deadline).min();
            let Some(next) = arrival.into_iter().chain(deadlines).min().filter(|&at| at <= until)
            else {
                self.now = until;
                return;
            };
            self.now = next.max(self.now);
            for end in &mut self.ends {
                end.now = self.now;
            }
            if arrival == Some(next) {
                let (_, (to, frame)) = self.under_way.pop_first().unwrap();
                let answers = self.ends[to].receive(&frame);
                self.ends[to].sent = answers;
            } else {
                for end in self.ends.iter_mut().filter(|end| end.deadline == Some(next)) {
                    end.input(Input::Deadline);
                }
            }
            self.transmit();
        }
        panic!("the links never come to rest");
    }

    /// Both ends pass data under each other's keys.
    pub fn is_up(&self) -> bool {
        let [server, client] = &self.ends;
        if server.network.is_none() || client.network.is_none() {
            return false;
        }
        match (&server.encryption, &client.encryption) {
            (Some(Encryption::None), Some(Encryption::None)) => true,
            (
                Some(Encryption::Mppe { receive, send }),
                Some(Encryption::Mppe { receive: peer_receive, send: peer_send }),
            ) => receive == peer_send && send == peer_receive,
            _ => false,
        }
    }
}

/// A client under the test's control, against our server.
pub struct Puppet {
    pub end: End,
    /// It acknowledges our requests of these protocols at once.
    pub acks: Vec<Protocol>,
    /// It answers Challenges as this user with this password.
    pub login: Option<(Vec<u8>, &'static str)>,
}

impl Puppet {
    /// A client that follows everything but asks for nothing itself, and a server that was opened.
    pub fn new(config: Config) -> Self {
        let mut end = End::new(config, 7);
        end.open();
        Self {
            end,
            acks: vec![Protocol::LCP, Protocol::CCP, Protocol::IPCP],
            login: Some((USER.to_vec(), PASSWORD)),
        }
    }

    /// Answers what the server sent at its opening.
    pub fn begin(&mut self) -> Vec<Vec<u8>> {
        let first = std::mem::take(&mut self.end.sent);
        self.follow(first)
    }

    /// Sends a frame; returns all that the server sends, then and after the puppet's own answers.
    pub fn say(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let sent = self.end.receive(frame);
        self.follow(sent)
    }

    /// Sends a packet; returns the one packet that answers it, described, or what else came.
    pub fn ask(&mut self, protocol: Protocol, code: u8, identifier: u8, data: &[u8]) -> String {
        let answers = self.say(&packet(protocol, code, identifier, data));
        answers.iter().map(|frame| describe(frame)).collect::<Vec<_>>().join("; ")
    }

    fn follow(&mut self, mut pending: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        while !pending.is_empty() {
            let mut answers = Vec::new();
            for frame in &pending {
                if let Some(answer) = self.answer(frame) {
                    answers.extend(self.end.receive(&answer));
                }
            }
            seen.append(&mut pending);
            pending = answers;
        }
        seen
    }

    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (protocol, packet_in) = parse(frame);
        let Packet { code, identifier, data } = packet_in;
        if protocol == Protocol::CHAP && code == chap::CHALLENGE {
            let (user, password) = self.login.as_ref()?;
            let challenge = Value::parse(data)?.value.try_into().ok()?;
            let response = respond(&challenge, user, password);
            let data = Value { value: &response.emit(), name: user }.emit();
            return Some(packet(Protocol::CHAP, chap::RESPONSE, identifier, &data));
        }
        let acks = code == code::CONFIGURE_REQUEST && self.acks.contains(&protocol);
        acks.then(|| packet(protocol, code::CONFIGURE_ACK, identifier, data))
    }

    /// Lets the clock run; answers what the server sends.
    pub fn wait(&mut self, until: Instant) -> Vec<Vec<u8>> {
        let sent = self.end.wait(until);
        self.follow(sent)
    }

    /// Brings LCP and the login up; CCP stands at its start.
    pub fn log_in(&mut self) -> Vec<Vec<u8>> {
        let mut sent = self.begin();
        sent.extend(self.say(&packet(Protocol::LCP, 1, 1, &[5, 6, 1, 2, 3, 4])));
        sent
    }

    /// Brings CCP up too; IPCP stands at its start.
    pub fn encrypt(&mut self) -> Vec<Vec<u8>> {
        self.log_in();
        self.say(&packet(Protocol::CCP, 1, 1, &[18, 6, 1, 0, 0, 0x40]))
    }

    /// Brings everything up.
    pub fn connect(&mut self) {
        self.encrypt();
        self.say(&packet(Protocol::IPCP, 1, 1, &[3, 6, 10, 99, 0, 10]));
        assert!(self.end.network.is_some(), "{}", self.end.transcript);
    }
}

/// A client's Response.
pub fn respond(challenge: &[u8; 16], user: &[u8], password: &str) -> Response {
    let peer_challenge = [0x5A; 16];
    let exchange =
        Exchange { authenticator_challenge: challenge, peer_challenge: &peer_challenge, user };
    let nt_response = exchange.nt_response(&NtHash::of_password(password));
    Response { peer_challenge, nt_response }
}
