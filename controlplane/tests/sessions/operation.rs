//! The page for operators has a row for each counter, and none that there is not.

use std::collections::BTreeSet;

use controlplane::api::types::AccountingStats;
use dataplane::api::counters::{PortDrop, XdpCounters};

use super::server::Server;

const PAGE: &str = include_str!("../../../docs/operation.md");

/// What is counted only where the kernel lets us.
const BY_KERNEL: &str = "refused_locked_out_by_kernel";

/// Names in the first cells of the tables below these headings.
fn rows(headings: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for heading in headings {
        let (_, section) = PAGE.split_once(heading).unwrap();
        let section = section.split("\n#").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        for name in rows.flat_map(|cell| cell.split('`').step_by(2)) {
            assert!(names.insert(name.to_owned()), "{name} has two rows");
        }
    }
    names
}

fn names<T: ToString>(names: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.to_string()).collect()
}

#[tokio::test]
async fn each_counter_has_a_row_of_what_to_do() {
    let server = Server::start("").await;
    let stats = server.daemon.stats();
    let mut control = names(stats.control.keys());
    control.insert(BY_KERNEL.to_owned());
    assert_eq!(
        rows(&["### `control`: connections and logins\n", "### `control`: RADIUS\n"]),
        control
    );
    assert_eq!(rows(&["### `packets`\n"]), names(stats.packets.keys()));
    assert_eq!(rows(&["### `drops`\n"]), names(stats.drops.keys()));
    let verdicts = XdpCounters::default();
    assert_eq!(rows(&["### `xdp`\n"]), names(verdicts.iter().map(|(reason, _)| reason.name())));
    assert_eq!(rows(&["### `DROPS` of a port\n"]), names(PortDrop::ALL.map(PortDrop::name)));

    let queue = AccountingStats {
        unwritten: 0,
        queued: 0,
        oldest: None,
        servers_answer: true,
        answered: 0,
        given_up: 0,
        lost: 0,
        store_errors: 0,
    };
    let queue = serde_json::to_value(queue).unwrap();
    assert_eq!(rows(&["### `accounting`\n"]), names(queue.as_object().unwrap().keys()));
    server.stop().await;
}
