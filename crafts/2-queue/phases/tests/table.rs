//! The course's table and the compositions, held against each other.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use course::{TABLE_FILE, Table, table::Craft};
use queue_phases::PHASES;
use std::{fs, path::Path};

fn craft() -> Craft {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(TABLE_FILE);
    let table = Table::parse(&fs::read_to_string(path).unwrap()).unwrap();
    table.crafts.into_iter().find(|craft| craft.package == "queue").unwrap()
}

#[test]
fn the_table_and_the_compositions_tell_the_same_phases() {
    let told: Vec<_> =
        craft().phases.iter().map(|p| (format!("phase{}", p.number), p.title.clone())).collect();
    let composed: Vec<_> = PHASES.iter().map(|p| (p.name.to_owned(), p.title.to_owned())).collect();
    assert_eq!(told, composed);
}

#[test]
fn each_slot_is_filled_with_the_type_that_the_table_says() {
    let craft = craft();
    for (phase, composed) in craft.phases.iter().zip(&PHASES) {
        // `queue::log::Queue<a::b::Memory, …>`: the slots in their order, with their paths.
        let types = (composed.types)();
        let (_, filled) = types.trim_end_matches('>').split_once('<').unwrap();
        let filled: Vec<_> = filled.split(", ").map(|path| path.rsplit("::").next().unwrap()).collect();
        let told: Vec<_> = craft.slots.iter().map(|slot| phase.slots[&slot.name].as_str()).collect();
        assert_eq!(filled, told, "{}", composed.name);
    }
}

#[test]
fn each_variant_comes_from_the_file_that_the_table_says() {
    let craft = craft();
    let all: Vec<&str> = PHASES.iter().map(|phase| (phase.types)()).collect();
    for variant in &craft.variants {
        let module = variant.file.trim_end_matches(".rs").replace('/', "::");
        let path = format!("queue_phases::{module}::{}", variant.type_name);
        assert!(all.iter().any(|types| types.contains(&path)), "{path} is in no phase: {all:?}");
    }
    for slot in &craft.slots {
        let module = slot.file.trim_start_matches("src/").trim_end_matches(".rs").replace('/', "::");
        let path = format!("queue::{module}::{}", slot.type_name);
        assert!(all.iter().any(|types| types.contains(&path)), "{path} is in no phase: {all:?}");
    }
}

#[test]
fn a_phase_changes_one_slot() {
    let craft = craft();
    for pair in craft.phases.windows(2) {
        let changed = craft.slots.iter().filter(|s| pair[0].slots[&s.name] != pair[1].slots[&s.name]);
        assert_eq!(changed.count(), 1, "from phase {} to {}", pair[0].number, pair[1].number);
        assert!(pair[1].predict.is_some(), "phase {} predicts nothing", pair[1].number);
    }
}
