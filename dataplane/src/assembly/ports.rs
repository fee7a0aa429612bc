//! Opens the ports of a configuration: a raw socket and a TUN queue for each worker, and the queues
//! of interfaces by AF_XDP.
//!
//! Changes nothing of an interface but its XDP program, which goes when we go, and what would spoil
//! packets before we see them or lead them to queues that nobody drives.

use std::os::fd::AsFd;
use std::time::Duration;

use ebpf::{Capacity, Roles, Steering};
use nix::net::if_::if_nametoindex;

use super::physical::{Physical, passages, physical};
use super::{Attachment, Kind, MAIN_TABLE, netlink, pools};
use crate::api::config::{PortReport, RouteTable};
use crate::api::handle::Machinery;
use crate::api::{Config, Role, StartError};
use crate::frame::{Pool, Region};
use crate::io::raw::RawPort;
use crate::io::tun::{TunConfig, TunPort};
use crate::io::xsk::{BusyPoll, XskConfig, XskMode, XskPort};
use crate::route::{self, Mirror, Routing};
use crate::steer::Steer;

/// Entries of each ring of an AF_XDP socket.
const RING: u32 = 1024;
/// Frames that such a socket has in its hands at most.
const FRAMES_PER_SOCKET: u32 = 3 * RING;

/// Packets that the kernel takes from a card in one poll of ours: as many as it does by itself.
const POLL_BUDGET: u16 = 64;

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
    let table = if config.interfaces.is_empty() { None } else { table(&config.table)? };
    pools::route(&config.tun.pools, ifindex, table)?;

    let passages = if config.interfaces.is_empty() { Vec::new() } else { passages(config)? };
    let physical = physical(&passages)?;
    let sockets = physical.values().map(|port| port.queues).fold(0, u32::saturating_add);
    let frames = config
        .frames
        .saturating_mul(workers.into())
        .saturating_add(sockets.saturating_mul(FRAMES_PER_SOCKET));
    let region = Region::new(frames).map_err(StartError::port)?;
    let mut machinery = Machinery::default();
    if !physical.is_empty() {
        let mut program = Steering::load(Capacity::default()).map_err(StartError::port)?;
        let mut pool = Pool::new(region, RING as usize);
        for (ifindex, port) in &physical {
            open_port(*ifindex, port, config.busy_poll, &mut program, &mut pool, &mut ports)?;
        }
        let interfaces = passages.iter().map(|(_, passage)| passage.ifindex);
        let routing = Routing { tun: tun.name.clone(), table };
        machinery.mirror = Some(Mirror::start(interfaces, routing).map_err(StartError::port)?);
        let steer = Steer::new(program, &config.listen, &config.tun).map_err(StartError::port)?;
        machinery.steer = Some(steer);
    }
    Ok(Opened { ports, machinery, region })
}

/// What the kernel's policy rules cost packets that AF_XDP carries, where subscribers' are routed by
/// this table and come to the kernel by the interface `tun`: each rule that keeps some of them from
/// workers, and which.
///
/// # Errors
/// [`StartError`], if there is no such table, or the kernel does not tell its rules.
pub fn policy_rules(tun: &str, by: &RouteTable) -> Result<Vec<String>, StartError> {
    let routing = Routing { tun: tun.into(), table: table(by)? };
    route::policy_rules(&routing).map_err(StartError::port)
}

/// The number of the table that is not main.
fn table(table: &RouteTable) -> Result<Option<u32>, StartError> {
    match table {
        RouteTable::Main => Ok(None),
        RouteTable::Number(number) => Ok(Some(*number).filter(|&number| number != MAIN_TABLE)),
        RouteTable::Vrf(name) => match netlink::table_of(&netlink::links()?, name) {
            Some(number) => Ok(Some(number)),
            None => Err(StartError::Config(format!("there is no VRF named {name}"))),
        },
    }
}

/// Opens the queues of a port and deals them to the workers.
fn open_port(
    ifindex: u32,
    physical: &Physical,
    busy_poll: Option<Duration>,
    program: &mut Steering,
    pool: &mut Pool,
    ports: &mut [Vec<Attachment>],
) -> Result<(), StartError> {
    let Physical { name, queues, lines, said, .. } = physical;
    let prepared = physical.prepare().map_err(StartError::port)?;
    for change in prepared.changes() {
        tracing::info!(interface = name, change, "the card was changed, as packets would suffer");
    }
    for reason in &prepared.warnings {
        tracing::warn!(interface = name, %reason, "the card is used as it is");
    }
    let roles: Vec<_> = lines.iter().map(|line| (line.tags, roles(line.role))).collect();
    let attached = program.attach(name, &roles, *queues).map_err(StartError::port)?;
    let is = |test: fn(Role) -> bool| lines.iter().any(|line| test(line.role));
    let role = match (is(Role::is_access), is(Role::is_core)) {
        (true, true) => Role::Both,
        (true, false) => Role::Access,
        (false, _) => Role::Core,
    };
    let workers = u32::try_from(ports.len()).unwrap_or(1).max(1);
    for queue in 0..*queues {
        let config = XskConfig {
            interface: name.clone(),
            queue,
            ring_size: RING,
            mode: None,
            busy_poll: busy_poll.map(|duration| BusyPoll { duration, budget: POLL_BUDGET }),
        };
        let port = XskPort::open(&config, pool).map_err(StartError::port)?;
        program.register_socket(ifindex, queue, port.as_fd()).map_err(StartError::port)?;
        let copy = match port.mode() {
            XskMode::ZeroCopy => "zero-copy",
            XskMode::Copy => "copy",
        };
        let mut attachment =
            attachment(name, "AF_XDP", Kind::Interface(ifindex), queue, role, port);
        attachment.report.mode = format!("{}, {copy}", attached.mode);
        attachment.report.lines.clone_from(said);
        attachment.lines.clone_from(lines);
        if let Some(ports) = ports.get_mut((queue % workers) as usize) {
            ports.push(attachment);
        }
    }
    if *queues < workers {
        tracing::warn!(
            interface = name,
            queues,
            workers,
            "fewer queues than workers: those without one send through the kernel"
        );
    }
    Ok(())
}

fn roles(role: Role) -> Roles {
    match role {
        Role::Access => Roles::Access,
        Role::Core => Roles::Core,
        Role::Both => Roles::Both,
    }
}

fn attachment(
    name: &str,
    driver: &'static str,
    kind: Kind,
    queue: u32,
    role: Role,
    port: impl crate::io::Port + 'static,
) -> Attachment {
    let name = name.to_owned();
    let report = PortReport { name, driver, queue, role, lines: Vec::new(), mode: String::new() };
    Attachment { kind, report, port: Box::new(port), lines: Vec::new() }
}
