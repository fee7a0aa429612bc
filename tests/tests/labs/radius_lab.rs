//! The RADIUS lab itself: a real FreeRADIUS answers all methods that radclient can ask with, gives
//! addresses and keeps accounts, and the relay before it does what it says.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use lab::netns::Namespace;
use lab::radius::relay::{self, Relay};
use lab::radius::{FreeRadius, SECRET, Settings, packet, radclient};

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const AUTHENTICATION: SocketAddrV4 = SocketAddrV4::new(HOST, 1812);
const ACCOUNTING: SocketAddrV4 = SocketAddrV4::new(HOST, 1813);
const RELAYED: SocketAddrV4 = SocketAddrV4::new(HOST, 1912);

const USERS: &str = "alice Cleartext-Password := \"secret123\", Pool-Name := \"subscribers\"\n\
    \tMikrotik-Rate-Limit = \"1M/2M\",\n\tClass = \"first\",\n\tClass += \"second\"\n\
    \"Анна\" Cleartext-Password := \"пароль\"\n";

fn ask(namespace: &Namespace, to: SocketAddrV4, user: &str, password: &str) -> String {
    let attributes =
        format!("User-Name=\"{user}\"\n{password}\nNAS-Port=7\nMessage-Authenticator=0x00");
    radclient(namespace, to, "auth", SECRET, &attributes).unwrap().output
}

#[test]
fn freeradius_judges_logins_gives_addresses_and_keeps_accounts() {
    let host = Namespace::new("host").unwrap();
    let mut settings = Settings::new(HOST, USERS);
    settings.pool = (1..=3).map(|host| Ipv4Addr::new(10, 80, 0, host)).collect();
    let mut server = FreeRadius::start(&host, &settings).unwrap();

    for password in
        ["User-Password=secret123", "CHAP-Password=secret123", "MS-CHAP-Password=secret123"]
    {
        let output = ask(&host, AUTHENTICATION, "alice", password);
        assert!(output.contains("Received Access-Accept"), "{output}\n{}", server.log());
        assert!(output.contains("Mikrotik-Rate-Limit = \"1M/2M\""), "{output}");
        assert!(output.contains("Framed-IP-Address = 10.80.0."), "{output}\n{}", server.log());
    }
    assert!(
        ask(&host, AUTHENTICATION, "Анна", "User-Password=\"пароль\"").contains("Access-Accept")
    );
    assert!(ask(&host, AUTHENTICATION, "alice", "User-Password=wrong").contains("Access-Reject"));
    assert_eq!(server.requests().unwrap().len(), 5);
    let leased = settings.pool.iter().map(|address| (*address, "alice".to_owned()));
    assert_eq!(server.leases().unwrap(), leased.collect::<Vec<_>>());

    let stop = "User-Name=alice\nAcct-Status-Type=Stop\nAcct-Session-Id=\"77\"\nNAS-Port=7\n\
        Framed-IP-Address=10.80.0.1\nAcct-Input-Octets=5\nAcct-Input-Gigawords=1";
    let answer = radclient(&host, ACCOUNTING, "acct", SECRET, stop).unwrap();
    assert_eq!(answer.code, "Accounting-Response", "{}\n{}", answer.output, server.log());
    let record = server.await_accounting("the stop", |records| records.first().cloned()).unwrap();
    assert_eq!((record.status(), record.octets("Input").unwrap()), ("Stop", (1 << 32) + 5));
    assert_eq!(server.leases().unwrap()[0].0, settings.pool[1], "the first is free again");

    // A stopped server answers nothing, a frozen one late, and both go on with what they had.
    server.stop().unwrap();
    assert!(!ask(&host, AUTHENTICATION, "alice", "User-Password=secret123").contains("Received"));
    server.start_again(&host).unwrap();
    assert!(ask(&host, AUTHENTICATION, "alice", "User-Password=secret123").contains("Accept"));
    assert_eq!(server.requests().unwrap().len(), 6);
}

#[test]
fn a_relay_delays_answers_and_signs_altered_ones() {
    let host = Namespace::new("host").unwrap();
    let server = FreeRadius::start(&host, &Settings::new(HOST, USERS)).unwrap();
    let through = |fate| Relay::start(&host, RELAYED, AUTHENTICATION, fate).unwrap();
    let right = "User-Password=secret123";

    let hop = through(relay::late(Duration::from_millis(700)));
    let begin = Instant::now();
    assert!(ask(&host, RELAYED, "alice", right).contains("Access-Accept"));
    assert!(begin.elapsed() >= Duration::from_millis(700));
    assert_eq!(hop.requests(), 1);
    drop(hop);

    let _hop = through(relay::altered(|request, answer| {
        packet::altered(answer, request, SECRET, |attributes| {
            // Reply-Message
            attributes.push([&[18, 7][..], b"hello"].concat());
        })
    }));
    // radclient itself checks both authenticators.
    let output = ask(&host, RELAYED, "alice", right);
    assert!(output.contains("Reply-Message = \"hello\""), "{output}\n{}", server.log());
}
