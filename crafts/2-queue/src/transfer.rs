//! Slot: how a producer's records become a frame's body, and how they come out of it again. Packed once, by who produces,
//! and unpacked once, by who consumes.
//!
//! A producer packs its own records before the flush, in its own thread and without a lock; or they come packed already,
//! from another machine. From there on nobody looks into them: the line, the file and the socket move fewer bytes, and a
//! fetch over the network is a `sendfile`. What it costs is said in decision 16: time of the producer's core, and that
//! who wants one record unpacks a frame.
//!
//! A batch of an identified producer is one frame, and its head says whose it is: so the table of those batches
//! ([`queue::batches`]) follows from the frames, through every crash.

#[cfg(test)]
mod tests;

use queue::{
    codec::{self, Codec},
    frame::{CODEC_RAW, HEAD_BYTES},
    slots::Transfer,
};

/// Records as LZ4 blocks, where that is worth while.
#[derive(Debug)]
pub struct Packed;

impl Transfer for Packed {
    const GIVES_STORED: bool = true;
    const KEEPS_PACKED: bool = true;
    const KNOWS_BATCHES: bool = true;

    fn pack(codec: Codec, frame: &mut Vec<u8>, room: &mut Vec<u8>) -> u8 {
        match codec {
            Codec::Raw => CODEC_RAW,
            Codec::Lz4 => codec::pack(frame, HEAD_BYTES, room),
        }
    }

    fn unpack<'b>(codec: u8, body: &'b [u8], room: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        codec::unpack(codec, body, room)
    }
}
