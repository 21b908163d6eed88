//! The suite of the log against a log that is right, and against those that are wrong in one way each.

use conformance::{
    Claim, Report,
    claim::run,
    queue::{CLAIMS, Open},
};
use std::sync::Arc;

use crate::models::{
    assert_caught,
    log::{Fault, open},
};

#[test]
fn a_log_that_is_right_passes() {
    conformance::queue::check(open(Fault::None)).assert_all_hold();
}

/// Each fault, and the claim that must notice it.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::LosesEveryHundredth, "what was appended is fetched in order"),
    (Fault::SwapsNeighbours, "what was appended is fetched in order"),
    (Fault::OffsetsFromOne, "what was appended is fetched in order"),
    (Fault::MixesPartitions, "a partition holds its own records"),
    (Fault::IgnoresRecordsMax, "a fetch returns no more records"),
    (Fault::IgnoresBytesMax, "a fetch returns no more bytes"),
    (Fault::FirstRecordMustFit, "a fetch returns no more bytes"),
    (Fault::KeepsOldBuffer, "a fetch replaces"),
    (Fault::EmptyBeyondEnd, "a fetch beyond the end"),
    (Fault::WrongBounds, "a fetch beyond the end"),
    (Fault::NeverWakesFetch, "a waiting fetch returns"),
    (Fault::WakesOneFetch, "all who wait for a record"),
    (Fault::SettlesBeforeSubmit, "tickets count submissions"),
    (Fault::ForgetsPlaces, "placed tells where"),
    (Fault::NeverSettles, "tickets count submissions"),
    (Fault::ForgetsWaker, "the waker is called"),
    (Fault::TakesAnyAck, "every level up to ack_max"),
    (Fault::TakesAnySize, "a record over the limit"),
    (Fault::ForgetsFencing, "a second member begins"),
    (Fault::TrustsStrangers, "who never joined"),
    (Fault::SharesCommits, "groups do not disturb"),
    (Fault::CommitsNeverFall, "a group may rewind"),
    (Fault::CommitsBeyondEnd, "a commit beyond the end"),
    (Fault::DropsWhatOneGroupCommitted, "what one group has not committed stays"),
    (Fault::TakesAnyName, "bad names of groups"),
    (Fault::NoGroupBound, "there is a bound"),
    (Fault::PanicsOnEmpty, "a record may be empty"),
];

#[test]
fn every_fault_is_caught_by_the_claim_that_is_about_it() {
    // All at once: a claim on a log that is broken may take its whole patience, most of it asleep.
    std::thread::scope(|scope| {
        for (fault, says) in FAULTS {
            scope.spawn(move || assert_caught(&check_claim(*fault, says), says));
        }
    });
}

/// Holds only the claim that must notice against the faulty log.
fn check_claim(fault: Fault, says: &str) -> Report {
    let open: Arc<Open> = Arc::new(open(fault));
    let claims: Vec<_> = CLAIMS
        .iter()
        .filter(|c| c.says.starts_with(says))
        .map(|c| Claim { says: c.says, check: c.check })
        .collect();
    assert_eq!(claims.len(), 1, "{says:?} must begin exactly one claim");
    run("queue", &open, &claims)
}
