//! The HTTP suites: the contracts from outside, over a base URL, in whatever language the services are written.
//!
//! What is tested is alive and may be in use: claims choose names of their own, leave other people's data alone,
//! and clean up what can be cleaned up. A claim that needs a service which the target does not have is skipped,
//! and says so. Every answer is recorded as method, path and status, so that a test can hold the OpenAPI files
//! against what was really seen.

mod alert;
mod formats;
mod ingest;
mod pipeline;
mod protocol;
mod query;
mod queue;
mod service;
mod storage;
mod target;

pub use target::{Observed, Part, Target};

use crate::{
    claim::{Check, Outcome, Report, Verdict, outcome},
    client::Url,
};
use serde::Serialize;
use std::{fmt, sync::Arc};

/// One thing that every HTTP service of a kind must do.
pub struct HttpClaim {
    /// The claim, as a sentence.
    pub says: &'static str,
    /// The services without which it cannot be checked.
    pub needs: &'static [Part],
    /// Whether it needs samples to be there, which storage or ingest must take.
    pub samples: bool,
    /// Whether it is about formats other than JSON, which ingestion need not take.
    pub formats: bool,
    /// Holds it against the target.
    pub check: fn(&Target) -> Check,
}

/// A claim about services as they are.
const fn claim(says: &'static str, needs: &'static [Part], check: fn(&Target) -> Check) -> HttpClaim {
    HttpClaim { says, needs, samples: false, formats: false, check }
}

/// A claim about services that hold samples of ours.
const fn sampled(says: &'static str, needs: &'static [Part], check: fn(&Target) -> Check) -> HttpClaim {
    HttpClaim { says, needs, samples: true, formats: false, check }
}

/// Every suite with its claims, in the order of the data's way.
pub const SUITES: &[(&str, &[HttpClaim])] = &[
    ("http service", service::CLAIMS),
    ("http protocol", protocol::CLAIMS),
    ("http ingest", ingest::CLAIMS),
    ("http formats", formats::CLAIMS),
    ("http queue", queue::CLAIMS),
    ("http storage", storage::CLAIMS),
    ("http query", query::CLAIMS),
    ("http alert", alert::CLAIMS),
    ("http pipeline", pipeline::CLAIMS),
];

/// How all suites went.
#[derive(Clone, Debug, Serialize)]
pub struct HttpReport {
    /// One a suite.
    pub reports: Vec<Report>,
    /// Which answers were seen.
    pub observed: Vec<Observed>,
}

impl HttpReport {
    /// Whether no claim is broken.
    pub fn holds(&self) -> bool {
        self.reports.iter().all(Report::holds)
    }

    /// For tests.
    ///
    /// # Panics
    /// If any claim is broken, with all that are.
    #[track_caller]
    pub fn assert_all_hold(&self) {
        let outcomes = self.reports.iter().flat_map(|r| r.outcomes.clone()).collect();
        Report { suite: "http", outcomes }.assert_all_hold();
    }
}

/// A line a claim, for people.
impl fmt::Display for HttpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reports.iter().try_for_each(|report| fmt::Display::fmt(report, f))
    }
}

/// Holds every suite against the services at one URL, which are found by asking.
///
/// # Errors
/// If nobody answers there.
pub fn check(url: &str) -> Result<HttpReport, String> {
    Ok(check_target(&Arc::new(Target::at(&Url::parse(url)?)?)))
}

/// Holds every suite against a target, whose services may stand at different URLs.
pub fn check_target(target: &Arc<Target>) -> HttpReport {
    let reports = SUITES.iter().map(|(suite, claims)| check_suite(target, suite, claims)).collect();
    HttpReport { reports, observed: target.observed() }
}

/// Holds one suite against a target.
pub fn check_suite(target: &Arc<Target>, suite: &'static str, claims: &[HttpClaim]) -> Report {
    let outcomes = claims.iter().map(|claim| check_claim(target, claim)).collect();
    Report { suite, outcomes }
}

fn check_claim(target: &Arc<Target>, claim: &HttpClaim) -> Outcome {
    match lacks(target, claim) {
        None => outcome(claim.says, claim.check, target),
        Some(why) => Outcome { says: claim.says, verdict: Verdict::Skipped(why), took_ms: 0 },
    }
}

/// What the target lacks to check this claim on it.
fn lacks(target: &Target, claim: &HttpClaim) -> Option<String> {
    if claim.formats && target.takes_json_only() {
        return Some("this implementation of ingestion takes JSON only".to_owned());
    }
    if let Some(part) = claim.needs.iter().find(|part| target.url(**part).is_none()) {
        return Some(format!("needs the {} service", part.as_str()));
    }
    (claim.samples && !target.can_seed())
        .then(|| "needs samples: name the storage service, or ingest and query together".to_owned())
}
