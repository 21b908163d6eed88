//! Every component of phase 0 against the suite of its contract.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::{queue::Log, storage::Storage};
use phase0::{alert::PolledAlerter, query::SelectorEngine, queue::MemoryLog, storage::JsonLines};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A new file each time, below a directory that this run has emptied.
fn fresh_storage(dir: &'static str) -> impl Fn() -> Arc<JsonLines> + Send + Sync + 'static {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(dir);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let count = AtomicUsize::new(0);
    move || {
        let name = format!("{}.jsonl", count.fetch_add(1, Ordering::Relaxed));
        Arc::new(JsonLines::open(&dir.join(name)).unwrap())
    }
}

#[test]
fn the_queue_keeps_its_contract() {
    conformance::queue::check(|| Arc::new(MemoryLog::default()) as Arc<dyn Log>).assert_all_hold();
}

#[test]
fn storage_keeps_its_contract() {
    let open = fresh_storage("conformance-storage");
    conformance::storage::check(move || open() as Arc<dyn Storage>).assert_all_hold();
}

#[test]
fn the_query_engine_keeps_its_contract() {
    let open = fresh_storage("conformance-query");
    conformance::query::check(move || {
        let storage = open();
        (storage.clone(), Arc::new(SelectorEngine::new(storage)))
    })
    .assert_all_hold();
}

#[test]
fn the_alerter_keeps_its_contract() {
    let open = fresh_storage("conformance-alert");
    conformance::alert::check(move |notifier| {
        let storage = open();
        let engine = Arc::new(SelectorEngine::new(storage.clone()));
        (storage, Arc::new(PolledAlerter::new(engine, notifier)))
    })
    .assert_all_hold();
}
