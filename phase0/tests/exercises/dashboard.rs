//! A page of latest values.

use super::support::{
    ensure, now_ms,
    server::{Server, Setup},
};
use serde_json::json;

#[test]
#[ignore = "an exercise"]
fn the_page_shows_the_latest_value_of_each_series() {
    let server = Setup::new().start();
    let now = now_ms();
    // Not in the order of time: the latest is not the last to arrive.
    for (core, value, age_ms) in
        [("zero", 11.125, 3_000), ("zero", 22.25, 1_000), ("zero", 33.375, 2_000), ("one", 44.5, 2_000)]
    {
        server.send(
            &json!({ "name": "temp", "value": value, "timestamp": now - age_ms, "labels": { "core": core } }),
        );
    }
    server.send(&json!({ "name": "mem", "value": 55.625, "timestamp": now - 1_000 }));
    server.wait_for_points("temp", 4);
    server.wait_for_points("mem", 1);
    let page = server.get("/");
    let kind = page.header("content-type").unwrap_or_default().to_owned();
    ensure(
        page.status == 200 && kind.starts_with("text/html"),
        "GET /",
        "200 and text/html",
        format!("{kind} {page}"),
    );
    for (words, value) in [(&["temp", "zero"][..], "22.25"), (&["temp", "one"], "44.5"), (&["mem"], "55.625")]
    {
        shows(&server, words, value);
    }
    for old in ["11.125", "33.375"] {
        let page = server.get("/");
        ensure(!page.body.contains(old), "GET /", format!("{old} is not shown: 22.25 is later"), page);
    }
    server.send(&json!({ "name": "mem", "value": 66.75, "timestamp": now }));
    server.wait_for_points("mem", 2);
    shows(&server, &["mem"], "66.75");
}

#[test]
#[ignore = "an exercise"]
fn labels_are_text_and_never_markup() {
    let server = Setup::new().start();
    let evil = r#"<script>alert("1")</script> & co"#;
    server.send(&json!({ "name": "evil", "value": 77.5, "labels": { "who": evil } }));
    server.wait_for_points("evil", 1);
    let page = server.get("/");
    let escaped = page.body.contains("&lt;script&gt;") && page.body.contains("&amp; co");
    ensure(
        escaped && !page.body.contains("<script>alert"),
        format!("a label with the value {evil:?}; GET /"),
        "&lt;script&gt; and &amp;: a stranger's text must not run in your browser",
        page,
    );
}

/// Some row of the page's table holds all of this.
fn shows(server: &Server, words: &[&str], value: &str) {
    let page = server.get("/");
    let mut rows = page.body.split("<tr").skip(1).map(|row| row.split("</tr").next().unwrap_or_default());
    let found = rows.any(|row| words.iter().all(|word| row.contains(word)) && row.contains(value));
    ensure(found, format!("samples of {words:?}; GET /"), format!("a <tr> with {words:?} and {value}"), page);
}
