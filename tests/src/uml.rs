//! A Linux guest in User Mode Linux on the host's own root, read-only: a real PPTP peer in seconds.
//! The guest's first process reads shell lines from us and answers with their output and status.
//! Never writes to the host's files; never outlives its value.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::netns::Namespace;
use crate::process::Process;

const KERNEL: &str = "linux.uml";
/// Where `scripts/setup` unpacks peers that must not be installed on the host.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
/// A boot takes two seconds on an idle machine; tests share theirs.
const BOOT: Duration = Duration::from_secs(60);
const POWER_OFF: Duration = Duration::from_secs(30);
/// Begins each line of the guest that is meant for us and not output of a command; the status follows.
/// A program that was started on the console ([`Guest::run`] with `<&3`) answers lines with it too.
pub const MARK: &str = "@@lab";
/// A directory of the guest whose content is its own, in memory.
pub const SCRATCH: &str = "/run";

/// The guest's link.
#[derive(Debug, Clone)]
pub struct Uplink<'a> {
    /// The veth end in the lab that becomes the guest's `vec0`.
    pub link: &'a str,
    /// Address and prefix length inside the guest.
    pub address: &'a str,
    /// Default gateway, if it needs one.
    pub gateway: Option<Ipv4Addr>,
}

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    /// Lines of the console that are already answered for.
    seen: usize,
    _directory: TempDir,
}

/// A shell line's end.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit status.
    pub status: i32,
    /// What it wrote, standard error too.
    pub output: String,
}

impl Finished {
    /// Fails, with the output, unless the status is 0.
    ///
    /// # Errors
    /// When the status is not 0.
    pub fn success(self) -> Result<Self> {
        ensure!(
            self.status == 0,
            "the guest's command ended with {}:\n{}",
            self.status,
            self.output
        );
        Ok(self)
    }
}

impl Guest {
    /// Boots a guest with PPP and MPPE loaded and waits until it takes commands.
    ///
    /// # Errors
    /// When User Mode Linux is not installed or the boot does not end in time.
    pub fn boot(namespace: &Namespace, uplink: &Uplink<'_>) -> Result<Self> {
        Self::start(namespace, Some(uplink))
    }

    /// As [`Guest::boot`], without a link to the lab.
    ///
    /// # Errors
    /// As [`Guest::boot`].
    pub fn boot_alone(namespace: &Namespace) -> Result<Self> {
        Self::start(namespace, None)
    }

    fn start(namespace: &Namespace, uplink: Option<&Uplink<'_>>) -> Result<Self> {
        let directory = TempDir::new()?;
        let script = directory.path().join("init");
        std::fs::write(&script, init_script(uplink))?;
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
        let unpacked = format!("{PEERS}/usr/bin/{KERNEL}");
        let kernel = if Path::new(&unpacked).exists() { &unpacked } else { KERNEL };
        let mut command = namespace.command(kernel);
        command
            .arg("mem=128M")
            .args(["root=/dev/root", "rootfstype=hostfs", "hostfs=/", "ro"])
            .arg(format!("init={}", script.display()))
            .args(["con0=fd:0,fd:1", "con=null", "quiet"])
            .arg(format!("uml_dir={}/", directory.path().display()))
            .env("TMPDIR", directory.path());
        if let Some(Uplink { link, .. }) = uplink {
            command.arg(format!("vec0:transport=raw,ifname={link},depth=128,gro=1"));
        }
        let process =
            Process::start("the Linux guest", command).context("package user-mode-linux")?;
        let mut guest = Self { process, seen: 0, _directory: directory };
        guest.wait_mark("the guest's boot", BOOT)?;
        Ok(guest)
    }

    /// The host's id of the process that is the guest's kernel.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Runs a shell line to its end. The console is descriptor 3.
    ///
    /// # Errors
    /// When it does not end in time or the guest dies.
    pub fn run(&mut self, line: &str, limit: Duration) -> Result<Finished> {
        ensure!(!line.contains('\n'), "one line at a time");
        // The console's line discipline takes 4095 bytes.
        ensure!(line.len() < 4000, "the line is too long for the guest's console");
        self.process.send(line)?;
        self.wait_mark(&format!("the end of: {line}"), limit)
    }

    /// Loads IPv6, which guests do without otherwise.
    ///
    /// # Errors
    /// As [`Guest::run`].
    pub fn load_ipv6(&mut self) -> Result<()> {
        let line = format!(
            "modules=/usr/lib/uml/modules/$(uname -r)/kernel; [ -d $modules ] || \
             modules={PEERS}$modules; insmod $modules/net/ipv6/ipv6.ko"
        );
        self.run(&line, BOOT)?.success().map(drop)
    }

    /// Dials with pppd and pptp-linux, and waits until the link is up or was given up; the output
    /// is pppd's log. `options` go to pppd as they are, separated by spaces.
    ///
    /// # Errors
    /// As [`Guest::run`].
    pub fn dial(
        &mut self,
        server: Ipv4Addr,
        user: &str,
        password: &str,
        options: &str,
    ) -> Result<Finished> {
        let line = format!(
            "pppd pty 'pptp {server} --nolaunchpppd' user {user} password {password} \
             noauth nodefaultroute debug updetach {options}"
        );
        self.run(&line, Duration::from_secs(60))
    }

    /// Switches the guest off and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn power_off(mut self) -> Result<()> {
        self.process.close_input();
        self.process.wait_exit(POWER_OFF).map(drop)
    }

    fn wait_mark(&mut self, what: &str, limit: Duration) -> Result<Finished> {
        let (index, line) =
            self.process.wait_line(what, self.seen, limit, |text| text.contains(MARK))?;
        let (before, status) = line.text.split_once(MARK).context("a mark was found")?;
        let Ok(status) = status.trim().parse() else { bail!("the guest answered {:?}", line.text) };
        let mut output = String::new();
        for line in &self.process.lines()[self.seen..index] {
            output.push_str(&line.text);
            output.push('\n');
        }
        // What a command wrote without an end of line stands before the mark.
        output.push_str(before);
        self.seen = index + 1;
        Ok(Finished { status, output })
    }
}

fn init_script(uplink: Option<&Uplink<'_>>) -> String {
    let link = uplink.map_or(String::new(), |Uplink { address, gateway, .. }| {
        let route =
            gateway.map_or(String::new(), |gateway| format!("ip route add default via {gateway}"));
        format!("ip address add {address} dev vec0\nip link set vec0 up\n{route}")
    });
    format!(
        r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs {SCRATCH}
mount -t tmpfs tmpfs /etc/ppp
modules=/usr/lib/uml/modules/$(uname -r)/kernel
[ -d $modules ] || modules={PEERS}$modules
for module in lib/crypto/libarc4 lib/crc-ccitt drivers/net/slip/slhc \
    drivers/net/ppp/ppp_generic drivers/net/ppp/ppp_async drivers/net/ppp/ppp_mppe \
    fs/overlayfs/overlay; do
    insmod $modules/$module.ko
done
[ ! -d {PEERS}/usr/sbin ] || mount -t overlay overlay -o lowerdir={PEERS}/usr/sbin:/usr/sbin /usr/sbin
[ -e /dev/ppp ] || mknod /dev/ppp c 108 0
ip link set lo up
{link}
stty -echo
exec 3<&0
echo '{MARK} 0'
while IFS= read -r line; do
    eval "$line" </dev/null 2>&1
    echo "{MARK} $?"
done
echo o > /proc/sysrq-trigger
while :; do read -r never; done
"#
    )
}
