//! The invariants of the workspace, held against itself.
//! `docs/ARCHITECTURE.md` tells them, and why.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use cargo_metadata::{DependencyKind, MetadataCommand};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Who may know more than the contracts: the composition root and what stands above it.
const COMPOSERS: [&str; 5] = ["platform", "craft", "benches", "labs", "lab-kit"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// For each package of the workspace, the packages of the workspace that its code (not its tests) depends on.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let members: BTreeSet<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    let of = |package: &cargo_metadata::Package| {
        let normal = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
        normal.map(|d| d.name.clone()).filter(|name| members.contains(name)).collect()
    };
    metadata.packages.iter().map(|p| (p.name.to_string(), of(p))).collect()
}

#[test]
fn a_craft_knows_the_contracts_and_no_other_craft() {
    let dependencies = dependencies();
    assert!(
        dependencies["contracts"].is_empty(),
        "the contracts know nobody: {:?}",
        dependencies["contracts"]
    );
    assert!(dependencies["load-tester"].is_empty(), "the load tester knows only the wire");
    for (package, known) in &dependencies {
        if COMPOSERS.contains(&package.as_str()) || package == "load-tester" {
            continue;
        }
        // The superseded variants of a craft know their craft, which does not know them.
        let own = package.strip_suffix("-phases").unwrap_or_default();
        let others: Vec<_> = known.iter().filter(|k| *k != "contracts" && *k != own).collect();
        assert!(
            others.is_empty(),
            "{package} depends on {others:?}; only {COMPOSERS:?} may know several crafts"
        );
    }
}

#[test]
fn the_platform_knows_nothing_of_the_course() {
    let known = &dependencies()["platform"];
    assert!(["course", "labs", "lab-kit"].iter().all(|name| !known.contains(*name)), "{known:?}");
}

#[test]
fn phase_0_is_the_standard_library_and_the_contracts() {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let phase0 = metadata.packages.iter().find(|p| p.name.as_str() == "phase0").unwrap();
    let normal = phase0.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
    assert_eq!(normal.map(|d| d.name.as_str()).collect::<Vec<_>>(), ["contracts"]);
}

#[test]
fn the_contracts_do_no_io() {
    // Types of the standard library may be named; what opens, connects, spawns or asks the time may not be called.
    const FORBIDDEN: [&str; 9] = [
        "std::fs",
        "File::",
        "TcpStream",
        "::bind(",
        "::connect(",
        "SystemTime",
        "Instant::now",
        "thread::spawn",
        "std::env",
    ];
    let mut files = 0;
    for path in rust_files(&root().join("crafts/0-contracts/src")) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for word in FORBIDDEN {
            assert!(!code.contains(word), "{} uses {word}", path.display());
        }
        files += 1;
    }
    assert!(files > 8, "only {files} files: is this test still looking at the contracts?");
}

#[test]
fn unsafe_code_lives_in_named_modules_only() {
    const ALLOWED: &[&str] = &[
        // A counting allocator cannot be written otherwise.
        "crafts/1-ingest/tests/allocations.rs",
        "load-tester/tests/allocations.rs",
        "benches/src/phase_server/allocator.rs",
        "crafts/1-ingest/tests/engine_allocations.rs",
        "crafts/1-ingest/tests/handoff_allocations.rs",
        // Slots that two threads share without a lock.
        "crafts/1-ingest/src/ring.rs",
        // A mapping, held against `pread`.
        "benches/src/craft2/work/mapped.rs",
    ];
    let word = ["un", "safe"].concat(); // or this file would find itself
    let (begins, assigned) = (format!("{word} "), format!("= {word} {{"));
    for path in rust_files(&root()) {
        let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let found = text.lines().any(|l| l.trim_start().starts_with(&begins) || l.contains(&assigned));
        assert!(
            !found || ALLOWED.contains(&relative.as_str()),
            "{relative} has unsafe code and is not on the list"
        );
    }
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && !name.to_string_lossy().starts_with('.') && name != "target" && name != "work" {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}
