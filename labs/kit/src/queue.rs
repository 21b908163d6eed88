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
use std::sync::Arc;

/// The log of the warm-up, filled by this type.
pub fn queue<Q: Log + Default + 'static>() -> Slot {
    // A group of this log has one member, and it does not know batches again.
    let themes = THEMES.iter().filter(|theme| matches!(theme.of, Of::Every | Of::OneMember));
    let tests = themes.flat_map(|theme| theme.claims).map(|claim| {
        Test::new(name_of(claim.says), ALL, move || {
            let open: Arc<Open> = Arc::new(|| Arc::new(Q::default()) as Arc<dyn Log>);
            let report = claim::run("queue", &open, std::slice::from_ref(claim));
            crate::black_box::judge(&report, "")
        })
    });
    let open: Arc<OpenQueue> = Arc::new(|_: &QueueSetup<'_>| {
        let log = Arc::new(Q::default());
        // So that nothing is dropped before whoever fills storage has subscribed.
        log.subscribe(STORAGE_GROUP, "lab").map_err(|e| format!("your log takes no group: {e}"))?;
        Ok(log as Arc<dyn Log>)
    });
    Slot { tests: tests.collect(), counters: Vec::new(), queue: Some(open) }
}
