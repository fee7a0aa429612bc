//! Both ends connected in memory. The stream is cut by a seed, the clock jumps to deadlines.

use proptest::prelude::*;

use super::*;

/// Two ends, and the octets on their way to each.
struct Pair {
    ends: [End; 2],
    wires: [Vec<u8>; 2],
    transcript: Vec<String>,
    /// Answer requests as soon as they come.
    accept: bool,
    next_id: u16,
}

const NAMES: [&str; 2] = ["client", "server"];

impl Pair {
    fn new() -> Self {
        let end = |machine| End { machine, now: Instant::ORIGIN, deadline: None };
        let mut pair = Self {
            ends: [end(Connection::client(config())), end(Connection::server(config()))],
            wires: [Vec::new(), Vec::new()],
            transcript: Vec::new(),
            accept: true,
            next_id: 1000,
        };
        pair.input(1, Input::Opened);
        pair.input(0, Input::Opened);
        pair
    }

    fn input(&mut self, who: usize, input: Input<'_>) {
        for action in self.ends[who].input(input) {
            match action {
                Action::Send(message) => {
                    self.transcript.push(format!(
                        "{} sends {}",
                        NAMES[who],
                        message_words(&message)
                    ));
                    self.wires[1 - who].extend_from_slice(&message.emit());
                }
                Action::Event(event) => {
                    self.transcript.push(format!("{}: {}", NAMES[who], event_words(&event)));
                    if let Event::CallRequested { call, .. } = event
                        && self.accept
                    {
                        self.next_id += 1;
                        let own_call_id = NonZeroU16::new(self.next_id).unwrap();
                        self.input(who, Input::Accept { call, own_call_id });
                    }
                }
            }
        }
    }

    /// Delivers what is on the wires, cut into pieces of the sizes that `cuts` yields, until both
    /// are silent.
    fn run(&mut self, mut cuts: impl Iterator<Item = usize>) {
        while let Some(to) = (0..2).find(|&to| !self.wires[to].is_empty()) {
            let len = cuts.next().unwrap_or(usize::MAX).clamp(1, self.wires[to].len());
            let piece: Vec<u8> = self.wires[to].drain(..len).collect();
            self.input(to, Input::Received(&piece));
        }
    }

    /// What one end saw, in its order.
    fn view(&self, who: usize) -> Vec<String> {
        let name = NAMES[who];
        self.transcript.iter().filter(|line| line.starts_with(name)).cloned().collect()
    }
}

/// A whole life: two calls by the client, one by the server, one cleared by each end, then a stop.
fn life(cuts: &mut dyn Iterator<Item = usize>) -> Pair {
    let id = |id| NonZeroU16::new(id).unwrap();
    let result = DisconnectResult::AdminShutdown;
    let mut pair = Pair::new();
    pair.run(&mut *cuts);
    pair.input(0, Input::StartCall { direction: Direction::Outgoing, own_call_id: id(1) });
    pair.run(&mut *cuts);
    pair.input(1, Input::StartCall { direction: Direction::Incoming, own_call_id: id(2) });
    pair.run(&mut *cuts);
    pair.input(0, Input::ClearCall { call: CallHandle(1), result });
    pair.run(&mut *cuts);
    pair.input(0, Input::StartCall { direction: Direction::Outgoing, own_call_id: id(3) });
    pair.run(&mut *cuts);
    pair.input(1, Input::ClearCall { call: CallHandle(3), result });
    pair.run(&mut *cuts);
    pair.input(1, Input::Stop(StopReason::LocalShutdown));
    pair.run(&mut *cuts);
    pair
}

#[test]
fn a_whole_life_as_a_transcript() {
    insta::assert_snapshot!(life(&mut std::iter::repeat(usize::MAX)).transcript.join("\n"));
}

#[test]
fn both_ends_may_stop_at_once() {
    let mut pair = Pair::new();
    pair.run(std::iter::empty());
    pair.input(0, Input::Stop(StopReason::None));
    pair.input(1, Input::Stop(StopReason::LocalShutdown));
    pair.run(std::iter::empty());
    for (who, name) in NAMES.iter().enumerate() {
        let end = format!("{name}: closed: stopped by this end");
        assert_eq!(pair.view(who).last(), Some(&end));
    }
}

#[test]
fn echoes_keep_an_idle_pair_alive_for_ever() {
    let mut pair = Pair::new();
    pair.run(std::iter::empty());
    for _ in 0..100 {
        let next = pair.ends.iter().filter_map(|end| end.deadline).min().unwrap();
        for who in 0..2 {
            pair.ends[who].now = next;
            pair.input(who, Input::DeadlinePassed);
        }
        pair.run(std::iter::empty());
    }
    assert!(pair.ends.iter().all(|end| end.machine.is_established()));
    assert!(pair.ends[0].now > at(60 * 99));
}

proptest! {
    #[test]
    fn each_end_sees_the_same_however_the_stream_is_cut(
        cuts in prop::collection::vec(1_usize..400, 1..200),
    ) {
        let whole = life(&mut std::iter::repeat(usize::MAX));
        let cut = life(&mut cuts.into_iter().cycle());
        for who in 0..2 {
            prop_assert_eq!(cut.view(who), whole.view(who));
        }
    }

    #[test]
    fn any_messages_in_any_order_never_panic_and_keep_the_bounds(
        server: bool,
        steps in prop::collection::vec((0_usize..22, 0_u16..4, 0_u64..40), 1..80),
    ) {
        let mut end = if server { End::server() } else { End::client() };
        let mut closed = 0;
        for (what, pick, seconds) in steps {
            let now = end.now + Duration::from_secs(seconds);
            // As an owner does: deadlines first.
            while let Some(deadline) = end.deadline.filter(|&deadline| deadline <= now) {
                end.now = end.now.max(deadline);
                closed += count_closed(&end.input(Input::DeadlinePassed));
            }
            end.now = now;
            let call = CallHandle(u32::from(pick) + 1);
            let own_call_id = NonZeroU16::new(OWN + pick % 2).unwrap();
            let direction =
                if pick < 2 { Direction::Outgoing } else { Direction::Incoming };
            let result = DisconnectResult::AdminShutdown;
            let actions = match what {
                0..15 => end.receive(one_of(Kind::ALL[what])),
                15 => end.input(Input::Accept { call, own_call_id }),
                16 => end.input(Input::Refuse { call, refusal: Refusal::Prohibited }),
                17 => end.input(Input::StartCall { direction, own_call_id }),
                18 => end.input(Input::ClearCall { call, result }),
                19 => end.receive(outgoing_request(PEER + pick)),
                20 => end.input(Input::PppAlive(now)),
                _ => end.receive(if server { start_request(VERSION) } else { start_reply(VERSION, StartResult::Ok) }),
            };
            closed += count_closed(&actions);
            prop_assert!(actions.len() <= 6);
            prop_assert!(end.machine.calls() <= 4, "two of the peer's, two of ours");
        }
        prop_assert!(closed <= 1);
    }

    #[test]
    fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut server = End::established(Role::Server);
        server.input(Input::Received(&octets));
    }
}

fn count_closed(actions: &[Action<Message, Event>]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Event(Event::Closed(_)))).count()
}
