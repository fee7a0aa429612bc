//! The page about RouterOS's manual has each property with tests for it, and each test that it names
//! is there; the page for operators has each endpoint, and the log lines that it explains are logged;
//! what is there to deploy fits the daemon's defaults. Never says whether a test passes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use controlplane::config::Config;
use controlplane::host::{CAPABILITIES, XDP_CAPABILITIES};

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

const OPERATION: &str = include_str!("../../docs/operation.md");
const ROUTES: &str = include_str!("../src/api/server.rs");
const API: &str = include_str!("../src/api/mod.rs");

/// Methods and paths that the daemon's router has.
fn endpoints() -> BTreeSet<(String, String)> {
    let mut endpoints = BTreeSet::new();
    let (router, _) = ROUTES.split_once(".with_state(").unwrap();
    for route in router.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        for method in ["get", "post", "patch", "delete", "put"] {
            if route.contains(&format!(" {method}(")) || route.contains(&format!(".{method}(")) {
                endpoints.insert((method.to_uppercase(), path.to_owned()));
            }
        }
    }
    endpoints
}

#[test]
fn each_endpoint_is_in_the_page_for_operators_and_in_the_modules() {
    let words = |line: &str| line.split(['`', ' ']).map(str::to_owned).collect::<Vec<_>>();
    let endpoint = |line: &str| {
        let words = words(line);
        let path = words.iter().find(|word| word.starts_with("/v1/"))?;
        let method = words
            .iter()
            .find(|word| word.chars().all(|c| c.is_ascii_uppercase()) && !word.is_empty())?;
        Some((method.clone(), path.clone()))
    };
    let table = |text: &str, begin: &str| -> Vec<_> {
        text.lines().filter_map(|line| endpoint(line.strip_prefix(begin)?)).collect()
    };
    let served = endpoints();
    assert!(served.len() > 15, "{served:?}");
    for (what, rows) in [("page", table(OPERATION, "| `")), ("module", table(API, "//! | `"))] {
        assert_eq!(rows.iter().cloned().collect::<BTreeSet<_>>(), served, "{what}");
        assert_eq!(rows.len(), served.len(), "{what}: an endpoint stands twice");
    }
}

/// The text of all Rust files of a folder.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_log_line_that_is_explained_is_logged() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut code = String::new();
    for folder in ["controlplane/src", "dataplane/src"] {
        sources(&root.join(folder), &mut code);
    }
    let (_, section) = OPERATION.split_once("\n## Log lines\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut rows = 0;
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let line = row.split('`').next().unwrap();
        assert!(code.contains(line), "nothing logs: {line}");
        rows += 1;
    }
    assert!(rows > 20, "{rows} rows");
}

#[test]
fn the_unit_has_the_folders_and_rights_of_the_daemon() {
    let unit = include_str!("../../deploy/penstock.service");
    let values = |key: &str| -> Vec<_> {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.flat_map(str::split_whitespace).collect()
    };
    let Config { database, control_socket, .. } = Config::default();
    let below = |file: &Path, root: &str| {
        let folder = file.parent().unwrap().strip_prefix(root).unwrap();
        folder.to_str().unwrap().to_owned()
    };
    assert_eq!(values("StateDirectory"), [below(&database, "/var/lib")]);
    assert_eq!(values("RuntimeDirectory"), [below(&control_socket, "/run")]);
    for (_, capability) in CAPABILITIES.into_iter().chain(XDP_CAPABILITIES) {
        assert!(values("CapabilityBoundingSet").contains(&capability), "{capability}");
    }
    let filter = include_str!("../../deploy/fail2ban/filter.d/penstock.conf");
    assert!(filter.contains("_SYSTEMD_UNIT=penstock.service"));
}

/// What `penstock check` advises, a machine that was deployed has.
#[test]
fn sysctls_that_are_advised_are_among_those_to_deploy() {
    let advice = include_str!("../src/cli/check/mod.rs");
    let deployed = include_str!("../../deploy/sysctl.d/penstock.conf");
    let advised: Vec<_> = advice
        .split("sysctl -w ")
        .skip(1)
        .filter_map(|rest| rest.split_once(')')?.0.split_once('='))
        .collect();
    assert_eq!(advised.len(), 3, "{advised:?}");
    for (key, value) in advised {
        assert!(deployed.contains(&format!("{key} = {value}\n")), "{key}");
    }
}
