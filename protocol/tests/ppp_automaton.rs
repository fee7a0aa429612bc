//! The whole table of RFC 1661 §4.1, in the RFC's own notation.

use protocol::ppp::automaton::{Action, Event, State, transition};

#[test]
fn the_table_reads_as_in_rfc_1661() {
    let mut table = String::new();
    for event in Event::ALL {
        for (from, number) in State::ALL.into_iter().zip(0..) {
            let cell = match transition(from, event) {
                None => "-".to_owned(),
                Some((next, actions)) => {
                    let next = State::ALL.iter().position(|&state| state == next).unwrap();
                    let actions: Vec<_> = actions.iter().map(short).collect();
                    let separator = if actions.is_empty() { "" } else { "/" };
                    format!("{}{separator}{next}", actions.join(","))
                }
            };
            let name = format!("{event:?}");
            table +=
                &if number == 0 { format!("{name:18}| {cell:12}") } else { format!(" {cell:14}") };
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}

fn short(action: &Action) -> &'static str {
    match action {
        Action::ThisLayerUp => "tlu",
        Action::ThisLayerDown => "tld",
        Action::ThisLayerStarted => "tls",
        Action::ThisLayerFinished => "tlf",
        Action::InitializeRestartCount => "irc",
        Action::ZeroRestartCount => "zrc",
        Action::SendConfigureRequest => "scr",
        Action::SendConfigureAck => "sca",
        Action::SendConfigureNakOrReject => "scn",
        Action::SendTerminateRequest => "str",
        Action::SendTerminateAck => "sta",
        Action::SendCodeReject => "scj",
        Action::SendEchoReply => "ser",
    }
}

#[test]
fn the_restart_timer_runs_where_the_table_has_timeouts() {
    // RFC 1661 §4.1, below the table.
    for state in State::ALL {
        for event in [Event::Timeout, Event::Exhausted] {
            assert_eq!(transition(state, event).is_some(), state.has_timer(), "{state:?}");
        }
    }
}
