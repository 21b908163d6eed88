//! The suite of alerting against an alerter that is right, and against those that are wrong in one way each.

use crate::models::{
    alerter::{Fault, open},
    assert_caught,
};
use conformance::{
    Claim, Report,
    alert::{CLAIMS, Open},
    claim::run,
};
use std::sync::Arc;

#[test]
fn an_alerter_that_is_right_passes() {
    conformance::alert::check(open(Fault::None)).assert_all_hold();
}

/// Each fault, and the claim that must notice it.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::TakesAnyExpression, "a rule whose expression is none"),
    (Fault::TakesAnyLabel, "a rule with bad names or labels"),
    (Fault::RefusesLargeRules, "a rule up to the limit"),
    (Fault::NoRuleBound, "there is a bound on the number of rules"),
    (Fault::ReplacesBeforeChecking, "a refused rule leaves"),
    (Fault::KeepsReplaced, "a rule put again replaces"),
    (Fault::ForgetsDeleteErrors, "a deleted rule is gone"),
    (Fault::UnsortedRules, "rules are listed as they were put"),
    (Fault::OneAlertARule, "every element of the vector"),
    (Fault::SeriesLabelsWin, "an alert's labels are"),
    (Fault::KeepsMetricName, "an alert's labels are"),
    (Fault::NoAlertname, "an alert's labels are"),
    (Fault::NoAnnotations, "annotations are carried along"),
    (Fault::FirstValueStays, "value follows the series"),
    (Fault::SinceMoves, "value follows the series"),
    (Fault::NeverEnds, "a rule fires while its expression"),
    (Fault::ResolvesEarly, "a firing alert is notified"),
    (Fault::NeverResolves, "an alert that is over"),
    (Fault::NeverNotifies, "a firing alert is notified"),
    (Fault::NotifiesOnce, "each alert is notified for itself"),
    (Fault::NotifiesPending, "a rule that waits"),
    (Fault::SilentDelete, "the alerts of a deleted rule"),
    (Fault::ForgetsReplaced, "the alerts that a replaced rule"),
    (Fault::FailureStopsOthers, "a notification that fails"),
    (Fault::NeverRetries, "a firing alert whose notification failed"),
    (Fault::ForIsIgnored, "a rule that waits"),
    (Fault::ForCountsOn, "a rule that waits"),
];

#[test]
fn every_fault_is_caught_by_the_claim_that_is_about_it() {
    // All at once: what never comes is waited for with patience, most of it asleep.
    std::thread::scope(|scope| {
        for (fault, says) in FAULTS {
            scope.spawn(move || assert_caught(&check_claim(*fault, says), says));
        }
    });
}

/// Holds only the claim that must notice against the faulty alerter.
fn check_claim(fault: Fault, says: &str) -> Report {
    let open: Arc<Open> = Arc::new(open(fault));
    let claims: Vec<_> = CLAIMS
        .iter()
        .filter(|c| c.says.starts_with(says))
        .map(|c| Claim { says: c.says, check: c.check })
        .collect();
    assert_eq!(claims.len(), 1, "{says:?} must begin exactly one claim");
    run("alert", &open, &claims)
}
