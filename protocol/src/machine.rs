//! The contract that every state machine keeps.
//!
//! A machine takes an input at a point in time and is then drained until it waits. There is one
//! way in ([`Machine::handle`]) and one way out ([`Machine::poll_output`]); [`drive`] does both, so
//! that no caller forgets the second. A machine never does I/O, reads a clock or draws randomness.

use crate::time::Instant;

/// What a machine wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<S, E> {
    /// Send this to the peer.
    Send(S),
    /// Something that the machine's owner has to know or to answer.
    Event(E),
    /// Nothing to do before this instant; `None` is for ever. Always the last output.
    Wait(Option<Instant>),
}

/// A sans-IO state machine.
pub trait Machine {
    /// What the owner can tell the machine. Each machine has an input for a deadline that passed.
    type Input<'a>;
    /// What the machine sends to its peer.
    type Send;
    /// What the machine tells its owner.
    type Event;

    /// Takes one input. `now` must not be earlier than in any call before.
    fn handle(&mut self, input: Self::Input<'_>, now: Instant);

    /// The next output. To be called until it returns [`Output::Wait`].
    fn poll_output(&mut self) -> Output<Self::Send, Self::Event>;
}

/// What [`drive`] hands to its caller: an [`Output`] that is not a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<S, E> {
    /// Send this to the peer.
    Send(S),
    /// Something that the machine's owner has to know or to answer.
    Event(E),
}

/// Gives `input` to the machine, drains it into `each` and returns the next deadline.
pub fn drive<M: Machine>(
    machine: &mut M,
    input: M::Input<'_>,
    now: Instant,
    mut each: impl FnMut(Action<M::Send, M::Event>),
) -> Option<Instant> {
    machine.handle(input, now);
    loop {
        match machine.poll_output() {
            Output::Send(send) => each(Action::Send(send)),
            Output::Event(event) => each(Action::Event(event)),
            Output::Wait(deadline) => return deadline,
        }
    }
}
