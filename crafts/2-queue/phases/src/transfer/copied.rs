//! Slot: how a producer's records become a frame's body, and how they come out of it again. They are copied, as they are.
//!
//! What is wrong with it: text that repeats itself, as samples do, is written, synced, kept and sent at its full length;
//! every byte that a consumer gets is copied out of the file and into the answer, though nobody on the way looks at it;
//! and a batch that a producer sends again, because it has not heard the answer, is there twice.

use queue::{codec::Codec, frame::CODEC_RAW, slots::Transfer};

/// Records as they are.
#[derive(Debug)]
pub struct Copied;

impl Transfer for Copied {
    const GIVES_STORED: bool = false;
    const KEEPS_PACKED: bool = false;
    const KNOWS_BATCHES: bool = false;

    fn pack(_codec: Codec, _frame: &mut Vec<u8>, _room: &mut Vec<u8>) -> u8 {
        CODEC_RAW
    }

    fn unpack<'b>(codec: u8, body: &'b [u8], _room: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        (codec == CODEC_RAW).then_some(body)
    }
}
