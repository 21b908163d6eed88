//! From an offset to frames to records: where they lie, what is checked of them, and what is said of those that are damaged.

use super::{Segments, view::Route, walk::Walk};
use contracts::queue::{FetchLimit, LogError, Offset, Partition, Records};
use queue::{
    frame::{Head, Kind, RecordsIn},
    slots::Unpack,
};
use std::io;

/// What a reader makes of the frames that it comes to.
pub(super) trait Takes {
    /// The way through a segment, as it is best for what is looked at.
    fn walk(route: &Route, at: u64) -> Walk {
        Walk::new(route.file.clone(), route.seed, at, route.end_at)
    }

    /// Takes the frame that begins here, whose records from `next` on are wanted, and moves `next` behind what it took;
    /// says whether all of them had room. `None` if they are damaged.
    fn take(&mut self, walk: &mut Walk, head: &Head, next: &mut u64) -> io::Result<Option<bool>>;
}

/// What came of reading a segment.
enum Read {
    /// All that is there was read, or all to which the index has shown the way: there may be more.
    Behind,
    /// The limit was reached.
    Limit,
    Missing(Missing),
}

/// Why records of a segment cannot be had.
struct Missing {
    at: u64,
    why: String,
    /// The next record that can be had.
    upto: u64,
}

impl Segments {
    /// Fetches into `out`, which is empty.
    pub(super) fn read(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        unpack: Unpack,
        out: &mut Records,
    ) -> Result<(), LogError> {
        self.read_into(partition, from, &mut Copies { limit, unpack, room: Vec::new(), out }).map(drop)
    }

    /// Has frames taken from `from` on, until there are no more or there is no room; returns the next offset.
    pub(super) fn read_into(
        &self,
        partition: Partition,
        from: Offset,
        takes: &mut impl Takes,
    ) -> Result<Offset, LogError> {
        let mut reader = Reader { partition, next: from.0, takes };
        let mut route = self.way_to(partition, from)?;
        while let Some(found) = route {
            let missing = match reader.read(&found) {
                Ok(Read::Limit) => break,
                Ok(Read::Behind) => {
                    // A segment that ends does not end a fetch.
                    route = self.view.lock().route(partition.0 as usize, reader.next);
                    continue;
                }
                Ok(Read::Missing(missing)) => missing,
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    let at = found.places.first().map_or(0, |place| place.at);
                    Missing { at, why: "the file is shorter than it was".to_owned(), upto: found.end }
                }
                // Perhaps it can be read another time: nobody should go on without it.
                Err(_) if reader.next > from.0 => break,
                Err(e) => return Err(LogError::Failed(format!("{}: {e}", found.file.path().display()))),
            };
            // What is whole before the damage is given first, so that a reader comes as far as one can.
            if reader.next == from.0 {
                return Err(self.damage(partition, from, &found, missing));
            }
            break;
        }
        Ok(Offset(reader.next))
    }

    /// The way to this record; `None` if it is the next one to come.
    fn way_to(&self, partition: Partition, offset: Offset) -> Result<Option<Route>, LogError> {
        let view = self.view.lock();
        let bounds = view.bounds(partition.0 as usize);
        if offset < bounds.start || offset > bounds.end {
            return Err(LogError::OffsetOutOfRange { asked: offset, bounds });
        }
        Ok(view.route(partition.0 as usize, offset.0))
    }

    /// Only this fetch fails: what can still be read, and written, can be.
    fn damage(&self, partition: Partition, asked: Offset, route: &Route, missing: Missing) -> LogError {
        let view = self.view.lock();
        if !view.has(route.number) {
            // It was dropped while we read.
            return LogError::OffsetOutOfRange { asked, bounds: view.bounds(partition.0 as usize) };
        }
        let Missing { at, why, upto } = missing;
        let file = route.file.path().display();
        let why = format!("{file}, byte {at}: {why}");
        LogError::Damaged { partition, from: asked, next: Offset(upto), why }
    }
}

/// One fetch, underway.
struct Reader<'t, T> {
    partition: Partition,
    /// The next record.
    next: u64,
    takes: &'t mut T,
}

impl<T: Takes> Reader<'_, T> {
    /// Reads until the segment ends or there is no room. If records are missing before that, says which.
    fn read(&mut self, route: &Route) -> io::Result<Read> {
        let [first, places @ ..] = &route.places[..] else { return Ok(gone(route, 0, None)) };
        let mut walk = T::walk(route, first.at);
        let mut places = places.iter().peekable();
        let (mut sequence, mut damage) = (0, None);
        while self.next < route.end {
            // Frames of other partitions need not be looked at where the index says where the next of ours is.
            while let Some(place) = places.next_if(|place| place.offset <= self.next) {
                if place.offset == self.next {
                    walk.jump(place.at);
                }
            }
            let Some(head) = next_head(&mut walk, sequence, &mut damage)? else {
                return Ok(gone(route, walk.at(), damage));
            };
            sequence = head.sequence;
            if self.wants(&head) {
                if head.base > self.next {
                    return Ok(gone_to(head.base, walk.at(), damage));
                }
                match self.takes.take(&mut walk, &head, &mut self.next)? {
                    Some(true) => {}
                    Some(false) => return Ok(Read::Limit),
                    None => drop(damage.get_or_insert((walk.at(), "a frame's body is damaged"))),
                }
            }
            walk.pass(&head);
            if !route.is_whole && places.peek().is_none() {
                break;
            }
        }
        Ok(Read::Behind)
    }

    fn wants(&self, head: &Head) -> bool {
        head.kind == Kind::Data && head.partition == self.partition.0 && head.next_offset() > self.next
    }
}

/// Takes copies of records.
struct Copies<'o> {
    limit: FetchLimit,
    unpack: Unpack,
    /// For what was packed.
    room: Vec<u8>,
    out: &'o mut Records,
}

impl Takes for Copies<'_> {
    fn take(&mut self, walk: &mut Walk, head: &Head, next: &mut u64) -> io::Result<Option<bool>> {
        let Some(body) = walk.body(head)? else { return Ok(None) };
        let Some(records) = (self.unpack)(head.codec, body, &mut self.room) else { return Ok(None) };
        let skipped = usize::try_from(*next - head.base).unwrap_or(usize::MAX);
        for record in RecordsIn::new(records).skip(skipped) {
            if !self.out.has_room(record.len(), self.limit) {
                return Ok(Some(false));
            }
            self.out.push(Offset(*next), record);
            *next += 1;
        }
        Ok(Some(true))
    }
}

/// The head that stands here; behind damage, the next one that was written after the last.
fn next_head(
    walk: &mut Walk,
    sequence: u64,
    damage: &mut Option<(u64, &'static str)>,
) -> io::Result<Option<Head>> {
    if let Some(head) = walk.head()? {
        return Ok(Some(head));
    }
    damage.get_or_insert((walk.at(), "no frame begins here"));
    walk.find(|head| head.sequence > sequence && head.kind != Kind::End)
}

/// Nothing more can be had of this segment.
fn gone(route: &Route, at: u64, damage: Option<(u64, &'static str)>) -> Read {
    gone_to(route.end, at, damage)
}

fn gone_to(upto: u64, at: u64, damage: Option<(u64, &'static str)>) -> Read {
    let (at, why) = damage.unwrap_or((at, "records are missing here"));
    Read::Missing(Missing { at, why: why.to_owned(), upto })
}
