//! `kill -9`, over and over, at random moments, and a directory that is made read-only under the log: what was acknowledged, read and committed is held against what is found
//! afterwards. See [`conformance::crash`] for what that is.
//!
//! The process that is killed is this program, run once more. `QUEUE_KILL_SECONDS=3600 cargo test --release -p queue --test
//! kill9 -- --nocapture` goes on for an hour; `QUEUE_KILL_SEED` draws the same load again, though not the same moments.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use conformance::crash::{Fault, Ledger, Orders, Plan, Seen, work};
use contracts::queue::Ack;
use fastrand::Rng;
use queue::{FileLog, LogConfig, OpenError};
use std::{
    collections::BTreeSet,
    env,
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Tells the program that it is the one to be killed: where its orders are.
const ORDERS: &str = "QUEUE_KILL_ORDERS";
/// The longest that a life may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);
/// More kills than any fault needs to be found, or the test to have seen everything it should.
const KILLS_MAX: u32 = 500;
const SIGKILL: i32 = 9;

#[test]
fn nothing_that_was_promised_is_lost_by_kill_9() {
    let at_least =
        env::var("QUEUE_KILL_SECONDS").map_or(0, |text| text.parse().expect("a number of seconds"));
    let until = Instant::now() + Duration::from_secs(at_least);
    let mut course = Course::new(None);
    while Instant::now() < until || !course.has_seen_enough() {
        course.kill_once().unwrap_or_else(|why| course.fail(&why));
        let in_vain = course.seen().lives > KILLS_MAX && !course.has_seen_enough();
        assert!(!in_vain, "too little happened: {course:?}");
    }
    course.check().unwrap_or_else(|why| course.fail(&why));
    println!("{course:?}");
}

#[test]
fn who_acknowledges_before_it_writes_is_found_out() {
    is_found_out(Fault::AcknowledgesFirst, &["was acknowledged and is missing"]);
}

#[test]
fn who_repeats_a_batch_without_its_number_is_found_out() {
    is_found_out(Fault::RepeatsAsNew, &["comes again", "was acknowledged at"]);
}

#[test]
fn who_commits_what_it_has_not_read_is_found_out() {
    is_found_out(
        Fault::CommitsUnread,
        &["the group has committed", "the group was handed", "the group was never handed"],
    );
}

/// And for the right reason: in one of these words.
fn is_found_out(fault: Fault, words: &[&str]) {
    let mut course = Course::new(Some(fault));
    let found = (0..KILLS_MAX).find_map(|_| course.kill_once().err());
    let why = found.unwrap_or_else(|| panic!("nobody has noticed: {course:?}"));
    assert!(words.iter().any(|words| why.contains(words)), "{why}");
    println!("{fault:?}: {why}; {course:?}");
}

/// The log needs no new file until it begins a segment, or saves how far its groups came.
#[test]
fn a_directory_that_is_made_read_only_is_named_and_nothing_is_lost() {
    let mut course = Course::new(None);
    let life = course.next_life();
    fs::create_dir(log_dir(course.dir.path())).unwrap();
    let user = User::bound_by_permissions(course.dir.path());
    let mut process = Process::start(&life, Some(&user));
    // The first producer has had an answer, and noted it.
    process.wait_until(&life, || fs::metadata(life.join("plain-0.notes")).is_ok_and(|notes| notes.len() > 0));
    fs::set_permissions(log_dir(course.dir.path()), Permissions::from_mode(0o555)).unwrap();
    let said = process.wait_until_it_ends(&life);
    fs::set_permissions(log_dir(course.dir.path()), Permissions::from_mode(0o755)).unwrap();
    let path = log_dir(course.dir.path()).display().to_string();
    assert!(said.contains(&path) && said.contains("Permission denied"), "{said}");
    course.ledger.hear(&life).and_then(|()| course.check()).unwrap_or_else(|why| course.fail(&why));
    assert!(course.seen().acknowledged > 0, "{course:?}");
}

/// Not a test: what is killed. Run by hand it has no orders.
#[test]
#[ignore = "the process that the others kill"]
fn the_process_that_is_killed() {
    let Some(life) = env::var_os(ORDERS).map(PathBuf::from) else { return };
    let orders: Orders = serde_json::from_slice(&fs::read(life.join("orders.json")).unwrap()).unwrap();
    let (log, _) = FileLog::open(&log_dir(life.parent().unwrap()), config(orders.plan.seed)).unwrap();
    fs::write(life.join("open"), "").unwrap();
    let errors = work(&log, &orders, &life, &AtomicBool::new(false)).unwrap();
    panic!("it should have been killed, and ended with {errors:?}");
}

/// A log of several partitions, in segments so small that they are begun, dropped and used again all the time, bounded so
/// that producers have to wait for members, and with a timeout that members who are silent exceed.
fn config(seed: u64) -> LogConfig {
    let mut rng = Rng::with_seed(seed);
    LogConfig {
        partitions: rng.u32(2..6),
        segment_bytes_max: rng.u64(32 << 10..256 << 10),
        retained_bytes_max: 2 << 20,
        heartbeat_timeout: Duration::from_millis(200),
        ..LogConfig::for_groups(&[conformance::crash::GROUP])
    }
}

fn log_dir(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// One log, and all lives of the process that has it.
struct Course {
    rng: Rng,
    seed: u64,
    dir: TempDir,
    ledger: Ledger,
    /// Every segment that was ever seen, by its name.
    segments: BTreeSet<String>,
    /// Openings that had something to cut off.
    torn: u32,
}

impl Course {
    fn new(fault: Option<Fault>) -> Self {
        let seed = env::var("QUEUE_KILL_SEED")
            .map_or_else(|_| fastrand::u64(..1 << 32), |text| text.parse().unwrap());
        println!("seed {seed}");
        let plan =
            Plan { seed, plain: vec![Ack::Disk, Ack::Disk, Ack::Os], identified: 2, members: 3, fault };
        Self {
            rng: Rng::with_seed(seed),
            seed,
            dir: tempfile::tempdir().unwrap(),
            ledger: Ledger::new(plan),
            segments: BTreeSet::new(),
            torn: 0,
        }
    }

    fn seen(&self) -> Seen {
        self.ledger.seen()
    }

    /// Whether what may break has happened, and more than once.
    fn has_seen_enough(&self) -> bool {
        let Seen { lives, checks, acknowledged, retired, repeated, .. } = self.seen();
        let in_the_log = retired > 0 && repeated > 0 && self.segments.len() >= 8;
        lives >= 15 && checks >= 8 && acknowledged >= 200 && in_the_log
    }

    /// A life of the process, and mostly a check of what it leaves: not always, so that one kill is found by another
    /// opening than that of the check.
    fn kill_once(&mut self) -> Result<(), String> {
        let life = self.next_life();
        let mut process = Process::start(&life, None);
        if self.rng.u32(..4) > 0 {
            process.wait_until_open(&life);
            let other = FileLog::open(&log_dir(self.dir.path()), config(self.seed)).map(drop);
            assert!(matches!(other, Err(OpenError::Locked { .. })), "{other:?}");
        }
        // From the time of an fsync to that of many segments.
        thread::sleep(Duration::from_secs_f64(10_f64.powf(-3.5 + 3.5 * self.rng.f64())));
        process.kill();
        self.look_around();
        self.ledger.hear(&life)?;
        fs::remove_dir_all(&life).unwrap();
        if self.rng.u32(..3) > 0 { self.check() } else { Ok(()) }
    }

    /// A directory with what the next life is to do.
    fn next_life(&self) -> PathBuf {
        let orders = self.ledger.orders();
        let life = self.dir.path().join(format!("life-{}", orders.life));
        fs::create_dir(&life).unwrap();
        fs::write(life.join("orders.json"), serde_json::to_vec(&orders).unwrap()).unwrap();
        life
    }

    fn check(&mut self) -> Result<(), String> {
        let opened = FileLog::open(&log_dir(self.dir.path()), config(self.seed));
        let (log, recovery) = opened.map_err(|error| error.to_string())?;
        if !recovery.gaps.is_empty() || recovery.groups_lost.is_some() {
            return Err(recovery.to_string());
        }
        self.torn += u32::from(recovery.cut.is_some());
        self.ledger.check(&log)
    }

    fn look_around(&mut self) {
        let Ok(files) = fs::read_dir(log_dir(self.dir.path())) else { return };
        let names = files.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        self.segments.extend(names.filter(|name| name.ends_with(".log")));
    }

    /// The directory stays, for who wants to know more.
    fn fail(&mut self, why: &str) -> ! {
        self.dir.disable_cleanup(true);
        panic!("{why}: {self:?}; see {}", self.dir.path().display());
    }
}

impl std::fmt::Debug for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, torn, segments, .. } = self;
        write!(f, "seed {seed}, {:?}, {} segments, {torn} torn ends", self.seen(), segments.len())
    }
}

/// The process that is killed; never left behind.
struct Process(Child);

impl Process {
    fn start(life: &Path, user: Option<&User>) -> Self {
        let mut command = match user {
            Some(user) => user.command(),
            None => Command::new(env::current_exe().unwrap()),
        };
        command.args(["--exact", "--ignored", "the_process_that_is_killed"]);
        let said = fs::File::create(life.join("said")).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        Self(command.env(ORDERS, life).spawn().unwrap())
    }

    fn wait_until_open(&mut self, life: &Path) {
        self.wait_until(life, || life.join("open").exists());
    }

    fn wait_until(&mut self, life: &Path, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            let ended = self.0.try_wait().unwrap();
            let said = || fs::read_to_string(life.join("said")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", said());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// By itself; returns what it has said.
    fn wait_until_it_ends(mut self, life: &Path) -> String {
        let deadline = Instant::now() + PATIENCE;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it goes on");
            thread::sleep(Duration::from_millis(5));
        }
        fs::read_to_string(life.join("said")).unwrap()
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "it ended by itself: {status}");
    }
}

/// Somebody whom permissions bind: not root.
struct User {
    program: PathBuf,
    /// Another one than the user of this process.
    id: Option<u32>,
}

impl User {
    /// Who may write in this directory and in those that are there.
    fn bound_by_permissions(dir: &Path) -> Self {
        const NOBODY: u32 = 65_534;
        let program = env::current_exe().unwrap();
        if fs::metadata(dir).unwrap().uid() != 0 {
            return Self { program, id: None };
        }
        // Where root has built it nobody else may come.
        let copy = dir.join("program");
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        for entry in fs::read_dir(dir).unwrap() {
            chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { program: copy, id: Some(NOBODY) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(id) = self.id {
            command.uid(id).gid(id);
        }
        command
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
