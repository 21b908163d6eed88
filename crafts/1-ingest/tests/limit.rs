//! The sharded limiter, held against a log of the very times.
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]
#![allow(missing_docs, unreachable_pub, reason = "test support")]

#[path = "limit_support/mod.rs"]
mod claims;

use contracts::TimestampMs;
use ingest::{
    limit::{CLIENTS_PER_SHARD_MAX, ShardedLimiter},
    slots::Limit,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_second_sees_more_than_it_may(
        requests_max_per_s in 1_u32..20,
        requests in proptest::collection::vec((0_i64..400, 0_u8..2), 1..200),
    ) {
        claims::bounds_hold::<ShardedLimiter>(requests_max_per_s, &requests).map_err(TestCaseError::fail)?;
    }

    /// The exact window is a second wide. The two buckets may admit more than it, but an even pace never less.
    #[test]
    fn an_even_pace_at_the_share_is_never_refused(
        requests_max_per_s in prop::sample::select(vec![1_i64, 2, 4, 5, 8, 10, 20, 50, 100, 250, 500, 1000]),
        begin in 0_i64..5_000,
    ) {
        let limit = ShardedLimiter::new(u32::try_from(requests_max_per_s).unwrap());
        for n in 0..3 * requests_max_per_s {
            let now = TimestampMs(claims::NOON + begin + n * 1000 / requests_max_per_s);
            prop_assert_eq!(limit.admit(b"even", now), Ok(()), "request {}", n);
        }
    }
}

/// What the fixed window allows and this one does not: the share at the end of a second and again at the next one's begin.
#[test]
fn the_last_second_still_counts_in_this_one() {
    let limit = ShardedLimiter::new(100);
    let admitted =
        |ms| (0..100).filter(|_| limit.admit(b"a", TimestampMs(claims::NOON + ms)).is_ok()).count();
    assert_eq!([admitted(990), admitted(1_000), admitted(1_100), admitted(1_500)], [100, 1, 10, 40]);
}

#[test]
fn silence_gives_the_whole_share_back() {
    claims::silence_gives_the_whole_share_back::<ShardedLimiter>();
}

#[test]
fn clients_do_not_take_from_each_other() {
    claims::clients_do_not_take_from_each_other::<ShardedLimiter>();
}

#[test]
fn refused_requests_are_not_counted() {
    claims::refused_requests_are_not_counted::<ShardedLimiter>();
}

#[test]
fn a_clock_that_goes_back_does_no_harm() {
    claims::a_clock_that_goes_back_does_no_harm::<ShardedLimiter>();
}

#[test]
fn who_is_refused_is_told_when_to_come_back() {
    claims::who_is_refused_is_told_when_to_come_back::<ShardedLimiter>();
}

#[test]
fn two_threads_count_exactly() {
    claims::two_threads_count_exactly::<ShardedLimiter>();
}

#[test]
fn a_flood_of_names_takes_nothing_from_those_who_were_there() {
    claims::a_flood_of_names_takes_nothing_from_those_who_were_there::<ShardedLimiter>(
        64 * CLIENTS_PER_SHARD_MAX,
    );
}
