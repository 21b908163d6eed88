//! `craft lab status`: the course as a map, with the learner on it. `craft lab list` says what there is; this says what was
//! done, how well, and what comes next.
//!
//! ```text
//! Craft 1, ingestion: socket bytes → samples
//!   ✓ 1.3  one pass over the JSON      passed               2026-01-31  2 checks
//!          1.90 × [1.80, 2.00], the reference 2.40 ×, under fifty
//! ```
//!
//! It fits into 80 columns, and says with words what it says with signs and colours.

use crate::style::Tone;
use course::Table;
use labs::progress::{Map, Row, State, figure};

/// A longer title is cut: the slug that is typed stands in `lab list`.
const TITLE_CHARS_MAX: usize = 27;
/// What stands below a lab begins where its title does.
const INDENT: &str = "         ";
const LEGEND: &str = "×: times the form before, in the same run, with its 95 % interval";
/// Colours a text, or does not.
pub(crate) type Paint<'a> = &'a dyn Fn(Tone, &str) -> String;

/// The map, a line each.
pub(crate) fn lines(map: &Map, table: &Table, paint: Paint<'_>) -> Vec<String> {
    let passed = map.labs.iter().filter(|row| row.state == State::Passed).count();
    let mut lines = vec![format!("{passed} of {} labs passed", map.labs.len())];
    let mut part = |title: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            lines.extend([String::new(), paint(Tone::Strong, title)]);
            lines.extend(rows);
        }
    };
    let before = map.labs.iter().filter(|row| craft_of(row) == "0");
    part("Phase 0: the whole pipeline in a few files", before.flat_map(|row| of_lab(row, paint)).collect());
    for craft in &table.crafts {
        let rows = craft.phases.iter().flat_map(|phase| {
            let number = format!("{}.{}", craft.number, phase.number);
            let row = map.labs.iter().find(|row| row.lab.phase == number);
            let without = || vec![paint(Tone::Faint, &format!("    {number:<5}{}", phase.title))];
            row.map_or_else(without, |row| of_lab(row, paint))
        });
        part(&format!("Craft {}, {}", craft.number, craft.title), rows.collect());
    }
    lines.push(String::new());
    if map.labs.iter().any(|row| row.measured.is_some()) {
        lines.push(paint(Tone::Faint, LEGEND));
    }
    lines.push(match &map.next {
        Some(next) => format!("next: {}", paint(Tone::Strong, &next.command)),
        None => "All labs are passed.".to_owned(),
    });
    lines
}

fn craft_of(row: &Row) -> &str {
    row.lab.phase.split('.').next().unwrap_or_default()
}

fn of_lab(row: &Row, paint: Paint<'_>) -> Vec<String> {
    let tone = tone(row.state);
    let title = cut(&row.lab.title);
    let mut line = format!(
        "  {} {:<5}{title:<TITLE_CHARS_MAX$} {}",
        paint(tone, row.mark),
        row.lab.phase,
        paint(tone, &format!("{:<20}", row.words)),
    );
    if let Some(at) = &row.at {
        let checks = if row.checks == 1 { "1 check".to_owned() } else { format!("{} checks", row.checks) };
        line += &format!(" {}  {checks}", at.get(..10).unwrap_or(at));
    }
    let mut lines = vec![line.trim_end().to_owned()];
    if let Some(measured) = &row.measured {
        let [mine, low, high] =
            [measured.mine.ratio, measured.mine.interval.0, measured.mine.interval.1].map(figure);
        let load = measured.load.as_ref().map_or(String::new(), |load| format!(", under {load}"));
        let reference = measured
            .reference
            .map_or(String::new(), |reference| format!(", the reference {} ×", figure(reference.ratio)));
        lines.push(format!("{INDENT}{mine} × [{low}, {high}]{reference}{load}"));
    }
    if let Some(last) = row.last {
        lines.push(format!("{INDENT}the last check: {last}"));
    }
    lines
}

fn tone(state: State) -> Tone {
    match state {
        State::Open => Tone::Faint,
        State::Begun | State::NotYet | State::Undecided => Tone::Warn,
        State::Failing => Tone::Bad,
        State::Passed => Tone::Good,
    }
}

fn cut(title: &str) -> String {
    if title.chars().count() <= TITLE_CHARS_MAX {
        return title.to_owned();
    }
    title.chars().take(TITLE_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use labs::{catalogue::Catalogue, progress};
    use std::{fs, path::Path};

    /// The map of the labs there are, after these checks: slug, verdict, and more of the line.
    fn told(checks: &[(&str, &str, &str)]) -> Vec<String> {
        let catalogue = Catalogue::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let table = fs::read_to_string(catalogue.root.join(course::TABLE_FILE)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let line = |(slug, verdict, more): &(&str, &str, &str)| {
            format!(
                r#"{{"at":"2026-01-31T12:00:00Z","slug":"{slug}","verdict":"{verdict}",{more}"source_hash":"0","machine":"one"}}"#
            ) + "\n"
        };
        fs::write(dir.path().join(progress::FILE), checks.iter().map(line).collect::<String>()).unwrap();
        let map = Map::read(&progress::names(&catalogue), dir.path()).unwrap();
        lines(&map, &Table::parse(&table).unwrap(), &|_, text| text.to_owned())
    }

    #[test]
    fn a_lab_that_was_measured_says_how_often_how_well_and_against_what() {
        let more = r#""ratio":1.9,"interval":[1.8,2.0],"load":"fifty","reference":{"ratio":2.4,"interval":[2.3,2.5]},"#;
        let lines = told(&[("single-pass-json", "broken", ""), ("single-pass-json", "passed", more)]);
        let at = lines.iter().position(|line| line.contains(" 1.3 ")).unwrap();
        assert_eq!(
            lines[at..at + 2],
            [
                "  ✓ 1.3  one pass over the JSON      passed               2026-01-31  2 checks",
                "         1.90 × [1.80, 2.00], the reference 2.40 ×, under fifty",
            ]
        );
        assert!(lines[0].starts_with("1 of "), "{}", lines[0]);
    }

    #[test]
    fn every_phase_of_the_course_is_on_the_map_in_its_order() {
        let lines = told(&[]);
        let number =
            |line: &String| line.split_whitespace().find(|word| word.starts_with("1.")).map(str::to_owned);
        let numbers: Vec<String> = lines.iter().filter_map(number).collect();
        assert_eq!(numbers, ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9"]);
        assert!(lines.iter().any(|line| line.starts_with("Phase 0: ")));
        assert!(lines.last().unwrap().starts_with("next: cargo craft lab start "), "{lines:?}");
    }

    #[test]
    fn the_map_fits_into_eighty_columns_whatever_was_measured() {
        let more = r#""ratio":15234.5,"interval":[14000.25,16000.5],"load":"all-cores","reference":{"ratio":19999.0,"interval":[1.0,2.0]},"#;
        let verdicts = ["does-not-compile", "not-yet", "not-measurable", "too-noisy", "unclear", "passed"];
        for verdict in verdicts {
            for slug in ["a-queue-in-memory", "keep-alive", "reactor-per-core"] {
                for line in told(&[(slug, verdict, more), (slug, "broken", "")]) {
                    assert!(line.chars().count() <= 80, "{}: {line}", line.chars().count());
                }
            }
        }
    }
}
