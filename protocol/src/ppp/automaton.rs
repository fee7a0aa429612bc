//! RFC 1661's option negotiation automaton: one table for LCP and all NCPs.
//!
//! Implements the state transition table of RFC 1661 §4.1. Knows no packets, counters or clocks:
//! `negotiation` carries the actions out.

/// The states of RFC 1661 §4.2, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// 0: lower layer down, no Open.
    Initial,
    /// 1: lower layer down, opened by the owner.
    Starting,
    /// 2: lower layer up, no Open.
    Closed,
    /// 3: finished by the peer or by exhaustion, waiting for the peer.
    Stopped,
    /// 4: Terminate-Request sent by the owner's Close.
    Closing,
    /// 5: terminated by the peer, or Terminate-Request sent after an error.
    Stopping,
    /// 6: Configure-Request sent.
    ReqSent,
    /// 7: Configure-Request sent, Configure-Ack received.
    AckRcvd,
    /// 8: Configure-Request and Configure-Ack sent.
    AckSent,
    /// 9: agreed.
    Opened,
}

impl State {
    /// All states, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Initial,
        Self::Starting,
        Self::Closed,
        Self::Stopped,
        Self::Closing,
        Self::Stopping,
        Self::ReqSent,
        Self::AckRcvd,
        Self::AckSent,
        Self::Opened,
    ];

    /// Does the Restart timer run? "The states in which the Restart timer is running are
    /// identifiable by the presence of TO events" (RFC 1661 §4.1).
    #[must_use]
    pub const fn has_timer(self) -> bool {
        matches!(
            self,
            Self::Closing | Self::Stopping | Self::ReqSent | Self::AckRcvd | Self::AckSent
        )
    }
}

/// The events of RFC 1661 §4.3, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Lower layer is up.
    Up,
    /// Lower layer is down.
    Down,
    /// The owner wants the protocol.
    Open,
    /// The owner wants it no longer.
    Close,
    /// TO+: the Restart timer ran out, the counter did not.
    Timeout,
    /// TO-: both ran out.
    Exhausted,
    /// RCR+: an acceptable Configure-Request.
    GoodRequest,
    /// RCR-: a Configure-Request that is not.
    BadRequest,
    /// RCA: Configure-Ack.
    Ack,
    /// RCN: Configure-Nak or Configure-Reject.
    NakOrReject,
    /// RTR: Terminate-Request.
    TerminateRequest,
    /// RTA: Terminate-Ack.
    TerminateAck,
    /// RUC: a code that we do not know.
    UnknownCode,
    /// RXJ+: Code-Reject or Protocol-Reject of what we can do without.
    PermittedReject,
    /// RXJ-: Code-Reject or Protocol-Reject of what we cannot do without.
    CatastrophicReject,
    /// RXR: Echo-Request, Echo-Reply, Discard-Request and other codes of one protocol only.
    Extra,
}

impl Event {
    /// All events, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::Up,
        Self::Down,
        Self::Open,
        Self::Close,
        Self::Timeout,
        Self::Exhausted,
        Self::GoodRequest,
        Self::BadRequest,
        Self::Ack,
        Self::NakOrReject,
        Self::TerminateRequest,
        Self::TerminateAck,
        Self::UnknownCode,
        Self::PermittedReject,
        Self::CatastrophicReject,
        Self::Extra,
    ];
}

/// The actions of RFC 1661 §4.4, under their names in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are the RFC's own words")]
pub enum Action {
    ThisLayerUp,
    ThisLayerDown,
    ThisLayerStarted,
    ThisLayerFinished,
    InitializeRestartCount,
    ZeroRestartCount,
    SendConfigureRequest,
    SendConfigureAck,
    SendConfigureNakOrReject,
    SendTerminateRequest,
    SendTerminateAck,
    SendCodeReject,
    /// `ser`: the packet of an [`Event::Extra`] takes effect.
    SendEchoReply,
}

/// The table of RFC 1661 §4.1: the next state and what to do on the way. `None` where the table
/// has no entry: the event cannot happen there, or means nothing.
#[must_use]
pub const fn transition(state: State, event: Event) -> Option<(State, &'static [Action])> {
    use Action::{
        InitializeRestartCount as Irc, SendCodeReject as Scj, SendConfigureAck as Sca,
        SendConfigureNakOrReject as Scn, SendConfigureRequest as Scr, SendEchoReply as Ser,
        SendTerminateAck as Sta, SendTerminateRequest as Str, ThisLayerDown as Tld,
        ThisLayerFinished as Tlf, ThisLayerStarted as Tls, ThisLayerUp as Tlu,
        ZeroRestartCount as Zrc,
    };
    use State::{
        AckRcvd, AckSent, Closed, Closing, Initial, Opened, ReqSent, Starting, Stopped, Stopping,
    };
    let entry: (State, &'static [Action]) = match (event, state) {
        (Event::Up, Initial) => (Closed, &[]),
        (Event::Up, Starting) => (ReqSent, &[Irc, Scr]),

        (Event::Down, Closed | Closing) => (Initial, &[]),
        (Event::Down, Stopped) => (Starting, &[Tls]),
        (Event::Down, Stopping | ReqSent | AckRcvd | AckSent) => (Starting, &[]),
        (Event::Down, Opened) => (Starting, &[Tld]),

        (Event::Open, Initial) => (Starting, &[Tls]),
        (Event::Open, Closed) => (ReqSent, &[Irc, Scr]),
        (Event::Open, Closing) => (Stopping, &[]),
        (Event::Open, Starting | Stopped | Stopping | ReqSent | AckRcvd | AckSent | Opened) => {
            (state, &[])
        }

        (Event::Close, Initial | Closed | Closing) => (state, &[]),
        (Event::Close, Starting) => (Initial, &[Tlf]),
        (Event::Close, Stopped) => (Closed, &[]),
        (Event::Close, Stopping) => (Closing, &[]),
        (Event::Close, ReqSent | AckRcvd | AckSent) => (Closing, &[Irc, Str]),
        (Event::Close, Opened) => (Closing, &[Tld, Irc, Str]),

        (Event::Timeout, Closing | Stopping) => (state, &[Str]),
        (Event::Timeout, ReqSent | AckRcvd) => (ReqSent, &[Scr]),
        (Event::Timeout, AckSent) => (AckSent, &[Scr]),
        (Event::Exhausted, Closing) => (Closed, &[Tlf]),
        (Event::Exhausted, Stopping | ReqSent | AckRcvd | AckSent) => (Stopped, &[Tlf]),

        (Event::GoodRequest | Event::BadRequest | Event::Ack | Event::NakOrReject, Closed) => {
            (Closed, &[Sta])
        }
        (Event::GoodRequest | Event::BadRequest, Closing | Stopping) => (state, &[]),
        (Event::GoodRequest, Stopped) => (AckSent, &[Irc, Scr, Sca]),
        (Event::GoodRequest, ReqSent | AckSent) => (AckSent, &[Sca]),
        (Event::GoodRequest, AckRcvd) => (Opened, &[Sca, Tlu]),
        (Event::GoodRequest, Opened) => (AckSent, &[Tld, Scr, Sca]),
        (Event::BadRequest, Stopped) => (ReqSent, &[Irc, Scr, Scn]),
        (Event::BadRequest, ReqSent | AckSent) => (ReqSent, &[Scn]),
        (Event::BadRequest, AckRcvd) => (AckRcvd, &[Scn]),
        (Event::BadRequest, Opened) => (ReqSent, &[Tld, Scr, Scn]),

        (Event::Ack | Event::NakOrReject, Stopped) => (Stopped, &[Sta]),
        (Event::Ack | Event::NakOrReject, Closing | Stopping) => (state, &[]),
        (Event::Ack, ReqSent) => (AckRcvd, &[Irc]),
        (Event::Ack, AckSent) => (Opened, &[Irc, Tlu]),
        (Event::NakOrReject, ReqSent | AckSent) => (state, &[Irc, Scr]),
        (Event::Ack | Event::NakOrReject, AckRcvd) => (ReqSent, &[Scr]),
        (Event::Ack | Event::NakOrReject, Opened) => (ReqSent, &[Tld, Scr]),

        (Event::TerminateRequest, Closed | Stopped | Closing | Stopping) => (state, &[Sta]),
        (Event::TerminateRequest, ReqSent | AckRcvd | AckSent) => (ReqSent, &[Sta]),
        (Event::TerminateRequest, Opened) => (Stopping, &[Tld, Zrc, Sta]),

        (Event::TerminateAck, Closed | Stopped | ReqSent | AckSent) => (state, &[]),
        (Event::TerminateAck, Closing) => (Closed, &[Tlf]),
        (Event::TerminateAck, Stopping) => (Stopped, &[Tlf]),
        (Event::TerminateAck, AckRcvd) => (ReqSent, &[]),
        (Event::TerminateAck, Opened) => (ReqSent, &[Tld, Scr]),

        (
            Event::UnknownCode,
            Closed | Stopped | Closing | Stopping | ReqSent | AckRcvd | AckSent | Opened,
        ) => (state, &[Scj]),

        (
            Event::PermittedReject,
            Closed | Stopped | Closing | Stopping | ReqSent | AckSent | Opened,
        ) => (state, &[]),
        (Event::PermittedReject, AckRcvd) => (ReqSent, &[]),

        (Event::CatastrophicReject, Closed | Closing) => (Closed, &[Tlf]),
        (Event::CatastrophicReject, Stopped | Stopping | ReqSent | AckRcvd | AckSent) => {
            (Stopped, &[Tlf])
        }
        (Event::CatastrophicReject, Opened) => (Stopping, &[Tld, Irc, Str]),

        (Event::Extra, Closed | Stopped | Closing | Stopping | ReqSent | AckRcvd | AckSent) => {
            (state, &[])
        }
        (Event::Extra, Opened) => (Opened, &[Ser]),

        _ => return None,
    };
    Some(entry)
}
