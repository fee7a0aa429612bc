use std::net::Ipv4Addr;
use std::time::Duration;

use protocol::machine::{Action, drive};
use protocol::mppe::{MasterKey, Sender, Strength};
use protocol::mschap::{Exchange, NtHash, NtResponse};
use protocol::ppp::auth::Password;
use protocol::ppp::ccp::{Policy, Strengths};
use protocol::radius::client::{Client, Event, Input, Request, Server, Ticket};
use protocol::radius::{Authenticator, Secret, hiding, seal};
use protocol::time::Instant;

use super::*;
use crate::aaa::profile::templates;
use crate::config::Config;
use crate::terms::{Remote, RemoteAddress};

const IDENTIFIER: u8 = 7;

fn secret() -> Secret {
    Secret::new(*b"testing123")
}

/// What a server of ours answers to a request.
fn answer(code: Code, attributes: impl FnOnce(&mut Attributes, &Authenticator)) -> Answer {
    let server = Server {
        secret: secret(),
        weight: 0,
        timeout: Duration::from_secs(2),
        tries: 3,
        dead_time: Duration::from_secs(30),
        require_message_authenticator: true,
        max_in_flight: 256,
    };
    let mut client = Client::new(vec![server], [1; 32]);
    let request = Request::Access { attributes: Attributes::new(), password: None };
    let mut sent = Vec::new();
    drive(&mut client, Input::Ask { ticket: Ticket(1), request }, Instant::ORIGIN, |action| {
        if let Action::Send(transmit) = action {
            sent.push(transmit);
        }
    });
    let request = Packet::parse(&sent[0].octets).unwrap();
    let authenticator = request.authenticator();
    let mut list = Attributes::new();
    attributes(&mut list, &authenticator);
    let octets =
        seal::response(code, request.identifier(), &authenticator, &list, true, &secret()).unwrap();
    let mut answered = None;
    let input = Input::Datagram { server: 0, socket: 0, octets: &octets };
    drive(&mut client, input, Instant::ORIGIN, |action| {
        if let Action::Event(Event::Answered { answer, .. }) = action {
            answered = Some(answer);
        }
    });
    answered.unwrap()
}

fn attempt(proof: Proof) -> Attempt {
    Attempt { identifier: IDENTIFIER, name: b"User".to_vec(), proof, is_retry: false }
}

/// A login by MS-CHAPv2 with this password, and what a server knows of it.
struct V2 {
    attempt: Attempt,
    master: MasterKey,
    success: String,
}

fn v2() -> V2 {
    let (authenticator_challenge, peer_challenge) = ([3; 16], [4; 16]);
    let exchange = Exchange {
        authenticator_challenge: &authenticator_challenge,
        peer_challenge: &peer_challenge,
        user: b"User",
    };
    let hash = NtHash::of_password("clientPass");
    let nt_response = exchange.nt_response(&hash);
    let success = exchange.authenticator_response(&hash.hash(), &nt_response).to_text();
    V2 {
        master: MasterKey::from_mschapv2(&hash.hash(), &nt_response),
        attempt: attempt(Proof::MsChapV2 { authenticator_challenge, peer_challenge, nt_response }),
        success,
    }
}

impl V2 {
    /// What FreeRADIUS puts into its Access-Accept.
    fn accept(&self, list: &mut Attributes, request: &Authenticator) {
        self.proof(list, IDENTIFIER);
        self.keys(list, request);
    }

    fn proof(&self, list: &mut Attributes, identifier: u8) {
        let value = [&[identifier], self.success.as_bytes()].concat();
        list.octets(names::MS_CHAP2_SUCCESS, &value);
    }

    fn keys(&self, list: &mut Attributes, request: &Authenticator) {
        for (definition, sender, salt) in [
            (names::MS_MPPE_SEND_KEY, Sender::Server, 1),
            (names::MS_MPPE_RECV_KEY, Sender::Client, 2),
        ] {
            let key = self.master.start_key(sender, Strength::Bits128);
            let hidden = hiding::hide_key(key.as_bytes(), salt, request, &secret()).unwrap();
            list.octets(definition, &hidden);
        }
    }
}

fn config() -> Config {
    Config::parse(
        "[[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\n\
         remote-address = \"default\"\ndns-server = [\"9.9.9.9\"]\n\
         [[profile]]\nname = \"gold\"\nchange-tcp-mss = false\n",
    )
    .unwrap()
}

fn defaults(profile: Option<&str>) -> Result<Terms, String> {
    let name = profile.unwrap_or("default");
    templates(&config()).remove(name).ok_or_else(|| format!("no profile `{name}`"))
}

fn judged(answer: &Answer, attempt: &Attempt) -> Verdict {
    verdict(answer, attempt, &attempt.name, None, defaults)
}

fn granted(verdict: Verdict) -> (Terms, Accepted) {
    match verdict {
        Verdict::Granted { terms, accepted } => (*terms, accepted),
        verdict => panic!("{verdict:?}"),
    }
}

fn nothing(verdict: Verdict) -> String {
    match verdict {
        Verdict::Nothing { reason } => reason,
        verdict => panic!("{verdict:?}"),
    }
}

/// Terms of an Access-Accept with these attributes besides those of MS-CHAPv2.
fn terms(more: impl FnOnce(&mut Attributes)) -> Terms {
    let login = v2();
    let answer = answer(Code::AccessAccept, |list, request| {
        login.accept(list, request);
        more(list);
    });
    granted(judged(&answer, &login.attempt)).0
}

/// RFC 2548 §2.3.3, §2.4.2, §2.4.3.
#[test]
fn mschapv2_is_granted_with_the_servers_proof_and_keys() {
    let login = v2();
    let answer = answer(Code::AccessAccept, |list, request| login.accept(list, request));
    let (terms, accepted) = granted(judged(&answer, &login.attempt));
    assert_eq!(accepted.response.unwrap().to_text(), login.success);
    let keys = accepted.keys.unwrap();
    for sender in [Sender::Client, Sender::Server] {
        let session = keys.session_key(sender, Strength::Bits128);
        assert_eq!(session, login.master.session_key(sender, Strength::Bits128));
    }
    assert_eq!((terms.user.as_str(), terms.profile.as_str()), ("User", "default"));
    assert_eq!(terms.remote, Some(Remote::Pool("default".to_owned())));
}

/// An Access-Accept without a well-formed MS-CHAP2-Success of the same identifier is a refusal.
#[test]
fn mschapv2_needs_the_proof_of_this_login() {
    let login = v2();
    let without = answer(Code::AccessAccept, |list, request| login.keys(list, request));
    assert!(nothing(judged(&without, &login.attempt)).contains("no MS-CHAP2-Success"));
    let other = answer(Code::AccessAccept, |list, request| {
        login.proof(list, IDENTIFIER + 1);
        login.keys(list, request);
    });
    let reason = nothing(judged(&other, &login.attempt));
    assert!(reason.contains("MS-CHAP2-Success is not of this login"), "{reason}");
    let garbled = answer(Code::AccessAccept, |list, request| {
        list.octets(names::MS_CHAP2_SUCCESS, b"\x07S=1234");
        login.keys(list, request);
    });
    assert!(nothing(judged(&garbled, &login.attempt)).contains("not of this login"));
}

#[test]
fn without_keys_there_is_no_session_that_must_be_encrypted() {
    let login = v2();
    let answer = answer(Code::AccessAccept, |list, _| login.proof(list, IDENTIFIER));
    let reason = nothing(judged(&answer, &login.attempt));
    assert!(reason.contains("no MS-MPPE-Recv-Key") && reason.contains("use_mppe"), "{reason}");
    let in_the_clear = |profile: Option<&str>| {
        defaults(profile).map(|terms| Terms { encryption: Policy::DENY, ..terms })
    };
    let verdict = verdict(&answer, &login.attempt, b"User", None, in_the_clear);
    assert!(granted(verdict).1.keys.is_none());
}

#[test]
fn keys_that_cannot_be_read_are_never_replaced_by_others() {
    let login = v2();
    let answer = answer(Code::AccessAccept, |list, _| {
        login.proof(list, IDENTIFIER);
        list.octets(names::MS_MPPE_SEND_KEY, &[0x80, 1, 2]).octets(names::MS_MPPE_RECV_KEY, &[1]);
    });
    assert!(nothing(judged(&answer, &login.attempt)).contains("MS-MPPE-Recv-Key"));
}

/// RFC 2548 §2.4.1 and RFC 3079 §2.4.
#[test]
fn mschapv1s_keys_are_made_of_the_nt_key_and_the_challenge() {
    let challenge = [5; 8];
    let attempt =
        attempt(Proof::MsChapV1 { challenge, nt_response: NtResponse::from_bytes([6; 24]) });
    let hash_hash = NtHash::of_password("clientPass").hash();
    let answer = answer(Code::AccessAccept, |list, request| {
        let plain = [&[0; 8], &hash_hash.as_bytes()[..], &[0; 8]].concat();
        let hidden = hiding::hide(&plain, request, &secret()).unwrap();
        list.octets(names::MS_CHAP_MPPE_KEYS, &hidden);
    });
    let (_, accepted) = granted(judged(&answer, &attempt));
    assert_eq!(accepted.keys, Some(StartKeys::from_mschapv1(&hash_hash, &challenge)));
    assert!(accepted.response.is_none());
}

/// RFC 2865 §5.2, §5.3, §5.40; RFC 2548 §2.1.2, §2.1.3, §2.3.2.
#[test]
fn each_method_is_proven_by_its_own_attributes() {
    let proven = |proof: Proof| {
        let mut list = Attributes::new();
        let password = prove(&attempt(proof), &mut list);
        (password.map(|password| password.to_vec()), list.as_bytes().unwrap().to_vec())
    };
    let password = Password::from(&b"secret"[..]);
    assert_eq!(proven(Proof::Pap { password }), (Some(b"secret".to_vec()), Vec::new()));
    let chap = Proof::ChapMd5 { challenge: [1; 16], response: [2; 16] };
    let expected = [&[3, 19, IDENTIFIER][..], &[2; 16], &[60, 18], &[1; 16]].concat();
    assert_eq!(proven(chap), (None, expected));
    let nt_response = NtResponse::from_bytes([9; 24]);
    let v1 = Proof::MsChapV1 { challenge: [1; 8], nt_response };
    let vendor = |number: u8, value: &[u8]| {
        let length = u8::try_from(value.len()).unwrap();
        [&[26, length + 8, 0, 0, 1, 0x37, number, length + 2][..], value].concat()
    };
    let response = [&[IDENTIFIER, 1][..], &[0; 24], &[9; 24]].concat();
    assert_eq!(proven(v1).1, [vendor(11, &[1; 8]), vendor(1, &response)].concat());
    let v2 =
        Proof::MsChapV2 { authenticator_challenge: [1; 16], peer_challenge: [2; 16], nt_response };
    let response = [&[IDENTIFIER, 0][..], &[2; 16], &[0; 8], &[9; 24]].concat();
    assert_eq!(response.len(), 50);
    assert_eq!(proven(v2).1, [vendor(11, &[1; 16]), vendor(25, &response)].concat());
}

fn rejected(more: impl FnOnce(&mut Attributes), attempt: &Attempt) -> Verdict {
    judged(&answer(Code::AccessReject, |list, _| more(list)), attempt)
}

#[test]
fn a_reject_is_a_wrong_password_unless_it_says_more() {
    let attempt = v2().attempt;
    let Verdict::Refused { refusal, count, reason, retry, message } = rejected(|_| {}, &attempt)
    else {
        panic!("not refused")
    };
    assert_eq!((refusal, count), (Refusal::WrongPassword, Count::WrongPassword));
    assert_eq!((reason.as_str(), retry, message), ("RADIUS refuses: wrong password", None, None));
}

/// RFC 2548 §2.1.5 with RFC 2759 §6, RFC 2865 §5.18.
#[test]
fn a_rejects_error_and_message_are_passed_on() {
    let attempt = v2().attempt;
    let hours = |list: &mut Attributes| {
        list.octets(names::MS_CHAP_ERROR, b"\x07E=646 R=0 C=00 V=3 M=Come later")
            .text(names::REPLY_MESSAGE, "Nights only");
    };
    let Verdict::Refused { refusal, count, reason, retry, message } = rejected(hours, &attempt)
    else {
        panic!("not refused")
    };
    assert_eq!((refusal, count), (Refusal::RestrictedHours, Count::RadiusRefused));
    assert_eq!(reason, "RADIUS refuses: not allowed at this hour (Nights only) (Come later)");
    assert_eq!((retry, message.as_deref()), (None, Some("Nights only")));
}

/// RFC 2759 §6's codes: the client is told the same, and the log says it in words.
#[test]
fn each_error_of_a_reject_is_told_by_its_code() {
    for (code, expected, words) in [
        (646, Refusal::RestrictedHours, "not allowed at this hour"),
        (647, Refusal::Disabled, "account disabled"),
        (648, Refusal::PasswordExpired, "password expired"),
        (649, Refusal::NoDialIn, "no permission to dial in"),
        (691, Refusal::WrongPassword, "wrong password"),
    ] {
        let value = format!("\x07E={code} R=0 C=00 V=3");
        let error = |list: &mut Attributes| _ = list.octets(names::MS_CHAP_ERROR, value.as_bytes());
        match rejected(error, &v2().attempt) {
            Verdict::Refused { refusal, reason, .. } => {
                assert_eq!((refusal, refusal.code()), (expected, code));
                assert_eq!(reason, format!("RADIUS refuses: {words}"));
            }
            verdict => panic!("{verdict:?}"),
        }
    }
}

/// RFC 2759 §6: with R=1 the challenge of the next try is in C.
#[test]
fn another_try_has_the_challenge_that_the_server_chose() {
    let retry = |text: &[u8], attempt: &Attempt| {
        let value = [&[IDENTIFIER], text].concat();
        match rejected(|list| _ = list.octets(names::MS_CHAP_ERROR, &value), attempt) {
            Verdict::Refused { retry, .. } => retry,
            verdict => panic!("{verdict:?}"),
        }
    };
    let v2 = v2().attempt;
    let sixteen = b"E=691 R=1 C=000102030405060708090a0b0c0d0e0f V=3";
    assert_eq!(retry(sixteen, &v2), Some((0..16).collect()));
    assert_eq!(retry(b"E=691 R=0 C=000102030405060708090a0b0c0d0e0f V=3", &v2), None);
    // A challenge of the other method's length is none.
    assert_eq!(retry(b"E=691 R=1 C=0001020304050607 V=3", &v2), None);
    let nt_response = NtResponse::from_bytes([0; 24]);
    let v1 = attempt(Proof::MsChapV1 { challenge: [0; 8], nt_response });
    assert_eq!(retry(b"E=691 R=1 C=0001020304050607 V=2", &v1), Some((0..8).collect()));
    let other = Attempt { identifier: IDENTIFIER + 1, ..v2 };
    assert_eq!(retry(sixteen, &other), None);
}

#[test]
fn a_challenge_is_no_failure_of_the_user() {
    let answer = answer(Code::AccessChallenge, |list, _| {
        list.text(names::REPLY_MESSAGE, "Token?").octets(names::STATE, &[1]);
    });
    assert!(nothing(judged(&answer, &v2().attempt)).contains("Access-Challenge"));
}

/// RFC 2865 §5.
#[test]
fn an_accept_with_an_attribute_of_wrong_length_lets_nobody_in() {
    let login = v2();
    let answer = answer(Code::AccessAccept, |list, request| {
        login.accept(list, request);
        list.octets(names::SESSION_TIMEOUT, &[0, 0, 60]);
    });
    let reason = nothing(judged(&answer, &login.attempt));
    assert!(reason.contains("Session-Timeout has 3 octets"), "{reason}");
}

/// RFC 2865 §5.6 and §5.7: what cannot be served is an Access-Reject.
#[test]
fn another_service_is_a_refusal() {
    let login = v2();
    for definition in [names::SERVICE_TYPE, names::FRAMED_PROTOCOL] {
        let answer = answer(Code::AccessAccept, |list, request| {
            login.accept(list, request);
            list.integer(definition, 3);
        });
        match judged(&answer, &login.attempt) {
            Verdict::Refused { refusal: Refusal::NoDialIn, count, .. } => {
                assert_eq!(count, Count::RadiusRefused);
            }
            verdict => panic!("{verdict:?}"),
        }
    }
    let framed = terms(|list| {
        list.integer(names::SERVICE_TYPE, 2).integer(names::FRAMED_PROTOCOL, 1);
    });
    assert_eq!(framed.profile, "default");
}

#[test]
fn mikrotik_group_names_the_profile() {
    let gold = terms(|list| _ = list.text(names::MIKROTIK_GROUP, "gold"));
    assert_eq!((gold.profile.as_str(), gold.clamp_mss), ("gold", false));
    let login = v2();
    let answer = answer(Code::AccessAccept, |list, request| {
        login.accept(list, request);
        list.text(names::MIKROTIK_GROUP, "silver");
    });
    assert!(nothing(judged(&answer, &login.attempt)).contains("no profile `silver`"));
}

/// RFC 2865 §5.8.
#[test]
fn framed_ip_address_has_two_values_that_are_none() {
    let remote = |address: [u8; 4], pool: Option<&str>| {
        terms(|list| {
            list.address(names::FRAMED_IP_ADDRESS, address.into());
            if let Some(pool) = pool {
                list.text(names::FRAMED_POOL, pool);
            }
        })
        .remote
        .unwrap()
    };
    let pool = |name: &str| Remote::Pool(name.to_owned());
    assert_eq!(remote([10, 1, 2, 3], None), Remote::Address(Ipv4Addr::new(10, 1, 2, 3)));
    assert_eq!(remote([255, 255, 255, 254], None), pool("default"));
    assert_eq!(remote([255, 255, 255, 254], Some("big")), pool("big"));
    let choice = |pool: &str| Remote::PeerChoice(Some(RemoteAddress::Pool(pool.to_owned())));
    assert_eq!(remote([255, 255, 255, 255], None), choice("default"));
    assert_eq!(remote([255, 255, 255, 255], Some("big")), choice("big"));
    assert_eq!(remote([10, 1, 2, 3], Some("big")), Remote::Address(Ipv4Addr::new(10, 1, 2, 3)));
    let login = v2();
    let answer = answer(Code::AccessAccept, |list, request| {
        login.accept(list, request);
        list.address(names::FRAMED_IP_ADDRESS, [224, 0, 0, 1].into());
    });
    assert!(nothing(judged(&answer, &login.attempt)).contains("no address of a host"));
}

#[test]
fn all_that_an_accept_gives_is_in_the_terms() {
    let terms = terms(|list| {
        list.text(names::USER_NAME, "user@realm")
            .address(names::FRAMED_IP_ADDRESS, [10, 1, 2, 3].into())
            .address(names::FRAMED_IP_NETMASK, [255, 255, 255, 248].into())
            .text(names::FRAMED_ROUTE, "192.168.7.0/24 0.0.0.0 1")
            .text(names::FRAMED_ROUTE, "192.168.8.0/24 10.1.2.4")
            .address(names::MS_PRIMARY_DNS_SERVER, [1, 1, 1, 1].into())
            .address(names::MS_SECONDARY_DNS_SERVER, [8, 8, 8, 8].into())
            .address(names::MS_PRIMARY_NBNS_SERVER, [10, 0, 0, 2].into())
            .integer(names::FRAMED_MTU, 1300)
            .integer(names::SESSION_TIMEOUT, 3600)
            .integer(names::IDLE_TIMEOUT, 0)
            .integer(names::ACCT_INTERIM_INTERVAL, 20)
            .integer(names::PORT_LIMIT, 2)
            .text(names::FILTER_ID, "children.in")
            .octets(names::CLASS, b"first")
            .octets(names::CLASS, &[0, 255])
            .text(names::MIKROTIK_RATE_LIMIT, "2M/10M 4M/20M 1M/5M 8/8 5 512k/1M")
            .integer(names::MIKROTIK_RECV_LIMIT, 5)
            .integer(names::MIKROTIK_RECV_LIMIT_GIGAWORDS, 1)
            .integer(names::MIKROTIK_XMIT_LIMIT, 1000)
            .text(names::MIKROTIK_ADDRESS_LIST, "debtors")
            .integer(names::WISPR_BANDWIDTH_MAX_UP, 1);
    });
    insta::assert_debug_snapshot!(terms);
}

/// RFC 2865 §5.1.
#[test]
fn accounts_have_the_name_that_the_server_gives() {
    assert_eq!(terms(|_| {}).account_name, None);
    let same = terms(|list| _ = list.text(names::USER_NAME, "User"));
    assert_eq!((same.user.as_str(), same.account_name), ("User", None));
    let other = terms(|list| _ = list.octets(names::USER_NAME, b"\xE8@isp"));
    assert_eq!(
        (other.user.as_str(), other.account_name),
        ("\\xe8@isp", Some(b"\xE8@isp".to_vec()))
    );
}

#[test]
fn wispr_limits_where_mikrotik_does_not() {
    let limit = terms(|list| {
        list.integer(names::WISPR_BANDWIDTH_MAX_UP, 1_000_000)
            .integer(names::WISPR_BANDWIDTH_MAX_DOWN, 0);
    })
    .rate_limit;
    assert_eq!(limit.to_string(), "1M/0");
}

#[test]
fn what_cannot_be_used_leaves_the_rest_alone() {
    let terms = terms(|list| {
        list.text(names::MIKROTIK_RATE_LIMIT, "fast")
            .text(names::FRAMED_ROUTE, "somewhere")
            .address(names::FRAMED_IP_NETMASK, [255, 0, 255, 0].into())
            .integer(names::FRAMED_MTU, 10)
            .integer(names::SESSION_TIMEOUT, 60);
    });
    assert!(terms.rate_limit.is_unlimited() && terms.routes.is_empty());
    assert_eq!((terms.netmask, terms.mtu), (None, Some(68)));
    assert_eq!(terms.session_timeout, Some(Duration::from_secs(60)));
}

/// RFC 2548 §2.4.4 and §2.4.5: RADIUS may tighten, and never loosen.
#[test]
fn radius_may_only_tighten_encryption() {
    let all = Strengths::ALL;
    let strong = Strengths::BITS_128;
    let tightened = |local: Policy, policy: Option<u32>, types: Option<u32>| {
        let answer = answer(Code::AccessAccept, |list, _| {
            if let Some(policy) = policy {
                list.integer(names::MS_MPPE_ENCRYPTION_POLICY, policy);
            }
            if let Some(types) = types {
                list.integer(names::MS_MPPE_ENCRYPTION_TYPES, types);
            }
        });
        encryption::tighten(local, &answer.packet()).map_err(|error| error.to_string())
    };
    // FreeRADIUS's own values: allowed, 40 and 128 bit.
    assert_eq!(tightened(Policy::require(strong), Some(1), Some(6)), Ok(Policy::require(strong)));
    assert_eq!(tightened(Policy::require(all), Some(1), Some(4)), Ok(Policy::require(strong)));
    assert_eq!(tightened(Policy::require(all), Some(1), Some(6)), Ok(Policy::require(all)));
    assert_eq!(tightened(Policy::require(all), None, None), Ok(Policy::require(all)));
    assert_eq!(tightened(Policy::DENY, Some(1), Some(6)), Ok(Policy::DENY));
    assert_eq!(tightened(Policy::DENY, Some(2), Some(4)), Ok(Policy::require(strong)));
    assert_eq!(
        tightened(Policy::require(strong), Some(2), Some(2)),
        Err("its MS-MPPE-Encryption-Types allow none of the key strengths that are allowed here \
             (MPPE-128)"
            .to_owned())
    );
}

#[test]
fn names_are_asked_about_as_they_are_unless_realms_are_settled_here() {
    let asked = |name: &str, strip_realm, realm: &str| {
        let aaa = Aaa { strip_realm, default_realm: realm.to_owned(), ..Aaa::default() };
        String::from_utf8(asked_name(name.as_bytes(), &aaa)).unwrap()
    };
    assert_eq!(asked("DOM\\ivan@isp", false, ""), "DOM\\ivan@isp");
    assert_eq!(asked("DOM\\ivan@isp", true, ""), "ivan");
    assert_eq!(asked("ivan", false, "isp"), "ivan@isp");
    assert_eq!(asked("ivan@home", false, "isp"), "ivan@home");
    assert_eq!(asked("DOM\\ivan", false, "isp"), "DOM\\ivan");
    assert_eq!(asked("DOM\\ivan@home", true, "isp"), "ivan@isp");
    assert_eq!(asked("a@b@c", true, ""), "a@b");
    assert_eq!([asked("@b", true, ""), asked("D\\", true, "isp")], ["@b", "D\\"]);
    // Octets that are no UTF-8 stay what they are.
    assert_eq!(asked_name(b"\xE8\xE2", &Aaa::default()), b"\xE8\xE2");
}

#[test]
fn hooks_see_no_secrets() {
    let terms = terms(|list| _ = list.integer(names::SESSION_TIMEOUT, 60));
    assert!(terms.radius.contains(&("Session-Timeout".to_owned(), "60".to_owned())));
    assert!(!terms.radius.iter().any(|(name, _)| name.contains("Key")), "{:?}", terms.radius);
}
