//! `craft lab` as a learner types it, in a copy of the repository: what it says when something is not as it should be,
//! and that neither git's tree nor the learner's work is touched. Nothing is compiled here: that is what `craft lab prove`
//! is for.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;
mod scratch;

use common::{craft, text};
use scratch::Scratch;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

const SLUG: &str = "single-pass-json";

impl Scratch {
    fn lab(&self, words: &[&str]) -> Command {
        let mut craft = craft(&[&["lab"], words].concat());
        craft.current_dir(&self.root).env_remove("CARGO_TARGET_DIR");
        craft
    }

    /// What it prints, if it ends well.
    fn told(&self, words: &[&str]) -> String {
        let output = self.lab(words).output().unwrap();
        assert!(output.status.success(), "lab {words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What it complains about.
    fn refused(&self, words: &[&str]) -> String {
        complaint(&self.lab(words).output().unwrap())
    }

    fn mine(&self) -> PathBuf {
        self.root.join("labs/work").join(SLUG).join("src/parse.rs")
    }
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "", "what goes wrong is told on stderr");
    text(&output.stderr)
}

#[test]
fn a_lab_leaves_git_as_it_was_and_loses_nothing_of_the_learners() {
    let scratch = Scratch::new();
    let before = scratch.git(&["status", "--porcelain"]);
    let starter = || fs::read_to_string(scratch.mine()).unwrap();

    let told = scratch.told(&["start", SLUG]);
    assert!(told.contains("labs/work/single-pass-json/src/parse.rs"), "{told}");
    assert!(told.contains("labs/ingest/single-pass-json/brief.md"), "{told}");
    assert!(scratch.told(&["status"]).contains(SLUG));
    let first = starter();

    fs::write(scratch.mine(), "// half of an idea\n").unwrap();
    assert!(scratch.told(&["diff", SLUG]).contains("+// half of an idea"));
    let told = scratch.told(&["reset", SLUG]);
    assert!(told.contains("labs/work/.backup/single-pass-json-1"), "{told}");
    assert_eq!(starter(), first);
    assert!(scratch.told(&["reveal", SLUG]).contains("labs/work/.backup/single-pass-json-2"));
    assert_ne!(starter(), first);
    let kept = scratch.root.join("labs/work/.backup/single-pass-json-1/src/parse.rs");
    assert_eq!(fs::read_to_string(kept).unwrap(), "// half of an idea\n");

    fs::remove_dir_all(scratch.root.join("labs/work").join(SLUG)).unwrap();
    let words = scratch.refused(&["check", SLUG]);
    assert!(words.contains("craft lab start single-pass-json"), "{words}");
    assert_eq!(scratch.git(&["status", "--porcelain"]), before);
}

#[test]
fn hints_come_one_after_the_other_and_the_last_one_again() {
    let scratch = Scratch::new();
    scratch.told(&["start", SLUG]);
    let hint = |number: u32| {
        let path = scratch.root.join(format!("labs/ingest/{SLUG}/hints/{number}.md"));
        fs::read_to_string(path).unwrap().trim_end().to_owned() + "\n"
    };
    for number in [1, 2, 3, 3] {
        assert_eq!(scratch.told(&["hint", SLUG]), hint(number));
    }
    assert_eq!(scratch.told(&["hint", SLUG, "--number", "1"]), hint(1));
    assert!(scratch.refused(&["hint", SLUG, "--number", "4"]).contains("has no hint 4"));
}

#[test]
fn what_cannot_be_is_told_with_what_to_do() {
    let scratch = Scratch::new();
    let words = scratch.refused(&["start", "json"]);
    assert!(words.contains("\"json\"") && words.contains(SLUG), "{words}");
    assert!(scratch.refused(&["check", SLUG]).contains("craft lab start single-pass-json"));
    scratch.told(&["start", SLUG]);
    assert!(scratch.refused(&["start", SLUG]).contains("craft lab reset single-pass-json"));

    let elsewhere = tempfile::tempdir().unwrap();
    let words = complaint(&scratch.lab(&["list"]).current_dir(&elsewhere).output().unwrap());
    assert!(words.contains("inside a clone"), "{words}");
}

#[test]
fn a_toolchain_that_is_not_whole_is_no_fault_of_the_learners() {
    let scratch = Scratch::new();
    scratch.told(&["start", SLUG]);
    let words = complaint(&scratch.lab(&["check", SLUG]).env("CARGO", "/no/such/cargo").output().unwrap());
    assert!(words.contains("install a Rust toolchain"), "{words}");
    let words = complaint(&scratch.lab(&["check", SLUG]).env("RUSTC", "false").output().unwrap());
    assert!(words.contains("even an empty program") && words.contains("rustup show"), "{words}");
    assert!(!scratch.root.join("labs/work/progress.jsonl").exists(), "that was no check");
}

#[test]
fn an_update_in_the_middle_of_a_lab_is_told_before_anything_is_built() {
    let scratch = Scratch::new();
    scratch.told(&["start", SLUG]);
    let reference = scratch.root.join("crafts/1-ingest/src/parse.rs");
    let updated = fs::read_to_string(&reference).unwrap() + "\n// The course goes on.\n";
    fs::write(reference, updated).unwrap();
    let words = complaint(&scratch.lab(&["check", SLUG]).env("RUSTC", "false").output().unwrap());
    assert!(words.contains("The course has changed since you began this lab"), "{words}");
}
