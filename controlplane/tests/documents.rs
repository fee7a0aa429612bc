//! The page about RouterOS's manual has each property with tests for it, and each test that it names
//! is there. Never says whether it passes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../docs/routeros.md");
const PROVEN: &str = "proven by";

/// Names of all functions in a folder's Rust files.
fn functions(folder: &Path, found: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn each_property_of_the_manual_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut known = HashSet::new();
    for folder in ["controlplane", "dataplane", "protocol", "tests/tests", "ebpf"] {
        functions(&root.join(folder), &mut known);
    }
    let (mut proven, mut rows) = (false, 0);
    for line in PAGE.lines() {
        let is_row = line.starts_with('|');
        if !is_row || line.contains(PROVEN) {
            proven = is_row;
            continue;
        }
        if !proven || line.starts_with("|---") {
            continue;
        }
        rows += 1;
        let cell = line.trim_end_matches(['|', ' ']).rsplit(" | ").next().unwrap();
        let names: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {line}");
        for name in names {
            let (_, name) = name.rsplit_once("::").unwrap();
            let is_there = match name.strip_suffix('*') {
                Some(begin) => begin.len() > 5 && known.iter().any(|fun| fun.starts_with(begin)),
                None => known.contains(name),
            };
            assert!(is_there, "there is no test {name}: {line}");
        }
    }
    assert!(rows > 60, "{rows} rows");
}

/// Each menu's properties and words, as RouterOS prints and documents them, by the page's heading.
const MANUAL: [(&str, &[&str]); 7] = [
    (
        "## Server: `/interface pptp-server server`",
        &[
            "enabled",
            "authentication",
            "keepalive-timeout",
            "max-mtu",
            "max-mru",
            "mrru",
            "default-profile",
        ],
    ),
    (
        "## Users: `/ppp secret`",
        &[
            "name",
            "password",
            "service",
            "caller-id",
            "profile",
            "local-address",
            "remote-address",
            "routes",
            "disabled",
            "comment",
            "limit-bytes-in",
            "limit-bytes-out",
            "remote-ipv6-prefix",
            "ipv6-routes",
        ],
    ),
    (
        "## Profiles: `/ppp profile`",
        &[
            "local-address",
            "remote-address",
            "dns-server",
            "wins-server",
            "rate-limit",
            "only-one",
            "session-timeout",
            "idle-timeout",
            "use-encryption",
            "use-compression",
            "use-vj-compression",
            "use-ipv6",
            "use-mpls",
            "use-upnp",
            "change-tcp-mss",
            "incoming-filter",
            "outgoing-filter",
            "address-list",
            "interface-list",
            "bridge",
            "bridge-horizon",
            "bridge-learning",
            "bridge-path-cost",
            "bridge-port-priority",
            "bridge-port-trusted",
            "bridge-port-vid",
            "on-up",
            "on-down",
            "insert-queue-before",
            "parent-queue",
            "queue-type",
            "remote-ipv6-prefix-pool",
            "remote-ipv6-prefix-reuse",
            "dhcpv6-pd-pool",
            "dhcpv6-lease-time",
            "dhcpv6-use-radius",
        ],
    ),
    ("## Pools: `/ip pool`", &["name", "ranges", "next-pool"]),
    ("## Pools: `/ipv6 pool`", &["name", "prefix", "prefix-length", "from-pool"]),
    (
        "## Client: `/interface pptp-client`",
        &[
            "add-default-route",
            "allow",
            "connect-to",
            "max-mru",
            "max-mtu",
            "mrru",
            "name",
            "password",
            "profile",
            "user",
            "disabled",
            "encoding",
            "idle-time",
            "mru",
            "mtu",
            "status",
            "uptime",
            "default-route-distance",
            "keepalive-timeout",
            "dial-on-demand",
            "use-peer-dns",
            "comment",
        ],
    ),
    (
        "## Interfaces for users: `/interface pptp-server`",
        &["name", "user", "client-address", "encoding", "mru", "mtu", "uptime", "disabled"],
    ),
];

#[test]
fn no_property_of_the_manual_is_missing() {
    for (heading, properties) in MANUAL {
        let (_, section) = PAGE.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
        let section = section.split("\n## ").next().unwrap();
        // What RouterOS calls it stands in the first cell.
        let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let named: HashSet<_> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let missing: Vec<_> = properties.iter().filter(|word| !named.contains(**word)).collect();
        assert!(missing.is_empty(), "{heading}: {missing:?}");
    }
}
