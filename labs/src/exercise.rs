//! Exercises: labs in which a whole package is the learner's, and something is to be added to it.
//!
//! ```text
//! phase0/src/  ──copied──▶ labs/work/<slug>/src/   the learner's, with what they put into examples/ and tests/
//! phase0/tests/ ──named by the manifest──▶ built against it, and never copied: nobody can weaken them, nor do they drift
//! labs/phase0/<slug>/solution.patch ──▶ the reference: the package with the patch
//! ```
//!
//! The checks are tests of cargo's harness in the target [`CHECKS`], a module for each exercise, called like its slug. They
//! are ignored in the repository, where nobody has done the exercise.

pub mod harness;

pub(crate) mod prove;

use crate::{LabError, catalogue::Lab, read};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use toml::{Table, Value};

/// The package that exercises change, as it is called, and the folder in which it stands.
pub const PACKAGE: &str = "phase0";
/// The tests of the package in which the exercises' checks are.
pub const CHECKS: &str = "exercises";
/// Folders of the learner's package in which they write.
pub const FOLDERS: [&str; 3] = ["src", "examples", "tests"];

/// What an exercise says of itself, beside what every lab says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exercise {
    /// Its place among the exercises.
    pub number: u32,
    /// The file in which the learner begins: `src/main.rs`.
    pub file: String,
}

/// The manifest of the learner's package, which stands in this place: that of the repository under another name, with the
/// repository's own tests, and a note of the state of the course that it was made from.
///
/// # Errors
/// When the repository's cannot be read.
pub(crate) fn manifest(root: &Path, place: &Path, name: &str, made_from: &str) -> Result<String, LabError> {
    let path = root.join(PACKAGE).join("Cargo.toml");
    let wrong = |problem: String| LabError::file(&path, problem);
    let mut manifest: Table = read(&path)?.parse().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
    let package = manifest.get_mut("package").and_then(Value::as_table_mut);
    let package = package.ok_or_else(|| wrong("it has no [package]".to_owned()))?;
    package.insert("name".to_owned(), Value::String(name.to_owned()));
    let note = Table::from_iter([("lab".to_owned(), table([("made-from", made_from.to_owned())]))]);
    package.insert("metadata".to_owned(), Value::Table(note));
    // The learner's files call it what they call it in the repository.
    manifest.insert("lib".to_owned(), table([("name", PACKAGE.to_owned())]));
    manifest.insert("lints".to_owned(), lints(root)?);
    let tests = tests(root)?.into_iter().map(|(name, file)| {
        let file = as_seen_from(root, place, &file);
        table([("name", name), ("path", file.to_string_lossy().into_owned())])
    });
    manifest.insert("test".to_owned(), Value::Array(tests.collect()));
    let text = toml::to_string(&manifest).map_err(|e| wrong(e.to_string()))?;
    Ok(format!("# Made anew before each build: what you change here is gone then.\n\n{text}"))
}

/// The starter with the solution: what stands in the files afterwards.
///
/// # Errors
/// When git cannot be run, or the patch does not fit what it changes.
pub fn solved(lab: &Lab, starter: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, LabError> {
    let patch = lab.dir.join("solution.patch");
    let scratch = tempfile::tempdir().map_err(|e| LabError::io(&patch, e))?;
    for (name, text) in starter {
        crate::write(&scratch.path().join(name), text)?;
    }
    let mut git = Command::new("git");
    // A folder for temporary files may lie in somebody's repository, where git would look for the files.
    git.env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env("GIT_CEILING_DIRECTORIES", above(scratch.path()));
    git.current_dir(scratch.path()).args(["apply", "-p2", "--whitespace=error"]).arg(&patch);
    let output = git.output().map_err(|e| LabError::file(&patch, format!("git cannot be run: {e}")))?;
    if !output.status.success() {
        return Err(LabError::file(&patch, String::from_utf8_lossy(&output.stderr).trim()));
    }
    let mut files = BTreeMap::new();
    for name in files_below(scratch.path(), &FOLDERS)? {
        let text = read(&scratch.path().join(&name))?;
        files.insert(name, text);
    }
    Ok(files)
}

/// What the learner's phase 0 is told as it starts: a port, a file, the seconds between two evaluations of the alert, and
/// then the learner's own words. If those begin with a port, they are all of it.
pub fn words(data: &Path, own: &[OsString]) -> Vec<OsString> {
    let begins = |word: &OsString| word.to_string_lossy().starts_with(|c: char| c.is_ascii_digit());
    if own.first().is_some_and(begins) {
        return own.to_vec();
    }
    let usual = [OsString::from("8080"), data.join("samples.jsonl").into_os_string(), OsString::from("10")];
    usual.into_iter().chain(own.iter().cloned()).collect()
}

/// The names of all files below these folders of a package, with slashes on every system; folders may be missing.
///
/// # Errors
/// When a folder is there and cannot be read.
pub fn files_below(place: &Path, folders: &[&str]) -> Result<Vec<String>, LabError> {
    let mut found = Vec::new();
    let mut left: Vec<String> = folders.iter().map(ToString::to_string).collect();
    while let Some(below) = left.pop() {
        let dir = place.join(&below);
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir).map_err(|e| LabError::io(&dir, e))? {
            let entry = entry.map_err(|e| LabError::io(&dir, e))?;
            let name = format!("{below}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() { left.push(name) } else { found.push(name) }
        }
    }
    found.sort();
    Ok(found)
}

/// The module of an exercise's checks: `request_log`.
pub fn module(lab: &Lab) -> String {
    lab.slug.replace('-', "_")
}

/// What the repository's workspace asks of every package. The learner's has another workspace.
fn lints(root: &Path) -> Result<Value, LabError> {
    let path = root.join("Cargo.toml");
    let manifest: Table =
        read(&path)?.parse().map_err(|e: toml::de::Error| LabError::file(&path, e.to_string()))?;
    let lints = manifest.get("workspace").and_then(|workspace| workspace.get("lints"));
    Ok(lints.cloned().unwrap_or_else(|| Value::Table(Table::new())))
}

/// The package's tests in the repository, as cargo finds them: name and file.
fn tests(root: &Path) -> Result<Vec<(String, PathBuf)>, LabError> {
    let dir = root.join(PACKAGE).join("tests");
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).map_err(|e| LabError::io(&dir, e))? {
        let path = entry.map_err(|e| LabError::io(&dir, e))?.path();
        let Some(name) = path.file_stem().map(|name| name.to_string_lossy().into_owned()) else { continue };
        if path.extension().is_some_and(|e| e == "rs") {
            found.push((name, path));
        } else if path.join("main.rs").is_file() {
            found.push((name, path.join("main.rs")));
        }
    }
    found.sort();
    Ok(found)
}

/// A file of the repository, as a folder within the repository names it, so that a clone may be moved; from elsewhere, its
/// whole path.
fn as_seen_from(root: &Path, place: &Path, file: &Path) -> PathBuf {
    match (place.strip_prefix(root), file.strip_prefix(root)) {
        (Ok(place), Ok(file)) => place.components().map(|_| "..").collect::<PathBuf>().join(file),
        _ => file.to_owned(),
    }
}

fn above(dir: &Path) -> &Path {
    dir.parent().unwrap_or(dir)
}

fn table<const N: usize>(entries: [(&str, String); N]) -> Value {
    Value::Table(entries.into_iter().map(|(key, text)| (key.to_owned(), Value::String(text))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_clone_finds_its_tests_and_a_folder_elsewhere_finds_them_as_well() {
        let (root, file) = (Path::new("/clone"), Path::new("/clone/phase0/tests/a.rs"));
        let seen = |place: &str| as_seen_from(root, Path::new(place), file);
        assert_eq!(seen("/clone/labs/work/back-off"), Path::new("../../../phase0/tests/a.rs"));
        assert_eq!(seen("/elsewhere/back-off"), file);
    }

    #[test]
    fn the_manifest_is_the_packages_own_with_another_name_and_the_repositorys_tests() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = manifest(root, &root.join("labs/work/expiry"), "lab-expiry", "0badcafe").unwrap();
        let manifest: Table = text.parse().unwrap();
        let own: Table = read(&root.join(PACKAGE).join("Cargo.toml")).unwrap().parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("lab-expiry"));
        assert_eq!(manifest["package"]["metadata"]["lab"]["made-from"].as_str(), Some("0badcafe"));
        assert_eq!(manifest["lib"]["name"].as_str(), Some(PACKAGE));
        assert_eq!(manifest["dependencies"], own["dependencies"]);
        assert_eq!(manifest["dev-dependencies"], own["dev-dependencies"]);
        let tests = manifest["test"].as_array().unwrap();
        let checks = tests.iter().find(|test| test["name"].as_str() == Some(CHECKS)).unwrap();
        assert_eq!(checks["path"].as_str(), Some("../../../phase0/tests/exercises/main.rs"));
    }
}
