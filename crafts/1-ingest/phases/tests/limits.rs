//! The limiter of the earlier phases, held against a log of the very times.
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]
#![allow(missing_docs, unreachable_pub, reason = "test support")]

#[path = "../../tests/limit_support/mod.rs"]
mod claims;

use contracts::TimestampMs;
use ingest::slots::Limit;
use ingest_phases::limit::global::{CLIENTS_MAX, GlobalLimiter};
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_second_sees_more_than_it_may(
        requests_max_per_s in 1_u32..20,
        requests in proptest::collection::vec((0_i64..400, 0_u8..2), 1..200),
    ) {
        claims::bounds_hold::<GlobalLimiter>(requests_max_per_s, &requests).map_err(TestCaseError::fail)?;
    }
}

/// What is wrong with a window that begins anew.
#[test]
fn twice_the_share_passes_within_a_moment() {
    let limit = GlobalLimiter::new(100);
    let admitted =
        |ms| (0..200).filter(|_| limit.admit(b"a", TimestampMs(claims::NOON + ms)).is_ok()).count();
    assert_eq!([admitted(999), admitted(1_000)], [100, 100]);
}

#[test]
fn silence_gives_the_whole_share_back() {
    claims::silence_gives_the_whole_share_back::<GlobalLimiter>();
}

#[test]
fn clients_do_not_take_from_each_other() {
    claims::clients_do_not_take_from_each_other::<GlobalLimiter>();
}

#[test]
fn refused_requests_are_not_counted() {
    claims::refused_requests_are_not_counted::<GlobalLimiter>();
}

#[test]
fn a_clock_that_goes_back_does_no_harm() {
    claims::a_clock_that_goes_back_does_no_harm::<GlobalLimiter>();
}

#[test]
fn who_is_refused_is_told_when_to_come_back() {
    claims::who_is_refused_is_told_when_to_come_back::<GlobalLimiter>();
}

#[test]
fn two_threads_count_exactly() {
    claims::two_threads_count_exactly::<GlobalLimiter>();
}

#[test]
fn a_flood_of_names_takes_nothing_from_those_who_were_there() {
    claims::a_flood_of_names_takes_nothing_from_those_who_were_there::<GlobalLimiter>(CLIENTS_MAX);
}
