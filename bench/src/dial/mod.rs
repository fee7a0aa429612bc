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

use anyhow::{Context, Result};
use lab::load::{Load, Plan, Steps, Tally};
use serde::{Deserialize, Serialize};

use crate::report::plot::{Data, Plot};
use crate::report::{Bound, Section, Target};
use crate::run::Run;
use crate::run::table::{Table, figure, left, right};
use crate::stats::Quantiles;
use cost::Cost;
use scene::{SERVER, Scene};

/// Nobody waits for longer for all clients to be up.
const LIMIT: Duration = Duration::from_secs(900);

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Clients, of as many users
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    sessions: u32,
    /// Who judges them
    #[arg(long, value_delimiter = ',', default_value = "local,radius")]
    users: Vec<Users>,
    /// How many dial at once; 0: all, within two seconds
    #[arg(long, default_value_t = 64)]
    at_once: u32,
    /// Verdicts of RADIUS a second; 0: as many as FreeRADIUS gives
    #[arg(long, default_value_t = 0)]
    radius_rate: u32,
    /// Seconds for which all sessions are held
    #[arg(long, default_value_t = 20)]
    hold: u64,
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
    for users in &arguments.users {
        match measure(arguments, *users) {
            Ok(row) => {
                rows.push(row);
                run.record(&Figures { first: rows[0].clone(), scenes: rows.clone() })?;
            }
            Err(error) if *users == Users::Radius && !scene::has_freeradius() => {
                run.say(format_args!("radius: not measured: {error:#}"))?;
            }
            Err(error) => return Err(error),
        }
    }
    for table in tables(&rows) {
        run.show(&table)?;
    }
    Ok(())
}

fn measure(arguments: &Arguments, users: Users) -> Result<Row> {
    let clients = arguments.sessions as usize;
    let mut scene = Scene::new(users, clients, arguments.radius_rate)?;
    let before = Cost::of(&mut scene.server)?;
    let plan = match arguments.at_once {
        0 => Plan::storm(SERVER, clients),
        at_once => Plan::steady(SERVER, clients, at_once as usize),
    };
    let began = Instant::now();
    let load = Load::start(&scene.clients, plan)?;
    load.wait_up(LIMIT).with_context(|| log_tail(&scene))?;
    let took = began.elapsed();
    let up = Cost::of(&mut scene.server)?;
    std::thread::sleep(Duration::from_secs(arguments.hold));
    let held = Cost::of(&mut scene.server)?;
    let tally = load.stop();
    anyhow::ensure!(tally.lost == 0, "{} sessions were lost: {:?}", tally.lost, tally.failures);
    let report = Report { arguments, users, took, costs: [before, up, held], tally };
    Ok(report.row())
}

/// What the daemon said last.
fn log_tail(scene: &Scene) -> String {
    let log = scene.server.log();
    let lines: Vec<_> = log.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

struct Report<'a> {
    arguments: &'a Arguments,
    users: Users,
    took: Duration,
    costs: [Cost; 3],
    tally: Tally,
}

impl Report<'_> {
    fn row(self) -> Row {
        let [before, up, held] = self.costs;
        let sessions = f64::from(self.arguments.sessions);
        let seconds = self.took.as_secs_f64();
        let cpu = (up.cpu - before.cpu).as_secs_f64();
        let step = |of: fn(&Steps) -> Duration| {
            Quantiles::of_times(self.tally.up.iter().map(|up| of(&up.steps)))
        };
        let ups = if self.arguments.at_once == 0 {
            Quantiles::of_times(self.tally.up.iter().map(|up| up.at))
        } else {
            step(|steps| steps.up)
        };
        let resident = held.resident.saturating_sub(before.resident);
        let total = resident + held.sockets.saturating_sub(before.sockets);
        Row {
            users: self.users,
            at_once: self.arguments.at_once,
            sessions: self.arguments.sessions,
            seconds,
            logins_per_second: sessions / seconds,
            logins_per_cpu_second: sessions / cpu,
            up_p50_ms: ups.p50,
            up_p99_ms: ups.p99,
            dials_per_session: self.tally.dials as f64 / sessions,
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
            bytes_per_session: total as f64 / sessions,
            resident_per_session: resident as f64 / sessions,
            bytes_total: total,
            cpu_percent_idle: 100.0 * (held.cpu - up.cpu).as_secs_f64()
                / (held.at - up.at).as_secs_f64(),
        }
    }
}

fn tables(rows: &[Row]) -> [Table; 3] {
    let scene = |row: &Row| {
        let users = format!("{:?}", row.users).to_lowercase();
        let at_once = if row.at_once == 0 { "all".to_owned() } else { row.at_once.to_string() };
        [row.sessions.to_string(), users, at_once]
    };
    let columns = || [right("sessions"), left("users"), right("at once")];
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
         time. Memory: resident and of its sockets in the kernel, over what it was before.",
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
    let local = |at_once: fn(u32) -> bool| {
        scenes.iter().find(move |row| row.users == Users::Local && at_once(row.at_once))
    };
    let steady = local(|at_once| at_once > 0);
    let storm = local(|at_once| at_once == 0);
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
        target("storm: all are up", storm.map(|row| row.seconds), Bound::AtMost(15.0), None, "s"),
        target(
            "storm: dials per session",
            storm.map(|row| row.dials_per_session),
            Bound::AtMost(1.2),
            None,
            "",
        ),
        target("memory of an idle session", memory, Bound::AtMost(16.0), Some(6.0), "KiB"),
        target(
            "idle sessions",
            steady.map(|row| row.cpu_percent_idle),
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
