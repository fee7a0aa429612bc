//! Opens the ports of a configuration: a raw socket and a TUN queue for each worker, and the queues
//! of interfaces by AF_XDP.
//!
//! Changes nothing of an interface but its XDP program, which goes when we go.

use std::os::fd::AsFd;

use ebpf::{Capacity, Roles, Steering};
use nix::net::if_::if_nametoindex;

use super::{Attachment, Kind, pools};
use crate::api::config::PortReport;
use crate::api::handle::Machinery;
use crate::api::{Config, Interface, Role, StartError};
use crate::frame::{Pool, Region};
use crate::io::raw::RawPort;
use crate::io::tun::{TunConfig, TunPort};
use crate::io::xsk::{XskConfig, XskMode, XskPort};
use crate::route::Mirror;
use crate::steer::Steer;

/// Entries of each ring of an AF_XDP socket.
const RING: u32 = 1024;
/// Frames that such a socket has in its hands at most.
const FRAMES_PER_SOCKET: u32 = 3 * RING;

/// Ports that are open.
#[derive(Debug)]
pub(super) struct Opened {
    /// A list for each worker.
    pub(super) ports: Vec<Vec<Attachment>>,
    pub(super) machinery: Machinery,
    pub(super) region: &'static Region,
}

pub(super) fn open(config: &Config) -> Result<Opened, StartError> {
    let workers = u16::try_from(config.workers).unwrap_or(u16::MAX);
    let mut ports: Vec<Vec<Attachment>> = Vec::new();
    for worker in 0..workers {
        let raw = RawPort::open(worker, workers).map_err(StartError::port)?;
        ports.push(vec![attachment("gre", "raw", Kind::Raw, worker.into(), Role::Access, raw)]);
    }
    let tun = TunConfig {
        name: config.tun.name.clone(),
        queues: workers,
        mtu: config.tun.mtu,
        address: config.tun.address.map(|address| (address, 32)),
    };
    let queues = TunPort::create(&tun).map_err(StartError::port)?;
    for ((queue, port), ports) in (0..).zip(queues).zip(&mut ports) {
        ports.push(attachment(&tun.name, "tun", Kind::Tun, queue, Role::Core, port));
    }
    let ifindex = if_nametoindex(tun.name.as_str())
        .map_err(|errno| StartError::system("looking for the TUN", errno))?;
    pools::route(&config.tun.pools, ifindex)?;

    let mut sockets = 0_u32;
    let mut interfaces = Vec::new();
    for interface in &config.interfaces {
        let queues = match interface.queues {
            Some(queues) => queues,
            // All of them, for a NIC may hash GRE to any.
            None => XskPort::queues(&interface.name).map_err(StartError::port)?,
        };
        sockets = sockets.saturating_add(queues);
        interfaces.push((interface, queues));
    }
    let frames = config
        .frames
        .saturating_mul(workers.into())
        .saturating_add(sockets.saturating_mul(FRAMES_PER_SOCKET));
    let region = Region::new(frames).map_err(StartError::port)?;
    let mut machinery = Machinery::default();
    if !interfaces.is_empty() {
        let mut program = Steering::load(Capacity::default()).map_err(StartError::port)?;
        let mut pool = Pool::new(region, RING as usize);
        let mut indices = Vec::new();
        for (interface, queues) in interfaces {
            let ifindex = open_interface(interface, queues, &mut program, &mut pool, &mut ports)?;
            indices.push(ifindex);
        }
        machinery.mirror = Some(Mirror::start(indices).map_err(StartError::port)?);
        let steer = Steer::new(program, &config.listen, &config.tun).map_err(StartError::port)?;
        machinery.steer = Some(steer);
    }
    Ok(Opened { ports, machinery, region })
}

/// Opens the queues of an interface and deals them to the workers. Returns the interface's index.
fn open_interface(
    interface: &Interface,
    queues: u32,
    program: &mut Steering,
    pool: &mut Pool,
    ports: &mut [Vec<Attachment>],
) -> Result<u32, StartError> {
    let roles = match interface.role {
        Role::Access => Roles::Access,
        Role::Core => Roles::Core,
        Role::Both => Roles::Both,
    };
    let attached = program.attach(&interface.name, roles, queues).map_err(StartError::port)?;
    let workers = u32::try_from(ports.len()).unwrap_or(1).max(1);
    for queue in 0..queues {
        let config = XskConfig {
            interface: interface.name.clone(),
            queue,
            ring_size: RING,
            mode: None,
            busy_poll: None,
        };
        let port = XskPort::open(&config, pool).map_err(StartError::port)?;
        program.register_socket(attached.ifindex, queue, port.as_fd()).map_err(StartError::port)?;
        let copy = match port.mode() {
            XskMode::ZeroCopy => "zero-copy",
            XskMode::Copy => "copy",
        };
        let kind = Kind::Interface(attached.ifindex);
        let mut attachment =
            attachment(&interface.name, "AF_XDP", kind, queue, interface.role, port);
        attachment.report.mode = format!("{}, {copy}", attached.mode);
        if let Some(ports) = ports.get_mut((queue % workers) as usize) {
            ports.push(attachment);
        }
    }
    if queues < workers {
        tracing::warn!(
            interface = interface.name,
            queues,
            workers,
            "fewer queues than workers: those without one send through the kernel"
        );
    }
    Ok(attached.ifindex)
}

fn attachment(
    name: &str,
    driver: &'static str,
    kind: Kind,
    queue: u32,
    role: Role,
    port: impl crate::io::Port + 'static,
) -> Attachment {
    let report = PortReport { name: name.to_owned(), driver, queue, role, mode: String::new() };
    Attachment { kind, report, port: Box::new(port) }
}
