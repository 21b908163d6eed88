//! `craft queue` against real services, as a user types it.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{Running, craft, output, post_as, text, within};
use contracts::queue::put_payload;
use platform::routes::queue::RECORDS;
use serde_json::Value;
use std::{fs, io::Write, path::Path, process::Stdio};

fn queue(partitions: &str) -> (tempfile::TempDir, Running) {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::node(&["serve", "queue", "--partitions", partitions], dir.path());
    (dir, node)
}

/// Runs `craft queue …` against the service; returns its exit code, and what it printed and said.
fn run(node: &Running, args: &[&str]) -> (Option<i32>, String, String) {
    let done = output(&[&["queue", "--url", &node.url], args].concat());
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

fn lines(node: &Running, args: &[&str]) -> Vec<String> {
    let (code, printed, said) = run(node, args);
    assert_eq!(code, Some(0), "{args:?}: {said}");
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_produced_is_told_where_it_lies_and_is_read_back() {
    let (_dir, node) = queue("2");
    assert_eq!(lines(&node, &["produce", "--partition", "1", "one", "two"]), ["1 0", "1 1"]);
    assert_eq!(lines(&node, &["produce", "--partition", "1", "three"]), ["1 2"]);
    assert_eq!(
        lines(&node, &["tail", "--partition", "1", "--from", "start"]),
        ["1/0 one", "1/1 two", "1/2 three"]
    );
    assert_eq!(lines(&node, &["tail", "--from", "-2"]), ["1/1 two", "1/2 three"]);
    assert_eq!(lines(&node, &["tail", "--from", "1", "--count", "1", "--partition", "1", "--raw"]), ["two"]);
    let topics: Value = serde_json::from_str(&lines(&node, &["topics", "--json"])[0]).unwrap();
    assert_eq!(
        topics["topics"][0]["partitions"][1],
        serde_json::json!({"partition": 1, "start": 0, "end": 3})
    );
    assert_eq!(lines(&node, &["topics"]).len(), 4, "a topic, a head, and a line a partition");
}

#[test]
fn lines_of_stdin_are_records_and_go_in_batches() {
    let (_dir, node) = queue("1");
    let mut child = craft(&["queue", "--url", &node.url, "produce", "--batch", "2"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a\n\nc").unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(0), "0 0\n0 1\n0 2\n".to_owned()));
    assert!(text(&done.stderr).contains("3 records in 2 batches, safe at disk"), "{}", text(&done.stderr));
    assert_eq!(lines(&node, &["tail", "--from", "start", "--raw"]), ["a", "", "c"]);
}

#[test]
fn a_group_goes_on_where_it_stands_and_its_lag_is_told() {
    let (_dir, node) = queue("1");
    lines(&node, &["produce", "a", "b", "c"]);
    assert_eq!(lines(&node, &["tail", "--group", "readers", "--count", "2"]), ["0/0 a", "0/1 b"]);
    let status: Value = serde_json::from_str(&lines(&node, &["groups", "readers", "--json"])[0]).unwrap();
    let group = &status["groups"][0];
    assert_eq!(
        (&group["partitions"][0]["committed"], &group["partitions"][0]["lag"]),
        (&2.into(), &1.into())
    );
    assert_eq!(lines(&node, &["tail", "--group", "readers"]), ["0/2 c"]);
    let told = lines(&node, &["groups", "readers"]).join("\n");
    assert!(told.contains("lag 0"), "{told}");
    let (code, _, said) = run(&node, &["groups", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no group has the name \"nobody\""), "{said}");
}

#[test]
fn following_prints_what_comes_and_ends_with_ctrl_c() {
    let (_dir, node) = queue("2");
    let follower = Running::start(&["queue", "--url", &node.url, "tail", "--follow", "--group", "followers"]);
    within("the follower is a member", || {
        let (_, groups) = node.get("/groups");
        let group = groups["groups"].as_array().unwrap().iter().find(|g| g["group"] == "followers").cloned();
        group.filter(|g| g["members"].as_array().is_some_and(|members| !members.is_empty()))
    });
    lines(&node, &["produce", "--partition", "1", "late"]);
    within("the follower has committed", || {
        let (_, at) = node.get("/committed?group=followers&partition=1");
        (at["offset"] == 1).then_some(())
    });
    let (code, said) = follower.interrupt();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn errors_say_what_to_do_next() {
    let (_dir, node) = queue("1");
    let (code, printed, said) = run(&node, &["tail", "--partition", "7"]);
    assert_eq!((code, printed.as_str()), (Some(1), ""));
    assert!(said.contains("partition 7 does not exist: the log has 1"), "{said}");
    let (_, _, said) = run(&node, &["tail", "--from", "5"]);
    assert!(said.contains("the log, which holds 0..0") && said.contains("--from start"), "{said}");
    let (_, _, said) = run(&node, &["tail", "--from", "yesterday"]);
    assert!(said.contains("expected start, end, an offset"), "{said}");
    let done = output(&["queue", "--url", "http://127.0.0.1:1", "topics"]);
    assert!(text(&done.stderr).contains("craft serve queue"), "{}", text(&done.stderr));
}

#[test]
fn a_pipeline_in_one_process_can_be_looked_into_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::node(&["up", "--no-agent"], dir.path());
    let body = r#"{"timestamp":1763689000000,"name":"cpu_usage","value":75.5,"labels":{"core":"0"}}"#;
    assert_eq!(node.post("/metrics", body).0, 202);
    let told = within("storage has committed", || {
        let told = lines(&node, &["groups", "storage"]).join("\n");
        told.contains("lag 0").then_some(told)
    });
    assert!(told.contains("storage-"), "a member that keeps its name: {told}");
    let (code, _, said) = run(&node, &["produce", "no sample"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("takes samples through ingestion"), "{said}");
    let (code, _, said) = run(&node, &["tail", "--group", "strangers"]);
    assert_eq!(code, Some(1), "{said}");
}

/// How often this text stands in the segments of the service's log.
fn stands(dir: &Path, needle: &str) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found += stands(&entry, needle);
        } else {
            found +=
                fs::read(&entry).unwrap().windows(needle.len()).filter(|w| *w == needle.as_bytes()).count();
        }
    }
    found
}

#[test]
fn a_log_that_is_told_to_compress_packs_what_it_writes_and_gives_it_back_whole() {
    let record = "the same words in every record";
    let records = vec![record; 200];
    for (options, packs) in [(vec![], false), (vec!["--compress"], true)] {
        let dir = tempfile::tempdir().unwrap();
        let node = Running::node(&[vec!["serve", "queue"], options].concat(), dir.path());
        // As who does not pack sends them: `craft queue produce` does.
        let mut body = Vec::new();
        records.iter().for_each(|record| put_payload(record.as_bytes(), &mut body));
        assert_eq!(post_as(&node.url, "/produce?partition=0", RECORDS, &body).0, 200);
        assert_eq!(lines(&node, &["tail", "--from", "start", "--raw"]), records);
        let stands = stands(dir.path(), record);
        assert!(if packs { stands < records.len() / 2 } else { stands == records.len() }, "{stands}");
    }
}

#[test]
fn verify_names_file_and_byte_of_what_is_damaged_and_not_while_somebody_writes() {
    let (dir, node) = queue("1");
    for round in 0..20 {
        lines(&node, &["produce", &format!("record {round}")]);
    }
    let log = dir.path().join("queue");
    let log = log.to_str().unwrap();
    let verify = || {
        let done = output(&["queue", "verify", log]);
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, _, said) = verify();
    assert_eq!(code, Some(1));
    assert!(said.contains("another process has this log open"), "{said}");
    assert_eq!(node.interrupt().0, Some(0));
    let (code, printed, said) = verify();
    assert_eq!((code, printed.as_str()), (Some(0), "partition 0  0..20\n"), "{said}");
    assert!(said.contains("all of it is whole"), "{said}");

    let segment = dir.path().join("queue").join("00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let record = bytes.windows(8).position(|w| w == b"record 7").unwrap();
    bytes[record] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (code, printed, _) = verify();
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.starts_with("damaged ") && printed.contains("1 frames lost"), "{printed}");
    let (code, _, said) = {
        let done = output(&["queue", "verify", dir.path().to_str().unwrap()]);
        (done.status.code(), (), text(&done.stderr))
    };
    assert_eq!(code, Some(1));
    assert_eq!(said.matches("there is no log here").count(), 1, "{said}");

    let of_another_form = tempfile::tempdir().unwrap();
    std::fs::write(of_another_form.path().join("lock"), "").unwrap();
    let done = output(&["queue", "verify", of_another_form.path().to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(1), "nothing was held against anything");
    assert!(text(&done.stderr).contains("there are no segments here"), "{}", text(&done.stderr));
}
