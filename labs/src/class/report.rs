//! What is written of a class: `results.json` with everything, `results.csv` for a spreadsheet, `results.html` to look at,
//! and for Gradescope a `results.json` of each student. Pseudonyms only; who is who stands in `names.json`.

use crate::{
    LabError,
    class::{Change, Class, Results, Row, SCHEMA},
    read,
};
use benches::report::figure;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

const NAMES: &str = "names.json";
const RESULTS: &str = "results.json";
/// Pseudonyms: nothing can be worked out from a name that was drawn.
const BIRDS: [&str; 40] = [
    "avocet",
    "bittern",
    "bunting",
    "bustard",
    "chough",
    "cormorant",
    "crake",
    "crane",
    "curlew",
    "dipper",
    "dotterel",
    "dunlin",
    "eider",
    "falcon",
    "fulmar",
    "gannet",
    "godwit",
    "grebe",
    "harrier",
    "heron",
    "hobby",
    "hoopoe",
    "ibis",
    "kestrel",
    "kite",
    "knot",
    "lapwing",
    "linnet",
    "merlin",
    "osprey",
    "petrel",
    "pipit",
    "plover",
    "redstart",
    "ruff",
    "siskin",
    "snipe",
    "tern",
    "wigeon",
    "wryneck",
];

/// The form before, an interval, and the best that was seen are drawn on this width.
const CHART_WIDTH: f64 = 320.0;

/// Everybody's pseudonym by name: those of earlier runs into this folder are kept.
///
/// # Errors
/// When the file of names cannot be read or written.
pub fn aliases(out: &Path, class: &Class) -> Result<BTreeMap<String, String>, LabError> {
    let path = out.join(NAMES);
    let mut aliases: BTreeMap<String, String> = if path.exists() {
        serde_json::from_str(&read(&path)?).map_err(|e| LabError::file(&path, e.to_string()))?
    } else {
        BTreeMap::new()
    };
    for student in &class.students {
        if !aliases.contains_key(&student.name) {
            let drawn = draw(|alias| aliases.values().any(|taken| taken == alias));
            aliases.insert(student.name.clone(), drawn);
        }
    }
    save(&path, &pretty(&aliases)?)?;
    Ok(aliases)
}

/// One that is not taken: a bird, and of each kind as many as are needed.
fn draw(is_taken: impl Fn(&str) -> bool) -> String {
    let mut birds = BIRDS;
    fastrand::shuffle(&mut birds);
    let of_flock =
        |flock: usize| birds.map(|bird| if flock == 1 { bird.to_owned() } else { format!("{bird}-{flock}") });
    (1..).flat_map(of_flock).find(|alias| !is_taken(alias)).unwrap_or_default()
}

/// What an earlier run on the same lab has left in this folder.
///
/// # Errors
/// When it cannot be read.
pub fn read_before(out: &Path, lab: &str) -> Result<Option<Results>, LabError> {
    let path = out.join(RESULTS);
    if !path.exists() {
        return Ok(None);
    }
    let before: Results =
        serde_json::from_str(&read(&path)?).map_err(|e| LabError::file(&path, e.to_string()))?;
    Ok((before.schema == SCHEMA && before.lab == lab).then_some(before))
}

/// From the best to the worst, with places, and each against their previous self.
pub fn placed(mut rows: Vec<Row>, before: Option<&Results>) -> Vec<Row> {
    let ratio = |row: &Row| row.ratio.unwrap_or(0.0);
    rows.sort_by(|a, b| {
        let by_value = b.verdict.cmp(&a.verdict).then(ratio(b).total_cmp(&ratio(a)));
        by_value.then(a.alias.cmp(&b.alias))
    });
    place(&mut rows);
    for row in &mut rows {
        let Some(earlier) = before.and_then(|before| before.rows.iter().find(|one| one.alias == row.alias))
        else {
            continue;
        };
        row.before = earlier.ratio;
        row.change = row.interval.zip(earlier.interval).map(|(now, before)| match () {
            () if now.0 > before.1 => Change::Better,
            () if now.1 < before.0 => Change::Worse,
            () => Change::Same,
        });
    }
    rows
}

/// By their ratios alone: whose interval overlaps with that of the first of a place, cannot be told from them.
fn place(rows: &mut [Row]) {
    let mut measured: Vec<(&mut Row, f64, (f64, f64))> =
        rows.iter_mut().filter_map(|row| row.ratio.zip(row.interval).map(|(r, i)| (row, r, i))).collect();
    measured.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (mut place, mut low_of_first) = (1, f64::INFINITY);
    for (n, (row, _, interval)) in measured.iter_mut().enumerate() {
        if interval.1 < low_of_first {
            (place, low_of_first) = (n + 1, interval.0);
        }
        row.place = Some(place);
    }
}

/// Writes all of it.
///
/// # Errors
/// When a file cannot be written.
pub fn write(out: &Path, class: &Class, results: &Results) -> Result<(), LabError> {
    save(&out.join(RESULTS), &pretty(results)?)?;
    save(&out.join("results.csv"), &csv(results))?;
    save(&out.join("results.html"), &html(results))?;
    for row in &results.rows {
        let dir = out.join("gradescope").join(&row.alias);
        fs::create_dir_all(&dir).map_err(|e| LabError::io(&dir, e))?;
        save(&dir.join(RESULTS), &pretty(&gradescope(class, row))?)?;
    }
    Ok(())
}

/// A line each, with a head.
fn csv(results: &Results) -> String {
    let mut text = "alias,verdict,ratio,low,high,place,before,change,tests,tests_holding\n".to_owned();
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
    for row in &results.rows {
        let cells = [
            row.alias.clone(),
            word(&row.verdict),
            number(row.ratio),
            number(row.interval.map(|(low, _)| low)),
            number(row.interval.map(|(_, high)| high)),
            row.place.map_or(String::new(), |place| place.to_string()),
            number(row.before),
            row.change.map_or(String::new(), |change| word(&change)),
            row.tests.len().to_string(),
            row.tests.values().filter(|holds| **holds).count().to_string(),
        ];
        text += &cells.join(",");
        text.push('\n');
    }
    text
}

/// As it stands in `results.json`.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// What Gradescope shows of one submission: <https://gradescope-autograders.readthedocs.io/en/latest/specs/>. What the
/// machine could not decide costs nothing.
fn gradescope(class: &Class, row: &Row) -> Value {
    let all = row.tests.len().max(1) as f64;
    let each = class.points_tests / all;
    let right = if row.verdict.fails() { 0.0 } else { class.points_gate };
    let status = |passed: bool| if passed { "passed" } else { "failed" };
    let mut tests: Vec<Value> = row
        .tests
        .iter()
        .map(|(name, holds)| {
            json!({
                "name": name,
                "score": if *holds { each } else { 0.0 },
                "max_score": each,
                "status": status(*holds),
            })
        })
        .collect();
    tests.push(json!({
        "name": "the gate",
        "score": right,
        "max_score": class.points_gate,
        "status": status(!row.verdict.fails()),
        "output": row.words.join("\n"),
    }));
    let score: f64 = tests.iter().filter_map(|test| test["score"].as_f64()).sum();
    // Sums of fractions are no round numbers.
    json!({ "score": (score * 100.0).round() / 100.0, "output": row.words.join("\n"), "tests": tests })
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;\
background:#fff}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid \
#d8dee4;vertical-align:top}.soft{color:#57606a}.good{color:#116329}.bad{color:#a40e26}svg{display:block}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}.soft{color:#9198a1}\
.good{color:#56d364}.bad{color:#ff7b72}}";

/// One page, with nothing to fetch.
fn html(results: &Results) -> String {
    let title = format!("Class: {}", escape(&results.lab));
    let what = match &results.load {
        Some(load) => format!(
            "Everybody was measured under the load {} in each of {} rounds, beside one form before and one reference. The \
             ratio is requests a second over the form before, the median of the rounds with its 95 % bootstrap interval. \
             Whose interval overlaps with that of the first of a place, shares it.",
            escape(load),
            results.rounds
        ),
        None => "This lab is counted and not timed: there are no ratios.".to_owned(),
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1>\n<p class=\"soft\">{} · {}</p>\n<p>{what}</p>\n<table><thead><tr><th>Place</th><th>Who</th>\
         <th>Verdict</th><th>Times the form before</th><th>Against before</th></tr></thead><tbody>\n",
        escape(&results.at),
        escape(&results.machine)
    );
    let highest =
        results.rows.iter().filter_map(|row| row.interval).map(|(_, high)| high).fold(1.0, f64::max);
    for row in &results.rows {
        let class = if row.verdict.fails() { "bad" } else { "good" };
        let place = row.place.map_or("—".to_owned(), |place| place.to_string());
        let change = match (row.before, row.change) {
            (Some(before), Some(change)) => format!("{} (was {})", word(&change), figure(before)),
            _ => "—".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "<tr><td>{place}</td><td>{}</td><td class=\"{class}\">{}<br><span class=\"soft\">{}</span></td><td>{}</td>\
             <td>{change}</td></tr>",
            escape(&row.alias),
            word(&row.verdict),
            escape(row.words.last().map_or("", String::as_str)),
            interval(row, highest)
        );
    }
    page.push_str("</tbody></table></body></html>\n");
    page
}

/// The figures, and the interval as a line on a logarithmic scale from 1 to the highest.
fn interval(row: &Row, highest: f64) -> String {
    let (Some(ratio), Some((low, high))) = (row.ratio, row.interval) else { return "—".to_owned() };
    let x = |value: f64| 4.0 + (value.max(1.0).ln() / highest.max(1.01).ln()).min(1.0) * (CHART_WIDTH - 8.0);
    format!(
        "{} [{}, {}]<svg width=\"{CHART_WIDTH}\" height=\"12\" role=\"img\" aria-label=\"the interval\"><line x1=\"{:.1}\" \
         x2=\"{:.1}\" y1=\"6\" y2=\"6\" stroke=\"currentColor\" stroke-width=\"2\"/><circle cx=\"{:.1}\" cy=\"6\" r=\"4\" \
         fill=\"currentColor\"/></svg>",
        figure(ratio),
        figure(low),
        figure(high),
        x(low),
        x(high),
        x(ratio)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn pretty(value: &impl serde::Serialize) -> Result<String, LabError> {
    let json =
        serde_json::to_string_pretty(value).map_err(|e| LabError::file(Path::new(RESULTS), e.to_string()))?;
    Ok(json + "\n")
}

fn save(path: &Path, text: &str) -> Result<(), LabError> {
    fs::write(path, text).map_err(|e| LabError::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        class::{Student, collect::Source},
        progress::Outcome,
    };

    fn row(alias: &str, verdict: Outcome, interval: Option<(f64, f64)>) -> Row {
        Row {
            alias: alias.to_owned(),
            verdict,
            ratio: interval.map(|(low, high)| f64::midpoint(low, high)),
            interval,
            place: None,
            before: None,
            change: None,
            words: vec!["It is <so>.".to_owned()],
            tests: BTreeMap::from([
                ("a-test".to_owned(), true),
                ("b-test".to_owned(), verdict != Outcome::Broken),
            ]),
            source_hash: None,
        }
    }

    fn results(rows: Vec<Row>) -> Results {
        Results {
            schema: SCHEMA.to_owned(),
            lab: "single-pass-json".to_owned(),
            at: "2026-01-31T12:00:00Z".to_owned(),
            machine: "a machine".to_owned(),
            load: Some("fifty".to_owned()),
            rounds: 11,
            rows,
        }
    }

    fn class(names: &[&str]) -> Class {
        let student =
            |name: &&str| Student { name: (*name).to_owned(), source: Source::Folder("nowhere".into()) };
        Class {
            lab: "single-pass-json".to_owned(),
            rounds: 11,
            points_tests: 60.0,
            points_gate: 40.0,
            students: names.iter().map(student).collect(),
        }
    }

    #[test]
    fn who_cannot_be_told_apart_shares_a_place() {
        let rows = placed(
            vec![
                row("a", Outcome::NotYet, Some((1.0, 1.1))),
                row("b", Outcome::Passed, Some((2.0, 2.4))),
                row("c", Outcome::Passed, Some((2.3, 2.9))),
                row("d", Outcome::Broken, None),
                row("e", Outcome::Passed, Some((1.8, 2.1))),
            ],
            None,
        );
        let places: Vec<_> = rows.iter().map(|row| (row.alias.as_str(), row.place)).collect();
        // `e` overlaps with `b`, but not with `c`, who is the first of that place.
        assert_eq!(places, [("c", Some(1)), ("b", Some(1)), ("e", Some(3)), ("a", Some(4)), ("d", None)]);
    }

    #[test]
    fn each_is_held_against_their_previous_self() {
        let before = results(vec![
            row("a", Outcome::NotYet, Some((1.0, 1.1))),
            row("b", Outcome::Passed, Some((2.0, 2.4))),
            row("c", Outcome::Passed, Some((2.0, 2.4))),
        ]);
        let now = vec![
            row("a", Outcome::Passed, Some((1.9, 2.1))),
            row("b", Outcome::Passed, Some((2.3, 2.5))),
            row("c", Outcome::NotYet, Some((1.2, 1.4))),
            row("d", Outcome::Passed, Some((2.0, 2.4))),
        ];
        let rows = placed(now, Some(&before));
        let change = |alias: &str| rows.iter().find(|row| row.alias == alias).unwrap().change;
        assert_eq!(change("a"), Some(Change::Better));
        assert_eq!(change("b"), Some(Change::Same));
        assert_eq!(change("c"), Some(Change::Worse));
        assert_eq!(change("d"), None, "who was not there before has no previous self");
    }

    #[test]
    fn pseudonyms_are_kept_from_run_to_run_and_are_nobodys_twice() {
        let out = tempfile::tempdir().unwrap();
        let many: Vec<String> = (0..100).map(|n| format!("student {n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let first = aliases(out.path(), &class(&many[..60])).unwrap();
        let all = aliases(out.path(), &class(&many)).unwrap();
        assert!(first.iter().all(|(name, alias)| all[name] == *alias));
        let distinct: std::collections::BTreeSet<_> = all.values().collect();
        assert_eq!(distinct.len(), 100);
    }

    #[test]
    fn what_is_written_names_nobody_and_is_read_back() {
        let out = tempfile::tempdir().unwrap();
        let class = class(&["Ada Lovelace"]);
        let alias = &aliases(out.path(), &class).unwrap()["Ada Lovelace"];
        let results = results(vec![row(alias, Outcome::Passed, Some((2.0, 2.4)))]);
        write(out.path(), &class, &results).unwrap();
        assert_eq!(read_before(out.path(), "single-pass-json").unwrap(), Some(results));
        assert_eq!(read_before(out.path(), "another-lab").unwrap(), None);
        for file in
            ["results.json", "results.csv", "results.html", &format!("gradescope/{alias}/results.json")]
        {
            let text = fs::read_to_string(out.path().join(file)).unwrap();
            assert!(!text.contains("Ada") && !text.contains("Lovelace"), "{file}");
        }
        let page = fs::read_to_string(out.path().join("results.html")).unwrap();
        assert!(page.contains("It is &lt;so&gt;.") && page.contains("2.20 [2.00, 2.40]"), "{page}");
    }

    #[test]
    fn a_spreadsheet_has_a_line_for_each() {
        let rows =
            placed(vec![row("a", Outcome::Broken, None), row("b", Outcome::Passed, Some((2.0, 2.4)))], None);
        assert_eq!(
            csv(&results(rows)),
            "alias,verdict,ratio,low,high,place,before,change,tests,tests_holding\n\
             b,passed,2.2000,2.0000,2.4000,1,,,2,2\n\
             a,broken,,,,,,,2,1\n"
        );
    }

    #[test]
    fn gradescope_gives_points_for_what_holds_and_for_what_the_machine_could_not_decide() {
        let class = class(&["a"]);
        let score = |verdict| gradescope(&class, &row("a", verdict, None))["score"].as_f64();
        assert_eq!(score(Outcome::Passed), Some(100.0));
        assert_eq!(score(Outcome::TooNoisy), Some(100.0));
        assert_eq!(score(Outcome::NotYet), Some(60.0));
        assert_eq!(score(Outcome::Unverified), Some(60.0));
        assert_eq!(score(Outcome::Broken), Some(30.0), "one of two tests holds");
        let nothing = Row { tests: BTreeMap::new(), ..row("a", Outcome::DoesNotCompile, None) };
        assert_eq!(gradescope(&class, &nothing)["score"].as_f64(), Some(0.0));
    }
}
