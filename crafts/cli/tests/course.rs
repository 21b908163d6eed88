//! `craft phases` and `craft diff` as they are typed.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;
#[path = "../../course/tests/fixture/mod.rs"]
mod fixture;

use common::{craft, text};
use fixture::Repository;
use serde_json::Value;

/// Runs `craft` somewhere; returns exit code, stdout, stderr.
fn run(repository: &Repository, dir: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let output = craft(args).current_dir(repository.path().join(dir)).output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_phases_are_listed_from_anywhere_in_the_repository() {
    let repository = Repository::new();
    let (code, out, _) = run(&repository, "mill/src", &["phases", "list"]);
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "craft 1: a mill");
    assert_eq!(lines.len(), 5, "{out}");
    assert!(lines[2].ends_with("grind: Mortar, sift: Shake"), "the first phase shows all slots: {out}");
    assert!(lines[3].starts_with("1.1   sieve") && lines[3].ends_with("fine       sift: Sieve"), "{out}");

    let (_, json, _) = run(&repository, "", &["phases", "list", "--json"]);
    let table: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(table["craft"][0]["phase"][1]["predict"]["to"], 2.5);
    assert_eq!(table["craft"][0]["phase"][1]["promise"], "memory");
}

#[test]
fn the_phases_of_each_craft_are_listed_with_their_columns_below_each_other() {
    let repository = Repository::with_two_crafts();
    let (_, out, _) = run(&repository, "", &["phases", "list"]);
    let lines: Vec<&str> = out.lines().collect();
    let of_bakery: Vec<&str> =
        lines.iter().copied().skip_while(|line| *line != "craft 2: a bakery").collect();
    assert_eq!(of_bakery.len(), 4, "{out}");
    let titles = of_bakery[1].find("title").unwrap();
    assert!(of_bakery[2][titles..].starts_with("on embers"), "{out}");
    assert!(of_bakery[3][titles..].starts_with("an oven"), "{out}");
    let (code, shown, err) = run(&repository, "", &["diff", "2.0", "2.1", "--stat"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(shown.contains("bakery/src/bake.rs") && !shown.contains("mill/"), "{shown}");
}

#[test]
fn branches_are_told_on_stdout_and_those_left_alone_on_stderr() {
    let repository = Repository::new();
    let (code, out, err) = run(&repository, "tool", &["phases", "branches"]);
    assert_eq!(code, Some(0), "{err}");
    let told: Vec<_> = out.lines().map(|line| line.split(' ').collect::<Vec<_>>()).collect();
    let names: Vec<_> = told.iter().map(|words| (words[0], words[2])).collect();
    assert_eq!(names, ["craft1/phase-0", "craft1/phase-1", "craft1/phase-2"].map(|name| (name, "created")));
    assert!(!err.contains("not committed"), "{err}");

    repository.git(&["checkout", "--quiet", "craft1/phase-1"]);
    repository.put("mine.md", "mine\n");
    let mine = repository.commit("My own");
    repository.git(&["checkout", "--quiet", "main"]);
    repository.edit("README.md", "its history", "their history");
    let (code, out, err) = run(&repository, "", &["phases", "branches"]);
    assert_eq!(code, Some(1));
    assert_eq!(out.lines().filter(|line| line.ends_with(" unchanged")).count(), 2, "{out}");
    let why = err.lines().find(|line| line.starts_with("craft: craft1/phase-1 is left alone: ")).unwrap();
    assert!(why.contains(&mine[..10]) && why.contains("A Learner"), "{why}");
    assert!(err.contains("changes that are not committed"), "{err}");
}

#[test]
fn a_difference_is_what_git_shows_between_the_branches() {
    let repository = Repository::new();
    let (code, without, err) = run(&repository, "mill", &["diff", "1.1", "1.2"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(repository.tips().len(), 1, "no branch was needed");
    run(&repository, "", &["phases", "branches"]);
    let shown =
        |args: &[&str]| repository.git(&[&["diff", "craft1/phase-1", "craft1/phase-2"], args].concat());
    assert_eq!(without.trim_end(), shown(&[]));
    let (_, stat, _) = run(&repository, "mill", &["diff", "1.1", "1.2", "--stat", "--", "src/grind.rs"]);
    assert_eq!(stat.trim_end(), shown(&["--stat", "--", "mill/src/grind.rs"]));
}

#[test]
fn what_cannot_be_is_told_in_one_line() {
    let repository = Repository::new();
    let empty = tempfile::tempdir().unwrap();
    let outside = craft(&["phases", "branches"]).current_dir(empty.path()).output().unwrap();
    assert_eq!(outside.status.code(), Some(1));
    assert!(text(&outside.stderr).contains("is not in a git repository"), "{}", text(&outside.stderr));

    let (code, _, err) = run(&repository, "", &["diff", "1.1", "1.7"]);
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("there is no phase 1.7; there are 1.0 to 1.2"), "{err}");
    let (code, _, err) = run(&repository, "", &["diff", "1.1", "three"]);
    assert_eq!(code, Some(2), "wrong usage: {err}");

    repository.git(&["branch", "craft1"]);
    let (code, _, err) = run(&repository, "", &["phases", "branches"]);
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.starts_with("craft: a branch called craft1 is in the way"), "{err}");

    let no_git =
        craft(&["phases", "branches"]).current_dir(repository.path()).env("PATH", "").output().unwrap();
    assert_eq!(no_git.status.code(), Some(1));
    assert!(text(&no_git.stderr).starts_with("craft: git cannot be run"), "{}", text(&no_git.stderr));
}
