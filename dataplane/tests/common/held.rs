//! Workers that are held up, as on a machine whose processors have other things to do.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::common::eventually;

static HOLD: AtomicBool = AtomicBool::new(false);
static HELD: AtomicUsize = AtomicUsize::new(0);

/// As long as it lives, workers of this thread's network namespace stand still.
pub struct Held(());

impl Held {
    pub fn hold() -> Self {
        let action =
            SigAction::new(SigHandler::Handler(stand), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler only uses atomic numbers and sleeps.
        unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
        HOLD.store(true, Ordering::SeqCst);
        let network = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let mut workers = 0;
        for task in fs::read_dir("/proc/self/task").unwrap() {
            let task = task.unwrap();
            let is_ours = fs::read_link(task.path().join("ns/net")).is_ok_and(|its| its == network);
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if is_ours && name.starts_with("worker-") {
                let thread: libc::pid_t = task.file_name().to_str().unwrap().parse().unwrap();
                let process = nix::unistd::getpid().as_raw();
                // SAFETY: a system call without pointers.
                let sent =
                    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
                assert_eq!(sent, 0);
                workers += 1;
            }
        }
        eventually("workers stand", || (HELD.load(Ordering::SeqCst) == workers).then_some(()));
        assert!(workers > 0);
        Self(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HOLD.store(false, Ordering::SeqCst);
    }
}

extern "C" fn stand(_: libc::c_int) {
    HELD.fetch_add(1, Ordering::SeqCst);
    while HOLD.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    HELD.fetch_sub(1, Ordering::SeqCst);
}
