//! `penstock session` and `penstock stats`: what the running daemon has.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use hyper::Method;

use super::{Failure, output, runtime};
use crate::api::client::Client;
use crate::api::types::{
    AccountingStats, Applied, BindingView, Disconnected, DrainOrder, Draining, Selector,
    SessionChange, SessionSet, SessionView, Stats, TermsView,
};
use crate::config::{Config, Span};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List sessions that are up, and interfaces whose users are not there; flags: X disabled,
    /// D dynamic (no interface of its own), R running
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Those that are still logging in too
        #[arg(long)]
        all: bool,
    },
    /// Show all that is known of one session
    Show {
        /// The session's id, as in `session list`
        id: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change what sessions are held to, until they end
    Set(Set),
    /// End sessions
    Disconnect(Disconnect),
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The session's id, as in `session list`, or a user, whose sessions are all meant
    which: String,
    /// What to set: rate-limit=2M/10M, session-timeout=8h, idle-timeout=30m, incoming-filter=NAME,
    /// outgoing-filter=NAME; an empty value takes the limit away
    #[arg(required = true, value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

impl Set {
    fn into_request(self) -> Result<SessionSet, Failure> {
        // A user may well be called by a number; then only the number of a session is meant.
        let sessions = match self.which.parse() {
            Ok(id) => Selector { id: Some(id), ..Selector::default() },
            Err(_) => Selector { user: Some(self.which), ..Selector::default() },
        };
        let mut change = SessionChange::default();
        for setting in &self.settings {
            let wrong = |reason: String| Failure::Usage(format!("`{setting}`: {reason}"));
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| wrong("write KEY=VALUE, as rate-limit=2M/10M".to_owned()))?;
            let time = || {
                if value.is_empty() { Ok(Span::seconds(0)) } else { value.parse().map_err(wrong) }
            };
            match key {
                "rate-limit" => change.rate_limit = Some(value.parse().map_err(wrong)?),
                "session-timeout" => change.session_timeout = Some(time()?),
                "idle-timeout" => change.idle_timeout = Some(time()?),
                "incoming-filter" => change.incoming_filter = Some(value.to_owned()),
                "outgoing-filter" => change.outgoing_filter = Some(value.to_owned()),
                _ => {
                    let known = "rate-limit, session-timeout, idle-timeout, incoming-filter, \
                                 outgoing-filter";
                    return Err(wrong(format!("there is no such key; known: {known}")));
                }
            }
        }
        Ok(SessionSet { sessions, change })
    }
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Disconnect {
    /// The session's id, as in `session list`
    id: Option<u64>,
    /// All sessions of this user
    #[arg(long)]
    user: Option<String>,
    /// The session that has this inner address
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// All sessions from this outer address
    #[arg(long, value_name = "ADDRESS")]
    peer_address: Option<Ipv4Addr>,
    /// All sessions
    #[arg(long)]
    all: bool,
}

pub(super) fn run(command: Command, config: &Config) -> Result<(), Failure> {
    let client = Client::new(&config.control_socket);
    let runtime = runtime()?;
    let sessions = || -> Result<Vec<SessionView>, Failure> {
        Ok(runtime.block_on(client.call(Method::GET, "/v1/sessions", &()))?)
    };
    match command {
        Command::List { json, all } => {
            let mut sessions = sessions()?;
            sessions.retain(|session| all || session.state == "up");
            if json {
                return Ok(output::json(&sessions)?);
            }
            let bindings: Vec<BindingView> =
                runtime.block_on(client.call(Method::GET, "/v1/bindings", &()))?;
            let idle = bindings.iter().filter(|binding| !binding.running);
            let rows = sessions.iter().map(|session| row(session, all)).chain(idle.map(idle_row));
            let rows: Vec<_> = rows.collect();
            Ok(output::table(head(all), &rows)?)
        }
        Command::Show { id, json } => {
            let sessions = sessions()?;
            let session = sessions.iter().find(|session| session.id == id);
            let session =
                session.ok_or_else(|| Failure::NotFound(format!("there is no session {id}")))?;
            if json { Ok(output::json(session)?) } else { show(session) }
        }
        Command::Set(set) => {
            let request = set.into_request()?;
            let path = "/v1/sessions/set";
            let answer: Applied = runtime.block_on(client.call(Method::POST, path, &request))?;
            Ok(output::pairs([("changed", answer.changed.to_string())])?)
        }
        Command::Disconnect(which) => {
            let selector = Selector {
                id: which.id,
                user: which.user,
                address: which.address,
                peer_address: which.peer_address,
                all: which.all,
            };
            let path = "/v1/sessions/disconnect";
            let answer: Disconnected =
                runtime.block_on(client.call(Method::POST, path, &selector))?;
            let count = answer.disconnected;
            Ok(output::pairs([("disconnected", count.to_string())])?)
        }
    }
}

fn head(all: bool) -> &'static [&'static str] {
    const HEAD: [&str; 12] = [
        "",
        "ID",
        "NAME",
        "USER",
        "ADDRESS",
        "CLIENT-ADDRESS",
        "UPTIME",
        "ENCODING",
        "MTU",
        "RX-BYTES",
        "TX-BYTES",
        "STATE",
    ];
    if all { &HEAD } else { &HEAD[..11] }
}

fn row(session: &SessionView, all: bool) -> Vec<String> {
    let dynamic = session.interface.is_none();
    let running = session.state == "up";
    let user = || session.user.as_deref().map(|user| format!("<pptp-{user}>"));
    let mut row = vec![
        [(dynamic, 'D'), (running, 'R')]
            .into_iter()
            .filter_map(|(is, flag)| is.then_some(flag))
            .collect(),
        session.id.to_string(),
        or_dash(session.interface.clone().or_else(user).as_ref()),
        or_dash(session.user.as_ref()),
        or_dash(session.address.as_ref()),
        session.peer_address.to_string(),
        Span::seconds(session.uptime).to_string(),
        session.encoding.clone(),
        session.mtu.to_string(),
        session.rx_bytes.to_string(),
        session.tx_bytes.to_string(),
    ];
    if all {
        row.push(session.state.clone());
    }
    row
}

/// An interface whose user is not there, as RouterOS lists it beside the others.
fn idle_row(binding: &BindingView) -> Vec<String> {
    let flags = if binding.disabled { "X" } else { "" };
    vec![flags.to_owned(), "-".to_owned(), binding.name.clone(), binding.user.clone()]
}

fn show(session: &SessionView) -> Result<(), Failure> {
    let idle = session.idle_time.map(Span::seconds);
    let millis = |micros| format!("{}.{} ms", micros / 1000, micros % 1000 / 100);
    let round_trip = session.round_trip_micros.map(millis);
    let given = session.terms.as_ref().map(given).unwrap_or_default();
    let known = [
        ("id", session.id.to_string()),
        ("state", session.state.clone()),
        ("user", output::shown(&or_dash(session.user.as_ref()))),
        ("interface", or_dash(session.interface.as_ref())),
        ("peer-address", session.peer_address.to_string()),
        ("address", or_dash(session.address.as_ref())),
        ("local-address", or_dash(session.local_address.as_ref())),
        ("ipv6-prefix", or_dash(session.ipv6_prefix.as_ref())),
        ("delegated-ipv6-prefix", or_dash(session.delegated_ipv6_prefix.as_ref())),
        ("ipv6-link-address", or_dash(session.ipv6_link_address.as_ref())),
        ("encoding", session.encoding.clone()),
        ("mtu", session.mtu.to_string()),
        ("mru", session.mru.to_string()),
        ("mrru", session.mrru.map_or_else(|| "disabled".to_owned(), |mrru| mrru.to_string())),
        ("uptime", Span::seconds(session.uptime).to_string()),
        ("idle-time", or_dash(idle.as_ref())),
        ("rx-packets", session.rx_packets.to_string()),
        ("rx-bytes", session.rx_bytes.to_string()),
        ("tx-packets", session.tx_packets.to_string()),
        ("tx-bytes", session.tx_bytes.to_string()),
        ("rx-lost", session.rx_lost.to_string()),
        ("rx-reordered", session.rx_reordered.to_string()),
        ("rx-duplicate", session.rx_duplicate.to_string()),
        ("round-trip", or_dash(round_trip.as_ref())),
        ("drops", counted(&session.drops)),
    ];
    let all: Vec<_> = known.into_iter().chain(given).collect();
    Ok(output::pairs(all)?)
}

/// What it is given and held to, in the words of profiles.
fn given(terms: &TermsView) -> Vec<(&'static str, String)> {
    let time = |seconds: Option<u64>| or_dash(seconds.map(Span::seconds).as_ref());
    let list = |words: Vec<String>| match words.is_empty() {
        true => "-".to_owned(),
        false => output::shown(&words.join(",")),
    };
    let servers = |servers: &[Ipv4Addr]| list(servers.iter().map(ToString::to_string).collect());
    let name = |name: &Option<String>| output::shown(&or_dash(name.as_ref()));
    vec![
        ("profile", output::shown(&terms.profile)),
        ("radius", if terms.radius { "yes" } else { "no" }.to_owned()),
        ("acct-session-id", terms.acct_session_id.clone()),
        ("rate-limit", terms.rate_limit.to_string()),
        ("session-timeout", time(terms.session_timeout)),
        ("idle-timeout", time(terms.idle_timeout)),
        ("limit-bytes-in", or_dash(terms.limit_bytes_in.as_ref())),
        ("limit-bytes-out", or_dash(terms.limit_bytes_out.as_ref())),
        ("limit-bytes-total", or_dash(terms.limit_bytes_total.as_ref())),
        ("incoming-filter", name(&terms.incoming_filter)),
        ("outgoing-filter", name(&terms.outgoing_filter)),
        ("address-list", list(terms.address_lists.clone())),
        ("routes", list(terms.routes.iter().map(ToString::to_string).collect())),
        ("dns-server", servers(&terms.dns_servers)),
        ("wins-server", servers(&terms.wins_servers)),
        ("interim-update", time(terms.interim_update)),
        ("class", list(terms.class.clone())),
    ]
}

#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    /// Accept calls again; nobody is disconnected any more
    #[arg(long, conflicts_with_all = ["disconnect_after", "rate"])]
    stop: bool,
    /// After this time ("10m", "1h") disconnect the sessions that are still there
    #[arg(long, value_name = "TIME")]
    disconnect_after: Option<Span>,
    /// How many of them a second [default: 100]
    #[arg(long, requires = "disconnect_after", value_name = "SESSIONS",
          value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

pub(super) fn drain(drain: &Drain, config: &Config) -> Result<(), Failure> {
    let order = DrainOrder {
        stop: drain.stop,
        disconnect_after: drain.disconnect_after.map(|after| after.duration().as_secs()),
        rate: drain.rate,
    };
    let client = Client::new(&config.control_socket);
    let answer: Draining = runtime()?.block_on(client.call(Method::POST, "/v1/drain", &order))?;
    Ok(output::pairs([
        ("draining", yes_or_no(answer.draining)),
        ("sessions", answer.sessions.to_string()),
    ])?)
}

fn yes_or_no(value: bool) -> String {
    if value { "yes".to_owned() } else { "no".to_owned() }
}

pub(super) fn stats(json: bool, config: &Config) -> Result<(), Failure> {
    let client = Client::new(&config.control_socket);
    let stats: Stats = runtime()?.block_on(client.call(Method::GET, "/v1/stats", &()))?;
    if json {
        return Ok(output::json(&stats)?);
    }
    output::pairs([
        ("uptime", Span::seconds(stats.uptime).to_string()),
        ("sessions", stats.sessions.to_string()),
        ("draining", yes_or_no(stats.draining)),
        ("control", counted(&stats.control)),
        ("packets", counted(&stats.packets)),
        ("drops", counted(&stats.drops)),
        ("xdp", counted(&stats.xdp)),
        ("accounting", stats.accounting.as_ref().map_or_else(|| "none".to_owned(), queue)),
    ])?;
    let ports: Vec<_> = stats
        .ports
        .iter()
        .map(|port| {
            vec![
                format!("{} queue {}", port.name, port.queue),
                port.rx_packets.to_string(),
                port.rx_bytes.to_string(),
                port.tx_packets.to_string(),
                port.tx_bytes.to_string(),
                counted(&port.drops),
            ]
        })
        .collect();
    output::table(&["PORT", "RX-PACKETS", "RX-BYTES", "TX-PACKETS", "TX-BYTES", "DROPS"], &ports)?;
    let pools: Vec<_> = stats
        .pools
        .iter()
        .map(|pool| vec![pool.name.clone(), pool.size.to_string(), pool.free.to_string()])
        .collect();
    Ok(output::table(&["POOL", "ADDRESSES", "FREE"], &pools)?)
}

/// The accounting queue in a line.
fn queue(stats: &AccountingStats) -> String {
    let oldest = stats.oldest.map(|oldest| format!(", oldest {}", Span::seconds(oldest)));
    let away = if stats.servers_answer { "" } else { ", no server answers" };
    let troubles = [
        ("given up", stats.given_up),
        ("lost", stats.lost),
        ("failures of its file", stats.store_errors),
    ];
    let troubles = troubles.iter().filter(|(_, count)| *count > 0);
    let troubles: String = troubles.map(|(what, count)| format!(", {what} {count}")).collect();
    let oldest = oldest.unwrap_or_default();
    format!("queued {}{oldest}{away}, answered {}{troubles}", stats.queued, stats.answered)
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn counted(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}
