//! The contract's `Producer`: what was submitted and is not written yet.
//!
//! A flush writes all that waits in one write, and at `disk` syncs it. At `memory` it promises no less than at `os`: a
//! write only copies into the page cache, and a producer that is dropped would take with it what it had promised.
//!
//! **When there is no room** (the disk, a quota, the log's own bound) what was submitted goes on waiting and does not
//! settle; a wait or a later flush tries again. Until that succeeds every submission is written at once, or refused
//! with `Full`, so that nothing more is taken than fits.

use crate::{log::Handle, tail::Pending};
use contracts::{
    limits::RECORD_BYTES_MAX,
    queue::{Ack, LogError, NewRecord, Offset, Partition, Placed, Producer, Ticket},
};
use std::{
    collections::VecDeque,
    sync::Arc,
    task::Waker,
    thread,
    time::{Duration, Instant},
};

/// What waits beyond this is written without being asked: a caller that never flushes must not fill the memory.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// How often a wait tries again when there is no room.
const RETRY: Duration = Duration::from_millis(20);

/// One thread's way into the log.
pub(crate) struct FileProducer {
    log: Arc<Handle>,
    ack: Ack,
    pending: Pending,
    /// Submitted, written, and safe at the level that was asked for.
    submitted: Ticket,
    written: Ticket,
    settled: Ticket,
    /// The log's end behind the last record written.
    end: u64,
    /// Where they lie; told once settled.
    places: Places,
    waker: Option<Waker>,
}

impl FileProducer {
    pub(crate) fn new(log: Arc<Handle>, ack: Ack) -> Self {
        Self {
            log,
            ack,
            pending: Pending::default(),
            submitted: Ticket(0),
            written: Ticket(0),
            settled: Ticket(0),
            end: 0,
            places: Places::default(),
            waker: None,
        }
    }

    /// Writes what waits. Whatever was written has its ticket moved, also if the rest was refused.
    fn write(&mut self) -> Result<(), LogError> {
        let Self { log, pending, written, end, places, .. } = self;
        log.shared.append(pending, |offset| {
            written.0 += 1;
            *end = offset + 1;
            places.push(*written, offset);
        })
    }

    /// Settles what was written.
    fn settle(&mut self) -> Result<(), LogError> {
        if self.settled == self.written {
            return Ok(());
        }
        if self.ack == Ack::Disk {
            self.log.shared.sync_before(self.end)?;
        }
        self.settled = self.written;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        Ok(())
    }

    /// While there is no room: writes a record at once, or takes nothing.
    fn submit_if_it_fits(&mut self, payload: &[u8]) -> Result<(), LogError> {
        self.write()?;
        self.pending.push(payload);
        self.write().inspect_err(|_| self.pending.pop())
    }
}

/// Where records came to lie, as runs of neighbours: one run for a producer that is alone, however much it appends and
/// even if nobody ever asks.
#[derive(Default)]
struct Places {
    runs: VecDeque<Run>,
}

struct Run {
    ticket: u64,
    offset: u64,
    count: u64,
}

impl Places {
    fn push(&mut self, Ticket(ticket): Ticket, offset: u64) {
        match self.runs.back_mut() {
            Some(run) if run.ticket + run.count == ticket && run.offset + run.count == offset => {
                run.count += 1;
            }
            _ => self.runs.push_back(Run { ticket, offset, count: 1 }),
        }
    }

    /// Moves out those up to a ticket.
    fn take(&mut self, upto: Ticket, out: &mut Vec<Placed>) {
        while let Some(run) = self.runs.front_mut() {
            let count = run.count.min((upto.0 + 1).saturating_sub(run.ticket));
            out.extend((0..count).map(|i| Placed {
                ticket: Ticket(run.ticket + i),
                partition: Partition(0),
                offset: Offset(run.offset + i),
            }));
            if count < run.count {
                *run =
                    Run { ticket: run.ticket + count, offset: run.offset + count, count: run.count - count };
                return;
            }
            self.runs.pop_front();
        }
    }
}

impl Producer for FileProducer {
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        let NewRecord { partition, payload } = record;
        self.log.shared.healthy()?;
        self.log.shared.check_partition(partition)?;
        if payload.len() > RECORD_BYTES_MAX {
            return Err(LogError::RecordTooLarge { bytes: payload.len(), bytes_max: RECORD_BYTES_MAX });
        }
        if self.log.shared.may_be_full() || self.pending.bytes() + payload.len() > PENDING_BYTES_MAX {
            self.submit_if_it_fits(payload)?;
        } else {
            self.pending.push(payload);
        }
        self.submitted.0 += 1;
        Ok(self.submitted)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.log.shared.healthy()?;
        match self.write() {
            // Nothing is lost: it waits, and is not settled.
            Ok(()) | Err(LogError::Full) => self.settle(),
            Err(e) => Err(e),
        }
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        self.log.shared.healthy().map(|()| self.settled)
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError> {
        let begun = Instant::now();
        loop {
            self.flush()?;
            let left = at_most.saturating_sub(begun.elapsed());
            // What was never submitted will not settle, however long one waits.
            if self.settled >= upto.min(self.submitted) || left.is_zero() {
                return Ok(self.settled);
            }
            thread::sleep(RETRY.min(left));
        }
    }

    fn placed(&mut self, out: &mut Vec<Placed>) {
        self.places.take(self.settled, out);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
}
