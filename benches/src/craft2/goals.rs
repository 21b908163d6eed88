//! What craft 2 set out to reach, each row with what was measured and whether that is enough.
//!
//! A row that cannot be worked out from the results says what is missing, and is never taken for reached.

use super::{
    loads::{LAST, RAW},
    results::{Of, Results},
    tables::{Verdict, steps},
};
use crate::{goals::Goal, stats::Estimate};

/// In process, 128-byte messages, `disk` acknowledgements, one core.
const SIXTY_FOUR_MIN: f64 = 400_000.0;
/// Fsyncs for 1,000 of them.
const SIXTY_FOUR_SYNCS_MAX: f64 = 16.0;
const THOUSAND_MIN: f64 = 5_000_000.0;
const EIGHT_MIN: f64 = 15_000_000.0;
/// Over the network.
const PRODUCE_MIN: f64 = 1_000_000.0;
const PRODUCE_AIM: f64 = 3_000_000.0;
/// Against the best that a peer did.
const PEER_MIN: f64 = 3.0;
const SAMPLES_MIN: f64 = 3_000_000.0;
const FETCH_MIB_MIN: f64 = 1536.0;
/// One partition of 64, against a log of one.
const CATCH_UP_MIN: f64 = 0.5;
/// Of the engine without the queue.
const PRODUCE_100_MIN: f64 = 0.9;
const WARM_MS_MAX: f64 = 50.0;
const COLD_MS_MAX: f64 = 200.0;
/// What recovery may need beside what the program had: a GiB of log is no reason for more.
const RECOVERY_MEMORY_MB_MAX: f64 = 32.0;
/// Beyond the heartbeat's timeout.
const TAKEOVER_MS_MAX: f64 = 100.0;

/// All rows.
pub fn goals(results: &Results) -> Vec<Goal> {
    let at_least = |load: &str, figure: &str, min: f64| {
        let seen = results.spread(load, LAST, figure)?;
        Some(unless_failed(results, load, (figure_of(seen.median), seen.median >= min)))
    };
    let beside_raw = |load: &str, min: f64| {
        let (words, reached) = at_least(load, "throughput", min)?;
        let of = |subject| Of { load, subject, figure: "throughput" };
        let raw = results.ratio(of(LAST), of(RAW));
        let raw = raw.map_or(String::new(), |ratio| format!("; {} the raw limit beside it", times(ratio)));
        Some((words + &raw, reached))
    };
    let at_most = |load: &str, figure: &str, max: f64| {
        let seen = results.spread(load, LAST, figure)?;
        Some(unless_failed(results, load, (figure_of(seen.median), seen.median <= max)))
    };
    let in_process = "in process, 128-byte messages, `disk`, one core";
    let mut goals = vec![
        Goal::new(
            format!("{in_process}: 64 producers of one message"),
            format!("≥ {} messages/s", figure_of(SIXTY_FOUR_MIN)),
            beside_raw("sixty-four", SIXTY_FOUR_MIN),
        ),
        Goal::new(
            format!("{in_process}: 64 producers of one message"),
            format!("≤ {} fsyncs for 1,000", figure_of(SIXTY_FOUR_SYNCS_MAX)),
            at_most("sixty-four", "syncs_per_1000", SIXTY_FOUR_SYNCS_MAX),
        ),
        Goal::new(
            format!("{in_process}: 1,000 messages a commit"),
            format!("≥ {} messages/s", figure_of(THOUSAND_MIN)),
            beside_raw("thousand", THOUSAND_MIN),
        ),
        Goal::new(
            format!("{in_process}: 8 producers of 1,000"),
            format!("≥ {} messages/s", figure_of(EIGHT_MIN)),
            beside_raw("eight-thousand", EIGHT_MIN),
        ),
    ];
    goals.extend(over_the_network(results));
    goals.extend(reading(results));
    goals.extend([
        Goal::new(
            "a log of 1 GiB is opened again, warm page cache",
            format!("≤ {WARM_MS_MAX:.0} ms"),
            at_most("restart", "recovery_ms", WARM_MS_MAX),
        ),
        Goal::new(
            "a log of 1 GiB is opened again, cold page cache",
            format!("≤ {COLD_MS_MAX:.0} ms"),
            at_most("restart", "cold_ms", COLD_MS_MAX).filter(|_| was_cold(results)),
        ),
        Goal::new(
            "a log of 1 GiB is opened again, memory beyond what the program had",
            format!("≤ {RECOVERY_MEMORY_MB_MAX:.0} MB"),
            at_most("restart", "memory_mb", RECOVERY_MEMORY_MB_MAX),
        ),
    ]);
    goals.extend(rebalance(results));
    goals.extend(crash(results));
    goals.push(all_steps(results));
    goals
}

/// A round that failed has no figure, and must not look as if it had not been.
fn unless_failed(results: &Results, load: &str, (words, reached): (String, bool)) -> (String, bool) {
    match results.slices_of(load, LAST).filter(|slice| slice.failure.is_some()).count() {
        0 => (words, reached),
        failed => (format!("{words}; {failed} rounds failed"), false),
    }
}

fn figure_of(value: f64) -> String {
    crate::report::figure(value)
}

fn times(estimate: Estimate) -> String {
    format!("{:.2} × [{:.2}, {:.2}]", estimate.median, estimate.low, estimate.high)
}

/// Something must have been read from the disk.
fn was_cold(results: &Results) -> bool {
    results.spread("restart", LAST, "cold_read_mb").is_some_and(|read| read.min > 0.0)
}

fn over_the_network(results: &Results) -> Vec<Goal> {
    let what = "over the network, 1,000 messages a request, `disk`, one producer";
    let rate = results.spread("produce", LAST, "throughput").map(|spread| spread.median);
    let against = |peers: [&str; 2]| {
        // The best that the peer did decides: so it is the worst ratio.
        let of = |subject| Of { load: "produce", subject, figure: "throughput" };
        let ratios = peers.into_iter().filter_map(|peer| results.ratio(of(LAST), of(peer)));
        let worst = ratios.min_by(|a, b| a.median.total_cmp(&b.median));
        worst.map(|ratio| (times(ratio), ratio.median >= PEER_MIN))
    };
    let engine = |without: &'static str| {
        let of = |subject| Of { load: "produce-100", subject, figure: "throughput" };
        let beside = |raw: Estimate, engine: Estimate| {
            format!("; {} the raw limit beside it, which is {} the engine", times(raw), times(engine))
        };
        let raw = results.ratio(of(LAST), of(RAW)).zip(results.ratio(of(RAW), of(without)));
        let raw = raw.map_or(String::new(), |(raw, engine)| beside(raw, engine));
        results
            .ratio(of(LAST), of(without))
            .map(|ratio| (times(ratio) + &raw, ratio.median >= PRODUCE_100_MIN))
    };
    let samples = |load: &str| {
        let of = |subject| Of { load, subject, figure: "throughput" };
        let rate = results.spread(load, LAST, "throughput")?;
        let beside = results.ratio(of(LAST), of("victoria-metrics"));
        let beside = beside.map_or(String::new(), |ratio| format!("; {} VictoriaMetrics", times(ratio)));
        let words = format!("{}{beside}", figure_of(rate.median));
        Some(unless_failed(results, load, (words, rate.median >= SAMPLES_MIN)))
    };
    vec![
        Goal::new(
            what,
            format!("≥ {} messages/s, {} aimed at", figure_of(PRODUCE_MIN), figure_of(PRODUCE_AIM)),
            rate.map(|rate| unless_failed(results, "produce", (figure_of(rate), rate >= PRODUCE_MIN))),
        ),
        Goal::new(
            format!("{what}: against JetStream (file store, asynchronous publish, never synced)"),
            format!("≥ {PEER_MIN:.0} ×"),
            against(["jetstream-1000", "jetstream-10000"]),
        ),
        Goal::new(
            format!("{what}: against Redis (XADD, appendfsync always)"),
            format!("≥ {PEER_MIN:.0} ×"),
            against(["redis-100", "redis-1000"]),
        ),
        Goal::new(
            "HTTP produce, 100 messages a request: against craft 1's engine, which answers the same bytes at once",
            format!("≥ {:.0} % of its requests/s", PRODUCE_100_MIN * 100.0),
            engine("engine"),
        ),
        Goal::new(
            "samples over HTTP, Prometheus text, 5,000 a request, 2 connections, `disk`",
            format!("≥ {} samples/s", figure_of(SAMPLES_MIN)),
            samples("samples-prometheus"),
        ),
        Goal::new(
            "samples over HTTP, line protocol, 5,000 a request, 2 connections, `disk`",
            format!("≥ {} samples/s", figure_of(SAMPLES_MIN)),
            samples("samples-influx"),
        ),
    ]
}

fn reading(results: &Results) -> Vec<Goal> {
    let figure = |subject: &str, name: &str| results.spread("readers", subject, name).map(|s| s.median);
    let speed = figure("with", "reader_mib_per_s").map(|speed| {
        let wire = figure("with", "reader_wire_mib_per_s")
            .map_or(String::new(), |wire| format!(", {} MiB/s of them on the wire", figure_of(wire)));
        (format!("{} MiB/s of messages{wire}", figure_of(speed)), speed >= FETCH_MIB_MIN)
    });
    let p99 = figure("with", "writer_p99_us").zip(figure("without", "writer_p99_us"));
    let of = |subject| Of { load: "one-of-64", subject, figure: "throughput" };
    let catch_up = results.ratio(of("shared"), of("alone"));
    let amplification = results.spread("one-of-64", "shared", "read_amplification");
    vec![
        Goal::new(
            "fetch to a loopback socket, warm, while a writer commits",
            format!("≥ {} MiB/s", figure_of(FETCH_MIB_MIN)),
            speed,
        ),
        Goal::new(
            "the writer's p99 with and without a reader",
            "told",
            p99.map(|(with, without)| (format!("{} µs, {} µs", figure_of(with), figure_of(without)), true)),
        ),
        Goal::new(
            "one partition of 64 read alone: catch-up, against a log of one partition",
            format!("≥ {CATCH_UP_MIN} ×"),
            catch_up.map(|ratio| (times(ratio), ratio.median >= CATCH_UP_MIN)),
        ),
        Goal::new(
            "one partition of 64 read alone: bytes read for each that is returned",
            "told",
            amplification.map(|spread| (figure_of(spread.median), true)),
        ),
    ]
}

fn rebalance(results: &Results) -> Vec<Goal> {
    let figure = |name: &str| results.spread("rebalance", LAST, name);
    // A round in which the dead one's partitions stayed with nobody has no time, and must not be left out.
    let rounds = results.slices_of("rebalance", LAST).count();
    let told = results.slices_of("rebalance", LAST).filter(|s| s.figures.contains_key("takeover_ms")).count();
    let takeover = figure("takeover_ms").zip(figure("timeout_ms")).filter(|_| told == rounds);
    let counted = |name: &str| {
        figure(name)
            .map(|spread| (format!("{} in the worst round", figure_of(spread.max)), spread.max <= 0.0))
    };
    vec![
        Goal::new(
            "a consumer dies: until others have its partitions",
            format!("≤ heartbeat timeout + {TAKEOVER_MS_MAX:.0} ms, in the worst round"),
            takeover.map(|(takeover, timeout)| {
                let more = takeover.max - timeout.median;
                (format!("timeout + {} ms", figure_of(more)), more <= TAKEOVER_MS_MAX)
            }),
        ),
        Goal::new("a consumer dies: messages that nobody was handed", "0", counted("missed")),
        Goal::new(
            "a consumer dies: messages handed to two members of one generation",
            "0",
            counted("twice_in_a_generation"),
        ),
    ]
}

/// A row a phase: the first promises memory only.
fn crash(results: &Results) -> Vec<Goal> {
    let row = |subject: &crate::results::Subject| {
        let phase = subject.phase.as_ref()?;
        let keeps = phase.promise != "memory";
        let seen = |name: &str| -> Option<f64> {
            let mut all =
                results.slices_of("kill-9", &subject.name).filter_map(|s| s.figures.get(name)).peekable();
            all.peek()?;
            Some(all.sum())
        };
        let words = seen("acknowledged").zip(seen("lost_messages")).map(|(acknowledged, lost)| {
            let words = format!("{} acknowledged, {} lost", figure_of(acknowledged), figure_of(lost));
            (words, !keeps || lost <= 0.0)
        });
        let target = if keeps { "0 lost" } else { "promises memory only: what is lost is told" };
        Some(Goal::new(format!("kill -9 under load, {}", subject.name), target, words))
    };
    results.subjects.iter().filter_map(row).collect()
}

fn all_steps(results: &Results) -> Goal {
    let steps = steps(results);
    let gained = steps.iter().filter(|step| step.verdict == Verdict::Gains).count();
    let others = steps.iter().filter(|step| step.verdict != Verdict::Gains);
    let others: Vec<_> =
        others.map(|step| format!("phase {} {}", step.number, step.verdict.words())).collect();
    let mut words = format!("{gained} of {}", steps.len());
    if !others.is_empty() {
        words = format!("{words}; {}", others.join(", "));
    }
    let measured = !steps.is_empty() && steps.iter().all(|step| step.verdict != Verdict::NotMeasured);
    Goal::new(
        "each phase against the one before, under the load that shows it",
        "a gain beyond noise",
        measured.then_some((words, others_count(&steps) == 0)),
    )
}

fn others_count(steps: &[crate::summary::Step]) -> usize {
    steps.iter().filter(|step| step.verdict != Verdict::Gains).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft2::results::{Slice, tests::example};

    fn goal<'g>(goals: &'g [Goal], what: &str) -> &'g Goal {
        goals.iter().find(|goal| goal.what.contains(what)).unwrap()
    }

    #[test]
    fn what_was_not_measured_is_not_reached() {
        let goals = goals(&example());
        for what in ["JetStream", "Redis", "1 GiB", "64 producers", "a consumer dies", "samples over HTTP"] {
            assert_eq!(
                (goal(&goals, what).reached, goal(&goals, what).measured.as_str()),
                (None, "not measured")
            );
        }
    }

    #[test]
    fn a_round_that_failed_is_told() {
        let mut results = example();
        results.slices.push(Slice {
            load: "thousand".to_owned(),
            subject: LAST.to_owned(),
            figures: [("throughput".to_owned(), 1e9)].into(),
            ..Slice::default()
        });
        assert_eq!(goal(&goals(&results), "1,000 messages a commit").reached, Some(true));
        let failed =
            Slice { failure: Some("no disk".to_owned()), figures: [].into(), ..results.slices[12].clone() };
        results.slices.push(failed);
        let rows = goals(&results);
        let row = goal(&rows, "1,000 messages a commit");
        assert!(row.reached == Some(false) && row.measured.ends_with("1 rounds failed"), "{row:?}");
    }

    #[test]
    fn each_phase_is_held_to_what_it_promises() {
        let mut results = example();
        for slice in results.slices.iter_mut().filter(|slice| slice.load == "kill-9") {
            slice.figures.insert("acknowledged".to_owned(), 100.0);
            slice
                .figures
                .insert("lost_messages".to_owned(), if slice.subject == "phase0" { 100.0 } else { 0.0 });
        }
        let memory = results.subjects[0].phase.as_mut().unwrap();
        memory.promise = "memory".to_owned();
        let rows = goals(&results);
        assert_eq!(goal(&rows, "kill -9 under load, phase0").reached, Some(true));
        assert_eq!(goal(&rows, "kill -9 under load, phase1").reached, Some(true));
        let slice = results.slices.iter_mut().find(|s| s.load == "kill-9" && s.subject == "phase1").unwrap();
        slice.figures.insert("lost_messages".to_owned(), 1.0);
        let rows = goals(&results);
        assert_eq!(goal(&rows, "kill -9 under load, phase1").reached, Some(false));
        assert_eq!(goal(&rows, "kill -9 under load, phase2").reached, None);
    }

    #[test]
    fn the_best_that_a_peer_did_decides() {
        let mut results = example();
        let slices = results.slices.clone();
        let as_produce = |subject: &str, rate: f64| {
            let mut slice = slices[2].clone();
            slice.load = "produce".to_owned();
            slice.subject = subject.to_owned();
            slice.figures.insert("throughput".to_owned(), rate);
            slice
        };
        results.slices =
            vec![as_produce(LAST, 3000.0), as_produce("redis-100", 500.0), as_produce("redis-1000", 1500.0)];
        let row = goal(&goals(&results), "Redis").clone();
        assert_eq!(row.reached, Some(false));
        assert!(row.measured.starts_with("2.00 ×"), "{row:?}");
    }
}
