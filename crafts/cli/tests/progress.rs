//! How far a learner is, as it is typed and as the page shows it: in a course of its own, beside which nobody's work lies.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{Running, craft, program, text};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// The tables of the course, and a place to work in; no code.
struct Course(TempDir);

impl Course {
    fn new() -> Self {
        let course = Self(tempfile::tempdir().unwrap());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        course.copy(&root, "crafts/phases.toml");
        for group in folders(&root.join("labs")) {
            for lab in folders(&group).into_iter().filter(|lab| lab.join("lab.toml").is_file()) {
                course.copy(&root, lab.strip_prefix(&root).unwrap().join("lab.toml").to_str().unwrap());
            }
        }
        course
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn copy(&self, from: &Path, file: &str) {
        let to = self.root().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from.join(file), to).unwrap();
    }

    fn work(&self) -> PathBuf {
        self.root().join("labs/work")
    }

    fn done(&self, lines: &[String]) {
        fs::create_dir_all(self.work()).unwrap();
        fs::write(self.work().join("progress.jsonl"), lines.concat()).unwrap();
    }

    fn up(&self, more: &[&str]) -> Running {
        let work = self.work();
        let args = [&["up", "--evaluate-every", "0.2", "--labs", work.to_str().unwrap()], more].concat();
        Running::node(&args, &self.root().join("data"))
    }

    fn status(&self, more: &[&str]) -> String {
        let output = craft(&["lab", "status"]).args(more).current_dir(self.root()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// A line of progress; `measured` is the learner's ratio, the reference's, and the load.
fn line(slug: &str, verdict: &str, measured: Option<(f64, f64, &str)>) -> String {
    let mut line = json!({"at": "2026-01-31T12:00:00Z", "slug": slug, "verdict": verdict, "source_hash": "0badcafe",
        "machine": "a machine"});
    if let Some((mine, reference, load)) = measured {
        line["ratio"] = json!(mine);
        line["interval"] = json!([mine - 0.25, mine + 0.25]);
        line["load"] = json!(load);
        line["reference"] = json!({"ratio": reference, "interval": [reference - 0.25, reference + 0.25]});
    }
    format!("{line}\n")
}

fn lab<'a>(map: &'a Value, slug: &str) -> &'a Value {
    map["labs"].as_array().unwrap().iter().find(|lab| lab["slug"] == slug).unwrap()
}

#[test]
fn the_page_is_told_what_stands_in_the_file_now() {
    let course = Course::new();
    let up = course.up(&["--no-agent"]);
    let (status, map) = up.get("/api/progress");
    assert_eq!(status, 200);
    assert!(map["labs"].as_array().unwrap().iter().all(|lab| lab["state"] == "open"), "{map}");
    assert!(!course.work().exists(), "whoever only looks makes nothing");

    let good = line("single-pass-json", "passed", Some((1.75, 2.5, "fifty")));
    course.done(&[
        "no line\n".to_owned(),
        line("keep-alive", "broken", None),
        good.clone(),
        good[..60].to_owned(),
    ]);
    let map = up.get("/api/progress").1;
    let json = lab(&map, "single-pass-json");
    assert_eq!(
        (&json["phase"], &json["state"], &json["checks"]),
        (&json!("1.3"), &json!("passed"), &json!(1))
    );
    assert_eq!(
        (&json["measured"]["ratio"], &json["measured"]["interval"]),
        (&json!(1.75), &json!([1.5, 2.0]))
    );
    assert_eq!(
        (&json["measured"]["reference"]["ratio"], &json["measured"]["load"]),
        (&json!(2.5), &json!("fifty"))
    );
    assert_eq!(
        (&lab(&map, "keep-alive")["state"], &lab(&map, "keep-alive")["words"]),
        (&json!("failing"), &json!("tests break"))
    );

    // What cannot be read is no progress, and no reason to stop.
    fs::remove_file(course.work().join("progress.jsonl")).unwrap();
    fs::create_dir(course.work().join("progress.jsonl")).unwrap();
    assert_eq!(up.get("/api/progress"), (200, Value::Null));
}

#[test]
fn the_repository_that_one_stands_in_is_the_course_and_elsewhere_there_is_none() {
    let course = Course::new();
    course.done(&[line("keep-alive", "passed", None)]);
    let shown = |dir: &Path| {
        let data = tempfile::tempdir().unwrap();
        let up = Running::node_in(dir, &["up", "--no-agent"], data.path());
        up.get("/api/progress").1
    };
    assert_eq!(lab(&shown(&course.root().join("labs")), "keep-alive")["state"], "passed");
    assert_eq!(shown(tempfile::tempdir().unwrap().path()), Value::Null);
}

#[test]
fn the_map_is_told_in_words_and_as_json() {
    let course = Course::new();
    assert!(course.status(&[]).contains("\nnext: cargo craft lab start "), "{}", course.status(&[]));
    assert!(!course.work().exists(), "whoever only looks makes nothing");
    course.done(&[line("single-pass-json", "not-yet", Some((1.25, 2.5, "fifty")))]);
    let told = course.status(&[]);
    assert!(told.contains("not fast enough yet  2026-01-31  1 check\n"), "{told}");
    assert!(told.contains("1.25 × [1.00, 1.50], the reference 2.50 ×, under fifty\n"), "{told}");
    assert!(!told.contains('\x1b'), "no colour was asked for");
    let map: Value = serde_json::from_str(&course.status(&["--json"])).unwrap();
    assert_eq!(lab(&map, "single-pass-json")["state"], "not-yet");
}

#[test]
fn the_page_draws_the_learners_own_ratios() {
    let Some(chromium) = program(&["chromium", "chromium-browser", "google-chrome"], "chromium") else {
        return;
    };
    let course = Course::new();
    let phase = |name: &str, rate: f64| json!({"name": name, "title": "any", "figure": rate, "p99_us": 1500.0, "success_ratio": 1.0});
    let load = json!({"name": "fifty", "title": "any load", "unit": "requests/s", "less_is_better": false, "phases": [phase("phase2", 1000.0), phase("phase3", 2000.0), phase("phase5", 9.0)]});
    let journey =
        json!({"craft": 1, "slot": "ingest", "measured": {"machine": "measured by a test"}, "loads": [load]});
    fs::write(course.root().join("craft1-journey.json"), journey.to_string()).unwrap();
    let up = course.up(&["--journeys", course.root().to_str().unwrap()]);
    let look = || {
        let profile = tempfile::tempdir().unwrap();
        let out = Command::new(&chromium)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("{}/", up.url))
            .output()
            .unwrap();
        let said = text(&out.stderr);
        assert!(!said.contains("CONSOLE"), "the page complains: {said}");
        text(&out.stdout)
    };

    let untouched = look();
    assert!(untouched.contains("cargo craft lab list"), "{untouched}");
    assert!(
        !untouched.contains("course-lab\"") && !untouched.contains("mine-mark"),
        "and nothing else is drawn"
    );

    course.done(&[
        line("single-pass-json", "passed", Some((1.75, 2.5, "fifty"))),
        line("keep-alive", "not-yet", Some((2.0, 4.0, "plain"))),
        line("event-loop", "does-not-compile", None),
    ]);
    let drawn = look();
    for expected in [
        "1 of ",
        "yours 1.75 × [1.50, 2.00] · under fifty · reference 2.50 ×",
        "yours 2.00 × [1.75, 2.25] · under plain · reference 4.00 ×",
        ">does not compile<",
        ">not fast enough yet<",
        "single-pass-json=passed",
        // 1.75 times the bar of phase 2, where the bar of phase 3 is the longest.
        "mine-mark\" style=\"--at: 0.8750;",
        // Half of the step, in the middle of its track.
        "mine-mark\" style=\"--at: 0.5000;",
    ] {
        assert!(drawn.contains(expected), "no {expected:?} in {drawn}");
    }
}
