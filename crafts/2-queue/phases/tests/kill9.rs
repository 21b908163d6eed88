//! `kill -9`, over and over, of a process that has a phase's log open on real files: what was acknowledged, read and
//! committed is held against what is found afterwards. See [`conformance::crash`] for what that is. The final form has a test
//! of its own, with more in it.
//!
//! The process that is killed is this program, run once more.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use conformance::crash::{GROUP, Ledger, Orders, Plan, work};
use contracts::queue::Ack;
use fastrand::Rng;
use queue::LogConfig;
use queue_phases::PHASES;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

/// Tells the program that it is the one to be killed: where its orders are, and of which phase.
const ORDERS: &str = "QUEUE_PHASE_ORDERS";
const PHASE: &str = "QUEUE_PHASE";
const PATIENCE: Duration = Duration::from_secs(60);
/// Each of them after a life long enough to have acknowledged something.
const KILLS: u32 = 8;

#[test]
fn files_outlive_their_process() {
    outlives_its_process(1);
}

#[test]
fn a_write_ahead_log_outlives_its_process() {
    outlives_its_process(2);
}

#[test]
fn segments_outlive_their_process() {
    outlives_its_process(3);
}

#[test]
fn grouped_commits_outlive_their_process() {
    outlives_its_process(4);
}

fn outlives_its_process(phase: usize) {
    let seed = fastrand::u64(..1 << 32);
    println!("seed {seed}");
    let (mut rng, dir) = (Rng::with_seed(seed), tempfile::tempdir().unwrap());
    let plain = vec![Ack::Disk, Ack::Disk, Ack::Os];
    let mut ledger = Ledger::new(Plan { seed, plain, identified: 0, members: 1, fault: None });
    for _ in 0..KILLS {
        let orders = ledger.orders();
        let life = dir.path().join(format!("life-{}", orders.life));
        fs::create_dir(&life).unwrap();
        fs::write(life.join("orders.json"), serde_json::to_vec(&orders).unwrap()).unwrap();
        let mut process = Process::start(&life, phase);
        process.wait_until_open(&life);
        thread::sleep(Duration::from_millis(rng.u64(1..300)));
        drop(process);
        let held = ledger.hear(&life).and_then(|()| check(phase, seed, dir.path(), &mut ledger));
        held.unwrap_or_else(|why| panic!("phase {phase}, seed {seed}: {why}"));
    }
    let seen = ledger.seen();
    assert!(seen.acknowledged > 0 && seen.records > 0, "nothing was seen: {seen:?}");
}

fn check(phase: usize, seed: u64, dir: &Path, ledger: &mut Ledger) -> Result<(), String> {
    let opened = (PHASES[phase].open)(&dir.join("log"), config(seed)).map_err(|e| e.to_string())?;
    if !opened.recovery.gaps.is_empty() || opened.recovery.groups_lost.is_some() {
        return Err(opened.recovery.to_string());
    }
    ledger.check(&*opened.log)
}

/// In segments so small that they, or what stands for them, come and go all the time.
fn config(seed: u64) -> LogConfig {
    let mut rng = Rng::with_seed(seed);
    LogConfig {
        partitions: rng.u32(1..4),
        segment_bytes_max: rng.u64(32 << 10..256 << 10),
        retained_bytes_max: 2 << 20,
        ..LogConfig::for_groups(&[GROUP])
    }
}

/// Not a test: what is killed. Run by hand it has no orders.
#[test]
#[ignore = "the process that the others kill"]
fn the_process_that_is_killed() {
    let Some(life) = env::var_os(ORDERS).map(PathBuf::from) else { return };
    let phase: usize = env::var(PHASE).unwrap().parse().unwrap();
    let orders: Orders = serde_json::from_slice(&fs::read(life.join("orders.json")).unwrap()).unwrap();
    let dir = life.parent().unwrap().join("log");
    let opened = (PHASES[phase].open)(&dir, config(orders.plan.seed)).unwrap();
    fs::write(life.join("open"), "").unwrap();
    let errors = work(&*opened.log, &orders, &life, &AtomicBool::new(false)).unwrap();
    panic!("it should have been killed, and ended with {errors:?}");
}

/// The process; killed when this is dropped.
struct Process(Child);

impl Process {
    fn start(life: &Path, phase: usize) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "--ignored", "the_process_that_is_killed"]);
        let said = fs::File::create(life.join("said")).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        Self(command.env(ORDERS, life).env(PHASE, phase.to_string()).spawn().unwrap())
    }

    fn wait_until_open(&mut self, life: &Path) {
        let deadline = Instant::now() + PATIENCE;
        while !life.join("open").exists() {
            let ended = self.0.try_wait().unwrap();
            let said = || fs::read_to_string(life.join("said")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", said());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
