//! The report as one HTML file: style sheet and charts inside, no script, nothing fetched.

use std::fmt::Write;

use super::chart::{Chart, Line};
use super::text::{counted, human_bytes, human_us, wrong};
use super::{Latency, Report};
use crate::tally::FAILURES;
use crate::verify::Verified;

const STYLE: &str = include_str!("report.css");

/// A last second shorter than this says nothing about a rate.
const SECOND_MS_MIN: u64 = 250;

/// The whole page.
pub fn html(report: &Report) -> String {
    let target = escape(&report.workload.target.to_string());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Load on {target}</title><style>\n{STYLE}</style></head><body><main>\n"
    );
    // Writing to a String cannot fail.
    let _ = head(&mut page, report, &target);
    let _ = tiles(&mut page, report);
    charts(&mut page, report);
    tables(&mut page, report);
    page.push_str("</main></body></html>\n");
    page
}

fn head(page: &mut String, report: &Report, target: &str) -> std::fmt::Result {
    let workload = &report.workload;
    writeln!(page, "<h1>Load on {target}</h1>")?;
    writeln!(
        page,
        "<p class=\"soft\">{}, {}, {} a request, pipeline {}, {} · {}</p>",
        counted(u64::from(workload.clients), "client"),
        counted(workload.threads as u64, "thread"),
        counted(workload.batch as u64, "sample"),
        workload.pipeline,
        super::connections(report),
        escape(&report.started_at)
    )?;
    if report.interrupted {
        writeln!(page, "<p class=\"note\">Interrupted: the figures are those of the part that was run.</p>")?;
    }
    for note in &report.verdict.notes {
        writeln!(page, "<p class=\"note\">{}</p>", escape(note))?;
    }
    Ok(())
}

fn tiles(page: &mut String, report: &Report) -> std::fmt::Result {
    let result = &report.result;
    page.push_str("<div class=\"tiles\">\n");
    let mut tile = |value: &str, label: &str, class: &str| {
        writeln!(page, "<div class=\"tile\"><b class=\"{class}\">{value}</b><span>{label}</span></div>")
    };
    let asked = result.rate_asked.map_or(String::new(), |asked| format!(" of {} asked", thousands(asked)));
    tile(&thousands(result.rate_achieved), &format!("answers a second{asked}"), "")?;
    tile(&thousands(result.samples_per_second), "samples accepted a second", "")?;
    let success = if result.success_percent >= 100.0 { "good" } else { "bad" };
    tile(&format!("{:.2} %", floored(result.success_percent)), "answered 2xx", success)?;
    tile(&human_us(result.latency_us.p50), "median latency", "")?;
    tile(&human_us(result.latency_us.p99), "99th percentile", "")?;
    if let Some(verified) = &report.verified {
        let (word, class) = if verified.holds() { ("yes", "good") } else { ("NO", "bad") };
        tile(word, "accepted = queryable", class)?;
    }
    page.push_str("</div>\n");
    Ok(())
}

fn charts(page: &mut String, report: &Report) {
    let whole =
        || report.seconds.iter().filter(|second| second.span_ms >= SECOND_MS_MIN || second.index == 0);
    let series = |value: &dyn Fn(&crate::Second) -> f64| -> Vec<(f64, f64)> {
        whole().map(|second| (second.index as f64 + 1.0, value(second))).collect()
    };
    let per_second =
        |count: u64, second: &crate::Second| count as f64 * 1000.0 / second.span_ms.max(1) as f64;
    let rate = Chart {
        title: "Answers a second",
        x_label: "seconds",
        lines: vec![
            Line { name: "2xx", class: "a", points: series(&|s| per_second(s.ok, s)) },
            Line {
                name: "not 2xx, or none",
                class: "c",
                points: series(&|s| per_second(s.answered - s.ok + s.unanswered, s)),
            },
        ],
        x_ticks: Vec::new(),
        y_text: &short,
    };
    let latency = Chart {
        title: "Latency over time",
        x_label: "seconds",
        lines: vec![
            Line { name: "p50", class: "a", points: series(&|s| s.p50_us) },
            Line { name: "p99", class: "b", points: series(&|s| s.p99_us) },
        ],
        x_ticks: Vec::new(),
        y_text: &axis_us,
    };
    page.push_str("<div class=\"charts\">\n");
    page.push_str(&rate.figure());
    page.push_str(&latency.figure());
    page.push_str(&percentiles(report).figure());
    latency_table(page, &report.result.latency_us, report.result.service_us.as_ref());
    page.push_str("</div>\n");
}

/// Each nine gets the same room, so that the tail is seen.
fn percentiles(report: &Report) -> Chart<'static> {
    let place = |percentile: f64| -(1.0 - percentile / 100.0).log10();
    let line = |name, class, spectrum: &[(f64, f64)]| {
        let inside = spectrum.iter().filter(|(percentile, _)| *percentile < 100.0);
        Line { name, class, points: inside.map(|(percentile, us)| (place(*percentile), *us)).collect() }
    };
    let mut lines = vec![line("latency", "a", &report.spectrum)];
    if let Some(service) = &report.service_spectrum {
        lines.push(line("from the real send time", "b", service));
    }
    let nines = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"];
    Chart {
        title: "Latency by percentile",
        x_label: "percentile of requests",
        lines,
        x_ticks: (0_u32..).zip(nines).map(|(nines, text)| (f64::from(nines), text.to_owned())).collect(),
        y_text: &axis_us,
    }
}

fn tables(page: &mut String, report: &Report) {
    let result = &report.result;
    page.push_str("<div class=\"tables\">\n");
    let mut counts: Vec<(String, String)> = vec![
        ("requests begun".to_owned(), result.requests_started.to_string()),
        ("due, never begun".to_owned(), report.verdict.not_begun.to_string()),
    ];
    counts.extend(result.by_status.iter().map(|(status, n)| (format!("answered {status}"), n.to_string())));
    for failure in FAILURES {
        let count = result.failures.get(failure.key()).copied().unwrap_or(0);
        if count > 0 {
            counts.push((failure.label().to_owned(), count.to_string()));
        }
    }
    counts.push((
        "connections".to_owned(),
        format!("{} ({} reconnects)", result.connections, result.reconnects),
    ));
    counts.push((
        "bytes out, in".to_owned(),
        format!("{}, {}", human_bytes(result.bytes_out), human_bytes(result.bytes_in)),
    ));
    if let Some(cpu) = report.verdict.thread_cpu_max {
        counts.push(("tester's busiest thread".to_owned(), format!("{:.0} % of a processor", cpu * 100.0)));
    }
    table(page, "Counts", &counts);
    if let Some(verified) = &report.verified {
        verification(page, verified);
    }
    provenance(page, report);
    page.push_str("</div>\n");
}

fn latency_table(page: &mut String, latency: &Latency, service: Option<&Latency>) {
    let rows = latency.named().into_iter().enumerate().map(|(row, (name, us))| {
        let service =
            service.map_or(String::new(), |service| format!(" / {}", human_us(service.named()[row].1)));
        (name.to_owned(), format!("{}{service}", human_us(us)))
    });
    let title = if service.is_some() { "Latency from the intended / the real send time" } else { "Latency" };
    table(page, title, &rows.collect::<Vec<_>>());
}

fn verification(page: &mut String, verified: &Verified) {
    let mut rows = vec![
        ("samples accepted".to_owned(), verified.accepted.to_string()),
        ("found once and right".to_owned(), verified.found.to_string()),
    ];
    rows.extend(wrong(verified).map(|(what, count)| (what.to_owned(), count.to_string())));
    rows.push((
        "visible after".to_owned(),
        format!("{} ms, {} queries", verified.waited_ms, verified.queries),
    ));
    table(page, "Accepted = queryable?", &rows);
    let told = verified.error.iter().chain(&verified.examples);
    let told: Vec<String> = told.map(|line| escape(line)).collect();
    if !told.is_empty() {
        let _ = writeln!(
            page,
            "<section><h2>What is wrong</h2><pre><code>{}</code></pre></section>",
            told.join("\n")
        );
    }
}

fn provenance(page: &mut String, report: &Report) {
    let machine = &report.provenance.machine;
    let commit = report.provenance.commit.as_ref();
    let rows = [
        (
            "machine",
            format!("{}, {} cores, {}", machine.cpu_model, machine.cores, human_bytes(machine.memory_bytes)),
        ),
        ("system", format!("{}, kernel {}, {}", machine.os, machine.kernel, machine.arch)),
        (
            "commit",
            commit.map_or("none".to_owned(), |c| {
                format!("{}{}", c.rev, if c.dirty { " + changes" } else { "" })
            }),
        ),
        ("built with", format!("{} ({})", report.provenance.rustc, report.provenance.profile)),
        ("seed", report.workload.identity.seed.to_string()),
        ("samples' name", report.workload.identity.name.clone()),
        ("command", report.command_line.join(" ")),
    ];
    table(page, "Where this comes from", &rows.map(|(name, value)| (name.to_owned(), value)));
}

fn table(page: &mut String, title: &str, rows: &[(String, String)]) {
    let _ = writeln!(page, "<section><h2>{}</h2><div class=\"table\"><table>", escape(title));
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    page.push_str("</table></div></section>\n");
}

/// 99.999 % is not 100 %: the last digit shown is cut, not rounded.
fn floored(percent: f64) -> f64 {
    (percent * 100.0).floor() / 100.0
}

fn axis_us(us: f64) -> String {
    match us {
        0.0 => "0".to_owned(),
        us if us < 1000.0 => format!("{us}µs"),
        us if us < 1_000_000.0 => format!("{}ms", us / 1000.0),
        us => format!("{}s", us / 1_000_000.0),
    }
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1_000_000.0 => format!("{}M", value / 1_000_000.0),
        value if value >= 1000.0 => format!("{}k", value / 1000.0),
        value => format!("{value}"),
    }
}

fn thousands(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_text_is_escaped() {
        assert_eq!(thousands(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
        assert!(floored(99.999).total_cmp(&99.99).is_eq());
    }
}
