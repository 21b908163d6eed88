//! How the body of a frame is stored: as it is, or as a packed batch.
//!
//! ```text
//! raw:  length · record · length · record …
//! LZ4:  unpacked bytes u32 │ one LZ4 block of the same           (`contracts::packed`)
//! ```
//!
//! A body is packed by who produces it and unpacked by who consumes it. Between them, in the line, in the file, through
//! recovery and to the socket, it stays as it is: its checksum is that of the packed bytes.

use crate::frame::{CODEC_LZ4, CODEC_RAW};
use contracts::packed;

/// Shorter bodies are not tried: a block finds too little in them that it has seen before.
pub const TRIED_BYTES_MIN: usize = 512;
/// What does not shrink by one part in so many is stored as it is: everybody who reads it would pay for next to nothing.
pub const SHRINKS_BY_PART: usize = 8;

/// What a log does to records that it is given one by one. What comes packed stays packed in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Nothing: who is in the same process has no network to spare, and a disk is faster than a core packs. Decision 16.
    #[default]
    Raw,
    /// Packs those of a flush, where that is worth while: less space and fewer bytes to send, for time of the producer.
    Lz4,
}

/// Packs the records that stand behind the first `head_bytes` of a frame, if it is worth while; returns the codec of what
/// stands there then. `room` is kept for its memory.
pub fn pack(frame: &mut Vec<u8>, head_bytes: usize, room: &mut Vec<u8>) -> u8 {
    let records = &frame[head_bytes..];
    if records.len() < TRIED_BYTES_MIN {
        return CODEC_RAW;
    }
    let block = packed::block_of(records, room);
    let bytes_max = records.len() - records.len() / SHRINKS_BY_PART;
    match u32::try_from(records.len()) {
        Ok(bytes) if size_of::<u32>() + block.len() <= bytes_max => {
            frame.truncate(head_bytes);
            frame.extend_from_slice(&bytes.to_le_bytes());
            frame.extend_from_slice(block);
            CODEC_LZ4
        }
        _ => CODEC_RAW,
    }
}

/// From a body to its records; `None` if it is none of this codec. `room` is kept for its memory.
pub fn unpack<'b>(codec: u8, body: &'b [u8], room: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    match codec {
        CODEC_RAW => Some(body),
        CODEC_LZ4 => packed::unpack(body, room),
        _ => None,
    }
}

/// How long the records of a body are, of which only the first bytes need be there; `None` if they cannot be that long.
pub fn unpacked_bytes(codec: u8, body_bytes: usize, begin: &[u8]) -> Option<usize> {
    match codec {
        CODEC_RAW => Some(body_bytes),
        CODEC_LZ4 => packed::unpacked_bytes(body_bytes, begin),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::packed::put_record;

    #[test]
    fn what_shrinks_is_packed_and_the_head_before_it_stays() {
        let mut frame = b"head".to_vec();
        (0..100).for_each(|_| put_record(b"the same again", &mut frame));
        let (before, mut room) = (frame.clone(), Vec::new());
        assert_eq!(pack(&mut frame, 4, &mut room), CODEC_LZ4);
        assert!(frame.starts_with(b"head") && frame.len() < before.len() / 4);
        assert_eq!(unpacked_bytes(CODEC_LZ4, frame.len() - 4, &frame[4..8]), Some(before.len() - 4));
        assert_eq!(unpack(CODEC_LZ4, &frame[4..], &mut room), Some(&before[4..]));
        assert_eq!(unpack(2, &frame[4..], &mut room), None, "nobody knows this codec");
    }

    #[test]
    fn what_is_short_or_does_not_shrink_is_stored_as_it_is() {
        let mut rng = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(100_000).collect();
        for before in [vec![7; TRIED_BYTES_MIN - 1], noise] {
            let (mut frame, mut room) = (before.clone(), Vec::new());
            assert_eq!((pack(&mut frame, 0, &mut room), &frame), (CODEC_RAW, &before));
            assert_eq!(unpack(CODEC_RAW, &frame, &mut room), Some(&before[..]));
        }
    }
}
