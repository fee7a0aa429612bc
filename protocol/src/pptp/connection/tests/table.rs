//! Every message in every state, as one table.

use super::*;

/// A state of the connection or of one call, and how a test gets there.
type Row = (&'static str, fn() -> End);

const STATES: [Row; 12] = [
    ("server, before Start-Control-Connection-Request", End::server),
    ("client, before Start-Control-Connection-Reply", End::client),
    ("server, established", || End::established(Role::Server)),
    ("client, established", || End::established(Role::Client)),
    ("outgoing call, we are PAC: requested", || {
        let mut end = End::established(Role::Server);
        end.requested(outgoing_request(PEER));
        end
    }),
    ("outgoing call, we are PAC: established", || {
        let mut end = End::established(Role::Server);
        end.as_pac();
        end
    }),
    ("outgoing call, we are PNS: waiting for the reply", || {
        let mut end = End::established(Role::Client);
        end.started(Direction::Outgoing);
        end
    }),
    ("outgoing call, we are PNS: established", || {
        let mut end = End::established(Role::Client);
        end.as_pns();
        end
    }),
    ("outgoing call, we are PNS: waiting for Call-Disconnect-Notify", || {
        let mut end = End::established(Role::Client);
        let call = end.as_pns();
        end.input(Input::ClearCall { call, result: DisconnectResult::Request });
        end
    }),
    ("incoming call, we are PAC: waiting for the reply", || {
        let mut end = End::established(Role::Server);
        end.started(Direction::Incoming);
        end
    }),
    ("incoming call, we are PNS: waiting for Incoming-Call-Connected", || {
        let mut end = End::established(Role::Server);
        let call = end.requested(incoming_request(PEER));
        end.input(Input::Accept { call, own_call_id: own() });
        end
    }),
    ("waiting for Stop-Control-Connection-Reply", || {
        let mut end = End::established(Role::Server);
        end.input(Input::Stop(StopReason::LocalShutdown));
        end
    }),
];

#[test]
fn every_message_in_every_state() {
    let mut table = String::new();
    for (name, state) in STATES {
        table += &format!("{name}\n");
        for kind in Kind::ALL {
            let mut end = state();
            let actions = words(&end.receive(one_of(kind))).join("; ");
            let actions = if actions.is_empty() { "nothing" } else { &actions };
            table += &format!("    {kind}: {actions}\n");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn after_the_end_nothing_does_anything() {
    for (name, state) in STATES {
        let mut end = state();
        end.input(Input::PeerClosed);
        let call = CallHandle(1);
        let result = DisconnectResult::Request;
        let direction = Direction::Outgoing;
        for input in [
            Input::Opened,
            Input::DeadlinePassed,
            Input::PeerClosed,
            Input::PppAlive(at(0)),
            Input::Stop(StopReason::None),
            Input::Accept { call, own_call_id: own() },
            Input::Refuse { call, refusal: Refusal::Prohibited },
            Input::ClearCall { call, result },
        ] {
            assert!(end.input(input).is_empty(), "{name}");
        }
        for kind in Kind::ALL {
            assert!(end.receive(one_of(kind)).is_empty(), "{name}");
        }
        let actions = end.input(Input::StartCall { direction, own_call_id: own() });
        assert_eq!(words(&actions), ["call with ID 100 not started"], "{name}");
        assert_eq!(end.deadline, None);
    }
}
