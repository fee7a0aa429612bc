//! DHCPINFORM over IPv4: a host that has its address by IPCP asks for what IPCP cannot say.
//!
//! Implements RFC 2131 §2, §4.3.5 (the answer has no lease and no address), RFC 2132 (options) and
//! RFC 3442 with Microsoft's older number for it. Never assigns an address, never answers any other
//! message, and never answers another port than a client's.

use std::net::Ipv4Addr;

use super::Ipv4Settings;

/// Ports of client and server (RFC 2131 §4.1).
pub(super) const CLIENT_PORT: u16 = 68;
pub(super) const SERVER_PORT: u16 = 67;

/// Octets before the options, and the magic cookie after them (RFC 2131 §2, RFC 2132 §2).
const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// Message types (RFC 2132 §9.6).
const INFORM: u8 = 8;
const ACK: u8 = 5;

/// Options (RFC 2132; RFC 3442; Microsoft's [MS-DHCPE] §2.2.8).
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const DNS: u8 = 6;
    pub(super) const DOMAIN: u8 = 15;
    pub(super) const WINS: u8 = 44;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const REQUESTED: u8 = 55;
    pub(super) const ROUTES: u8 = 121;
    pub(super) const MICROSOFT_ROUTES: u8 = 249;
    pub(super) const END: u8 = 255;
}

/// The DHCPACK for a DHCPINFORM; nothing for anything else.
pub(super) fn answer(message: &[u8], settings: &Ipv4Settings) -> Option<Vec<u8>> {
    let (fixed, options) = message.split_first_chunk::<FIXED>()?;
    let (cookie, options) = options.split_first_chunk()?;
    let is_inform = find(options, option::MESSAGE_TYPE) == Some(&[INFORM]);
    if fixed[0] != REQUEST || fixed[2] > 16 || *cookie != COOKIE || !is_inform {
        return None;
    }
    let wanted = find(options, option::REQUESTED);
    let wants = |code: u8| wanted.is_none_or(|codes| codes.contains(&code));

    let mut reply = fixed.to_vec();
    reply[0] = REPLY;
    // Hops, seconds; "your" and next server's address; server's and file's name.
    reply[3] = 0;
    reply[8..10].fill(0);
    reply[16..28].fill(0);
    reply[44..].fill(0);
    reply.extend(COOKIE);
    let mut put = |code: u8, data: &[u8]| {
        // What is longer than an option can be goes on in another one (RFC 3396 §5).
        for part in data.chunks(255) {
            reply.extend([code, u8::try_from(part.len()).unwrap_or(0)]);
            reply.extend(part);
        }
    };
    put(option::MESSAGE_TYPE, &[ACK]);
    put(option::SERVER, &settings.local.octets());
    let list = |servers: &[Option<Ipv4Addr>]| -> Vec<u8> {
        servers.iter().flatten().flat_map(Ipv4Addr::octets).collect()
    };
    let routes = routes(settings);
    let domain = settings.domain.as_ref().map_or(&[][..], |domain| domain.as_str().as_bytes());
    for (code, data) in [
        (option::DNS, &list(&settings.dns)[..]),
        (option::DOMAIN, domain),
        (option::WINS, &list(&settings.wins)),
        (option::ROUTES, &routes),
        (option::MICROSOFT_ROUTES, &routes),
    ] {
        if wants(code) {
            put(code, data);
        }
    }
    reply.push(option::END);
    Some(reply)
}

/// The data of the first option of this kind.
fn find(mut options: &[u8], code: u8) -> Option<&[u8]> {
    loop {
        let (&kind, rest) = options.split_first()?;
        if kind == option::PAD {
            options = rest;
            continue;
        }
        if kind == option::END {
            return None;
        }
        let (&length, rest) = rest.split_first()?;
        let (data, rest) = rest.split_at_checked(usize::from(length))?;
        if kind == code {
            return Some(data);
        }
        options = rest;
    }
}

/// RFC 3442: for each route its length, the octets that it needs, and the router: us.
fn routes(settings: &Ipv4Settings) -> Vec<u8> {
    let mut octets = Vec::new();
    for &(network, length) in &settings.routes {
        let significant = usize::from(length.min(32).div_ceil(8));
        octets.push(length);
        octets.extend(&network.octets()[..significant]);
        octets.extend(settings.local.octets());
    }
    octets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> Ipv4Settings {
        Ipv4Settings {
            local: Ipv4Addr::new(10, 99, 0, 1),
            remote: Ipv4Addr::new(10, 99, 0, 7),
            dns: [Some(Ipv4Addr::new(10, 9, 9, 9)), None],
            wins: [None, Some(Ipv4Addr::new(10, 9, 9, 8))],
            domain: Some("corp.example".parse().unwrap()),
            routes: vec![
                (Ipv4Addr::new(10, 0, 0, 0), 8),
                (Ipv4Addr::new(192, 168, 100, 128), 25),
                (Ipv4Addr::UNSPECIFIED, 0),
            ],
        }
    }

    /// What Windows sends, as far as it matters.
    fn inform(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; FIXED];
        message[..8].copy_from_slice(&[1, 8, 6, 0, 0xDE, 0xAD, 0xBE, 0xEF]);
        message[8] = 3;
        message[12..16].copy_from_slice(&[10, 99, 0, 7]);
        message[28..34].copy_from_slice(b"PPPMAC");
        [&message[..], &COOKIE, &[53, 1, INFORM], options, &[option::END]].concat()
    }

    #[test]
    fn a_dhcpinform_gets_what_it_asks_for() {
        let ask = inform(&[61, 7, 1, 2, 3, 4, 5, 6, 7, 55, 6, 6, 44, 43, 15, 121, 249]);
        let reply = answer(&ask, &settings()).unwrap();
        // RFC 2131 §4.3.5: identifiers and addresses as the client has them, no address from us.
        assert_eq!(reply[..8], [2, 8, 6, 0, 0xDE, 0xAD, 0xBE, 0xEF]);
        assert_eq!(reply[12..16], [10, 99, 0, 7]);
        assert_eq!((&reply[16..28], &reply[28..34]), (&[0; 12][..], &b"PPPMAC"[..]));
        let options = &reply[FIXED + 4..];
        let route = [
            &[8, 10, 10, 99, 0, 1][..],
            &[25, 192, 168, 100, 128, 10, 99, 0, 1],
            &[0, 10, 99, 0, 1],
        ]
        .concat();
        for (code, data) in [
            (53, &[5][..]),
            (54, &[10, 99, 0, 1]),
            (6, &[10, 9, 9, 9]),
            (44, &[10, 9, 9, 8]),
            (15, b"corp.example"),
            (121, &route),
            (249, &route),
        ] {
            assert_eq!(find(options, code), Some(data), "{code}");
        }
        // RFC 2131 §4.3.5: "MUST NOT send a lease expiration time".
        assert_eq!((find(options, 51), find(options, 43)), (None, None));
        assert_eq!(reply.last(), Some(&option::END));
    }

    #[test]
    fn what_was_not_asked_for_is_left_out_and_who_asks_for_nothing_gets_all() {
        let options = |ask: &[u8]| answer(ask, &settings()).unwrap()[FIXED + 4..].to_vec();
        let some = options(&inform(&[55, 1, 6]));
        assert!(find(&some, 6).is_some() && find(&some, 121).is_none());
        let all = options(&inform(&[]));
        assert!([6, 15, 44, 121, 249].iter().all(|code| find(&all, *code).is_some()));
        let bare = Ipv4Settings {
            dns: [None; 2],
            wins: [None; 2],
            domain: None,
            routes: vec![],
            ..settings()
        };
        let reply = answer(&inform(&[]), &bare).unwrap();
        assert_eq!(reply[FIXED + 4..], [53, 1, 5, 54, 4, 10, 99, 0, 1, 255]);
    }

    #[test]
    fn long_lists_of_routes_go_on_in_further_options() {
        let routes = (0..64).map(|n| (Ipv4Addr::new(10, n, 0, 0), 16)).collect();
        let settings = Ipv4Settings { routes, ..settings() };
        let reply = answer(&inform(&[55, 1, 121]), &settings).unwrap();
        let mut options = &reply[FIXED + 4 + 9..reply.len() - 1];
        let mut joined: Vec<u8> = Vec::new();
        while let [121, length, ref rest @ ..] = *options {
            let (part, rest) = rest.split_at(usize::from(length));
            joined.extend(part);
            options = rest;
        }
        assert!(options.is_empty());
        assert_eq!(joined, super::routes(&settings));
    }

    #[test]
    fn nothing_else_is_answered() {
        let good = inform(&[]);
        let with = |at: usize, value: u8| {
            let mut bad = good.clone();
            bad[at] = value;
            bad
        };
        for kind in (0..=255).filter(|kind| *kind != INFORM) {
            assert_eq!(answer(&with(FIXED + 6, kind), &settings()), None, "type {kind}");
        }
        for (at, value) in [(0, 2), (2, 17), (FIXED, 0), (FIXED + 5, 2), (FIXED + 4, 255)] {
            assert_eq!(answer(&with(at, value), &settings()), None, "{at}");
        }
        for length in 0..FIXED + 7 {
            assert_eq!(answer(&good[..length], &settings()), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_options_never_panic(options: Vec<u8>, whole: Vec<u8>) {
            let _ = answer(&whole, &settings());
            if let Some(reply) = answer(&inform(&options), &settings()) {
                prop_assert!(reply.len() < 400);
            }
        }
    }
}
