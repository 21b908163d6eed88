//! The live page in a real browser, against a real pipeline.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{Running, points, program, text, within};
use serde_json::{Value, json};
use std::{fs, process::Command};

#[test]
fn the_page_shows_this_machine_live() {
    let Some(chromium) = program(&["chromium", "chromium-browser", "google-chrome"], "chromium") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let phase =
        json!({"name": "phase1", "title": "any", "figure": 12_345.0, "p99_us": 1500.0, "success_ratio": 1.0});
    let load = json!({"name": "plain", "title": "any load", "unit": "requests/s", "less_is_better": false, "phases": [phase]});
    for (craft, slot) in [(1, "ingest"), (2, "queue")] {
        let journey = json!({"craft": craft, "slot": slot, "measured": {"machine": "measured by a test"}, "loads": [load]});
        fs::write(dir.path().join(format!("craft{craft}-journey.json")), journey.to_string()).unwrap();
    }
    let journeys = dir.path().to_str().unwrap();
    let up =
        Running::node(&["up", "--evaluate-every", "0.2", "--journeys", journeys], &dir.path().join("data"));
    within("there is something to draw", || {
        (points(&up.url, "host_load1").first()?.1.len() > 2).then_some(())
    });

    let profile = tempfile::tempdir().unwrap();
    let out = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=8000", "--dump-dom", &format!("{}/", up.url)])
        .output()
        .unwrap();
    let dom = text(&out.stdout);
    let html = dom.split_once("<html").and_then(|(_, rest)| rest.split_once('>')).map_or("", |(tag, _)| tag);
    let mark = |name: &str| {
        let (_, rest) = html
            .split_once(&format!("data-{name}=\""))
            .unwrap_or_else(|| panic!("no data-{name}: {html} {}", text(&out.stderr)));
        rest.split('"').next().unwrap().to_owned()
    };
    assert_eq!(mark("state"), "live", "{html}");
    let slots = up.get("/api/status").1["slots"].clone();
    let word = |slot: &Value, key: &str| slot[key].as_str().unwrap().to_owned();
    let filled = slots.as_array().unwrap().iter().map(|s| format!("{}={}", word(s, "slot"), word(s, "name")));
    let filled: Vec<String> = filled.collect();
    assert_eq!(filled.len(), 5);
    assert_eq!(mark("slots"), filled.join(","));
    assert_eq!(mark("journeys"), "1:1,2:1");
    assert!(dom.contains("measured by a test") && dom.contains("12.3 k requests/s"), "the journey is drawn");
    assert_eq!(mark("rules"), "3");
    assert!(mark("points").parse::<u64>().unwrap() > 20, "{html}");
    assert!(dom.contains("<canvas"), "the charts are drawn");
    assert!(dom.contains("CpuBusy"), "the rules are listed");
}
