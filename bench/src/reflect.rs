//! The other end of a load: sends UDP datagrams back to whoever they came from, as they came.
//! Stands behind the server that is loaded, so that packets cross it both ways.

use std::net::{Ipv4Addr, UdpSocket};
use std::num::NonZeroUsize;
use std::thread;

use anyhow::{Context, Result};

use crate::load::REFLECTOR_PORT;

/// Enough for some milliseconds of packets.
const BUFFER: usize = 16 << 20;

/// Where to reflect.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Address to serve on
    #[arg(long, default_value_t = Ipv4Addr::UNSPECIFIED)]
    address: Ipv4Addr,
    /// Threads
    #[arg(long, default_value = "1")]
    threads: NonZeroUsize,
}

/// Reflects until it is killed.
///
/// # Errors
/// When the port is taken.
pub fn run(arguments: &Arguments) -> Result<()> {
    let at = (arguments.address, REFLECTOR_PORT);
    let socket = UdpSocket::bind(at)
        .with_context(|| format!("UDP port {REFLECTOR_PORT} of {}", arguments.address))?;
    // Without root, the system's limit will do.
    let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &BUFFER);
    std::io::Write::write_fmt(
        &mut std::io::stdout(),
        format_args!("reflecting UDP on {}\n", socket.local_addr()?),
    )?;
    thread::scope(|scope| {
        for _ in 0..arguments.threads.get() {
            scope.spawn(|| reflect(&socket));
        }
    });
    Ok(())
}

fn reflect(socket: &UdpSocket) {
    let mut buffer = vec![0; 65_536];
    loop {
        // Errors are those of earlier packets, such as an unreachable sender.
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}
