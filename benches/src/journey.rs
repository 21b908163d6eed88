//! The journey through the phases as the live page draws it: the few figures that it needs of a results file.

use crate::{results::Results, summary};
use serde::Serialize;

/// One load after the other, each with all phases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Journey {
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
    /// Requests answered 2xx a second.
    pub requests_per_s: Option<f64>,
    /// 99th percentile of the latency.
    pub p99_us: Option<f64>,
    /// Of the requests that were asked for, 0 to 1.
    pub success_ratio: Option<f64>,
}

/// Of a results file.
pub fn journey(results: &Results) -> Journey {
    let commit = results.provenance.commit.as_ref();
    Journey {
        measured: Measured {
            machine: results.provenance.machine.cpu_model.clone(),
            commit: commit.map(|commit| commit.rev.chars().take(12).collect()),
            command: results.reproduce.clone(),
        },
        loads: results
            .workload
            .loads
            .iter()
            .map(|load| journey_load(results, &load.name, &load.shows))
            .collect(),
    }
}

fn journey_load(results: &Results, name: &str, shows: &str) -> JourneyLoad {
    let phase = |figures: &summary::Figures| JourneyPhase {
        name: figures.subject.clone(),
        title: results.subject(&figures.subject).map_or_else(String::new, |subject| subject.title.clone()),
        requests_per_s: figures.ok_per_s.map(|spread| spread.median),
        p99_us: figures.p99_us,
        success_ratio: figures.success_percent.map(|percent| percent / 100.0),
    };
    JourneyLoad {
        name: name.to_owned(),
        title: shows.to_owned(),
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
        let phase = &journey["loads"][0]["phases"][1];
        assert_eq!(phase["name"], "phase1");
        assert_eq!(phase["requests_per_s"], 2000.0);
        assert_eq!(phase["success_ratio"], 1.0);
        assert_eq!(journey["measured"]["command"], "craft bench craft1");
    }
}
