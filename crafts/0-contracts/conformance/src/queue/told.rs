//! How records and offsets are told when a claim is broken: as text where they are text, and never all of them.
//!
//! A list of bytes says nothing to whoever looks for a fault, and three hundred records hide the one that is wrong.

use crate::claim::Check;

/// A record with its offset, as claims compare them.
pub(super) type Owned = (u64, Vec<u8>);

/// Up to so many records, or runs of offsets, are told one by one.
const LISTED_MAX: usize = 4;
/// How much of a payload is shown.
const PAYLOAD_SHOWN_BYTES_MAX: usize = 40;

/// Records that must be these. `what` says what was done to get them.
pub(super) fn same_records(what: &str, got: &[Owned], expected: &[Owned]) -> Check {
    if got == expected {
        return Ok(());
    }
    let first = got.iter().zip(expected).find(|(got, expected)| got != expected);
    let where_it_is = first.map_or_else(String::new, |pair| difference(pair, got.len().max(expected.len())));
    Err(format!("{what}: expected {}; got {}{where_it_is}", records(expected), records(got)))
}

/// What the two lists do not show: which of many records is another one, or which byte of a long one.
fn difference((got, expected): (&Owned, &Owned), records: usize) -> String {
    if record(got) == record(expected) {
        let same = got.1.iter().zip(&expected.1).take_while(|(got, expected)| got == expected).count();
        return format!(", where record {} differs from byte {same} on", got.0);
    }
    if records <= LISTED_MAX {
        return String::new();
    }
    format!(", where {} stands in place of {}", record(got), record(expected))
}

/// Offsets that must be these.
pub(super) fn same_offsets(what: &str, got: &[u64], expected: &[u64]) -> Check {
    if got == expected {
        return Ok(());
    }
    Err(format!("{what}: expected {}; got {}", offsets(expected), offsets(got)))
}

/// `40 records, 0 "record 0000" to 39 "record 0039"`; a few one by one.
pub(super) fn records(records: &[Owned]) -> String {
    match records {
        [] => "no records".to_owned(),
        [one] => format!("one record, {}", record(one)),
        few if few.len() <= LISTED_MAX => few.iter().map(record).collect::<Vec<_>>().join(", "),
        [first, .., last] => format!("{} records, {} to {}", records.len(), record(first), record(last)),
    }
}

fn record((offset, bytes): &Owned) -> String {
    format!("{offset} {}", payload(bytes))
}

/// `"record 0000"`, and the beginning of a long one; bytes that are no text are escaped.
fn payload(bytes: &[u8]) -> String {
    let shown = bytes.get(..PAYLOAD_SHOWN_BYTES_MAX).unwrap_or(bytes).escape_ascii();
    if bytes.len() > PAYLOAD_SHOWN_BYTES_MAX {
        format!("\"{shown}…\" ({} bytes)", bytes.len())
    } else {
        format!("\"{shown}\"")
    }
}

/// `offsets 0 to 299`, `offsets 0 to 8, 10`: runs of consecutive ones, the first few.
fn offsets(offsets: &[u64]) -> String {
    let mut runs =
        offsets.chunk_by(|before, after| before.checked_add(1) == Some(*after)).map(|run| match run {
            [first, .., last] => format!("{first} to {last}"),
            run => run.iter().map(u64::to_string).collect(),
        });
    let mut shown: Vec<String> = runs.by_ref().take(LISTED_MAX).collect();
    shown.extend(runs.next().map(|_| format!("… ({} in all)", offsets.len())));
    if shown.is_empty() { "no offsets".to_owned() } else { format!("offsets {}", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(range: std::ops::Range<u64>) -> Vec<Owned> {
        range.map(|offset| (offset, format!("record {offset}").into_bytes())).collect()
    }

    #[test]
    fn a_difference_is_told_as_text_and_not_with_all_records() {
        let mut wrong = numbered(0..300);
        wrong[17].1 = b"other\0".to_vec();
        let why = same_records("a fetch from 0", &wrong, &numbered(0..300)).unwrap_err();
        assert_eq!(
            why,
            "a fetch from 0: expected 300 records, 0 \"record 0\" to 299 \"record 299\"; \
             got 300 records, 0 \"record 0\" to 299 \"record 299\", \
             where 17 \"other\\x00\" stands in place of 17 \"record 17\""
        );
        let why = same_records("a fetch from 0", &[], &numbered(0..2)).unwrap_err();
        assert_eq!(why, "a fetch from 0: expected 0 \"record 0\", 1 \"record 1\"; got no records");
        let [long, other] = [0, 1].map(|last| vec![(0, [vec![7; 5000], vec![last]].concat())]);
        let why = same_records("a fetch", &other, &long).unwrap_err();
        assert!(why.ends_with("(5001 bytes), where record 0 differs from byte 5000 on"), "{why}");
        assert_eq!(same_records("a fetch", &numbered(3..4), &numbered(3..4)), Ok(()));
    }

    #[test]
    fn a_long_payload_is_told_by_its_beginning() {
        assert_eq!(payload(b"a \"b\"\n"), r#""a \"b\"\n""#);
        let long = payload(&[b'x'; 5000]);
        assert_eq!(long, format!("\"{}…\" (5000 bytes)", "x".repeat(PAYLOAD_SHOWN_BYTES_MAX)));
    }

    #[test]
    fn offsets_are_told_as_runs() {
        for (list, told) in [
            (vec![], "no offsets"),
            (vec![2], "offsets 2"),
            ((0..300).collect(), "offsets 0 to 299"),
            (vec![0, 1, 2, 4, 9, 10], "offsets 0 to 2, 4, 9 to 10"),
            (vec![0, 2, 4, 6, 8, u64::MAX], "offsets 0, 2, 4, 6, … (6 in all)"),
        ] {
            assert_eq!(offsets(&list), told);
        }
        assert!(
            same_offsets("placed", &[0, 2], &[0, 1])
                .unwrap_err()
                .ends_with("offsets 0 to 1; got offsets 0, 2")
        );
    }
}
