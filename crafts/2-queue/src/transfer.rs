//! Slot: how a producer's records become a frame's body, and how they come out of it again. As they are.

use queue::{frame::CODEC_RAW, slots::Transfer};

/// Records as they are.
#[derive(Debug)]
pub struct Packed;

impl Transfer for Packed {
    const GIVES_STORED: bool = false;

    fn pack(_frame: &mut Vec<u8>, _room: &mut Vec<u8>) -> u8 {
        CODEC_RAW
    }

    fn unpack<'b>(codec: u8, body: &'b [u8], _room: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        (codec == CODEC_RAW).then_some(body)
    }
}
