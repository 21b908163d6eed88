//! What is told, as rows of words: a browser and a book show the same.

use super::text::{figure, latency, megabytes};
use crate::{
    goals::{self, Goal},
    loads::Load,
    results::{Again, Before, Part, Results},
    server::Hot,
    stats::{Estimate, Spread},
    summary::{self, Figures, Step, Verdict},
};
use load_tester::provenance::Provenance;
use std::collections::BTreeMap;

/// Names of columns, and rows as wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Rows of a profile: what comes after them is noise.
const HOT_SHOWN: usize = 8;

/// What was not seen.
const NONE: &str = "—";

impl Table {
    fn new<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Self {
        Self { columns: columns.map(str::to_owned).into(), rows: rows.into_iter().map(Vec::from).collect() }
    }
}

/// What the craft set out to reach, as far as these results can tell; nothing if they tell of none of it.
pub(super) fn goals_measured(results: &Results, peers: Option<&Results>) -> Option<Table> {
    let mut goals = goals::craft1(results, peers);
    goals.retain(|goal| goal.reached.is_some());
    (!goals.is_empty()).then(|| table_of(goals))
}

/// What the craft set out to reach, with what is still to be measured.
pub(super) fn goals(results: &Results, peers: Option<&Results>) -> Table {
    table_of(goals::craft1(results, peers))
}

pub(crate) fn table_of(goals: Vec<Goal>) -> Table {
    let row = |goal: Goal| {
        let word = match goal.reached {
            Some(true) => "yes",
            Some(false) => "NO",
            None => NONE,
        };
        [goal.what, goal.target, goal.measured, word.to_owned()]
    };
    Table::new(["what", "to reach", "measured", "reached"], goals.into_iter().map(row))
}

/// Where a phase spends its processor time: the few functions that a reader looks at.
pub(crate) fn before(before: &Before) -> Table {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let row = |hot: &Hot| [percent(hot.own), percent(hot.total), format!("`{}`", short(&hot.function))];
    Table::new(["itself", "with what it calls", "function"], before.top.iter().take(HOT_SHOWN).map(row))
}

/// Without the types that a generic function was made for, and without the ends of the compiler's own marks.
fn short(function: &str) -> String {
    let (mut text, mut depth) = (String::new(), 0_u32);
    for letter in function.chars() {
        match letter {
            // `<T as Trait>::method` begins with one, and is all there is to tell.
            '<' if !text.is_empty() => depth += 1,
            // An arrow ends nothing.
            '>' if depth > 0 => depth -= 1,
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    text.replace("::::", "::").trim_end_matches("::").replace('`', "")
}

/// Each phase against the one before.
pub(super) fn steps(results: &Results) -> Table {
    steps_of(&summary::steps(results))
}

/// The same of those that were measured; nothing if none was.
pub(super) fn steps_measured(results: &Results) -> Option<Table> {
    let mut steps = summary::steps(results);
    steps.retain(|step| step.verdict != Verdict::NotMeasured);
    (!steps.is_empty()).then(|| steps_of(&steps))
}

pub(crate) fn steps_of(steps: &[Step]) -> Table {
    let columns = ["phase", "removes", "load", "before", "after", "predicted", "gain", "verdict"];
    Table::new(columns, steps.iter().map(step))
}

fn step(step: &Step) -> [String; 8] {
    let value =
        |value: Option<f64>| value.map_or(NONE.to_owned(), |v| format!("{} {}", figure(v), step.unit));
    let predicted = step.predicted.as_ref().map_or(NONE.to_owned(), |predicted| {
        let times = if predicted.from > 0.0 && predicted.to > 0.0 {
            let ratio = predicted.to / predicted.from;
            format!(" ({} ×)", figure(if ratio < 1.0 { 1.0 / ratio } else { ratio }))
        } else {
            String::new()
        };
        let under = predicted.load.as_ref().map_or(String::new(), |load| format!(" under {load}"));
        format!("{} → {}{times}{under}", figure(predicted.from), figure(predicted.to))
    });
    [
        format!("{} {}", step.number, step.title),
        step.removes.clone(),
        step.load.clone(),
        value(step.before),
        value(step.after),
        predicted,
        step.gain.map_or(NONE.to_owned(), times),
        step.verdict.words().to_owned(),
    ]
}

/// `1.25 × [1.2, 1.3]`: the middle of the rounds and its 95 % interval.
pub(super) fn times(estimate: Estimate) -> String {
    format!("{} × [{}, {}]", figure(estimate.median), figure(estimate.low), figure(estimate.high))
}

/// Every subject under a load.
pub(super) fn load(results: &Results, load: &Load) -> Table {
    let columns = [
        "",
        "requests/s",
        "p50",
        "p99",
        "p99.9",
        "success",
        "CPU a request",
        "switches a request",
        "allocations a request",
        "memory",
        "threads",
        "kept",
        "accepted, lost",
        "notes",
    ];
    let mut table =
        Table::new(columns, summary::figures(results, &load.name).iter().map(|f| row(results, f)));
    table.drop_empty_columns();
    table
}

/// The same, only what one looks at first.
pub(super) fn brief(results: &Results, load: &Load) -> Table {
    let row = |figures: &Figures| {
        let [name, rate, p50, p99, ..] = row(results, figures);
        [name, rate, p50, p99]
    };
    Table::new(["", "requests/s", "p50", "p99"], summary::figures(results, &load.name).iter().map(row))
}

fn row(results: &Results, figures: &Figures) -> [String; 14] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let title = results.subject(&figures.subject).map_or("", |subject| subject.title.as_str());
    [
        format!("{} {title}", figures.subject),
        or_none(figures.ok_per_s.map(|spread| rate(spread, figures.saturated > 0))),
        or_none(figures.p50_us.map(latency)),
        or_none(figures.p99_us.map(latency)),
        or_none(figures.p999_us.map(latency)),
        or_none(figures.success_percent.map(|percent| format!("{percent:.2} %"))),
        or_none(figures.cpu_us.map(|us| format!("{} µs", figure(us)))),
        or_none(figures.switches.map(figure)),
        or_none(figures.allocations.map(figure)),
        or_none(figures.resident_bytes_max.map(megabytes)),
        or_none(figures.threads_max.map(|threads| format!("{threads:.0}"))),
        or_none(figures.kept.map(|kept| format!("{:.0} %", kept * 100.0))),
        or_none(figures.verified.map(|holds| accepted(figures, holds))),
        notes(figures),
    ]
}

fn rate(spread: Spread, saturated: bool) -> String {
    let sign = if saturated { "≥ " } else { "" };
    format!("{sign}{} ({}–{})", figure(spread.median), figure(spread.min), figure(spread.max))
}

fn accepted(figures: &Figures, holds: bool) -> String {
    let wrong = if !holds && figures.lost == 0 { ", and more was found than was sent" } else { "" };
    format!("{}, {}{wrong}", figure(figures.accepted as f64), figure(figures.lost as f64))
}

fn notes(figures: &Figures) -> String {
    let of =
        |count: usize, words: &str| (count > 0).then(|| format!("{count} of {} {words}", figures.rounds));
    let failed = figures.failures.first().map(|first| format!("{} failed: {first}", figures.failures.len()));
    let notes = [
        of(figures.saturated, "limited by the generator"),
        of(figures.disturbed, "disturbed by other processes"),
        failed,
    ];
    let notes: Vec<_> = notes.into_iter().flatten().collect();
    if notes.is_empty() { NONE.to_owned() } else { notes.join("; ") }
}

impl Table {
    /// What nobody has is not shown.
    pub(crate) fn drop_empty_columns(&mut self) {
        let kept: Vec<usize> =
            (0..self.columns.len()).filter(|at| self.rows.iter().any(|row| row[*at] != NONE)).collect();
        self.columns = kept.iter().map(|at| self.columns[*at].clone()).collect();
        for row in &mut self.rows {
            *row = kept.iter().map(|at| row[*at].clone()).collect();
        }
    }
}

/// System calls a request, the most frequent in front; nothing where none were counted.
pub(super) fn calls(results: &Results, load: &str) -> Option<Table> {
    let counts: Vec<_> = results.counts.iter().filter(|c| c.load == load && !c.calls.is_empty()).collect();
    if counts.is_empty() {
        return None;
    }
    let words = |calls: &BTreeMap<String, f64>| {
        let mut calls: Vec<_> = calls.iter().filter(|(_, count)| **count >= 0.005).collect();
        calls.sort_by(|a, b| b.1.total_cmp(a.1));
        calls.iter().map(|(name, count)| format!("{name} {}", figure(**count))).collect::<Vec<_>>().join(", ")
    };
    let row = |counts: &&crate::results::Counts| {
        [counts.subject.clone(), figure(counts.calls.values().sum()), words(&counts.calls)]
    };
    Some(Table::new(["", "system calls a request", "of which"], counts.iter().map(row)))
}

/// Parts measured alone.
pub(super) fn parts(results: &Results) -> Option<Table> {
    let row = |part: &Part| {
        let speed = part.bytes.map(|bytes| format!("{} MB/s", figure(bytes as f64 * 1000.0 / part.ns)));
        let each = part.elements.map(|elements| format!("{} ns", figure(part.ns / elements as f64)));
        [
            part.name.clone(),
            format!(
                "{} ns [{}, {}]",
                figure(part.ns),
                figure(part.ns_interval.0),
                figure(part.ns_interval.1)
            ),
            each.unwrap_or_else(|| NONE.to_owned()),
            speed.unwrap_or_else(|| NONE.to_owned()),
        ]
    };
    let columns = ["part", "time", "each", "speed"];
    (!results.parts.is_empty()).then(|| Table::new(columns, results.parts.iter().map(row)))
}

/// Where the figures come from, in one line.
pub(super) fn origin(results: &Results) -> String {
    origin_of(&results.reproduce, &results.provenance, &results.started_at, &results.again)
}

/// The same of any bench: its command, where, when, and which of it again.
pub(crate) fn origin_of(
    reproduce: &str,
    provenance: &Provenance,
    started_at: &str,
    again: &[Again],
) -> String {
    let machine = &provenance.machine;
    let first = format!(
        "`{reproduce}` on {}, {} cores, Linux {}, {}, {}",
        machine.cpu_model,
        machine.cores_usable,
        machine.kernel,
        provenance.rustc,
        when(provenance, started_at)
    );
    let again = again.iter().map(|again| {
        let loads = again.loads.join(", ");
        format!(
            ", and {loads} again by `{}`, {}",
            again.reproduce,
            when(&again.provenance, &again.started_at)
        )
    });
    first + &again.collect::<String>()
}

/// Commit and day.
fn when(provenance: &Provenance, started_at: &str) -> String {
    let commit = provenance.commit.as_ref().map_or("no commit".to_owned(), |commit| {
        let rev: String = commit.rev.chars().take(12).collect();
        format!("commit {rev}{}", if commit.dirty { ", with changes" } else { "" })
    });
    format!("{commit}, {}", started_at.chars().take(10).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn a_loads_table_has_what_was_seen_and_nothing_else() {
        let results = example();
        let table = load(&results, &results.workload.loads[0]);
        assert!(!table.columns.contains(&"kept".to_owned()), "{table:?}");
        let one = &table.rows[1];
        assert_eq!(one[0], "phase1 title 1");
        assert_eq!(one[1], "2,000 (1,980–2,310)");
        assert!(one.contains(&"10.0 µs".to_owned()) && one.contains(&"300, 0".to_owned()), "{one:?}");
    }

    #[test]
    fn a_step_is_told_beside_its_prediction() {
        let table = steps(&example());
        assert_eq!(table.rows.len(), 1);
        let row = &table.rows[0];
        assert_eq!(row[5], "1,000 → 3,000 (3.00 ×)");
        assert!(row[6].starts_with("2.10 × ["), "{row:?}");
        assert_eq!(row[7], "gains");
    }

    #[test]
    fn a_function_is_told_without_what_it_was_made_for() {
        assert_eq!(short("a::b::call"), "a::b::call");
        assert_eq!(short("a::b<c::D<E>>::call"), "a::b::call");
        assert_eq!(short("core::iter::adapters::Map<I,F>::next::<u8>"), "core::iter::adapters::Map::next");
        assert_eq!(short("<a::B<C> as d::E>::call"), "<a::B as d::E>::call");
    }

    #[test]
    fn every_column_has_its_cell() {
        let results = example();
        let tables = [
            goals(&results, None),
            steps(&results),
            load(&results, &results.workload.loads[0]),
            calls(&results, "plain").unwrap(),
            parts(&results).unwrap(),
        ];
        for table in tables {
            assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{table:?}");
        }
        assert_eq!(calls(&results, "many"), None);
    }
}
