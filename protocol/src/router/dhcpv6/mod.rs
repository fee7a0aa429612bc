//! The server's side of DHCPv6 on a link with one client, to which one prefix is delegated.
//!
//! Implements RFC 8415 §16 (which messages are taken) and §18.3 (server behaviour) for prefix
//! delegation (§6.3) and stateless configuration, with Rapid Commit, and RFC 3646. The prefix
//! belongs to the link for as long as the link lives, so a lease is a word and no resource: what a
//! client forgets or floods costs nothing. Never assigns addresses: hosts make their own of the
//! advertised prefix.

pub mod options;

use std::net::Ipv6Addr;

use super::Settings;
use crate::ipv6::Ipv6Prefix;
use options::{Association, Message, Writer, kind, option, status};

/// Ports of client and server (RFC 8415 §7.2).
pub(super) const CLIENT_PORT: u16 = 546;
pub(super) const SERVER_PORT: u16 = 547;

/// The shortest and the longest DUID, type included (RFC 8415 §11.1).
const DUID: std::ops::RangeInclusive<usize> = 3..=130;
/// Associations of one message, and prefixes of one of these, that are answered: nobody needs
/// more, and answers stay small.
const MAX_ANSWERED: usize = 4;

/// Who has the prefix: a client and its association.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    duid: Vec<u8>,
    iaid: [u8; 4],
}

/// What became of the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lease {
    /// A client took it that did not have it.
    Taken,
    /// The client that had it gave it back.
    Released,
}

/// The server of one link.
#[derive(Debug, Clone, Default)]
pub(super) struct Server {
    holder: Option<Holder>,
}

impl Server {
    /// Answers a client's message, if it deserves an answer.
    pub(super) fn answer(
        &mut self,
        bytes: &[u8],
        settings: &Settings,
    ) -> Option<(Vec<u8>, Option<Lease>)> {
        let message = Message::parse(bytes)?;
        let client = message.options.find(option::CLIENT_ID);
        if client.is_some_and(|duid| !DUID.contains(&duid.len())) {
            return None;
        }
        let names_us = message.options.find(option::SERVER_ID).map(|id| *id == *settings.duid);
        let before = self.holder.clone();
        let mut reply = kind::REPLY;
        // Who has to name the server, and who must not (RFC 8415 §16.2 to §16.12).
        let body = match (message.kind, names_us, client) {
            (kind::SOLICIT, None, Some(client)) => {
                if message.options.find(option::RAPID_COMMIT).is_some() {
                    self.bind(&message, client, settings).option(option::RAPID_COMMIT, &[])
                } else {
                    // An offer binds nobody.
                    reply = kind::ADVERTISE;
                    self.clone().bind(&message, client, settings)
                }
            }
            (kind::REQUEST | kind::RENEW, Some(true), Some(client))
            | (kind::REBIND, None, Some(client)) => self.bind(&message, client, settings),
            (kind::CONFIRM, None, Some(_)) => confirm(&message, settings.prefix)?,
            (kind::RELEASE | kind::DECLINE, Some(true), Some(client)) => {
                self.give_back(&message, client)
            }
            // It has no associations (RFC 8415 §16.12), and may do without an identifier.
            (kind::INFORMATION_REQUEST, None | Some(true), _)
                if associations(&message).next().is_none() =>
            {
                Writer::default()
            }
            _ => return None,
        };
        let mut answer = Writer::message(reply, message.transaction);
        if let Some(client) = client {
            answer = answer.option(option::CLIENT_ID, client);
        }
        let answer = answer.option(option::SERVER_ID, &settings.duid).raw(&body.finish());
        let lease = match (before, &self.holder) {
            (Some(_), None) => Some(Lease::Released),
            (before, Some(now)) if before.as_ref() != Some(now) => Some(Lease::Taken),
            _ => None,
        };
        Some((name_servers(answer, &message, settings).finish(), lease))
    }

    /// Gives the prefix to one association of the client, and nothing to its others (RFC 8415
    /// §18.3.2, §18.3.4, §18.3.5, §18.3.9).
    fn bind(&mut self, message: &Message<'_>, client: &[u8], settings: &Settings) -> Writer {
        let has = self.holder.as_ref().filter(|holder| holder.duid == client);
        let wanting = || associations(message).filter(|(code, _)| *code == option::IA_PD);
        // The one that has it keeps it; a router that was replaced begins with another.
        let chosen = has
            .and_then(|holder| wanting().find(|(_, wants)| wants.iaid == holder.iaid))
            .or_else(|| wanting().next())
            .map(|(_, wants)| wants.iaid);
        let mut body = Writer::default();
        for (code, wants) in associations(message) {
            let inside = match (code, settings.delegated) {
                (option::IA_PD, Some(prefix)) if Some(wants.iaid) == chosen => {
                    self.holder = Some(Holder { duid: client.to_vec(), iaid: wants.iaid });
                    delegation(wants, prefix, settings)
                }
                (option::IA_PD, _) => none(code, wants.iaid, status::NO_PREFIX, "no prefix"),
                _ => none(code, wants.iaid, status::NO_ADDRESSES, "addresses are advertised"),
            };
            body = body.nested(code, &inside);
        }
        body
    }

    /// RFC 8415 §18.3.7, and §18.3.8 for addresses, of which we never gave any.
    fn give_back(&mut self, message: &Message<'_>, client: &[u8]) -> Writer {
        let mut body = Writer::default().status(status::SUCCESS, "");
        for (code, wants) in associations(message) {
            let held = self.holder.take_if(|holder| {
                message.kind == kind::RELEASE
                    && code == option::IA_PD
                    && holder.duid == client
                    && holder.iaid == wants.iaid
            });
            if held.is_none() {
                let inside = none(code, wants.iaid, status::NO_BINDING, "no such binding");
                body = body.nested(code, &inside);
            }
        }
        body
    }
}

/// The associations of a message that are answered, in order.
fn associations<'a>(message: &Message<'a>) -> impl Iterator<Item = (u16, Association<'a>)> {
    let kinds = [option::IA_NA, option::IA_TA, option::IA_PD];
    let of_kind = message.options.iter().filter(move |(code, _)| kinds.contains(code));
    of_kind
        .take(MAX_ANSWERED)
        .filter_map(|(code, data)| Some((code, Association::parse(code, data)?)))
}

/// An association with the prefix in it, and an end for the prefixes that the client believes to
/// have (RFC 8415 §18.3.4).
fn delegation(wants: Association<'_>, prefix: Ipv6Prefix, settings: &Settings) -> Writer {
    /// Octets of a prefix option: two times, the length, the address.
    const LENGTH: usize = 25;
    let lifetimes = settings.lifetimes;
    let entry = |preferred: u32, valid: u32, length: u8, address: &[u8]| {
        [&preferred.to_be_bytes()[..], &valid.to_be_bytes(), &[length], address].concat()
    };
    let (renew, rebind) = (lifetimes.preferred / 2, lifetimes.preferred / 5 * 4);
    let address = prefix.address().octets();
    let given = entry(lifetimes.preferred, lifetimes.valid, prefix.length(), &address);
    let mut inside = Writer::default()
        .raw(&wants.iaid)
        .raw(&renew.to_be_bytes())
        .raw(&rebind.to_be_bytes())
        .option(option::IA_PREFIX, &given);
    let believed = wants
        .options
        .iter()
        .filter(|(code, _)| *code == option::IA_PREFIX)
        .filter_map(|(_, data)| data.get(8..LENGTH))
        // A hint without an address is a wish for a length (RFC 8415 §18.2.1).
        .filter(|place| place[1..] != [0; 16] && **place != given[8..]);
    for place in believed.take(MAX_ANSWERED) {
        inside = inside.option(option::IA_PREFIX, &entry(0, 0, place[0], &place[1..]));
    }
    inside
}

/// An association that gets nothing.
fn none(code: u16, iaid: [u8; 4], status: u16, text: &str) -> Writer {
    let inside = Writer::default().raw(&iaid);
    let inside = if code == option::IA_TA { inside } else { inside.raw(&[0; 8]) };
    inside.status(status, text)
}

/// Whether the addresses that a client has are of this link (RFC 8415 §18.3.3); one without
/// addresses gets no answer.
fn confirm(message: &Message<'_>, prefix: Option<Ipv6Prefix>) -> Option<Writer> {
    let mut any = false;
    let mut all = true;
    for (_, association) in associations(message) {
        for (_, data) in association.options.iter().filter(|(code, _)| *code == option::IA_ADDRESS)
        {
            let address = Ipv6Addr::from_octets(*data.first_chunk()?);
            any = true;
            all &= prefix.is_some_and(|prefix| prefix.contains(address));
        }
    }
    let writer = Writer::default();
    any.then(|| match all {
        true => writer.status(status::SUCCESS, ""),
        false => writer.status(status::NOT_ON_LINK, "not of this link"),
    })
}

/// Name servers and the domain, if the client asked for them (RFC 3646 §3, §4). Who gives no list
/// of what it wants gets all.
fn name_servers(answer: Writer, message: &Message<'_>, settings: &Settings) -> Writer {
    let wanted = message.options.find(option::REQUESTED);
    let wants =
        |code: u16| wanted.is_none_or(|codes| codes.as_chunks().0.contains(&code.to_be_bytes()));
    let mut answer = answer;
    if wants(option::DNS_SERVERS) && !settings.dns.is_empty() {
        let octets: Vec<u8> = settings.dns.iter().flat_map(Ipv6Addr::octets).collect();
        answer = answer.option(option::DNS_SERVERS, &octets);
    }
    match &settings.domain {
        Some(domain) if wants(option::DOMAIN_LIST) => {
            answer.option(option::DOMAIN_LIST, &domain.labels())
        }
        _ => answer,
    }
}

#[cfg(test)]
mod tests;
