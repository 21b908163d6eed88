//! What the craft set out to reach, each row with what was measured and whether that is enough.
//!
//! A row that cannot be worked out from the results says what is missing, and is never taken for reached.

use crate::{
    results::{Results, Slice},
    stats::Estimate,
    summary::{self, Figures, Verdict, cpu_us, figures_of, kept, ok_per_s, p99_us, ratio},
};
use serde::Serialize;

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// What is looked at.
    pub what: String,
    /// What was set out for.
    pub target: String,
    /// What was measured, in words with figures; or what is missing.
    pub measured: String,
    /// Whether that is enough; `None` if it was not measured.
    pub reached: Option<bool>,
}

/// The last phase of the course, which most rows are about.
const LAST: u32 = 9;
/// Against nginx, one request at a time: at least as many, and at most as much processor time.
const NGINX_RATE_MIN: f64 = 1.0;
/// See above.
const NGINX_CPU_MAX: f64 = 1.0;
/// The same with 16 requests on their way.
const NGINX_PIPELINED_MIN: f64 = 5.0;
/// The last phase against the first.
const JOURNEY_MIN: f64 = 20.0;
/// Memory under 10,000 connections.
const IDLE_RESIDENT_MB_MAX: f64 = 100.0;
/// Their 99th percentile, over that of 100 connections.
const IDLE_P99_MAX: f64 = 3.0;
/// What half-open requests leave of the throughput.
const SLOW_LORIS_MIN: f64 = 0.9;
/// A parser's speed.
const PARSER_MB_PER_S_MIN: f64 = 500.0;
/// Under overload an accepted request waits no longer.
const OVERLOAD_P99_MS_MAX: f64 = 1000.0;
/// And no more memory is used.
const OVERLOAD_RESIDENT_MB_MAX: f64 = 200.0;

/// All rows of craft 1, from the phases' results and those of the peers.
pub fn craft1(results: &Results, peers: Option<&Results>) -> Vec<Goal> {
    craft1_to(LAST, results, peers)
}

/// The same, of a course that ends with this phase.
fn craft1_to(last: u32, results: &Results, peers: Option<&Results>) -> Vec<Goal> {
    let name = format!("phase{last}");
    let beside = peers.map(|peers| Beside { peers, last: &name });
    let mut goals = vec![
        against_nginx(beside, "single", "1 sample a request, keep-alive, one core", NGINX_RATE_MIN),
        nginx_cpu(beside),
        against_nginx(beside, "pipelined", "the same, 16 requests on their way", NGINX_PIPELINED_MIN),
    ];
    goals.extend(journey(results, &name));
    goals.push(steps(results, last));
    goals.extend(idle(results, &name));
    goals.push(slow_loris(results, &name));
    goals.extend(["influx", "prometheus"].map(|format| parser(results, format)));
    goals.extend(killed(results));
    goals.extend(overload(results, &name));
    goals
}

/// What the peers were measured beside.
#[derive(Clone, Copy)]
struct Beside<'r> {
    peers: &'r Results,
    last: &'r str,
}

impl Goal {
    /// A row of what was seen, in words and whether it is enough; or of what was not.
    pub fn new(what: impl Into<String>, target: impl Into<String>, seen: Option<(String, bool)>) -> Self {
        let (measured, reached) = match seen {
            Some((words, reached)) => (words, Some(reached)),
            None => ("not measured".to_owned(), None),
        };
        Self { what: what.into(), target: target.into(), measured, reached }
    }
}

fn times(estimate: Estimate) -> String {
    format!("{:.2} × [{:.2}, {:.2}]", estimate.median, estimate.low, estimate.high)
}

fn peer_ratio(beside: Option<Beside<'_>>, load: &str, of: fn(&Slice) -> Option<f64>) -> Option<Estimate> {
    let Beside { peers, last } = beside?;
    ratio(peers, load, (last, "nginx"), of)
}

fn against_nginx(beside: Option<Beside<'_>>, load: &str, what: &str, at_least: f64) -> Goal {
    let ours = peer_ratio(beside, load, ok_per_s);
    let wrk = peer_ratio(beside, &format!("{load}-wrk"), ok_per_s);
    // Our tester decides, unless it was the limit itself: then the server was faster than it could see.
    let limited = beside.is_some_and(|beside| figures_of(beside.peers, load, beside.last).saturated > 0);
    let deciding = if limited { wrk.or(ours) } else { ours.or(wrk) };
    let words = deciding.map(|ratio| {
        let note = if limited { " (our tester was the limit)" } else { "" };
        let both = [ours.map(|r| times(r) + note), wrk.map(|r| format!("{} as wrk sees it", times(r)))];
        (both.into_iter().flatten().collect::<Vec<_>>().join("; "), ratio.median >= at_least)
    });
    Goal::new(
        format!("final phase against nginx: {what}"),
        format!("≥ {at_least:.1} × its requests/s"),
        words,
    )
}

fn nginx_cpu(beside: Option<Beside<'_>>) -> Goal {
    let seen =
        peer_ratio(beside, "single", cpu_us).map(|ratio| (times(ratio), ratio.median <= NGINX_CPU_MAX));
    let target = format!("≤ {NGINX_CPU_MAX:.1} × its processor time a request");
    Goal::new("final phase against nginx: 1 sample a request, keep-alive, one core", target, seen)
}

/// Under the plain load, which is what one asks for first; and under the load on which the two differ most, since the kernel
/// takes most of a plain request in either.
fn journey(results: &Results, last: &str) -> [Goal; 2] {
    let of = |load: &str| ratio(results, load, (last, "phase0"), ok_per_s);
    let plain = of("plain").map(|ratio| (times(ratio), ratio.median >= JOURNEY_MIN));
    let others = results.workload.loads.iter().filter(|load| load.name != "plain" && !load.overload);
    let most = others.filter_map(|load| Some((&load.name, of(&load.name)?)));
    let most = most.max_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
    let most =
        most.map(|(load, ratio)| (format!("{} under {load}", times(ratio)), ratio.median >= JOURNEY_MIN));
    let target = || format!("≥ {JOURNEY_MIN:.0} ×");
    [
        Goal::new("final phase against phase 0, plain load", target(), plain),
        Goal::new("the same under the load on which they differ most", target(), most),
    ]
}

fn steps(results: &Results, last: u32) -> Goal {
    let steps = summary::steps(results);
    let gained = steps.iter().filter(|step| step.verdict == Verdict::Gains).count();
    let others = steps.iter().filter(|step| step.verdict != Verdict::Gains);
    let others: Vec<_> =
        others.map(|step| format!("phase {} {}", step.number, step.verdict.words())).collect();
    let words = match others.is_empty() {
        true => format!("{gained} of {}", steps.len()),
        false => format!("{gained} of {}; {}", steps.len(), others.join(", ")),
    };
    // A step that was not measured leaves the row open, unless another one has failed already.
    let is_there = |number| steps.iter().any(|step| step.number == number);
    let failed = steps.iter().any(|step| matches!(step.verdict, Verdict::Loses | Verdict::Noise));
    let all = failed || (1..=last).all(is_there) && steps.iter().all(|step| step.verdict == Verdict::Gains);
    let seen = all.then_some((words, !failed));
    Goal::new("each phase against the one before, under the load that shows it", "a gain beyond noise", seen)
}

fn measured(figures: &Figures) -> Option<&Figures> {
    (figures.rounds > 0 && figures.ok_per_s.is_some()).then_some(figures)
}

fn idle(results: &Results, last: &str) -> [Goal; 3] {
    let many = figures_of(results, "idle-10k", last);
    let what = "10,000 open connections, 1,000 of them active";
    let all = (measured(&many)).and_then(|many| many.success_percent);
    let beside: Vec<u64> =
        results.slices_of("idle-10k", last).filter_map(|s| Some(s.beside?.open_at_end)).collect();
    let open =
        beside.iter().min().map_or(String::new(), |open| format!("; {open} of the silent ones stayed open"));
    let resident = many.resident_bytes_max.map(|bytes| bytes / 1e6);
    let few = ratio_of_loads(results, ("idle-10k", "open-100"), last, p99_us);
    [
        Goal::new(what, "100 % success", all.map(|all| (format!("{all:.2} %{open}"), all >= 100.0))),
        Goal::new(
            what,
            format!("resident memory < {IDLE_RESIDENT_MB_MAX:.0} MB"),
            resident.map(|mb| (format!("{mb:.1} MB"), mb < IDLE_RESIDENT_MB_MAX)),
        ),
        Goal::new(
            what,
            format!("p99 ≤ {IDLE_P99_MAX:.0} × that of 100 connections at the same rate"),
            few.map(|ratio| (times(ratio), ratio.median <= IDLE_P99_MAX)),
        ),
    ]
}

/// One load over another for the same subject, round by round.
fn ratio_of_loads(
    results: &Results,
    (over, under): (&str, &str),
    subject: &str,
    of: fn(&Slice) -> Option<f64>,
) -> Option<Estimate> {
    let ratios: Vec<f64> = results
        .slices_of(over, subject)
        .filter_map(|slice| {
            let other = results.slices_of(under, subject).find(|other| other.round == slice.round)?;
            Some(of(slice)? / of(other).filter(|value| *value > 0.0)?)
        })
        .collect();
    Estimate::of(&ratios)
}

fn slow_loris(results: &Results, last: &str) -> Goal {
    let shares: Vec<f64> = results.slices_of("slow-loris", last).filter_map(kept).collect();
    let seen = Estimate::of(&shares).map(|kept| {
        let words =
            format!("{:.0} % [{:.0}, {:.0}]", kept.median * 100.0, kept.low * 100.0, kept.high * 100.0);
        (words, kept.median >= SLOW_LORIS_MIN)
    });
    let target = format!("normal load keeps {:.0} %", SLOW_LORIS_MIN * 100.0);
    Goal::new("5,000 half-open requests beside normal load", target, seen)
}

fn parser(results: &Results, format: &str) -> Goal {
    let name = format!("wire/{format}");
    let part = results.parts.iter().find(|part| part.name == name);
    let speed = part.and_then(|part| Some(part.bytes? as f64 * 1000.0 / part.ns));
    Goal::new(
        format!("the {format} parser alone, one core"),
        format!("≥ {PARSER_MB_PER_S_MIN:.0} MB/s"),
        speed.map(|speed| (format!("{speed:.0} MB/s"), speed >= PARSER_MB_PER_S_MIN)),
    )
}

/// A row a phase: each as it promises.
fn killed(results: &Results) -> Vec<Goal> {
    let row = |subject: &crate::results::Subject| {
        let phase = subject.phase.as_ref()?;
        let figures = figures_of(results, "kill-9", &subject.name);
        let keeps = phase.promise == "ack";
        let words = figures.verified.map(|_| {
            let words = format!("{} acknowledged, {} lost", figures.accepted, figures.lost);
            (words, !keeps || figures.verified == Some(true))
        });
        let target = if keeps { "0 lost" } else { "promises memory only: what is lost is told" };
        Some(Goal::new(format!("kill -9 under load, {}", subject.name), target, words))
    };
    results.subjects.iter().filter_map(row).collect()
}

fn overload(results: &Results, last: &str) -> [Goal; 3] {
    let figures = figures_of(results, "overload", last);
    let what = "3 × what it carries, open loop";
    let figures = measured(&figures);
    let p99 = figures.and_then(|figures| figures.p99_us).map(|us| us / 1000.0);
    let resident = figures.and_then(|figures| figures.resident_bytes_max).map(|bytes| bytes / 1e6);
    let kept = figures.and_then(|figures| Some((figures.verified?, figures)));
    [
        Goal::new(
            what,
            format!("p99 ≤ {OVERLOAD_P99_MS_MAX:.0} ms"),
            p99.map(|ms| (format!("{ms:.1} ms"), ms <= OVERLOAD_P99_MS_MAX)),
        ),
        Goal::new(
            what,
            format!("memory flat: resident < {OVERLOAD_RESIDENT_MB_MAX:.0} MB"),
            resident.map(|mb| (format!("{mb:.1} MB"), mb < OVERLOAD_RESIDENT_MB_MAX)),
        ),
        Goal::new(
            what,
            "nothing accepted is lost",
            kept.map(|(holds, figures)| {
                (format!("{} accepted, {} lost", figures.accepted, figures.lost), holds)
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{
        Part, Verified,
        tests::{example, requests},
    };

    fn goal<'g>(goals: &'g [Goal], what: &str, target: &str) -> &'g Goal {
        goals.iter().find(|goal| goal.what.contains(what) && goal.target.contains(target)).unwrap()
    }

    #[test]
    fn what_was_not_measured_is_not_reached() {
        let goals = craft1(&example(), None);
        for what in ["nginx", "10,000 open", "half-open", "influx", "3 × what"] {
            let row = goal(&goals, what, "");
            assert_eq!((row.reached, row.measured.as_str()), (None, "not measured"), "{what}");
        }
    }

    #[test]
    fn a_phase_that_is_not_the_last_is_not_taken_for_it() {
        let mut peers = example();
        peers.subjects[0].name = "nginx".to_owned();
        for slice in &mut peers.slices {
            slice.load = "single".to_owned();
            if slice.subject == "phase0" {
                slice.subject = "nginx".to_owned();
            }
        }
        let goals = craft1(&example(), Some(&peers));
        for what in ["final phase", "the one before", "the same under the load"] {
            let rows: Vec<_> = goals.iter().filter(|goal| goal.what.contains(what)).collect();
            assert!(!rows.is_empty() && rows.iter().all(|row| row.reached.is_none()), "{rows:?}");
        }
        let last = ingest_phases::PHASES.last().map(|phase| phase.name);
        assert_eq!(last, Some(format!("phase{LAST}").as_str()));
    }

    #[test]
    fn the_journey_is_the_middle_of_the_ratios() {
        let goals = craft1_to(1, &example(), None);
        let row = goal(&goals, "against phase 0", "20");
        assert_eq!(row.reached, Some(false));
        assert!(row.measured.starts_with("2.10 ×"), "{row:?}");
        assert_eq!(goal(&goals, "the one before", "").reached, Some(true));
    }

    #[test]
    fn wrk_decides_only_where_our_tester_was_the_limit() {
        let mut peers = example();
        peers.subjects[0].name = "nginx".to_owned();
        let mut wrk = Vec::new();
        for slice in &mut peers.slices {
            slice.load = "single".to_owned();
            if slice.subject == "phase0" {
                slice.subject = "nginx".to_owned();
            }
            // wrk sees the phase at a tenth of what our tester sees.
            let rate = if slice.subject == "nginx" { 1000.0 } else { 200.0 };
            wrk.push(Slice {
                load: "single-wrk".to_owned(),
                requests: Some(requests(rate)),
                ..slice.clone()
            });
        }
        peers.slices.extend(wrk);
        let row =
            |peers: &Results| goal(&craft1_to(1, &example(), Some(peers)), "1 sample", "requests/s").clone();
        assert_eq!(row(&peers).reached, Some(true), "our tester saw 2.1 times nginx");
        assert!(row(&peers).measured.contains("0.20 × [0.20, 0.20] as wrk sees it"));
        for slice in peers.slices.iter_mut().filter(|slice| slice.load == "single") {
            slice.requests.as_mut().unwrap().tester_saturated = true;
        }
        assert_eq!(row(&peers).reached, Some(false));
    }

    #[test]
    fn a_parsers_speed_is_its_bytes_by_its_time() {
        let mut results = example();
        results.parts.push(Part {
            name: "wire/influx".to_owned(),
            ns: 1000.0,
            ns_interval: (990.0, 1010.0),
            bytes: Some(640),
            elements: None,
        });
        let goals = craft1(&results, None);
        let row = goal(&goals, "influx", "");
        assert_eq!((row.measured.as_str(), row.reached), ("640 MB/s", Some(true)));
    }

    #[test]
    fn one_lost_sample_breaks_a_promise_that_was_made_and_no_other() {
        let killed = |promise: &str, found| {
            let mut results = example();
            results.subjects[1].phase.as_mut().unwrap().promise = promise.to_owned();
            for slice in &mut results.slices {
                slice.load = "kill-9".to_owned();
                slice.verified = Some(Verified { accepted: 100, unknown: 2, found });
            }
            let goals = craft1(&results, None);
            goal(&goals, "kill -9 under load, phase1", "").clone()
        };
        assert_eq!(killed("ack", 101).reached, Some(true));
        let broken = killed("ack", 99);
        assert_eq!((broken.reached, broken.measured.as_str()), (Some(false), "300 acknowledged, 3 lost"));
        assert_eq!(killed("memory", 40).reached, Some(true));
    }
}
