//! Slot: a request's samples → the log, written within the request.
//!
//! Each request encodes its batches, takes the one producer behind its lock, submits, flushes, and waits until all has
//! settled. Simple, and its tickets promise what was configured: when it answers, the samples are safe. When the log has
//! failed, a request is lost, and a later one asks for a new producer.
//!
//! What is wrong with it: the disk's time is part of every request, and since it is spent under the lock, all requests
//! stand in line for it. A disk that takes a millisecond to sync allows less than a thousand requests a second, however
//! many threads there are.

use contracts::{
    ingest::IngestConfig,
    queue::{Log, LogError, NewRecord, Placed, Producer, Ticket},
};
use ingest::{
    frame::Frame,
    outlet::{Outlet, reason_of},
    slots::{Handoff, Lost, Submit},
};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::Waker,
    thread,
    time::{Duration, Instant},
};

/// How soon a full log is asked again for the rest of a request that it has begun to take.
const FULL_RETRY: Duration = Duration::from_millis(1);

/// One producer behind one lock.
pub struct InRequest {
    output: Arc<Mutex<Output>>,
    partitions: u32,
    settle_timeout: Duration,
}

impl Handoff for InRequest {
    type Submit = InRequestSubmit;

    fn open(config: &IngestConfig, log: Arc<dyn Log>) -> Result<Self, LogError> {
        let partitions = log.partitions();
        let outlet = Outlet::open(log, config.ack)?;
        let output = Arc::new(Mutex::new(Output { outlet, encoded: Vec::new(), placed: Vec::new() }));
        Ok(Self { output, partitions, settle_timeout: config.settle_timeout })
    }

    fn submitter(&self) -> Result<InRequestSubmit, LogError> {
        Ok(InRequestSubmit {
            output: self.output.clone(),
            frame: Frame::new(self.partitions),
            settle_timeout: self.settle_timeout,
            written: 0,
            lost: None,
        })
    }

    fn close(self) -> Result<(), LogError> {
        Ok(()) // nothing is left behind: each request has waited for its own
    }
}

/// What the lock protects.
struct Output {
    outlet: Outlet,
    encoded: Vec<u8>,
    placed: Vec<Placed>,
}

impl Output {
    /// Appends the batches of a frame and waits until they have settled.
    ///
    /// # Errors
    /// [`Failure::Refused`]: nothing was taken. [`Failure::Lost`]: something was, and nobody knows what became of it.
    fn write(&mut self, frame: &Frame, at_most: Duration) -> Result<(), Failure> {
        let producer = self.outlet.producer().map_err(Failure::Refused)?;
        let written = write(producer, frame, &mut self.encoded, at_most);
        producer.placed(&mut self.placed); // or the log would have to remember
        self.placed.clear();
        match &written {
            Ok(()) => self.outlet.works(),
            Err(Failure::Refused(error) | Failure::Lost(error)) if matches!(error, LogError::Failed(_)) => {
                self.outlet.give_up(error.clone());
            }
            Err(_) => {} // it is full, or late: what it has it may still settle
        }
        written
    }
}

fn write(
    producer: &mut dyn Producer,
    frame: &Frame,
    encoded: &mut Vec<u8>,
    at_most: Duration,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut last = Ticket(0);
    for (partition, batch) in frame.batches() {
        encoded.clear();
        batch.encode_into(encoded);
        last = loop {
            match producer.submit(NewRecord { partition, payload: encoded }) {
                Ok(ticket) => break ticket,
                Err(refusal) if last == Ticket(0) => return Err(Failure::Refused(refusal)),
                // A request is taken whole or not at all, and a part of this one has been taken.
                Err(LogError::Full) if begun.elapsed() < at_most => {
                    producer.flush().map_err(Failure::Lost)?;
                    thread::sleep(FULL_RETRY);
                }
                Err(error) => return Err(Failure::Lost(error)),
            }
        };
    }
    producer.flush().map_err(Failure::Lost)?;
    match producer.wait(last, at_most.saturating_sub(begun.elapsed())) {
        Ok(settled) if settled >= last => Ok(()),
        Ok(_) => Err(Failure::Late),
        Err(error) => Err(Failure::Lost(error)),
    }
}

enum Failure {
    Refused(LogError),
    Lost(LogError),
    Late,
}

/// One thread's way to the lock.
pub struct InRequestSubmit {
    output: Arc<Mutex<Output>>,
    frame: Frame,
    settle_timeout: Duration,
    /// Requests written so far: the tickets, which have settled when they are given.
    written: u64,
    /// Why it is not known what became of a request; until the engine has been told.
    lost: Option<Lost>,
}

impl Submit for InRequestSubmit {
    fn frame(&mut self) -> &mut Frame {
        &mut self.frame
    }

    fn submit(&mut self) -> Result<Ticket, LogError> {
        let written = self.output.lock().write(&self.frame, self.settle_timeout);
        self.frame.clear();
        match written {
            Err(Failure::Refused(refusal)) => return Err(refusal),
            Err(Failure::Lost(error)) => self.lost = Some(Lost(reason_of(&error))),
            Err(Failure::Late) => {
                self.lost = Some(Lost(format!("not settled after {:?}", self.settle_timeout).into()));
            }
            Ok(()) => {}
        }
        self.written += 1;
        Ok(Ticket(self.written))
    }

    fn flush(&mut self) {}

    fn settled(&mut self) -> Result<Ticket, Lost> {
        // Once, and before the ticket of any later request hides it.
        self.lost.take().map_or(Ok(Ticket(self.written)), Err)
    }

    fn wait(&mut self, _upto: Ticket, _at_most: Duration) -> Result<Ticket, Lost> {
        self.settled()
    }

    fn set_waker(&mut self, _waker: Waker) {} // nobody ever waits
}
