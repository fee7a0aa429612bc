//! From a TCP stream to control messages (RFC 2637 §1.4, §2): coalesced or split at any octet.
//! Holds at most one message; a bad header ends the stream for good, for nothing after it can be
//! told apart (RFC 2637 §3).

use super::message::{Error, HEADER_LEN, Header, MAX_LEN, Message};

/// Splits a stream into messages. Keeps no memory between two of them.
#[derive(Debug, Clone, Default)]
pub struct Splitter {
    /// What came of the next message.
    buffer: Vec<u8>,
    ended: bool,
}

impl Splitter {
    /// At the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), ended: false }
    }

    /// The next message, taking octets off the front of `input`. `None` when all of `input` is
    /// taken and no message is complete, or after an error.
    ///
    /// # Errors
    /// The error of the first bad header, as soon as its twelve octets are there. It is returned
    /// once.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Result<Message, Error>> {
        if self.ended {
            *input = &[];
            return None;
        }
        let header = match self.fill(input, HEADER_LEN)?.first_chunk() {
            Some(octets) => Header::parse(octets),
            None => return None,
        };
        let result = match header {
            Ok(header) => Message::parse(self.fill(input, header.kind().message_len())?),
            Err(error) => Err(error),
        };
        self.buffer = Vec::new();
        self.ended = result.is_err();
        Some(result)
    }

    /// Fills the buffer up to `wanted` octets and returns it; `None` if `input` is used up before.
    fn fill(&mut self, input: &mut &[u8], wanted: usize) -> Option<&[u8]> {
        let missing = wanted.saturating_sub(self.buffer.len());
        let (taken, rest) = input.split_at_checked(missing.min(input.len()))?;
        if self.buffer.is_empty() && !taken.is_empty() {
            self.buffer.reserve_exact(MAX_LEN);
        }
        self.buffer.extend_from_slice(taken);
        *input = rest;
        (self.buffer.len() >= wanted).then_some(&self.buffer)
    }
}

#[cfg(test)]
mod tests;
