//! JSON text, read from front to back, strictly as RFC 8259 has it.
//!
//! A [`Reader`] stands at a byte of a text and moves over what it is told to read. What it gives out is borrowed, with
//! its escapes checked and not resolved: hardly any text holds one, and who needs them resolved knows where to put them.
//! It knows nothing of metrics, and makes no tree.

use super::fault::{Fault, Wrong};
use contracts::limits::JSON_DEPTH_MAX;
use ingest::number::Decimal;
use std::cmp::Ordering;

/// A string, without its quotes and with its escapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'t> {
    pub(super) raw: &'t str,
    pub(super) escaped: bool,
}

impl<'t> Text<'t> {
    /// Its characters, escapes resolved.
    pub(super) fn chars(self) -> impl Iterator<Item = char> + 't {
        unescaped(self.raw)
    }

    /// Whether it says this, escapes resolved.
    pub(super) fn is(self, word: &str) -> bool {
        if self.escaped { self.chars().eq(word.chars()) } else { self.raw == word }
    }

    /// The order of what both say: that of characters is that of their bytes in UTF-8.
    pub(super) fn cmp(self, other: Self) -> Ordering {
        if self.escaped || other.escaped { self.chars().cmp(other.chars()) } else { self.raw.cmp(other.raw) }
    }
}

/// The characters of a string that was read before, escapes resolved.
pub(super) fn unescaped(raw: &str) -> impl Iterator<Item = char> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let next = raw[at..].chars().next()?;
        let (c, length) = if next == '\\' { escape(raw.as_bytes(), at)? } else { (next, next.len_utf8()) };
        at += length;
        Some(c)
    })
}

/// So few digits are an integer that a double holds exactly, and so are the powers of ten below.
const SHORT_BYTES_MAX: usize = 15;
const POWERS_OF_TEN: [f64; SHORT_BYTES_MAX] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// A short number: all its digits as an integer, and how many of them stand behind the point, if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    digits: u64,
    behind_point: Option<usize>,
}

impl Short {
    /// The nearest double: a quotient of two exact ones is rounded once.
    #[inline]
    pub(super) fn to_f64(self) -> f64 {
        self.digits as f64 / POWERS_OF_TEN[self.behind_point.unwrap_or(0)]
    }

    #[inline]
    pub(super) fn to_i64(self) -> Option<i64> {
        if self.behind_point.is_none() { i64::try_from(self.digits).ok() } else { None }
    }
}

/// A place in a text.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0 }
    }

    /// The byte at which it stands.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What stands there; nothing at the end.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// What stands behind that.
    #[inline]
    pub(super) fn peek_behind(&self) -> Option<u8> {
        self.bytes.get(self.at + 1).copied()
    }

    /// Goes over white space. Machines write none: one comparison tells.
    #[inline]
    pub(super) fn skip_space(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.skip_some_space();
        }
    }

    #[cold]
    fn skip_some_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Nothing but white space may be left.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at < self.bytes.len() { self.bad(Wrong::NotTheEnd) } else { Ok(()) }
    }

    /// Enters the object or array whose bracket stands here.
    #[inline]
    pub(super) fn enter(&mut self) {
        self.at += 1;
    }

    /// Goes to the next key of the object that was entered; `false` behind the object. `first`: no member was read yet.
    #[inline]
    pub(super) fn next_member(&mut self, first: bool) -> Result<bool, Fault> {
        self.next(first, b'}', Wrong::NoCommaInObject)
    }

    /// Reads the key that stands here; the reader then stands at its value.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Text<'t>, Fault> {
        if self.peek() != Some(b'"') {
            return self.bad(Wrong::NoKey);
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return self.bad(Wrong::NoColon);
        }
        self.at += 1;
        self.skip_space();
        Ok(key)
    }

    /// Goes over `word` if it stands here.
    #[inline]
    pub(super) fn take(&mut self, word: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Goes to the next item of the array that was entered; `false` behind the array.
    #[inline]
    pub(super) fn next_item(&mut self, first: bool) -> Result<bool, Fault> {
        self.next(first, b']', Wrong::NoCommaInArray)
    }

    #[inline]
    fn next(&mut self, first: bool, close: u8, otherwise: Wrong) -> Result<bool, Fault> {
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                self.skip_space();
                Ok(true)
            }
            _ => self.bad(otherwise),
        }
    }

    /// Reads the string whose quote stands here.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text<'t>, Fault> {
        let start = self.at + 1;
        let end = plain_until(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Text { raw: &self.text[start..end], escaped: false });
        }
        self.string_with_escapes(start, end)
    }

    /// The same for a string that began without escapes or control characters up to `at`.
    #[cold]
    fn string_with_escapes(&mut self, start: usize, mut at: usize) -> Result<Text<'t>, Fault> {
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => match escape(self.bytes, at) {
                    Some((_, length)) => at += length,
                    None => return bad(at, Wrong::BadEscape),
                },
                Some(_) => return bad(at, Wrong::ControlCharacter),
                None => return bad(start - 1, Wrong::NotClosed),
            }
            at = plain_until(self.bytes, at);
        }
        self.at = at + 1;
        Ok(Text { raw: &self.text[start..at], escaped: true })
    }

    /// Reads the number whose sign or first digit stands here.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Decimal<'t>, Fault> {
        let rest = &self.bytes[self.at..];
        let digits_at = usize::from(rest[0] == b'-');
        let has_leading_zero =
            rest.get(digits_at) == Some(&b'0') && rest.get(digits_at + 1).is_some_and(u8::is_ascii_digit);
        let number = Decimal::scan(rest).filter(|n| n.integer_digits > 0 && !has_leading_zero);
        let Some(number) = number else {
            return bad(self.at + digits_at, Wrong::BadInteger);
        };
        self.at += number.text.len();
        if number.fraction_digits == Some(0) {
            return bad(self.at - exponent_bytes(number.text), Wrong::NoDigit);
        }
        if !number.has_exponent && matches!(self.peek(), Some(b'e' | b'E')) {
            let has_sign = matches!(self.bytes.get(self.at + 1), Some(b'+' | b'-'));
            return bad(self.at + 1 + usize::from(has_sign), Wrong::NoDigit);
        }
        Ok(number)
    }

    /// Reads a number without sign and exponent and of at most [`SHORT_BYTES_MAX`] bytes, as nearly all are. `None`, and
    /// nothing read, if it is none: then it is one for [`Reader::number`], which knows what is wrong with it.
    #[inline]
    pub(super) fn short_number(&mut self) -> Option<Short> {
        let rest = &self.bytes[self.at..];
        let rest = &rest[..rest.len().min(SHORT_BYTES_MAX + 1)];
        let (mut digits, mut point, mut length) = (0, None, 0);
        let end = loop {
            match *rest.get(length)? {
                byte @ b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
                b'.' if point.is_none() => point = Some(length),
                byte => break byte,
            }
            length += 1;
        };
        let whole = point.unwrap_or(length);
        let has_leading_zero = whole > 1 && rest[0] == b'0';
        let lacks_digits = whole == 0 || point.is_some_and(|point| point + 1 == length);
        if has_leading_zero || lacks_digits || matches!(end, b'.' | b'e' | b'E') {
            return None;
        }
        self.at += length;
        Some(Short { digits, behind_point: point.map(|point| length - point - 1) })
    }

    /// Goes over a value of any kind. `depth` counts the arrays and objects that it stands in.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{' | b'[') if depth == JSON_DEPTH_MAX => self.bad(Wrong::TooDeep),
            Some(b'{') => {
                self.enter();
                let mut first = true;
                while self.next_member(first)? {
                    self.key()?;
                    self.skip(depth + 1)?;
                    first = false;
                }
                Ok(())
            }
            Some(b'[') => {
                self.enter();
                let mut first = true;
                while self.next_item(first)? {
                    self.skip(depth + 1)?;
                    first = false;
                }
                Ok(())
            }
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            _ => self.skip_word(),
        }
    }

    fn skip_word(&mut self) -> Result<(), Fault> {
        let rest = &self.bytes[self.at..];
        match [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word)) {
            Some(word) => {
                self.at += word.len();
                Ok(())
            }
            None => self.bad(Wrong::NoValue),
        }
    }

    fn bad<T>(&self, what: Wrong) -> Result<T, Fault> {
        bad(self.at, what)
    }
}

fn bad<T>(at: usize, what: Wrong) -> Result<T, Fault> {
    Err(what.at(at))
}

/// Length of the exponent that a number's text ends with.
fn exponent_bytes(number: &[u8]) -> usize {
    number.iter().position(|b| matches!(b, b'e' | b'E')).map_or(0, |at| number.len() - at)
}

/// Where the characters that stand for themselves end: at a quote, a backslash, a control character, or the text's end.
#[inline]
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let special = special_bytes(u64::from_le_bytes(*eight));
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)) {
        at += 1;
    }
    at
}

/// Eight bytes at once in one register (SWAR): the highest bit of each byte that is a quote, a backslash or below 0x20.
/// A borrow may mark bytes behind such a one falsely, never before it, so that the lowest mark is right.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (quote, backslash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    (below(quote, 1) | below(backslash, 1) | below(word, 0x20)) & HIGHS
}

/// The character that the escape at `at` stands for, and the escape's length. `None` for half of a surrogate pair.
fn escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let simple = match bytes.get(at + 1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\x08',
        b'f' => '\x0c',
        c @ (b'"' | b'\\' | b'/') => char::from(*c),
        b'u' => return unicode_escape(bytes, at),
        _ => return None,
    };
    Some((simple, 2))
}

/// `\u20ac`, or two of them that make one character beyond U+FFFF.
fn unicode_escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let high = four_hex_digits(bytes, at + 2)?;
    if !(0xd800..0xdc00).contains(&high) {
        return Some((char::from_u32(high)?, 6));
    }
    let low = four_hex_digits(bytes, at + 8).filter(|low| (0xdc00..0xe000).contains(low))?;
    if bytes.get(at + 6..at + 8)? != b"\\u" {
        return None;
    }
    Some((char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?, 12))
}

fn four_hex_digits(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |n, b| Some(n * 16 + char::from(*b).to_digit(16)?))
}
