//! Phases as branches, on a small craft of two slots.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod fixture;

use course::{
    branches::{self, Outcome, Written},
    git::Git,
};
use fixture::Repository;
use std::{ffi::OsString, fs, path::Path};

fn write(repository: &Repository) -> Written {
    branches::write(&Git::open(repository.path()).unwrap()).unwrap()
}

fn fails(repository: &Repository) -> String {
    let error = branches::write(&Git::open(repository.path()).unwrap()).unwrap_err().to_string();
    assert!(!error.contains('\n'), "one line: {error}");
    error
}

fn outcomes(written: &Written) -> Vec<&Outcome> {
    written.branches.iter().map(|branch| &branch.outcome).collect()
}

#[test]
fn neighbours_differ_in_one_slot_and_what_hangs_on_it() {
    let repository = Repository::new();
    write(&repository);
    assert_eq!(
        repository.changes("craft1/phase-0", "craft1/phase-1"),
        [
            "M Cargo.lock",
            "M Cargo.toml",
            "M mill/Cargo.toml",
            "M mill/src/composition.rs",
            "M mill/src/sift.rs"
        ]
    );
    assert_eq!(
        repository.changes("craft1/phase-1", "craft1/phase-2"),
        [
            "M Cargo.lock",
            "M Cargo.toml",
            "M mill/Cargo.toml",
            "D mill/src/arms.rs",
            "M mill/src/composition.rs",
            "M mill/src/grind.rs",
            "M mill/src/lib.rs",
            "A mill/src/water.rs",
            "A mill/tests/water.rs",
        ]
    );
}

#[test]
fn a_phase_knows_nothing_of_later_ones() {
    let repository = Repository::new();
    write(&repository);
    let show = |path: &str| repository.git(&["show", &format!("craft1/phase-0:{path}")]);
    assert_eq!(show("mill/src/grind.rs").lines().next(), Some("//! By hand; needs `fast` arms."));
    assert_eq!(
        show("mill/src/composition.rs"),
        "//! What fills the slots.\n\nuse crate::grind::Mortar;\nuse crate::sift::Shake;\n\n\
         pub const NAME: &str = \"phase0\";\npub const TITLE: &str = \"by hand\";\npub type Final = (Mortar, Shake);"
    );
    assert_eq!(
        show("mill/src/lib.rs"),
        "//! A mill: [`grind`], then [`sift`].\n\nextern crate self as mill;\n\npub mod grind;\n\npub mod arms;\n\n\
         pub mod slots;\n\npub mod sift;\n\npub mod composition;"
    );
    assert_eq!(
        show("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"mill\", \"tool\"]\n\n[workspace.dependencies]\n\
         mill = { path = \"mill\" }\n\n[profile.dev.package.mill]\nopt-level = 1"
    );
    assert_eq!(
        show("mill/Cargo.toml"),
        "[package]\nname = \"mill\"\nversion = \"0.1.0\"\nedition = \"2024\""
    );
    assert_eq!(show("README.md"), "# The mill");
    let files = repository.git(&["ls-tree", "-r", "--name-only", "craft1/phase-0"]);
    for gone in ["phases", "water", "branch-readme"] {
        assert!(!files.contains(gone), "{gone}: {files}");
    }
}

#[test]
fn the_last_phase_is_the_commit_without_what_knows_of_phases() {
    let repository = Repository::new();
    write(&repository);
    assert_eq!(
        repository.changes("main", "craft1/phase-2"),
        [
            "M Cargo.lock",
            "M Cargo.toml",
            "M README.md",
            "D branch-readme.md",
            "D crafts/phases.toml",
            "D mill/phases/Cargo.toml",
            "D mill/phases/src/grind/arms.rs",
            "D mill/phases/src/grind/mortar.rs",
            "D mill/phases/src/lib.rs",
            "D mill/phases/src/sift/shake.rs",
            "M tool/Cargo.toml",
            "M tool/src/main.rs",
        ]
    );
}

#[test]
fn a_phase_of_one_craft_has_the_others_in_their_final_form() {
    let repository = Repository::with_two_crafts();
    let names: Vec<String> = write(&repository).branches.into_iter().map(|branch| branch.name).collect();
    let expected = ["craft1/phase-0", "craft1/phase-1", "craft1/phase-2", "craft2/phase-0", "craft2/phase-1"];
    assert_eq!(names, expected);
    let files = |branch: &str, dir: &str| repository.git(&["ls-tree", "-r", branch, "--", dir]);
    let whole =
        |text: String| text.lines().filter(|l| !l.contains("/phases/")).collect::<Vec<_>>().join("\n");
    assert_eq!(files("craft1/phase-0", "bakery"), whole(files("main", "bakery")));
    assert_eq!(files("craft2/phase-0", "mill"), whole(files("main", "mill")));
    assert_ne!(files("craft2/phase-0", "bakery"), whole(files("main", "bakery")));
    let show = |at: &str| repository.git(&["show", at]);
    assert_eq!(show("craft1/phase-0:README.md"), "# One phase of mill");
    assert_eq!(show("craft2/phase-0:README.md"), "# One phase of bakery");
    assert_eq!(show("craft2/phase-0:bakery/src/bake.rs").lines().next(), Some("//! On embers."));
    // Both end where everything is finished: what is left between them is whose README it is.
    assert_eq!(repository.changes("craft1/phase-2", "craft2/phase-1"), ["M README.md"]);
}

#[test]
fn cargo_takes_every_branch_of_two_crafts() {
    let repository = Repository::with_two_crafts();
    for branch in write(&repository).branches {
        let tree = repository.export(&branch.commit);
        let checked = fixture::cargo(tree.path(), &["check", "--locked", "--workspace", "--all-targets"]);
        checked.unwrap_or_else(|e| panic!("{}: {e}", branch.name));
    }
}

#[test]
fn cargo_takes_every_branch_with_its_lock_file_and_without_a_network() {
    let repository = Repository::new();
    let all = fixture::cargo(
        repository.export("main").path(),
        &["check", "--locked", "--workspace", "--all-targets"],
    );
    all.unwrap();
    for branch in write(&repository).branches {
        let tree = repository.export(&branch.commit);
        let checked = fixture::cargo(tree.path(), &["check", "--locked", "--workspace", "--all-targets"]);
        checked.unwrap_or_else(|e| panic!("{}: {e}", branch.name));
        let locked = fs::read_to_string(tree.path().join("Cargo.lock")).unwrap();
        assert_eq!(locked.contains("fast"), branch.name == "craft1/phase-2", "{}", branch.name);
    }
}

#[test]
fn the_log_of_the_last_phase_reads_as_the_course() {
    let repository = Repository::new();
    let head = repository.git(&["rev-parse", "HEAD"]);
    write(&repository);
    let log = repository.git(&["log", "--reverse", "--format=%s|%an|%ct", "craft1/phase-2"]);
    assert_eq!(
        log,
        "Craft 1, phase 0: by hand|Systems Craft|1700000000\n\
         Craft 1, phase 1: with a sieve|Systems Craft|1700000000\n\
         Craft 1, phase 2: by water|Systems Craft|1700000000"
    );
    let message = repository.git(&["log", "-1", "--format=%b", "craft1/phase-1"]);
    assert_eq!(
        message,
        format!(
            "Removes: Shaking.\nCosts: A sieve.\nPredicted, under the load \"fine\": from 1 to 2.5 sacks/s\n\
             A 202 says: the samples are in memory, whatever --ack asks for.\n\nGenerated-From: {head}"
        )
    );
    let trailers = ["log", "-1", "--format=%(trailers:key=Generated-From,valueonly)", "craft1/phase-1"];
    assert_eq!(repository.git(&trailers), head);
}

#[test]
fn the_same_commit_gives_the_same_hashes() {
    let (one, other) = (Repository::new(), Repository::new());
    other.git(&["config", "user.name", "Somebody Else"]);
    other.git(&["config", "i18n.commitEncoding", "ISO-8859-1"]);
    other.git(&["config", "core.autocrlf", "true"]);
    let first = write(&one);
    assert!(outcomes(&first).iter().all(|o| **o == Outcome::Created), "{first:?}");
    assert_eq!(write(&other), first);
    let again = write(&one);
    assert!(outcomes(&again).iter().all(|o| **o == Outcome::Unchanged), "{again:?}");
    let commits = |written: &Written| written.branches.iter().map(|b| b.commit.clone()).collect::<Vec<_>>();
    assert_eq!(commits(&again), commits(&first));
}

#[test]
fn a_shallow_clone_gives_the_same_branches() {
    let repository = Repository::new();
    repository.put("README.md", "# The mill, mended\n");
    repository.commit("Mend");
    let dir = tempfile::tempdir().unwrap();
    let from = format!("file://{}", repository.path().display());
    fixture::git_in(dir.path(), &["clone", "--quiet", "--depth", "1", &from, "shallow"]);
    let shallow = Git::open(&dir.path().join("shallow/mill")).unwrap();
    assert_eq!(branches::write(&shallow).unwrap(), write(&repository));
}

#[test]
fn a_changed_commit_moves_the_branches() {
    let repository = Repository::new();
    let first = write(&repository);
    repository.edit("mill/src/slots.rs", "Slot 1.", "The first slot.");
    repository.commit("Say it in words");
    let second = write(&repository);
    assert!(outcomes(&second).iter().all(|o| **o == Outcome::Updated), "{second:?}");
    assert_ne!(first.branches[0].commit, second.branches[0].commit);
    assert_eq!(repository.tips()["craft1/phase-0"], second.branches[0].commit);
}

#[test]
fn a_learners_commits_survive_and_the_other_branches_are_written() {
    let repository = Repository::new();
    write(&repository);
    repository.git(&["checkout", "--quiet", "craft1/phase-1"]);
    repository.put("notes.md", "mine\n");
    let mine = repository.commit("My own");
    repository.git(&["checkout", "--quiet", "craft1/phase-2"]);
    // An amended commit keeps the trailer, and is the learner's all the same.
    repository.put("notes.md", "mine too\n");
    repository.git(&["add", "notes.md"]);
    repository.git(&["commit", "--quiet", "--amend", "--no-edit"]);
    let amended = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["checkout", "--quiet", "main"]);
    repository.edit("mill/src/slots.rs", "Slot 1.", "The first slot.");
    repository.commit("Say it in words");

    let written = write(&repository);
    assert_eq!(*outcomes(&written)[0], Outcome::Updated);
    for refused in &written.branches[1..] {
        let Outcome::Refused(why) = &refused.outcome else { panic!("{refused:?}") };
        assert!(why.contains("is of A Learner") && why.contains("rename the branch"), "{why}");
    }
    let tips = repository.tips();
    assert_eq!((&tips["craft1/phase-1"], &tips["craft1/phase-2"]), (&mine, &amended));
    assert_eq!(repository.git(&["show", "craft1/phase-1:notes.md"]), "mine");
}

#[test]
fn a_branch_that_is_checked_out_is_not_moved_under_anybodys_feet() {
    let repository = Repository::new();
    let first = write(&repository);
    let elsewhere = tempfile::tempdir().unwrap();
    let place = elsewhere.path().join("desk");
    repository.git(&["worktree", "add", "--quiet", place.to_str().unwrap(), "craft1/phase-1"]);
    let same = write(&repository);
    assert!(outcomes(&same).iter().all(|o| **o == Outcome::Unchanged), "nothing to move: {same:?}");

    repository.edit("mill/src/slots.rs", "Slot 1.", "The first slot.");
    repository.commit("Say it in words");
    let written = write(&repository);
    let Outcome::Refused(why) = &written.branches[1].outcome else { panic!("{written:?}") };
    assert!(why.contains("checked out in") && why.contains("desk"), "{why}");
    assert_eq!(repository.tips()["craft1/phase-1"], first.branches[1].commit);
    assert_eq!(fixture::git_in(&place, &["status", "--porcelain"]), "");
}

#[test]
fn the_work_tree_and_the_index_stay_as_they_are() {
    let repository = Repository::new();
    assert!(!write(&repository).dirty);
    repository.edit("mill/src/slots.rs", "Slot 1.", "Half an idea.");
    repository.put("staged.md", "staged\n");
    repository.git(&["add", "staged.md"]);
    repository.put("untracked.md", "untracked\n");
    let status = repository.git(&["status", "--porcelain"]);
    let index = fs::read(repository.path().join(".git/index")).unwrap();
    repository.git(&["branch", "--quiet", "--delete", "--force", "craft1/phase-0"]);

    let written = write(&repository);
    assert!(written.dirty);
    assert_eq!(*outcomes(&written)[0], Outcome::Created);
    assert_eq!(fs::read(repository.path().join(".git/index")).unwrap(), index, "not even refreshed");
    assert_eq!(repository.git(&["status", "--porcelain"]), status);
    let slots = repository.git(&["show", "craft1/phase-0:mill/src/slots.rs"]);
    assert!(slots.contains("Slot 1."), "branches are of HEAD: {slots}");
}

#[test]
fn a_branch_whose_name_is_in_the_way_is_told_in_one_line() {
    let repository = Repository::new();
    repository.git(&["branch", "craft1"]);
    assert!(fails(&repository).starts_with("a branch called craft1 is in the way of craft1/phase-…"));
}

#[test]
fn where_there_are_no_phases_it_says_why() {
    let plain = tempfile::tempdir().unwrap();
    let error = |dir: &Path| Git::open(dir).err().map(|e| e.to_string()).unwrap();
    assert!(error(plain.path()).contains("is not in a git repository"), "{}", error(plain.path()));
    let empty = Repository::empty();
    assert!(error(empty.path()).contains("no commit yet"), "{}", error(empty.path()));
    empty.put("README.md", "nothing\n");
    empty.commit("Begin");
    assert!(fails(&empty).starts_with("crafts/phases.toml is not in "), "{}", fails(&empty));
}

#[test]
fn a_table_that_the_commit_contradicts_is_told_file_and_reason() {
    let table = "crafts/phases.toml";
    let cases = [
        (
            table,
            "grind/mortar.rs",
            "grind/mortal.rs",
            "mill/phases/src/grind/mortal.rs: there is no such file",
        ),
        (table, "grind/arms.rs", "grind/legs.rs", "mill/phases/src/grind/legs.rs: there is no such file"),
        (table, "tests/water.rs", "tests/wind.rs", "mill/tests/wind.rs: there is no such file"),
        (table, "branch-readme.md\"]", "branch.md\"]", "branch.md: there is no such file"),
        (table, "println!", "printlm!", "which must be there once; it is there 0 times"),
        (
            "mill/phases/src/grind/mortar.rs",
            "struct Mortar",
            "struct Mortal",
            "mortar.rs: does not declare Mortar",
        ),
        (
            "mill/src/composition.rs",
            "const NAME",
            "const TAME",
            "composition.rs: has no string constant NAME",
        ),
        ("mill/src/lib.rs", "pub mod water;", "pub mod water {}", "lib.rs: does not declare module water"),
        ("Cargo.lock", " \"fast\",\n", " \"fist\",\n", "Cargo.lock: names the dependency \"fist\""),
        ("Cargo.toml", "members = ", "member = ", "Cargo.toml: has no workspace.members"),
        ("mill/src/sift.rs", "impl Sift for Sieve {}", "impl Sift for {", "mill/src/sift.rs: is no Rust"),
    ];
    for (file, from, to, expected) in cases {
        let repository = Repository::new();
        repository.edit(file, from, to);
        repository.commit("Break something");
        let error = fails(&repository);
        assert!(error.contains(expected), "{file}, {to}: {error}");
        assert_eq!(repository.tips().len(), 1, "{file}, {to}: nothing is written");
    }
}

#[test]
fn a_difference_is_that_of_the_branches_and_leaves_nothing_behind() {
    let repository = Repository::new();
    let objects = || repository.git(&["count-objects"]);
    let before = (objects(), repository.tips());
    let differs = |left: &str, right: &str, paths: &[&str]| {
        let options: Vec<OsString> = ["--exit-code", "--quiet"].map(OsString::from).to_vec();
        let paths: Vec<OsString> = paths.iter().map(OsString::from).collect();
        let ids = (left.parse().unwrap(), right.parse().unwrap());
        let from = repository.path().join("mill");
        branches::diff(&from, ids, &options, &paths).unwrap().code()
    };
    assert_eq!(differs("1.0", "1.1", &[]), Some(1));
    assert_eq!(differs("1.1", "1.1", &[]), Some(0));
    assert_eq!(differs("1.0", "1.1", &["src/grind.rs"]), Some(0), "paths count from where one stands");
    assert_eq!(differs("1.1", "1.2", &["src/grind.rs"]), Some(1));
    assert_eq!((objects(), repository.tips()), before);
    let unknown =
        branches::diff(repository.path(), ("1.0".parse().unwrap(), "1.9".parse().unwrap()), &[], &[]);
    assert!(unknown.unwrap_err().to_string().contains("there is no phase 1.9; there are 1.0 to 1.2"));
}
