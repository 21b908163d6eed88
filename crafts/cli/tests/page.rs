//! The live page in a real browser, against a real pipeline.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{Running, points, program, text, within};
use std::process::Command;

#[test]
fn the_page_shows_this_machine_live() {
    let Some(chromium) = program(&["chromium", "chromium-browser", "google-chrome"], "chromium") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--evaluate-every", "0.2"], dir.path());
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
    assert_eq!(mark("slots"), "ingest=phase0,queue=file,storage=phase0,query=phase0,alert=phase0");
    assert_eq!(mark("rules"), "3");
    assert!(mark("points").parse::<u64>().unwrap() > 20, "{html}");
    assert!(dom.contains("<canvas"), "the charts are drawn");
    assert!(dom.contains("CpuBusy"), "the rules are listed");
}
