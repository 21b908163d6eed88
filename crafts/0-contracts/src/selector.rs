//! The text form of matchers: `cpu{core="0",host=~"web.*"}`, as PromQL has it.
//!
//! Here because more than a query language needs it: `match[]` parameters, silences, routes.

use crate::{
    limits::MATCHERS_MAX,
    matcher::{MatchOp, Matcher, MatcherError},
};

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why} at byte {at}")]
pub struct SelectorError {
    /// Byte of the text.
    pub at: usize,
    /// What was expected.
    pub why: String,
}

/// Reads the selector that `text` begins with; returns its matchers and the bytes it took, white space behind
/// it included.
///
/// # Errors
/// Where the text stops being a selector. A selector all of whose matchers fit the empty value is refused, as
/// Prometheus does: it would select everything, and nobody means that.
pub fn parse_selector(text: &str) -> Result<(Vec<Matcher>, usize), SelectorError> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.skip_space();
    let start = cursor.at;
    let name = cursor.word(true);
    let mut matchers: Vec<_> = (!name.is_empty()).then(|| Matcher::metric(name)).into_iter().collect();
    cursor.skip_space();
    if cursor.eat("{") {
        cursor.matchers(&mut matchers)?;
    } else if matchers.is_empty() {
        return cursor.fail("expected a metric name or '{'");
    }
    if matchers.iter().all(|m| m.matches("")) {
        let why = "a selector needs at least one matcher that does not fit the empty value".to_owned();
        return Err(SelectorError { at: start, why });
    }
    cursor.skip_space();
    Ok((matchers, cursor.at))
}

struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    /// `name="value", …}`, a comma behind the last allowed.
    fn matchers(&mut self, out: &mut Vec<Matcher>) -> Result<(), SelectorError> {
        let has_name = !out.is_empty();
        loop {
            self.skip_space();
            if self.eat("}") {
                return Ok(());
            }
            let at = self.at;
            let name = self.word(false);
            if name.is_empty() {
                return self.fail("expected a label name or '}'");
            }
            if has_name && name == crate::labels::METRIC_NAME {
                return Err(SelectorError { at, why: "the metric name is given twice".to_owned() });
            }
            let op = self.operator()?;
            self.skip_space();
            let value = self.quoted()?;
            let bad = |e: MatcherError| SelectorError { at, why: e.to_string() };
            out.push(Matcher::new(name, op, &value).map_err(bad)?);
            if out.len() > MATCHERS_MAX {
                return Err(bad(MatcherError::TooMany(out.len())));
            }
            self.skip_space();
            if !self.eat(",") && !self.rest().starts_with('}') {
                return self.fail("expected ',' or '}'");
            }
        }
    }

    fn operator(&mut self) -> Result<MatchOp, SelectorError> {
        self.skip_space();
        // The longer ones first: `=~` begins with `=`.
        let ops = [MatchOp::Matches, MatchOp::MatchesNot, MatchOp::NotEqual, MatchOp::Equal];
        match ops.into_iter().find(|op| self.eat(op.as_str())) {
            Some(op) => Ok(op),
            None => self.fail("expected '=', '!=', '=~' or '!~'"),
        }
    }

    fn quoted(&mut self) -> Result<String, SelectorError> {
        let start = self.at;
        let Some(quote @ ('"' | '\'' | '`')) = self.rest().chars().next() else {
            return self.fail("expected a quoted value");
        };
        self.at += 1;
        let mut value = String::new();
        while let Some(c) = self.rest().chars().next() {
            self.at += c.len_utf8();
            match c {
                _ if c == quote => return Ok(value),
                '\\' if quote != '`' => value.push(self.escape()?),
                '\n' if quote != '`' => break,
                _ => value.push(c),
            }
        }
        Err(SelectorError { at: start, why: "this quote is not closed".to_owned() })
    }

    /// Go's escapes, which PromQL took over; bytes beyond ASCII only as `\u`.
    fn escape(&mut self) -> Result<char, SelectorError> {
        let at = self.at - 1;
        let bad = || SelectorError { at, why: "unknown escape".to_owned() };
        let c = self.rest().chars().next().ok_or_else(bad)?;
        self.at += c.len_utf8();
        let digits = match c {
            'a' => return Ok('\x07'),
            'b' => return Ok('\x08'),
            'f' => return Ok('\x0c'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\x0b'),
            '\\' | '"' | '\'' => return Ok(c),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return Err(bad()),
        };
        let hex =
            self.rest().get(..digits).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit())).ok_or_else(bad)?;
        self.at += digits;
        let code = u32::from_str_radix(hex, 16).ok().filter(|code| c != 'x' || *code < 0x80);
        code.and_then(char::from_u32).ok_or_else(bad)
    }

    fn word(&mut self, colon: bool) -> &'t str {
        let rest = self.rest();
        let begins = |b: u8| b.is_ascii_alphabetic() || b == b'_' || (colon && b == b':');
        let length = match rest.bytes().next() {
            Some(b) if begins(b) => rest.bytes().take_while(|b| begins(*b) || b.is_ascii_digit()).count(),
            _ => 0,
        };
        self.at += length;
        &rest[..length]
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn skip_space(&mut self) {
        self.at += self.rest().bytes().take_while(u8::is_ascii_whitespace).count();
    }

    fn fail<T>(&self, why: &str) -> Result<T, SelectorError> {
        Err(SelectorError { at: self.at, why: why.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> String {
        match parse_selector(text) {
            Ok((matchers, end)) => {
                let all: Vec<_> = matchers.iter().map(ToString::to_string).collect();
                format!("{} | {}", all.join(" "), &text[end..])
            }
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn the_forms_of_a_selector() {
        assert_eq!(read("cpu"), r#"__name__="cpu" | "#);
        assert_eq!(read(" job:cpu:rate5m > 1"), r#"__name__="job:cpu:rate5m" | > 1"#);
        assert_eq!(
            read(r#"cpu { core = "0" , host!~'a|b', } rest"#),
            r#"__name__="cpu" core="0" host!~"a|b" | rest"#
        );
        assert_eq!(read(r#"{__name__=~"host_.+"}"#), r#"__name__=~"host_.+" | "#);
        assert_eq!(
            read(r#"a{b="\"\n\u00e9\x41"}"#),
            "__name__=\"a\" b=\"\\\"\\né\\A\" | ".replace("\\A", "A")
        );
        assert_eq!(read(r"a{b=`\n`}"), r#"__name__="a" b="\\n" | "#);
    }

    #[test]
    fn each_refusal_names_its_byte() {
        assert_eq!(read(""), "expected a metric name or '{' at byte 0");
        assert_eq!(read("cpu{"), "expected a label name or '}' at byte 4");
        assert_eq!(read("cpu{a"), "expected '=', '!=', '=~' or '!~' at byte 5");
        assert_eq!(read("cpu{a=}"), "expected a quoted value at byte 6");
        assert_eq!(read(r#"cpu{a="b"#), "this quote is not closed at byte 6");
        assert_eq!(read(r#"cpu{a="b" c="d"}"#), "expected ',' or '}' at byte 10");
        assert_eq!(read(r#"cpu{a="\q"}"#), "unknown escape at byte 7");
        assert_eq!(read("cpu{__name__=\"x\"}"), "the metric name is given twice at byte 4");
        assert!(read(r#"cpu{a=~"("}"#).contains("no regular expression"));
        assert!(read("{}").contains("at least one matcher"));
        assert!(read(r#"{a=~".*"}"#).contains("at least one matcher"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a{}=~!,\"'` \\\\néu0-9]{0,24}") {
            let _ = parse_selector(&text);
        }
    }
}
