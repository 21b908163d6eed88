//! The suite of storage against storage that is right, and against storage that is wrong in one way.

use crate::models::{
    assert_caught,
    store::{Fault, open},
};

#[test]
fn storage_that_is_right_passes() {
    conformance::storage::check(open(Fault::None)).assert_all_hold();
}

/// Each fault, and a claim that must notice it.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::FirstWriteWins, "the last write to a series"),
    (Fault::FirstWriteWins, "the last write wins within one batch"),
    (Fault::KeepsDuplicates, "a batch written again changes nothing"),
    (Fault::ExclusiveEnd, "a range includes both"),
    (Fault::ExclusiveStart, "a range includes both"),
    (Fault::NoSorting, "samples written out of order"),
    (Fault::LosesTheSign, "every f64 comes back"),
    (Fault::OneNanForAll, "every f64 comes back"),
    (Fault::RowsAreIdentities, "the same series twice"),
    (Fault::AbsentNeverMatches, "every matcher selects"),
    (Fault::RegexAnywhere, "every matcher selects"),
    (Fault::IgnoresSecondMatcher, "every matcher selects"),
    (Fault::IgnoresSamplesMax, "a selection over samples_max"),
    (Fault::SamplesMaxOffByOne, "a selection over samples_max"),
    (Fault::AnswersAPart, "a selection over samples_max"),
    (Fault::IgnoresBreak, "a visitor may break off"),
    (Fault::ShowsEmptySeries, "a range in which a series has no samples"),
    (Fault::CutsLongValues, "absurd but legal labels"),
    (Fault::LowerCaseLabels, "a series is its labels"),
    (Fault::MiscountsStats, "what was written and synced"),
    (Fault::ForgetsTheLastBatch, "samples of many batches"),
    (Fault::UnsortedNames, "series, label names and label values"),
    // Chance alone finds it too, whatever the seed: thousands of rows fall on as many times, so hundreds are written twice.
    (Fault::FirstWriteWins, "random writes and selections"),
];

#[test]
fn every_fault_is_caught_by_the_claim_that_is_about_it() {
    for (fault, says) in FAULTS {
        let report = conformance::storage::check(open(*fault));
        assert_caught(&report, says);
    }
}

#[test]
fn a_random_failure_names_its_seed() {
    let report = conformance::storage::check(open(Fault::FirstWriteWins));
    let (_, why) = report.broken().find(|(says, _)| says.starts_with("random")).unwrap();
    assert!(why.contains("CONFORMANCE_SEED="), "{why}");
}
