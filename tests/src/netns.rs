//! Network namespaces without names, links between them, and running code inside.
//! A namespace lives as long as its value or a process or socket in it.
//! Never touches the host's own network: links are made inside, and never pass through it.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    label: String,
    handle: File,
}

impl Namespace {
    /// Makes a namespace with its loopback link up and IPv6 switched off: the outer paths of a
    /// lab carry only what the test sends.
    ///
    /// # Errors
    /// Without root, or when the kernel refuses.
    pub fn new(label: &str) -> Result<Self> {
        let handle = std::thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)
                .context("making a network namespace (labs need root)")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the thread that makes a namespace died"))??;
        let namespace = Self { label: label.to_owned(), handle };
        // A kernel may have no IPv6.
        if Path::new("/proc/sys/net/ipv6").exists() {
            for scope in ["all", "default"] {
                namespace.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
            }
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A path that `ip` and `nsenter` take for this namespace, while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// Runs `work` on a thread inside the namespace and gives what it returns. Sockets opened
    /// there stay in the namespace wherever they are used.
    ///
    /// # Errors
    /// When the namespace cannot be entered; a panic of `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.handle, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("entering namespace {}", self.label))?;
                work()
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command that will run inside, with a /sys of its own that shows this namespace's links,
    /// in a process group of its own, and that dies with the thread that starts it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let handle = self.handle.as_raw_fd();
        command.process_group(0);
        // SAFETY: `enter` only makes system calls: it neither allocates nor takes a lock, which
        // is what is allowed between fork and exec. The descriptor is open as long as `self`, and
        // the command is started while `self` lives, or fails.
        unsafe { command.pre_exec(move || enter(handle)) };
        command
    }

    /// Runs a program to its end and gives its standard output.
    ///
    /// # Errors
    /// When it cannot be started or does not exit with 0; the message has its standard error.
    pub fn exec(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("starting {program}"))?;
        if !output.status.success() {
            bail!(
                "{program} {} in {}: {}: {}",
                arguments.join(" "),
                self.label,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `ip` with these arguments, separated by spaces.
    ///
    /// # Errors
    /// As [`Namespace::exec`].
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.exec("ip", &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Writes a kernel setting, for example `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the kernel has no such setting or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{key}");
        self.run(|| std::fs::write(&path, value).with_context(|| format!("writing {path}")))
    }

    /// Adds `address` (with its prefix length) to a link.
    ///
    /// # Errors
    /// As [`Namespace::exec`].
    pub fn address(&self, link: &str, address: &str) -> Result<()> {
        self.ip(&format!("address add {address} dev {link}")).map(drop)
    }

    /// Routes `prefix` by `gateway`.
    ///
    /// # Errors
    /// As [`Namespace::exec`].
    pub fn route(&self, prefix: &str, gateway: Ipv4Addr) -> Result<()> {
        self.ip(&format!("route add {prefix} via {gateway}")).map(drop)
    }
}

/// Joins two namespaces by a veth pair that is up and finishes its checksums itself: frames that
/// an AF_XDP socket takes from a link are as a wire would carry them.
///
/// # Errors
/// When a name is taken or the kernel refuses.
pub fn join(left: (&Namespace, &str), right: (&Namespace, &str)) -> Result<()> {
    join_with(left, right, 1)
}

/// As [`join`], with `queues` receive and transmit queues on each end.
///
/// # Errors
/// As [`join`].
pub fn join_with(
    (left, left_link): (&Namespace, &str),
    (right, right_link): (&Namespace, &str),
    queues: u16,
) -> Result<()> {
    let count = format!("numtxqueues {queues} numrxqueues {queues}");
    left.ip(&format!(
        "link add name {left_link} {count} type veth peer name {right_link} {count} netns {}",
        right.path()
    ))?;
    for (namespace, link) in [(left, left_link), (right, right_link)] {
        namespace.exec("ethtool", &["-K", link, "tx", "off"])?;
        namespace.ip(&format!("link set dev {link} up"))?;
    }
    Ok(())
}

/// What a child does between fork and exec to stand inside the namespace.
fn enter(handle: RawFd) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // SAFETY: the descriptor was inherited from the parent, which keeps it open.
    let handle = unsafe { BorrowedFd::borrow_raw(handle) };
    setns(handle, CloneFlags::CLONE_NEWNET)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    nix::mount::umount2("/sys", MntFlags::MNT_DETACH)?;
    nix::mount::mount(Some("lab"), "/sys", Some("sysfs"), MsFlags::empty(), none)?;
    Ok(())
}
