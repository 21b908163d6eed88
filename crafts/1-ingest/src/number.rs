//! Decimal numbers: text → `f64`, correctly rounded. All text formats share it; each decides which shapes it takes.
//!
//! Nearly every number that a monitoring agent sends is short: up to 19 digits fit a `u64`, and if they are below 2^53
//! and the power of ten is small, one multiplication or division of two exact floats gives the correctly rounded
//! result (W. D. Clinger, "How to read floating point numbers accurately", 1990). What has up to 19 digits and a power of
//! ten below 2^64 takes one division of 128 bits. The rest goes to the standard library, which is exact too and slower.
//!
//! It does no trimming, knows no `NaN` or `Inf`, and allocates nothing.

/// A number, rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The nearest `f64`, ties to even. Infinite if it is beyond the largest.
    pub value: f64,
    /// Bytes of its text.
    pub bytes: usize,
    /// Whether it has neither point nor exponent.
    pub is_integer: bool,
}

/// The number that `bytes` begin with: [`Decimal::scan`] and [`Decimal::to_f64`] at once, which is faster.
#[inline(always)]
pub fn scan_f64(bytes: &[u8]) -> Option<Number> {
    match Decimal::scan_short(bytes) {
        Some(short) => Some(short.rounded(short.short_f64())),
        None => scan_long_f64(bytes),
    }
}

#[inline(never)]
fn scan_long_f64(bytes: &[u8]) -> Option<Number> {
    let decimal = Decimal::scan_long(bytes)?;
    Some(decimal.rounded(decimal.to_f64()))
}

/// The integer `-? d+` that `bytes` begin with, and its bytes, if it fits.
#[inline]
pub fn scan_i64(bytes: &[u8]) -> Option<(i64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let sign_bytes = usize::from(negative);
    let (number, digits) = scan_digits(&bytes[sign_bytes..], 0);
    let end = sign_bytes + digits;
    match i64::try_from(number) {
        Ok(number) if (1..=19).contains(&digits) => Some((if negative { -number } else { number }, end)),
        _ => Some((parsed(&bytes[..end])?, end)),
    }
}

/// A decimal that was scanned, and not rounded yet. What stands behind it is its caller's to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal<'a> {
    /// Sign, digits, point and exponent as they stand.
    pub text: &'a [u8],
    /// Whether it begins with `-`.
    pub negative: bool,
    /// Digits before the point; may be 0 if some stand behind it.
    pub integer_digits: usize,
    /// Digits behind the point, if there is a point; may be 0 if some stand before it.
    pub fraction_digits: Option<usize>,
    /// Whether there is an exponent.
    pub has_exponent: bool,
    /// All digits as one integer, modulo 2^64.
    mantissa: u64,
    /// The power of ten that `mantissa` is to be multiplied with.
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Scans the longest `[+-]? (d+ [. d*] | . d+) ([eE] [+-]? d+)?` that `bytes` begin with.
    // Inlined, so that nobody builds the whole of it in memory to look at a part.
    #[inline(always)]
    pub fn scan(bytes: &'a [u8]) -> Option<Self> {
        match Self::scan_short(bytes) {
            Some(short) => Some(short),
            None => Self::scan_long(bytes),
        }
    }

    /// Up to fifteen digits and a point, without a loop: the number of digits cannot be foreseen, and a branch that is
    /// foreseen wrongly costs more than all of this. `None` says nothing.
    #[inline(always)]
    fn scan_short(bytes: &'a [u8]) -> Option<Self> {
        let (negative, sign_bytes) = sign(bytes);
        let word = u128::from_le_bytes(*bytes.get(sign_bytes..)?.first_chunk()?);
        // The first byte of the text is the lowest of the word.
        let values = word ^ (EVERY * 0x30);
        let no_digits = no_digits(values);
        let integer_bits = no_digits.trailing_zeros() & !7;
        if integer_bits == u128::BITS {
            return None;
        }
        let (mut digits, mut digit_bits, mut end_bits) = (values, integer_bits, integer_bits);
        let mut fraction_digits = None;
        let byte_at = |bits: u32| bytes.get(sign_bytes + (bits / 8) as usize).copied();
        if byte_at(integer_bits) == Some(b'.') {
            let behind_point = no_digits & (no_digits - 1);
            end_bits = behind_point.trailing_zeros() & !7;
            if end_bits == u128::BITS {
                return None;
            }
            let before_point = (1 << integer_bits) - 1;
            digits = (values & before_point) | ((values >> 8) & !before_point);
            digit_bits = end_bits - 8;
            fraction_digits = Some(((digit_bits - integer_bits) / 8) as usize);
        }
        if digit_bits == 0 || matches!(byte_at(end_bits), Some(b'e' | b'E')) {
            return None;
        }
        // Leading zeros come in from below, and what stands behind the number falls out above.
        let digits = digits << (u128::BITS - digit_bits);
        // The cast takes the lower half of the word, which is meant.
        #[allow(clippy::cast_possible_truncation)]
        let [upper, lower] = [digits, digits >> 64].map(|half| join_digits(half as u64));
        let mantissa = upper * 100_000_000 + lower;
        Some(Self {
            text: &bytes[..sign_bytes + (end_bits / 8) as usize],
            negative,
            integer_digits: (integer_bits / 8) as usize,
            fraction_digits,
            has_exponent: false,
            mantissa,
            exponent: -i64::from((digit_bits - integer_bits) / 8),
        })
    }

    #[inline(never)]
    fn scan_long(bytes: &'a [u8]) -> Option<Self> {
        let (negative, integer_at) = sign(bytes);
        let (mut mantissa, integer_digits) = scan_digits(&bytes[integer_at..], 0);
        let mut end = integer_at + integer_digits;
        let mut fraction_digits = None;
        if bytes.get(end) == Some(&b'.') {
            let (all_digits, digits) = scan_digits(&bytes[end + 1..], mantissa);
            mantissa = all_digits;
            fraction_digits = Some(digits);
            end += 1 + digits;
        }
        let digits_behind = fraction_digits.unwrap_or(0);
        if integer_digits + digits_behind == 0 {
            return None;
        }
        let mut exponent = -i64::try_from(digits_behind).ok()?;
        let written = scan_exponent(bytes, end);
        if let Some((power, behind)) = written {
            exponent = exponent.saturating_add(power);
            end = behind;
        }
        let has_exponent = written.is_some();
        let text = &bytes[..end];
        Some(Self { text, negative, integer_digits, fraction_digits, has_exponent, mantissa, exponent })
    }

    /// Whether it has neither point nor exponent.
    pub fn is_integer(&self) -> bool {
        self.fraction_digits.is_none() && !self.has_exponent
    }

    /// The nearest `f64`, ties to even. Infinite if it is beyond the largest.
    #[inline]
    pub fn to_f64(&self) -> f64 {
        self.exact_f64().or_else(|| self.wide_f64()).unwrap_or_else(|| self.parsed_f64())
    }

    /// The integer, if it is one and fits.
    #[inline]
    pub fn to_u64(&self) -> Option<u64> {
        if !self.is_integer() || self.negative {
            return None;
        }
        if self.fits_u64() { Some(self.mantissa) } else { parsed(self.text) }
    }

    /// The integer, if it is one and fits.
    #[inline]
    pub fn to_i64(&self) -> Option<i64> {
        if !self.is_integer() {
            return None;
        }
        match i64::try_from(self.mantissa) {
            Ok(n) if self.fits_u64() => Some(if self.negative { -n } else { n }),
            _ => parsed(self.text),
        }
    }

    /// Whether no digit was lost: 10^19 - 1 is below 2^64.
    fn fits_u64(&self) -> bool {
        self.integer_digits + self.fraction_digits.unwrap_or(0) <= 19
    }

    /// Both operands are exact, so that one operation rounds once.
    #[inline]
    fn exact_f64(&self) -> Option<f64> {
        if self.mantissa > MANTISSA_MAX || !self.fits_u64() {
            return None;
        }
        let power = *POWERS_OF_TEN.get(usize::try_from(self.exponent.unsigned_abs()).ok()?)?;
        // Exact: the mantissa is at most 2^53.
        let digits = self.mantissa as f64;
        let value = if self.exponent < 0 { digits / power } else { digits * power };
        Some(if self.negative { -value } else { value })
    }

    #[inline(always)]
    fn rounded(&self, value: f64) -> Number {
        Number { value, bytes: self.text.len(), is_integer: self.is_integer() }
    }

    /// The same for what [`Decimal::scan_short`] took: fifteen digits always fit.
    #[inline(always)]
    fn short_f64(&self) -> f64 {
        let value = self.mantissa as f64 / POWERS_OF_TEN[self.fraction_digits.unwrap_or(0) & 15];
        if self.negative { -value } else { value }
    }

    /// Up to 19 digits and a power of ten that fits 64 bits: the exact product, or a quotient of 62 bits at least and
    /// whether it has a remainder, is rounded once. These are the numbers that programs print with all their digits.
    #[inline]
    fn wide_f64(&self) -> Option<f64> {
        if self.mantissa == 0 || !self.fits_u64() {
            return None;
        }
        let power = 10_u64.checked_pow(u32::try_from(self.exponent.unsigned_abs()).ok()?)?;
        let value = if self.exponent >= 0 {
            (u128::from(self.mantissa) * u128::from(power)) as f64
        } else {
            // Both fill their 64 bits; the quotient has 62 or 63, which leaves bits below the 53 of a float to round by.
            let (shift, power_shift) = (self.mantissa.leading_zeros(), power.leading_zeros());
            let dividend = u128::from(self.mantissa << shift) << 62;
            let divisor = u128::from(power << power_shift);
            let quotient = u64::try_from(dividend / divisor).ok()?;
            let has_remainder = u128::from(quotient) * divisor != dividend;
            let rounded = (quotient | u64::from(has_remainder)) as f64;
            // A power of two, so that nothing is rounded again.
            rounded * 2_f64.powi(i32::try_from(power_shift).ok()? - i32::try_from(shift).ok()? - 62)
        };
        Some(if self.negative { -value } else { value })
    }

    #[cold]
    fn parsed_f64(&self) -> f64 {
        // What `scan` took is a subset of what the standard library takes.
        parsed(self.text).unwrap_or(f64::NAN)
    }
}

/// Integers up to here are exact as `f64`.
const MANTISSA_MAX: u64 = 1 << 53;

/// The powers of ten that are exact as `f64`: 5^22 is below 2^53.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Appends the digits that `bytes` begin with to `number`, modulo 2^64. Returns how many there are.
#[inline]
fn scan_digits(bytes: &[u8], mut number: u64) -> (u64, usize) {
    let mut rest = bytes;
    while let Some((eight, behind)) = rest.split_first_chunk()
        && let Some(eight) = eight_digits(*eight)
    {
        number = number.wrapping_mul(100_000_000).wrapping_add(eight);
        rest = behind;
    }
    while let [byte @ b'0'..=b'9', behind @ ..] = rest {
        number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        rest = behind;
    }
    (number, bytes.len() - rest.len())
}

/// The power behind `e`, and where it ends. Powers beyond 9,999 are all the same: zero or infinity.
#[inline]
fn scan_exponent(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    if !matches!(bytes.get(at), Some(b'e' | b'E')) {
        return None;
    }
    let negative = bytes.get(at + 1) == Some(&b'-');
    let digits_at = at + 1 + usize::from(negative || bytes.get(at + 1) == Some(&b'+'));
    let digits = bytes.get(digits_at..)?.iter().take_while(|b| b.is_ascii_digit());
    let (power, count) = digits.fold((0, 0), |(power, count), b| {
        let power: i64 = power * 10 + i64::from(b - b'0');
        (power.min(9_999), count + 1)
    });
    (count > 0).then(|| (if negative { -power } else { power }, digits_at + count))
}

/// The number that eight digits make, if they are digits.
#[inline]
fn eight_digits(bytes: [u8; 8]) -> Option<u64> {
    let values = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    let no_digits = ((values & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | values;
    (no_digits & 0x8080_8080_8080_8080 == 0).then(|| join_digits(values))
}

/// One in every byte of a word.
const EVERY: u128 = u128::MAX / 0xff;

/// The high bit of every byte that is not the value of a digit: a value above 9 becomes at least 0x80 if 0x76 is added.
/// No addition carries into its neighbour.
#[inline(always)]
fn no_digits(values: u128) -> u128 {
    (((values & (EVERY * 0x7f)) + EVERY * 0x76) | values) & (EVERY * 0x80)
}

/// The number that eight digits make, the first of them in the lowest byte: pairs, then fours, then all, each by one
/// multiplication of the whole word (SWAR).
#[inline]
fn join_digits(values: u64) -> u64 {
    let pairs = (values.wrapping_mul((10 << 8) + 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul((100 << 16) + 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul((10_000 << 32) + 1) >> 32
}

/// Whether there is a minus, and the bytes of either sign.
#[inline]
fn sign(bytes: &[u8]) -> (bool, usize) {
    let first = bytes.first().copied();
    let negative = first == Some(b'-');
    (negative, usize::from(negative || first == Some(b'+')))
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(text: &str) -> Option<(&str, f64)> {
        let decimal = Decimal::scan(text.as_bytes());
        let at_once = scan_f64(text.as_bytes()).map(|n| (n.value.to_bits(), n.bytes, n.is_integer));
        assert_eq!(decimal.map(|d| (d.to_f64().to_bits(), d.text.len(), d.is_integer())), at_once, "{text}");
        decimal.map(|d| (std::str::from_utf8(d.text).unwrap(), d.to_f64()))
    }

    #[test]
    fn the_longest_decimal_is_taken_and_not_more() {
        let taken: [(&str, &str, f64); 14] = [
            ("1", "1", 1.0),
            ("-0", "-0", -0.0),
            ("+.5x", "+.5", 0.5),
            ("1.,", "1.", 1.0),
            ("12.34,", "12.34", 12.34),
            ("1e5 ", "1e5", 1e5),
            ("1E+05", "1E+05", 1e5),
            ("1e", "1", 1.0),
            ("1e-", "1", 1.0),
            ("1.5e-3i", "1.5e-3", 1.5e-3),
            ("42i", "42", 42.0),
            ("1.2.3", "1.2", 1.2),
            ("1e99999999999999999999", "1e99999999999999999999", f64::INFINITY),
            ("0e99999999999999999999", "0e99999999999999999999", 0.0),
        ];
        for (text, expected, value) in taken {
            let (taken, found) = scan(text).unwrap();
            assert_eq!((taken, found.to_bits()), (expected, value.to_bits()), "{text}");
        }
        for text in ["", "-", "+", ".", "-.", ".e1", "e1", "x", "--1", "NaN", "inf", " 1"] {
            assert_eq!(scan(text), None, "{text}");
            assert_eq!(scan_i64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn integers_that_fit_are_exact_and_others_are_none() {
        let i64_of = |text: &str| {
            let decimal = Decimal::scan(text.as_bytes()).unwrap();
            if decimal.is_integer() {
                let at_once = scan_i64(text.as_bytes()).map(|(number, bytes)| (number, bytes == text.len()));
                assert_eq!(at_once, decimal.to_i64().map(|number| (number, true)), "{text}");
            }
            decimal.to_i64()
        };
        let u64_of = |text: &str| Decimal::scan(text.as_bytes()).unwrap().to_u64();
        assert_eq!(i64_of("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(i64_of("9223372036854775807"), Some(i64::MAX));
        assert_eq!(i64_of("9223372036854775808"), None);
        assert_eq!(i64_of("-9223372036854775809"), None);
        assert_eq!(i64_of("00000000000000000000000042"), Some(42));
        assert_eq!(u64_of("18446744073709551615"), Some(u64::MAX));
        assert_eq!(u64_of("18446744073709551616"), None, "one more than fits");
        assert_eq!(u64_of("18446744073709551658"), None, "42 modulo 2^64");
        assert_eq!(u64_of("-1"), None);
        assert_eq!((i64_of("1.0"), i64_of("1e3"), u64_of("1e3")), (None, None, None));
    }

    #[test]
    fn numbers_between_two_floats_go_to_the_nearer_and_ties_to_the_even_one() {
        for text in [
            "9007199254740993",
            "9007199254740993.0000000000000000000001",
            "2.2250738585072011e-308",
            "1.7976931348623157e308",
            "1.7976931348623159e308",
            "4.9406564584124654e-324",
            "2.4703282292062327e-324",
            "123456789012345678901234567890",
            "0.000000000000000000000000000001",
            "8.5e22",
            "9007199254740992e22",
        ] {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(scan(text).unwrap().1.to_bits(), expected.to_bits(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_float_comes_back_bit_for_bit(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                for text in [format!("{value:?}"), format!("{value}"), format!("{value:e}")] {
                    let (taken, found) = scan(&text).unwrap();
                    prop_assert_eq!((taken, found.to_bits()), (text.as_str(), bits));
                }
            }
        }

        #[test]
        fn short_decimals_are_what_the_standard_library_says(
            text in "[+-]?([0-9]{1,12}(\\.[0-9]{0,9})?|\\.[0-9]{1,9})([eE][+-]?[0-9]{1,2})?",
        ) {
            let expected: f64 = text.parse().unwrap();
            let (taken, found) = scan(&text).unwrap();
            prop_assert_eq!((taken, found.to_bits()), (text.as_str(), expected.to_bits()));
        }

        #[test]
        fn any_bytes_are_a_prefix_that_the_standard_library_takes_or_none(text in "[-+.eE0-9x]{0,24}") {
            if let Some((taken, found)) = scan(&text) {
                prop_assert!(text.starts_with(taken));
                let expected: f64 = taken.parse().unwrap();
                prop_assert_eq!(found.to_bits(), expected.to_bits());
            } else {
                // No longer prefix is a number either.
                for end in 1..=text.len() {
                    prop_assert!(text[..end].parse::<f64>().is_err(), "{}", &text[..end]);
                }
            }
        }

        #[test]
        fn eight_digits_are_eight_digits_and_nothing_else(bytes in any::<[u8; 8]>(), number in 0..100_000_000_u64) {
            let is_number = bytes.iter().all(u8::is_ascii_digit);
            prop_assert_eq!(eight_digits(bytes).is_some(), is_number);
            prop_assert_eq!(eight_digits(*format!("{number:08}").as_bytes().first_chunk().unwrap()), Some(number));
            let mut near = *format!("{number:08}").as_bytes().first_chunk::<8>().unwrap();
            near[usize::try_from(number % 8).unwrap()] = bytes[0];
            prop_assert_eq!(eight_digits(near).is_some(), bytes[0].is_ascii_digit());
        }
    }
}
