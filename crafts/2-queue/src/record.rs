//! The bytes of a record: `FORMAT.md`.
//!
//! A record learns its offset only under the lock of the tail. So the checksum covers the length, the payload and
//! the offset in this order: the long part is computed before, and under the lock come eight bytes.

use contracts::limits::RECORD_BYTES_MAX;
use crc32fast::Hasher;

/// Of the payload, u32.
const LENGTH: usize = 0;
/// Of length, payload and offset, u32.
const CHECKSUM: usize = LENGTH + 4;
/// u64.
const OFFSET: usize = CHECKSUM + 4;
/// Bytes before the payload.
pub(crate) const HEAD_BYTES: usize = OFFSET + 8;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    length: u32,
    checksum: u32,
    offset: u64,
}

/// Appends a record that has no place yet; returns its checksum as far as it is known.
///
/// # Panics
/// If the payload passes 4 GiB.
pub(crate) fn put(payload: &[u8], out: &mut Vec<u8>) -> Hasher {
    let length = u32::try_from(payload.len()).expect("a record is bounded far below 4 GiB").to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[0; HEAD_BYTES - CHECKSUM]);
    out.extend_from_slice(payload);
    let mut known = Hasher::new();
    known.update(&length);
    known.update(payload);
    known
}

/// Gives a record that [`put`] wrote its place.
pub(crate) fn place(record: &mut [u8], known: &Hasher, offset: u64) {
    let mut checksum = known.clone();
    checksum.update(&offset.to_le_bytes());
    record[CHECKSUM..OFFSET].copy_from_slice(&checksum.finalize().to_le_bytes());
    record[OFFSET..HEAD_BYTES].copy_from_slice(&offset.to_le_bytes());
}

impl Head {
    /// Reads a head. Nothing is known of the payload yet.
    pub(crate) fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [l0, l1, l2, l3, c0, c1, c2, c3, offset @ ..] = bytes;
        Self {
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            checksum: u32::from_le_bytes([c0, c1, c2, c3]),
            offset: u64::from_le_bytes(offset),
        }
    }

    /// Bytes of the payload, if a record can have so many.
    pub(crate) fn payload_bytes(&self) -> Option<usize> {
        usize::try_from(self.length).ok().filter(|bytes| *bytes <= RECORD_BYTES_MAX)
    }

    /// The offset that it claims.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether nothing has changed since it was written.
    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        let mut checksum = Hasher::new();
        checksum.update(&self.length.to_le_bytes());
        checksum.update(payload);
        checksum.update(&self.offset.to_le_bytes());
        checksum.finalize() == self.checksum
    }
}
