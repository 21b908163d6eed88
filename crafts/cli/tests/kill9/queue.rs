//! A queue service is killed while producers and members of a group talk to it over HTTP. See [`conformance::crash`] for
//! what is held against its log then.

use super::common::Running;
use conformance::crash::{GROUP, Ledger, Orders, Plan, work};
use contracts::queue::{Ack, LogError};
use fastrand::Rng;
use platform::remote::{Client, RemoteLog};
use queue::{FileLog, LogConfig};
use rustix::process::Signal;
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

const PARTITIONS: u32 = 3;
/// As many as it takes until something was acknowledged in that many lives.
const LIVES: u32 = 6;
const LIVES_MAX: u32 = 60;

#[test]
fn a_queue_service_keeps_what_it_has_promised_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..1 << 32);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let plan = Plan { seed, plain: vec![Ack::Disk, Ack::Os], identified: 2, members: 2, fault: None };
    let mut ledger = Ledger::new(plan);
    let mut fruitful = 0;
    while fruitful < LIVES {
        assert!(ledger.seen().lives < LIVES_MAX, "seed {seed}: too little happened: {:?}", ledger.seen());
        let before = ledger.seen().acknowledged;
        let notes = dir.path().join("notes");
        fs::create_dir(&notes).unwrap();
        live(&dir.path().join("data"), &ledger.orders(), &notes, Duration::from_millis(rng.u64(10..700)));
        ledger
            .hear(&notes)
            .and_then(|()| check(&mut ledger, &dir.path().join("data")))
            .unwrap_or_else(|why| panic!("seed {seed}: {why}: {:?}", ledger.seen()));
        fs::remove_dir_all(&notes).unwrap();
        fruitful += u32::from(ledger.seen().acknowledged > before);
    }
    println!("{:?}", ledger.seen());
}

/// A life of the service, under a load that ends when it does.
fn live(data: &Path, orders: &Orders, notes: &Path, time: Duration) {
    let partitions = PARTITIONS.to_string();
    let service = Running::node(&["serve", "queue", "--partitions", &partitions], data);
    let log = RemoteLog::new(Client::new(&service.url, None).unwrap());
    let stop = AtomicBool::new(false);
    let errors = thread::scope(|scope| {
        let load = scope.spawn(|| work(&log, orders, notes, &stop).unwrap());
        thread::sleep(time);
        service.signal(Signal::KILL);
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    let other: Vec<_> = errors.iter().filter(|error| !matches!(error, LogError::Failed(_))).collect();
    assert!(other.is_empty(), "{other:?}");
}

fn check(ledger: &mut Ledger, data: &Path) -> Result<(), String> {
    let config = LogConfig { partitions: PARTITIONS, ..LogConfig::for_groups(&["storage", GROUP]) };
    let (log, recovery) = FileLog::open(&data.join("queue"), config).map_err(|error| error.to_string())?;
    assert!(recovery.gaps.is_empty() && recovery.groups_lost.is_none(), "{recovery}");
    ledger.check(&log)
}
