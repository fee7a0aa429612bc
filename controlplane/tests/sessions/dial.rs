//! Our own client and servers that fall silent: what it says, and how long that takes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use controlplane::clock::Clock;
use controlplane::config::Mrru;
use controlplane::control::Control;
use controlplane::dial::outgoing::{CONNECT_TIMEOUT, Ended, Outgoing, Settings, connect};
use controlplane::dial::routes::{Pins, Routes, Through};
use controlplane::kernel::Kernel;
use dataplane::api::Forward;
use protocol::ppp::auth::{Credential, Method};
use protocol::ppp::ccp;
use protocol::pptp::connection::{self as pptp, Connection, Input};
use tokio::net::TcpListener;

use super::server::{PATIENCE, Server};

const LOGIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How far a server goes before it says nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Falls {
    /// It takes TCP.
    Mute,
    /// It establishes the control connection.
    Deaf,
    /// It takes the call.
    Asleep,
}

async fn serves(listener: TcpListener, falls: Falls) {
    let (stream, _) = listener.accept().await.unwrap();
    if falls == Falls::Mute {
        std::future::pending::<()>().await;
    }
    let config = pptp::Config::default();
    let (mut control, _) = Control::new(stream, Connection::server(config), Clock::start());
    loop {
        for event in control.next().await {
            if let pptp::Event::CallRequested { call, .. } = event {
                if falls == Falls::Asleep {
                    let own_call_id = 77.try_into().unwrap();
                    control.input(Input::Accept { call, own_call_id });
                    control.flush().await;
                }
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What a call to such a server ends with, and after how long.
async fn dials(falls: Falls) -> (String, u8, Duration) {
    let server = Server::start("").await;
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serves(listener, falls));
    let settings = Settings {
        host_name: "client".to_owned(),
        user: "ivan".to_owned(),
        credential: Credential::of_password("ivan-secret"),
        methods: vec![Method::MsChapV2],
        encryption: ccp::Policy::default(),
        max_mtu: 1450,
        max_mru: 1450,
        mrru: Mrru::DISABLED,
        keepalive: None,
        login_timeout: LOGIN_TIMEOUT,
        clamp_mss: true,
        tap: None,
        forward: Forward::Fast,
        interface: "nosuch0".to_owned(),
        through: Through::default(),
    };
    let stream = connect(address, CONNECT_TIMEOUT).await.unwrap();
    let began = Instant::now();
    let routes = Routes::new(Kernel::connect().unwrap(), Pins::default());
    let call = Outgoing::place(stream, &settings, &server.daemon.plane, routes, |_| ());
    let Ended { result, .. } = call.await.unwrap().run(std::future::pending()).await;
    let took = began.elapsed();
    serving.abort();
    let error = result.unwrap_err();
    (error.to_string(), error.exit_code(), took)
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_when_the_time_for_the_login_is_over() {
    let silent = "the server did not answer";
    for (falls, expected) in [
        (Falls::Mute, format!("{silent} Start-Control-Connection-Request within 1s")),
        (Falls::Deaf, format!("{silent} Outgoing-Call-Request within 1s")),
        (Falls::Asleep, "TCP up, LCP sent, no GRE received".to_owned()),
    ] {
        let (said, code, took) = dials(falls).await;
        assert!(said.starts_with(&expected), "{said}");
        assert_eq!(code, 8);
        // It takes leave, but waits for nobody.
        assert!(took >= LOGIN_TIMEOUT && took < PATIENCE, "{took:?}");
    }
}
