//! From an offset to records: where they lie, all of them checked, and what is said of those that are damaged.

use crate::{
    frame::{CODEC_RAW, Head, Kind, RecordsIn},
    log::Shared,
    view::Route,
    walk::Walk,
};
use contracts::queue::{FetchLimit, LogError, Offset, Partition, Records};
use std::{
    io,
    time::{Duration, Instant},
};

/// The longest that one fetch waits, whatever was asked for.
const WAIT_MAX: Duration = Duration::from_secs(3600);

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

impl Shared {
    /// Fetches into `out`, which is empty; `limit` is within bounds.
    pub(crate) fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        let mut next = from.0;
        let mut route = self.wait_for(partition, from, limit.wait)?;
        while let Some(found) = route {
            let read = read(&found, partition, &mut next, limit, out);
            let missing = match read {
                Ok(Read::Limit) => return Ok(()),
                Ok(Read::Behind) => {
                    // A segment that ends does not end a fetch.
                    route = self.view.lock().route(partition.0 as usize, next);
                    continue;
                }
                Ok(Read::Missing(missing)) => missing,
                Err(e) => {
                    let at = found.places.first().map_or(0, |place| place.at);
                    Missing { at, why: e.to_string(), upto: found.end }
                }
            };
            // What is whole before the damage is given first, so that a reader comes as far as one can.
            return if out.is_empty() { self.tell(partition, from, &found, &missing) } else { Ok(()) };
        }
        Ok(())
    }

    /// The way to this record; waits for it if it is the next one to come. `None` if it did not.
    fn wait_for(
        &self,
        partition: Partition,
        offset: Offset,
        at_most: Duration,
    ) -> Result<Option<Route>, LogError> {
        let deadline = Instant::now() + at_most.min(WAIT_MAX);
        let partition = partition.0 as usize;
        let mut view = self.view.lock();
        loop {
            self.healthy()?;
            let bounds = view.bounds(partition);
            if offset < bounds.start || offset > bounds.end {
                return Err(LogError::OffsetOutOfRange { asked: offset, bounds });
            }
            let route = view.route(partition, offset.0);
            if route.is_some() || self.appended.wait_until(&mut view, deadline).timed_out() {
                return Ok(route);
            }
        }
    }

    /// Only this fetch fails: what can still be read, and written, can be.
    fn tell(
        &self,
        partition: Partition,
        asked: Offset,
        route: &Route,
        missing: &Missing,
    ) -> Result<(), LogError> {
        let view = self.view.lock();
        if !view.has(route.number) {
            // It was dropped while we read.
            return Err(LogError::OffsetOutOfRange { asked, bounds: view.bounds(partition.0 as usize) });
        }
        let Missing { at, why, upto } = missing;
        let file = route.file.path().display();
        Err(LogError::Failed(format!("{file}, byte {at}: {why}; the next record that can be read is {upto}")))
    }
}

/// Reads records from `next` on until the segment ends or the limit is reached, and moves `next` behind the last. If
/// records are missing before that, says which.
fn read(
    route: &Route,
    partition: Partition,
    next: &mut u64,
    limit: FetchLimit,
    out: &mut Records,
) -> io::Result<Read> {
    let [first, places @ ..] = &route.places[..] else { return Ok(gone(route, 0, None)) };
    let mut walk = Walk::new(route.file.clone(), route.seed, first.at, route.end_at);
    let mut places = places.iter().peekable();
    let (mut sequence, mut damage) = (0, None);
    while *next < route.end {
        // Frames of other partitions need not be looked at where the index says where the next of ours is.
        while let Some(place) = places.next_if(|place| place.offset <= *next) {
            if place.offset == *next {
                walk.jump(place.at);
            }
        }
        let Some(head) = next_head(&mut walk, sequence, &mut damage)? else {
            return Ok(gone(route, walk.at(), damage));
        };
        sequence = head.sequence;
        if head.kind != Kind::Data || head.partition != partition.0 || head.next_offset() <= *next {
            walk.pass(&head);
            continue;
        }
        if head.base > *next {
            return Ok(gone_to(head.base, walk.at(), damage));
        }
        let at = walk.at();
        match walk.body(&head)?.filter(|_| head.codec == CODEC_RAW) {
            Some(body) => {
                if !push(&head, body, next, limit, out) {
                    return Ok(Read::Limit);
                }
            }
            None => {
                damage.get_or_insert((at, "a frame's body is damaged"));
            }
        }
        walk.pass(&head);
        if !route.is_whole && places.peek().is_none() {
            break;
        }
    }
    Ok(Read::Behind)
}

/// Pushes a frame's records from `next` on; says whether all of them had room.
fn push(head: &Head, body: &[u8], next: &mut u64, limit: FetchLimit, out: &mut Records) -> bool {
    let skipped = usize::try_from(*next - head.base).unwrap_or(usize::MAX);
    for record in RecordsIn::new(body).skip(skipped) {
        if !out.has_room(record.len(), limit) {
            return false;
        }
        out.push(Offset(*next), record);
        *next += 1;
    }
    true
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
