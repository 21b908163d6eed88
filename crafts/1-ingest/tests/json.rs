//! The parser of the server, held against the JSON contract.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

#[path = "suites/json.rs"]
mod suite;

use ingest::{composition::Final, service::Server, slots::Parse};
use std::marker::PhantomData;

/// That of the composition, whichever it is.
fn parser() -> impl Parse {
    fn of<E, P: Parse, L, H>(_: PhantomData<Server<E, P, L, H>>) -> P {
        P::default()
    }
    of(PhantomData::<Final>)
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
