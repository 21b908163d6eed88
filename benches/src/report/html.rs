//! The report as one HTML file: style sheet and charts inside, no script, nothing fetched.

use super::{
    chart::{Bar, figure},
    table::{self, Table},
    text::{escape, figure as number, latency},
};
use crate::{
    loads::Load,
    results::Results,
    stats::Spread,
    summary::{self, Figures},
};
use std::fmt::Write;

const STYLE: &str = include_str!("report.css");

/// The whole page.
pub fn html(results: &Results, peers: Option<&Results>) -> String {
    let mut page = head(&format!("Bench {}", results.bench));
    origin(&mut page, results);
    if let Some(goals) = table::goals_measured(results, peers) {
        section(&mut page, "What it set out to reach", "", &[&goals]);
    }
    let steps = "Each phase against the one before, under the load that shows it. The gain is the middle of the \
                 rounds' ratios with its 95 % bootstrap interval; above 1 is better, whatever the unit.";
    if let Some(table) = table::steps_measured(results) {
        section(&mut page, "Step by step", steps, &[&table]);
    }
    for load in &results.workload.loads {
        under(&mut page, results, load);
    }
    if let Some(parts) = table::parts(results) {
        section(&mut page, "Parts alone", "One thread unless the name says otherwise.", &[&parts]);
    }
    if let Some(peers) = peers {
        page.push_str("<h1>Beside real peers</h1>\n");
        origin(&mut page, peers);
        for load in &peers.workload.loads {
            under(&mut page, peers, load);
        }
    }
    page.push_str("</main></body></html>\n");
    page
}

fn origin(page: &mut String, results: &Results) {
    let words = escape(&table::origin(results)).replacen('`', "<code>", 1).replacen('`', "</code>", 1);
    // Writing to a String cannot fail.
    let _ = writeln!(page, "<p class=\"soft\">{words}</p>");
    let pinned = match results.workload.pinned_to_cores {
        Some((server, load)) => format!("server on core {server}, load on core {load}"),
        None => "nothing pinned".to_owned(),
    };
    let lock = results.lock_hash.as_deref().unwrap_or("unknown");
    let _ = writeln!(
        page,
        "<p class=\"soft\">{} rounds of {} s, {pinned}, seed {}, Cargo.lock {}</p>",
        results.workload.rounds,
        number(results.workload.seconds),
        results.workload.seed,
        escape(&lock.chars().take(12).collect::<String>())
    );
    let disturbed =
        |load: &Load| summary::figures(results, &load.name).iter().map(|f| f.disturbed).sum::<usize>();
    let disturbed: usize = results.workload.loads.iter().map(disturbed).sum();
    if disturbed * 2 > results.slices.len() {
        let _ = writeln!(
            page,
            "<p class=\"note\">Others used this machine during {disturbed} of {} measurements. Ratios within a round \
             hold better than absolute figures.</p>",
            results.slices.len()
        );
    }
}

/// A page of tables, each with its title and words.
pub(crate) fn tables(title: &str, origin: &str, sections: &[(String, String, Table)]) -> String {
    let mut page = head(title);
    let words = escape(origin).replacen('`', "<code>", 1).replacen('`', "</code>", 1);
    let _ = writeln!(page, "<p class=\"soft\">{words}</p>");
    for (title, words, table) in sections {
        section(&mut page, title, words, &[table]);
    }
    page.push_str("</main></body></html>\n");
    page
}

fn head(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>\n{STYLE}</style></head><body><main>\n<h1>{title}</h1>\n"
    )
}

fn section(page: &mut String, title: &str, words: &str, tables: &[&Table]) {
    let _ = writeln!(page, "<h2>{}</h2>\n<p class=\"soft\">{}</p>", escape(title), escape(words));
    for table in tables {
        page.push_str(&rendered(table));
    }
}

fn rendered(table: &Table) -> String {
    let mut html = String::from("<div class=\"table\"><table><thead><tr>");
    for column in &table.columns {
        let _ = write!(html, "<th>{}</th>", escape(column));
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for cell in row {
            let class = match cell.as_str() {
                "yes" | "gains" => " class=\"good\"",
                "NO" | "loses" => " class=\"bad\"",
                _ => "",
            };
            let _ = write!(html, "<td{class}>{}</td>", escape(cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// A load: charts, and the figures that they show.
fn under(page: &mut String, results: &Results, load: &Load) {
    let figures = summary::figures(results, &load.name);
    if figures.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<h2 id=\"{0}\">{0}</h2>\n<p class=\"soft\">{1}</p>\n<div class=\"charts\">",
        escape(&load.name),
        escape(&load.shows)
    );
    let bars = |value: fn(&Figures) -> Option<f64>, text: fn(f64) -> String| -> Vec<Bar> {
        let bar = |f: &Figures| {
            let value = value(f)?;
            Some(Bar { name: f.subject.clone(), value, range: None, predicted: None, text: text(value) })
        };
        figures.iter().filter_map(bar).collect()
    };
    page.push_str(&figure("Requests a second, and the rounds' range", &rates(results, load, &figures)));
    page.push_str(&figure("Latency, median", &bars(|f| f.p50_us, latency)));
    page.push_str(&figure("Latency, 99th percentile", &bars(|f| f.p99_us, latency)));
    page.push_str(&figure("Latency, 99.9th percentile", &bars(|f| f.p999_us, latency)));
    page.push_str(&figure("Answered 2xx, percent", &bars(|f| f.success_percent, |v| format!("{v:.2} %"))));
    page.push_str(&figure("Processor time a request", &bars(|f| f.cpu_us, latency)));
    page.push_str(&figure("Allocations a request", &bars(|f| f.allocations, number)));
    page.push_str(&figure("Resident memory, MB", &memory(results, load, &figures)));
    page.push_str("</div>\n");
    page.push_str(&rendered(&table::load(results, load)));
    page.extend(table::calls(results, &load.name).map(|calls| rendered(&calls)));
}

fn rates(results: &Results, load: &Load, figures: &[Figures]) -> Vec<Bar> {
    let bar = |f: &Figures| {
        let Spread { median, min, max } = f.ok_per_s?;
        Some(Bar {
            name: f.subject.clone(),
            value: median,
            range: Some((min, max)),
            predicted: predicted(results, &f.subject, load, "throughput"),
            text: format!("{}{}", if f.saturated > 0 { "≥ " } else { "" }, number(median)),
        })
    };
    figures.iter().filter_map(bar).collect()
}

fn memory(results: &Results, load: &Load, figures: &[Figures]) -> Vec<Bar> {
    let bar = |f: &Figures| {
        let value = f.resident_bytes_max? / 1e6;
        let predicted = predicted(results, &f.subject, load, "resident_memory");
        Some(Bar {
            name: f.subject.clone(),
            value,
            range: None,
            predicted,
            text: format!("{} MB", number(value)),
        })
    };
    figures.iter().filter_map(bar).collect()
}

/// What was expected of a phase under the load that shows it.
fn predicted(results: &Results, subject: &str, load: &Load, measure: &str) -> Option<f64> {
    let phase = results.subject(subject)?.phase.as_ref()?;
    let predict = phase.predict.as_ref().filter(|predict| predict.measure == measure)?;
    let said_of = predict.load.as_ref().unwrap_or(&phase.load);
    (*said_of == load.name).then_some(predict.to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{example, requests};

    #[test]
    fn the_page_stands_alone() {
        let page = html(&example(), None);
        for outside in ["http://", "https://", "<script", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.ends_with("</html>\n") && page.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn every_figure_follows_the_file() {
        let before = html(&example(), None);
        let mut results = example();
        for slice in results.slices.iter_mut().filter(|slice| slice.subject == "phase1") {
            slice.requests = Some(requests(7654.0));
        }
        results.counts[0].allocations = Some(3.75);
        let after = html(&results, None);
        for (figure, page, other) in [
            ("2,000 (1,980–2,310)", &before, &after),
            ("7,654 (7,654–7,654)", &after, &before),
            // 64 s over the rate: what the example's latency is.
            ("8.36 ms", &after, &before),
            ("3.75", &after, &before),
        ] {
            assert!(page.contains(figure), "{figure}");
            assert!(!other.contains(figure), "{figure} comes from somewhere else");
        }
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let mut results = example();
        let page = html(&results, None);
        assert!(!page.contains("not measured"), "loads that were not run");
        assert!(!page.contains("final phase"), "it was not there");
        assert!(page.contains("Step by step"));
        results.slices.retain(|slice| slice.subject == "phase0");
        let page = html(&results, None);
        assert!(!page.contains("Step by step") && page.contains("id=\"plain\""), "no step, and yet a load");
    }

    #[test]
    fn a_prediction_stands_beside_what_was_measured() {
        let page = html(&example(), None);
        assert!(page.contains("class=\"predicted\"") && page.contains("1,000 → 3,000"));
        let mut results = example();
        results.subjects[1].phase.as_mut().unwrap().predict = None;
        assert!(!html(&results, None).contains("class=\"predicted\""));
    }

    #[test]
    fn peers_are_on_the_same_page() {
        let mut peers = example();
        peers.bench = "peers-craft1".to_owned();
        peers.workload.loads[0].name = "single".to_owned();
        for slice in &mut peers.slices {
            slice.load = "single".to_owned();
            match slice.subject.as_str() {
                "phase0" => slice.subject = "nginx".to_owned(),
                _ => {
                    slice.subject = "phase9".to_owned();
                    slice.requests = Some(requests(8000.0));
                }
            }
        }
        peers.subjects[0].name = "nginx".to_owned();
        peers.subjects[1].name = "phase9".to_owned();
        let page = html(&example(), Some(&peers));
        assert!(page.contains("Beside real peers") && page.contains("id=\"single\""));
        assert!(
            page.contains("8.00 × [7.27, 8.89]"),
            "the final phase over nginx, in its row of what was to be reached"
        );
    }

    #[test]
    fn what_a_server_says_cannot_break_the_page() {
        let mut results = example();
        results.slices[0].failure = Some("<b>\"&".to_owned());
        let page = html(&results, None);
        assert!(page.contains("&lt;b&gt;&quot;&amp;") && !page.contains("<b>\"&"));
    }
}
