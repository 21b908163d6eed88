//! The results file: one schema for the phases and for the peers, with everything that was seen, so that any figure
//! can be worked out again from it, and nothing else needs to be kept.

use crate::{
    course::CoursePhase,
    loads::Load,
    process::Used,
    server::Hot,
    traffic::{BesideReport, Requests},
};
use anyhow::{Context, Result, bail};
use load_tester::provenance::Provenance;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

/// The form's name and version. Fields may be added under it; a change of meaning gets a new number.
pub const SCHEMA: &str = "systems-craft/bench/1";

/// A run of the bench, told in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was measured: `craft1`, `peers-craft1`.
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
    /// What a request costs in calls and allocations, seen in runs of their own.
    pub counts: Vec<Counts>,
    /// Parts measured alone, by criterion.
    pub parts: Vec<Part>,
    /// Where the steps' predecessors spend their processor time, sampled in runs of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Before>,
    /// Loads that were measured again later, in place of what this run had seen of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<Again>,
}

/// A later run of some loads, whose measurements stand in place of earlier ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Again {
    /// Which loads.
    pub loads: Vec<String>,
    /// The command that does it again.
    pub reproduce: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Machine, commit, compiler.
    #[serde(flatten)]
    pub provenance: Provenance,
}

/// What was done: results compare only with those of the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// What samples' values and the order of subjects are derived from.
    pub seed: u64,
    /// Rounds.
    pub rounds: u32,
    /// Length of each measurement.
    pub seconds: f64,
    /// The server's core and the load's; nothing is pinned where there are not two.
    pub pinned_to_cores: Option<(usize, usize)>,
    /// What was sent.
    pub loads: Vec<Load>,
}

/// Who was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// `phase3`, `nginx`.
    pub name: String,
    /// In a few words; of a peer, its version.
    pub title: String,
    /// What the course says of it, if it is a phase.
    pub phase: Option<CoursePhase>,
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
    /// What the load saw.
    pub requests: Option<Requests>,
    /// What the same server carried just before, where the load asks for that: without the slow clients, or before the
    /// overload.
    pub before: Option<Requests>,
    /// What the server used.
    pub used: Option<Used>,
    /// Times that a thread of it went to sleep, and that one had to make room.
    pub switches: Option<(u64, u64)>,
    /// How the connections beside the load fared.
    pub beside: Option<BesideReport>,
    /// Whether what was accepted is in the log.
    pub verified: Option<Verified>,
    /// How long the server took to finish.
    pub drain_ms: Option<f64>,
    /// Why there are no figures, where there are none.
    pub failure: Option<String>,
}

/// What was accepted, and what the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Samples answered with 2xx.
    pub accepted: u64,
    /// Samples whose fate the client does not know.
    pub unknown: u64,
    /// Samples in the log.
    pub found: u64,
}

impl Verified {
    /// Whether nothing accepted is missing, and nothing is there that nobody sent.
    pub fn holds(&self) -> bool {
        (self.accepted..=self.accepted + self.unknown).contains(&self.found)
    }

    /// Samples that were accepted and are certainly gone.
    pub fn lost(&self) -> u64 {
        self.accepted.saturating_sub(self.found)
    }
}

/// What a request costs, counted and not timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// The load's name.
    pub load: String,
    /// The subject's name.
    pub subject: String,
    /// Heap allocations a request.
    pub allocations: Option<f64>,
    /// System calls a request, by name, where `strace` is installed. It slows the server down: more requests come
    /// together than otherwise.
    pub calls: BTreeMap<String, f64>,
}

/// Where a phase spends its processor time, as the next one finds it: what there is to remove.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// The phase that comes next.
    pub step: u32,
    /// Who was sampled: the phase before that.
    pub subject: String,
    /// The load's name.
    pub load: String,
    /// Requests answered 2xx a second, while it was sampled; or what `unit` says.
    pub ok_per_s: f64,
    /// In what that is counted, where it is not requests a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Processor time that the server used, in cores. The rest of the time it waited, which no sample shows.
    pub cores: Option<f64>,
    /// The functions in which most samples fell.
    pub top: Vec<Hot>,
}

/// A part measured alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `parse/single-pass/50`.
    pub name: String,
    /// Median time of one iteration.
    pub ns: f64,
    /// Its 95 % interval.
    pub ns_interval: (f64, f64),
    /// Bytes that one iteration works through.
    pub bytes: Option<u64>,
    /// Elements that one iteration works through.
    pub elements: Option<u64>,
}

impl Results {
    /// Reads a file, and refuses another schema.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let value: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        match value["schema"].as_str() {
            Some(SCHEMA) => {}
            Some(other) => bail!("{} has the schema {other}; this program reads {SCHEMA}", path.display()),
            None => bail!("{} is not a results file: it names no schema", path.display()),
        }
        serde_json::from_value(value)
            .with_context(|| format!("{} breaks the schema {SCHEMA}", path.display()))
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
    /// its rounds compare phases, and must be of one run.
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
            bail!("phases are missing under {load}; measure all that were measured before");
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
            if let Some(old) = self.subjects.iter_mut().find(|old| old.name == subject.name) {
                *old = subject;
            }
        }
        self.counts
            .retain(|old| !later.counts.iter().any(|new| new.load == old.load && new.subject == old.subject));
        self.counts.extend(later.counts);
        if !later.parts.is_empty() {
            self.parts = later.parts;
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
}

/// Git's hash of `Cargo.lock`, which anybody can work out again with `git hash-object Cargo.lock`.
pub fn lock_hash(root: &Path) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(["hash-object", "Cargo.lock"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{loads, traffic};

    /// Two phases under one load in three rounds, with figures that a test can work out.
    pub(crate) fn example() -> Results {
        let phase = |number: u32, predict| CoursePhase {
            number,
            slug: format!("slug-{number}"),
            title: format!("title {number}"),
            removes: "something".to_owned(),
            costs: None,
            promise: "ack".to_owned(),
            load: "plain".to_owned(),
            predict,
            cores_min: 1,
        };
        let predict = crate::course::Prediction {
            measure: "throughput".to_owned(),
            unit: "requests/s".to_owned(),
            load: None,
            from: 1000.0,
            to: 3000.0,
        };
        let subject = |number, predict| Subject {
            name: format!("phase{number}"),
            title: format!("title {number}"),
            phase: Some(phase(number, predict)),
        };
        let slice = |round, number: u32, rate: f64| Slice {
            round,
            load: "plain".to_owned(),
            subject: format!("phase{number}"),
            others_cores: Some(0.01),
            requests: Some(requests(rate)),
            used: Some(Used {
                cpu_user_us: 400,
                cpu_system_us: 600,
                resident_bytes_max: 5 << 20,
                threads_max: 3,
            }),
            switches: Some((50, 5)),
            verified: Some(Verified { accepted: 100, unknown: 0, found: 100 }),
            drain_ms: Some(1.5),
            ..Slice::default()
        };
        let mut loads = loads::craft1(7);
        loads.truncate(1);
        let rates = [(0, 1000.0, 2000.0), (1, 1100.0, 2310.0), (2, 900.0, 1980.0)];
        Results {
            schema: SCHEMA.to_owned(),
            bench: "craft1".to_owned(),
            reproduce: "craft bench craft1".to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            seconds_taken: 12.5,
            provenance: traffic::provenance(),
            lock_hash: Some("abc".to_owned()),
            workload: Workload { seed: 7, rounds: 3, seconds: 1.0, pinned_to_cores: Some((0, 1)), loads },
            subjects: vec![subject(0, None), subject(1, Some(predict))],
            slices: rates
                .into_iter()
                .flat_map(|(round, before, after)| [slice(round, 0, before), slice(round, 1, after)])
                .collect(),
            counts: vec![Counts {
                load: "plain".to_owned(),
                subject: "phase1".to_owned(),
                allocations: Some(2.5),
                calls: BTreeMap::from([("futex".to_owned(), 0.25)]),
            }],
            parts: vec![Part {
                name: "parse/single-pass/50".to_owned(),
                ns: 5600.0,
                ns_interval: (5500.0, 5700.0),
                bytes: Some(5600),
                elements: Some(50),
            }],
            profiles: Vec::new(),
            again: Vec::new(),
        }
    }

    pub(crate) fn requests(rate: f64) -> Requests {
        Requests {
            seconds: 1.0,
            started: 100,
            answered: 100,
            ok: 100,
            success_percent: 100.0,
            ok_per_s: rate,
            latency_us: [("p50", 64e6 / rate), ("p99", 128e6 / rate), ("p99.9", 256e6 / rate)]
                .map(|(name, us)| (name.to_owned(), us))
                .into(),
            by_status: BTreeMap::from([("202".to_owned(), 100)]),
            ..Requests::default()
        }
    }

    #[test]
    fn a_load_measured_again_stands_in_place_of_the_first() {
        let (mut first, mut later) = (example(), example());
        for slice in &mut later.slices {
            slice.requests = Some(requests(7.0));
        }
        first.take_over(later.clone()).unwrap();
        assert_eq!(first.slices, later.slices);
        assert_eq!(first.again.len(), 1);
        assert_eq!(first.again[0].loads, ["plain"]);

        later.workload.seconds += 1.0;
        assert!(first.take_over(later).unwrap_err().to_string().contains("another way"));
        let mut few = example();
        few.slices.retain(|slice| slice.subject == "phase0");
        assert!(first.take_over(few).unwrap_err().to_string().contains("missing under plain"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/results.json");
        let results = example();
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), results);
    }

    #[test]
    fn another_schema_is_refused_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results.json");
        let refused = |text: &str| {
            fs::write(&path, text).unwrap();
            format!("{:#}", Results::read(&path).unwrap_err())
        };
        assert!(refused(r#"{"schema":"systems-craft/bench/99"}"#).contains("bench/99"));
        assert!(refused(r#"{"schema":"systems-craft/bench/1"}"#).contains("breaks the schema"));
        assert!(refused("{}").contains("names no schema"));
        assert!(refused("x").contains("not JSON"));
    }

    #[test]
    fn what_is_lost_is_told_from_what_is_not_known() {
        let verified = |accepted, unknown, found| Verified { accepted, unknown, found };
        assert!(verified(10, 0, 10).holds() && verified(10, 2, 12).holds());
        assert!(!verified(10, 2, 13).holds(), "nobody sent that many");
        assert!(!verified(10, 2, 9).holds());
        assert_eq!(verified(10, 2, 9).lost(), 1);
        assert_eq!(verified(10, 2, 11).lost(), 0);
    }
}
