//! The direction of dependencies, read from the sources. An edge that is not listed here is refused.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom, within this crate.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("recovery", &["model"]),
    ("state", &["recovery", "model"]),
    ("decision", &["state", "recovery", "model"]),
    ("duty", &["recovery", "model"]),
    ("control", &["duty", "recovery", "model"]),
    ("clock", &["model"]),
    ("config", &["security"]),
    ("output", &[]),
    ("telemetry", &[]),
    ("host", &["clock", "gate", "model"]),
    ("provider", &["clock", "duty", "gate", "model", "security"]),
    ("leash", &["clock", "host", "model"]),
    ("gate", &["clock", "duty", "host", "model"]),
    (
        "agent",
        &[
            "clock", "config", "control", "duty", "gate", "host", "leash", "model", "provider",
            "recovery", "security",
        ],
    ),
    ("security", &["clock", "host", "model"]),
    (
        "server",
        &[
            "clock", "config", "control", "decision", "duty", "model",
            // Clusters without agents, over SQL.
            "provider", "recovery", "security", "state",
        ],
    ),
    (
        "http",
        &[
            "clock", "control", "decision", "model", "recovery", "security", "server", "state",
        ],
    ),
    (
        "dev",
        &["clock", "http", "model", "output", "security", "server"],
    ),
    (
        "cli",
        &[
            "agent",
            "clock",
            "dev",
            // What was kept of old WAL is read on its host.
            "host",
            "http",
            "leash",
            "model",
            "output",
            // What a database needs before it is looked after.
            "provider",
            // With the feature `mutants` alone: which rule is broken on purpose.
            "recovery",
            "security",
            "server",
            // What is in a saved file.
            "state",
            "telemetry",
        ],
    ),
    ("main", &["cli"]),
    // Tests alone: every decoder, wherever it is.
    (
        "fuzz_tests",
        &[
            "agent", "config", "control", "dev", "duty", "gate", "host", "http", "leash", "model",
            "provider", "recovery", "security", "server", "state",
        ],
    ),
];

/// Decisions are functions of values.
const PURE: &[&str] = &["model", "state", "recovery", "decision", "duty"];

const NOT_PURE: &[&str] = &[
    "tokio",
    "rand::",
    "HashMap",
    "HashSet",
    "Instant",
    "SystemTime",
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "rustix",
    "tracing",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of every file, by module, without comments.
fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    let mut modules = BTreeMap::<String, Vec<(PathBuf, String)>>::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let first = inside.components().next().unwrap().as_os_str();
        let module = first.to_string_lossy().trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code: Vec<_> = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect();
        modules
            .entry(module)
            .or_default()
            .push((file, code.join("\n")));
    }
    modules
}

/// Every module that the code names after `crate::` or `primacy::`, a group in braces included.
fn used(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in ["crate::", "primacy::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            let group = rest
                .strip_prefix('{')
                .map(|group| group.split('}').next().unwrap_or_default());
            for part in group.unwrap_or(rest).split(',') {
                let part = part.trim_start();
                let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                let name = &part[..end.unwrap_or(part.len())];
                // A macro of the crate, such as `crate::broken!`, is no module.
                if !name.is_empty() && !part[name.len()..].starts_with('!') {
                    found.insert(name.to_owned());
                }
                if group.is_none() {
                    break;
                }
            }
        }
    }
    found
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = vec![];
    for (module, files) in modules() {
        let Some(allowed) = allowed.get(module.as_str()) else {
            wrong.push(format!("module {module} is not in the list"));
            continue;
        };
        for (file, code) in files {
            for name in used(&code) {
                let is_known = ALLOWED.iter().any(|(known, _)| *known == name);
                if is_known && name != module && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{}: {module} uses {name}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_has_no_cycle_among_the_pure() {
    let order = ["model", "recovery", "state", "decision"];
    for (module, allowed) in ALLOWED.iter().filter(|(module, _)| order.contains(module)) {
        let place = |name: &str| order.iter().position(|known| *known == name);
        assert!(allowed.iter().all(|name| place(name) < place(module)));
    }
}

#[test]
fn decisions_touch_nothing() {
    let mut wrong = vec![];
    for (module, files) in modules() {
        if !PURE.contains(&module.as_str()) {
            continue;
        }
        for (file, code) in files {
            for name in NOT_PURE.iter().filter(|name| code.contains(**name)) {
                wrong.push(format!("{} names {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A leader's lease rests on clocks: it answers reads, and decides nothing.
#[test]
fn only_answers_to_reads_use_a_lease_of_the_raft_leader() {
    let mut wrong = vec![];
    for (module, files) in modules() {
        for (file, code) in files {
            let names = ["confirm_lease", "consensus.lease("];
            if module != "http" && names.iter().any(|name| code.contains(name)) {
                wrong.push(file);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn names_in_braces_are_seen() {
    let names = used("use crate::{model, state::State}; crate::broken!(X); crate::http::x();");
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(names, ["http", "model", "state"]);
}
