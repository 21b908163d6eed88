//! Slot: where records lie. In memory: a list of frames for each partition, behind one lock.
//!
//! What is wrong with it: whatever ends the process, a crash, a kill, an update, ends all that it has acknowledged.

use contracts::queue::{Ack, Bounds, FetchLimit, LogError, Offset, Partition, Records};
use parking_lot::Mutex;
use queue::{
    frame::{Head, RecordsIn},
    line::{Pending, Taken},
    marks::Marks,
    open::{LogConfig, OpenError, Recovery},
    outside::Outside,
    slots::{Store, Unpack},
};
use std::{collections::VecDeque, sync::Arc};

/// Frames in lists.
#[derive(Debug)]
pub struct Memory {
    bytes_max: u64,
    marks: Marks,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: Taken,
    partitions: Vec<Held>,
    /// Of all bodies.
    bytes: u64,
}

/// One partition.
#[derive(Debug, Default)]
struct Held {
    frames: VecDeque<(Head, Box<[u8]>)>,
    /// Where the next record will be.
    next: u64,
}

impl Held {
    fn start(&self) -> u64 {
        self.frames.front().map_or(self.next, |(head, _)| head.base)
    }

    fn bounds(&self) -> Bounds {
        Bounds { start: Offset(self.start()), end: Offset(self.next) }
    }
}

impl Store for Memory {
    const ACK_MAX: Ack = Ack::Memory;

    fn open(_: &Arc<Outside>, config: &LogConfig) -> Result<(Self, Recovery), OpenError> {
        let partitions: Vec<_> = (0..config.partitions).map(|_| Held::default()).collect();
        let recovery = Recovery { ends: vec![0; partitions.len()], ..Recovery::default() };
        let state = Mutex::new(State { taken: Taken::default(), partitions, bytes: 0 });
        Ok((Self { bytes_max: config.retained_bytes_max, marks: Marks::default(), state }, recovery))
    }

    fn marks(&self) -> &Marks {
        &self.marks
    }

    fn append(&self, line: &Mutex<Pending>) -> Result<(), LogError> {
        let mut state = self.state.lock();
        let State { taken, partitions, bytes } = &mut *state;
        while taken.refill(line) {
            while let Some((head, body)) = taken.first() {
                let more = body.len() as u64;
                if *bytes + more > self.bytes_max {
                    return Err(self.marks.found_no_room());
                }
                let held = &mut partitions[head.partition as usize];
                held.frames.push_back((head, body.into()));
                held.next = head.next_offset();
                *bytes += more;
                taken.pass_first();
                self.marks.has_written(taken.written(), more);
            }
        }
        self.marks.found_room();
        Ok(())
    }

    fn sync(&self) -> Result<(), LogError> {
        // There is nothing to put on a disk.
        self.marks.begins_sync();
        Ok(())
    }

    fn bounds(&self, partition: Partition) -> Bounds {
        self.state.lock().partitions[partition.0 as usize].bounds()
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        unpack: Unpack,
        out: &mut Records,
    ) -> Result<(), LogError> {
        let mut room = Vec::new();
        let state = self.state.lock();
        let held = &state.partitions[partition.0 as usize];
        let bounds = held.bounds();
        if from < bounds.start || from > bounds.end {
            return Err(LogError::OffsetOutOfRange { asked: from, bounds });
        }
        let first = held.frames.partition_point(|(head, _)| head.next_offset() <= from.0);
        for (head, body) in held.frames.range(first..) {
            let records = unpack(head.codec, body, &mut room).ok_or_else(|| unknown(head))?;
            for (offset, record) in
                (head.base..).zip(RecordsIn::new(records)).skip_while(|(o, _)| *o < from.0)
            {
                if !out.has_room(record.len(), limit) {
                    return Ok(());
                }
                out.push(Offset(offset), record);
            }
        }
        Ok(())
    }

    fn retire_consumed(&self, done: &[u64]) -> Result<(), LogError> {
        let mut state = self.state.lock();
        let State { partitions, bytes, .. } = &mut *state;
        for (held, done) in partitions.iter_mut().zip(done) {
            while let Some((_, body)) = held.frames.pop_front_if(|(head, _)| head.next_offset() <= *done) {
                *bytes -= body.len() as u64;
            }
        }
        Ok(())
    }
}

/// A slot that packs in a way that the other slot does not know.
fn unknown(head: &Head) -> LogError {
    LogError::Failed(format!("a frame has codec {}, which is not known", head.codec))
}
