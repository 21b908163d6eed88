//! The contracts in memory, as plainly as they can be written, each with a list of faults that it can be given.
//!
//! Without a fault they show that a suite can be passed; with one, that the suite notices.

pub(crate) mod alerter;
pub(crate) mod engine;
pub(crate) mod log;
pub(crate) mod server;
pub(crate) mod store;

use conformance::Report;

/// Asserts that the suite noticed: the claim that begins with `says` is broken, whatever else is.
#[track_caller]
pub(crate) fn assert_caught(report: &Report, says: &str) {
    let broken: Vec<_> = report.broken().collect();
    assert!(
        broken.iter().any(|(claim, _)| claim.starts_with(says)),
        "expected {says:?} to be broken, but what is broken is {broken:#?}"
    );
}
