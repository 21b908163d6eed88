//! Where things end: the searches that every byte of a head goes through, eight bytes at a time.
//!
//! Words of eight bytes in a register need neither unsafe code nor a particular processor.

use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Where the head ends, its empty line included. It is known not to end before `searched`.
pub(super) fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END));
    let from = searched.saturating_sub(END.len() - 1);
    FINDER.find(&bytes[from..]).map(|at| from + at + END.len())
}

/// Where the last line ends that ends behind `searched`; 0 if there is none.
pub(super) fn end_of_lines(bytes: &[u8], searched: usize) -> usize {
    memchr::memrchr(b'\n', &bytes[searched..]).map_or(0, |at| searched + at + 1)
}

/// The first byte from `at` on that is not of a token.
pub(super) fn end_of_token(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at += first_word(bytes, at, other_than_letters);
        match bytes.get(at) {
            Some(&byte) if is_token_byte(byte) => at += 1,
            _ => return at,
        }
    }
}

/// The first byte from `at` on that is a control character, tabs aside.
pub(super) fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at += first_word(bytes, at, control);
        match bytes.get(at) {
            Some(&byte) if !byte.is_ascii_control() || byte == b'\t' => at += 1,
            _ => return at,
        }
    }
}

/// The first byte from `at` on that may not stand in a target.
pub(super) fn end_of_target(bytes: &[u8], mut at: usize) -> usize {
    at += first_word(bytes, at, other_than_target);
    let is_target = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
    while bytes.get(at).is_some_and(is_target) {
        at += 1;
    }
    at
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
    TABLE[usize::from(byte)]
}

/// Whether this is made of what hosts and ports are made of (RFC 3986 section 3.2). No `@`: nobody logs in by a URI.
pub(super) fn is_host(bytes: &[u8]) -> bool {
    const TABLE: [bool; 256] = table(b"-._~%!$&'()*+,;=:[]");
    // To the end in any case: hosts are short, and a loop without an exit is unrolled.
    bytes.iter().fold(true, |good, byte| good & TABLE[usize::from(*byte)])
}

const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// How many bytes from `at` on are looked for in vain, as long as whole words are left.
#[inline]
fn first_word(bytes: &[u8], at: usize, find: impl Fn(u64) -> u64) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut skipped = 0;
    for word in rest.as_chunks::<8>().0 {
        let found = find(u64::from_le_bytes(*word));
        if found != 0 {
            return skipped + found.trailing_zeros() as usize / 8;
        }
        skipped += 8;
    }
    skipped
}

/// The high bit of each byte that is neither a letter nor a hyphen. Most names are made of nothing else.
///
/// Adding to the lower seven bits carries into the eighth from some byte on: so one addition compares eight bytes.
#[inline]
fn other_than_letters(word: u64) -> u64 {
    let low = word & !HIGH;
    let letter = low | all(0x20);
    let is_letter = (letter + all(0x80 - b'a')) & !(letter + all(0x7f - b'z'));
    let is_no_hyphen = (low ^ all(b'-')) + all(0x7f);
    ((!is_letter & is_no_hyphen) | word) & HIGH
}

/// The high bit of each byte that is not visible ASCII, and of `#`.
#[inline]
fn other_than_target(word: u64) -> u64 {
    let low = word & !HIGH;
    let is_from_exclamation = low + all(0x80 - b'!');
    let is_delete = low + all(0x80 - 0x7f);
    let is_no_hash = (low ^ all(b'#')) + all(0x7f);
    (!is_from_exclamation | is_delete | !is_no_hash | word) & HIGH
}

/// The high bit of each byte below a space, and of 0x7f.
#[inline]
fn control(word: u64) -> u64 {
    let low = word & !HIGH;
    let is_from_space = low + all(0x80 - b' ');
    let is_delete = low + all(0x80 - 0x7f);
    (!is_from_space | is_delete) & !word & HIGH
}

const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Letters, digits and these.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of a word, among bytes that are passed over and behind a word of them.
    fn check(end: fn(&[u8], usize) -> usize, filler: u8, is_passed: impl Fn(u8) -> bool) {
        for (place, byte) in (0..20).flat_map(|place| (0..=255).map(move |byte| (place, byte))) {
            let mut bytes = [filler; 24];
            bytes[place] = byte;
            let expected = if is_passed(byte) { bytes.len() } else { place };
            assert_eq!(end(&bytes, 0), expected, "byte {byte:#x} at {place}");
            assert_eq!(end(&bytes, place), expected, "byte {byte:#x} at {place}, from there");
            assert_eq!(end(&bytes, bytes.len()), bytes.len());
        }
    }

    #[test]
    fn each_byte_of_a_word_is_judged_as_by_itself() {
        check(end_of_token, b'z', |b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        check(end_of_token, b'-', |b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        check(end_of_text, b' ', |b| b == b'\t' || (b >= b' ' && b != 0x7f));
        check(end_of_text, b'\t', |b| b == b'\t' || (b >= b' ' && b != 0x7f));
        check(end_of_target, b'/', |b| b.is_ascii_graphic() && b != b'#');
    }

    #[test]
    fn an_end_is_found_wherever_the_search_was_broken_off() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        for searched in 0..27 {
            assert_eq!(end_of_head(head, searched), Some(27), "searched {searched}");
            assert_eq!(end_of_head(&head[..26], searched.min(26)), None, "searched {searched}");
        }
        assert_eq!(end_of_lines(&head[..20], 3), 16);
        assert_eq!(end_of_lines(&head[..20], 16), 0);
    }
}
