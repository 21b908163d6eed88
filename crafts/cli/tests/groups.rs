//! A consumer group of real processes: one is killed, one stands still for too long. The others take over, nothing is lost,
//! and nothing is handed to two members of one generation.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{Running, craft, post, text, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read},
    process::Child,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

const GROUP: &str = "readers";
const PARTITIONS: u64 = 8;
/// What the queue is told: long enough for a busy machine to keep its members, short enough to wait for.
const HEARTBEAT_TIMEOUT_S: &str = "3";

/// A record as a member printed it: generation, partition, offset.
type Printed = (u64, u64, u64);

/// A process of `craft queue tail` that is a member of the group.
struct Member {
    child: Child,
    printed: Arc<Mutex<Vec<(Printed, String)>>>,
    reader: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<String>>,
}

impl Member {
    fn start(queue: &Running, name: &str) -> Self {
        let args =
            ["queue", "tail", "--follow", "--json", "--group", GROUP, "--member", name, "--url", &queue.url];
        let mut child = craft(&args).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let printed = Arc::new(Mutex::new(Vec::new()));
        let its = printed.clone();
        let reader = thread::spawn(move || {
            // A line that was cut short by the kill was not printed.
            let whole = |line: &str| serde_json::from_str::<Value>(line).ok();
            for record in lines.map_while(Result::ok).filter_map(|line| whole(&line)) {
                let number = |key: &str| record[key].as_u64().unwrap_or_else(|| panic!("no {key}: {record}"));
                let place = (number("generation"), number("partition"), number("offset"));
                its.lock().unwrap().push((place, record["text"].as_str().unwrap().to_owned()));
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut all = Vec::new();
            let _ = stderr.read_to_end(&mut all);
            text(&all)
        });
        Self { child, printed, reader: Some(reader), stderr: Some(stderr) }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn has_printed(&self) -> usize {
        self.printed.lock().unwrap().len()
    }

    /// Ends it; returns what it printed, and what it said.
    fn end(mut self, signal: Signal) -> (Vec<(Printed, String)>, String) {
        self.signal(signal);
        within("a member ends", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        let said = self.stderr.take().unwrap().join().unwrap();
        (std::mem::take(&mut *self.printed.lock().unwrap()), said)
    }
}

/// By its id, and never left behind.
impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A queue whose groups can have several members. Earlier phases of it have none: then the test is left out.
fn queue(dir: &tempfile::TempDir) -> Option<Running> {
    let partitions = PARTITIONS.to_string();
    let args = ["serve", "queue", "--partitions", &partitions, "--heartbeat-timeout", HEARTBEAT_TIMEOUT_S];
    let queue = Running::node(&args, dir.path());
    let (status, body) = queue.get("/topics");
    assert_eq!(status, 200, "{body}");
    let members_max = body["topics"][0]["group_members_max"].as_u64().unwrap();
    if members_max == 1 {
        eprintln!("left out: groups of this queue have one member");
    }
    (members_max > 1).then_some(queue)
}

/// The group as the queue tells of it.
fn group(queue: &Running) -> Value {
    let (status, body) = queue.get("/groups");
    assert_eq!(status, 200, "{body}");
    body["groups"].as_array().unwrap().iter().find(|g| g["group"] == GROUP).cloned().unwrap_or_default()
}

/// How many partitions each member holds, by name.
fn shares(group: &Value) -> BTreeMap<String, usize> {
    let members = group["members"].as_array().into_iter().flatten();
    let share =
        |m: &Value| (m["member"].as_str().unwrap().to_owned(), m["partitions"].as_array().unwrap().len());
    members.map(share).collect()
}

fn lag(group: &Value) -> u64 {
    group["partitions"].as_array().unwrap().iter().map(|p| p["lag"].as_u64().unwrap()).sum()
}

fn await_shares(queue: &Running, expected: &[(&str, usize)]) {
    let expected: BTreeMap<String, usize> =
        expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    within(&format!("members hold {expected:?}"), || (shares(&group(queue)) == expected).then_some(()));
}

/// Puts a record into each partition in turns until told to stop; says how many each got.
fn produce(url: String, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    thread::spawn(move || {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            for partition in 0..PARTITIONS {
                let (status, body) = post(
                    &url,
                    &format!("/produce?partition={partition}&ack=os"),
                    &format!("{partition}-{rounds}"),
                );
                assert_eq!(status, 200, "{body}");
            }
            rounds += 1;
        }
        rounds
    })
}

/// Everything was printed, and what was printed twice was printed in different generations, or by one member.
fn check(printed: &[Vec<(Printed, String)>], rounds: u64) {
    let mut seen = BTreeSet::new();
    let mut holders: BTreeMap<Printed, usize> = BTreeMap::new();
    for (member, records) in printed.iter().enumerate() {
        for (place, text) in records {
            let (_, partition, offset) = *place;
            assert_eq!(*text, format!("{partition}-{offset}"), "a record that nobody wrote there");
            seen.insert((partition, offset));
            let holder = *holders.entry(*place).or_insert(member);
            assert_eq!(holder, member, "two members of one generation were handed {place:?}");
        }
    }
    let all: BTreeSet<_> =
        (0..PARTITIONS).flat_map(|partition| (0..rounds).map(move |offset| (partition, offset))).collect();
    assert!(seen.is_superset(&all), "lost: {:?}", all.difference(&seen).take(10).collect::<Vec<_>>());
}

#[test]
fn a_member_that_is_killed_is_replaced_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let Some(queue) = queue(&dir) else { return };
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce(queue.url.clone(), stop.clone());
    let [one, two, three] = ["one", "two", "three"].map(|name| Member::start(&queue, name));
    within("all three share the partitions", || {
        let mut sizes: Vec<usize> = shares(&group(&queue)).into_values().collect();
        sizes.sort_unstable();
        (sizes == [2, 3, 3]).then_some(())
    });
    let before = group(&queue)["generation"].as_u64().unwrap();
    within("each has printed something", || {
        [&one, &two, &three].iter().all(|member| member.has_printed() > 0).then_some(())
    });

    let (of_two, _) = two.end(Signal::KILL);
    await_shares(&queue, &[("one", 4), ("three", 4)]);
    assert!(group(&queue)["generation"].as_u64().unwrap() > before);

    stop.store(true, Ordering::Relaxed);
    let rounds = producer.join().unwrap();
    within("everything is committed", || (lag(&group(&queue)) == 0).then_some(()));
    let (of_one, _) = one.end(Signal::INT);
    let (of_three, _) = three.end(Signal::INT);
    assert_eq!(shares(&group(&queue)), BTreeMap::new(), "who ends in peace leaves");
    check(&[of_one, of_two, of_three], rounds);
}

#[test]
fn a_member_that_stood_still_is_fenced_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let Some(queue) = queue(&dir) else { return };
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce(queue.url.clone(), stop.clone());
    let [sleeper, other] = ["sleeper", "other"].map(|name| Member::start(&queue, name));
    await_shares(&queue, &[("other", 4), ("sleeper", 4)]);
    within("the one to be stopped has printed something", || (sleeper.has_printed() > 0).then_some(()));

    sleeper.signal(Signal::STOP);
    await_shares(&queue, &[("other", 8)]);
    let slept = sleeper.has_printed();
    sleeper.signal(Signal::CONT);
    await_shares(&queue, &[("other", 4), ("sleeper", 4)]);
    within("it works again", || (sleeper.has_printed() > slept).then_some(()));

    stop.store(true, Ordering::Relaxed);
    let rounds = producer.join().unwrap();
    within("everything is committed", || (lag(&group(&queue)) == 0).then_some(()));
    let (of_sleeper, said) = sleeper.end(Signal::INT);
    let (of_other, _) = other.end(Signal::INT);
    assert!(said.contains("the group has gone on without this member"), "{said}");
    check(&[of_sleeper, of_other], rounds);
}
