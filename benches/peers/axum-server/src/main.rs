//! What one would write today instead: axum, serde_json, one thread. It parses the sample, and answers 202.
//!
//! It neither limits clients nor hands anything on: whatever it is slower by is not for doing more.

use axum::{Router, body::Bytes, http::StatusCode, routing::post, serve::ListenerExt};
use serde::Deserialize;
use std::{collections::BTreeMap, hint::black_box, io};
use tokio::{net::TcpListener, runtime::Builder};

/// The pipeline's sample, as serde reads it.
#[derive(Deserialize)]
#[allow(dead_code)] // parsing them is the work
struct Sample {
    timestamp: i64,
    name: String,
    value: f64,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    client_id: String,
}

async fn ingest(body: Bytes) -> StatusCode {
    match serde_json::from_slice::<Sample>(&body) {
        Ok(sample) => {
            black_box(sample);
            StatusCode::ACCEPTED
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    // Nagle's algorithm would hold small answers back; that it cannot be set is no reason to stop.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, Router::new().route("/metrics", post(ingest))).await
}

fn main() -> io::Result<()> {
    Builder::new_current_thread().enable_io().enable_time().build()?.block_on(serve())
}
