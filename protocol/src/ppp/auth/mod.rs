//! Authentication of the peer, and of ourselves by a peer.
//!
//! [`Method`] is what LCP negotiates; [`pap`] (RFC 1334) and [`chap`] (RFC 1994, with the values
//! of [`mschapv1`], RFC 2433, and [`mschapv2`], RFC 2759) run it, as authenticator and as peer.
//! Never decides whether a login is right: the owner of the users does, by [`Attempt::verify`] or
//! by asking RADIUS.

mod attempt;
pub mod chap;
mod credential;
mod failure;
mod keys;
mod method;
pub mod mschapv1;
pub mod mschapv2;
pub mod pap;
pub(crate) mod running;

pub use attempt::{Accepted, Attempt, Proof, Unproven};
pub use credential::{Credential, Password};
pub use failure::{Failure, Refusal};
pub use keys::StartKeys;
pub use method::{Method, NoMethod, describe, offered};
