//! Old samples disappear.

use super::support::{
    ALL_TIME, ensure, now_ms,
    server::{Setup, points},
    wait_for,
};
use serde_json::json;
use std::{thread, time::Duration};

#[test]
#[ignore = "an exercise"]
fn old_lines_leave_the_file_and_young_ones_stay() {
    let (now, hour) = (now_ms(), 3_600_000);
    let server = Setup::new()
        .stored(&(line("kept", now - 1_000) + &line("gone", now - hour)))
        .flags(&["--keep", "600"])
        .start();
    server.send(&json!({ "name": "late", "value": 1, "timestamp": now - hour }));
    for i in 0..200 {
        server.send(&json!({ "name": "young", "value": i, "timestamp": now - i }));
    }
    let sent = "samples of now and of an hour ago, before the start and after it, to phase0 … --keep 600";
    let holds = |name: &str| server.file_lines().iter().filter(|line| line.contains(name)).count();
    server.wait_for_points("young", 200);
    let cleared = wait_for(|| (holds("\"gone\"") + holds("\"late\"") == 0).then_some(()));
    let old = holds("\"gone\"") + holds("\"late\"");
    ensure(cleared.is_some(), sent, "the two old lines leave the file", format!("{old} are there"));
    // What is written after the file was written anew must be found in the new one.
    for i in 0..50 {
        server.send(&json!({ "name": "after", "value": i, "timestamp": now + i }));
    }
    server.wait_for_points("after", 50);
    let counts = [holds("\"kept\""), holds("\"young\""), holds("\"after\"")];
    ensure(counts == [1, 200, 50], sent, "all young lines stay: [1, 200, 50]", format!("{counts:?}"));
    let query = server.get(&format!("/query?name=gone&{ALL_TIME}"));
    ensure(points(&query.json()).is_empty(), sent, "nothing old is answered", query);
    let (status, complaint) = Setup::new().on_file_of(&server).start_in_vain();
    let refused = status.is_some_and(|s| !s.success()) && complaint.contains("another process");
    ensure(
        refused,
        "a second phase0 on the same file, after it was cleared",
        "it is refused: the file is in use by another process",
        format!("{status:?} {complaint}"),
    );
}

#[test]
#[ignore = "an exercise"]
fn nothing_young_is_lost_while_old_lines_leave() {
    const ROUNDS: i64 = 60;
    const YOUNG: i64 = 20;
    let (now, hour) = (now_ms(), 3_600_000);
    let server = Setup::new().flags(&["--keep", "600"]).start();
    // Long enough for several clearances, each with something to clear and somebody who writes meanwhile.
    for round in 0..ROUNDS {
        server.send(&json!({ "name": "old", "value": 1, "timestamp": now - hour + round }));
        for i in 0..YOUNG {
            server.send(&json!({ "name": "young", "value": 1, "timestamp": now - round * YOUNG - i }));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let young = usize::try_from(ROUNDS * YOUNG).unwrap();
    server.wait_for_points("young", young);
    let sent = "three seconds of young samples with old ones among them, to phase0 … --keep 600";
    let holds = |name: &str| server.file_lines().iter().filter(|line| line.contains(name)).count();
    let cleared = wait_for(|| (holds("\"old\"") == 0).then_some(()));
    ensure(
        cleared.is_some(),
        sent,
        "the old lines leave the file",
        format!("{} are there", holds("\"old\"")),
    );
    let lines = holds("\"young\"");
    ensure(lines == young, sent, format!("{young} young lines: each once"), format!("{lines}"));
}

#[test]
#[ignore = "an exercise"]
fn samples_grow_old_while_it_runs() {
    let server = Setup::new().flags(&["--keep", "2"]).start();
    server.send(&json!({ "name": "brief", "value": 1, "timestamp": now_ms() }));
    let stored = wait_for(|| (!server.file_lines().is_empty()).then_some(()));
    ensure(stored.is_some(), "a sample of now, to phase0 … --keep 2", "it is stored", "no line in the file");
    let gone = wait_for(|| server.file_lines().is_empty().then_some(()));
    ensure(
        gone.is_some(),
        "a sample of now, to phase0 … --keep 2",
        "some seconds later it is gone",
        "it is there",
    );
}

#[test]
#[ignore = "an exercise"]
fn without_the_flag_everything_is_kept() {
    let server = Setup::new().stored(&line("ancient", 1)).start();
    server.send(&json!({ "name": "new", "value": 1 }));
    server.wait_for_points("new", 1);
    server.wait_for_points("ancient", 1);
    for flags in [&["--keep", "soon"][..], &["--keep", "0"], &["--keep", "-5"], &["--keep"]] {
        let (status, complaint) = Setup::new().flags(flags).start_in_vain();
        let refused = status.is_some_and(|s| !s.success()) && complaint.contains("--keep");
        ensure(
            refused,
            format!("phase0 PORT FILE SECONDS {flags:?}"),
            "a complaint about --keep and a non-zero exit code",
            format!("{status:?} {complaint}"),
        );
    }
}

fn line(name: &str, at: i64) -> String {
    format!("{{\"timestamp\":{at},\"value\":\"1\",\"labels\":{{\"__name__\":\"{name}\"}}}}\n")
}
