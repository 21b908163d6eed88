//! The suite of the log against logs that are right, and against those that are wrong in one way each.

use conformance::{
    Claim, Report,
    claim::{Verdict, run},
    queue::{Of, Open, THEMES},
};
use std::sync::Arc;

use crate::models::{
    assert_caught,
    log::{Fault, Kind, open},
};

#[test]
fn logs_that_are_right_pass() {
    for kind in [Kind::Full, Kind::Plain] {
        conformance::queue::check(open(kind, Fault::None)).assert_all_hold();
    }
}

#[test]
fn what_a_log_does_not_offer_is_left_out_and_said_so() {
    let skipped = |kind| {
        let report = conformance::queue::check(open(kind, Fault::None));
        let skipped = report.outcomes.into_iter().filter(|o| matches!(o.verdict, Verdict::Skipped(_)));
        skipped.map(|outcome| outcome.says).collect::<Vec<_>>()
    };
    let of = |of| {
        let themes = THEMES.iter().filter(move |theme| theme.of == of);
        themes.flat_map(|theme| theme.claims).map(|claim| claim.says)
    };
    assert_eq!(skipped(Kind::Full), of(Of::OneMember).collect::<Vec<_>>());
    let expected: Vec<_> = of(Of::KnownBatches).chain(of(Of::SeveralMembers)).collect();
    assert_eq!(skipped(Kind::Plain), expected);
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
    (Fault::PanicsOnEmpty, "a record may be empty"),
    (Fault::OffersWhatItSaysItDoesNot, "a log that does not know batches"),
    (Fault::AppendsAgain, "a batch that is sent again is not appended"),
    (Fault::TellsNewPlaces, "a batch that is sent again is not appended"),
    (Fault::NeverSettlesAgain, "a batch that is sent again by the same producer"),
    (Fault::ForgetsSoon, "the last batches of a producer are known"),
    (Fault::AppendsWhatIsOld, "the last batches of a producer are known"),
    (Fault::TakesGaps, "a batch behind one that is missing"),
    (Fault::TakesWhatItRefuses, "a batch behind one that is missing"),
    (Fault::OneCountForAllProducers, "each producer counts by itself"),
    (Fault::OneCountForAllPartitions, "a producer counts in each partition"),
    (Fault::MustBeginAtZero, "a producer that the log does not know"),
    (Fault::NeverWraps, "after the largest number"),
    (Fault::LooksAndThenAppends, "a batch that is sent twice at once"),
    (Fault::AppendsAtSubmit, "a batch lies together"),
    (Fault::NumbersEveryFlush, "only what is flushed next"),
    (Fault::ForgetsFencing, "a second member begins"),
    (Fault::FormerSelfStays, "a member that subscribes again"),
    (Fault::TrustsStrangers, "who never joined"),
    (Fault::SharesCommits, "groups do not disturb"),
    (Fault::CommitsNeverFall, "a group may rewind"),
    (Fault::CommitsBeyondEnd, "a commit beyond the end"),
    (Fault::DropsWhatOneGroupCommitted, "what one group has not committed stays"),
    (Fault::TakesAnyName, "bad names of groups"),
    (Fault::NoGroupBound, "there is a bound on the number of groups"),
    (Fault::TellsNoGeneration, "a heartbeat tells"),
    (Fault::MovesOnWithoutNeed, "a member that moves on where nothing"),
    (Fault::LagFromTheStart, "groups tells each group"),
    (Fault::HandsOverAtOnce, "a newcomer is given nothing"),
    (Fault::TakesWhatIsDue, "a newcomer is given nothing"),
    (Fault::TellsNobody, "a newcomer is given nothing"),
    (Fault::LeavesHoles, "once everybody has moved on"),
    (Fault::DealsAllToTheFirst, "once everybody has moved on"),
    (Fault::FencesHolders, "who holds a partition may commit"),
    (Fault::TakesAnyCommit, "who holds a partition may commit"),
    (Fault::LeaversStay, "who leaves is fenced"),
    (Fault::LeaversKeepTheirs, "who leaves is fenced"),
    (Fault::FencesTheOthersToo, "who comes back under its own name"),
    (Fault::DealsAnew, "sticky moves nothing"),
    (Fault::KnowsOneAssignment, "range deals out neighbours"),
    (Fault::CountsNoRebalances, "groups tells what each member holds"),
    (Fault::NoMemberBound, "there is a bound on the number of members"),
    (Fault::OneGenerationForAllGroups, "each group shares by itself"),
    (Fault::HandsOverAtOnce, "whatever members do"),
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
    let theme = THEMES.iter().find(|theme| theme.claims.iter().any(|claim| claim.says.starts_with(says)));
    let theme = theme.unwrap_or_else(|| panic!("{says:?} begins no claim"));
    let kind = if theme.of == Of::OneMember { Kind::Plain } else { Kind::Full };
    let open: Arc<Open> = Arc::new(open(kind, fault));
    let claims: Vec<_> = THEMES
        .iter()
        .flat_map(|theme| theme.claims)
        .filter(|claim| claim.says.starts_with(says))
        .map(|claim| Claim { says: claim.says, check: claim.check })
        .collect();
    assert_eq!(claims.len(), 1, "{says:?} must begin exactly one claim");
    run("queue", &open, &claims)
}
