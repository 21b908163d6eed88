//! What a sample is, as a pure function of `(seed, client, sequence)`.
//!
//! The tester never remembers what it sent: it can compute every sample again. That is what lets verify check
//! each value after a run of a hundred million samples with two bits of memory a request.

use serde::Serialize;

/// Width of a timestamp in a text format: milliseconds since 1970 have 13 digits from 2001 to 2286.
pub const TIMESTAMP_DIGITS: usize = 13;

/// Width of a value in a text format: `ddd.ddd`.
pub const VALUE_BYTES: usize = 7;

/// The first and the last millisecond that are written with [`TIMESTAMP_DIGITS`] digits.
pub const TIMESTAMP_MS_RANGE: std::ops::RangeInclusive<u64> = 1_000_000_000_000..=9_999_999_999_999;

/// All that the samples of one run have in common.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// The samples' name: `load_<run id>`. Each run has its own, so that an earlier run's samples are never
    /// taken for this one's.
    pub name: String,
    /// What the values are derived from.
    pub seed: u64,
    /// The timestamp of every series' first sample, in ms since 1970.
    pub base_ms: u64,
}

impl Identity {
    /// The timestamp of a series' sample number `sequence`: one a millisecond, so that it is unique there.
    pub fn timestamp_ms(&self, sequence: u64) -> u64 {
        self.base_ms.saturating_add(sequence)
    }

    /// The value of a series' sample number `sequence`.
    pub fn value(&self, client: u32, sequence: u64) -> Value {
        let mixed = mix(self.seed ^ mix((u64::from(client) << 40) ^ sequence));
        // Three digits, a point, three digits: fixed width without a leading zero, which JSON forbids.
        let spread = (mixed % 900_000) as u32;
        Value { thousandths: 100_000 + spread }
    }
}

/// A sample's value, `100.000` to `999.999`, held exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    thousandths: u32,
}

impl Value {
    /// The double that a correct decimal parser reads from what [`Value::write`] writes: both operands are
    /// exact, so the one rounding is the division's, to nearest, as the parser's is.
    pub fn as_f64(self) -> f64 {
        f64::from(self.thousandths) / 1000.0
    }

    /// Writes `ddd.ddd` over the first [`VALUE_BYTES`] bytes of `place`.
    pub fn write(self, place: &mut [u8]) {
        write_digits(&mut place[..3], u64::from(self.thousandths / 1000));
        place[3] = b'.';
        write_digits(&mut place[4..VALUE_BYTES], u64::from(self.thousandths % 1000));
    }
}

/// Fills `place` with the last `place.len()` decimal digits of `number`, zeros in front.
pub fn write_digits(place: &mut [u8], mut number: u64) {
    for byte in place.iter_mut().rev() {
        let digit = (number % 10) as u8;
        *byte = b'0' + digit;
        number /= 10;
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): neighbouring inputs give unrelated outputs.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(seed: u64) -> Identity {
        Identity { name: "load_test".to_owned(), seed, base_ms: 1_700_000_000_000 }
    }

    #[test]
    fn a_written_value_reads_back_as_the_same_double() {
        for sequence in 0..20_000 {
            let value = identity(7).value(3, sequence);
            let mut text = [0; VALUE_BYTES];
            value.write(&mut text);
            let read: f64 = std::str::from_utf8(&text).unwrap().parse().unwrap();
            assert_eq!(read.to_bits(), value.as_f64().to_bits(), "{text:?}");
            assert!((100.0..1000.0).contains(&read));
        }
    }

    #[test]
    fn values_depend_on_seed_client_and_sequence() {
        let value = identity(1).value(1, 1);
        assert_eq!(value, identity(1).value(1, 1));
        assert_ne!(value, identity(2).value(1, 1));
        assert_ne!(value, identity(1).value(2, 1));
        assert_ne!(value, identity(1).value(1, 2));
    }

    #[test]
    fn digits_are_padded_to_the_width() {
        let mut place = *b"xxxxx";
        write_digits(&mut place, 42);
        assert_eq!(&place, b"00042");
    }
}
