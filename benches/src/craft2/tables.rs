//! What was seen, as tables for a terminal and for the book; and each phase against the one before.

use super::{
    goals::goals,
    loads::Load,
    results::{Of, Results},
};
use crate::{
    goals::Goal,
    report::{
        figure, latency,
        table::{self, Table},
        terminal::aligned,
    },
    results::Subject,
    stats::{Estimate, Spread},
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

pub use crate::summary::{Step, Verdict};

/// What was not seen.
const NONE: &str = "—";
/// Figures that are worked with and need no column; and the bytes of the pages that were written to, of which the kernel
/// counts a large one as a whole however little of it was changed.
const SILENT: [&str; 5] =
    ["as_stored", "timeout_ms", "lost_messages", "partitions_of_the_dead", "written_bytes_per_message"];

/// Figures that stand in front of the others, in this order.
const FIRST: [&str; 7] =
    ["throughput", "p50_us", "p99_us", "syncs_per_1000", "cold_ms", "takeover_ms", "log_bytes_per_message"];

/// All steps of the phases that were measured, each under its own load.
pub fn steps(results: &Results) -> Vec<Step> {
    results.subjects.iter().filter_map(|subject| step(results, subject)).collect()
}

/// The step to this phase; none to the first.
fn step(results: &Results, subject: &Subject) -> Option<Step> {
    let phase = subject.phase.as_ref()?;
    let before = format!("phase{}", phase.number.checked_sub(1)?);
    let load = results.load(&phase.load);
    let spread = |subject: &str| results.spread(&phase.load, subject, &load?.measure);
    let (spread_before, spread_after) = (spread(&before), spread(&subject.name));
    let gain = load.and_then(|load| gain(results, load, &before, &subject.name));
    Some(Step {
        number: phase.number,
        slug: phase.slug.clone(),
        title: phase.title.clone(),
        removes: phase.removes.clone(),
        load: phase.load.clone(),
        unit: load.map_or_else(String::new, |load| load.unit.clone()),
        before: spread_before.map(|spread| spread.median),
        after: spread_after.map(|spread| spread.median),
        gain,
        predicted: phase.predict.clone(),
        verdict: verdict(gain, load.is_some_and(|load| load.less_is_better), spread_before, spread_after),
    })
}

/// How many times better, within each round; above 1 is better, whatever is counted.
fn gain(results: &Results, load: &Load, before: &str, after: &str) -> Option<Estimate> {
    let of = |subject| Of { load: &load.name, subject, figure: &load.measure };
    if load.less_is_better {
        results.ratio(of(before), of(after))
    } else {
        results.ratio(of(after), of(before))
    }
}

/// Of nothing there is no multiple; but something in every round against nothing in every round is no doubt at all.
fn verdict(gain: Option<Estimate>, less: bool, before: Option<Spread>, after: Option<Spread>) -> Verdict {
    let Some((before, after)) = before.zip(after) else { return Verdict::NotMeasured };
    let (good, bad) = if less { (before, after) } else { (after, before) };
    match (bad.max <= 0.0 && good.min > 0.0, good.max <= 0.0 && bad.min > 0.0) {
        (true, _) => Verdict::Gains,
        (_, true) => Verdict::Loses,
        _ if gain.is_none() => Verdict::Noise,
        _ => Verdict::of(gain),
    }
}

/// A run for the terminal that it was started in: a table a load with what counts, and the goals that could be told.
pub fn terminal(results: &Results) -> String {
    let mut text = String::new();
    for load in &results.workload.loads {
        text.push_str(&format!("{}: {}\n", load.name, load.shows));
        text.push_str(&aligned(&brief(results, load)));
        for (subject, failure) in failures(results, load) {
            text.push_str(&format!("  {subject}: {failure}\n"));
        }
        text.push('\n');
    }
    for goal in goals(results).iter().filter(|goal| goal.reached.is_some()) {
        let word = if goal.reached == Some(true) { "yes" } else { "NO " };
        text.push_str(&format!("{word} {}: {} ({})\n", goal.what, goal.measured, goal.target));
    }
    text
}

fn failures<'r>(results: &'r Results, load: &Load) -> BTreeSet<(&'r str, &'r str)> {
    let of_load = results.slices.iter().filter(|slice| slice.load == load.name);
    of_load.filter_map(|slice| Some((slice.subject.as_str(), slice.failure.as_deref()?))).collect()
}

/// What one looks at first.
fn brief(results: &Results, load: &Load) -> Table {
    let all = under(results, load);
    let keep = 5.min(all.columns.len());
    Table {
        columns: all.columns[..keep].to_vec(),
        rows: all.rows.into_iter().map(|row| row[..keep].to_vec()).collect(),
    }
}

/// Every subject under a load, with every figure that was seen.
fn under(results: &Results, load: &Load) -> Table {
    let seen: BTreeSet<(usize, &str)> = results
        .slices
        .iter()
        .filter(|slice| slice.load == load.name)
        .flat_map(|slice| slice.figures.keys().map(String::as_str))
        .filter(|name| !SILENT.contains(name) && *name != load.measure)
        .map(|name| (FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len()), name))
        .collect();
    let seen: Vec<&str> = seen.into_iter().map(|(_, name)| name).collect();
    let mut columns = vec![String::new(), load.unit.clone()];
    columns.extend(seen.iter().map(|name| title(name)));
    columns.push("notes".to_owned());
    let rows = load.subjects.iter().filter(|subject| results.slices_of(&load.name, subject).next().is_some());
    let row = |subject: &String| {
        let counted = results.spread(&load.name, subject, &load.measure);
        let mut row = vec![named(results, subject), counted.map_or(NONE.to_owned(), whole)];
        row.extend(seen.iter().map(|name| {
            let spread = results.spread(&load.name, subject, name);
            spread.map_or(NONE.to_owned(), |spread| told(name, spread.median))
        }));
        row.push(notes(results, load, subject));
        row
    };
    let mut table = Table { columns, rows: rows.map(row).collect() };
    table.drop_empty_columns();
    table
}

fn named(results: &Results, subject: &str) -> String {
    let title = results.subject(subject).map_or("", |subject| subject.title.as_str());
    format!("{subject} {title}").trim_end().to_owned()
}

fn whole(spread: Spread) -> String {
    format!("{} ({}–{})", figure(spread.median), figure(spread.min), figure(spread.max))
}

fn title(name: &str) -> String {
    let title = match name {
        "p50_us" => "p50",
        "p99_us" => "p99",
        "log_bytes_per_message" => "bytes to the file a message",
        "syncs_per_1000" => "syncs for 1,000",
        "allocations_per_message" => "allocations a message",
        "device_bytes_per_message" => "bytes to the disk a message",
        "device_writes_per_sync" => "writes to the disk a sync",
        "cpu_us_per_message" => "CPU µs a message",
        "server_cpu_us" => "server's CPU µs each",
        "server_memory_mb" => "server's memory MB",
        "takeover_ms" => "taken over after ms",
        _ => return name.replace('_', " "),
    };
    title.to_owned()
}

fn told(name: &str, value: f64) -> String {
    if name.ends_with("p50_us") || name.ends_with("p99_us") { latency(value) } else { figure(value) }
}

fn notes(results: &Results, load: &Load, subject: &str) -> String {
    let slices: Vec<_> = results.slices_of(&load.name, subject).collect();
    let disturbed = slices
        .iter()
        .filter(|slice| slice.others_cores.is_some_and(|cores| cores > crate::noise::OTHERS_CORES_MAX))
        .count();
    let mut notes = Vec::new();
    if disturbed > 0 {
        notes.push(format!("{disturbed} of {} disturbed by other processes", slices.len()));
    }
    let failed: Vec<_> = slices.iter().filter_map(|slice| slice.failure.as_deref()).collect();
    if let Some(first) = failed.first() {
        notes.push(format!("{} failed: {first}", failed.len()));
    }
    if notes.is_empty() { NONE.to_owned() } else { notes.join("; ") }
}

/// All of it as one page, without charts.
pub fn html(results: &Results) -> String {
    let steps_table = table::steps_of(&steps(results));
    let mut sections = vec![
        ("What it set out to reach".to_owned(), String::new(), table::table_of(goals(results))),
        ("Step by step".to_owned(), "Each phase against the one before.".to_owned(), steps_table),
    ];
    let loads = results.workload.loads.iter();
    sections.extend(loads.map(|load| (load.name.clone(), load.shows.clone(), under(results, load))));
    crate::report::html::tables(&format!("Bench {}", results.bench), &origin(results), &sections)
}

/// Writes all tables of the bench into `directory` as `<bench>-<table>.md`, and returns their paths.
///
/// # Errors
/// When a file cannot be written.
pub fn book(results: &Results, directory: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let origin = origin(results);
    let mut tables: Vec<(String, Table, String)> = results
        .profiles
        .iter()
        .map(|before| {
            let sampled = crate::report::book::sampled(before);
            (format!("before-{}", before.step), table::before(before), format!("{sampled}{origin}"))
        })
        .collect();
    if tables.is_empty() {
        let told: Vec<Goal> = goals(results);
        tables.push(("goals".to_owned(), table::table_of(told), origin.clone()));
        tables.push(("steps".to_owned(), table::steps_of(&steps(results)), origin.clone()));
        for load in &results.workload.loads {
            tables.push((format!("load-{}", load.name), under(results, load), origin.clone()));
        }
    }
    let mut written = Vec::new();
    for (name, table, origin) in tables {
        let path = directory.join(format!("{}-{name}.md", results.bench));
        fs::write(&path, crate::report::book::markdown(&table, &origin))
            .with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

fn origin(results: &Results) -> String {
    table::origin_of(&results.reproduce, &results.provenance, &results.started_at, &results.again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft2::results::tests::example;

    #[test]
    fn a_step_is_told_by_the_figure_of_its_load() {
        let steps = steps(&example());
        assert_eq!(steps.len(), 2, "there is no step to phase 0");
        assert_eq!((steps[0].before, steps[0].after), (Some(100.0), Some(0.0)));
        assert_eq!(
            (steps[0].gain, steps[0].verdict),
            (None, Verdict::Gains),
            "of nothing there is no multiple"
        );
        assert_eq!(steps[0].unit, "% of acknowledged");
        assert!((steps[1].gain.unwrap().median - 4.01).abs() < 1e-9);
        assert_eq!(steps[1].verdict, Verdict::Gains);
    }

    #[test]
    fn a_phase_without_its_predecessor_is_not_measured() {
        let mut results = example();
        results.slices.retain(|slice| slice.subject != "phase1");
        assert!(steps(&results).iter().all(|step| step.verdict == Verdict::NotMeasured));
    }

    #[test]
    fn less_is_a_gain_only_where_less_is_better() {
        let spread = |value| Some(Spread { median: value, min: value, max: value });
        assert_eq!(verdict(None, true, spread(0.0), spread(9.0)), Verdict::Loses);
        assert_eq!(verdict(None, false, spread(0.0), spread(9.0)), Verdict::Gains);
        assert_eq!(verdict(None, true, spread(0.0), spread(0.0)), Verdict::Noise);
        assert_eq!(verdict(None, true, None, spread(0.0)), Verdict::NotMeasured);
    }

    #[test]
    fn every_table_has_its_cells_and_says_where_it_comes_from() {
        let directory = tempfile::tempdir().unwrap();
        let results = example();
        let written = book(&results, directory.path()).unwrap();
        let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["craft2-goals.md", "craft2-steps.md", "craft2-load-kill-9.md", "craft2-load-single.md"]
        );
        for path in &written {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains("`craft bench craft2` on ") && text.contains("2026-01-01"), "{text}");
            let columns = text.lines().next().unwrap().matches(" | ").count();
            assert!(
                text.lines().take_while(|l| l.starts_with('|')).all(|l| l.matches(" | ").count() == columns)
            );
        }
        let single = fs::read_to_string(&written[3]).unwrap();
        assert!(single.contains("| phase2 title 2 | 4,010 (4,000–4,020) |"), "{single}");
    }

    #[test]
    fn a_page_has_all_tables() {
        let page = html(&example());
        assert!(page.contains("<h2>single</h2>") && page.contains("4,010") && page.ends_with("</html>\n"));
    }

    #[test]
    fn a_terminal_shows_failures_too() {
        let mut results = example();
        results.slices[0].failure = Some("it has no disk".to_owned());
        let text = terminal(&results);
        assert!(text.contains("phase0: it has no disk") && text.contains("4,010"), "{text}");
    }
}
