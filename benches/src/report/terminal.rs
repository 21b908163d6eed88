//! What a run found, for the terminal that it was started in: a table a load, within 80 columns.
//!
//! Only what one looks at first. The page and the book have all the rest.

use super::table::{self, Table};
use crate::{
    loads::Load,
    results::Results,
    summary::{self, Figures},
};

/// What a terminal has at least.
const WIDTH_CHARS: usize = 80;
/// What is left of a name, however wide the figures are: enough to tell phases apart.
const NAME_CHARS_MIN: usize = 12;
/// Before each column.
const GAP: &str = "  ";

/// A table for each of these loads under which something was measured; nothing if there is none.
pub fn terminal(results: &Results, loads: &[Load]) -> String {
    let sections = loads.iter().filter_map(|load| section(results, load));
    let text = sections.collect::<Vec<_>>().join("\n");
    if text.is_empty() { text } else { text + &disturbed(results, loads) }
}

fn section(results: &Results, load: &Load) -> Option<String> {
    let figures = summary::figures(results, &load.name);
    if figures.is_empty() {
        return None;
    }
    let mut text = cut(&format!("{}: {}", load.name, load.shows), WIDTH_CHARS) + "\n";
    text.push_str(&aligned(&table::brief(results, load)));
    for figures in figures.iter().filter(|figures| !figures.failures.is_empty()) {
        text.push_str(&cut(&format!("  {}", failed(figures)), WIDTH_CHARS));
        text.push('\n');
    }
    Some(text)
}

fn failed(figures: &Figures) -> String {
    let (count, first) = (figures.failures.len(), figures.failures.first().map_or("", String::as_str));
    format!("{}: {count} of {} rounds failed: {first}", figures.subject, figures.rounds)
}

fn disturbed(results: &Results, loads: &[Load]) -> String {
    let figures: Vec<Figures> = loads.iter().flat_map(|load| summary::figures(results, &load.name)).collect();
    let of = |count: fn(&Figures) -> usize| figures.iter().map(count).sum::<usize>();
    match (of(|figures| figures.disturbed), of(|figures| figures.rounds)) {
        (0, _) => String::new(),
        (disturbed, all) => format!(
            "\nOthers used the machine in {disturbed} of {all} measurements: compare within a table.\n"
        ),
    }
}

/// Names to the left, figures to the right. Names have what the figures leave of a line.
pub(crate) fn aligned(table: &Table) -> String {
    let mut lines = vec![table.columns.clone()];
    lines.extend(table.rows.iter().cloned());
    let width = |lines: &[Vec<String>], at: usize| lines.iter().map(|line| line[at].chars().count()).max();
    let figures =
        (1..table.columns.len()).filter_map(|at| Some(GAP.len() + width(&lines, at)?)).sum::<usize>();
    let names = WIDTH_CHARS.saturating_sub(GAP.len() + figures).max(NAME_CHARS_MIN);
    for line in &mut lines {
        line[0] = cut(&line[0], names);
    }
    let widths: Vec<usize> = (0..table.columns.len()).filter_map(|at| width(&lines, at)).collect();
    let told = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
            0 => format!("{GAP}{cell:<width$}"),
            _ => format!("{GAP}{cell:>width$}"),
        });
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    lines.iter().map(told).collect()
}

fn cut(text: &str, chars_max: usize) -> String {
    let text = text.lines().next().unwrap_or_default();
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{loads, results::tests::example};

    #[test]
    fn each_load_that_was_measured_is_a_table_of_what_one_looks_at_first() {
        let results = example();
        let text = terminal(&results, &loads::craft1(7));
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(text.starts_with("plain: "), "{text}");
        assert_eq!(rows[1], ["requests/s", "p50", "p99"]);
        assert_eq!(rows[2][..3], ["phase0", "title", "0"]);
        assert_eq!(rows[3][3..], ["2,000", "(1,980–2,310)", "32.0", "ms", "64.0", "ms"]);
        assert_eq!(rows.len(), 4, "and no other load:\n{text}");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_whatever_was_measured() {
        let mut results = example();
        results.subjects[0].title = "a name that somebody has made much too long for a table".to_owned();
        results.slices[0].failure = Some("it says nothing, ".repeat(20) + "\nin two lines");
        for slice in &mut results.slices {
            slice.requests = Some(crate::results::tests::requests(1_234_567.0));
            slice.others_cores = Some(2.0);
        }
        let text = terminal(&results, &results.workload.loads);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH_CHARS), "{text}");
        assert!(text.contains("phase0: 1 of 3 rounds failed: it says nothing"), "{text}");
        assert!(text.contains("in 6 of 6 measurements"), "{text}");
    }

    #[test]
    fn figures_stand_below_each_other() {
        let table = Table {
            columns: ["", "rate"].map(str::to_owned).into(),
            rows: [["a", "1,000"], ["long name", "7"]].map(|row| row.map(str::to_owned).into()).into(),
        };
        assert_eq!(aligned(&table), "              rate\n  a          1,000\n  long name      7\n");
    }
}
