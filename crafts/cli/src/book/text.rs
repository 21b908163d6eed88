//! The directives of a chapter, each alone on its line, and what stands in their place.
//!
//! | directive | becomes |
//! |---|---|
//! | `{{#item FILE NAME, NAME}}` | these items of a Rust file, as code |
//! | `{{#doc FILE}}` | what a Rust file says of itself, as a quotation |
//! | `{{#include FILE}}` | a file below `docs/`, which has no directives of its own |
//! | `{{#rows FILE NAME NAME}}` | the rows of a table below `docs/` that begin with these words, turned on its side |
//! | `{{#phase 1.3}}` | what `crafts/phases.toml` says of a phase |
//!
//! Files of code are named from the root of the repository. There is nothing that fails quietly: a file, an item, a row or
//! a phase that is not there is an error, and so is a directive that nobody knows.

use super::{SOURCES, item};
use anyhow::{Context, Result};
use course::{
    PhaseId, TABLE_FILE, Table,
    table::{Craft, Phase, Promise},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a bench run saw nothing of.
const NONE: &str = "—";

/// Replaces directives by what the tree at a root has.
pub(super) struct Expander {
    root: PathBuf,
    table: Table,
}

impl Expander {
    /// Reads the course's table.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn new(root: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(root.join(TABLE_FILE)).with_context(|| format!("cannot read {TABLE_FILE}"))?;
        Ok(Self { root: root.to_owned(), table: Table::parse(&text)? })
    }

    /// A chapter without directives.
    ///
    /// # Errors
    /// The first directive that cannot be replaced, and why.
    pub(super) fn expand(&self, chapter: &str) -> Result<String, String> {
        let mut text = String::with_capacity(chapter.len());
        for line in chapter.lines() {
            let directive = line.strip_prefix("{{#").and_then(|rest| rest.trim_end().strip_suffix("}}"));
            match directive {
                Some(words) => text.push_str(&self.replace(words).map_err(|why| format!("{line} {why}"))?),
                None if line.contains("{{#") => {
                    return Err(format!("a directive stands alone on its line: {line}"));
                }
                None => text.push_str(line),
            }
            text.push('\n');
        }
        Ok(text)
    }

    fn replace(&self, words: &str) -> Result<String, String> {
        let (name, rest) = words.split_once(' ').unwrap_or((words, ""));
        let (first, others) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        match name {
            "item" => Ok(code(first, &item::find(&self.read(first)?, others)?)),
            "doc" => Ok(quotation(first, &item::module_docs(&self.read(first)?))),
            "include" => self.read(&format!("{SOURCES}/{first}")),
            "rows" => rows(&self.read(&format!("{SOURCES}/{first}"))?, others),
            "phase" => self.phase(first),
            _ => Err("is no directive of ours".to_owned()),
        }
    }

    fn read(&self, path: &str) -> Result<String, String> {
        let advice = if path.contains("/generated/") {
            format!(
                "; `cargo craft bench report --book {SOURCES}/generated` writes it from the results of a run"
            )
        } else {
            String::new()
        };
        fs::read_to_string(self.root.join(path)).map_err(|e| format!("cannot be read: {e}{advice}"))
    }

    fn phase(&self, id: &str) -> Result<String, String> {
        let id: PhaseId = id.parse()?;
        let craft = self.table.crafts.iter().find(|craft| craft.number == id.craft);
        let found = craft.and_then(|craft| {
            let at = craft.phases.iter().position(|phase| phase.number == id.phase)?;
            Some((craft, &craft.phases[at], at.checked_sub(1).map(|before| &craft.phases[before])))
        });
        let (craft, phase, before) = found.ok_or("is no phase of the table")?;
        Ok(card(craft, phase, before))
    }
}

/// With the name of its file, since that is where the reader goes next.
fn code(path: &str, code: &str) -> String {
    let fence = if code.contains("```") { "````" } else { "```" };
    format!("<p class=\"source\">{path}</p>\n\n{fence}rust\n{code}{fence}\n")
}

fn quotation(path: &str, text: &str) -> String {
    let lines: String = names(text).lines().map(|line| format!("> {line}\n")).collect();
    format!("<p class=\"source\">{path}</p>\n\n{lines}")
}

/// What is a link for rustdoc, ``[`Ticket`]``, as a name alone: the book has no page behind it. Links that say where they
/// lead stay.
fn names(text: &str) -> String {
    let (mut named, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("[`") {
        named.push_str(before);
        match after.split_once("`]") {
            Some((name, behind)) if !name.contains('`') && !behind.starts_with(['(', '[']) => {
                named.extend(["`", name, "`"]);
                rest = behind;
            }
            _ => {
                named.push_str("[`");
                rest = after;
            }
        }
    }
    named + rest
}

/// The rows whose first cell begins with one of these words, each as a column: few phases and many measures are so
/// narrow enough for a page. What nobody of them has is left out; what stands below the table stays.
fn rows(text: &str, words: &str) -> Result<String, String> {
    let mut lines = text.lines().filter(|line| line.starts_with('|'));
    let measures = cells(lines.next().ok_or("holds no table")?);
    let all: Vec<Vec<&str>> = lines.skip(1).map(cells).collect();
    let mut chosen = Vec::new();
    for word in words.split_whitespace() {
        let found =
            all.iter().find(|row| row.first().and_then(|c| c.split_whitespace().next()) == Some(word));
        chosen.push(found.ok_or_else(|| format!("has no row {word}"))?);
    }
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let column = |at: usize| chosen.iter().map(move |row| row.get(at).copied().unwrap_or(NONE));
    let mut turned = String::new();
    for (at, measure) in measures.iter().enumerate() {
        if column(at).any(|cell| cell != NONE) {
            turned.push_str(&line([*measure].into_iter().chain(column(at)).collect()));
        }
        if at == 0 {
            turned.push_str(&line(vec!["---"; chosen.len() + 1]));
        }
    }
    let below = text.lines().skip_while(|line| line.starts_with('|'));
    turned.extend(below.map(|line| format!("{line}\n")));
    Ok(turned)
}

/// The cells of a line of a table, in which `\|` is no end.
fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim();
    let inner = inner.strip_prefix('|').unwrap_or(inner);
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let (mut cells, mut start, mut before) = (Vec::new(), 0, ' ');
    for (at, c) in inner.char_indices() {
        if c == '|' && before != '\\' {
            cells.push(inner[start..at].trim());
            start = at + 1;
        }
        before = c;
    }
    cells.push(inner[start..].trim());
    cells
}

/// What the table says of a phase.
fn card(craft: &Craft, phase: &Phase, before: Option<&Phase>) -> String {
    let mut rows = vec![("removes", phase.removes.clone())];
    rows.extend(phase.costs.clone().map(|costs| ("costs", costs)));
    for slot in &craft.slots {
        let now = &phase.slots[&slot.name];
        match before.map(|before| &before.slots[&slot.name]) {
            Some(was) if was != now => rows.push(("changes", format!("{}: `{was}` → `{now}`", slot.name))),
            Some(_) => {}
            None => rows.push(("slot", format!("{}: `{now}`", slot.name))),
        }
    }
    let promise = match phase.promise {
        Promise::Memory => "in memory: gone with the process",
        Promise::Ack => "as safe as `--ack` asked for",
    };
    rows.push(("a 202 says", promise.to_owned()));
    rows.push(("shows under", format!("`{}`", phase.load)));
    rows.extend(phase.predict.as_ref().map(|p| {
        let (from, to) = (grouped(p.from), grouped(p.to));
        let under = p.load.as_ref().map(|load| format!(", under `{load}`")).unwrap_or_default();
        ("predicted", format!("{} from {from} to {to} {}{under}", p.measure.replace('_', " "), p.unit))
    }));
    if phase.cores_min > 1 {
        rows.push(("needs", format!("{} cores, or it cannot be seen", phase.cores_min)));
    }
    let head = format!("| {}.{} | {} |\n|---|---|\n", craft.number, phase.number, phase.title);
    rows.iter().fold(head, |text, (what, says)| format!("{text}| {what} | {} |\n", says.replace('|', "\\|")))
}

/// As it was predicted, to the digit, with its thousands apart: `80,000`.
fn grouped(number: f64) -> String {
    let text = number.to_string();
    let (whole, rest) = text.find('.').map_or((text.as_str(), ""), |point| text.split_at(point));
    let mut told = String::with_capacity(text.len() + whole.len() / 3);
    for (at, digit) in whole.char_indices() {
        let left = whole.len() - at;
        if left % 3 == 0 && told.ends_with(|c: char| c.is_ascii_digit()) {
            told.push(',');
        }
        told.push(digit);
    }
    told + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| | rate | of \\| which | empty |\n| --- | --- | --- | --- |\n\
                         | phase1 a thread | 10 | x | — |\n| phase10 ten | 1 | y | — |\n| phase2 a queue | 20 | — | — |\n\n*By a run.*\n";

    #[test]
    fn rows_become_columns_and_what_nobody_has_is_left_out() {
        let turned = rows(TABLE, "phase2 phase1").unwrap();
        assert_eq!(
            turned,
            "|  | phase2 a queue | phase1 a thread |\n| --- | --- | --- |\n| rate | 20 | 10 |\n\
             | of \\| which | — | x |\n\n*By a run.*\n"
        );
        assert_eq!(rows(TABLE, "phase3").unwrap_err(), "has no row phase3");
        assert_eq!(rows("text\n", "a").unwrap_err(), "holds no table");
    }

    #[test]
    fn a_link_of_rustdocs_is_a_name_in_a_quotation() {
        let quoted = quotation("a.rs", "A [`Ticket`], [`a::B`]; [`here`](x.md), [`there`][x], `[`, [`open\n");
        let text = "> A `Ticket`, `a::B`; [`here`](x.md), [`there`][x], `[`, [`open\n";
        assert_eq!(quoted, format!("<p class=\"source\">a.rs</p>\n\n{text}"));
    }

    #[test]
    fn a_prediction_is_told_to_the_digit_and_with_its_thousands_apart() {
        let numbers = [0.0, 5.6, 43.0, 900.0, 2_300.0, 16_600.0, 103_000.25, -1_234_567.0, -900.0];
        let told = numbers.map(grouped);
        assert_eq!(told, ["0", "5.6", "43", "900", "2,300", "16,600", "103,000.25", "-1,234,567", "-900"]);
    }

    #[test]
    fn the_card_of_a_phase_says_under_which_load_its_prediction_was_made() {
        let expander = Expander::new(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))).unwrap();
        let mut elsewhere = 0;
        for craft in &expander.table.crafts {
            for (phase, predict) in craft.phases.iter().filter_map(|p| Some((p, p.predict.as_ref()?))) {
                let card = card(craft, phase, None);
                let row = card.lines().find(|line| line.starts_with("| predicted |")).unwrap();
                let load = predict.load.as_ref().map(|load| format!(", under `{load}` |"));
                assert!(load.is_none_or(|load| row.ends_with(&load)), "{row}");
                elsewhere += u32::from(predict.load.is_some());
            }
        }
        assert!(elsewhere > 0, "no prediction names a load of its own: is this test still looking right?");
    }

    #[test]
    fn what_is_not_there_is_told_with_the_directive_that_asks_for_it() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("crafts")).unwrap();
        fs::write(root.path().join("a.rs"), "//! A.\n\nfn a() {}\n").unwrap();
        fs::write(root.path().join(TABLE_FILE), "craft = []\n").unwrap();
        let expander = Expander::new(root.path()).unwrap();
        let expand = |text: &str| expander.expand(text);
        assert_eq!(
            expand("Look:\n\n{{#item a.rs a}}\nend").unwrap(),
            "Look:\n\n<p class=\"source\">a.rs</p>\n\n```rust\nfn a() {}\n```\n\nend\n"
        );
        assert_eq!(expand("{{#doc a.rs}}").unwrap(), "<p class=\"source\">a.rs</p>\n\n> A.\n\n");
        assert!(expand("{{#item a.rs b}}").unwrap_err().ends_with("has no item b"));
        assert!(expand("{{#item b.rs b}}").unwrap_err().contains("{{#item b.rs b}} cannot be read"));
        assert!(
            expand("{{#include generated/x.md}}").unwrap_err().contains("cargo craft bench report --book")
        );
        assert!(expand("{{#phase 1.1}}").unwrap_err().ends_with("is no phase of the table"));
        assert!(expand("{{#inclode a}}").unwrap_err().ends_with("is no directive of ours"));
        assert!(expand("see {{#item a.rs a}}").unwrap_err().contains("alone on its line"));
    }
}
