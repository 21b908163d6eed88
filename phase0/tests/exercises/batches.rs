//! One write and one sync for many records.

use super::support::{
    ensure,
    server::{Server, Setup},
    wait_for,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A consumer gathers for at least this long …
const GATHER: Duration = Duration::from_millis(100);
/// … or until it has this many records.
const GATHER_RECORDS: u128 = 10;

#[test]
#[ignore = "an exercise"]
fn many_records_share_a_write_and_a_sync() {
    const BURSTS: u32 = 3;
    const RECORDS: u32 = 300;
    let server = Setup::new().traced().start();
    let nothing = server.get("/stats");
    let right = nothing.json() == json!({ "records": 0, "writes": 0, "syncs": 0 });
    ensure(right, "GET /stats at first", r#"{"records":0,"writes":0,"syncs":0}"#, nothing);

    let begun = Instant::now();
    for i in 0..RECORDS {
        // Two series in each record, and others in the next: whoever mixes up the tables mixes up these.
        server.send(&json!([numbered(2 * i), numbered(2 * i + 1)]));
        if (i + 1) % (RECORDS / BURSTS) == 0 {
            server.wait_for_points("b", 2 * (i as usize + 1));
        }
    }
    let gathered = begun.elapsed().as_millis() / GATHER.as_millis();
    let most = u128::from(RECORDS) / GATHER_RECORDS + gathered;
    let stats = settled_stats(&server, RECORDS.into());
    let sent = format!("{RECORDS} requests with two metrics each, in {BURSTS} bursts; GET /stats");
    for what in ["writes", "syncs"] {
        let count = stats[what].as_u64().map(u128::from);
        ensure(
            count.is_some_and(|n| n <= most),
            &sent,
            format!(
                "at most {most} {what}: one for {GATHER_RECORDS} records or for {GATHER:?}, whichever is more"
            ),
            &stats,
        );
        ensure(
            count.is_some_and(|n| n >= u128::from(BURSTS)),
            &sent,
            format!("at least {BURSTS} {what}, since each burst was stored before the next one began"),
            &stats,
        );
    }
    in_order(&server, 2 * RECORDS);
    is_what_was_traced(&server, &stats);
}

/// A sample that says in all its parts which one it is.
fn numbered(i: u32) -> Value {
    json!({ "name": "b", "value": i, "timestamp": i, "labels": { "i": (i % 7).to_string() } })
}

/// What is visible already may be counted a moment later.
fn settled_stats(server: &Server, records: u64) -> Value {
    let mut stats = Value::Null;
    wait_for(|| {
        stats = server.get("/stats").json();
        (stats["records"] == records && stats["syncs"].as_u64() >= Some(1)).then_some(())
    });
    let right = stats["records"] == records;
    ensure(
        right,
        format!("{records} requests, all visible; GET /stats"),
        format!("\"records\":{records}"),
        &stats,
    );
    stats
}

/// Gathering must not shuffle, lose, repeat or mix up.
fn in_order(server: &Server, count: u32) {
    let lines = server.file_lines();
    let parsed = |line: &String| serde_json::from_str::<Value>(line).unwrap_or_default();
    let stored: Vec<_> = lines.iter().map(parsed).collect();
    let expected = (0..count).map(|i| {
        json!({ "timestamp": i, "value": i.to_string(), "labels": { "__name__": "b", "i": (i % 7).to_string() } })
    });
    let differs = expected.zip(&stored).find(|(expected, stored)| expected != *stored);
    ensure(
        stored.len() == count as usize && differs.is_none(),
        format!(
            "{count} samples with the timestamps and values 0, 1, 2, …, of the series i = timestamp modulo 7"
        ),
        "each once in the file, in the order sent",
        format!("{} lines; the first that differs: {differs:?} (expected, stored)", lines.len()),
    );
}

/// Where strace may trace, a counter that lies is found out.
fn is_what_was_traced(server: &Server, stats: &Value) {
    let Some(mut traced) = server.traced() else { return };
    let (writes, syncs) = (stats["writes"].as_u64(), stats["syncs"].as_u64());
    let count = |traced: &[&str], deed: &str| Some(traced.iter().filter(|d| **d == deed).count() as u64);
    wait_for(|| {
        traced = server.traced().unwrap_or_default();
        (count(&traced, "sync") >= syncs).then_some(())
    });
    ensure(
        count(&traced, "write") == writes && count(&traced, "sync") == syncs,
        "strace -f -P FILE -e trace=write,fdatasync phase0 …",
        format!("as many calls as /stats counts: {stats}"),
        format!("{:?} writes and {:?} syncs", count(&traced, "write"), count(&traced, "sync")),
    );
    let safe = traced.last() == Some(&"sync");
    ensure(safe, "the same", "the last thing done to the file is a sync", format!("{traced:?}"));
}
