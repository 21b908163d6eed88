//! Turns answers into numbers, second by second.
//!
//! One recorder belongs to one event loop, so nothing is shared and nothing is locked. At each full second it
//! sends what that second held to the collector: one small allocation a second, none a request.

use std::sync::mpsc::Sender;

use hdrhistogram::Histogram;

use crate::tally::{Failure, Tally, count_failure, histogram};

const SECOND_NS: u64 = 1_000_000_000;

/// What one event loop saw in one second of the run.
#[derive(Clone, Debug)]
pub(crate) struct LoopSecond {
    /// The second's number, from 0.
    pub index: u64,
    pub answered: u64,
    pub ok: u64,
    pub unanswered: u64,
    pub latency: Histogram<u64>,
}

pub(crate) struct Recorder {
    pub tally: Tally,
    /// Intended time to answer, of all the seconds that are over.
    pub latency: Histogram<u64>,
    /// Begun to answer. Open loop only: in a closed one it is the same.
    pub service: Option<Histogram<u64>>,
    /// How late the tester itself was. Open loop only.
    pub lag: Option<Histogram<u64>>,
    second: LoopSecond,
    second_ends_ns: u64,
    seconds: Sender<LoopSecond>,
}

impl Recorder {
    pub(crate) fn new(open_loop: bool, seconds: Sender<LoopSecond>) -> Self {
        Self {
            tally: Tally::default(),
            latency: histogram(),
            service: open_loop.then(histogram),
            lag: open_loop.then(histogram),
            second: LoopSecond { index: 0, answered: 0, ok: 0, unanswered: 0, latency: histogram() },
            second_ends_ns: SECOND_NS,
            seconds,
        }
    }

    pub(crate) fn answer(&mut self, status: u16, latency_ns: u64, service_ns: u64) {
        self.tally.by_status[usize::from(status)] += 1;
        self.second.answered += 1;
        self.second.ok += u64::from(is_ok(status));
        self.second.latency.saturating_record(latency_ns);
        if let Some(service) = &mut self.service {
            service.saturating_record(service_ns);
        }
    }

    pub(crate) fn failure(&mut self, failure: Failure) {
        count_failure(&mut self.tally, failure);
        self.second.unanswered += 1;
    }

    pub(crate) fn lag(&mut self, lag_ns: u64) {
        if let Some(lag) = &mut self.lag {
            lag.saturating_record(lag_ns);
        }
    }

    /// Ends the seconds that are over by `now_ns`.
    pub(crate) fn turn(&mut self, now_ns: u64) {
        while now_ns >= self.second_ends_ns {
            self.end_second();
        }
    }

    /// Ends the last, unfinished second.
    pub(crate) fn finish(&mut self) {
        self.end_second();
    }

    fn end_second(&mut self) {
        // Only fails when the bounds differ, and all histograms are made by one function.
        let _ = self.latency.add(&self.second.latency);
        // A collector that has gone away has no use for the second: the totals are handed over at the end.
        let _ = self.seconds.send(self.second.clone());
        self.second.index += 1;
        (self.second.answered, self.second.ok, self.second.unanswered) = (0, 0, 0);
        self.second.latency.reset();
        self.second_ends_ns += SECOND_NS;
    }
}

pub(crate) fn is_ok(status: u16) -> bool {
    (200..300).contains(&status)
}
