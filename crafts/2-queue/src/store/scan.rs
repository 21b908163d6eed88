//! A whole segment, frame by frame: what is in it, where it ends, and whether it ends there because of a crash.
//!
//! A frame belongs here if its head's checksum is right under the segment's salt, its sequence is the next one, its epoch
//! has not fallen, and its body is whole. Where no such frame stands, one of two things has happened. Either the frame
//! was being written when the power went: then nothing behind it was ever said to be on disk, and all of it is cut off.
//! Or it was on disk and has been damaged since: then a later frame says so, by its mark of what was synced when it was
//! written. That is a gap, and the log goes on behind it.

use super::{
    Guards,
    index::{Index, Table},
    segment::{FIRST_FRAME, Header},
    walk::Walk,
};
use queue::{
    batches::{Batches, Kept},
    disk::DataFile,
    frame::{Head, Kind},
    open::{Cut, Gap},
};
use std::{io, sync::Arc};

/// What a segment holds.
pub(crate) struct Scan {
    /// `None` if nothing says at which offsets it begins.
    pub(crate) index: Option<Index>,
    /// Behind the last frame.
    pub(crate) end: u64,
    /// Of the next frame.
    pub(crate) sequence: u64,
    /// Of the last frame.
    pub(crate) epoch: u32,
    /// Behind the end, what earlier openings cut off ends here.
    pub(crate) known_until: u64,
    /// The identified batches: those of the table at its begin, and those of its frames.
    pub(crate) batches: Batches,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) cut: Option<Cut>,
}

/// Walks through a segment. `bases` are the partitions' offsets behind the segment before, if there is one.
pub(crate) fn scan(
    file: &Arc<dyn DataFile>,
    header: &Header,
    bases: Option<Vec<u64>>,
    guards: Guards,
) -> io::Result<Scan> {
    scan_synced(file, header, bases, guards, 0)
}

/// The same, where it is known that all frames before the sequence `synced` were on disk.
pub(crate) fn scan_synced(
    file: &Arc<dyn DataFile>,
    header: &Header,
    bases: Option<Vec<u64>>,
    guards: Guards,
    synced: u64,
) -> io::Result<Scan> {
    let mut walk = Walk::new(file.clone(), guards.seed(header.salt), FIRST_FRAME, file.bytes()?);
    let mut scan = Scan {
        index: bases.map(|bases| Index::new(&bases)),
        end: FIRST_FRAME,
        sequence: header.first_sequence,
        epoch: header.epoch,
        known_until: 0,
        batches: Batches::default(),
        gaps: Vec::new(),
        cut: None,
    };
    loop {
        if scan.take(&mut walk, guards)? {
            continue;
        }
        let at = walk.at();
        match scan.behind(&mut walk, guards, synced)? {
            Behind::Proof { at: resume, sequence } => {
                let (bytes, frames) = (resume - at, sequence - scan.sequence);
                scan.gaps.push(Gap { file: file.path().to_owned(), at, bytes, frames });
                scan.sequence = sequence;
                walk.jump(resume);
            }
            Behind::Torn(torn) => {
                scan.end = at;
                scan.cut = scan.cut(&mut walk, header, &torn)?;
                return Ok(scan);
            }
        }
    }
}

/// What lies behind a place where no frame stands.
enum Behind {
    /// A frame from which on all is well, and which was written after the place had been synced.
    Proof {
        at: u64,
        sequence: u64,
    },
    Torn(Torn),
}

/// Heads of this opening that nothing proves to have been on disk.
#[derive(Default)]
struct Torn {
    frames: u64,
    records: u64,
    end: u64,
}

impl Scan {
    /// Takes the frame that begins here, if one does.
    fn take(&mut self, walk: &mut Walk, guards: Guards) -> io::Result<bool> {
        let Some(head) = walk.head()?.filter(|head| self.is_next(head, guards)) else { return Ok(false) };
        let at = walk.at();
        let Some(body) = walk.body(&head)? else { return Ok(false) };
        match head.kind {
            Kind::Data => match &mut self.index {
                Some(index) => {
                    index.learn(&head, at);
                    if head.producer != 0 {
                        self.batches.learn(head.producer, head.partition, Kept::of(&head));
                    }
                }
                None => return Ok(false),
            },
            Kind::Batches => match Batches::decode(body) {
                Some(batches) => self.batches = batches,
                None => return Ok(false),
            },
            Kind::Epoch => {
                let Some(table) = Table::decode(body) else { return Ok(false) };
                self.known_until = table.known_until;
                match &mut self.index {
                    Some(index) if at > FIRST_FRAME => index.stand_at(&table.next),
                    index => *index = Some(Index::new(&table.next)),
                }
            }
            Kind::End => return Ok(false),
        }
        (self.sequence, self.epoch) = (head.sequence + 1, self.epoch.max(head.epoch));
        walk.pass(&head);
        Ok(true)
    }

    fn is_next(&self, head: &Head, guards: Guards) -> bool {
        let follows = head.sequence == self.sequence || !guards.sequence;
        follows && (head.epoch >= self.epoch || !guards.epoch)
    }

    /// Looks through everything behind the place where the walk stands.
    fn behind(&self, walk: &mut Walk, guards: Guards, synced: u64) -> io::Result<Behind> {
        let mut torn = Torn { end: walk.at(), ..Torn::default() };
        let wanted = |head: &Head| {
            head.kind != Kind::End && head.sequence >= self.sequence && head.epoch >= self.epoch
        };
        while let Some(mut head) = walk.find(wanted)? {
            // A run of frames without a break. If one of them proves it, the log goes on at the first.
            let mut first = None;
            loop {
                if head.sequence > self.sequence {
                    let (at, sequence) = *first.get_or_insert((walk.at(), head.sequence));
                    if head.synced.max(synced) > self.sequence && guards.synced_mark {
                        return Ok(Behind::Proof { at, sequence });
                    }
                }
                torn.frames += 1;
                torn.records += u64::from(head.count);
                walk.pass(&head);
                torn.end = walk.at();
                let follows = |next: &Head| next.sequence == head.sequence + 1 && next.epoch >= head.epoch;
                match walk.head()?.filter(|next| follows(next) && wanted(next)) {
                    Some(next) => head = next,
                    None => break,
                }
            }
        }
        Ok(Behind::Torn(torn))
    }

    /// What is cut off at the end; `None` if the log simply ends there.
    fn cut(&self, walk: &mut Walk, header: &Header, torn: &Torn) -> io::Result<Option<Cut>> {
        walk.jump(self.end);
        let (mut end, mut why) = (torn.end, "a frame is cut short or changed");
        if torn.frames == 0 && !header.recycled {
            // No head is whole. In a file that was never anything else, what is not zero was a frame half written.
            end = walk.end_of_bytes(self.end.max(self.known_until))?;
            why = "a frame's head is cut short or changed";
            if walk.is_end_of_segment(end)? {
                return Ok(None);
            }
        }
        let end = end.min(walk.end());
        let is_known = end <= self.end.max(self.known_until) && torn.frames == 0;
        Ok((!is_known).then(|| Cut {
            file: walk.path().to_owned(),
            at: self.end,
            bytes: end - self.end,
            frames: torn.frames,
            records: torn.records,
            why: why.to_owned(),
        }))
    }
}
