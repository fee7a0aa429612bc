//! Peers that stall, lie or send garbage: each ends alone, leaves nothing, and costs what it may.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use controlplane::daemon::Daemon;
use protocol::ppp::link::Step;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::peer::{Caller, Peer, outer};
use super::server::{PATIENCE, Server};

/// Enough for honest steps on a busy machine, and soon over for those who stall.
const QUICK: &str = "[limits]\nlogin-timeout = \"5s\"\n";

async fn connect(server: &Server, host: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(Ipv4Addr::new(127, 0, 0, host).into(), 0)).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// Reads until the daemon closes the connection.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut read)).await.unwrap();
    // A reset is an end as well.
    let _ = closed;
    read
}

#[tokio::test]
async fn a_client_that_stalls_is_cut_off_wherever_it_stalls() {
    let server = Server::start(QUICK).await;
    let caller = |host| Caller::new(host, "ivan", "ivan-secret");

    let silent = async {
        until_closed(&mut connect(&server, 2).await).await;
    };
    let without_a_call = async {
        let mut idle = Peer::connect(&server, caller(3)).await;
        idle.established().await;
        assert!(idle.closed().await.starts_with("stopped by the peer"));
    };
    let without_ppp = async {
        let mut mute = Peer::connect(&server, caller(4)).await;
        mute.call(7).await;
        mute.cleared().await;
    };
    let after = async |host, step| {
        let mut stalled = Peer::connect(&server, caller(host)).await;
        stalled.call(7).await;
        stalled.open().await;
        stalled.step(step).await;
        // It still hears what is said on TCP, but PPP is silent from here on.
        while !stalled.control.is_closed() {
            stalled.control.next().await;
        }
    };
    let all = async {
        tokio::join!(
            silent,
            without_a_call,
            without_ppp,
            after(5, Step::LcpUp),
            after(6, Step::Authenticated),
            after(7, Step::CcpUp),
        )
    };
    tokio::time::timeout(2 * PATIENCE, all).await.unwrap();
    server.until_empty().await;
    assert_eq!(server.count("logins"), 0);
    assert_eq!(server.count("login_gre_filtered"), 1, "of one call not a single GRE packet came");
}

#[tokio::test]
async fn half_open_connections_are_limited_for_each_address() {
    let server = Server::start("[limits]\nmax-half-open-per-address = 3\n").await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(connect(&server, 2).await);
    }
    server.until("three", |daemon| daemon.stats().control["connections"] == 3).await;
    for _ in 0..50 {
        let mut refused = connect(&server, 2).await;
        assert!(until_closed(&mut refused).await.is_empty());
    }
    assert_eq!(server.count("refused_half_open_per_address"), 50);
    // Another address is served meanwhile, and the first one after its connections ended.
    let mut peer = Peer::connect(&server, Caller::new(3, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.unwrap();
    drop(open);
    let wait = async {
        loop {
            let mut again = connect(&server, 2).await;
            let mut octet = [0];
            let closed = tokio::time::timeout(Duration::from_millis(200), again.read(&mut octet));
            if closed.await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let server = Server::start("").await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.unwrap();
    let garbage: [Vec<u8>; 4] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 156],
        vec![0xFF; 4096],
        // The right cookie, and a length that no message has.
        vec![0x00, 0x0C, 0x00, 0x01, 0x1A, 0x2B, 0x3C, 0x4D, 0x00, 0x01, 0x00, 0x00],
    ];
    for octets in &garbage {
        let mut stream = connect(&server, 3).await;
        stream.write_all(octets).await.unwrap();
        until_closed(&mut stream).await;
    }
    server.until("all seen", |d| d.stats().control["protocol_violations"] == 4).await;
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    peer.hang_up().await;
    server.until_empty().await;
}

#[tokio::test]
async fn foreign_gre_reaches_no_session() {
    let server = Server::start("").await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.unwrap();
    let gre = server.gre();
    let terminate = [0xFF, 0x03, 0xC0, 0x21, 5, 1, 0, 4];
    let victim = Ipv4Addr::new(127, 0, 0, 2);
    let stranger = Ipv4Addr::new(127, 0, 0, 66);
    for call_id in 0..=u16::MAX {
        // Every Call ID there is, from an address that has no call.
        gre.send(&outer(stranger, Ipv4Addr::LOCALHOST, call_id, 1, &terminate)).await.unwrap();
    }
    // Truncated at every length.
    let whole = outer(victim, Ipv4Addr::LOCALHOST, 1, 1, &terminate);
    for len in 0..whole.len() {
        gre.send(&whole[..len]).await.unwrap();
    }
    server
        .until("all refused", |daemon| {
            let drops = daemon.stats().drops;
            drops["tunnel_unknown"] + drops["peer_foreign"] >= 1 << 16
        })
        .await;
    assert_eq!(server.count("peer_foreign"), 1);
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    peer.hang_up().await;
    server.until_empty().await;
}

#[tokio::test]
async fn ppp_garbage_changes_nothing() {
    let server = Server::start("").await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    let network = peer.log_in(7).await.unwrap();
    for frame in
        [&[][..], &[0xC0], &[0xC0, 0x21], &[0xC0, 0x21, 1, 1, 0xFF, 0xFF], &[0xC2, 0x23, 3]]
    {
        peer.send_ppp(frame).await;
    }
    let far = Ipv4Addr::new(203, 0, 113, 80);
    let packet = super::peer::ip(253, network.local, far, b"well");
    peer.send(&packet).await;
    let mut buffer = [0; 2048];
    let len = tokio::time::timeout(PATIENCE, server.core.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(buffer[..len], packet);
    peer.hang_up().await;
    server.until_empty().await;
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_read_no_further() {
    let server = Server::start("").await;
    let mut peer = Peer::connect(&server, Caller::new(3, "ivan", "ivan-secret")).await;
    let mut greedy = connect(&server, 2).await;
    // Start, then echoes without end, whose answers are never read.
    let start =
        protocol::pptp::message::Message::StartRequest(protocol::pptp::message::StartRequest {
            version: protocol::pptp::VERSION,
            sender: protocol::pptp::message::Sender {
                framing_capabilities: 1,
                bearer_capabilities: 1,
                maximum_channels: 0,
                firmware_revision: 1,
                host_name: protocol::pptp::message::Text::EMPTY,
                vendor: protocol::pptp::message::Text::EMPTY,
            },
        });
    greedy.write_all(&start.emit()).await.unwrap();
    let echo =
        protocol::pptp::message::Message::EchoRequest(protocol::pptp::message::EchoRequest {
            identifier: 1,
        });
    let burst = echo.emit().repeat(1000);
    // The kernel's buffers fill, then the daemon stops to read: the writer is stuck.
    let stuck = async {
        let in_time = Duration::from_millis(500);
        while let Ok(done) = tokio::time::timeout(in_time, greedy.write_all(&burst)).await {
            done.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, stuck).await.expect("it is read on and on");
    peer.log_in(7).await.unwrap();
}

#[tokio::test]
async fn logins_wait_for_their_turn_in_order_and_whoever_hangs_up_leaves_the_line() {
    let server = Server::start("[limits]\nmax-starting = 1\nlogin-queue-timeout = \"1s\"\n").await;
    // The first has its turn and does nothing with it.
    let mut dawdler = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    dawdler.call(7).await;
    let mut gone = Peer::connect(&server, Caller::new(3, "ivan", "ivan-secret")).await;
    gone.ask_for_call(7).await;
    server.until("a queue", |daemon| daemon.starting.queue().waiting == 1).await;
    drop(gone);
    server.until("an empty queue", |daemon| daemon.starting.queue().waiting == 0).await;
    assert_eq!(server.count("login_gave_up_waiting"), 1);
    // Nobody waits for ever. Time is looked at from here on, when the patient one's is over.
    let mut patient = Peer::connect(&server, Caller::new(4, "ivan", "ivan-secret")).await;
    patient.ask_for_call(7).await;
    let waited = |wait| move |daemon: &Daemon| daemon.starting.queue().longest_wait >= wait;
    server.until("a long wait", waited(Duration::from_secs(1))).await;
    let line = tokio::spawn(server.daemon.starting.clone().serve());
    let refused = patient.cleared().await;
    assert!(refused.contains("no resource"), "{refused}");
    assert_eq!(server.count("refused_login_queue_timeout"), 1);
    // Whoever dawdles loses the turn, and the next one has it.
    let mut anna = Peer::connect(&server, Caller::new(5, "anna", "anna-secret")).await;
    server.until("the dawdler's turn to end", |daemon| daemon.starting.queue().starting == 0).await;
    anna.log_in(7).await.unwrap();
    line.abort();
}
