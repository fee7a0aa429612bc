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

mod cost;
mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use lab::load::{Load, Plan, Steps, Tally};
use serde::Serialize;

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
    /// Where the figures go
    #[arg(long, default_value = "target/bench/dial.json")]
    json: PathBuf,
}

/// Who knows the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Users {
    /// The daemon itself.
    Local,
    /// A FreeRADIUS beside it.
    Radius,
}

/// A line of the result.
#[derive(Debug, Serialize)]
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
    steps: BTreeMap<&'static str, Quantiles>,
    /// Resident memory of the daemon and kernel memory of its sockets, over what they were before.
    bytes_per_session: f64,
    resident_per_session: f64,
    bytes_total: u64,
    /// Of one core, while all sessions were idle.
    cpu_percent_idle: f64,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

/// Measures and writes.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut rows = Vec::new();
    for users in &arguments.users {
        match measure(arguments, *users) {
            Ok(row) => {
                print(&row)?;
                rows.push(row);
            }
            Err(error) if *users == Users::Radius && !scene::has_freeradius() => {
                writeln!(io::stdout(), "radius: not measured: {error:#}")?;
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(folder) = arguments.json.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&arguments.json, serde_json::to_string_pretty(&rows)?)
        .with_context(|| format!("writing {}", arguments.json.display()))?;
    writeln!(io::stdout(), "wrote {}", arguments.json.display())?;
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
    report.row()
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
    fn row(self) -> Result<Row> {
        let [before, up, held] = self.costs;
        let sessions = f64::from(self.arguments.sessions);
        let seconds = self.took.as_secs_f64();
        let cpu = (up.cpu - before.cpu).as_secs_f64();
        let step =
            |of: fn(&Steps) -> Duration| quantiles(self.tally.up.iter().map(|up| of(&up.steps)));
        let ups = if self.arguments.at_once == 0 {
            quantiles(self.tally.up.iter().map(|up| up.at))?
        } else {
            step(|steps| steps.up)?
        };
        let resident = held.resident.saturating_sub(before.resident);
        let total = resident + held.sockets.saturating_sub(before.sockets);
        Ok(Row {
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
                ("1 tcp", step(|steps| steps.tcp)?),
                ("2 call", step(|steps| steps.call)?),
                ("3 lcp", step(|steps| steps.lcp)?),
                ("4 authentication", step(|steps| steps.authentication)?),
                ("5 ccp", step(|steps| steps.ccp)?),
                ("6 up", step(|steps| steps.up)?),
            ]),
            bytes_per_session: total as f64 / sessions,
            resident_per_session: resident as f64 / sessions,
            bytes_total: total,
            cpu_percent_idle: 100.0 * (held.cpu - up.cpu).as_secs_f64()
                / (held.at - up.at).as_secs_f64(),
        })
    }
}

fn quantiles(times: impl Iterator<Item = Duration>) -> Result<Quantiles> {
    let mut histogram = Histogram::<u64>::new(3)?;
    for time in times {
        histogram.record(u64::try_from(time.as_micros())?)?;
    }
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) })
}

fn print(row: &Row) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\n{} sessions, users: {:?}, at once: {}\n\
         {:>8.0} logins/s over {:.1} s; {:.0} for each second of the daemon's processor time\n\
         {:>8.3} dials per session, {} failures {:?}\n\
         {:>8.1} KiB per session ({:.1} KiB of them resident), {:.1} MiB in total\n\
         {:>8.2} % of a core while all are idle\n\
         {:<18}{:>10}{:>10}{:>10}{:>10}",
        row.sessions,
        row.users,
        row.at_once,
        row.logins_per_second,
        row.seconds,
        row.logins_per_cpu_second,
        row.dials_per_session,
        row.failures,
        row.failures_by_reason,
        row.bytes_per_session / 1024.0,
        row.resident_per_session / 1024.0,
        row.bytes_total as f64 / f64::from(1 << 20),
        row.cpu_percent_idle,
        "step, ms",
        "p50",
        "p90",
        "p99",
        "max",
    )?;
    for (step, Quantiles { p50, p90, p99, max }) in &row.steps {
        writeln!(out, "{step:<18}{p50:>10.1}{p90:>10.1}{p99:>10.1}{max:>10.1}")?;
    }
    Ok(())
}
