//! `craft book` as it is typed, and the book as `craft up` serves it.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{Running, output, text};
use serde_json::Value;

#[test]
fn a_book_that_is_built_while_the_pipeline_runs_is_served_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let book = dir.path().join("book");
    let book = book.to_str().unwrap();
    let up = Running::node(&["up", "--no-agent", "--book", book], &dir.path().join("data"));
    let (status, answer) = up.get("/book/");
    assert_eq!(status, 404);
    let advice = answer["error"]["message"].as_str().unwrap();
    assert!(advice.contains("cargo craft book"), "{advice}");

    let built = output(&["book", "--out", book]);
    assert!(built.status.success(), "{}", text(&built.stderr));
    assert_eq!(text(&built.stdout).trim_end(), format!("{book}/index.html"));

    // Without the slash too: it is told where to go.
    for path in ["/book", "/book/", "/book/ingest/single-pass-json.html"] {
        let (status, page) = up.get(path);
        let Value::String(page) = page else { panic!("{path} is no page: {page}") };
        assert_eq!(status, 200, "{path}");
        assert!(page.contains("Systems Craft"), "{path}: {page}");
    }
    assert_eq!(up.get("/book/ingest/none.html").0, 404);
    assert_eq!(up.get("/book/%2e%2e/data/.writable").0, 404);

    let again = output(&["book", "--out", book]);
    assert!(again.status.success(), "a book of ours is replaced: {}", text(&again.stderr));
}
