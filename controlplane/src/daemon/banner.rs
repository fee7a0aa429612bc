//! What `penstock serve` prints when it is ready: where it listens, what it gives, and what is
//! still missing for packets to pass.
//!
//! Only on a human's log; JSON gets the same as one line with fields.

use std::io::{self, Write};
use std::path::Path;

use dataplane::api::Handle;
use tracing::{info, warn};

use super::Daemon;
use crate::config::{Config, LogFormat};
use crate::host::forwarding::{Forwarding, ReversePath};
use crate::host::{interface_exists, name_servers};
use crate::users::Users;

/// Prints it, and warns of what is missing.
pub fn show(daemon: &Daemon, file: Option<&Path>, guarded: Result<(), ebpf::Error>) {
    let config = &daemon.config;
    let mut lines = lines(config, file, daemon.plane.handle(), &daemon.users);
    lines.push(("lockout", lockout(config, guarded)));
    match config.log_format {
        LogFormat::Human => {
            let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            let text: String =
                lines.iter().map(|(name, value)| format!("{name:>width$}: {value}\n")).collect();
            // Nobody is left to tell if the terminal is gone.
            let _ = io::stdout().write_all(text.as_bytes());
        }
        LogFormat::Json => {
            for (name, value) in lines {
                info!(name, value, "start");
            }
        }
    }
    for interface in config.server.proxy_arp.iter().filter(|name| !interface_exists(name)) {
        warn!(interface, "proxy-arp: no such interface: nobody there will find subscribers");
    }
}

fn lines(
    config: &Config,
    file: Option<&Path>,
    handle: &Handle,
    users: &Users,
) -> Vec<(&'static str, String)> {
    let file = match file {
        Some(file) => file.display().to_string(),
        None => "none, defaults (penstock config example)".to_owned(),
    };
    let listen = if config.server.enabled {
        joined(config.server.listen.iter().map(|address| format!("TCP {address}")))
    } else {
        "nowhere (`enabled = false`)".to_owned()
    };
    let mut lines = vec![("configuration", file), ("listening", listen)];
    lines.extend(data_plane(handle).into_iter().map(|text| ("data plane", text)));
    for pool in &config.pool {
        let ranges = joined(pool.ranges.iter().map(ToString::to_string));
        lines.push(("pool", format!("{} {ranges}", pool.name)));
    }
    for profile in &config.profile {
        let Some(resolved) = config.resolve(&profile.name) else { continue };
        let servers = joined(name_servers(&resolved.dns_servers).iter().map(ToString::to_string));
        let servers = if servers.is_empty() { "none".to_owned() } else { servers };
        let local = resolved.local_address;
        lines.push(("profile", format!("{} local {local}, DNS {servers}", profile.name)));
    }
    for pool in &config.ipv6_pool {
        let text = format!("{} {}, /{} each", pool.name, pool.prefix, pool.prefix_length);
        lines.push(("IPv6 pool", text));
    }
    let Forwarding { enabled, ipv6, reverse_path } = Forwarding::read();
    if !config.ipv6_pool.is_empty() {
        let hint = if ipv6 { "on" } else { "off (sysctl -w net.ipv6.conf.all.forwarding=1)" };
        lines.push(("IPv6 forwarding", hint.to_owned()));
    }
    let hint = if enabled { "on" } else { "off (sysctl -w net.ipv4.ip_forward=1)" };
    lines.push(("forwarding", hint.to_owned()));
    let hint = match reverse_path {
        ReversePath::Strict => "strict (asymmetric routes need net.ipv4.conf.all.rp_filter=2)",
        ReversePath::Loose => "loose",
        ReversePath::Off => "off",
    };
    lines.push(("rp_filter", hint.to_owned()));
    if users.is_empty() && config.users_file.is_none() {
        lines.push(("users", "no users yet: penstock user add NAME".to_owned()));
    }
    lines
}

/// When somebody is locked out, and who refuses their connections.
fn lockout(config: &Config, guarded: Result<(), ebpf::Error>) -> String {
    let rules = &config.lockout;
    if rules.failures == 0 {
        return "off (`failures = 0`)".to_owned();
    }
    let when = format!("after more than {} failures in {}", rules.failures, rules.window);
    match guarded {
        Ok(()) => format!("{when}; the kernel drops SYNs of locked addresses"),
        Err(error) => format!("{when}; locked addresses are cut off once connected: {error}"),
    }
}

/// One line for the cipher and one for each port: driver with its mode, cores, queues.
fn data_plane(handle: &Handle) -> Vec<String> {
    let report = handle.report();
    let cores = joined(report.workers.iter().map(|worker| match worker.core {
        Some(core) => core.to_string(),
        None => "not pinned".to_owned(),
    }));
    let mut lines =
        vec![format!("{} workers on cores {cores}, MPPE {}", report.workers.len(), report.mppe)];
    let mut ports: Vec<(String, Vec<String>)> = Vec::new();
    for port in report.workers.iter().flat_map(|worker| &worker.ports) {
        let driver = match port.mode.split_once(", ") {
            Some((mode, more)) => format!("{} ({mode}), {more}", port.driver),
            None if port.mode.is_empty() => port.driver.to_owned(),
            None => format!("{} ({})", port.driver, port.mode),
        };
        let role =
            if port.lines.is_empty() { port.role.to_string() } else { port.lines.join("; ") };
        let text = format!("{}: {driver}, {role}", port.name);
        match ports.iter_mut().find(|(known, _)| *known == text) {
            Some((_, queues)) => queues.push(port.queue.to_string()),
            None => ports.push((text, vec![port.queue.to_string()])),
        }
    }
    lines.extend(
        ports.into_iter().map(|(text, queues)| format!("{text}, queues {}", joined(queues))),
    );
    lines
}

fn joined(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().collect::<Vec<_>>().join(", ")
}
