//! The same suites against the HTTP form: a client in the slot, a service behind it.
//!
//! Storage stands behind one service; the query engine and the alerter behind two.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::{alert::Notifier, query::QueryEngine, queue::Log, storage::Storage};
use platform::{
    Node, NodeConfig, Role,
    remote::{Client, RemoteAlerter, RemoteLog, RemoteQuery, RemoteStorage},
};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Nodes live until the test program ends: a suite does not say when it is done with one.
static NODES: Mutex<Vec<Node>> = Mutex::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Starts one service on a free port and returns a client of it.
fn serve(role: Role, adjust: impl FnOnce(&mut NodeConfig)) -> Client {
    let dir = format!("conformance-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(dir);
    let _ = std::fs::remove_dir_all(&dir);
    let mut config = NodeConfig::serve(role, ([127, 0, 0, 1], 0).into(), dir);
    config.rules.clear();
    // The suites say when to evaluate.
    config.evaluate_every = Duration::from_secs(3600);
    adjust(&mut config);
    let node = Node::start(&config).unwrap();
    let client = Client::new(&format!("http://{}", node.addr()), None).unwrap();
    NODES.lock().unwrap().push(node);
    client
}

fn serve_query(storage: &Client) -> Client {
    let url = storage.base().to_owned();
    serve(Role::Query, |config| drop(config.chosen.insert(Role::Storage, url)))
}

/// With an engine of its own, which reads from the storage service.
fn serve_alert(storage: &Client, notifier: Arc<dyn Notifier>) -> Client {
    let url = storage.base().to_owned();
    serve(Role::Alert, |config| {
        config.roles = vec![Role::Query, Role::Alert];
        config.chosen.insert(Role::Storage, url);
        config.notifier = notifier;
    })
}

#[test]
fn the_queue_service_keeps_its_contract() {
    let open = || Arc::new(RemoteLog::new(serve(Role::Queue, |_| {}))) as Arc<dyn Log>;
    conformance::queue::check(open).assert_all_hold();
}

#[test]
fn the_storage_service_keeps_its_contract() {
    let open = || Arc::new(RemoteStorage::new(serve(Role::Storage, |_| {}))) as Arc<dyn Storage>;
    conformance::storage::check(open).assert_all_hold();
}

#[test]
fn the_query_service_keeps_its_contract() {
    conformance::query::check(|| {
        let storage = serve(Role::Storage, |_| {});
        let engine: Arc<dyn QueryEngine> = Arc::new(RemoteQuery::new(serve_query(&storage)));
        (Arc::new(RemoteStorage::new(storage)), engine)
    })
    .assert_all_hold();
}

#[test]
fn the_alert_service_keeps_its_contract() {
    conformance::alert::check(|notifier| {
        let storage = serve(Role::Storage, |_| {});
        let alerter = serve_alert(&storage, notifier);
        (Arc::new(RemoteStorage::new(storage)), Arc::new(RemoteAlerter::new(alerter)))
    })
    .assert_all_hold();
}
