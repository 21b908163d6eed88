//! What the ten exercises ask for, checked from outside: a module for each, called like its folder in `labs/phase0/`.
//!
//! `craft lab check` builds them against what the learner wrote and runs those of one exercise. Here, against phase 0 as
//! it stands, they would all fail, and so they are ignored. A failure says what was sent, what was expected and what was
//! observed.

mod support;

mod back_off;
mod batches;
mod dashboard;
mod expiry;
mod load_tester;
mod percentiles;
mod queue_depth;
mod request_log;
mod told_once;
mod value_range;

use serde_json::json;
use support::{ensure, server::Setup, wait_for};

#[test]
fn the_checks_find_a_whole_pipeline() {
    let server = Setup::new().alerting().start();
    server.send(&json!([{ "name": "a", "value": 1 }, { "name": "cpu_usage", "value": 95 }]));
    server.wait_for_points("a", 1);
    let told = wait_for(|| server.stdout().into_iter().find(|line| line.contains("FIRING")));
    ensure(told.is_some(), "cpu_usage 95", "a line with FIRING", server.stdout().join("\n"));
}
