//! A clerk before a log that settles, refuses and fails when it is told to.

use super::*;
use contracts::queue::{Bounds, FetchLimit, GroupStatus, LogError, Membership, Offset, Records, put_payload};
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

#[derive(Clone, Default)]
struct TestLog(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    submitted: u64,
    settled: u64,
    flushes: usize,
    producers: usize,
    identified: Vec<Identity>,
    /// So many more records, and then it is full.
    room: Option<u64>,
    /// What the next call of this kind says.
    flush_fails: Option<LogError>,
    failed: Option<LogError>,
    /// Offsets between two of ours that somebody else gets.
    step: u64,
    places: VecDeque<Placed>,
    waker: Option<Waker>,
}

impl TestLog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn settle(&self, upto: u64) {
        self.state().settled = upto;
    }

    fn flushes(&self) -> usize {
        self.state().flushes
    }

    fn producers(&self) -> usize {
        self.state().producers
    }

    fn clerk(&self) -> Clerk {
        Clerk::new(Arc::new(self.clone()), Shutdown::new())
    }
}

fn unused<T>() -> Result<T, LogError> {
    Err(LogError::Failed("nobody asks for this here".into()))
}

impl Log for TestLog {
    fn partitions(&self) -> u32 {
        2
    }

    fn ack_max(&self) -> Ack {
        Ack::Os
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        if ack > Ack::Os {
            return Err(LogError::AckTooStrong { asked: ack, best: Ack::Os });
        }
        self.state().producers += 1;
        Ok(Box::new(self.clone()))
    }

    fn bounds(&self, _: Partition) -> Result<Bounds, LogError> {
        unused()
    }

    fn fetch(&self, _: Partition, _: Offset, _: FetchLimit, _: &mut Records) -> Result<(), LogError> {
        unused()
    }

    fn subscribe(&self, _: &str, _: &str) -> Result<Membership, LogError> {
        unused()
    }

    fn heartbeat(&self, _: &Membership) -> Result<u64, LogError> {
        unused()
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        unused()
    }

    fn commit(&self, _: &Membership, _: Partition, _: Offset) -> Result<(), LogError> {
        unused()
    }

    fn committed(&self, _: &str, _: Partition) -> Result<Option<Offset>, LogError> {
        unused()
    }
}

impl Producer for TestLog {
    fn identify(&mut self, identity: Identity) -> Result<(), LogError> {
        self.state().identified.push(identity);
        Ok(())
    }

    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        let mut state = self.state();
        match &mut state.room {
            Some(0) => return Err(LogError::Full),
            Some(room) => *room -= 1,
            None => {}
        }
        state.submitted += 1;
        let ticket = Ticket(state.submitted);
        let offset = Offset(100 + ticket.0 * (1 + state.step));
        state.places.push_back(Placed { ticket, partition: record.partition, offset });
        Ok(ticket)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let mut state = self.state();
        state.flushes += 1;
        state.flush_fails.take().map_or(Ok(()), Err)
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        let state = self.state();
        state.failed.clone().map_or(Ok(Ticket(state.settled)), Err)
    }

    fn wait(&mut self, _: Ticket, _: Duration) -> Result<Ticket, LogError> {
        let mut state = self.state();
        state.settled = state.submitted;
        Ok(Ticket(state.settled))
    }

    fn placed(&mut self, out: &mut Vec<Placed>) {
        let mut state = self.state();
        let settled = Ticket(state.settled);
        while let Some(placed) = state.places.pop_front_if(|placed| placed.ticket <= settled) {
            out.push(placed);
        }
    }

    fn set_waker(&mut self, waker: Waker) {
        self.state().waker = Some(waker);
    }
}

fn framed(count: usize) -> Vec<u8> {
    let mut body = Vec::new();
    (0..count).for_each(|number| put_payload(number.to_string().as_bytes(), &mut body));
    body
}

fn take(clerk: &mut Clerk, number: u64, query: &str, body: &[u8]) -> Result<(), (u16, String)> {
    let headers: &[(&str, &[u8])] = &[("Content-Type", RECORDS.as_bytes())];
    let request = Request { method: "POST", path: "/produce", query, headers, body, peer: None };
    clerk.take(number, &request).map_err(|refusal| said(&refusal))
}

/// Status, and the code of an error or else all of the body.
fn said(response: &Response) -> (u16, String) {
    let text = String::from_utf8_lossy(response.body.bytes()).into_owned();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    (response.status, json["error"]["code"].as_str().map_or(text, str::to_owned))
}

fn finished(clerk: &mut Clerk) -> Vec<(u64, u16, String)> {
    let mut answers = Vec::new();
    clerk.finished(&mut answers);
    let line = |(number, response): &(u64, Response)| {
        let (status, text) = said(response);
        (*number, status, text)
    };
    answers.iter().map(line).collect()
}

fn placed(number: u64, offset: u64, count: u64) -> (u64, u16, String) {
    (number, 200, format!(r#"{{"partition":1,"offset":{offset},"count":{count}}}"#))
}

fn not_settled_yet(number: u64) -> (u64, u16, String) {
    (number, 503, "not_settled".to_owned())
}

#[test]
fn requests_that_come_together_are_flushed_together_and_answered_when_they_are_safe() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    take(&mut clerk, 7, "partition=1&ack=os", &framed(3)).unwrap();
    take(&mut clerk, 8, "partition=1&ack=os", &framed(2)).unwrap();
    take(&mut clerk, 9, "partition=1&ack=os", &framed(0)).unwrap();
    assert_eq!(log.state().flushes, 0);
    clerk.flush();
    assert_eq!((log.flushes(), log.producers()), (1, 1));
    log.settle(4);
    assert_eq!(finished(&mut clerk), [placed(7, 101, 3)]);
    log.settle(5);
    assert_eq!(finished(&mut clerk), [placed(8, 104, 2), placed(9, 0, 0)]);
    clerk.flush();
    assert_eq!(log.state().flushes, 1, "there was nothing to flush");
}

#[test]
fn each_query_is_done_as_it_says_whatever_the_one_before_it_said() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    for (number, query) in [
        (1, "partition=1&ack=os"),
        (2, "partition=1&ack=os"),
        (3, "partition=0&ack=os"),
        (4, "partition=1&ack=os&producer=5&sequence=1"),
        (5, "partition=1&ack=os&producer=5&sequence=2"),
        (6, "partition=0&ack=os"),
    ] {
        take(&mut clerk, number, query, &framed(1)).unwrap();
    }
    assert_eq!(take(&mut clerk, 7, "partition=0&ack=os&", b"").map(drop), Ok(()), "as it was read before");
    assert_eq!(log.state().identified, [1, 2].map(|sequence| Identity { producer: 5, sequence }));
    clerk.flush();
    log.settle(6);
    let partitions = finished(&mut clerk).into_iter().map(|(number, _, text)| {
        let text: serde_json::Value = serde_json::from_str(&text).unwrap();
        (number, text["partition"].as_u64().unwrap())
    });
    assert!(partitions.eq([(1, 1), (2, 1), (3, 0), (4, 1), (5, 1), (6, 0), (7, 0)]));
}

#[test]
fn each_level_has_a_producer_of_its_own() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    for (number, ack) in [(1, "memory"), (2, "os"), (3, "memory")] {
        take(&mut clerk, number, &format!("partition=1&ack={ack}"), &framed(1)).unwrap();
    }
    assert_eq!(log.state().producers, 2);
    assert_eq!(take(&mut clerk, 4, "ack=disk", b"").unwrap_err(), (422, "ack_too_strong".to_owned()));
}

#[test]
fn what_is_wrong_with_a_request_is_said_before_anything_is_taken() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    let cut = &framed(3)[..12];
    let large = [&framed(1)[..], &15_728_641_u32.to_le_bytes()[..], &vec![0; 15_728_641][..]].concat();
    for (query, body, status, code) in [
        ("partition=x", cut, 400, "bad_parameter"),
        ("partition=1&client_id=a", b"", 400, "bad_parameter"),
        ("partition=2", b"", 404, "no_such_partition"),
        ("ack=paper", b"", 400, "bad_parameter"),
        ("producer=0&sequence=1", b"", 400, "bad_parameter"),
        ("producer=1", b"", 400, "bad_parameter"),
        ("sequence=1", b"", 400, "bad_parameter"),
        ("producer=1&sequence=4294967296", b"", 400, "bad_parameter"),
        ("partition=1", cut, 400, "bad_records"),
        ("partition=1", &large, 413, "record_too_large"),
    ] {
        assert_eq!(take(&mut clerk, 1, query, body).unwrap_err(), (status, code.to_owned()), "{query}");
    }
    assert_eq!(log.state().submitted, 0);
    assert_eq!(log.state().identified, []);
    assert_eq!(finished(&mut clerk), []);
}

fn take_packed(clerk: &mut Clerk, number: u64, body: &[u8]) -> Result<(), (u16, String)> {
    let headers: &[(&str, &[u8])] = &[("Content-Type", PACKED.as_bytes())];
    let request =
        Request { method: "POST", path: "/produce", query: "partition=1", headers, body, peer: None };
    clerk.take(number, &request).map_err(|refusal| said(&refusal))
}

#[test]
fn a_packed_batch_is_taken_like_its_records() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    let payloads: Vec<Vec<u8>> = (0..50).map(|n| format!("record {n}").into_bytes()).collect();
    let packed = contracts::packed::pack(payloads.iter().map(Vec::as_slice));
    take(&mut clerk, 1, "partition=1", &framed(2)).unwrap();
    take_packed(&mut clerk, 2, &packed).unwrap();
    take_packed(&mut clerk, 3, &contracts::packed::pack([])).unwrap();
    take(&mut clerk, 4, "partition=1", &framed(1)).unwrap();
    for broken in [&packed[..packed.len() - 1], &packed[..3], b""] {
        assert_eq!(take_packed(&mut clerk, 9, broken).unwrap_err(), (400, "bad_records".to_owned()));
    }
    clerk.flush();
    log.settle(53);
    let expected = [placed(1, 101, 2), placed(2, 103, 50), placed(3, 0, 0), placed(4, 153, 1)];
    assert_eq!(finished(&mut clerk), expected);
}

#[test]
fn a_full_log_takes_nothing_or_says_that_nobody_knows() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    log.state().room = Some(2);
    assert_eq!(take(&mut clerk, 1, "partition=1", &framed(3)).unwrap_err(), (503, "not_settled".to_owned()));
    assert_eq!(take(&mut clerk, 2, "partition=1", &framed(3)).unwrap_err(), (503, "queue_full".to_owned()));
    log.state().room = None;
    take(&mut clerk, 3, "partition=1", &framed(3)).unwrap();
    clerk.flush();
    log.settle(5);
    assert_eq!(finished(&mut clerk), [placed(3, 103, 3)], "and not where the first two lie");
}

#[test]
fn a_producer_that_failed_is_given_up_and_everybody_who_waits_is_told() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    take(&mut clerk, 1, "partition=1", &framed(1)).unwrap();
    clerk.flush();
    take(&mut clerk, 2, "partition=1", &framed(1)).unwrap();
    log.state().flush_fails = Some(LogError::Failed("the disk is gone".into()));
    clerk.flush();
    assert_eq!(finished(&mut clerk), [not_settled_yet(1), not_settled_yet(2)]);
    take(&mut clerk, 3, "partition=1", &framed(1)).unwrap();
    assert_eq!(log.state().producers, 2, "a new one is asked for");
    log.state().failed = Some(LogError::Failed("again".into()));
    clerk.flush();
    assert_eq!(finished(&mut clerk), [not_settled_yet(3)]);
}

#[test]
fn records_that_are_no_neighbours_are_told_one_by_one() {
    let log = TestLog::default();
    log.state().step = 4;
    let mut clerk = log.clerk();
    take(&mut clerk, 1, "partition=1", &framed(3)).unwrap();
    log.settle(3);
    let text = r#"{"partition":1,"offset":105,"count":3,"offsets":[105,110,115]}"#;
    assert_eq!(finished(&mut clerk), [(1, 200, text.to_owned())]);
}

#[test]
fn an_identified_batch_is_alone_in_its_flush() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    take(&mut clerk, 1, "partition=1", &framed(1)).unwrap();
    take(&mut clerk, 2, "partition=1&producer=9&sequence=4", &framed(2)).unwrap();
    assert_eq!(log.state().flushes, 2, "what was there before, and then the batch");
    assert_eq!(log.state().identified, [Identity { producer: 9, sequence: 4 }]);
    take(&mut clerk, 3, "partition=1", &framed(1)).unwrap();
    clerk.flush();
    assert_eq!(log.state().flushes, 3);
    log.settle(4);
    assert_eq!(finished(&mut clerk), [placed(1, 101, 1), placed(2, 102, 2), placed(3, 104, 1)]);
}

#[test]
fn a_batch_out_of_sequence_is_refused_at_once_and_keeps_nobody_waiting() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    take(&mut clerk, 1, "partition=1", &framed(1)).unwrap();
    clerk.flush();
    let (partition, expected, asked) = (Partition(1), 3, 9);
    log.state().flush_fails = Some(LogError::OutOfSequence { producer: 9, partition, expected, asked });
    let (status, _) = take(&mut clerk, 2, "partition=1&producer=9&sequence=9", &framed(2)).unwrap_err();
    assert!((400..500).contains(&status), "{status}");
    log.settle(1);
    assert_eq!(finished(&mut clerk), [placed(1, 101, 1)]);
}

/// Else the part would be taken for the whole when the batch is sent again.
#[test]
fn a_part_of_an_identified_batch_is_never_flushed() {
    let log = TestLog::default();
    let mut clerk = log.clerk();
    log.state().room = Some(2);
    let refused = take(&mut clerk, 1, "partition=1&producer=9&sequence=4", &framed(3)).unwrap_err();
    assert_eq!(refused, (503, "not_settled".to_owned()));
    clerk.flush();
    assert_eq!(log.state().flushes, 0);
    log.state().room = None;
    take(&mut clerk, 2, "partition=1&producer=9&sequence=4", &framed(3)).unwrap();
    assert_eq!((log.producers(), log.flushes()), (2, 1));
}

#[test]
fn while_it_drains_it_takes_nothing_and_still_answers() {
    let (log, draining) = (TestLog::default(), Shutdown::new());
    let mut clerk = Clerk::new(Arc::new(log.clone()), draining.clone());
    take(&mut clerk, 1, "partition=1", &framed(1)).unwrap();
    draining.set();
    assert_eq!(take(&mut clerk, 2, "partition=1", &framed(1)).unwrap_err(), (503, "draining".to_owned()));
    clerk.flush();
    log.settle(1);
    assert_eq!(finished(&mut clerk), [placed(1, 101, 1)]);
}

#[test]
fn who_may_wait_gets_the_answer_at_once() {
    let log = TestLog::default();
    let headers: &[(&str, &[u8])] = &[("Content-Type", b"application/octet-stream")];
    let request =
        Request { method: "POST", path: "/produce", query: "partition=1", headers, body: b"one", peer: None };
    assert_eq!(said(&log.clerk().answer(&request)), (200, placed(0, 101, 1).2));
}

#[test]
fn a_log_that_settles_in_its_flush_has_the_thread_woken() {
    struct Counter(AtomicUsize);
    impl std::task::Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (log, counter) = (TestLog::default(), Arc::new(Counter(AtomicUsize::new(0))));
    let mut clerk = log.clerk();
    clerk.set_waker(counter.clone().into());
    take(&mut clerk, 1, "partition=1", &framed(1)).unwrap();
    assert!(log.state().waker.is_some(), "the log knows whom to wake");
    clerk.flush();
    assert_eq!(counter.0.load(Ordering::SeqCst), 0);
    take(&mut clerk, 2, "partition=1", &framed(1)).unwrap();
    log.settle(2);
    clerk.flush();
    assert_eq!(counter.0.load(Ordering::SeqCst), 1);
}
