//! Two results files side by side: ratios, since rates of two machines do not compare.
//!
//! What is compared is each subject against its own phase 0 and, if it was there, its own nginx; a machine that is twice
//! as fast is so in both. Files that were not made by the same work are refused.

use crate::{
    loads::Load,
    report::text::figure,
    results::Results,
    stats::Estimate,
    summary::{Verdict, ok_per_s, ratio},
};
use anyhow::{Result, ensure};
use serde::Serialize;

/// Against whom each file is held.
const BASES: [&str; 2] = ["phase0", "nginx"];

/// One line of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The load's name.
    pub load: String,
    /// The subject.
    pub subject: String,
    /// What it is held against in its own file.
    pub base: String,
    /// The ratio in the first file.
    pub a: Estimate,
    /// The ratio in the second.
    pub b: Estimate,
    /// The second over the first.
    pub change: f64,
    /// Better or worse only if the two intervals leave no doubt.
    pub verdict: Verdict,
}

/// All that both files have.
///
/// # Errors
/// A sentence that names the first difference that makes them unfit to be compared.
pub fn compare(a: &Results, b: &Results) -> Result<Vec<Line>> {
    check(a, b)?;
    let mut lines = Vec::new();
    for load in &a.workload.loads {
        for base in BASES {
            let others = a.subjects.iter().filter(|subject| !BASES.contains(&subject.name.as_str()));
            for subject in others {
                let of = |results| ratio(results, &load.name, (&subject.name, base), ok_per_s);
                lines.extend(of(a).zip(of(b)).map(|(a, b)| line(load, &subject.name, base, a, b)));
            }
        }
    }
    ensure!(!lines.is_empty(), "nothing was measured in both files against a phase 0 or an nginx of its own");
    Ok(lines)
}

fn line(load: &Load, subject: &str, base: &str, a: Estimate, b: Estimate) -> Line {
    let verdict = match () {
        () if b.low > a.high => Verdict::Gains,
        () if b.high < a.low => Verdict::Loses,
        () => Verdict::Noise,
    };
    Line {
        load: load.name.clone(),
        subject: subject.to_owned(),
        base: base.to_owned(),
        a,
        b,
        change: b.median / a.median,
        verdict,
    }
}

fn check(a: &Results, b: &Results) -> Result<()> {
    ensure!(a.schema == b.schema, "they have different schemas: {} and {}", a.schema, b.schema);
    ensure!(a.bench == b.bench, "they are of different benches: {} and {}", a.bench, b.bench);
    let (x, y) = (&a.workload, &b.workload);
    ensure!(x.seed == y.seed, "they have different seeds: {} and {}", x.seed, y.seed);
    ensure!(
        x.seconds.to_bits() == y.seconds.to_bits(),
        "their measurements have different lengths: {} s and {} s",
        x.seconds,
        y.seconds
    );
    ensure!(
        x.pinned_to_cores.is_some() == y.pinned_to_cores.is_some(),
        "server and load had cores of their own in one of them only"
    );
    let names = |loads: &[Load]| loads.iter().map(|load| load.name.clone()).collect::<Vec<_>>().join(", ");
    ensure!(
        names(&x.loads) == names(&y.loads),
        "they have different loads: {} and {}",
        names(&x.loads),
        names(&y.loads)
    );
    for (one, other) in x.loads.iter().zip(&y.loads) {
        ensure!(one == other, "the load {} is not the same in both: {}", one.name, difference(one, other));
    }
    Ok(())
}

/// The first field in which two loads differ, by its name.
fn difference(one: &Load, other: &Load) -> String {
    let fields = |load: &Load| match serde_json::to_value(load) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (one, other) = (fields(one), fields(other));
    let differs = one.iter().find(|(name, value)| other.get(*name) != Some(*value));
    differs.map_or_else(String::new, |(name, value)| {
        format!(
            "{name} is {value} in one and {} in the other",
            other.get(name).unwrap_or(&serde_json::Value::Null)
        )
    })
}

/// The lines as a table for people.
pub fn text(a: &Results, b: &Results, lines: &[Line]) -> String {
    let of = |results: &Results| {
        let commit = results
            .provenance
            .commit
            .as_ref()
            .map_or("no commit", |commit| &commit.rev[..12.min(commit.rev.len())]);
        format!("{} ({commit})", results.provenance.machine.cpu_model)
    };
    let mut text = format!("a: {}\nb: {}\n\n", of(a), of(b));
    text.push_str(&format!(
        "{:<11} {:<9} {:<8} {:>22} {:>22} {:>7}  b against a\n",
        "load", "subject", "over", "a", "b", "b/a"
    ));
    for line in lines {
        let times = |e: Estimate| format!("{} [{}, {}]", figure(e.median), figure(e.low), figure(e.high));
        text.push_str(&format!(
            "{:<11} {:<9} {:<8} {:>22} {:>22} {:>7}  {}\n",
            line.load,
            line.subject,
            line.base,
            times(line.a),
            times(line.b),
            figure(line.change),
            line.verdict.words()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{example, requests};

    fn refusal(change: impl FnOnce(&mut Results)) -> String {
        let mut other = example();
        change(&mut other);
        compare(&example(), &other).unwrap_err().to_string()
    }

    #[test]
    fn a_machine_that_is_faster_in_everything_is_no_better() {
        let mut faster = example();
        for slice in &mut faster.slices {
            let rate = slice.requests.as_ref().unwrap().ok_per_s;
            slice.requests = Some(requests(rate * 3.0));
        }
        let lines = compare(&example(), &faster).unwrap();
        assert_eq!(lines.len(), 1);
        assert!((lines[0].change - 1.0).abs() < 1e-9);
        assert_eq!(lines[0].verdict, Verdict::Noise);
    }

    #[test]
    fn a_phase_that_gains_more_over_its_own_phase_0_is_better() {
        let mut better = example();
        for slice in better.slices.iter_mut().filter(|slice| slice.subject == "phase1") {
            let rate = slice.requests.as_ref().unwrap().ok_per_s;
            slice.requests = Some(requests(rate * 3.0));
        }
        let (a, b) = (example(), better);
        let lines = compare(&a, &b).unwrap();
        assert!((lines[0].change - 3.0).abs() < 1e-9);
        assert_eq!(lines[0].verdict, Verdict::Gains);
        assert!(text(&a, &b, &lines).contains("gains"));
    }

    #[test]
    fn what_was_not_the_same_work_is_refused_and_named() {
        assert_eq!(refusal(|r| r.workload.seed = 8), "they have different seeds: 7 and 8");
        assert!(refusal(|r| r.schema = "systems-craft/bench/2".to_owned()).contains("different schemas"));
        assert!(refusal(|r| r.bench = "peers-craft1".to_owned()).contains("different benches"));
        assert!(refusal(|r| r.workload.seconds = 2.0).contains("different lengths: 1 s and 2 s"));
        assert!(refusal(|r| r.workload.pinned_to_cores = None).contains("cores of their own"));
        assert!(refusal(|r| r.workload.loads.clear()).contains("different loads: plain and"));
        let said = refusal(|r| r.workload.loads[0].traffic.connections = 65);
        assert!(said.contains("the load plain") && said.contains("traffic"), "{said}");
    }

    #[test]
    fn other_cores_and_more_rounds_are_the_same_work() {
        let mut other = example();
        other.workload.pinned_to_cores = Some((2, 3));
        other.workload.rounds = 9;
        assert!(compare(&example(), &other).is_ok());
    }

    #[test]
    fn nothing_in_common_is_no_comparison() {
        let said = refusal(|r| r.slices.retain(|slice| slice.subject != "phase0"));
        assert!(said.contains("nothing was measured in both"), "{said}");
    }
}
