//! Every phase of a craft by its name, beside what the platform itself can fill its slots with.

use platform::slots::{Choice, Slots};
use std::sync::Arc;

/// Puts the phases into the lists of choices: `--ingest phase3`.
pub(crate) fn add(slots: &mut Slots) {
    // The tutorial's own server has the same shape as phase 0, without slots and with the standard library alone.
    for choice in slots.ingest.iter_mut().filter(|choice| choice.name == "phase0") {
        "phase0-std".clone_into(&mut choice.name);
    }
    slots.ingest.retain(|choice| choice.name != ingest_phases::PHASES[9].name);
    for phase in ingest_phases::PHASES {
        slots.ingest.push(Choice::new(phase.name, phase.title, Arc::new(phase.open)));
    }
}
