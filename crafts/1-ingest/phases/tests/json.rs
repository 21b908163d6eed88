//! The superseded parser, held against the JSON contract, and against the one that took its place.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

#[path = "../../tests/suites/json.rs"]
mod suite;

use ingest::parse::SinglePass;
use ingest_phases::parse::find::FindParser;
use proptest::prelude::*;

fn parser() -> FindParser {
    FindParser
}

#[test]
fn the_table_is_taken_and_refused_each_at_its_byte() {
    suite::table(parser);
}

#[test]
fn what_is_json_is_what_serde_json_takes() {
    suite::what_is_json_is_what_serde_json_takes(parser);
}

#[test]
fn numbers_are_those_of_serde_json_bit_for_bit() {
    suite::numbers_are_those_of_serde_json_bit_for_bit(parser);
}

#[test]
fn texts_are_those_of_serde_json() {
    suite::texts_are_those_of_serde_json(parser);
}

#[test]
fn near_misses_are_judged_as_phase_0_judges_them() {
    suite::near_misses_are_judged_as_phase_0_judges_them(parser);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    /// Into a frame, whose refusals have their byte too.
    #[test]
    fn one_pass_takes_and_refuses_the_same(body in suite::near_misses()) {
        let found = suite::into_frame(&mut FindParser, &body);
        let passed = suite::into_frame(&mut SinglePass::default(), &body);
        prop_assert_eq!(found, passed, "{}", String::from_utf8_lossy(&body));
    }
}
