//! The whole pipeline is killed while the load tester sends, started again where it was, and killed again: every sample
//! that was acknowledged can be queried, once.

use super::{
    check,
    common::{PATIENCE, Running},
    free_address, workload,
};
use fastrand::Rng;
use load_tester::{Outcome, sample::Identity};
use rustix::process::Signal;
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// How often each service is killed.
const KILLS: usize = 3;

#[test]
fn a_pipeline_in_one_process_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Service::new(&["up", "--no-agent"], &dir.path().join("up"));
    let identity = identity("load_up");
    let mut rng = seeded();
    let outcome = under_load(&up.url(), &identity, || {
        for _ in 0..KILLS {
            take_time(&mut rng);
            up.kill_and_start_again();
        }
        take_time(&mut rng);
    });
    all_there_once(&up.url(), &identity, &outcome);
    up.ends_well();
}

#[test]
fn a_pipeline_of_services_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = Service::new(&["serve", "queue"], &dir.path().join("queue"));
    let mut storage =
        Service::new(&["serve", "storage", "--queue", &queue.url()], &dir.path().join("storage"));
    let mut ingest = Service::new(&["serve", "ingest", "--queue", &queue.url()], &dir.path().join("ingest"));
    let query = Service::new(&["serve", "query", "--storage", &storage.url()], &dir.path().join("query"));
    let identity = identity("load_services");
    let mut rng = seeded();
    let mut turns: Vec<usize> = (0..3 * KILLS).map(|turn| turn % 3).collect();
    rng.shuffle(&mut turns);
    let outcome = under_load(&ingest.url(), &identity, || {
        for turn in turns {
            take_time(&mut rng);
            [&mut queue, &mut storage, &mut ingest][turn].kill_and_start_again();
        }
        take_time(&mut rng);
    });
    all_there_once(&query.url(), &identity, &outcome);
    for service in [ingest, query, storage, queue] {
        service.ends_well();
    }
}

fn identity(name: &str) -> Identity {
    Identity { name: name.to_owned(), seed: 9, base_ms: 1_763_689_000_000 }
}

fn seeded() -> Rng {
    let seed = fastrand::u64(..1 << 32);
    println!("seed {seed}");
    Rng::with_seed(seed)
}

/// Some time in which a load goes on.
fn take_time(rng: &mut Rng) {
    thread::sleep(Duration::from_millis(rng.u64(20..400)));
}

/// Runs a load for as long as `act` takes.
fn under_load(url: &str, identity: &Identity, act: impl FnOnce()) -> Outcome {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| load_tester::run(&workload(url, identity), &stop, &mut |_| {}).unwrap());
        act();
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    })
}

fn all_there_once(url: &str, identity: &Identity, outcome: &Outcome) {
    let unanswered: u64 = outcome.seconds.iter().map(|second| second.unanswered).sum();
    assert!(unanswered > 0, "no kill has hit the load: {:?}", outcome.tally);
    let verified = check(url, identity, &outcome.fates, PATIENCE);
    println!("{unanswered} requests were not answered; {verified:?}");
    assert!(verified.accepted > 0 && verified.holds(), "{verified:?}; {:?}", outcome.tally);
}

/// A service with an address and a directory of its own, which it keeps when it is started again.
struct Service {
    args: Vec<String>,
    address: String,
    data: PathBuf,
    running: Option<Running>,
}

impl Service {
    fn new(args: &[&str], data: &Path) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut service = Self { args, address: free_address(), data: data.to_owned(), running: None };
        service.start();
        service
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn start(&mut self) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.running = Some(Running::node_on(&self.address, &args, &self.data));
    }

    fn kill_and_start_again(&mut self) {
        let running = self.running.take().unwrap();
        running.signal(Signal::KILL);
        drop(running);
        self.start();
    }

    fn ends_well(mut self) {
        let running = self.running.take().unwrap();
        let (code, said) = running.interrupt();
        assert_eq!(code, Some(0), "{said}");
    }
}
