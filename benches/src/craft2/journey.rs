//! The journey through the phases of craft 2 as the live page draws it: the few figures that it needs of a results file.

use super::{loads::Load, results::Results};
use crate::journey::{Journey, JourneyLoad, JourneyPhase, Measured};

/// Of a results file: loads under which several phases were measured.
pub fn journey(results: &Results) -> Journey {
    let load = |load: &Load| JourneyLoad {
        name: load.name.clone(),
        title: load.shows.clone(),
        unit: load.unit.clone(),
        less_is_better: load.less_is_better,
        phases: phases(results, load),
    };
    Journey {
        craft: 2,
        slot: "queue",
        measured: Measured::new(&results.provenance, &results.reproduce),
        loads: results.workload.loads.iter().map(load).filter(|load| load.phases.len() > 1).collect(),
    }
}

fn phases(results: &Results, load: &Load) -> Vec<JourneyPhase> {
    let subjects = results.subjects.iter().filter(|subject| subject.phase.is_some());
    let middle = |subject: &str, figure: &str| Some(results.spread(&load.name, subject, figure)?.median);
    subjects
        .filter(|subject| results.slices_of(&load.name, &subject.name).next().is_some())
        .map(|subject| JourneyPhase {
            name: subject.name.clone(),
            title: subject.title.clone(),
            figure: middle(&subject.name, &load.measure),
            p99_us: middle(&subject.name, "p99_us"),
            success_ratio: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft2::results::tests::example;

    #[test]
    fn each_phase_has_the_middle_of_its_rounds() {
        let journey = serde_json::to_value(journey(&example())).unwrap();
        assert_eq!(journey["loads"][1]["name"], "single");
        let phase = &journey["loads"][1]["phases"][1];
        assert_eq!((&phase["name"], &phase["figure"]), (&"phase2".into(), &4010.0.into()));
        assert_eq!(journey["loads"][0]["less_is_better"], true);
        assert_eq!(journey["measured"]["command"], "craft bench craft2");
    }
}
