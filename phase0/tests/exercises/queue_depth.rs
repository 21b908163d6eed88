//! How much waits in the queue.

use super::support::{
    client, ensure,
    server::{Server, Setup},
    wait_for,
};
use serde_json::{Value, json};

#[test]
#[ignore = "an exercise"]
fn what_the_consumer_cannot_write_is_counted() {
    let server = Setup::new().disk_full().start();
    depth_is(&server, 0, "nothing, to a phase0 whose disk is full");
    for _ in 0..3 {
        server.send(&json!({ "name": "a", "value": 1 }));
    }
    depth_is(&server, 3, "3 requests with a metric each, to a phase0 whose disk is full");
    server.send(&Value::from(vec![json!({ "name": "a", "value": 1 }); 10]));
    depth_is(&server, 4, "one more request with 10 metrics: a request is a record, whatever it holds");
    let refused = client::post(server.port, "/depth", "");
    let allow = refused.header("allow").map(str::to_owned);
    let right = refused.status == 405 && allow.as_deref() == Some("GET");
    ensure(right, "POST /depth", "405 with Allow: GET", format!("{refused}, Allow: {allow:?}"));
}

#[test]
#[ignore = "an exercise"]
fn what_is_stored_is_not_counted() {
    let server = Setup::new().start();
    for value in 0..20 {
        server.send(&json!({ "name": "a", "value": value, "timestamp": value }));
    }
    server.wait_for_points("a", 20);
    depth_is(&server, 0, "20 requests, all of which can be queried");
}

/// Looks until it is so: what is visible already may be committed a moment later.
fn depth_is(server: &Server, records: u64, sent: &str) {
    let mut seen = server.get("/depth");
    wait_for(|| {
        seen = server.get("/depth");
        // Without the route, there is nothing to wait for.
        (seen.status != 200 || seen.json() == json!({ "records": records })).then_some(())
    });
    let right = seen.status == 200 && seen.json() == json!({ "records": records });
    ensure(right, format!("{sent}; GET /depth"), format!("200 {{\"records\":{records}}}"), seen);
}
