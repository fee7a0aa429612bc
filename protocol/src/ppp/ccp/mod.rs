//! CCP's one option: MPPE.
//!
//! Implements RFC 1962 §2 and RFC 3078 §2. Offers no compression, proposes the mode that the policy
//! prefers, and never agrees to what it does not permit.

mod policy;

pub use policy::{Level, Modes, Policy, Strengths};

use crate::mppe::{Mode, Strength};

use super::frame::Protocol;
use super::negotiation::{Judgement, Policy as Negotiate, Settlement};
use super::options::{Opt, OptionList, Options};
use super::packet::code;

/// The option that negotiates MPPE and MPPC (RFC 3078 §2).
pub const MPPE: u8 = 18;
/// Bit H: stateless mode (RFC 3078 §2.1).
const STATELESS: u32 = 0x0100_0000;

/// Bits S, M and L: 128, 56 and 40 bit (RFC 3078 §2.1).
const fn bit(strength: Strength) -> u32 {
    match strength {
        Strength::Bits128 => 0x40,
        Strength::Bits56 => 0x80,
        Strength::Bits40 => 0x20,
    }
}

/// One direction's encryption, as the option's value says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) strength: Strength,
    pub(crate) mode: Mode,
}

impl Proposal {
    /// What a value stands for: bit H or not, exactly one strength, no bit C for compression and
    /// none that is not defined.
    fn parse(value: u32) -> Option<Self> {
        let mode = if value & STATELESS == 0 { Mode::Stateful } else { Mode::Stateless };
        let strength = Strengths::ALL.iter().find(|&of| value & !STATELESS == bit(of))?;
        Some(Self { strength, mode })
    }

    fn emit(self) -> [u8; 4] {
        emit(self.mode, Strengths::of(&[self.strength]))
    }
}

/// The option's value for any of these strengths.
fn emit(mode: Mode, strengths: Strengths) -> [u8; 4] {
    let mode = if mode == Mode::Stateless { STATELESS } else { 0 };
    strengths.iter().fold(mode, |value, strength| value | bit(strength)).to_be_bytes()
}

/// The strengths whose bits a value has.
fn strengths(value: u32) -> Strengths {
    let list: Vec<_> = Strengths::ALL.iter().filter(|&of| value & bit(of) != 0).collect();
    Strengths::of(&list)
}

/// State of CCP's option.
#[derive(Debug, Clone)]
pub(crate) struct Ccp {
    policy: Policy,
    /// Of what the peer sends: what we ask for, `None` after a Reject (RFC 1962 §2: the option
    /// says what its sender can decompress).
    receive: Option<Proposal>,
    /// What we ask for has any of these strengths: all that are permitted until the peer chose one
    /// (RFC 3078 §2.1). A peer that acknowledges several takes the strongest, as Linux does.
    offered: Strengths,
    /// Of what we send: what we acknowledged.
    send: Option<Proposal>,
    /// The peer asked for stateless mode and was told once that we prefer the other.
    persuaded: bool,
}

impl Ccp {
    /// `policy` with the strengths that there are keys for.
    pub(crate) fn new(policy: Policy) -> Self {
        let best = policy.strengths.strongest();
        let mode = policy.modes.preferred();
        let receive = best.map(|strength| Proposal { strength, mode });
        Self { policy, receive, offered: policy.strengths, send: None, persuaded: false }
    }

    /// What the peer sends by and what we send by, if both are encrypted.
    pub(crate) const fn outcome(&self) -> Option<(Proposal, Proposal)> {
        match (self.receive, self.send) {
            (Some(receive), Some(send)) => Some((receive, send)),
            _ => None,
        }
    }

    fn acceptable(&self, value: u32) -> Option<Proposal> {
        Proposal::parse(value)
            .filter(|proposal| self.policy.permits(proposal.strength, proposal.mode))
    }

    /// The strongest that we permit of what a value offers, else the strongest that we permit; the
    /// mode that it asks for if that is permitted, the one that we prefer if it asks for none.
    fn proposal(&self, value: u32) -> Option<Proposal> {
        let permitted = self.policy.strengths;
        let common = permitted.intersection(strengths(value));
        let strength = common.strongest().or_else(|| permitted.strongest())?;
        let mode = match (value, value & STATELESS) {
            (0, _) => self.policy.modes.preferred(),
            (_, 0) if self.policy.modes.permit(Mode::Stateful) => Mode::Stateful,
            _ => Mode::Stateless,
        };
        Some(Proposal { strength, mode })
    }
}

impl Negotiate for Ccp {
    const PROTOCOL: Protocol = Protocol::CCP;

    fn knows(code: u8) -> bool {
        matches!(code, code::RESET_REQUEST | code::RESET_ACK)
    }

    fn request(&self) -> OptionList {
        let mut options = OptionList::new();
        if let Some(proposal) = self.receive {
            options.push(MPPE, &emit(proposal.mode, self.offered));
        }
        options
    }

    fn judge(&mut self, option: Opt<'_>) -> Judgement {
        if option.kind != MPPE {
            return Judgement::Reject;
        }
        let value = option.as_u32();
        if let Some(proposal) = value.and_then(|value| self.acceptable(value)) {
            let mode = self.policy.modes.preferred();
            let persuade = (proposal.mode, mode) == (Mode::Stateless, Mode::Stateful);
            if persuade && !std::mem::replace(&mut self.persuaded, true) {
                return Judgement::Nak(Proposal { mode, ..proposal }.emit().to_vec());
            }
            return Judgement::Ack;
        }
        // MPPE with too many bits, MPPC's among them, is Naked, never Rejected (RFC 3078 §2.1).
        match self.proposal(value.unwrap_or(0)) {
            Some(proposal) => Judgement::Nak(proposal.emit().to_vec()),
            None => Judgement::Reject,
        }
    }

    fn missing(&self, request: Options<'_>) -> OptionList {
        let mut options = OptionList::new();
        if let (None, Some(proposal)) = (request.find(MPPE), self.proposal(0)) {
            options.push(MPPE, &proposal.emit());
        }
        options
    }

    fn settle(&self, _unacceptable: bool) -> Settlement {
        Settlement::Fail
    }

    fn agreed(&mut self, request: Options<'_>) {
        self.send = request
            .find(MPPE)
            .and_then(|option| option.as_u32())
            .and_then(|value| self.acceptable(value));
    }

    fn naked(&mut self, option: Opt<'_>) {
        if option.kind == MPPE
            && let Some(value) = option.as_u32()
            && !self.policy.strengths.intersection(strengths(value)).is_empty()
        {
            self.receive = self.proposal(value);
            self.offered =
                self.receive.map_or(Strengths::NONE, |chosen| Strengths::of(&[chosen.strength]));
        }
    }

    fn rejected(&mut self, kind: u8) {
        if kind == MPPE {
            self.receive = None;
        }
    }
    fn is_hopeless(&self) -> bool {
        self.receive.is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_is_a_proposal_or_none(value: u32) {
            if let Some(proposal) = Proposal::parse(value) {
                prop_assert_eq!(proposal.emit(), value.to_be_bytes());
            }
        }

        /// Whatever a peer asks for, what we answer is permitted and one strength.
        #[test]
        fn answers_are_permitted(value: u32, set in 1_usize..8, modes in 0_usize..3) {
            let all: Vec<_> = Strengths::ALL.iter().collect();
            let some: Vec<_> =
                (0..3).filter(|at| set & (1 << at) != 0).map(|at| all[at]).collect();
            let modes = [Modes::Stateless, Modes::Any, Modes::Stateful][modes];
            let policy = Policy { modes, ..Policy::require(Strengths::of(&some)) };
            let mut ccp = Ccp::new(policy);
            let option = Opt { kind: MPPE, data: &value.to_be_bytes() };
            let proposal = match ccp.judge(option) {
                Judgement::Ack => value,
                Judgement::Nak(data) => u32::from_be_bytes(data.try_into().unwrap()),
                Judgement::Reject => panic!("MPPE is never rejected"),
            };
            let proposal = Proposal::parse(proposal).unwrap();
            prop_assert!(policy.permits(proposal.strength, proposal.mode));
            ccp.naked(option);
            let asked = ccp.receive.unwrap();
            prop_assert!(policy.permits(asked.strength, asked.mode));
        }
    }
}
