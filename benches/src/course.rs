//! What the course's table, `crafts/phases.toml`, says of the phases: their titles, and what was predicted.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// A phase as the table has it. The table holds more; this is what a report needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoursePhase {
    /// Its place in its craft.
    pub number: u32,
    /// `lock-free-ring`.
    pub slug: String,
    /// `a lock-free ring`.
    pub title: String,
    /// The bottleneck it removes.
    pub removes: String,
    /// Where it loses.
    #[serde(default)]
    pub costs: Option<String>,
    /// What its 202 says: `memory`, or `ack`.
    pub promise: String,
    /// The load on which it shows.
    pub load: String,
    /// What was expected before it was measured.
    #[serde(default)]
    pub predict: Option<Prediction>,
    /// Cores without which it cannot show.
    pub cores_min: u32,
}

/// What was expected of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// `throughput`, `resident_memory`, `parse_time`, `admission_time`.
    pub measure: String,
    /// `requests/s`.
    pub unit: String,
    /// The load that it was said of, where that is another than the one that shows the step.
    #[serde(default)]
    pub load: Option<String>,
    /// The phase before.
    pub from: f64,
    /// This phase.
    pub to: f64,
}

#[derive(Deserialize)]
struct Table {
    craft: Vec<Craft>,
}

#[derive(Deserialize)]
struct Craft {
    number: u32,
    phase: Vec<CoursePhase>,
}

/// The phases of a craft, in their order.
///
/// # Errors
/// When the table cannot be read, or has no such craft.
pub fn phases_of(table: &Path, craft: u32) -> Result<Vec<CoursePhase>> {
    let text = fs::read_to_string(table).with_context(|| format!("cannot read {}", table.display()))?;
    let parsed: Table = toml::from_str(&text).with_context(|| format!("in {}", table.display()))?;
    let found = parsed.craft.into_iter().find(|one| one.number == craft);
    Ok(found.with_context(|| format!("{} has no craft {craft}", table.display()))?.phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loads;

    fn table() -> Vec<CoursePhase> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crafts/phases.toml");
        phases_of(&path, 1).unwrap()
    }

    #[test]
    fn the_course_has_ten_phases_and_nine_predictions() {
        let phases = table();
        assert_eq!(phases.iter().map(|phase| phase.number).collect::<Vec<_>>(), (0..=9).collect::<Vec<_>>());
        assert!(phases[1..].iter().all(|phase| phase.predict.is_some()));
    }

    #[test]
    fn each_phase_is_measured_under_the_load_that_shows_it_and_so_is_the_one_before() {
        let loads = loads::craft1(1);
        for phase in table() {
            // The limiter shows alone, in a bench of its own.
            let Some(load) = loads.iter().find(|load| load.name == phase.load) else {
                assert_eq!(phase.load, "limiter", "{} has no such load", phase.slug);
                continue;
            };
            let before = phase.number.saturating_sub(1);
            assert!(
                load.phases.contains(&phase.number) && load.phases.contains(&before),
                "{} shows under {}, which leaves it or its predecessor out",
                phase.slug,
                load.name
            );
        }
    }
}
