use proptest::prelude::*;

use super::options::Options;
use super::*;
use crate::router::tests::settings;

const DUID_A: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const DUID_B: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 2];
const XID: [u8; 3] = [7, 8, 9];

fn ia(code: u16, iaid: u8, inside: &Writer) -> Writer {
    let times = if code == option::IA_TA { 0 } else { 8 };
    let data =
        Writer::default().raw(&[0, 0, 0, iaid]).raw(&vec![0; times]).raw(&inside.clone().finish());
    Writer::default().nested(code, &data)
}

fn ia_pd(iaid: u8) -> Writer {
    ia(option::IA_PD, iaid, &Writer::default())
}

fn prefix_option(text: &str) -> Writer {
    let prefix: Ipv6Prefix = text.parse().unwrap();
    let address = prefix.address().octets();
    let data = [&[0; 8][..], &[prefix.length()], &address].concat();
    Writer::default().option(option::IA_PREFIX, &data)
}

/// A message of a client, which names the server if it has to.
fn message(kind: u8, client: &[u8], body: Writer) -> Vec<u8> {
    let writer = Writer::message(kind, XID).option(option::CLIENT_ID, client);
    let named = matches!(kind, kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE);
    let writer = if named { writer.option(option::SERVER_ID, &settings().duid) } else { writer };
    writer.raw(&body.finish()).finish()
}

/// An answer in words.
fn said(bytes: &[u8]) -> String {
    let message = Message::parse(bytes).unwrap();
    assert_eq!(message.transaction, XID);
    let mut text = format!("type {}:", message.kind);
    write_options(&mut text, message.options);
    text
}

fn write_options(text: &mut String, options: Options<'_>) {
    use std::fmt::Write as _;
    for (code, data) in options.iter() {
        match code {
            option::CLIENT_ID | option::SERVER_ID => {}
            option::STATUS => {
                write!(text, " status {}", u16::from_be_bytes([data[0], data[1]])).unwrap();
            }
            option::IA_PD | option::IA_NA | option::IA_TA => {
                let association = Association::parse(code, data).unwrap();
                write!(text, " IA{code}/{}(", association.iaid[3]).unwrap();
                write_options(text, association.options);
                text.push_str(" )");
            }
            option::IA_PREFIX => {
                let preferred = u32::from_be_bytes(*data.first_chunk().unwrap());
                let valid = u32::from_be_bytes(*data[4..].first_chunk().unwrap());
                let address = Ipv6Addr::from_octets(*data[9..].first_chunk().unwrap());
                write!(text, " {address}/{} for {preferred}/{valid}", data[8]).unwrap();
            }
            option::DNS_SERVERS => write!(text, " DNS x{}", data.len() / 16).unwrap(),
            option::DOMAIN_LIST => {
                write!(text, " domain {:?}", String::from_utf8_lossy(data)).unwrap();
            }
            option::RAPID_COMMIT => text.push_str(" rapid"),
            _ => write!(text, " option {code}").unwrap(),
        }
    }
}

/// What a server says to these, one after the other.
fn dialogue(messages: &[Vec<u8>]) -> String {
    let mut server = Server::default();
    let settings = settings();
    messages
        .iter()
        .map(|message| match server.answer(message, &settings) {
            Some((answer, lease)) => {
                let lease = lease.map_or(String::new(), |lease| format!(" [{lease:?}]"));
                format!("{}{lease}\n", said(&answer))
            }
            None => "nothing\n".to_owned(),
        })
        .collect()
}

#[test]
fn a_lease_from_its_first_word_to_its_last() {
    let ask = |codes: &[u16]| {
        let octets: Vec<u8> = codes.iter().flat_map(|code| code.to_be_bytes()).collect();
        Writer::default().option(option::REQUESTED, &octets)
    };
    let renew = || ia(option::IA_PD, 1, &prefix_option("2001:db8:200::/56"));
    insta::assert_snapshot!(dialogue(&[
        message(kind::SOLICIT, DUID_A, ia_pd(1).raw(&ask(&[23]).finish())),
        message(kind::REQUEST, DUID_A, ia_pd(1).raw(&ask(&[23, 24]).finish())),
        message(kind::RENEW, DUID_A, renew()),
        message(kind::REBIND, DUID_A, renew().raw(&ask(&[82]).finish())),
        message(kind::RELEASE, DUID_A, renew()),
        message(kind::RELEASE, DUID_A, renew()),
        message(kind::SOLICIT, DUID_A, ia_pd(1).option(option::RAPID_COMMIT, &[]).raw(&ask(&[]).finish())),
    ]), @r#"
    type 2: IA25/1( 2001:db8:200::/56 for 1800/3600 ) DNS x2
    type 7: IA25/1( 2001:db8:200::/56 for 1800/3600 ) DNS x2 domain "\u{4}corp\u{7}example\0" [Taken]
    type 7: IA25/1( 2001:db8:200::/56 for 1800/3600 ) DNS x2 domain "\u{4}corp\u{7}example\0"
    type 7: IA25/1( 2001:db8:200::/56 for 1800/3600 )
    type 7: status 0 DNS x2 domain "\u{4}corp\u{7}example\0" [Released]
    type 7: status 0 IA25/1( status 3 ) DNS x2 domain "\u{4}corp\u{7}example\0"
    type 7: IA25/1( 2001:db8:200::/56 for 1800/3600 ) rapid [Taken]
    "#);
}

#[test]
fn one_association_gets_the_prefix_and_others_learn_that_there_is_none() {
    let two = || ia_pd(1).raw(&ia_pd(2).finish());
    let addresses = || {
        ia(option::IA_NA, 3, &Writer::default())
            .raw(&ia(option::IA_TA, 4, &Writer::default()).finish())
    };
    insta::assert_snapshot!(dialogue(&[
        message(kind::REQUEST, DUID_A, two()),
        // The one that has it keeps it, wherever it stands.
        message(kind::RENEW, DUID_A, ia_pd(2).raw(&ia_pd(1).finish())),
        // Old prefixes end (§18.3.4); a wish for a length is none.
        message(kind::RENEW, DUID_A, ia(option::IA_PD, 1, &prefix_option("2001:db8:dead::/56"))),
        message(kind::RENEW, DUID_A, ia(option::IA_PD, 1, &prefix_option("::/60"))),
        // Another router took the place of the first.
        message(kind::REBIND, DUID_B, ia_pd(9)),
        message(kind::RELEASE, DUID_A, ia_pd(1)),
        message(kind::SOLICIT, DUID_B, addresses().raw(&ia_pd(9).finish())),
        message(kind::DECLINE, DUID_B, addresses()),
    ]).replace(" DNS x2 domain \"\\u{4}corp\\u{7}example\\0\"", ""), @r"
    type 7: IA25/1( 2001:db8:200::/56 for 1800/3600 ) IA25/2( status 6 ) [Taken]
    type 7: IA25/2( status 6 ) IA25/1( 2001:db8:200::/56 for 1800/3600 )
    type 7: IA25/1( 2001:db8:200::/56 for 1800/3600 2001:db8:dead::/56 for 0/0 )
    type 7: IA25/1( 2001:db8:200::/56 for 1800/3600 )
    type 7: IA25/9( 2001:db8:200::/56 for 1800/3600 ) [Taken]
    type 7: status 0 IA25/1( status 3 )
    type 2: IA3/3( status 2 ) IA4/4( status 2 ) IA25/9( 2001:db8:200::/56 for 1800/3600 )
    type 7: status 0 IA3/3( status 3 ) IA4/4( status 3 )
    ");
}

#[test]
fn who_asks_for_information_or_moved_is_told() {
    let address = |text: &str| {
        let octets = text.parse::<Ipv6Addr>().unwrap().octets();
        let data = [&octets[..], &[0; 8]].concat();
        ia(option::IA_NA, 1, &Writer::default().option(option::IA_ADDRESS, &data))
    };
    let answers = dialogue(&[
        message(kind::INFORMATION_REQUEST, DUID_A, Writer::default()),
        Writer::message(kind::INFORMATION_REQUEST, XID).finish(),
        message(kind::INFORMATION_REQUEST, DUID_A, ia_pd(1)),
        message(kind::CONFIRM, DUID_A, address("2001:db8:100:7::5")),
        message(kind::CONFIRM, DUID_A, address("2001:db8:100:8::5")),
        message(kind::CONFIRM, DUID_A, ia_pd(1)),
    ]);
    insta::assert_snapshot!(answers.replace(" DNS x2 domain \"\\u{4}corp\\u{7}example\\0\"", " DNS"), @r"
    type 7: DNS
    type 7: DNS
    nothing
    type 7: status 0 DNS
    type 7: status 4 DNS
    nothing
    ");
}

/// RFC 8415 §16.
#[test]
fn messages_that_are_not_for_us_get_no_answer() {
    let (ours, theirs) = (settings().duid, [0, 4, 1, 1]);
    for kind in 0..=20 {
        for server in [None, Some(&*ours), Some(&theirs[..])] {
            let mut writer = Writer::message(kind, XID).option(option::CLIENT_ID, DUID_A);
            if let Some(server) = server {
                writer = writer.option(option::SERVER_ID, server);
            }
            let answered = Server::default().answer(&writer.finish(), &settings()).is_some();
            let expected = match kind {
                kind::SOLICIT | kind::REBIND => server.is_none(),
                kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE => {
                    server == Some(&*ours)
                }
                kind::INFORMATION_REQUEST => server != Some(&theirs[..]),
                _ => false,
            };
            assert_eq!(answered, expected, "type {kind}, server {server:?}");
        }
    }
    for length in [0, 2, 131] {
        let message = message(kind::SOLICIT, &vec![1; length], ia_pd(1));
        assert!(Server::default().answer(&message, &settings()).is_none(), "{length}");
    }
    let anonymous = Writer::message(kind::SOLICIT, XID).raw(&ia_pd(1).finish()).finish();
    assert!(Server::default().answer(&anonymous, &settings()).is_none());
    let mut cut = message(kind::SOLICIT, DUID_A, ia_pd(1));
    cut.pop();
    assert!(Server::default().answer(&cut, &settings()).is_none());
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic_and_answers_stay_small(
        kind in 0_u8..14,
        options in prop::collection::vec(
            (prop_oneof![0_u16..30, any::<u16>()], prop::collection::vec(any::<u8>(), 0..60)),
            0..30,
        ),
        whole: Vec<u8>,
    ) {
        let mut server = Server::default();
        let settings = settings();
        let _ = server.answer(&whole, &settings);
        let body = options.iter().fold(Writer::default(), |writer, (code, data)| writer.option(*code, data));
        for body in [body.clone(), body.raw(&ia_pd(1).finish())] {
            if let Some((answer, _)) = server.answer(&message(kind, DUID_A, body), &settings) {
                prop_assert!(answer.len() < 1000);
                prop_assert!(Message::parse(&answer).is_some());
            }
        }
    }
}
