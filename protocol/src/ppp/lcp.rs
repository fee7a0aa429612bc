//! LCP's options: what we ask for and what we accept.
//!
//! Implements RFC 1661 §6 and the asynchronous character map of RFC 1662 §7.1, which changes
//! nothing in PPTP; multilink's options are in [`super::multilink`]. Rejects all others; never
//! compresses LCP itself.

use crate::ppp::auth::{self, Method};

use super::entropy::Entropy;
use super::frame::{Framing, Protocol};
use super::multilink::offer::{Offer, option as multilink};
use super::negotiation::{Judgement, Policy, Settlement};
use super::options::{Opt, OptionList, Options};
use super::packet::code;

/// The MRU of a peer that does not say one (RFC 1661 §6.1).
pub const DEFAULT_MRU: u16 = 1500;
/// The smallest MRU that we accept: below it a login's own packets would not fit.
pub const MIN_MRU: u16 = 128;

/// Option types (RFC 1661 §6; RFC 1662 §7.1).
pub mod option {
    /// Maximum-Receive-Unit.
    pub const MRU: u8 = 1;
    /// Async-Control-Character-Map.
    pub const ACCM: u8 = 2;
    /// Authentication-Protocol.
    pub const AUTHENTICATION: u8 = 3;
    /// Magic-Number.
    pub const MAGIC: u8 = 5;
    /// Protocol-Field-Compression.
    pub const PFC: u8 = 7;
    /// Address-and-Control-Field-Compression.
    pub const ACFC: u8 = 8;
}

/// Own magic numbers seen in the peer's requests before the link counts as looped back.
const MAX_LOOPS: u32 = 5;

/// What the peer's acknowledged request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerOptions {
    pub(crate) mru: u16,
    pub(crate) framing: Framing,
    /// The proof that the peer demands of us.
    pub(crate) demands: Option<Method>,
}

impl PeerOptions {
    const DEFAULT: Self = Self {
        mru: DEFAULT_MRU,
        framing: Framing { compress_address_control: false, compress_protocol: false },
        demands: None,
    };
}

/// Who proves itself to whom.
#[derive(Debug, Clone)]
pub(crate) enum Demand {
    /// We ask for `chosen`, and if the peer refuses it for one of `others`.
    OfPeer { chosen: Method, others: Vec<Method> },
    /// The peer may demand one of these.
    OfUs { methods: Vec<Method> },
}

/// Why LCP cannot be agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    LoopedBack,
    /// The peer's own proposal for authentication.
    NoCommonMethod(String),
}

/// State of LCP's options.
#[derive(Debug, Clone)]
pub(crate) struct Lcp {
    entropy: Entropy,
    /// What we ask for; `None` and `false` after a Reject.
    mru: Option<u16>,
    magic: Option<u32>,
    pfc: bool,
    acfc: bool,
    /// Where fragments are wanted.
    multilink: Option<Offer>,
    demand: Demand,
    peer: PeerOptions,
    loops: u32,
    failure: Option<Failure>,
}

impl Lcp {
    pub(crate) fn new(
        mru: u16,
        mrru: Option<u16>,
        compress: bool,
        demand: Demand,
        mut entropy: Entropy,
    ) -> Self {
        let magic = random_magic(&mut entropy);
        let multilink = mrru.map(|mrru| Offer::new(mrru, &mut entropy));
        Self {
            multilink,
            entropy,
            mru: Some(mru.max(MIN_MRU)),
            magic: Some(magic),
            pfc: compress,
            acfc: compress,
            demand,
            peer: PeerOptions::DEFAULT,
            loops: 0,
            failure: None,
        }
    }

    pub(crate) const fn peer(&self) -> PeerOptions {
        self.peer
    }

    /// Multilink as far as it is wanted.
    pub(crate) const fn multilink(&self) -> Option<&Offer> {
        self.multilink.as_ref()
    }

    /// Our magic number, zero if the peer rejected it (RFC 1661 §5.8).
    pub(crate) fn magic(&self) -> u32 {
        self.magic.unwrap_or(0)
    }

    /// The method that the peer agreed to prove itself by.
    pub(crate) const fn demanded(&self) -> Option<Method> {
        match &self.demand {
            Demand::OfPeer { chosen, .. } => Some(*chosen),
            Demand::OfUs { .. } => None,
        }
    }

    pub(crate) const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// A packet came back with our own magic number (RFC 1661 §6.4). Is that proof of a loop?
    pub(crate) fn saw_own_magic(&mut self) -> bool {
        self.loops += 1;
        let looped = self.loops >= MAX_LOOPS;
        if looped {
            self.failure = Some(Failure::LoopedBack);
        }
        looped
    }
}

/// Never zero: RFC 1661 §6.4 keeps that for "no magic number".
fn random_magic(entropy: &mut Entropy) -> u32 {
    u32::from_be_bytes(entropy.draw()).max(1)
}

impl Policy for Lcp {
    const PROTOCOL: Protocol = Protocol::LCP;

    fn knows(code: u8) -> bool {
        matches!(code, code::PROTOCOL_REJECT..=code::TIME_REMAINING)
    }

    fn request(&self) -> OptionList {
        let mut options = OptionList::new();
        // RFC 1661 §6: an option at its default is not sent.
        if let Some(mru) = self.mru.filter(|&mru| mru != DEFAULT_MRU) {
            options.push(option::MRU, &mru.to_be_bytes());
        }
        if let Demand::OfPeer { chosen, .. } = &self.demand {
            options.push(option::AUTHENTICATION, chosen.lcp_option());
        }
        if let Some(magic) = self.magic {
            options.push(option::MAGIC, &magic.to_be_bytes());
        }
        if self.pfc {
            options.push(option::PFC, &[]);
        }
        if self.acfc {
            options.push(option::ACFC, &[]);
        }
        if let Some(multilink) = &self.multilink {
            multilink.request(&mut options);
        }
        options
    }

    fn judge(&mut self, option: Opt<'_>) -> Judgement {
        match option.kind {
            option::MRU => match option.as_u16() {
                Some(MIN_MRU..) => Judgement::Ack,
                _ => Judgement::Nak(DEFAULT_MRU.to_be_bytes().to_vec()),
            },
            // PPTP stuffs no bytes: any map is as good as none.
            option::ACCM if option.data.len() == 4 => Judgement::Ack,
            option::ACCM => Judgement::Nak(vec![0; 4]),
            option::AUTHENTICATION => match &self.demand {
                Demand::OfPeer { .. } => Judgement::Reject,
                Demand::OfUs { methods } => match Method::from_lcp_option(option.data) {
                    Some(method) if methods.contains(&method) => Judgement::Ack,
                    _ => methods.first().map_or(Judgement::Reject, |method| {
                        Judgement::Nak(method.lcp_option().to_vec())
                    }),
                },
            },
            option::MAGIC => match option.as_u32() {
                Some(1..) => Judgement::Ack,
                // RFC 1661 §6.4: zero is always Naked.
                _ => Judgement::Nak(random_magic(&mut self.entropy).to_be_bytes().to_vec()),
            },
            option::PFC | option::ACFC if option.data.is_empty() => Judgement::Ack,
            option::PFC | option::ACFC => Judgement::Nak(Vec::new()),
            multilink::MRRU | multilink::SHORT | multilink::DISCRIMINATOR
                if self.multilink.is_some() =>
            {
                Offer::judge(option)
            }
            _ => Judgement::Reject,
        }
    }

    /// RFC 1661 §6.4: only the number is Naked, whatever else is in it. A Reject of our own options
    /// would come back too, and look as if the peer refused them.
    fn come_back(&mut self, request: Options<'_>) -> Option<OptionList> {
        let own = self.magic?;
        let magic = request.into_iter().find(|option| option.kind == option::MAGIC)?.as_u32()?;
        if magic != own {
            return None;
        }
        self.saw_own_magic();
        let mut nak = OptionList::new();
        nak.push(option::MAGIC, &random_magic(&mut self.entropy).to_be_bytes());
        Some(nak)
    }

    fn missing(&self, _request: Options<'_>) -> OptionList {
        OptionList::new()
    }

    fn settle(&self, _unacceptable: bool) -> Settlement {
        Settlement::GiveIn
    }

    fn agreed(&mut self, request: Options<'_>) {
        self.peer = PeerOptions::DEFAULT;
        self.loops = 0;
        for option in request {
            match option.kind {
                option::MRU => self.peer.mru = option.as_u16().unwrap_or(DEFAULT_MRU),
                option::AUTHENTICATION => {
                    self.peer.demands = Method::from_lcp_option(option.data);
                }
                option::PFC => self.peer.framing.compress_protocol = true,
                option::ACFC => self.peer.framing.compress_address_control = true,
                _ => {}
            }
        }
        if let Some(multilink) = &mut self.multilink {
            multilink.agreed(request);
        }
    }

    fn naked(&mut self, option: Opt<'_>) {
        match option.kind {
            // A peer may ask for less; for more than we can take it may not.
            option::MRU => {
                if let (Some(asked @ MIN_MRU..), Some(mru)) = (option.as_u16(), self.mru) {
                    self.mru = Some(asked.min(mru));
                }
            }
            option::AUTHENTICATION => {
                if let Demand::OfPeer { chosen, others } = &mut self.demand {
                    // Its own proposal if that is ours, else the next that we have.
                    let proposed = Method::from_lcp_option(option.data);
                    let at = others.iter().position(|&method| Some(method) == proposed);
                    if !others.is_empty() {
                        *chosen = others.remove(at.unwrap_or(0));
                    } else {
                        let offered = format!("{} only", auth::describe(option.data));
                        self.failure = Some(Failure::NoCommonMethod(offered));
                    }
                }
            }
            option::MAGIC => {
                // RFC 1661 §6.4: a Nak of our own number is what a loop brings back, too.
                self.magic = Some(random_magic(&mut self.entropy));
            }
            option::PFC => self.pfc = false,
            option::ACFC => self.acfc = false,
            _ => {
                if let Some(multilink) = &mut self.multilink {
                    multilink.naked(option);
                }
            }
        }
    }

    fn rejected(&mut self, kind: u8) {
        match kind {
            option::MRU => self.mru = None,
            option::AUTHENTICATION => {
                let offered = "no authentication".to_owned();
                self.failure = Some(Failure::NoCommonMethod(offered));
            }
            option::MAGIC => self.magic = None,
            option::PFC => self.pfc = false,
            option::ACFC => self.acfc = false,
            kind => {
                if let Some(multilink) = &mut self.multilink {
                    multilink.rejected(kind);
                }
            }
        }
    }
    fn is_hopeless(&self) -> bool {
        self.failure.is_some()
    }
}
