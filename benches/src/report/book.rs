//! The book's tables: one Markdown file each, which chapters include. A figure in the book is so always a measured one.

use super::{
    table::{self, Table},
    text::figure,
};
use crate::results::{Before, Results};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Writes all tables of a bench into `directory` as `<bench>-<table>.md`, and returns their paths.
///
/// # Errors
/// When a file cannot be written.
pub fn book(results: &Results, peers: Option<&Results>, directory: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut written = Vec::new();
    for (name, table, origin) in tables(results, peers) {
        let path = directory.join(format!("{}-{name}.md", results.bench));
        fs::write(&path, markdown(&table, &origin))
            .with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// Each with its name and where its figures come from.
fn tables(results: &Results, peers: Option<&Results>) -> Vec<(String, Table, String)> {
    let origin = table::origin(results);
    if !results.profiles.is_empty() {
        let row = |before: &Before| {
            (format!("before-{}", before.step), table::before(before), format!("{}{origin}", sampled(before)))
        };
        return results.profiles.iter().map(row).collect();
    }
    let both = peers.map_or(origin.clone(), |peers| format!("{origin}; {}", table::origin(peers)));
    let mut tables = vec![
        ("goals".to_owned(), table::goals(results, peers), both),
        ("steps".to_owned(), table::steps(results), origin.clone()),
    ];
    tables.extend(table::parts(results).map(|parts| ("parts".to_owned(), parts, origin.clone())));
    for load in &results.workload.loads {
        tables.push((format!("load-{}", load.name), table::load(results, load), origin.clone()));
        let calls = table::calls(results, &load.name);
        tables.extend(calls.map(|calls| (format!("calls-{}", load.name), calls, origin.clone())));
    }
    for (peers, load) in
        peers.iter().flat_map(|peers| peers.workload.loads.iter().map(move |load| (peers, load)))
    {
        tables.push((format!("peers-{}", load.name), table::load(peers, load), table::origin(peers)));
    }
    tables
}

/// What was sampled, in front of where.
pub(crate) fn sampled(before: &Before) -> String {
    let rate = figure(before.ok_per_s);
    let cores = before.cores.map_or(String::new(), |cores| format!(", using {} of a core", figure(cores)));
    let unit = before.unit.as_deref().unwrap_or("requests/s");
    format!("sampling {} under `{}` at {rate} {unit}{cores}: ", before.subject, before.load)
}

pub(crate) fn markdown(table: &Table, origin: &str) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let line =
        |cells: &[String]| format!("| {} |\n", cells.iter().map(|c| cell(c)).collect::<Vec<_>>().join(" | "));
    let mut text = line(&table.columns);
    text.push_str(&line(&vec!["---".to_owned(); table.columns.len()]));
    text.extend(table.rows.iter().map(|row| line(row)));
    text.push_str(&format!(
        "\n*Measured by {origin}. Written by `cargo craft bench report`; do not edit.*\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::tests::example, server::Hot};

    #[test]
    fn every_table_says_how_and_where_it_was_measured() {
        let directory = tempfile::tempdir().unwrap();
        let results = example();
        let written = book(&results, None, directory.path()).unwrap();
        let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "craft1-goals.md",
                "craft1-steps.md",
                "craft1-parts.md",
                "craft1-load-plain.md",
                "craft1-calls-plain.md"
            ]
        );
        for path in &written {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains("`craft bench craft1` on ") && text.contains("2026-01-01"), "{text}");
            let columns = text.lines().next().unwrap().matches(" | ").count();
            assert!(
                text.lines().take_while(|l| l.starts_with('|')).all(|l| l.matches(" | ").count() == columns)
            );
        }
    }

    #[test]
    fn profiles_are_a_table_each_that_says_what_was_sampled() {
        let directory = tempfile::tempdir().unwrap();
        let hot = Hot { function: "parse".to_owned(), own: 0.25, total: 0.5 };
        let before = Before {
            step: 3,
            subject: "phase2".to_owned(),
            load: "fifty".to_owned(),
            ok_per_s: 900.0,
            unit: None,
            cores: Some(0.75),
            top: vec![hot],
        };
        let results = Results { bench: "profiles".to_owned(), profiles: vec![before], ..example() };
        let written = book(&results, None, directory.path()).unwrap();
        assert_eq!(written, [directory.path().join("profiles-before-3.md")]);
        let text = fs::read_to_string(&written[0]).unwrap();
        assert!(text.contains("| 25 % | 50 % | `parse` |"), "{text}");
        assert!(
            text.contains("sampling phase2 under `fifty` at 900 requests/s, using 0.75 of a core"),
            "{text}"
        );
    }

    #[test]
    fn a_cell_cannot_end_its_column() {
        let table = Table { columns: vec!["a".to_owned()], rows: vec![vec!["x|y\nz".to_owned()]] };
        assert!(markdown(&table, "o").contains("| x\\|y z |\n"));
    }
}
