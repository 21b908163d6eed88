//! The results file of craft 2: everything that was seen, so that any figure can be worked out again from it.
//!
//! A slice holds figures by name ([`Figures`]): loads of a log have less in common than requests to a server, and a form that
//! knew all of them would change with each.

use super::{loads::Load, slice::Figures};
use crate::{
    results::{Again, Before, Subject},
    stats::{Estimate, Spread},
};
use anyhow::{Context, Result, bail, ensure};
use load_tester::provenance::Provenance;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fs, path::Path};

/// The form's name and version. Fields and figures may be added under it; a change of meaning gets a new number.
pub const SCHEMA: &str = "systems-craft/figures/1";

/// A run of the bench, told in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was measured: `craft2`.
    pub bench: String,
    /// The command that does it again.
    pub reproduce: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// How long it took.
    pub seconds_taken: f64,
    /// Machine, commit, compiler.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// Which versions of the libraries: git's hash of `Cargo.lock`.
    pub lock_hash: Option<String>,
    /// What was done.
    pub workload: Workload,
    /// To whom.
    pub subjects: Vec<Subject>,
    /// What was seen, in the order in which it was seen.
    pub slices: Vec<Slice>,
    /// Where the steps' predecessors spend their processor time, sampled in runs of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Before>,
    /// Loads that were measured again later, in place of what this run had seen of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<Again>,
}

/// What was done: results compare only with those of the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// What messages are derived from.
    pub seed: u64,
    /// Rounds.
    pub rounds: u32,
    /// Length of each measurement, where that can be chosen.
    pub seconds: f64,
    /// The log's core and the other one's; nothing is pinned where there are not two.
    pub pinned_to_cores: Option<(usize, usize)>,
    /// Under what.
    pub loads: Vec<Load>,
}

/// One measurement: a subject under a load in a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// The round, from 0.
    pub round: u32,
    /// The load's name.
    pub load: String,
    /// The subject's name.
    pub subject: String,
    /// How many cores other processes used meanwhile.
    pub others_cores: Option<f64>,
    /// What was seen.
    pub figures: Figures,
    /// Why there are no figures, where there are none.
    pub failure: Option<String>,
}

impl Results {
    /// Whether a file is of this form and not of another one's.
    pub fn is_in(path: &Path) -> bool {
        let schema = |text: String| -> Option<String> {
            let value: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some(value["schema"].as_str()?.to_owned())
        };
        fs::read_to_string(path).ok().and_then(schema).as_deref() == Some(SCHEMA)
    }

    /// Reads a file, and refuses another schema.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(Self::is_in(path), "{} has not the schema {SCHEMA}", path.display());
        serde_json::from_str(&text).with_context(|| format!("{} breaks the schema {SCHEMA}", path.display()))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let json = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes over what a later run saw of some loads, in place of what this one has of them. Nothing is mixed within a load:
    /// its rounds compare subjects, and must be of one run.
    ///
    /// # Errors
    /// A sentence that says why the two do not belong together.
    pub fn take_over(&mut self, later: Self) -> Result<()> {
        if self.bench != later.bench || self.provenance.machine != later.provenance.machine {
            bail!("another bench, or another machine: it can only stand by itself");
        }
        let how = |w: &Workload| (w.seed, w.rounds, w.seconds.to_bits(), w.pinned_to_cores);
        if how(&self.workload) != how(&later.workload) {
            bail!("measured in another way: rounds, seconds, seed and cores must be the same");
        }
        let loads: Vec<String> = later.workload.loads.iter().map(|load| load.name.clone()).collect();
        let subjects = |of: &Self, load: &str| -> BTreeSet<String> {
            of.slices.iter().filter(|s| s.load == load).map(|s| s.subject.clone()).collect()
        };
        if let Some(load) = loads.iter().find(|load| !subjects(self, load).is_subset(&subjects(&later, load)))
        {
            bail!("subjects are missing under {load}; measure all that were measured before");
        }
        self.slices.retain(|slice| !loads.contains(&slice.load));
        self.slices.extend(later.slices);
        for load in later.workload.loads {
            match self.workload.loads.iter_mut().find(|old| old.name == load.name) {
                Some(old) => *old = load,
                None => self.workload.loads.push(load),
            }
        }
        for subject in later.subjects {
            match self.subjects.iter_mut().find(|old| old.name == subject.name) {
                Some(old) => *old = subject,
                None => self.subjects.push(subject),
            }
        }
        let Self { reproduce, started_at, provenance, .. } = later;
        self.again.push(Again { loads, reproduce, started_at, provenance });
        Ok(())
    }

    /// A subject.
    pub fn subject(&self, name: &str) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.name == name)
    }

    /// A load.
    pub fn load(&self, name: &str) -> Option<&Load> {
        self.workload.loads.iter().find(|load| load.name == name)
    }

    /// The measurements of a subject under a load, in the order of the rounds.
    pub fn slices_of<'r>(&'r self, load: &'r str, subject: &'r str) -> impl Iterator<Item = &'r Slice> {
        self.slices.iter().filter(move |slice| slice.load == load && slice.subject == subject)
    }

    /// One figure of a subject under a load: the middle of the rounds, and how far they lie apart.
    pub fn spread(&self, load: &str, subject: &str, figure: &str) -> Option<Spread> {
        let values: Vec<f64> =
            self.slices_of(load, subject).filter_map(|slice| slice.figures.get(figure).copied()).collect();
        Spread::of(&values)
    }

    /// One figure of one subject over that of another, round by round; either may be under another load.
    pub fn ratio(&self, over: Of<'_>, under: Of<'_>) -> Option<Estimate> {
        let ratios: Vec<f64> = self
            .slices_of(over.load, over.subject)
            .filter_map(|slice| {
                let other = self.slices_of(under.load, under.subject).find(|o| o.round == slice.round)?;
                let other = other.figures.get(under.figure).filter(|value| **value > 0.0)?;
                Some(slice.figures.get(over.figure)? / other)
            })
            .collect();
        Estimate::of(&ratios)
    }
}

/// A figure of a subject under a load.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// The load.
    pub load: &'a str,
    /// The subject.
    pub subject: &'a str,
    /// The figure's name.
    pub figure: &'a str,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{course::CoursePhase, craft2::loads, traffic};

    /// Three phases under two loads in three rounds, with figures that a test can work out.
    pub(crate) fn example() -> Results {
        let loads: Vec<_> =
            loads::craft2().into_iter().filter(|l| ["kill-9", "single"].contains(&l.name.as_str())).collect();
        let phase = |number: u32, load: &str| CoursePhase {
            number,
            slug: format!("slug-{number}"),
            title: format!("title {number}"),
            removes: "something".to_owned(),
            costs: None,
            promise: "ack".to_owned(),
            load: load.to_owned(),
            predict: None,
            cores_min: 1,
        };
        let subjects = [(0, "single"), (1, "kill-9"), (2, "single")].map(|(number, load)| Subject {
            name: format!("phase{number}"),
            title: format!("title {number}"),
            phase: Some(phase(number, load)),
        });
        let slice = |round: u32, load: &str, number: u32, figure: &str, value: f64| Slice {
            round,
            load: load.to_owned(),
            subject: format!("phase{number}"),
            others_cores: Some(0.01),
            figures: Figures::from([(figure.to_owned(), value), ("p99_us".to_owned(), 1e6 / value.max(1.0))]),
            failure: None,
        };
        let slices = (0..3).flat_map(|round| {
            let better = f64::from(round) * 10.0;
            [
                slice(round, "kill-9", 0, "lost", 100.0),
                slice(round, "kill-9", 1, "lost", 0.0),
                slice(round, "single", 1, "throughput", 1000.0),
                slice(round, "single", 2, "throughput", 4000.0 + better),
            ]
        });
        Results {
            schema: SCHEMA.to_owned(),
            bench: "craft2".to_owned(),
            reproduce: "craft bench craft2".to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            seconds_taken: 12.5,
            provenance: traffic::provenance(),
            lock_hash: Some("abc".to_owned()),
            workload: Workload { seed: 7, rounds: 3, seconds: 1.0, pinned_to_cores: Some((0, 1)), loads },
            subjects: subjects.into(),
            slices: slices.collect(),
            profiles: Vec::new(),
            again: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_known_from_other_forms() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/results.json");
        let results = example();
        results.write(&path).unwrap();
        assert!(Results::is_in(&path));
        assert_eq!(Results::read(&path).unwrap(), results);
        fs::write(&path, r#"{"schema":"systems-craft/bench/1"}"#).unwrap();
        assert!(!Results::is_in(&path));
        assert!(Results::read(&path).unwrap_err().to_string().contains(SCHEMA));
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let results = example();
        let of = |subject| Of { load: "single", subject, figure: "throughput" };
        let ratio = results.ratio(of("phase2"), of("phase1")).unwrap();
        assert!((ratio.median - 4.01).abs() < 1e-9, "{ratio:?}");
        assert_eq!(results.ratio(of("phase2"), of("phase9")), None);
    }

    #[test]
    fn a_load_measured_again_stands_in_place_of_the_first() {
        let (mut first, mut later) = (example(), example());
        later.workload.loads.retain(|load| load.name == "single");
        later.slices.retain(|slice| slice.load == "single");
        later.slices.iter_mut().for_each(|slice| slice.figures = Figures::new());
        first.take_over(later.clone()).unwrap();
        assert!(first.slices.ends_with(&later.slices) && first.slices.len() == example().slices.len());
        assert_eq!(first.again[0].loads, ["single"]);

        let mut few = later.clone();
        few.slices.retain(|slice| slice.subject == "phase1");
        assert!(first.take_over(few).unwrap_err().to_string().contains("missing under single"));
        later.workload.rounds += 1;
        assert!(first.take_over(later).unwrap_err().to_string().contains("another way"));
    }
}
