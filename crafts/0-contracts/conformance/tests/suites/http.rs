//! The HTTP suites against a server that is right, and against those that are wrong in one way each.
//!
//! The server has the storage and the alert service; what needs others is skipped, and must say so.

use crate::models::{
    assert_caught,
    server::{Fault, start},
};
use conformance::{
    Report, Verdict,
    client::Url,
    http::{HttpClaim, Part, SUITES, Target, check, check_suite},
};
use std::sync::Arc;

#[test]
fn a_server_that_is_right_passes_and_is_fully_documented() {
    let report = check(&start(Fault::None)).unwrap();
    report.assert_all_hold();
    let held =
        report.reports.iter().flat_map(|r| &r.outcomes).filter(|o| o.verdict == Verdict::Holds).count();
    let skipped = report
        .reports
        .iter()
        .flat_map(|r| &r.outcomes)
        .filter(|o| matches!(o.verdict, Verdict::Skipped(_)))
        .count();
    assert!(held > 40 && skipped > 40, "{held} hold, {skipped} skipped");
    assert_eq!(conformance::openapi::undocumented(&report.observed).unwrap(), []);
    assert!(
        report.observed.iter().any(|o| (o.path.as_str(), o.status) == ("/rules/{name}", 404)),
        "{:?}",
        report.observed
    );
}

/// Each fault, and the claim that must notice it.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::BareLineFeeds, "a malformed request line"),
    (Fault::AnyVersion, "a malformed request line"),
    (Fault::DiesOfGarbage, "a malformed request line"),
    (Fault::FoldedHeaders, "a malformed header"),
    (Fault::SpaceBeforeColon, "a malformed header"),
    (Fault::ControlCharacters, "a malformed header"),
    (Fault::TwoHosts, "exactly one Host"),
    (Fault::NoHeadBound, "a head over the limit"),
    (Fault::SignedLengths, "a Content-Length that is no plain number"),
    (Fault::LastLengthWins, "a Content-Length that is no plain number"),
    (Fault::LengthBesideChunks, "Transfer-Encoding and Content-Length"),
    (Fault::NoBodyBound, "a body over the limit"),
    (Fault::NoLengthIsNothing, "a POST without a length"),
    (Fault::TakesCutBodies, "a body cut short"),
    (Fault::NeverContinues, "Expect: 100-continue"),
    (Fault::HeadWithBody, "HEAD is answered"),
    (Fault::NoAllow, "a method that a path does not take"),
    (Fault::PlainErrors, "what is not there is 404"),
    (Fault::HealthInWords, "GET /health"),
    (Fault::BadExposition, "GET /metrics"),
    (Fault::ListsMissingFiles, "GET /openapi"),
    (Fault::PutIs200, "a rule is put"),
    (Fault::NoDetail, "a rule that does not exist"),
    (Fault::ShowsNoAlerts, "an alert fires and ends"),
    (Fault::RawNames, "a name may hold what a path cannot"),
    (Fault::IgnoresSyncedWrites, "what was written without sync"),
    (Fault::WrongContentType, "what was written is queried exactly"),
    (Fault::UndocumentedStatus, "series tells the labels"),
];

#[test]
fn every_fault_is_caught_by_the_claim_that_is_about_it() {
    // All at once: most of the time is spent waiting for answers that do not come.
    std::thread::scope(|scope| {
        for (fault, says) in FAULTS {
            scope.spawn(move || assert_caught(&check_claim(*fault, says), says));
        }
    });
}

/// Holds only the claim that must notice against the faulty server.
fn check_claim(fault: Fault, says: &str) -> Report {
    let url = Url::parse(&start(fault)).unwrap();
    let target = Arc::new(Target::new().with(Part::Storage, url.clone()).with(Part::Alert, url));
    let all = SUITES.iter().flat_map(|(_, claims)| claims.iter()).filter(|c| c.says.starts_with(says));
    let claims: Vec<_> = all
        .map(|c| HttpClaim {
            says: c.says,
            needs: c.needs,
            samples: c.samples,
            formats: c.formats,
            check: c.check,
        })
        .collect();
    assert_eq!(claims.len(), 1, "{says:?} must begin exactly one claim");
    check_suite(&target, "http", &claims)
}
