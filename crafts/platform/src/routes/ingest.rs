//! The ways in. The server takes their requests itself, before the router sees them, as far as it knows their formats: they
//! stand here for the tables, and for the answer where it does not.

use super::Route;
use contracts::http::{ApiError, Response};

/// What Influx clients are told to talk to: its line protocol is what we take.
const INFLUX_VERSION: &str = "1.8-compatible";

pub(crate) fn routes() -> Vec<Route> {
    let paths = ["/metrics", "/write", "/api/v2/write", "/api/v1/import/prometheus", "/api/v1/write"];
    let mut all: Vec<Route> = paths.into_iter().map(not_taken).collect();
    all.push(Route::new("ingest", "GET", "/ping", |_, _| {
        Ok(Response::status(204).with("X-Influxdb-Version", INFLUX_VERSION))
    }));
    all
}

fn not_taken(path: &'static str) -> Route {
    Route::new("ingest", "POST", path, |_, _| {
        let message =
            "this implementation of ingestion takes POST /metrics only; choose another with --ingest";
        Err(ApiError::new(501, "format_not_taken", message))
    })
}
