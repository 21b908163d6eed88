//! `kill -9` in the middle of a load, and then: is everything there that was promised?
//!
//! The samples of a load are a pure function of their place in it, so nothing is remembered but each request's fate.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

#[path = "../common/mod.rs"]
mod common;

mod acknowledged;
mod pipeline;
mod queue;

use common::PATIENCE;
use load_tester::{
    fates::Fates,
    format::FormatName,
    sample::Identity,
    verify::{Check, Verified, verify},
    workload::{Load, Until, Workload},
};
use std::{net::TcpListener, time::Duration};

/// Samples in a request.
const BATCH: usize = 3;

/// A few clients that send as fast as they are answered, and go on when the server comes back, until they are stopped.
fn workload(url: &str, identity: &Identity) -> Workload {
    Workload {
        target: format!("{url}/metrics").parse().unwrap(),
        load: Load::Closed { until: Until::Elapsed(PATIENCE) },
        clients: 8,
        threads: 1,
        batch: BATCH,
        pipeline: 1,
        keep_alive: true,
        connect_first: false,
        format: FormatName::Json,
        identity: identity.clone(),
        request_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        verify: true,
        token: None,
    }
}

/// Asks for every sample of a load, for so long as some may still be on their way.
fn check(url: &str, identity: &Identity, fates: &[Fates], timeout: Duration) -> Verified {
    verify(&Check {
        target: &format!("{url}/query").parse().unwrap(),
        token: None,
        identity,
        batch: BATCH,
        fates,
        timeout,
        window_samples: 100_000,
    })
    .unwrap()
}

/// An address that is free now: a service that is started again must be found where it was.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
