//! Hooks that write down what they were given.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::accounting::Volume;
use crate::config::Span;

const PATIENCE: Duration = Duration::from_secs(20);

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, body: &str) -> Option<std::path::PathBuf> {
        let file = self.path(name);
        std::fs::write(&file, format!("#!/bin/sh\ncd {}\n{body}\n", self.0.path().display()))
            .unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o700)).unwrap();
        Some(file)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn hooks(&self, body: &str) -> config::Hooks {
        config::Hooks {
            up: self.script("up", body),
            change: self.script("change", body),
            down: self.script("down", body),
            radattr: self.path("run/radattr"),
            ..config::Hooks::default()
        }
    }
}

fn about(user: &str) -> About {
    About {
        interface: "pptp7".to_owned(),
        device: "penstock".to_owned(),
        user: user.to_owned(),
        local: Ipv4Addr::new(10, 99, 0, 1),
        remote: Ipv4Addr::new(10, 99, 0, 2),
        peer: Ipv4Addr::new(192, 0, 2, 7),
        called: Ipv4Addr::new(192, 0, 2, 1),
        session: "6920f3a19c4e00000007".to_owned(),
        attributes: vec![("Class".to_owned(), "gold\nFilter-Id open".to_owned())],
    }
}

fn meter() -> Arc<Meter> {
    let volume = Volume { input_octets: 11, output_octets: 22, ..Volume::default() };
    Arc::new(move || Some(volume))
}

#[tokio::test]
async fn hooks_get_what_pppd_gives_in_the_order_of_a_session() {
    let folder = Folder::new();
    let config = folder.hooks(
        "echo \"$(basename $0): $*\" >> log; env | grep -v 'PWD=\\|^_\\|RADATTR\\|^SHLVL' | sort >> log
         cat $RADATTR >> log",
    );
    let hooks = Hooks::new(&config);
    let mut visit = hooks.up(about("ivan"), meter()).unwrap();
    visit.change(&[("Filter-Id".to_owned(), "slow".to_owned())]);
    drop(visit);
    hooks.finish(PATIENCE).await;
    insta::assert_snapshot!(folder.read("log"));
    assert!(!folder.path("run/radattr.pptp7").exists());
    assert_eq!(hooks.failures(), 0);
}

#[tokio::test]
async fn no_name_of_a_user_becomes_a_command() {
    let folder = Folder::new();
    let hooks = Hooks::new(&folder.hooks("printf '%s\\n' \"$PEERNAME\" > name"));
    let name = "$(touch got)`touch got`;touch got\n-e\0\u{202e}";
    drop(hooks.up(about(name), meter()));
    hooks.finish(PATIENCE).await;
    assert_eq!(folder.read("name"), "$(touch got)`touch got`;touch got\\n-e\\u{0}\\u{202e}\n");
    assert!(!folder.path("got").exists());
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_all_that_it_started() {
    let folder = Folder::new();
    let mut config = folder.hooks("");
    config.timeout = Span::seconds(5);
    config.up = folder.script("up", "sleep 1000 & echo $! > child; wait");
    let hooks = Hooks::new(&config);
    let visit = hooks.up(about("ivan"), meter());
    hooks.finish(PATIENCE).await;
    assert_eq!(hooks.failures(), 1);
    let child = folder.read("child").trim().to_owned();
    assert_ne!(child, "", "it was killed before it started anything");
    let child = format!("/proc/{child}/stat");
    let gone = async {
        while std::fs::read_to_string(&child).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    drop(visit);
    hooks.finish(PATIENCE).await;
}

#[tokio::test]
async fn hooks_that_fail_or_are_not_there_are_counted_and_the_next_one_runs() {
    let folder = Folder::new();
    let mut config = folder.hooks("echo down > ended");
    config.up = Some(folder.path("nowhere"));
    config.change = folder.script("change", "exit 3");
    let hooks = Hooks::new(&config);
    let mut visit = hooks.up(about("ivan"), meter()).unwrap();
    hooks.finish(PATIENCE).await;
    visit.change(&[]);
    drop(visit);
    hooks.finish(PATIENCE).await;
    assert_eq!((hooks.failures(), folder.read("ended")), (2, "down\n".to_owned()));
}

#[tokio::test]
async fn no_more_hooks_run_at_once_than_may_and_chatter_does_not_stop_them() {
    let folder = Folder::new();
    let body = "mkdir here || touch crowd; seq 20000; rmdir here; echo done >> count";
    let mut config = folder.hooks(body);
    config.max_running = 1;
    config.down = None;
    let hooks = Hooks::new(&config);
    let visits: Vec<_> = (0..8).map(|_| hooks.up(about("ivan"), meter())).collect();
    hooks.finish(PATIENCE).await;
    assert_eq!(folder.read("count").lines().count(), 8);
    assert!(!folder.path("crowd").exists());
    drop(visits);
    hooks.finish(PATIENCE).await;
}

#[test]
fn without_programs_there_are_no_hooks() {
    assert!(Hooks::new(&config::Hooks::default()).up(about("ivan"), meter()).is_none());
}
