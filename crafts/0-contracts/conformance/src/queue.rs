//! The suite of the log: [`contracts::queue::Log`].
//!
//! Retention is the implementation's business: a log may drop records that every group has committed, so claims
//! that read back hold on to their records by not committing them.
//!
//! Some of what a log may do it need not do: share a group's partitions among members, know batches again. It says so, and
//! the claims about that are left out.

mod append;
mod batches;
mod fetch;
mod groups;
mod members;
mod one_member;
mod talk;
mod tickets;
mod told;

use crate::claim::{Claim, Outcome, Report, Verdict, run};
use contracts::queue::Log;
use std::sync::Arc;

/// Opens a fresh, empty log with at least one partition.
pub type Open = dyn Fn() -> Arc<dyn Log> + Send + Sync;

/// Holds the whole suite against an implementation.
pub fn check(open: impl Fn() -> Arc<dyn Log> + Send + Sync + 'static) -> Report {
    let open: Arc<Open> = Arc::new(open);
    let log = open();
    let outcomes = THEMES.iter().flat_map(|theme| check_theme(theme, &*log, &open)).collect();
    Report { suite: "queue", outcomes }
}

/// Claims that are about one thing.
pub struct Theme {
    /// Of which logs it is asked.
    pub of: Of,
    /// What such a log must do.
    pub claims: &'static [Claim<Open>],
}

/// Which logs a theme is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Every log.
    Every,
    /// Those whose groups have one member.
    OneMember,
    /// Those whose groups can have several.
    SeveralMembers,
    /// Those that know batches again.
    KnownBatches,
}

/// What a log must do, from a record's way in to who reads it.
pub const THEMES: &[Theme] = &[
    Theme { of: Of::Every, claims: append::CLAIMS },
    Theme { of: Of::Every, claims: tickets::CLAIMS },
    Theme { of: Of::KnownBatches, claims: batches::CLAIMS },
    Theme { of: Of::Every, claims: fetch::CLAIMS },
    Theme { of: Of::Every, claims: groups::CLAIMS },
    Theme { of: Of::OneMember, claims: one_member::CLAIMS },
    Theme { of: Of::SeveralMembers, claims: members::CLAIMS },
];

fn check_theme(theme: &Theme, log: &dyn Log, open: &Arc<Open>) -> Vec<Outcome> {
    let skipped = |why: &str| {
        let outcome = |claim: &Claim<Open>| Outcome {
            says: claim.says,
            verdict: Verdict::Skipped(why.to_owned()),
            took_ms: 0,
        };
        theme.claims.iter().map(outcome).collect()
    };
    let several = log.group_members_max() > 1;
    match theme.of {
        Of::OneMember if several => skipped("groups of this log can have several members"),
        Of::SeveralMembers if !several => skipped("groups of this log have one member"),
        Of::KnownBatches if !log.knows_batches() => skipped("this log does not know batches again"),
        _ => run("queue", open, theme.claims).outcomes,
    }
}
