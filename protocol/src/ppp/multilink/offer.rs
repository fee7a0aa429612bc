//! Multilink's options in LCP: MRRU, short sequence numbers, endpoint discriminator.
//!
//! Implements RFC 1990 §5.1. Whoever wants no multilink Rejects all three; never insists on it.

use super::{DEFAULT_MRRU, Format, MIN_MRRU, Multilink, Receiving, Sending};
use crate::ppp::entropy::Entropy;
use crate::ppp::negotiation::Judgement;
use crate::ppp::options::{Opt, OptionList, Options};

/// Option types (RFC 1990 §5.1).
pub(crate) mod option {
    /// Maximum-Received-Reconstructed-Unit.
    pub(crate) const MRRU: u8 = 17;
    /// Short-Sequence-Number-Header-Format.
    pub(crate) const SHORT: u8 = 18;
    /// Endpoint-Discriminator.
    pub(crate) const DISCRIMINATOR: u8 = 19;
}

/// A locally assigned address (RFC 1990 §5.1.3).
const LOCALLY_ASSIGNED: u8 = 1;

/// What we ask for, and what the peer does.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// `None` after a Reject.
    mrru: Option<u16>,
    /// The peer may ask that we ask for short numbers (RFC 1990 §5.1.2).
    short: bool,
    /// Class and address; `None` after a Nak or Reject.
    discriminator: Option<[u8; 9]>,
    /// Its MRRU and how we are to number.
    peer: Option<(u16, Format)>,
}

impl Offer {
    /// An offer of this MRRU, octets.
    pub(crate) fn new(mrru: u16, entropy: &mut Entropy) -> Self {
        // Every link is a bundle of its own: two calls of a user with one discriminator, or with
        // none, were links of one bundle to their peer (RFC 1990 §5.1.3).
        let mut discriminator: [u8; 9] = entropy.draw();
        discriminator[0] = LOCALLY_ASSIGNED;
        Self {
            mrru: Some(mrru.max(MIN_MRRU)),
            short: false,
            discriminator: Some(discriminator),
            peer: None,
        }
    }

    /// What is agreed, once both requests are acknowledged. We send information fields of up to
    /// `largest` octets.
    pub(crate) fn outcome(&self, largest: u16) -> Multilink {
        let format = if self.short { Format::Short } else { Format::Long };
        Multilink {
            receive: self.mrru.map(|mrru| Receiving { mrru, format }),
            send: self.peer.map(|(_, format)| Sending { largest, format }),
        }
    }

    /// Largest information field that both ends reassemble, octets, if the peer reassembles.
    pub(crate) fn unit(&self) -> Option<u16> {
        let (peer, _) = self.peer?;
        Some(self.mrru.map_or(peer, |own| own.min(peer)))
    }

    pub(crate) fn request(&self, options: &mut OptionList) {
        let Some(mrru) = self.mrru else { return };
        options.push(option::MRRU, &mrru.to_be_bytes());
        if self.short {
            options.push(option::SHORT, &[]);
        }
        if let Some(discriminator) = &self.discriminator {
            options.push(option::DISCRIMINATOR, discriminator);
        }
    }

    pub(crate) fn judge(option: Opt<'_>) -> Judgement {
        match option.kind {
            option::MRRU => match option.as_u16() {
                Some(MIN_MRRU..) => Judgement::Ack,
                _ => Judgement::Nak(DEFAULT_MRRU.to_be_bytes().to_vec()),
            },
            option::SHORT if option.data.is_empty() => Judgement::Ack,
            option::SHORT => Judgement::Nak(Vec::new()),
            option::DISCRIMINATOR if is_discriminator(option.data) => Judgement::Ack,
            _ => Judgement::Reject,
        }
    }

    pub(crate) fn agreed(&mut self, request: Options<'_>) {
        let mrru = request.find(option::MRRU).and_then(|option| option.as_u16());
        let short = request.find(option::SHORT).is_some();
        self.peer = mrru.map(|mrru| (mrru, if short { Format::Short } else { Format::Long }));
    }

    pub(crate) fn naked(&mut self, option: Opt<'_>) {
        match option.kind {
            // A peer may ask for less; who wants more than we can take is not asked again.
            option::MRRU => {
                let asked = option.as_u16().filter(|&asked| asked >= MIN_MRRU);
                self.mrru = self.mrru.and_then(|mrru| asked.filter(|&asked| asked < mrru));
            }
            option::SHORT => self.short = true,
            option::DISCRIMINATOR => self.discriminator = None,
            _ => {}
        }
    }

    pub(crate) fn rejected(&mut self, kind: u8) {
        match kind {
            option::MRRU => self.mrru = None,
            option::SHORT => self.short = false,
            option::DISCRIMINATOR => self.discriminator = None,
            _ => {}
        }
    }
}

/// Whether these are class and address of one of the classes of RFC 1990 §5.1.3.
fn is_discriminator(data: &[u8]) -> bool {
    match data {
        [0, address @ ..] => address.is_empty(),
        [1, address @ ..] => (1..=20).contains(&address.len()),
        [2, address @ ..] => address.len() == 4,
        [3, address @ ..] => address.len() == 6,
        [4, address @ ..] => matches!(address.len(), 4 | 8 | 12 | 16 | 20),
        [5, address @ ..] => (1..=15).contains(&address.len()),
        _ => false,
    }
}
