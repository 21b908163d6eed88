//! Starters are made from the repository as it stands, and nothing that the learner wrote is ever lost.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use labs::{
    LabError,
    catalogue::{Catalogue, Lab, Starter},
    workshop::{Workshop, starter_files},
};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};
use tempfile::TempDir;

fn catalogue() -> Catalogue {
    Catalogue::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A workshop of its own, outside of anybody's work.
fn workshop(catalogue: &Catalogue) -> (Workshop, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Workshop::new(&catalogue.root, &dir.path().join("work")), dir)
}

fn lab(catalogue: &Catalogue, slug: &str) -> Lab {
    catalogue.find(slug).unwrap().clone()
}

/// All files below a folder, with their text.
fn files(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                left.push(entry.path());
            } else {
                let text = fs::read_to_string(entry.path()).unwrap();
                found.push((entry.path().strip_prefix(dir).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_step_of_the_course_has_a_lab_and_phase_0_a_warm_up() {
    let catalogue = catalogue();
    let table = fs::read_to_string(catalogue.root.join(course::TABLE_FILE)).unwrap();
    let table = course::Table::parse(&table).unwrap();
    let labs = catalogue.labs.iter().filter(|lab| lab.exercise.is_none());
    let numbers: Vec<String> = labs.map(Lab::number).collect();
    let steps = table.crafts.iter().flat_map(|craft| {
        craft.phases.iter().skip(1).map(|phase| format!("{}.{}", craft.number, phase.number))
    });
    assert_eq!(numbers, ["0".to_owned()].into_iter().chain(steps).collect::<Vec<_>>());
    assert!(numbers.len() >= 10 + 6, "{numbers:?}");
}

/// Of each craft another package, another name, another whole.
#[test]
fn a_labs_crate_takes_the_name_of_its_craft_and_puts_the_craft_together() {
    let catalogue = catalogue();
    let (workshop, _dir) = workshop(&catalogue);
    let made = |slug: &str| {
        let place = workshop.start(&lab(&catalogue, slug)).unwrap();
        let text = |name: &str| fs::read_to_string(place.join(name)).unwrap();
        (text("src/lib.rs"), text("src/main.rs"), text("Cargo.toml"))
    };
    let (lib, main, manifest) = made("single-pass-json");
    assert!(lib.contains("extern crate self as ingest;\n\npub use craft_ingest::*;"), "{lib}");
    assert!(lib.contains("pub type Composition = craft_ingest::service::Server<"), "{lib}");
    assert!(main.contains("lab_kit::parse::<mine::Mine>()") && main.contains("lab_kit::server::<"), "{main}");
    assert!(manifest.contains("craft-ingest.workspace = true") && !manifest.contains("queue"), "{manifest}");
    let (lib, main, manifest) = made("write-ahead-log");
    assert!(lib.contains("extern crate self as queue;\n\npub use craft_queue::*;"), "{lib}");
    assert!(lib.contains("pub type Composition = craft_queue::log::Queue<\n    Mine,\n"), "{lib}");
    assert!(lib.contains("queue_phases::commit::sync_each::SyncEach"), "{lib}");
    assert!(main.contains("lab_kit::log::<mine::Composition>()"), "{main}");
    assert!(manifest.contains("queue-phases.workspace = true") && !manifest.contains("ingest"), "{manifest}");
    workshop.refresh().unwrap();
    let workspace = fs::read_to_string(workshop.dir().join("Cargo.toml")).unwrap();
    for alias in ["craft-ingest", "craft-queue", "craft"] {
        assert!(workspace.contains(&format!("[workspace.dependencies.{alias}]")), "{workspace}");
    }
}

#[test]
fn after_the_warm_up_come_the_ten_exercises_in_their_order() {
    let catalogue = catalogue();
    let numbers = catalogue.labs.iter().map(|lab| lab.exercise.as_ref().map(|one| one.number));
    let expected = [None].into_iter().chain((1..=10).map(Some)).collect::<Vec<_>>();
    assert_eq!(numbers.take(11).collect::<Vec<_>>(), expected);
}

/// What stands in the one place and not in the other would be checked by nothing, or check nobody's work.
#[test]
fn every_exercise_has_checks_and_all_checks_belong_to_an_exercise() {
    let catalogue = catalogue();
    let path = catalogue.root.join("phase0/tests/exercises/main.rs");
    let text = fs::read_to_string(path).unwrap();
    let modules = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let mut modules: Vec<String> = modules.filter(|m| *m != "support").map(str::to_owned).collect();
    let exercises = catalogue.labs.iter().filter(|lab| lab.exercise.is_some());
    let mut expected: Vec<String> = exercises.map(labs::exercise::module).collect();
    modules.sort();
    expected.sort();
    assert_eq!(modules, expected);
}

/// A patch that no longer fits phase 0 is told here, before anybody asks for it.
#[test]
fn every_exercises_solution_adds_something_to_phase_0_as_it_stands() {
    let catalogue = catalogue();
    for lab in catalogue.labs.iter().filter(|lab| lab.exercise.is_some()) {
        let starter = starter_files(&catalogue.root, lab).unwrap();
        let solved = labs::workshop::reference_files(&catalogue.root, lab).unwrap();
        assert!(starter.keys().all(|name| solved.contains_key(name)), "{} loses a file", lab.slug);
        assert_ne!(starter, solved, "{}", lab.slug);
        assert!(starter.contains_key("src/main.rs"), "{}", lab.slug);
    }
}

#[test]
fn of_an_exercise_new_files_are_kept_and_the_manifest_is_made_anew() {
    let catalogue = catalogue();
    let (workshop, _dir) = workshop(&catalogue);
    let lab = lab(&catalogue, "back-off");
    let place = workshop.start(&lab).unwrap();
    fs::create_dir_all(place.join("examples")).unwrap();
    fs::write(place.join("examples/send.rs"), "fn main() {}").unwrap();
    fs::write(place.join("src/main.rs"), "// mine").unwrap();
    assert!(workshop.files(&lab).unwrap().contains(&"examples/send.rs".to_owned()));

    let manifest = place.join("Cargo.toml");
    let made = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, made.replace("exercises", "easier")).unwrap();
    workshop.renew_manifest(&lab).unwrap();
    assert_eq!(fs::read_to_string(&manifest).unwrap(), made, "the checks are the repository's again");
    assert_eq!(fs::read_to_string(place.join("src/main.rs")).unwrap(), "// mine");

    let kept = workshop.reveal(&lab).unwrap().unwrap();
    assert_eq!(fs::read_to_string(kept.join("examples/send.rs")).unwrap(), "fn main() {}");
    assert_ne!(fs::read_to_string(place.join("examples/send.rs")).unwrap(), "fn main() {}");
}

#[test]
fn every_lab_has_a_brief_and_three_hints_and_two_wrong_turns_or_a_solution() {
    for lab in catalogue().labs {
        for file in ["brief.md", "hints/1.md", "hints/2.md", "hints/3.md"] {
            let text = fs::read_to_string(lab.dir.join(file)).unwrap_or_default();
            assert!(text.len() > 80, "{}: {file} says hardly anything", lab.slug);
        }
        if lab.exercise.is_some() {
            assert!(lab.dir.join("solution.patch").is_file(), "{} has no solution", lab.slug);
            continue;
        }
        let wrong_turns = labs::prove::faulty_names(&lab).unwrap();
        assert!(wrong_turns.len() >= 2, "{} has only {wrong_turns:?}", lab.slug);
    }
}

/// What was edited away must have been there: so a wrong turn cannot drift from the reference.
#[test]
fn every_wrong_turn_edits_what_is_there() {
    let catalogue = catalogue();
    for lab in &catalogue.labs {
        let reference = labs::workshop::reference_files(&catalogue.root, lab).unwrap();
        for name in labs::prove::faulty_names(lab).unwrap() {
            let faulty = labs::prove::read_faulty(lab, &name).unwrap();
            let edited = labs::prove::edited(&reference, &faulty);
            assert!(edited.is_ok_and(|files| files != reference), "{}: {name}", lab.slug);
        }
    }
}

#[test]
fn a_starter_is_the_same_each_time() {
    let catalogue = catalogue();
    let (one, _one) = workshop(&catalogue);
    let (two, _two) = workshop(&catalogue);
    for lab in &catalogue.labs {
        let (one, two) = (one.start(lab).unwrap(), two.start(lab).unwrap());
        assert_eq!(files(&one), files(&two), "{}", lab.slug);
    }
}

#[test]
fn a_starter_with_holes_is_the_reference_but_for_them() {
    let catalogue = catalogue();
    for lab in catalogue.labs.iter().filter(|lab| lab.starter != Starter::Optimise) {
        let Starter::Holes(holes) = &lab.starter else { continue };
        let text: String = starter_files(&catalogue.root, lab).unwrap().into_values().collect();
        for hole in holes {
            assert!(text.contains(&format!("todo!(\"lab: write `{hole}`\")")), "{}: {hole}", lab.slug);
        }
    }
}

#[test]
fn a_lab_is_started_once() {
    let catalogue = catalogue();
    let (workshop, _dir) = workshop(&catalogue);
    let lab = lab(&catalogue, "single-pass-json");
    workshop.start(&lab).unwrap();
    let again = workshop.start(&lab).unwrap_err();
    assert!(matches!(again, LabError::Started { .. }), "{again}");
}

#[test]
fn reset_and_reveal_keep_a_copy_of_what_the_learner_had() {
    let catalogue = catalogue();
    let (workshop, _dir) = workshop(&catalogue);
    let lab = lab(&catalogue, "single-pass-json");
    let place = workshop.start(&lab).unwrap();
    let main_file = place.join(lab.main_file());
    fs::write(&main_file, "// mine").unwrap();
    let kept = workshop.reset(&lab).unwrap().unwrap();
    assert_eq!(fs::read_to_string(kept.join(lab.main_file())).unwrap(), "// mine");
    let starter = fs::read_to_string(&main_file).unwrap();
    assert!(starter.contains(&lab.start().type_name));

    fs::write(&main_file, "// mine again").unwrap();
    let kept_too = workshop.reveal(&lab).unwrap().unwrap();
    assert_ne!(kept, kept_too, "the first copy is still there");
    assert_eq!(fs::read_to_string(kept_too.join(lab.main_file())).unwrap(), "// mine again");
    assert!(fs::read_to_string(&main_file).unwrap().contains(&lab.reference.type_name));
}

#[test]
fn a_folder_that_was_deleted_half_way_is_kept_and_stops_no_other_lab() {
    let catalogue = catalogue();
    let (workshop, _dir) = workshop(&catalogue);
    let (broken, whole) = (lab(&catalogue, "single-pass-json"), lab(&catalogue, "sharded-limiter"));
    let place = workshop.start(&broken).unwrap();
    workshop.start(&whole).unwrap();
    fs::write(place.join(broken.main_file()), "// mine").unwrap();
    fs::remove_file(place.join("Cargo.toml")).unwrap();
    assert!(!workshop.has(&broken));
    workshop.refresh().unwrap();
    let manifest = fs::read_to_string(workshop.dir().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("sharded-limiter") && !manifest.contains("single-pass-json"), "{manifest}");
    workshop.start(&broken).unwrap();
    let kept = workshop.dir().join(".backup/single-pass-json-1").join(broken.main_file());
    assert_eq!(fs::read_to_string(kept).unwrap(), "// mine");
}

#[test]
fn an_update_of_the_course_in_the_middle_of_a_lab_is_noticed() {
    let catalogue = catalogue();
    let (workshop, _dir) = workshop(&catalogue);
    let lab = lab(&catalogue, "single-pass-json");
    let place = workshop.start(&lab).unwrap();
    assert!(!workshop.is_behind(&lab).unwrap());
    fs::write(place.join(lab.main_file()), "// mine").unwrap();
    assert!(!workshop.is_behind(&lab).unwrap(), "what the learner does is no update");

    // What an update changes is the lab: here another function has become a hole.
    let updated = Lab { starter: Starter::Holes(vec!["Reader::new".to_owned()]), ..lab.clone() };
    assert!(workshop.is_behind(&updated).unwrap());
    assert_eq!(fs::read_to_string(place.join(lab.main_file())).unwrap(), "// mine");

    // A manifest that the learner broke is cargo's to complain about.
    fs::write(place.join("Cargo.toml"), "[package").unwrap();
    assert!(!workshop.is_behind(&updated).unwrap());
}

#[test]
fn a_workspace_that_is_read_while_it_is_made_anew_is_never_half_of_one() {
    let catalogue = catalogue();
    let (workshop, _dir) = workshop(&catalogue);
    workshop.start(&lab(&catalogue, "single-pass-json")).unwrap();
    workshop.refresh().unwrap();
    let path = workshop.dir().join("Cargo.toml");
    let whole = fs::read_to_string(&path).unwrap();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    workshop.refresh().unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().modified().unwrap(),
        before,
        "nothing to say: nothing is written"
    );
    workshop.start(&lab(&catalogue, "sharded-limiter")).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| workshop.refresh().unwrap());
        }
        for _ in 0..1_000 {
            let found = fs::read_to_string(&path).unwrap();
            assert!(found == whole || found.contains("\"sharded-limiter\""), "{found}");
            assert!(found.ends_with('\n') && found.parse::<toml::Table>().is_ok(), "{found}");
        }
    });
}

#[test]
fn a_name_that_is_no_labs_is_told_which_there_are() {
    let error = catalogue().find("json").unwrap_err().to_string();
    assert!(error.contains("\"json\"") && error.contains("single-pass-json"), "{error}");
}

/// A warning about a word that the course's own files use would be about nothing that the learner wrote.
#[test]
fn a_labs_crate_knows_the_flags_that_the_courses_files_are_compiled_with() {
    let catalogue = catalogue();
    let (workshop, _dir) = workshop(&catalogue);
    let place = workshop.start(&lab(&catalogue, "reactor-per-core")).unwrap();
    let holed = workshop.start(&lab(&catalogue, "lock-free-ring")).unwrap();
    workshop.refresh().unwrap();
    let table = |path: &Path| fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
    let flags = |root: &Path| {
        let lints = table(&root.join("Cargo.toml"))["workspace"]["lints"].clone();
        lints["rust"]["unexpected_cfgs"].clone()
    };
    assert_eq!(flags(workshop.dir()), flags(&catalogue.root));
    assert_eq!(table(&place.join("Cargo.toml"))["lints"]["workspace"].as_bool(), Some(true));
    let rust = table(&holed.join("Cargo.toml"))["lints"]["rust"].clone();
    assert_eq!(
        rust["unused"].as_str(),
        Some("allow"),
        "what is behind a hole is unused, which the learner knows"
    );
}
