//! Every phase of a craft by its name, beside what the platform itself can fill its slots with.

use platform::slots::{Choice, QueueSetup, Slots, open_queue};
use std::sync::Arc;

/// Puts the phases into the lists of choices: `--ingest phase3`.
pub(crate) fn add(slots: &mut Slots) {
    slots.ingest.retain(|choice| choice.name != ingest_phases::PHASES[9].name);
    for phase in ingest_phases::PHASES {
        slots.ingest.push(Choice::new(phase.name, phase.title, Arc::new(phase.open)));
    }
    add_queues(slots);
}

/// The final form is there already, and stays the last, which is the default.
fn add_queues(slots: &mut Slots) {
    let at = slots.queue.len() - 1;
    let superseded = queue_phases::PHASES.into_iter().filter(|phase| phase.name != queue::NAME);
    slots.queue.splice(
        at..at,
        superseded.map(|phase| {
            Choice::new(
                phase.name,
                phase.title,
                Arc::new(move |setup: &QueueSetup<'_>| {
                    // Each in a directory of its own: none reads what another has written.
                    open_queue(setup, &format!("queue-{}", phase.name), |dir, config| {
                        (phase.open)(dir, config).map(|opened| (opened.log as _, opened.recovery))
                    })
                }),
            )
        }),
    );
}
