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
    let last = slots.queue.len() - 1;
    for (at, phase) in queue_phases::PHASES.into_iter().filter(|phase| phase.name != queue::NAME).enumerate()
    {
        // Each in a directory of its own: none reads what another has written.
        let dir = format!("queue-{}", phase.name);
        let open = move |setup: &QueueSetup<'_>| {
            open_queue(setup, &dir, |dir, config| {
                (phase.open)(dir, config).map(|opened| (opened.log as _, opened.recovery))
            })
        };
        slots.queue.insert(last + at, Choice::new(phase.name, phase.title, Arc::new(open)));
    }
}
