//! Frames that can be told from each other, and their way from one AF_XDP socket to another.

#![allow(clippy::unwrap_used, reason = "a test")]

use dataplane::frame::{Frame, HEADROOM, Pool, Region};
use dataplane::io::Port;
use dataplane::io::xsk::{XskConfig, XskPort};

use super::common::eventually;

/// IEEE 802's ethertype for experiments.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Octets of the shortest frame that Ethernet carries, without its checksum.
const SHORTEST: usize = 60;

/// A queue, in the mode that its card has.
pub fn config(interface: &str, queue: u32) -> XskConfig {
    XskConfig {
        interface: interface.to_owned(),
        queue,
        ring_size: 256,
        mode: None,
        busy_poll: None,
    }
}

/// A frame of `len` octets that depend on `mark` and their place.
pub fn packet(pool: &mut Pool, mark: u32, len: usize) -> Frame {
    let mut frame = pool.take().unwrap();
    assert!(frame.set_len(len));
    let data = frame.data_mut();
    for (byte, at) in data.iter_mut().zip(0_u32..) {
        *byte = (at.wrapping_mul(31) ^ mark).to_le_bytes()[0];
    }
    // To all, as cards drop what is for other addresses.
    data[..12].copy_from_slice(&[255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2]);
    data[12..14].copy_from_slice(&ETHERTYPE);
    data[14..18].copy_from_slice(&mark.to_be_bytes());
    frame
}

/// Frames in the pools of a region, in these ports and in so many hands.
pub fn total(region: &Region, pool: &Pool, ports: &[&XskPort], hands: usize) -> usize {
    let held: usize = ports.iter().map(|port| port.held()).sum();
    region.depot().len() + pool.len() + held + hands + region.resting()
}

/// Sends packets of many lengths from `from` to `to` and checks that each arrives once, whole.
pub fn carry(pool: &mut Pool, from: &mut XskPort, to: &mut XskPort, packets: u32, longest: usize) {
    let length = |mark: u32| SHORTEST + (mark as usize * 37) % (longest - SHORTEST + 1);
    let (mut sent, mut next, mut arrived) = (0, 0, Vec::new());
    eventually("all packets arrive", || {
        if sent < packets && sent - next < 128 {
            let burst = 64.min(packets - sent);
            let mut frames = (sent..sent + burst).map(|m| packet(pool, m, length(m))).collect();
            sent += burst;
            from.transmit(pool, &mut frames);
            assert!(frames.is_empty());
        }
        from.flush(pool);
        to.receive(pool, &mut arrived, 64);
        for frame in arrived.drain(..) {
            let expected = packet(pool, next, length(next));
            assert_eq!(frame.data(), expected.data(), "packet {next}");
            assert_eq!(frame.headroom(), HEADROOM, "XDP's headroom is ours again");
            pool.put(expected);
            pool.put(frame);
            next += 1;
        }
        to.flush(pool);
        (next == packets).then_some(())
    });
}
