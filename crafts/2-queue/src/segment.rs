//! The name and the head of a segment file: `FORMAT.md`.

/// A segment is closed, and another begun, before it would pass this.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// What every segment begins with; the last byte is the version.
const MAGIC: [u8; 4] = *b"SCL\x01";
/// Bytes of a segment's head: the magic, a checksum u32, the first record's offset u64.
pub(crate) const HEAD_BYTES: usize = 16;
const EXTENSION: &str = ".log";
/// Zeros in front, so that names sort as offsets do.
const NAME_DIGITS: usize = 20;

/// What the segment that begins with this record is called.
pub(crate) fn name(first: u64) -> String {
    format!("{first:0NAME_DIGITS$}{EXTENSION}")
}

/// The first record of the segment of this name; `None` if it is no segment.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let right = digits.len() == NAME_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if right { digits.parse().ok() } else { None }
}

/// The head of the segment that begins with this record.
pub(crate) fn head(first: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&MAGIC);
    head[8..].copy_from_slice(&first.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&head[..4]);
    checksum.update(&head[8..]);
    head[4..8].copy_from_slice(&checksum.finalize().to_le_bytes());
    head
}

/// Whether this is the head of the segment that begins with this record.
///
/// # Errors
/// The byte, and what is wrong there.
pub(crate) fn check(found: &[u8; HEAD_BYTES], first: u64) -> Result<(), (u64, String)> {
    if found[..3] != MAGIC[..3] {
        return Err((0, format!("expected {:?} of a segment, found {:?}", &MAGIC[..3], &found[..3])));
    }
    if found[3] != MAGIC[3] {
        return Err((3, format!("expected version {}, found {}", MAGIC[3], found[3])));
    }
    if *found != head(first) {
        return Err((4, format!("its head is not that of a segment which begins with record {first}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_offsets_do_and_read_back() {
        let offsets = [0, 1, 9, 10, 99_999, u64::MAX];
        let names: Vec<_> = offsets.iter().map(|o| name(*o)).collect();
        assert!(names.is_sorted());
        assert_eq!(names.iter().map(|n| first_of(n)).collect::<Vec<_>>(), offsets.map(Some));
        for strange in ["", "groups", "1.log", "0000000000000000000x.log", "00000000000000000000.log.tmp"] {
            assert_eq!(first_of(strange), None, "{strange}");
        }
        assert_eq!(first_of("99999999999999999999.log"), None, "beyond a u64");
    }

    #[test]
    fn a_head_with_any_byte_changed_is_refused() {
        let right = head(77);
        assert_eq!(check(&right, 77), Ok(()));
        for at in 0..HEAD_BYTES {
            let mut wrong = right;
            wrong[at] ^= 1;
            assert!(check(&wrong, 77).is_err(), "byte {at}");
        }
        assert!(check(&right, 78).is_err());
    }
}
