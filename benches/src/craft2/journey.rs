//! The journey through the phases of craft 2 as the live page draws it: the few figures that it needs of a results file.

use super::results::Results;
use crate::journey::Measured;
use serde::Serialize;

/// One load after the other, each with all phases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Journey {
    /// Of which craft.
    pub craft: u32,
    /// Where the figures come from.
    pub measured: Measured,
    /// In the order in which the phases need them.
    pub loads: Vec<JourneyLoad>,
}

/// A load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JourneyLoad {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// What its figures are counted in.
    pub unit: String,
    /// Whether less of it is better.
    pub less_is_better: bool,
    /// From the naive to the best.
    pub phases: Vec<JourneyPhase>,
}

/// A phase under a load; what it did not stand is not there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JourneyPhase {
    /// `phase3`.
    pub name: String,
    /// In a few words.
    pub title: String,
    /// The figure that counts.
    pub figure: Option<f64>,
    /// 99th percentile of the latency, where there is one.
    pub p99_us: Option<f64>,
}

/// Of a results file: loads under which several phases were measured.
pub fn journey(results: &Results) -> Journey {
    let commit = results.provenance.commit.as_ref();
    let load = |load: &super::loads::Load| JourneyLoad {
        name: load.name.clone(),
        title: load.shows.clone(),
        unit: load.unit.clone(),
        less_is_better: load.less_is_better,
        phases: phases(results, load),
    };
    Journey {
        craft: 2,
        measured: Measured {
            machine: results.provenance.machine.cpu_model.clone(),
            commit: commit.map(|commit| commit.rev.chars().take(12).collect()),
            command: results.reproduce.clone(),
        },
        loads: results.workload.loads.iter().map(load).filter(|load| load.phases.len() > 1).collect(),
    }
}

fn phases(results: &Results, load: &super::loads::Load) -> Vec<JourneyPhase> {
    let subjects = results.subjects.iter().filter(|subject| subject.phase.is_some());
    let middle = |subject: &str, figure: &str| Some(results.spread(&load.name, subject, figure)?.median);
    subjects
        .filter(|subject| results.slices_of(&load.name, &subject.name).next().is_some())
        .map(|subject| JourneyPhase {
            name: subject.name.clone(),
            title: subject.title.clone(),
            figure: middle(&subject.name, &load.measure),
            p99_us: middle(&subject.name, "p99_us"),
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
