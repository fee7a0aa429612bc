//! How fast clients get in, and what those who are in cost: `make bench-dial`.
//!
//! A daemon and thousands of clients in two network namespaces of this machine, so they share its
//! cores: logins for each second of the daemon's own processor time are printed beside logins a
//! second. Each client has an address, negotiates MS-CHAPv2 and MPPE, and holds its session while
//! the daemon's memory and idle processor time are taken.
//!
//! | module | what |
//! |---|---|
//! | `scene` | the namespaces, the daemon, FreeRADIUS |
//! | `cost` | memory and processor time |

pub mod cost;
pub mod scene;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::load::{Load, Plan, Steps, Tally, calls_needed, most_connections};
use lab::server::Server;
use lab::wait;
use serde::{Deserialize, Serialize};

use crate::report::plot::{Data, Plot};
use crate::run::Run;
use crate::run::table::{Table, figure, left, right};
use crate::section::{Bound, Section, Target};
use crate::stats::Quantiles;
use cost::Cost;
use scene::{SERVER, Scene};

/// Nobody waits for longer for all clients to be up.
const LIMIT: Duration = Duration::from_secs(300);

/// After the last login, before sessions are idle.
const SETTLE: Duration = Duration::from_secs(2);

/// Calls that a penstock takes on one connection.
const CALLS: usize = 16;

/// Connections that a storm leaves to others.
const SPARE: usize = 200;

/// What to measure. Without `--sessions`: 10,000 that dial 64 at once, a storm of 20,000, 60,000, and
/// 10,000 whom FreeRADIUS judges.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One scene of so many clients, of as many users
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    sessions: Option<u32>,
    /// Who judges them
    #[arg(long, value_delimiter = ',', default_value = "local", requires = "sessions")]
    users: Vec<Users>,
    /// How many dial at once; 0: all, within two seconds
    #[arg(long, default_value_t = 64, requires = "sessions")]
    at_once: u32,
    /// Verdicts of RADIUS a second; 0: as many as FreeRADIUS gives
    #[arg(long, default_value_t = 0, requires = "sessions")]
    radius_rate: u32,
    /// Seconds for which all sessions are held [default: 35, as echoes come every 30; quick: 3]
    #[arg(long)]
    hold: Option<u64>,
}

/// What is measured once.
#[derive(Debug, Clone, Copy)]
struct Round {
    sessions: u32,
    users: Users,
    at_once: u32,
    radius_rate: u32,
    hold: Duration,
}

impl Arguments {
    fn rounds(&self, is_quick: bool) -> Vec<Round> {
        let hold = Duration::from_secs(self.hold.unwrap_or(if is_quick { 3 } else { 35 }));
        let round = |sessions, users, at_once| Round {
            sessions,
            users,
            at_once,
            radius_rate: self.radius_rate,
            hold,
        };
        if let Some(sessions) = self.sessions {
            return self.users.iter().map(|&users| round(sessions, users, self.at_once)).collect();
        }
        if is_quick {
            return vec![round(500, Users::Local, 64), round(1000, Users::Local, 0)];
        }
        // A storm is of connections: rather some fewer than two calls on each.
        let most = u32::try_from(most_connections().saturating_sub(SPARE)).unwrap_or(u32::MAX);
        let storm = if (15_000..20_000).contains(&most) { most } else { 20_000 };
        vec![
            round(10_000, Users::Local, 64),
            round(storm, Users::Local, 0),
            round(60_000, Users::Local, 64),
            round(10_000, Users::Radius, 64),
        ]
    }
}

/// Who knows the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Users {
    /// The daemon itself.
    Local,
    /// A FreeRADIUS beside it.
    Radius,
}

/// The result: the first scene's figures, and those of all.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    #[serde(flatten)]
    first: Row,
    scenes: Vec<Row>,
}

/// Figures of a scene.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    users: Users,
    /// How many dialled at once; 0: all.
    at_once: u32,
    sessions: u32,
    /// Of these, how many came up.
    up: usize,
    /// Calls on each connection: more than one where there are too few descriptors.
    calls_per_connection: usize,
    /// From the first dial until all were up.
    seconds: f64,
    logins_per_second: f64,
    /// The same over the daemon's own processor time.
    logins_per_cpu_second: f64,
    /// From a client's first dial, where all dial at once, else from its last one.
    up_p50_ms: f64,
    up_p99_ms: f64,
    dials_per_session: f64,
    /// Dials that failed.
    failures: u64,
    failures_by_reason: BTreeMap<String, u64>,
    /// Times since the dial began, ms.
    steps: BTreeMap<String, Quantiles>,
    /// Resident memory of the daemon and kernel memory of its sockets, over what they were before.
    bytes_per_session: f64,
    resident_per_session: f64,
    bytes_total: u64,
    /// Of one core, while all sessions were idle.
    cpu_percent_idle: f64,
}

/// Measures and prints.
///
/// # Errors
/// Without root, or when not all sessions came up or stayed.
pub fn run(arguments: &Arguments, run: &mut Run) -> Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    let mut outcome = Ok(());
    for round in arguments.rounds(run.is_quick()) {
        if round.users == Users::Radius && !scene::has_freeradius() {
            run.say("RADIUS is not measured: scripts/setup test brings FreeRADIUS")?;
            continue;
        }
        let (row, complaint) = measure(&round, run)?;
        rows.push(row);
        run.record(&Figures { first: rows[0].clone(), scenes: rows.clone() })?;
        if let Some(complaint) = complaint {
            outcome = Err(complaint);
            break;
        }
    }
    for table in tables(&rows).into_iter().filter(|table| !table.rows.is_empty()) {
        run.show(&table)?;
    }
    outcome
}

/// The figures, and what went wrong.
fn measure(round: &Round, run: &Run) -> Result<(Row, Option<anyhow::Error>)> {
    let clients = round.sessions as usize;
    let calls = calls_needed(clients);
    anyhow::ensure!(
        calls <= CALLS,
        "{clients} sessions need {} connections at least, with {CALLS} calls on each, and this \
         process may have {}: raise the hard limit of descriptors (ulimit -Hn)",
        clients.div_ceil(CALLS),
        most_connections()
    );
    let bar = run.progress("dialling", u64::from(round.sessions));
    let mut scene = Scene::new(round.users, clients, round.radius_rate)?;
    let before = Cost::of(&mut scene.server)?;
    let plan = match round.at_once {
        0 => Plan::storm(SERVER, clients),
        at_once => Plan::steady(SERVER, clients, at_once as usize),
    };
    let began = Instant::now();
    let load = Load::start(&scene.clients, plan.with_calls(calls))?;
    let mut waited = wait::until("all sessions", LIMIT, || {
        let up = load.up();
        bar.set_position(up as u64);
        // Who has died lets nobody in.
        let is_over = up >= clients || scene.server.process().poll()?.is_some();
        Ok(is_over.then_some(()))
    });
    bar.finish_and_clear();
    let took = began.elapsed();
    let mut costs = [before; 4];
    if waited.is_ok() {
        waited = held(round, &mut scene.server, &mut costs, run);
    }
    let log = log_tail(&scene);
    let tally = load.stop();
    let complaint = match waited {
        Err(error) => Some(error),
        Ok(()) if tally.up.len() < clients => Some(anyhow::anyhow!("the daemon ended")),
        Ok(()) if tally.lost > 0 => Some(anyhow::anyhow!("{} sessions were lost", tally.lost)),
        Ok(()) => None,
    };
    let complaint = complaint.map(|error| {
        error.context(format!(
            "{} of {clients} sessions came up; failures: {:?}; the daemon's last words:\n{log}",
            tally.up.len(),
            tally.failures
        ))
    });
    Ok((Report { round, calls, took, costs, tally }.row(), complaint))
}

/// Costs when all were up, when they had settled, and after they were held.
fn held(round: &Round, server: &mut Server, costs: &mut [Cost; 4], run: &Run) -> Result<()> {
    let up = Cost::of(server)?;
    (costs[1], costs[2], costs[3]) = (up, up, up);
    std::thread::sleep(SETTLE);
    costs[2] = Cost::of(server)?;
    let bar = run.progress("holding, s", round.hold.as_secs());
    while costs[2].at.elapsed() < round.hold {
        bar.set_position(costs[2].at.elapsed().as_secs());
        let left = round.hold.saturating_sub(costs[2].at.elapsed());
        std::thread::sleep(left.min(Duration::from_millis(500)));
    }
    bar.finish_and_clear();
    costs[3] = Cost::of(server)?;
    Ok(())
}

/// What the daemon said last.
fn log_tail(scene: &Scene) -> String {
    let log = scene.server.log();
    let lines: Vec<_> = log.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

struct Report<'a> {
    round: &'a Round,
    calls: usize,
    took: Duration,
    costs: [Cost; 4],
    tally: Tally,
}

impl Report<'_> {
    fn row(self) -> Row {
        let [before, up, settled, held] = self.costs;
        let count = self.tally.up.len();
        let each = |all: f64| if count == 0 { 0.0 } else { all / count as f64 };
        let (seconds, cpu) = (self.took.as_secs_f64(), (up.cpu - before.cpu).as_secs_f64());
        let idle = (held.at - settled.at).as_secs_f64();
        let step = |of: fn(&Steps) -> Duration| {
            Quantiles::of_times(self.tally.up.iter().map(|up| of(&up.steps)))
        };
        let ups = if self.round.at_once == 0 {
            Quantiles::of_times(self.tally.up.iter().map(|up| up.at))
        } else {
            step(|steps| steps.up)
        };
        let resident = held.resident.saturating_sub(before.resident);
        let total = resident + held.sockets.saturating_sub(before.sockets);
        Row {
            users: self.round.users,
            at_once: self.round.at_once,
            sessions: self.round.sessions,
            up: count,
            calls_per_connection: self.calls,
            seconds,
            logins_per_second: count as f64 / seconds,
            logins_per_cpu_second: if cpu > 0.0 { count as f64 / cpu } else { 0.0 },
            up_p50_ms: ups.p50,
            up_p99_ms: ups.p99,
            dials_per_session: each(self.tally.dials as f64),
            failures: self.tally.failures.values().sum(),
            failures_by_reason: self.tally.failures.clone(),
            steps: BTreeMap::from([
                ("1 tcp".to_owned(), step(|steps| steps.tcp)),
                ("2 call".to_owned(), step(|steps| steps.call)),
                ("3 lcp".to_owned(), step(|steps| steps.lcp)),
                ("4 authentication".to_owned(), step(|steps| steps.authentication)),
                ("5 ccp".to_owned(), step(|steps| steps.ccp)),
                ("6 up".to_owned(), step(|steps| steps.up)),
            ]),
            bytes_per_session: each(total as f64),
            resident_per_session: each(resident as f64),
            bytes_total: total,
            cpu_percent_idle: if idle > 0.0 {
                100.0 * (held.cpu - settled.cpu).as_secs_f64() / idle
            } else {
                0.0
            },
        }
    }
}

fn tables(rows: &[Row]) -> [Table; 3] {
    let scene = |row: &Row| {
        let users = format!("{:?}", row.users).to_lowercase();
        let at_once = if row.at_once == 0 { "all".to_owned() } else { row.at_once.to_string() };
        [row.sessions.to_string(), row.calls_per_connection.to_string(), users, at_once]
    };
    let columns = || [right("sessions"), right("calls each"), left("users"), right("at once")];
    let mut all = Table::new(
        "Logins",
        columns().into_iter().chain([
            right("logins/s"),
            right("per CPU s"),
            right("up p50, ms"),
            right("p99"),
            right("dials/session"),
            right("failed dials"),
            right("KiB/session"),
            right("resident"),
            right("MiB in total"),
            right("idle CPU, %"),
        ]),
    )
    .note(
        "Daemon and clients share this machine's cores; per CPU s counts the daemon's own processor \
         time. Memory: resident and of its sockets in the kernel, over what it was before. Calls each: of a connection, more than one where a process \
         may not have enough descriptors.",
    );
    let mut steps = Table::new(
        "Steps of a dial, ms since it began",
        columns().into_iter().chain([
            left("step"),
            right("p50"),
            right("p90"),
            right("p99"),
            right("max"),
        ]),
    );
    let mut failures =
        Table::new("Failed dials", columns().into_iter().chain([left("reason"), right("dials")]));
    for row in rows {
        let figures = [
            figure(row.logins_per_second, 0),
            figure(row.logins_per_cpu_second, 0),
            figure(row.up_p50_ms, 1),
            figure(row.up_p99_ms, 1),
            figure(row.dials_per_session, 3),
            row.failures.to_string(),
            figure(row.bytes_per_session / 1024.0, 1),
            figure(row.resident_per_session / 1024.0, 1),
            figure(row.bytes_total as f64 / f64::from(1 << 20), 1),
            figure(row.cpu_percent_idle, 2),
        ];
        all.row(scene(row).into_iter().chain(figures));
        for (step, &Quantiles { p50, p90, p99, max }) in &row.steps {
            let times = [p50, p90, p99, max].map(|time| figure(time, 1));
            steps.row(scene(row).into_iter().chain([step.clone()]).chain(times));
        }
        for (reason, count) in &row.failures_by_reason {
            failures.row(scene(row).into_iter().chain([reason.clone(), count.to_string()]));
        }
    }
    [all, steps, failures]
}

/// # Errors
/// When it is no result of [`run`].
pub fn section(json: &str) -> Result<Section> {
    let Figures { scenes, .. } = serde_json::from_str(json)?;
    let local = |is_meant: &dyn Fn(&Row) -> bool| {
        scenes.iter().find(|row| row.users == Users::Local && is_meant(row))
    };
    let steady = local(&|row| row.at_once > 0);
    let storm = local(&|row| row.at_once == 0);
    let storms =
        storm.map_or("storm".to_owned(), |row| format!("storm of {} logins", row.sessions));
    let most = local(&|row| row.sessions == 60_000);
    let memory = steady.map(|row| row.bytes_per_session / 1024.0);
    let target = |what: &str, measured, bound, stretch, unit| Target {
        what: what.to_owned(),
        measured,
        bound,
        stretch,
        unit,
    };
    let targets = vec![
        target(
            "logins, for each second of the daemon's processor time",
            steady.map(|row| row.logins_per_cpu_second),
            Bound::AtLeast(2000.0),
            Some(5000.0),
            "/s",
        ),
        target(
            &format!("{storms}: all are up"),
            storm.map(|row| row.seconds),
            Bound::AtMost(15.0),
            None,
            "s",
        ),
        target(
            &format!("{storms}: dials per session"),
            storm.map(|row| row.dials_per_session),
            Bound::AtMost(1.2),
            None,
            "",
        ),
        target("memory of an idle session", memory, Bound::AtMost(16.0), Some(6.0), "KiB"),
        target(
            &most.or(steady).map_or_else(
                || "idle sessions, of a core".to_owned(),
                |row| format!("{} idle sessions, of a core", row.sessions),
            ),
            most.or(steady).map(|row| row.cpu_percent_idle),
            Bound::AtMost(5.0),
            None,
            "%",
        ),
    ];
    let mut plots = Vec::new();
    if let Some(row) = steady.or_else(|| scenes.first()) {
        let bar = |of: fn(&Quantiles) -> f64| row.steps.values().map(of).collect();
        plots.push(Plot {
            title: format!("Steps of a dial, {} sessions, {} at once", row.sessions, row.at_once),
            x: String::new(),
            y: "ms since it began".to_owned(),
            data: Data::Bars {
                groups: row.steps.keys().map(|step| step[2..].to_owned()).collect(),
                bars: vec![
                    ("p50".to_owned(), bar(|quantiles| quantiles.p50)),
                    ("p99".to_owned(), bar(|quantiles| quantiles.p99)),
                ],
            },
        });
    }
    Ok(Section {
        title: "Logins",
        about: "Clients, each with an address of its own, dial a penstock in another network \
                namespace of the same machine, negotiate MS-CHAPv2 and MPPE, and hold their sessions \
                while its memory and idle processor time are taken.",
        targets,
        plots,
        tables: tables(&scenes).into_iter().filter(|table| !table.rows.is_empty()).collect(),
    })
}
