//! `penstock check`: whether the configuration makes sense and this machine can serve it.
//!
//! Prints one line a finding; ends with failure if one of them prevents serving. Changes nothing.

mod interfaces;

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dataplane::api::config::Choice;
use dataplane::policy_rules;
use tokio::net::UnixStream;

use super::{Failure, runtime};
use crate::aaa::identity;
use crate::accounting::store::Store;
use crate::config::{Config, DEFAULT_FILE};
use crate::host::descriptors::Descriptors;
use crate::host::forwarding::{Firewall, Forwarding, ReversePath, firewall};
use crate::host::port::owner;
use crate::host::{host_name, missing_capabilities, name_servers};
use crate::pool::Addresses;
use crate::radius::probe::{self, Health};
use crate::users::Users;

/// FreeRADIUS's `reject_delay` of a second, and some time for the way.
const REJECT_DELAY: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Fine,
    Warning,
    Error,
}

struct Finding {
    level: Level,
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.level {
            Level::Fine => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        write!(f, "{word:>7}  {}", self.text)
    }
}

fn fine(text: impl Into<String>) -> Finding {
    Finding { level: Level::Fine, text: text.into() }
}

fn warning(text: impl Into<String>) -> Finding {
    Finding { level: Level::Warning, text: text.into() }
}

fn error(text: impl Into<String>) -> Finding {
    Finding { level: Level::Error, text: text.into() }
}

pub(super) fn run(config: &Config, file: Option<&Path>) -> Result<(), Failure> {
    let running = runtime()?.block_on(UnixStream::connect(&config.control_socket)).is_ok();
    let mut findings = vec![match file {
        Some(file) => fine(format!("configuration {}", file.display())),
        None => fine(format!("no configuration file ({DEFAULT_FILE}): defaults")),
    }];
    if running {
        findings.push(fine("penstock is running"));
    }
    findings.extend(ports(config, running));
    findings.extend(rights(config));
    findings.push(descriptors(config));
    findings.push(mppe(config));
    findings.extend(interfaces::all(config, running));
    findings.extend(kernel(config));
    findings.extend(accounts(config));
    findings.extend(accounting(config, running));
    findings.extend(hooks(config));
    findings.extend(address_lists(config));
    findings.extend(runtime()?.block_on(radius(config)));
    let mut out = io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    match findings.iter().filter(|finding| finding.level == Level::Error).count() {
        0 => Ok(()),
        1 => Err(Failure::Checked("1 finding prevents serving".to_owned())),
        count => Err(Failure::Checked(format!("{count} findings prevent serving"))),
    }
}

/// Servers that are given up before they say no: many put an Access-Reject off by a second.
fn hasty(config: &Config) -> impl Iterator<Item = Finding> {
    let asked = config
        .radius
        .iter()
        .filter(|server| config.aaa.use_radius && server.authentication_port != 0);
    asked.filter_map(|server| {
        let doubled = 1_u32.checked_shl(server.tries).unwrap_or(u32::MAX) - 1;
        let patience = server.timeout.duration().saturating_mul(doubled);
        (patience < REJECT_DELAY).then(|| {
            warning(format!(
                "RADIUS {}: `timeout` and `tries` wait {} ms in all. FreeRADIUS answers a wrong \
                 password after a second (`reject_delay`): until then it would look dead",
                server.address,
                patience.as_millis()
            ))
        })
    })
}

async fn radius(config: &Config) -> Vec<Finding> {
    let nas = identity::nas(config, &host_name());
    let servers = probe::all(config, &nas).await;
    let told = |(server, health): &(_, Health)| match health {
        Health::Well => fine(format!("RADIUS {server} answers, with our secret")),
        Health::Unprotected => warning(format!(
            "RADIUS {server} answers without Message-Authenticator: its Access-Accepts may be \
             refused (`require-message-authenticator`)"
        )),
        Health::WrongSecret => error(format!("RADIUS {server} answers with another secret")),
        Health::Silent => warning(format!(
            "RADIUS {server} does not answer Status-Server: is it running, does UDP pass, is this \
             machine one of its clients, is the secret the same? Some servers never answer it"
        )),
    };
    servers.iter().map(told).chain(hasty(config)).collect()
}

fn ports(config: &Config, running: bool) -> Vec<Finding> {
    if !config.server.enabled {
        return vec![warning("`enabled = false`: no call will be accepted")];
    }
    let free = |address: SocketAddrV4| match owner(address) {
        // Port 0 is any that is free: only the address can be wrong.
        None => match UdpSocket::bind((*address.ip(), 0)) {
            Ok(_) => fine(format!("TCP {address} is free")),
            Err(reason) => error(format!("TCP {address} cannot be listened on: {reason}")),
        },
        Some(owner) if running => fine(format!("TCP {address}: {owner}")),
        Some(owner) => error(format!("TCP {address} is taken by {owner}")),
    };
    config.server.listen.iter().copied().map(free).collect()
}

fn rights(config: &Config) -> Vec<Finding> {
    let missing = missing_capabilities(!config.dataplane.interface.is_empty());
    let rights = if missing.is_empty() {
        fine("rights: all that are needed")
    } else {
        error(format!("rights: {} missing; run as root", missing.join(", ")))
    };
    let tun = match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => fine("/dev/net/tun can be opened"),
        Err(reason) => error(format!("/dev/net/tun: {reason} (modprobe tun?)")),
    };
    // A map and a program for the moment: nothing is attached.
    let doorkeeper = match ebpf::Doorkeeper::load(1) {
        Ok(_) => fine("lockout: the kernel can refuse connections of locked addresses"),
        Err(reason) => {
            warning(format!("lockout: locked addresses are cut off once connected: {reason}"))
        }
    };
    vec![rights, tun, doorkeeper]
}

fn descriptors(config: &Config) -> Finding {
    let descriptors = Descriptors::attainable(config);
    let level = if descriptors.suffice() { Level::Fine } else { Level::Warning };
    Finding { level, text: descriptors.to_string() }
}

fn mppe(config: &Config) -> Finding {
    match Choice::of(config.dataplane.mppe.kernel()) {
        Ok(choice) => fine(format!("MPPE by {choice}")),
        Err(reason) => error(format!("{reason}; set `mppe = \"auto\"`")),
    }
}

fn kernel(config: &Config) -> Vec<Finding> {
    let Forwarding { enabled, ipv6, reverse_path } = Forwarding::read();
    let mut findings = vec![
        if enabled {
            fine("IPv4 forwarding is on")
        } else {
            warning(
                "IPv4 forwarding is off: subscribers reach this machine only \
                 (sysctl -w net.ipv4.ip_forward=1)",
            )
        },
        match reverse_path {
            ReversePath::Strict => warning(
                "rp_filter is strict: with asymmetric routes the kernel drops packets \
                 (sysctl -w net.ipv4.conf.all.rp_filter=2)",
            ),
            other => fine(format!("rp_filter is {other}")),
        },
    ];
    if !config.ipv6_pool.is_empty() {
        findings.push(if ipv6 {
            fine("IPv6 forwarding is on")
        } else {
            warning(
                "IPv6 forwarding is off: subscribers' IPv6 reaches this machine only \
                 (sysctl -w net.ipv6.conf.all.forwarding=1)",
            )
        });
    }
    if config.dataplane.interface.is_empty() {
        if enabled && matches!(firewall(), Firewall::ForwardChains(chains) if chains.is_empty()) {
            findings.push(warning(format!(
                "the kernel forwards to subscribers from every interface: if not all of them lead \
                 to the core, have nftables drop what enters {} from the others",
                config.dataplane.tun
            )));
        }
    } else {
        findings.push(match firewall() {
            Firewall::ForwardChains(chains) if chains.is_empty() => {
                fine("nftables has no forward chain")
            }
            Firewall::ForwardChains(chains) => warning(format!(
                "nftables has forward chains ({}): packets that AF_XDP carries do not pass them",
                chains.join(", ")
            )),
            Firewall::Unknown(reason) => {
                warning(format!("nftables could not be asked for forward chains: {reason}"))
            }
        });
        let table = &config.dataplane.table.0;
        findings.push(match policy_rules(&config.dataplane.tun, table) {
            Ok(rules) if rules.is_empty() => {
                fine("no policy rule (ip rule) keeps packets from AF_XDP")
            }
            Ok(rules) => warning(format!(
                "policy rules (ip rule) keep packets from AF_XDP: {}; `[dataplane] table` names \
                 another table than main for all of them",
                rules.join("; ")
            )),
            Err(error) => warning(format!("the kernel's policy rules are not known: {error}")),
        });
    }
    findings
}

fn accounts(config: &Config) -> Vec<Finding> {
    let addresses = Addresses::new(config);
    let mut findings: Vec<_> = addresses
        .usage()
        .iter()
        .map(|pool| fine(format!("pool {}: {} addresses", pool.name, pool.size)))
        .collect();
    for profile in &config.profile {
        let Some(resolved) = config.resolve(&profile.name) else { continue };
        let servers = name_servers(&resolved.dns_servers);
        let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
        let name = &profile.name;
        findings.push(if servers.is_empty() {
            warning(format!("profile {name}: no name servers for subscribers"))
        } else {
            fine(format!("profile {name}: name servers {}", servers.join(", ")))
        });
        if resolved.remote_address.is_none() {
            findings.push(warning(format!(
                "profile {name} has no pool: only users with a remote-address can use it"
            )));
        }
    }
    findings.extend(users(config, addresses));
    findings
}

/// The queue of accounts is this program's alone while it is open.
fn accounting(config: &Config, running: bool) -> Option<Finding> {
    let queue = config.accounting_queue();
    if !config.accounts() {
        return None;
    }
    // Opening it would make it, or keep the daemon from it.
    if running || !queue.exists() {
        return Some(fine(format!("accounting queue {}", queue.display())));
    }
    Some(match Store::open(&queue, config.accounting.max_records) {
        Ok(store) => fine(format!("accounting queue {}: {} wait", queue.display(), store.len())),
        Err(reason) => error(reason.to_string()),
    })
}

fn hooks(config: &Config) -> Vec<Finding> {
    let executable = |program: &Path| {
        let found = std::fs::metadata(program)?;
        Ok::<_, io::Error>(found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let hook = |(key, program): (&str, &PathBuf)| match executable(program) {
        Ok(true) => fine(format!("hook {key}: {}", program.display())),
        Ok(false) => error(format!("hook {key}: {} cannot be executed", program.display())),
        Err(reason) => error(format!("hook {key}: {}: {reason}", program.display())),
    };
    config.hooks.programs().map(hook).collect()
}

/// Address-lists are nft's to fill.
fn address_lists(config: &Config) -> Option<Finding> {
    let mut lists = config.profile.iter().filter_map(|profile| profile.address_list.as_ref());
    if lists.all(Vec::is_empty) {
        return None;
    }
    Some(match Command::new("nft").arg("--version").output() {
        Ok(_) => fine("nft is there to fill address-lists"),
        Err(reason) => error(format!("address-lists need the program nft: {reason}")),
    })
}

fn users(config: &Config, addresses: Addresses) -> Vec<Finding> {
    // Opening the database would make it.
    if !config.database.exists() && config.users_file.is_none() {
        return vec![warning("no users yet: penstock user add NAME")];
    }
    let users = match Users::open(config, addresses) {
        Ok(users) => users,
        Err(reason) => return vec![error(reason.to_string())],
    };
    let mut findings = Vec::new();
    if let Some(file) = &config.users_file {
        match users.read_file(file) {
            Ok((count, bad)) => {
                findings.push(fine(format!("users-file {}: {count} users", file.display())));
                findings.extend(bad.iter().map(|bad| {
                    warning(format!("{}, line {}: {}", file.display(), bad.line, bad.reason))
                }));
            }
            Err(reason) => {
                findings.push(warning(format!("users-file {}: {reason}", file.display())));
            }
        }
    }
    for profile in users.missing_profiles() {
        findings.push(warning(format!("users have profile `{profile}`, which does not exist")));
    }
    findings.push(if users.is_empty() {
        warning("no users yet: penstock user add NAME")
    } else {
        fine(format!("users: {}", users.list().len()))
    });
    findings
}
