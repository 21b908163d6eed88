//! The suite of a query engine against one that is right, and against those that are wrong in one way each.

use crate::models::{
    assert_caught,
    engine::{Fault, open},
};

#[test]
fn an_engine_that_is_right_passes() {
    conformance::query::check(open(Fault::None)).assert_all_hold();
}

/// Each fault, and the claim that must notice it.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::NoLookBack, "an instant takes the latest"),
    (Fault::LooksBackTooFar, "an instant looks back 5 minutes"),
    (Fault::LeftEndIncluded, "an instant looks back 5 minutes"),
    (Fault::ShowsStale, "a stale marker ends"),
    (Fault::StaleIsAnyNan, "an ordinary NaN"),
    (Fault::SampleTime, "an element bears the time"),
    (Fault::DropsName, "a comparison keeps the elements"),
    (Fault::ComparesAsBool, "a comparison keeps the elements"),
    (Fault::GreaterIsAtLeast, "a comparison keeps the elements"),
    (Fault::NoLookBackInRange, "a range evaluates at each step"),
    (Fault::KeepsEmptyLines, "a range has no points"),
    (Fault::PointsExcludeEnd, "points are the raw samples"),
    (Fault::Unsorted, "ranges, points and series are sorted"),
    (Fault::IgnoresRest, "what no PromQL is"),
    (Fault::WrongByte, "what no PromQL is"),
    (Fault::CountsChars, "what no PromQL is"),
    (Fault::AnyLength, "a text over the limit"),
    (Fault::SelectsEverything, "a selector that fits everything"),
    (Fault::OnlyFirstSelector, "series, label names and label values"),
    (Fault::IgnoresRangeOfLabels, "series, label names and label values"),
];

#[test]
fn every_fault_is_caught_by_the_claim_that_is_about_it() {
    for (fault, says) in FAULTS {
        assert_caught(&conformance::query::check(open(*fault)), says);
    }
}
