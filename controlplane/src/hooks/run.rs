//! One run of one hook: its arguments, environment, the file of attributes, and its output.
//!
//! Arguments are pppd's: interface, device, speed, local address, remote address, the caller. What
//! subscribers call themselves reaches a hook in its environment alone, with control characters
//! escaped, and no shell on the way.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tracing::info;

use super::{About, Occasion};
use crate::config;
use crate::text::printable;

/// Where a hook finds its tools: the daemon's own environment is none of its business.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Octets of a hook's output that are logged, for each of its streams.
const MAX_OUTPUT: u64 = 16 * 1024;

/// How long what a hook left running may still write.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    /// It cannot be started.
    #[error("{program} cannot be run: {error}")]
    Start {
        /// Which.
        program: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It says that it failed.
    #[error("{program}: {status}")]
    Failed {
        /// Which.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// It hung.
    #[error("{program} ran for {} s and was killed", .timeout.as_secs())]
    Stuck {
        /// Which.
        program: PathBuf,
        /// How long it may run.
        timeout: Duration,
    },
    /// Its file cannot be written.
    #[error("attributes for hooks, {file}: {error}")]
    Attributes {
        /// Which.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Runs what is configured for this occasion.
pub(super) async fn run(
    config: &config::Hooks,
    occasion: &Occasion,
    about: &About,
) -> Result<(), HookError> {
    let file = attributes_file(config, about);
    let program = match occasion {
        Occasion::Up => &config.up,
        Occasion::Change => &config.change,
        Occasion::Down(_) => &config.down,
    };
    if !matches!(occasion, Occasion::Down(_)) {
        write_attributes(&file, &about.attributes)
            .map_err(|error| HookError::Attributes { file: file.clone(), error })?;
    }
    let outcome = match program {
        Some(program) => execute(program, config.timeout.duration(), occasion, about, &file).await,
        None => Ok(()),
    };
    if matches!(occasion, Occasion::Down(_)) {
        // It may never have been written.
        let _ = std::fs::remove_file(&file);
    }
    outcome
}

async fn execute(
    program: &Path,
    timeout: Duration,
    occasion: &Occasion,
    about: &About,
    file: &Path,
) -> Result<(), HookError> {
    let failed = |error| HookError::Start { program: program.to_owned(), error };
    let mut child = Command::new(program)
        .args([&about.interface, &about.device, "0"])
        .args([about.local, about.remote, about.peer].map(|address| address.to_string()))
        .current_dir("/")
        .env_clear()
        .envs(environment(occasion, about))
        .env("RADATTR", file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // So that what it starts can be killed with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut output = log_output(&mut child, program);
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let ended = tokio::time::timeout(timeout, child.wait()).await;
    if ended.is_err()
        && let Some(group) = group
    {
        // It may have ended just now.
        let _ = killpg(group, Signal::SIGKILL);
        // Collects it.
        let _ = child.wait().await;
    }
    let words = async { while output.join_next().await.is_some() {} };
    // What it left running may hold its output open for ever.
    let _ = tokio::time::timeout(LAST_WORDS, words).await;
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(HookError::Failed { program: program.to_owned(), status }),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(HookError::Stuck { program: program.to_owned(), timeout }),
    }
}

/// pppd's variables, and accel-ppp's for the addresses of the tunnel.
fn environment(occasion: &Occasion, about: &About) -> Vec<(&'static str, String)> {
    let peer = about.peer.to_string();
    let mut all = vec![
        ("PATH", PATH.to_owned()),
        ("PEERNAME", printable(about.user.as_bytes())),
        ("IFNAME", about.interface.clone()),
        ("DEVICE", about.device.clone()),
        ("SPEED", "0".to_owned()),
        ("IPLOCAL", about.local.to_string()),
        ("IPREMOTE", about.remote.to_string()),
        ("CALLER_ID", peer.clone()),
        ("CALLING_SID", peer),
        ("CALLED_SID", about.called.to_string()),
        ("ACCT_SESSION_ID", about.session.clone()),
    ];
    if let Occasion::Down(usage) = occasion {
        all.extend([
            ("CONNECT_TIME", usage.seconds.to_string()),
            ("BYTES_SENT", usage.volume.output_octets.to_string()),
            ("BYTES_RCVD", usage.volume.input_octets.to_string()),
        ]);
    }
    all
}

/// Where the attributes of a session are for its hooks.
pub(super) fn attributes_file(config: &config::Hooks, about: &About) -> PathBuf {
    let mut file = config.radattr.clone().into_os_string();
    file.push(".");
    file.push(&about.interface);
    file.into()
}

/// One attribute a line, as pppd's radattr plugin writes them. Whole or not at all, for a hook
/// that still runs may read.
fn write_attributes(file: &Path, attributes: &[(String, String)]) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push("~");
    let new = PathBuf::from(new);
    if let Some(folder) = file.parent().filter(|folder| !folder.exists()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut out =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    for (name, value) in attributes {
        writeln!(out, "{} {}", printable(name.as_bytes()), printable(value.as_bytes()))?;
    }
    std::fs::rename(new, file)
}

fn log_output(child: &mut Child, program: &Path) -> JoinSet<()> {
    let mut output = JoinSet::new();
    if let Some(stream) = child.stdout.take() {
        output.spawn(log_lines(stream, program.to_owned()));
    }
    if let Some(stream) = child.stderr.take() {
        output.spawn(log_lines(stream, program.to_owned()));
    }
    output
}

async fn log_lines(stream: impl AsyncRead + Unpin, program: PathBuf) {
    let mut reader = BufReader::new(stream.take(MAX_OUTPUT));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        info!(hook = %program.display(), line = printable(line.trim_ascii_end()), "hook says");
        line.clear();
    }
    // The rest is read, so that it is not stopped for its chatter, and thrown away.
    let mut rest = reader.into_inner().into_inner();
    let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
}
