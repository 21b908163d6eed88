//! Slot of the warm-up: the log of phase 0. Its tests are the conformance suite's, each claim one test.

use crate::{
    Slot,
    check::{ALL, Test, name_of},
};
use conformance::{
    claim,
    queue::{Of, Open, THEMES},
};
use contracts::queue::Log;
use platform::{
    node::STORAGE_GROUP,
    slots::{OpenQueue, QueueSetup},
};
use std::{ops::RangeInclusive, sync::Arc};

/// The log of the warm-up, filled by this type.
pub fn queue<Q: Log + Default + 'static>() -> Slot {
    let tests = claims(|| Arc::new(Q::default()));
    let open: Arc<OpenQueue> = Arc::new(|_: &QueueSetup<'_>| {
        let log = Arc::new(Q::default());
        // So that nothing is dropped before whoever fills storage has subscribed.
        log.subscribe(STORAGE_GROUP, "lab").map_err(|e| format!("your log takes no group: {e}"))?;
        Ok(log as Arc<dyn Log>)
    });
    Slot { tests, counters: Vec::new(), queue: Some(open) }
}

/// What a log must do, each claim one test, of the phases in which it is asked.
pub(crate) fn claims(fresh: impl Fn() -> Arc<dyn Log> + Clone + Send + Sync + 'static) -> Vec<Test> {
    let all = THEMES.iter().flat_map(|theme| theme.claims.iter().map(|claim| (phases_of(theme.of), claim)));
    all.map(|(phases, claim)| {
        let fresh = fresh.clone();
        Test::new(name_of(claim.says), phases, move || {
            let open: Arc<Open> = Arc::new(fresh.clone());
            let report = claim::run("queue", &open, std::slice::from_ref(claim));
            crate::black_box::judge(&report, "")
        })
    })
    .collect()
}

/// The phases of craft 2 in which a log can do what a theme is about. The warm-up is phase 0.
fn phases_of(theme: Of) -> RangeInclusive<u32> {
    const MEMBERS_SINCE: u32 = 5;
    const BATCHES_SINCE: u32 = 6;
    match theme {
        Of::Every => ALL,
        Of::OneMember => 0..=MEMBERS_SINCE - 1,
        Of::SeveralMembers => MEMBERS_SINCE..=u32::MAX,
        Of::KnownBatches => BATCHES_SINCE..=u32::MAX,
    }
}
