//! What the rounds come to: the middle of each figure, and what each step gains. Worked out from a results file, and from
//! nothing else.

use crate::{
    course::Prediction,
    noise::OTHERS_CORES_MAX,
    results::{Counts, Part, Results, Slice, Subject},
    stats::{Estimate, Spread, median},
};
use serde::Serialize;

/// A subject under a load, all rounds together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The subject's name.
    pub subject: String,
    /// Requests answered 2xx a second.
    pub ok_per_s: Option<Spread>,
    /// Median latency.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// 99.9th percentile.
    pub p999_us: Option<f64>,
    /// Of the requests that were asked for.
    pub success_percent: Option<f64>,
    /// Processor time of the server for an answer.
    pub cpu_us: Option<f64>,
    /// Times that a thread went to sleep or made room, for an answer.
    pub switches: Option<f64>,
    /// The most memory that was resident.
    pub resident_bytes_max: Option<f64>,
    /// The most threads that were seen.
    pub threads_max: Option<f64>,
    /// Heap allocations for an answer.
    pub allocations: Option<f64>,
    /// What it carried before, as a share of which the rate above is: beside slow clients, or under overload.
    pub kept: Option<f64>,
    /// Samples that were accepted, and those of them that the log does not have; all rounds.
    pub accepted: u64,
    /// See `accepted`.
    pub lost: u64,
    /// Whether in every round that could be verified nothing was missing and nothing was there that nobody sent.
    pub verified: Option<bool>,
    /// Rounds.
    pub rounds: usize,
    /// Rounds in which others used more of the machine than is good.
    pub disturbed: usize,
    /// Rounds in which the generator, and not the server, was the limit.
    pub saturated: usize,
    /// Why rounds have no figures.
    pub failures: Vec<String>,
}

/// All subjects under all loads.
pub fn figures(results: &Results, load: &str) -> Vec<Figures> {
    let seen = |subject: &&Subject| results.slices_of(load, &subject.name).next().is_some();
    results.subjects.iter().filter(seen).map(|subject| figures_of(results, load, &subject.name)).collect()
}

/// One subject under one load.
pub fn figures_of(results: &Results, load: &str, subject: &str) -> Figures {
    let slices: Vec<&Slice> = results.slices_of(load, subject).collect();
    let values = |of: fn(&Slice) -> Option<f64>| slices.iter().filter_map(|s| of(s)).collect::<Vec<f64>>();
    let middle = |of: fn(&Slice) -> Option<f64>| median(&values(of));
    let count = |is: fn(&Slice) -> bool| slices.iter().filter(|slice| is(slice)).count();
    let verified: Vec<_> = slices.iter().filter_map(|slice| slice.verified).collect();
    Figures {
        subject: subject.to_owned(),
        ok_per_s: Spread::of(&values(ok_per_s)),
        p50_us: middle(|s| s.requests.as_ref()?.latency("p50")),
        p99_us: middle(p99_us),
        p999_us: middle(|s| s.requests.as_ref()?.latency("p99.9")),
        success_percent: middle(|s| Some(s.requests.as_ref()?.success_percent)),
        cpu_us: middle(cpu_us),
        switches: middle(|s| s.switches.map(|(slept, made_room)| (slept + made_room) as f64 / answered(s))),
        resident_bytes_max: middle(resident_bytes),
        threads_max: middle(|s| Some(s.used?.threads_max as f64)),
        allocations: counts_of(results, load, subject).and_then(|counts| counts.allocations),
        kept: middle(kept),
        accepted: verified.iter().map(|v| v.accepted).sum(),
        lost: verified.iter().map(|v| v.lost()).sum(),
        verified: (!verified.is_empty()).then(|| verified.iter().all(|v| v.holds())),
        rounds: slices.len(),
        disturbed: count(|s| s.others_cores.is_some_and(|cores| cores > OTHERS_CORES_MAX)),
        saturated: count(|s| s.requests.as_ref().is_some_and(|requests| requests.tester_saturated)),
        failures: slices.iter().filter_map(|slice| slice.failure.clone()).collect(),
    }
}

/// What was counted of a subject under a load.
pub fn counts_of<'r>(results: &'r Results, load: &str, subject: &str) -> Option<&'r Counts> {
    results.counts.iter().find(|counts| counts.load == load && counts.subject == subject)
}

/// Requests answered 2xx a second.
pub fn ok_per_s(slice: &Slice) -> Option<f64> {
    Some(slice.requests.as_ref()?.ok_per_s)
}

/// 99th percentile of the latency.
pub fn p99_us(slice: &Slice) -> Option<f64> {
    slice.requests.as_ref()?.latency("p99")
}

/// Processor time of the server for an answer.
pub fn cpu_us(slice: &Slice) -> Option<f64> {
    let used = slice.used?;
    let answers = slice.requests.as_ref()?.answered;
    (answers > 0).then(|| (used.cpu_user_us + used.cpu_system_us) as f64 / answers as f64)
}

/// The most memory that was resident.
pub fn resident_bytes(slice: &Slice) -> Option<f64> {
    Some(slice.used?.resident_bytes_max as f64)
}

/// The rate as a share of what the same server carried just before.
pub fn kept(slice: &Slice) -> Option<f64> {
    let before = slice.before.as_ref()?.ok_per_s;
    (before > 0.0).then_some(slice.requests.as_ref()?.ok_per_s / before)
}

fn answered(slice: &Slice) -> f64 {
    slice.requests.as_ref().map_or(1.0, |requests| requests.answered.max(1) as f64)
}

/// One subject over another, round by round.
pub fn ratio(
    results: &Results,
    load: &str,
    (over, under): (&str, &str),
    of: fn(&Slice) -> Option<f64>,
) -> Option<Estimate> {
    let ratios: Vec<f64> = results
        .slices_of(load, over)
        .filter_map(|slice| {
            let other = results.slices_of(load, under).find(|other| other.round == slice.round)?;
            let other = of(other).filter(|value| *value > 0.0)?;
            Some(of(slice)? / other)
        })
        .collect();
    Estimate::of(&ratios)
}

/// A phase against the one before, under the load that shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The phase's number.
    pub number: u32,
    /// `lock-free-ring`.
    pub slug: String,
    /// `a lock-free ring`.
    pub title: String,
    /// The bottleneck it removes.
    pub removes: String,
    /// The load, or the part that is measured alone.
    pub load: String,
    /// What is compared: `requests/s`, `MB`, `µs/body`.
    pub unit: String,
    /// The phase before.
    pub before: Option<f64>,
    /// The phase.
    pub after: Option<f64>,
    /// How many times better, with its interval; above 1 is better, whatever the unit.
    pub gain: Option<Estimate>,
    /// What was expected.
    pub predicted: Option<Prediction>,
    /// What the rounds allow to say.
    pub verdict: Verdict,
}

/// What the rounds allow to say of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better, beyond doubt.
    Gains,
    /// Worse, beyond doubt.
    Loses,
    /// The interval holds 1, or there are too few rounds.
    Noise,
    /// There are no rounds of both.
    NotMeasured,
}

impl Verdict {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Gains => "gains",
            Self::Loses => "loses",
            Self::Noise => "cannot be told from noise",
            Self::NotMeasured => "not measured",
        }
    }

    /// Of a gain, where above 1 is better.
    pub fn of(gain: Option<Estimate>) -> Self {
        match gain {
            Some(gain) if gain.is_above_1() => Self::Gains,
            Some(gain) if gain.is_below_1() => Self::Loses,
            Some(_) => Self::Noise,
            None => Self::NotMeasured,
        }
    }
}

/// All steps of the phases that were measured, each under its own load.
pub fn steps(results: &Results) -> Vec<Step> {
    results.subjects.iter().filter_map(|subject| step(results, subject)).collect()
}

/// The step to this phase; none to the first.
fn step(results: &Results, subject: &Subject) -> Option<Step> {
    let phase = subject.phase.as_ref()?;
    let before = format!("phase{}", phase.number.checked_sub(1)?);
    let measure = phase.predict.as_ref().map_or("throughput", |predict| predict.measure.as_str());
    let seen = match measure {
        "parse_time" => parts(results, "parse/find/50", "parse/single-pass/50", 1e3),
        "admission_time" => parts(results, "limiter/global/2", "limiter/sharded/2", 1.0),
        "resident_memory" => less_is_better(results, &phase.load, &before, &subject.name),
        _ => more_is_better(results, &phase.load, &before, &subject.name),
    };
    Some(Step {
        number: phase.number,
        slug: phase.slug.clone(),
        title: phase.title.clone(),
        removes: phase.removes.clone(),
        load: phase.load.clone(),
        unit: phase.predict.as_ref().map_or("requests/s", |predict| predict.unit.as_str()).to_owned(),
        before: seen.before,
        after: seen.after,
        verdict: seen.verdict,
        gain: seen.gain,
        predicted: phase.predict.clone(),
    })
}

/// What was seen of a step.
#[derive(Debug)]
struct Seen {
    before: Option<f64>,
    after: Option<f64>,
    gain: Option<Estimate>,
    verdict: Verdict,
}

impl Seen {
    fn new(before: Option<f64>, after: Option<f64>, gain: Option<Estimate>) -> Self {
        Self { before, after, gain, verdict: Verdict::of(gain) }
    }
}

fn more_is_better(results: &Results, load: &str, before: &str, after: &str) -> Seen {
    let rate = |subject| figures_of(results, load, subject).ok_per_s;
    let (rate_before, rate_after) = (rate(before), rate(after));
    let mut seen = Seen::new(
        rate_before.map(|spread| spread.median),
        rate_after.map(|spread| spread.median),
        ratio(results, load, (after, before), ok_per_s),
    );
    // Of nothing there is no multiple; but something in every round against nothing in every round is no doubt at all.
    if let (Some(before), Some(after)) = (rate_before, rate_after)
        && before.max <= 0.0
        && after.min > 0.0
    {
        seen.verdict = Verdict::Gains;
    }
    seen
}

fn less_is_better(results: &Results, load: &str, before: &str, after: &str) -> Seen {
    let megabytes = |subject| figures_of(results, load, subject).resident_bytes_max.map(|bytes| bytes / 1e6);
    Seen::new(megabytes(before), megabytes(after), ratio(results, load, (before, after), resident_bytes))
}

/// As the benches of parts ask for.
const CRITERION_SAMPLES: usize = 30;

/// Criterion has its own intervals: the gain lies between the worst and the best that they allow.
fn parts(results: &Results, before: &str, after: &str, ns_per_unit: f64) -> Seen {
    let part = |name: &str| results.parts.iter().find(|part| part.name == name);
    let (before, after) = (part(before), part(after));
    let per_element = |part: &Part| part.ns / ns_per_unit;
    let gain = before.zip(after).map(|(before, after)| Estimate {
        median: before.ns / after.ns,
        low: before.ns_interval.0 / after.ns_interval.1,
        high: before.ns_interval.1 / after.ns_interval.0,
        values: CRITERION_SAMPLES,
    });
    Seen::new(before.map(per_element), after.map(per_element), gain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{example, requests};

    #[test]
    fn figures_are_the_middle_of_the_rounds() {
        let figures = figures(&example(), "plain");
        assert_eq!(figures.len(), 2);
        let one = &figures[1];
        assert_eq!(one.ok_per_s, Some(Spread { median: 2000.0, min: 1980.0, max: 2310.0 }));
        assert_eq!(one.cpu_us, Some(10.0), "400 + 600 µs for 100 answers");
        assert_eq!(one.switches, Some(0.55));
        assert_eq!(one.allocations, Some(2.5));
        assert_eq!(figures[0].allocations, None);
        assert_eq!((one.verified, one.lost, one.disturbed, one.rounds), (Some(true), 0, 0, 3));
    }

    #[test]
    fn a_step_is_compared_within_its_rounds() {
        let steps = steps(&example());
        assert_eq!(steps.len(), 1, "there is no step to phase 0");
        let gain = steps[0].gain.unwrap();
        // 2000/1000, 2310/1100, 1980/900: their middle, and not the ratio of the middles.
        assert!((gain.median - 2.1).abs() < 1e-9, "{gain:?}");
        assert_eq!(steps[0].verdict, Verdict::Gains);
        assert_eq!((steps[0].before, steps[0].after), (Some(1000.0), Some(2000.0)));
    }

    #[test]
    fn what_the_rounds_disagree_on_is_noise() {
        let mut results = example();
        let last = results.slices.last_mut().unwrap();
        last.requests = Some(requests(800.0));
        assert_eq!(steps(&results)[0].verdict, Verdict::Noise);
    }

    #[test]
    fn something_against_nothing_is_a_gain_without_a_ratio() {
        let mut results = example();
        for slice in results.slices.iter_mut().filter(|slice| slice.subject == "phase0") {
            slice.requests = Some(requests(0.0));
        }
        let step = &steps(&results)[0];
        assert_eq!((step.gain, step.verdict), (None, Verdict::Gains));
    }

    #[test]
    fn a_phase_without_its_predecessor_is_not_measured() {
        let mut results = example();
        results.slices.retain(|slice| slice.subject != "phase0");
        assert_eq!(steps(&results)[0].verdict, Verdict::NotMeasured);
    }
}
