//! The head of a request: the request line, the header lines, and what they say of the body (RFC 9112 sections 2 to 6).
//!
//! A line is judged when it has ended, wherever the pieces were cut; the first line that is wrong decides. Whatever two
//! servers could read in two ways is refused: that is how requests are smuggled (RFC 9112 section 11.2).

use super::scan;
use arrayvec::ArrayVec;
use contracts::{
    http::ApiError,
    limits::{HEAD_BYTES_MAX, HEADERS_MAX},
};
use memchr::memchr;
use std::ops::Range;

/// Names and values, borrowed from the connection's bytes.
pub(super) type Headers<'a> = ArrayVec<(&'a str, &'a [u8]), HEADERS_MAX>;

/// What a head says, its header table aside.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// Length of the head, its empty line included.
    pub(super) bytes: usize,
    pub(super) version: Version,
    pub(super) framing: Framing,
    pub(super) coding: Coding,
    /// The client waits to be told that its body is wanted.
    pub(super) expects_continue: bool,
    /// The client is ready to send another request after this one.
    pub(super) keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// How the body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; none, if nothing was said.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// `Content-Encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Snappy,
}

/// How far a head that is not whole has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Where the first line begins that has not been judged.
    line_at: usize,
    /// The head does not end before here.
    searched: usize,
    /// Header lines before `line_at`.
    headers: usize,
}

/// Reads the head that `bytes` begin with into `headers`, which is empty; `None` while it is not whole.
///
/// # Errors
/// What makes it no HTTP/1.1 that is understood here, with its byte.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    progress: &mut Progress,
    headers: &mut Headers<'a>,
) -> Result<Option<Head<'a>>, ApiError> {
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let end = scan::end_of_head(window, progress.searched);
    let lines = Lines::new(&window[..end.unwrap_or_else(|| scan::end_of_lines(window, progress.searched))]);
    let mut request_line = None;
    while progress.line_at < lines.bytes.len() {
        let at = progress.line_at;
        if at == 0 {
            let line = RequestLine::parse(&lines).ok_or_else(|| bad_request_line(lines.line(0)))?;
            (progress.line_at, request_line) = (line.bytes, Some(line));
        } else if lines.bytes[at..].starts_with(b"\r\n") {
            break;
        } else {
            let (header, next) =
                parse_header(&lines, at).ok_or_else(|| bad_header_line(at, lines.line(at)))?;
            progress.headers += 1;
            if progress.headers > HEADERS_MAX {
                let message = format!("more than {HEADERS_MAX} header lines");
                return Err(ApiError::new(431, "too_many_headers", message));
            }
            headers.push(header);
            progress.line_at = next;
        }
    }
    progress.searched = window.len();
    match (end, request_line) {
        (Some(end), Some(line)) => line.with(headers, end).map(Some),
        (Some(_), None) => {
            // The lines of earlier pieces were judged, but nothing of them was kept: all of it again, once.
            headers.clear();
            *progress = Progress::default();
            read(bytes, progress, headers)
        }
        (None, _) if bytes.len() > HEAD_BYTES_MAX => {
            let message = format!("a head of more than {HEAD_BYTES_MAX} bytes");
            Err(ApiError::new(431, "head_too_large", message))
        }
        (None, _) => Ok(None),
    }
}

/// Lines that have ended, the last with a line feed.
struct Lines<'a> {
    bytes: &'a [u8],
    /// All of it checked at once, which costs less than each name by itself.
    utf8: Option<&'a str>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, utf8: std::str::from_utf8(bytes).ok() }
    }

    /// A part that is ASCII.
    fn str(&self, range: Range<usize>) -> Option<&'a str> {
        match self.utf8 {
            Some(text) => text.get(range),
            None => std::str::from_utf8(&self.bytes[range]).ok(),
        }
    }

    /// The line that begins at `at`, without its line feed.
    fn line(&self, at: usize) -> &'a [u8] {
        let rest = &self.bytes[at..];
        &rest[..memchr(b'\n', rest).unwrap_or(rest.len())]
    }
}

#[derive(Clone, Copy)]
struct RequestLine<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    version: Version,
    bytes: usize,
}

impl<'a> RequestLine<'a> {
    fn parse(lines: &Lines<'a>) -> Option<Self> {
        const VERSION_BYTES: usize = b"HTTP/1.1\r\n".len();
        let method_end = scan::end_of_token(lines.bytes, 0);
        let target_at = method_end + 1;
        let target_end = scan::end_of_target(lines.bytes, target_at);
        let bytes = target_end + 1 + VERSION_BYTES;
        let are_words = method_end > 0
            && lines.bytes.get(method_end) == Some(&b' ')
            && lines.bytes.get(target_end) == Some(&b' ');
        let version = match lines.bytes.get(target_end + 1..bytes)? {
            b"HTTP/1.1\r\n" => Version::Http11,
            b"HTTP/1.0\r\n" => Version::Http10,
            _ => return None,
        };
        if !are_words {
            return None;
        }
        let (path, query) = split_target(lines.str(target_at..target_end)?)?;
        Some(Self { method: lines.str(0..method_end)?, path, query, version, bytes })
    }

    /// The head that this line and these headers make.
    fn with(self, headers: &Headers<'a>, bytes: usize) -> Result<Head<'a>, ApiError> {
        let Self { method, path, query, version, .. } = self;
        let fields = Fields::of(headers);
        fields.check_host()?;
        let framing = fields.framing(method, version)?;
        Ok(Head {
            method,
            path,
            query,
            bytes,
            version,
            framing,
            coding: fields.coding()?,
            expects_continue: fields.expects_continue(framing, version)?,
            keep_alive: !fields.close && (version == Version::Http11 || fields.keep_alive),
        })
    }
}

/// Path and query. The absolute form, which every server must take (RFC 9112 section 3.2.2), only names the host again.
fn split_target(target: &str) -> Option<(&str, &str)> {
    let target = if target.starts_with('/') { target } else { behind_authority(target)? };
    // Targets are short: to look at each byte takes less than to set up a search.
    match target.bytes().position(|byte| byte == b'?') {
        None if target.is_empty() => Some(("/", "")),
        None => Some((target, "")),
        Some(0) => Some(("/", &target[1..])),
        Some(at) => Some((&target[..at], &target[at + 1..])),
    }
}

fn behind_authority(target: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    let scheme = target.get(..SCHEME.len())?;
    let rest = &target[SCHEME.len()..];
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let good =
        scheme.eq_ignore_ascii_case(SCHEME) && !authority.is_empty() && scan::is_host(authority.as_bytes());
    good.then_some(path)
}

/// The header whose line begins at `at`, and where the next line does.
fn parse_header<'a>(lines: &Lines<'a>, at: usize) -> Option<((&'a str, &'a [u8]), usize)> {
    let bytes = lines.bytes;
    let name_end = scan::end_of_token(bytes, at);
    if name_end == at || bytes.get(name_end) != Some(&b':') {
        return None;
    }
    let value_end = scan::end_of_text(bytes, name_end + 1);
    if !bytes[value_end..].starts_with(b"\r\n") {
        return None;
    }
    let value = bytes[name_end + 1..value_end].trim_ascii();
    Some(((lines.str(at..name_end)?, value), value_end + 2))
}

/// Why this is no request line.
#[cold]
fn bad_request_line(line: &[u8]) -> ApiError {
    let bad = |message: &str| ApiError::bad_input("bad_request_line", 0, message);
    if let Some(error) = bad_byte(0, line) {
        return error;
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = words[..] else {
        return bad("expected: METHOD, one space, target, one space, HTTP/1.1");
    };
    if method.is_empty() || !method.iter().all(|b| scan::is_token_byte(*b)) {
        return bad("the method is no token");
    }
    if !std::str::from_utf8(target).is_ok_and(|target| split_target(target).is_some())
        || scan::end_of_target(target, 0) < target.len()
    {
        return bad("the target must begin with '/' and hold no spaces, fragments or raw non-ASCII bytes");
    }
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            ApiError::new(505, "bad_version", "this server speaks HTTP/1.1")
        }
        _ => bad("the version is not HTTP/1.1"),
    }
}

/// Why this is no header line.
#[cold]
fn bad_header_line(at: usize, line: &[u8]) -> ApiError {
    let bad = |message: &str| ApiError::bad_input("bad_header", at, message);
    if let Some(error) = bad_byte(at, line) {
        return error;
    }
    match line[0] {
        b' ' | b'\t' => bad("a header may not be folded over several lines (RFC 9112 section 5.2)"),
        _ if !line.contains(&b':') => bad("a header line without a colon"),
        _ => bad("a header name must be a token, with no space before its colon"),
    }
}

/// The byte of a line that may stand in none, its CR included.
fn bad_byte(at: usize, line: &[u8]) -> Option<ApiError> {
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    let control = text.iter().enumerate().find(|(_, b)| b.is_ascii_control() && **b != b'\t');
    let (i, byte) = match control {
        Some((i, byte)) => (i, *byte),
        None if text.len() == line.len() => (line.len(), b'\n'),
        None => return None,
    };
    let message = format!("byte 0x{byte:02x} may not stand here; lines end with CR LF");
    Some(ApiError::bad_input("bad_head", at + i, message))
}

/// The headers that HTTP itself is told by.
#[derive(Default)]
struct Fields<'a> {
    host: Field<'a>,
    content_length: Field<'a>,
    transfer_encoding: Field<'a>,
    content_encoding: Field<'a>,
    expect: Field<'a>,
    close: bool,
    keep_alive: bool,
}

/// A header that may be given once.
#[derive(Default)]
struct Field<'a> {
    lines: usize,
    value: &'a [u8],
}

impl<'a> Field<'a> {
    fn add(&mut self, value: &'a [u8]) {
        self.lines += 1;
        self.value = value;
    }

    /// Its value, `None` if it is not there, and the number of lines if there are too many.
    fn once(&self) -> Result<Option<&'a [u8]>, usize> {
        match self.lines {
            0 => Ok(None),
            1 => Ok(Some(self.value)),
            lines => Err(lines),
        }
    }
}

impl<'a> Fields<'a> {
    fn of(headers: &Headers<'a>) -> Self {
        let mut fields = Self::default();
        for &(name, value) in headers {
            let name = name.as_bytes();
            match name.len() {
                4 if is(name, b"host") => fields.host.add(value),
                6 if is(name, b"expect") => fields.expect.add(value),
                10 if is(name, b"connection") => fields.add_connection(value),
                14 if is(name, b"content-length") => fields.content_length.add(value),
                16 if is(name, b"content-encoding") => fields.content_encoding.add(value),
                17 if is(name, b"transfer-encoding") => fields.transfer_encoding.add(value),
                _ => {}
            }
        }
        fields
    }

    fn add_connection(&mut self, value: &[u8]) {
        for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn check_host(&self) -> Result<(), ApiError> {
        match self.host.once() {
            Ok(Some(host)) if scan::is_host(host) => Ok(()),
            Ok(Some(_)) => Err(bad_header("Host names no host")),
            _ => Err(bad_header("exactly one Host header is needed")),
        }
    }

    /// RFC 9112 section 6.3, without its leniencies.
    fn framing(&self, method: &str, version: Version) -> Result<Framing, ApiError> {
        let (length, coding) = (self.content_length.once(), self.transfer_encoding.once());
        if !matches!(coding, Ok(None)) {
            if !matches!(length, Ok(None)) {
                return Err(bad_header("Content-Length and Transfer-Encoding contradict each other"));
            }
            if version == Version::Http10 {
                return Err(bad_header("HTTP/1.0 has no Transfer-Encoding"));
            }
        }
        match (coding, length) {
            (Ok(None), Ok(Some(digits))) => content_length(digits).map(Framing::Length),
            (Ok(None), Ok(None)) if matches!(method, "POST" | "PUT" | "PATCH") => {
                let message = format!("{method} needs a Content-Length or Transfer-Encoding: chunked");
                Err(ApiError::new(411, "length_required", message))
            }
            (Ok(None), Ok(None)) => Ok(Framing::Length(0)),
            (Ok(None), Err(_)) => Err(bad_header("Content-Length is given more than once")),
            (Ok(Some(coding)), _) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            _ => {
                let message = "the only Transfer-Encoding that is known is \"chunked\", once";
                Err(ApiError::new(501, "transfer_encoding", message))
            }
        }
    }

    fn coding(&self) -> Result<Coding, ApiError> {
        let is = |value: &[u8], known: &str| value.eq_ignore_ascii_case(known.as_bytes());
        match self.content_encoding.once() {
            Ok(None) => Ok(Coding::Identity),
            Ok(Some(value)) if is(value, "identity") => Ok(Coding::Identity),
            Ok(Some(value)) if is(value, "gzip") || is(value, "x-gzip") => Ok(Coding::Gzip),
            Ok(Some(value)) if is(value, "snappy") => Ok(Coding::Snappy),
            _ => {
                let message = "the Content-Encoding must be one of gzip, snappy and identity";
                Err(ApiError::new(415, "bad_content_encoding", message))
            }
        }
    }

    /// An HTTP/1.0 client would take the interim answer for the answer (RFC 9110 section 10.1.1).
    fn expects_continue(&self, framing: Framing, version: Version) -> Result<bool, ApiError> {
        match self.expect.once() {
            Ok(None) => Ok(false),
            Ok(Some(value)) if value.eq_ignore_ascii_case(b"100-continue") => {
                Ok(framing != Framing::Length(0) && version == Version::Http11)
            }
            _ => Err(ApiError::new(417, "bad_expectation", "only \"Expect: 100-continue\" is known")),
        }
    }
}

/// Whether a token is this name, which is in lower case. The length being known, it takes a few instructions.
fn is<const BYTES: usize>(token: &[u8], name: &[u8; BYTES]) -> bool {
    // Of the bytes of a token, only letters become letters by this bit.
    <[u8; BYTES]>::try_from(token).is_ok_and(|token| token.map(|b| b | 0x20) == *name)
}

fn bad_header(message: &str) -> ApiError {
    ApiError::new(400, "bad_header", message)
}

/// What passes all numbers is only too large: the caller says by how much.
fn content_length(digits: &[u8]) -> Result<usize, ApiError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad_header("Content-Length must be a decimal number"));
    }
    Ok(digits.iter().fold(0_usize, |n, digit| n.saturating_mul(10).saturating_add(usize::from(digit - b'0'))))
}
