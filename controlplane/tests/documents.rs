//! The page about RouterOS's manual names a test for each property, and each test that it names is
//! there. Never says whether it passes.

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
