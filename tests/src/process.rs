//! Child processes of a lab: output kept line by line, awaited with deadlines, ended by pid.
//! A process and all that it started in its group are gone when its value is dropped.
//! Never leaves a zombie and never signals by name.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::wait;

/// One line that a process wrote.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// Its text without the line's end.
    pub text: String,
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Process {
    /// Starts `command`, which [`crate::netns::Namespace::command`] made (its child leads a
    /// process group). The child is killed when the calling thread ends.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        if let Some(stdout) = child.stdout.take() {
            keep_lines(stdout, &lines);
        }
        if let Some(stderr) = child.stderr.take() {
            keep_lines(stderr, &lines);
        }
        let stdin = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, ended: None, stdin, lines })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// When it no longer reads.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("standard input was closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("writing to {}", self.name))
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// All lines so far, both streams in the order of arrival.
    pub fn lines(&self) -> Vec<Line> {
        locked(&self.lines).clone()
    }

    /// All output so far.
    pub fn output(&self) -> String {
        text_of(&locked(&self.lines))
    }

    /// Waits for a line, after the first `skip` ones, that `matches` says is the one.
    /// Gives its index and itself.
    ///
    /// # Errors
    /// When `limit` passes or the process ends without such a line; the message has the output.
    pub fn wait_line(
        &mut self,
        what: &str,
        skip: usize,
        limit: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Result<(usize, Line)> {
        let waited = wait::until(what, limit, || {
            // Asked before the search: what is written before the end is found.
            let ended = self.poll()?;
            let lines = locked(&self.lines);
            if let Some(found) =
                lines.iter().enumerate().skip(skip).find(|(_, line)| matches(&line.text))
            {
                return Ok(Some((found.0, found.1.clone())));
            }
            match ended {
                // The readers may still hold the last lines.
                Some(status) if Arc::strong_count(&self.lines) == 1 => {
                    bail!("{} ended ({status}) before: {what}", self.name)
                }
                _ => Ok(None),
            }
        });
        waited.with_context(|| format!("output of {}:\n{}", self.name, self.output()))
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended.is_some() {
            bail!("{} has ended", self.name);
        }
        nix::sys::signal::kill(self.group()?, signal)
            .with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Waits until it ends by itself, then for the last of its output.
    ///
    /// # Errors
    /// When `limit` passes; the message has the output.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = wait::until("the end of the process", limit, || self.poll());
        let status =
            ended.with_context(|| format!("output of {}:\n{}", self.name, self.output()))?;
        // A grandchild may hold the streams open: what the process wrote itself is there by then.
        let _ = wait::until("the end of its output", Duration::from_secs(1), || {
            Ok((Arc::strong_count(&self.lines) == 1).then_some(()))
        });
        Ok(status)
    }

    /// Its status if it has ended. What it left in its process group is killed first, while its
    /// own entry still keeps the group's id from being given to others.
    ///
    /// # Errors
    /// When the kernel does not know the process.
    pub fn poll(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            if waitid(Id::Pid(self.group()?), flags)? != WaitStatus::StillAlive {
                let _ = killpg(self.group()?, Signal::SIGKILL);
                self.ended = Some(self.child.wait()?);
            }
        }
        Ok(self.ended)
    }

    /// The process leads its group: one id names both.
    fn group(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// Asks it to end with SIGTERM and waits.
    ///
    /// # Errors
    /// When it does not end in time, or not by itself with code 0.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = self.wait_exit(limit)?;
        if status.code() != Some(0) {
            bail!(
                "{} ended with {status} (signal {:?}):\n{}",
                self.name,
                status.signal(),
                self.output()
            );
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none()
            && let Ok(group) = self.group()
        {
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

fn keep_lines(stream: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<Line>>>) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut raw = Vec::new();
        while let Ok(length) = reader.read_until(b'\n', &mut raw) {
            if length == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&raw).trim_end_matches(['\r', '\n']).to_owned();
            locked(&lines).push(Line { at: Instant::now(), text });
            raw.clear();
        }
    });
}

/// A reader that panicked left whole lines behind.
fn locked(lines: &Mutex<Vec<Line>>) -> MutexGuard<'_, Vec<Line>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text_of(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}
