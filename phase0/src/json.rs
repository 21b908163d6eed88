//! Stage 1b: JSON text → values, by finding things in it again and again.
//!
//! The text is first checked whole against RFC 8259. After that, every question — "what is the field `name`?" —
//! walks the text from the front of its object once more.
//!
//! What is wrong with it: a metric of five fields is read about six times over, and each key it passes is
//! copied into a `String` of its own to be compared. Phase 3 of craft 1 reads each byte once.

use contracts::{http::ApiError, limits::JSON_DEPTH_MAX};

/// A piece of a checked document: one value, with its place.
#[derive(Clone, Copy, Debug)]
pub struct Value<'t> {
    text: &'t str,
    /// First byte of the value in the document.
    pub at: usize,
    end: usize,
}

/// Checks a whole document and returns its root.
///
/// # Errors
/// The byte at which it stops being JSON.
pub fn parse(body: &[u8]) -> Result<Value<'_>, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|e| ApiError::bad_input("bad_json", e.valid_up_to(), "these bytes are not UTF-8"))?;
    let at = skip_space(text, 0);
    if at == text.len() {
        return Err(ApiError::bad_input("empty_body", at, "the body is empty; expected JSON"));
    }
    let end = check_value(text, at, 0)?;
    let rest = skip_space(text, end);
    if rest < text.len() {
        return bad(rest, "expected nothing behind the value");
    }
    Ok(Value { text, at, end })
}

impl<'t> Value<'t> {
    /// As it stands in the document.
    pub fn raw(&self) -> &'t str {
        &self.text[self.at..self.end]
    }

    /// Whether it is an object, an array, a string.
    pub fn is_object(&self) -> bool {
        self.raw().starts_with('{')
    }

    /// See [`Value::is_object`].
    pub fn is_array(&self) -> bool {
        self.raw().starts_with('[')
    }

    /// The value of a key of this object, found from the front.
    pub fn find(&self, key: &str) -> Option<Value<'t>> {
        self.members().into_iter().find_map(|(k, v)| (k.as_text().as_deref() == Some(key)).then_some(v))
    }

    /// All keys and values of this object, in order.
    pub fn members(&self) -> Vec<(Value<'t>, Value<'t>)> {
        let items = self.items();
        items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }

    /// The items of this array; of an object, its keys and values in turn.
    pub fn items(&self) -> Vec<Value<'t>> {
        let mut items = Vec::new();
        let mut at = skip_space(self.text, self.at + 1);
        while at < self.end - 1 {
            let end = skip_value(self.text, at);
            items.push(Value { text: self.text, at, end });
            at = skip_space(self.text, end);
            at = skip_space(self.text, at + usize::from(matches!(self.text.as_bytes()[at], b',' | b':')));
        }
        items
    }

    /// The text of a string, its escapes resolved.
    pub fn as_text(&self) -> Option<String> {
        let inner = self.raw().strip_prefix('"')?.strip_suffix('"')?;
        let mut text = String::with_capacity(inner.len());
        let mut at = 0;
        while let Some(c) = inner[at..].chars().next() {
            let (c, length) = if c == '\\' { unescape(inner, at)? } else { (c, c.len_utf8()) };
            text.push(c);
            at += length;
        }
        Some(text)
    }

    /// The value of a number; infinite if it is beyond `f64`.
    pub fn as_number(&self) -> Option<f64> {
        self.raw().starts_with(|c: char| c == '-' || c.is_ascii_digit()).then(|| self.raw().parse().ok())?
    }
}

/// Writes a string in JSON.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Checks the value at `at`; returns its end.
fn check_value(text: &str, at: usize, depth: usize) -> Result<usize, ApiError> {
    let rest = &text[at..];
    match rest.as_bytes().first() {
        Some(b'{' | b'[') if depth == JSON_DEPTH_MAX => {
            let message = format!("arrays and objects nest deeper than {JSON_DEPTH_MAX}");
            Err(ApiError::bad_input("too_deep", at, message))
        }
        Some(b'{') => check_list(text, at, depth, '}'),
        Some(b'[') => check_list(text, at, depth, ']'),
        Some(b'"') => check_string(text, at),
        Some(b'-' | b'0'..=b'9') => check_number(text, at),
        _ => match ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word)) {
            Some(word) => Ok(at + word.len()),
            None => bad(at, "expected a value"),
        },
    }
}

fn check_list(text: &str, start: usize, depth: usize, close: char) -> Result<usize, ApiError> {
    let mut at = skip_space(text, start + 1);
    if text[at..].starts_with(close) {
        return Ok(at + 1);
    }
    loop {
        if close == '}' {
            if !text[at..].starts_with('"') {
                return bad(at, "expected a key in quotes");
            }
            at = skip_space(text, check_string(text, at)?);
            if !text[at..].starts_with(':') {
                return bad(at, "expected ':'");
            }
            at = skip_space(text, at + 1);
        }
        at = skip_space(text, check_value(text, at, depth + 1)?);
        match text[at..].chars().next() {
            Some(',') => at = skip_space(text, at + 1),
            Some(c) if c == close => return Ok(at + 1),
            _ => return bad(at, &format!("expected ',' or '{close}'")),
        }
    }
}

fn check_string(text: &str, start: usize) -> Result<usize, ApiError> {
    let mut at = start + 1;
    loop {
        match text.as_bytes().get(at) {
            None => return bad(start, "this string is not closed"),
            Some(b'"') => return Ok(at + 1),
            Some(0..=0x1f) => return bad(at, "a control character in a string must be escaped"),
            Some(b'\\') => match unescape(text, at) {
                Some((_, length)) => at += length,
                None => return bad(at, "no escape that JSON knows, or half of a surrogate pair"),
            },
            Some(_) => at += 1,
        }
    }
}

/// The character that an escape stands for, and the escape's length. `None` for a lone surrogate.
fn unescape(text: &str, at: usize) -> Option<(char, usize)> {
    let hex = |at: usize| {
        let digits = text.get(at..at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let simple = match text.as_bytes().get(at + 1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\x08',
        b'f' => '\x0c',
        c @ (b'"' | b'\\' | b'/') => char::from(*c),
        b'u' => {
            let high = hex(at + 2)?;
            if !(0xd800..0xdc00).contains(&high) {
                return Some((char::from_u32(high)?, 6));
            }
            let low = hex(at + 8)
                .filter(|low| text[at + 6..].starts_with("\\u") && (0xdc00..0xe000).contains(low))?;
            return Some((char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?, 12));
        }
        _ => return None,
    };
    Some((simple, 2))
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
fn check_number(text: &str, start: usize) -> Result<usize, ApiError> {
    let digits = |at: usize| text[at..].bytes().take_while(u8::is_ascii_digit).count();
    let mut at = start + usize::from(text[start..].starts_with('-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text[at..].starts_with('0')) {
        return bad(at, "expected a number without leading zeros");
    }
    at += whole;
    for (mark, sign) in [(".", false), ("eE", true)] {
        if !text[at..].starts_with(|c| mark.contains(c)) {
            continue;
        }
        at += 1 + usize::from(sign && text[at + 1..].starts_with(['+', '-']));
        match digits(at) {
            0 => return bad(at, "expected a digit"),
            count => at += count,
        }
    }
    Ok(at)
}

/// The end of a value that was checked before.
fn skip_value(text: &str, at: usize) -> usize {
    check_value(text, at, 0).unwrap_or(text.len())
}

fn skip_space(text: &str, at: usize) -> usize {
    at + text[at..].bytes().take_while(|b| b" \t\r\n".contains(b)).count()
}

fn bad<T>(at: usize, message: &str) -> Result<T, ApiError> {
    Err(ApiError::bad_input("bad_json", at, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refusals_name_their_byte() {
        let at = |text: &str| parse(text.as_bytes()).map(|_| ()).map_err(|e| (e.code, e.at.unwrap_or(999)));
        assert_eq!(at(""), Err(("empty_body", 0)));
        assert_eq!(at(r#"{"a":NaN}"#), Err(("bad_json", 5)));
        assert_eq!(at(r#"{"a":01}"#), Err(("bad_json", 5)));
        assert_eq!(at(r#"{"a":1,}"#), Err(("bad_json", 7)));
        assert_eq!(at(r#"["\ud800"]"#), Err(("bad_json", 2)));
        assert_eq!(at(r#"["\ud800\u0041"]"#), Err(("bad_json", 2)));
        assert_eq!(at("[1] 2"), Err(("bad_json", 4)));
        assert_eq!(at("\u{feff}{}"), Err(("bad_json", 0)));
        assert_eq!(at(&"[".repeat(100_000)), Err(("too_deep", 32)));
        assert_eq!(at(&format!("{}{}", "[".repeat(32), "]".repeat(32))), Ok(()));
        assert_eq!(parse(b"[\xff]").unwrap_err().at, Some(1));
    }

    #[test]
    fn a_nested_key_is_not_found_in_its_parent() {
        let root = parse(br#"{"x":{"name":"inner"},"y":"name","name":"outer"}"#).unwrap();
        assert_eq!(root.find("name").unwrap().as_text().unwrap(), "outer");
    }

    proptest! {
        /// serde_json is the oracle: the same documents are taken, and strings and numbers come out the same.
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}:,\"\\\\/a0-9eE.+ \\-unltrfs]{0,16}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let ours = parse(text.as_bytes());
            // serde_json refuses numbers beyond f64 while reading; here that is for whoever asks for the number.
            let too_big = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
            prop_assert!(ours.is_ok() == theirs.is_ok() || too_big, "{text:?}: {ours:?} {theirs:?}");
            if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                prop_assert_eq!(ours.as_text(), theirs.as_str().map(str::to_owned));
                prop_assert_eq!(ours.as_number(), theirs.as_f64());
            }
        }

        #[test]
        fn what_is_quoted_is_read_back(text in "\\PC*") {
            let quoted = quote(&text);
            prop_assert_eq!(parse(quoted.as_bytes()).unwrap().as_text().unwrap(), text);
        }

        #[test]
        fn members_are_those_of_serde_json(map in proptest::collection::btree_map("\\PC{0,4}", -1e9..1e9_f64, 0..6)) {
            let text = serde_json::to_string_pretty(&map).unwrap();
            let ours: std::collections::BTreeMap<_, _> = parse(text.as_bytes()).unwrap().members().iter()
                .map(|(k, v)| (k.as_text().unwrap(), v.as_number().unwrap())).collect();
            prop_assert_eq!(ours, map);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
        }
    }
}
