//! The RADIUS client on real sockets, against servers on loopback that behave, and that do not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers may panic")]

mod server;

use std::collections::HashSet;
use std::time::Duration;

use controlplane::config::Config;
use controlplane::radius::Client;
use controlplane::radius::counters::Count;
use controlplane::radius::probe::{self, Health};
use protocol::radius::client::{Answer, Failure};
use protocol::radius::dictionary::{ACCT_DELAY_TIME, ACCT_STATUS_TYPE, USER_NAME, USER_PASSWORD};
use protocol::radius::{Attributes, Code, Presence, hiding};
use server::{Server, secret};
use zeroize::Zeroizing;

fn client(sections: &[String]) -> Client {
    let text = format!("[aaa]\nuse-radius = true\n{}", sections.concat());
    Client::start(&Config::parse(&text).unwrap()).unwrap()
}

async fn ask(client: &Client, user: &str) -> Result<Answer, Failure> {
    let mut attributes = Attributes::new();
    attributes.text(USER_NAME, user);
    client.authenticate(attributes, None).await
}

fn code(answer: Result<Answer, Failure>) -> Result<Code, Failure> {
    answer.map(|answer| answer.packet().code())
}

#[tokio::test]
async fn a_request_is_protected_and_its_password_hidden() {
    let server = Server::friendly().await;
    let client = client(&[server.section("")]);
    let mut attributes = Attributes::new();
    attributes.text(USER_NAME, "alice");
    let password = Zeroizing::new("пароль".as_bytes().to_vec());
    let answer = client.authenticate(attributes, Some(password)).await;
    assert_eq!(code(answer), Ok(Code::AccessAccept));
    let got = server.got();
    let packet = got[0].packet();
    assert_eq!(packet.verify_access_request(&secret()), Ok(Presence::Present));
    let hidden = packet.first(USER_PASSWORD).unwrap();
    let plain = hiding::reveal(hidden, &packet.authenticator(), &secret()).unwrap();
    assert_eq!(plain.strip_suffix(&[0; 4]), Some("пароль".as_bytes()));
}

#[tokio::test]
async fn whatever_is_not_believed_is_counted_and_the_true_answer_awaited() {
    let mut first = None;
    let server = Server::start(move |request, _| {
        let good = request.accept();
        let mut forged = good.clone();
        forged[12] ^= 0x40;
        let mut answers = vec![
            b"not RADIUS".to_vec(),
            good[..good.len() - 1].to_vec(),
            [&good[..2], &[0xFF, 0xFF], &good[4..]].concat(),
            forged,
            request.answer(Code::AccountingResponse, &Attributes::new()),
        ];
        // The answer of the request before, captured and sent again.
        answers.extend(first.replace(good.clone()));
        answers.push(good.clone());
        answers.push(good);
        answers
    })
    .await;
    let client = client(&[server.section("")]);
    for _ in 0..2 {
        assert_eq!(code(ask(&client, "alice").await), Ok(Code::AccessAccept));
    }
    assert_eq!(code(ask(&client, "alice").await), Ok(Code::AccessAccept));
    let counters = client.counters();
    assert_eq!(counters.get(Count::Malformed), 9);
    assert_eq!(counters.get(Count::Forged), 6);
    assert_eq!(counters.get(Count::Answered), 3);
    // Replays, and each answer's double; the last one may still be on its way.
    assert!((4..=5).contains(&counters.get(Count::Unexpected)));
    assert_eq!(server.got().len(), 3, "nothing had to be sent again");
}

/// RFC 2865 §2.5.
#[tokio::test]
async fn a_slow_server_gets_the_same_octets_again() {
    let server = Server::start(|request, before| match before.len() {
        0 => Vec::new(),
        _ => vec![request.accept()],
    })
    .await;
    let client = client(&[server.section("timeout = \"1s\"")]);
    assert_eq!(code(ask(&client, "alice").await), Ok(Code::AccessAccept));
    let got = server.got();
    assert_eq!(got.len(), 2);
    assert_eq!((&got[0].octets, got[0].from), (&got[1].octets, got[1].from));
}

#[tokio::test]
async fn when_nobody_answers_that_is_said() {
    let server = Server::silent().await;
    // Nothing at all listens at this port.
    let gone = Server::silent().await;
    let nobody = gone.section("timeout = \"1s\"\ntries = 1");
    drop(gone);
    tokio::task::yield_now().await;
    let client = client(&[nobody, server.section("timeout = \"1s\"\ntries = 1")]);
    assert_eq!(code(ask(&client, "alice").await), Err(Failure::NoAnswer));
    assert_eq!(server.got().len(), 1);
    assert_eq!(client.counters().get(Count::NoAnswer), 1);
    assert_eq!(Failure::NoAnswer.to_string(), "RADIUS does not answer");
}

/// The first server falls silent while it has requests; the second one gets them all.
#[tokio::test]
async fn what_a_dying_server_has_goes_to_the_next_one() {
    let first = Server::start(
        |request, before| {
            if before.len() < 20 { vec![request.accept()] } else { Vec::new() }
        },
    )
    .await;
    let second = Server::friendly().await;
    let client =
        client(&[first.section("timeout = \"1s\"\ntries = 2"), second.section("timeout = \"1s\"")]);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let client = client.clone();
        tasks.spawn(async move { code(ask(&client, &format!("user{number}")).await) });
    }
    while let Some(answer) = tasks.join_next().await {
        assert_eq!(answer.unwrap(), Ok(Code::AccessAccept));
    }
    let users: HashSet<String> = second.got().iter().map(server::Request::user).collect();
    assert_eq!(users.len(), 180);
    assert_eq!(client.counters().get(Count::Dead), 1);
    // Whoever comes now does not wait for the dead one.
    let before = first.got().len();
    assert_eq!(code(ask(&client, "late").await), Ok(Code::AccessAccept));
    assert_eq!(first.got().len(), before);
}

/// Identifiers have 8 bits, so 2,000 requests at once need eight ports.
#[tokio::test]
async fn two_thousand_requests_are_in_flight_at_once() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    // A thread of its own, so that the kernel's buffer does not overflow.
    let server = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut places = HashSet::new();
        let mut held: Vec<server::Request> = Vec::new();
        while held.len() < 2000 {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let request = server::Request { octets: buffer[..length].to_vec(), from };
            if request.user() == "warm-up" {
                socket.send_to(&request.accept(), from).unwrap();
            } else if places.insert((from, request.octets[1])) {
                held.push(request);
            }
        }
        // The last one first.
        for request in held.iter().rev() {
            socket.send_to(&request.accept(), request.from).unwrap();
        }
        // Whose answer was lost asks again.
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let request = server::Request { octets: buffer[..length].to_vec(), from };
            socket.send_to(&request.accept(), from).unwrap();
        }
        places
    });
    let client = client(&[format!(
        "[[radius]]\naddress = \"127.0.0.1\"\nsecret = \"testing123\"\n\
         authentication-port = {port}\ntimeout = \"1s\"\ntries = 8\n"
    )]);
    for _ in 0..2000 {
        assert_eq!(code(ask(&client, "warm-up").await), Ok(Code::AccessAccept));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..2000 {
        let client = client.clone();
        tasks.spawn(async move { code(ask(&client, &format!("user{number}")).await) });
    }
    while let Some(answer) = tasks.join_next().await {
        assert_eq!(answer.unwrap(), Ok(Code::AccessAccept));
    }
    let places = tokio::task::spawn_blocking(|| server.join()).await.unwrap().unwrap();
    assert_eq!(places.len(), 2000);
    let ports: HashSet<u16> = places.iter().map(|(from, _)| from.port()).collect();
    assert_eq!(ports.len(), 8);
}

#[tokio::test]
async fn a_login_that_was_given_up_is_never_asked_about() {
    let server = Server::start(|request, _| match request.user().as_str() {
        "first" => Vec::new(),
        _ => vec![request.accept()],
    })
    .await;
    let client = client(&[server.section("max-in-flight = 1")]);
    let first = tokio::spawn({
        let client = client.clone();
        async move { code(ask(&client, "first").await) }
    });
    server.wait_for(1).await;
    let given_up = tokio::time::timeout(Duration::from_millis(50), ask(&client, "given up")).await;
    assert!(given_up.is_err());
    first.abort();
    assert_eq!(code(ask(&client, "last").await), Ok(Code::AccessAccept));
    let users: Vec<String> = server.got().iter().map(server::Request::user).collect();
    assert_eq!(users, ["first", "last"]);
    assert_eq!(client.counters().get(Count::CalledOff), 2);
}

/// CVE-2024-3596.
#[tokio::test]
async fn an_answer_without_message_authenticator_counts_where_it_may() {
    let unprotected = |request: &server::Request, _: &[server::Request]| {
        vec![request.signed(Code::AccessAccept, &Attributes::new(), false)]
    };
    let server = Server::start(unprotected).await;
    let strict = client(&[server.section("")]);
    assert_eq!(code(ask(&strict, "alice").await), Err(Failure::Unprotected));
    assert_eq!(strict.counters().get(Count::Unprotected), 1);
    let lax = client(&[server.section("require-message-authenticator = false")]);
    assert_eq!(code(ask(&lax, "alice").await), Ok(Code::AccessAccept));
}

#[tokio::test]
async fn requests_come_from_the_address_that_was_chosen() {
    let server = Server::friendly().await;
    let client = client(&[server.section("src-address = \"127.0.0.9\"")]);
    assert_eq!(code(ask(&client, "alice").await), Ok(Code::AccessAccept));
    assert_eq!(server.got()[0].from.ip().to_string(), "127.0.0.9");
}

/// RFC 2866 §3 and §5.2.
#[tokio::test]
async fn accounts_are_signed_and_say_how_old_they_are() {
    let server = Server::start(|request, _| {
        vec![request.answer(Code::AccountingResponse, &Attributes::new())]
    })
    .await;
    let client = client(&[server.section("")]);
    let mut attributes = Attributes::new();
    attributes.integer(ACCT_STATUS_TYPE, 2);
    assert_eq!(client.account(attributes, Duration::from_secs(77)).await, Ok(()));
    let got = server.got();
    let packet = got[0].packet();
    assert_eq!(packet.verify_hashed_request(&secret()), Ok(Presence::Absent));
    let delay = packet.value(ACCT_DELAY_TIME).unwrap().and_then(|value| value.number());
    assert_eq!(delay, Some(77));
}

#[tokio::test]
async fn servers_are_asked_only_what_they_are_for() {
    let server = Server::friendly().await;
    let port = server.address.port();
    let text = format!(
        "[[radius]]\naddress = \"127.0.0.1\"\nsecret = \"x\"\nauthentication-port = 0\n\
         accounting-port = {port}\n"
    );
    let client = Client::start(&Config::parse(&text).unwrap()).unwrap();
    assert!(!client.judges() && client.accounts());
    assert_eq!(code(ask(&client, "alice").await), Err(Failure::NoAnswer));
    assert!(server.got().is_empty());
}

/// RFC 5997: what `penstock check` asks.
#[tokio::test]
async fn a_probe_tells_the_living_the_silent_and_those_with_another_secret() {
    let answer = |request: &server::Request, protected| {
        vec![request.signed(Code::AccessAccept, &Attributes::new(), protected)]
    };
    let well = Server::start(move |request, _| answer(request, true)).await;
    let bare = Server::start(move |request, _| answer(request, false)).await;
    let other = Server::start(|request, _| {
        let mut answer = request.accept();
        answer[5] ^= 1;
        vec![answer]
    })
    .await;
    let silent = Server::silent().await;
    let servers = [&well, &bare, &other, &silent];
    // Who believes an answer waits no longer; the others are asked until the time is over.
    let timeouts = ["5s", "5s", "1s", "100ms"].map(|time| format!("timeout = \"{time}\""));
    let sections: Vec<_> =
        servers.iter().zip(timeouts).map(|(server, timeout)| server.section(&timeout)).collect();
    let text = format!("[aaa]\nuse-radius = true\naccounting = false\n{}", sections.concat());
    let found = probe::all(&Config::parse(&text).unwrap(), &Attributes::new()).await;
    let health: Vec<Health> = found.iter().map(|(_, health)| *health).collect();
    assert_eq!(health, [Health::Well, Health::Unprotected, Health::WrongSecret, Health::Silent]);
    assert!(found.iter().zip(servers).all(|((address, _), server)| *address == server.address));
    assert_eq!(well.got()[0].packet().code(), Code::StatusServer);
}
