//! Frames on their way to a consumer, as they lie in the log's files.
//!
//! ```text
//! parts one after the other, each of one segment:
//!     seed u32 · 0 u32 · bytes u64 │ whole frames, as FORMAT.md draws them …
//! ```
//!
//! Nobody unpacks them or looks at them on the way, and the checksums that the log stored are checked at the consumer's
//! end: what a disk, a server or a wire has changed does not come through.
//!
//! No sockets here: bytes in, bytes out.

use crate::{
    codec,
    frame::{HEAD_BYTES, Head, Kind, u32_at, u64_at},
};
use contracts::{
    file::{FileSlice, OpenFile},
    packed::RecordsIn,
    queue::{FetchLimit, Offset, Partition, Records, Stored},
};
use std::{io, os::fd::BorrowedFd, sync::Arc};

/// Media type of stored frames.
pub const STORED: &str = "application/vnd.systems-craft.frames";

/// Bytes before the frames of a part.
const PART_HEAD_BYTES: usize = 16;

/// The parts of stored frames as they go over the wire. Each begins with a few bytes of memory; the rest are the files.
pub fn envelope(stored: &Stored) -> Vec<FileSlice> {
    let mut out = Vec::with_capacity(2 * stored.slices.len());
    for part in stored.slices.chunk_by(|a, b| a.seed == b.seed) {
        let bytes: u64 = part.iter().map(|part| part.slice.bytes).sum();
        let mut head = part[0].seed.to_le_bytes().to_vec();
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&bytes.to_le_bytes());
        out.push(in_memory(head));
        out.extend(part.iter().map(|part| part.slice.clone()));
    }
    out
}

/// What is wrong with frames that were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the frames: {why}")]
pub struct BadFrames {
    /// Where the wrong frame begins.
    pub at: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Adds the records of stored frames to `out`, which is empty, from `from` on and up to the limit. Everything is checked
/// here, whoever had the frames before.
///
/// # Errors
/// The first wrong frame; the records before it are in `out`.
pub fn decode(
    bytes: &[u8],
    partition: Partition,
    from: Offset,
    limit: FetchLimit,
    out: &mut Records,
) -> Result<(), BadFrames> {
    let (mut next, mut room, mut at) = (from.0, Vec::new(), 0);
    while at < bytes.len() {
        let part = part_at(bytes, at).ok_or(BadFrames { at, why: "a part is cut short" })?;
        let (seed, end) = part;
        at += PART_HEAD_BYTES;
        while at < end {
            let bad = |why| BadFrames { at, why };
            let (head, body) = frame_at(seed, &bytes[at..end]).map_err(bad)?;
            if head.kind == Kind::Data && head.partition == partition.0 && head.next_offset() > next {
                if head.base > next {
                    return Err(bad("records are missing before it"));
                }
                let records = codec::unpack(head.codec, body, &mut room);
                let records = records.ok_or(bad("its body cannot be unpacked"))?;
                if !push(&head, records, &mut next, limit, out).map_err(bad)? {
                    return Ok(());
                }
            }
            at += usize::try_from(head.frame_bytes()).unwrap_or(usize::MAX);
        }
    }
    Ok(())
}

/// The seed of the part that begins here, and where it ends.
fn part_at(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let head = bytes[at..].get(..PART_HEAD_BYTES)?;
    let end = usize::try_from(u64_at(head, 8)).ok()?.checked_add(at + PART_HEAD_BYTES)?;
    (end <= bytes.len()).then_some((u32_at(head, 0), end))
}

/// The frame that begins here, whole to the begin of the next.
fn frame_at(seed: u32, bytes: &[u8]) -> Result<(Head, &[u8]), &'static str> {
    let head = Head::parse(seed, bytes).ok_or("no frame begins here")?;
    let end = HEAD_BYTES + head.body_bytes as usize;
    let body = bytes.get(HEAD_BYTES..end).filter(|_| head.frame_bytes() <= bytes.len() as u64);
    let body = body.ok_or("it is cut short")?;
    if head.fits(body) { Ok((head, body)) } else { Err("its body is damaged") }
}

/// Pushes a frame's records from `next` on; says whether all of them had room.
fn push(
    head: &Head,
    records: &[u8],
    next: &mut u64,
    limit: FetchLimit,
    out: &mut Records,
) -> Result<bool, &'static str> {
    let skipped = usize::try_from(*next - head.base).unwrap_or(usize::MAX);
    for record in RecordsIn::new(records).skip(skipped) {
        if !out.has_room(record.len(), limit) {
            return Ok(false);
        }
        out.push(Offset(*next), record);
        *next += 1;
    }
    if *next == head.next_offset() { Ok(true) } else { Err("it has another number of records than it says") }
}

/// Some bytes where a part of a file is expected.
pub fn in_memory(bytes: Vec<u8>) -> FileSlice {
    FileSlice { at: 0, bytes: bytes.len() as u64, file: Arc::new(InMemory(bytes)) }
}

#[derive(Debug)]
struct InMemory(Vec<u8>);

impl OpenFile for InMemory {
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = from.checked_add(out.len()).and_then(|end| self.0.get(from..end));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{codec::Codec, frame};
    use contracts::{packed::put_record, queue::StoredSlice};
    use proptest::{collection::vec, prelude::*};

    const MINE: Partition = Partition(3);

    fn all() -> FetchLimit {
        FetchLimit { records_max: usize::MAX, bytes_max: usize::MAX, ..FetchLimit::default() }
    }

    /// A frame of these records, whose first has this offset.
    fn frame(seed: u32, base: u64, payloads: &[&[u8]], codec: Codec) -> Vec<u8> {
        let mut body = Vec::new();
        payloads.iter().for_each(|payload| put_record(payload, &mut body));
        let codec = match codec {
            Codec::Raw => frame::CODEC_RAW,
            Codec::Lz4 => codec::pack(&mut body, 0, &mut Vec::new()),
        };
        let head = Head::of(Kind::Data, MINE.0, u32::try_from(payloads.len()).unwrap(), &body);
        frame::whole(&Head { codec, base, ..head }, seed, &body)
    }

    fn slice(seed: u32, frames: &[Vec<u8>]) -> StoredSlice {
        StoredSlice { seed, slice: in_memory(frames.concat()) }
    }

    fn sent(stored: &Stored) -> Vec<u8> {
        let mut out = Vec::new();
        for slice in envelope(stored) {
            let mut bytes = vec![0; usize::try_from(slice.bytes).unwrap()];
            slice.file.read_at(slice.at, &mut bytes).unwrap();
            out.extend_from_slice(&bytes);
        }
        out
    }

    /// Ten records from 100 on, in four frames of two segments, one of them packed.
    fn example() -> Vec<u8> {
        let long = [b'x'; 600];
        let slices = vec![
            slice(7, &[frame(7, 100, &[b"100", b"101"], Codec::Raw)]),
            slice(7, &[frame(7, 102, &[&long, &long, &long], Codec::Lz4), frame(7, 105, &[b""], Codec::Raw)]),
            slice(8, &[frame(8, 106, &[b"106", b"107", b"108", b"109"], Codec::Raw)]),
        ];
        sent(&Stored { slices, next: Offset(110) })
    }

    fn offsets(out: &Records) -> Vec<u64> {
        out.iter().map(|(offset, _)| offset.0).collect()
    }

    #[test]
    fn records_of_stored_frames_are_those_that_were_asked_for() {
        let bytes = example();
        for from in 100..110 {
            let mut out = Records::new();
            assert_eq!(decode(&bytes, MINE, Offset(from), all(), &mut out), Ok(()));
            assert_eq!(offsets(&out), (from..110).collect::<Vec<_>>());
        }
        let mut out = Records::new();
        let limit = FetchLimit { records_max: 4, ..all() };
        assert_eq!(decode(&bytes, MINE, Offset(101), limit, &mut out), Ok(()));
        assert_eq!(offsets(&out), [101, 102, 103, 104]);
        assert_eq!(out.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), [3, 600, 600, 600]);
        out.clear();
        assert_eq!(decode(&bytes, Partition(4), Offset(0), all(), &mut out), Ok(()));
        assert!(out.is_empty(), "frames of another partition are nobody's");
    }

    #[test]
    fn whatever_bit_is_flipped_no_record_is_another_and_what_is_before_it_is_there() {
        let bytes = example();
        let mut whole = Records::new();
        decode(&bytes, MINE, Offset(100), all(), &mut whole).unwrap();
        for at in 0..bytes.len() {
            let (mut wrong, mut out) = (bytes.clone(), Records::new());
            wrong[at] ^= 1 << (at % 8);
            let result = decode(&wrong, MINE, Offset(100), all(), &mut out);
            assert!(out.iter().zip(whole.iter()).all(|(a, b)| a == b), "byte {at}");
            assert!(result.is_err() || out.len() == whole.len(), "byte {at}: {result:?}");
        }
        let (_, second_part) = part_at(&bytes, 0).unwrap();
        for cut in 0..bytes.len() {
            let mut out = Records::new();
            let result = decode(&bytes[..cut], MINE, Offset(100), all(), &mut out);
            assert!(out.iter().zip(whole.iter()).all(|(a, b)| a == b), "cut at {cut}");
            let is_between_parts = cut == 0 || cut == second_part;
            assert!(result.is_err() || is_between_parts, "cut at {cut}");
        }
    }

    #[test]
    fn records_that_are_missing_are_told() {
        let slices = vec![slice(1, &[frame(1, 5, &[b"5"], Codec::Raw), frame(1, 7, &[b"7"], Codec::Raw)])];
        let bytes = sent(&Stored { slices, next: Offset(8) });
        let mut out = Records::new();
        let missing = decode(&bytes, MINE, Offset(5), all(), &mut out).unwrap_err();
        assert_eq!((missing.why, offsets(&out)), ("records are missing before it", vec![5]));
        let mut out = Records::new();
        assert_eq!(decode(&bytes, MINE, Offset(4), all(), &mut out).unwrap_err().at, PART_HEAD_BYTES);
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_none(bytes in vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, MINE, Offset(0), all(), &mut Records::new());
        }
    }
}
