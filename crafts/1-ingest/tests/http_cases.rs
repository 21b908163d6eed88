//! Every case of the table, in one piece, byte by byte, and in pieces at random: what becomes of it is always the same.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod http_support;

use http_support::{
    Outcome,
    cases::{self, Case},
    outcome, reference,
};
use proptest::prelude::*;

fn check(case: &Case, cuts: &[usize]) {
    let expected = Outcome { calls: case.calls.clone(), refusal: case.refusal.map(str::to_owned) };
    let start = case.bytes[..case.bytes.len().min(300)].escape_ascii();
    assert_eq!(outcome(&case.bytes, cuts), expected, "{}: {start}", case.why);
}

#[test]
fn every_case_in_one_piece() {
    let cases = cases::all();
    assert!(cases.len() >= 250, "only {} cases", cases.len());
    cases.iter().for_each(|case| check(case, &[]));
}

#[test]
fn every_case_byte_by_byte() {
    for case in cases::all() {
        let everywhere: Vec<usize> = (0..case.bytes.len()).collect();
        check(&case, &everywhere);
    }
}

#[test]
fn every_case_in_two_pieces_wherever_it_is_cut() {
    for case in cases::all().iter().filter(|case| case.bytes.len() < 300) {
        (0..case.bytes.len()).for_each(|cut| check(case, &[cut]));
    }
}

/// If the reference were too lenient or too strict, it would prove nothing.
#[test]
fn the_reference_reads_every_case_alike() {
    for case in cases::all() {
        assert_eq!(reference::calls(&case.bytes), case.calls, "{}", case.why);
    }
}

proptest! {
    #[test]
    fn every_case_in_pieces_at_random(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        check(which.get(&cases::all()), &cuts);
    }

    /// A sequence of cases on one connection: nothing of a request is left to the next.
    #[test]
    fn cases_that_follow_one_another_are_read_as_the_reference_reads_them(
        which in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let cases = cases::all();
        let bytes: Vec<u8> = which.iter().flat_map(|which| which.get(&cases).bytes.clone()).collect();
        let read = outcome(&bytes, &cuts);
        prop_assert_eq!(&read.calls, &reference::calls(&bytes));
        prop_assert_eq!(read, outcome(&bytes, &[]));
    }
}
