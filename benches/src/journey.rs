//! The journey through the phases of a craft as the live page draws it: the few figures that it needs of a results file.

use crate::{results::Results, summary};
use load_tester::provenance::Provenance;
use serde::Serialize;

/// One load after the other, each with all phases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Journey {
    /// Of which craft.
    pub craft: u32,
    /// Which slot of the pipeline this craft fills.
    pub slot: &'static str,
    /// Where the figures come from.
    pub measured: Measured,
    /// In the order in which the phases need them.
    pub loads: Vec<JourneyLoad>,
}

/// Where figures come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// The processor's brand.
    pub machine: String,
    /// The commit, twelve digits.
    pub commit: Option<String>,
    /// The command that does it again.
    pub command: String,
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
    /// Of what was asked for, 0 to 1, where that is counted.
    pub success_ratio: Option<f64>,
}

impl Measured {
    pub(crate) fn new(provenance: &Provenance, command: &str) -> Self {
        let commit = provenance.commit.as_ref();
        Self {
            machine: provenance.machine.cpu_model.clone(),
            commit: commit.map(|commit| commit.rev.chars().take(12).collect()),
            command: command.to_owned(),
        }
    }
}

/// Of craft 1's results file.
pub fn journey(results: &Results) -> Journey {
    let loads = &results.workload.loads;
    Journey {
        craft: 1,
        slot: "ingest",
        measured: Measured::new(&results.provenance, &results.reproduce),
        loads: loads.iter().map(|load| journey_load(results, &load.name, &load.shows)).collect(),
    }
}

fn journey_load(results: &Results, name: &str, shows: &str) -> JourneyLoad {
    let phase = |figures: &summary::Figures| JourneyPhase {
        name: figures.subject.clone(),
        title: results.subject(&figures.subject).map_or_else(String::new, |subject| subject.title.clone()),
        figure: figures.ok_per_s.map(|spread| spread.median),
        p99_us: figures.p99_us,
        success_ratio: figures.success_percent.map(|percent| percent / 100.0),
    };
    JourneyLoad {
        name: name.to_owned(),
        title: shows.to_owned(),
        unit: "requests/s".to_owned(),
        less_is_better: false,
        phases: summary::figures(results, name).iter().map(phase).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn each_phase_has_the_middle_of_its_rounds() {
        let journey = serde_json::to_value(journey(&example())).unwrap();
        assert_eq!((&journey["craft"], &journey["slot"]), (&1.into(), &"ingest".into()));
        let phase = &journey["loads"][0]["phases"][1];
        assert_eq!(phase["name"], "phase1");
        assert_eq!(phase["figure"], 2000.0);
        assert_eq!(phase["success_ratio"], 1.0);
        assert_eq!(journey["measured"]["command"], "craft bench craft1");
    }
}
