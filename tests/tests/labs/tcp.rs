//! What TCP makes of a tunnel: a large transfer over a path that loses and reorders, and what a rate
//! leaves to one flow. The senders are the kernel's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use lab::client::Client;
use lab::impair::Impairment;
use lab::network::{CORE, SERVER};
use lab::scene::Scene;
use lab::server::Driver;
use lab::traffic;
use md5::{Digest, Md5};

const SINK: SocketAddrV4 = SocketAddrV4::new(CORE, 9000);
const CHUNK: usize = 1 << 16;
const PATIENCE: Duration = Duration::from_secs(20);

/// A subscriber at the end of a bad path, its tunnel up, and a server in the core that awaits it.
struct Pair {
    scene: Scene,
    client: Client,
    hop: lab::impair::Hop,
    /// At the subscriber, and in the core.
    ends: [TcpStream; 2],
}

fn connected(impairment: Impairment) -> Pair {
    let scene = Scene::new(Driver::AfXdp, "").unwrap();
    let (subscriber, hop) = scene.network.subscriber_on_bad_path(2, impairment, 11).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
    client.wait_up().unwrap();
    subscriber.run(|| traffic::ping_exchange(CORE, [56], 5)).unwrap();
    let listener = scene.network.core.run(|| Ok(TcpListener::bind(SINK)?)).unwrap();
    let near = subscriber
        .run(|| Ok(TcpStream::connect_timeout(&SocketAddr::V4(SINK), PATIENCE)?))
        .unwrap();
    let (far, _) = listener.accept().unwrap();
    for end in [&near, &far] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
        end.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    Pair { scene, client, hop, ends: [near, far] }
}

/// Sends so many chunks from one end to the other, and closes; whether they arrived as they were sent.
fn transfer(mut from: TcpStream, mut to: TcpStream, chunks: u64) -> std::io::Result<bool> {
    let sender = std::thread::spawn(move || {
        let mut hash = Md5::new();
        for number in 0..chunks {
            let chunk = traffic::payload(number, CHUNK);
            hash.update(&chunk);
            from.write_all(&chunk)?;
        }
        Ok::<_, std::io::Error>(hash.finalize())
    });
    let mut hash = Md5::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match to.read(&mut chunk)? {
            0 => break,
            length => hash.update(&chunk[..length]),
        }
    }
    Ok(hash.finalize() == sender.join().unwrap()?)
}

/// 0.1 % and 1 %.
fn lossy() -> Impairment {
    Impairment { loss: 1, reorder: 10, ..Impairment::default() }
}

#[test]
fn a_large_transfer_arrives_whole_over_a_path_that_reorders_and_loses() {
    const CHUNKS: u64 = 200_000_000 / CHUNK as u64;
    let Pair { scene, client, hop, ends: [near, far] } = connected(lossy());
    let is_whole = transfer(far, near, CHUNKS);
    assert!(matches!(is_whole, Ok(true)), "{is_whole:?}\n{}", scene.server.log());
    let [_, down] = hop.tallies();
    assert!(down.lost.load(Relaxed) > 0 && down.reordered.load(Relaxed) > 0, "{down:?}");
    let session = scene.server.session_of("alice").unwrap();
    assert!(session.tx_bytes > 200_000_000, "{session:?}");
    client.hang_up().unwrap();
    scene.witness_is_well().unwrap();
}

#[test]
fn a_large_upload_arrives_whole_over_a_path_that_reorders_and_loses() {
    const CHUNKS: u64 = 50_000_000 / CHUNK as u64;
    let Pair { scene, client, hop, ends: [near, far] } = connected(lossy());
    let is_whole = transfer(near, far, CHUNKS);
    assert!(matches!(is_whole, Ok(true)), "{is_whole:?}\n{}", scene.server.log());
    let [up, _] = hop.tallies();
    assert!(up.lost.load(Relaxed) > 0 && up.reordered.load(Relaxed) > 0, "{up:?}");
    let session = scene.server.session_of("alice").unwrap();
    assert!(session.rx_bytes > 49_000_000, "{session:?}");
    client.hang_up().unwrap();
    scene.witness_is_well().unwrap();
}

/// Bits of payload per second that `from` gets to `to`, once the flow has found its rate.
fn goodput(mut from: TcpStream, mut to: TcpStream) -> f64 {
    const SETTLING: Duration = Duration::from_secs(4);
    const MEASURED: Duration = Duration::from_secs(10);
    let sender = std::thread::spawn(move || {
        let chunk = vec![7; CHUNK];
        while from.write_all(&chunk).is_ok() {}
    });
    let begin = Instant::now();
    let mut chunk = vec![0; CHUNK];
    let mut octets = 0;
    while begin.elapsed() < SETTLING {
        to.read_exact(&mut chunk[..1400]).unwrap();
    }
    let measured = Instant::now();
    while measured.elapsed() < MEASURED {
        octets += to.read(&mut chunk).unwrap();
    }
    let rate = octets as f64 * 8.0 / measured.elapsed().as_secs_f64();
    drop(to);
    sender.join().unwrap();
    rate
}

/// Of up to three flows: a machine that is busy with other things slows one down.
fn is_as_limited(least: f64, goodput: impl Fn() -> f64) {
    let mut rates = Vec::new();
    let is_as_limited = (0..3).any(|_| {
        rates.push(goodput());
        rates.last().is_some_and(|rate| (least..10.5e6).contains(rate))
    });
    assert!(is_as_limited, "bit/s: {rates:.0?}");
}

#[test]
fn a_rate_of_10_megabits_leaves_nine_of_them_to_one_flow_at_40_ms() {
    is_as_limited(9.0e6, || goodput_of_10_megabits_at_40_ms(|[near, far]| goodput(far, near)));
}

/// What comes in is policed, without a queue.
#[test]
fn a_rate_of_10_megabits_leaves_most_of_them_to_one_upload_at_40_ms() {
    is_as_limited(7.0e6, || goodput_of_10_megabits_at_40_ms(|[near, far]| goodput(near, far)));
}

fn goodput_of_10_megabits_at_40_ms(measure: impl FnOnce([TcpStream; 2]) -> f64) -> f64 {
    let impairment = Impairment { delay: Duration::from_millis(20), ..Impairment::default() };
    let Pair { scene, client, hop: _hop, ends } = connected(impairment);
    let limit = ["session", "set", "alice", "rate-limit=10M/10M"];
    scene.server.command(&limit).unwrap();
    let rate = measure(ends);
    let session = scene.server.session_of("alice").unwrap();
    // The path's, and what waits for the rate is in it as well as what the peer waits.
    assert!(session.round_trip_micros.is_some_and(|micros| micros >= 40_000), "{session:?}");
    client.hang_up().unwrap();
    rate
}
