//! Every phase of a craft by its name, beside what the platform itself can fill its slots with.

use platform::slots::{Choice, Slots};
use std::sync::Arc;

/// Puts the phases into the lists of choices: `--ingest phase3`.
pub(crate) fn add(slots: &mut Slots) {
    slots.ingest.retain(|choice| choice.name != ingest_phases::PHASES[9].name);
    for phase in ingest_phases::PHASES {
        slots.ingest.push(Choice::new(phase.name, phase.title, Arc::new(phase.open)));
    }
}
