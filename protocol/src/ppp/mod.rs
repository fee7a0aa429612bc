//! The Point-to-Point Protocol: what runs inside a tunnel until data may pass.
//!
//! [`link::Link`] is the machine that the daemon drives; the other modules are its parts.
//!
//! | module | what | RFC |
//! |---|---|---|
//! | [`frame`] | address, control and protocol fields | 1661 §2, §6.5, §6.6; 1662 §3 |
//! | [`packet`] | code, identifier, length | 1661 §5; 1994 §4 |
//! | [`options`] | option lists | 1661 §6 |
//! | [`automaton`] | the state table that LCP and all NCPs share | 1661 §4 |
//! | `negotiation` | one protocol run by that table: counters, timers, replies | 1661 §4, §5 |
//! | [`lcp`] | LCP's options | 1661 §6 |
//! | [`multilink`] | packets in fragments | 1990 |
//! | [`auth`] | authentication, both sides | 1994, 2759 |
//! | [`ccp`] | CCP's options: MPPE | 1962, 3078 §2 |
//! | [`ipcp`] | IPCP's options | 1332, 1877 |
//! | [`ipv6cp`] | IPV6CP's option | 5072 |
//! | [`bcp`] | BCP's options, bridged frames | 3518 |
//! | [`entropy`] | a seed made into challenges and magic numbers | |
//! | [`link`] | all of it as one machine | 1661 §3 |

pub mod auth;
pub mod automaton;
pub mod bcp;
pub mod ccp;
pub mod entropy;
pub mod frame;
pub mod ipcp;
pub mod ipv6cp;
pub mod lcp;
pub mod link;
pub mod multilink;
mod negotiation;
pub mod options;
mod outbox;
pub mod packet;

pub use frame::{Framing, Protocol};
pub use ipv6cp::InterfaceId;
pub use link::Link;
