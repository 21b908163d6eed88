//! The head of a request: the request line, the header lines, and what they say of the body (RFC 9112 sections 2 to 6).
//!
//! A line is judged when it has ended, wherever the pieces were cut; the first line that is wrong decides. Whatever two
//! servers could read in two ways is refused: that is how requests are smuggled (RFC 9112 section 11.2).

use arrayvec::ArrayVec;
use contracts::{
    http::ApiError,
    limits::{HEAD_BYTES_MAX, HEADERS_MAX},
};
use memchr::{memchr, memchr_iter, memrchr};

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
    /// No line feed stands between there and here.
    searched: usize,
    /// Header lines before it.
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
    let (judged_before, searched_before) = (progress.line_at, progress.searched);
    let mut request_line = None;
    for found in memchr_iter(b'\n', &window[searched_before..]) {
        let (at, line_feed) = (progress.line_at, searched_before + found);
        let line = check_line(at, &window[at..line_feed])?;
        if at == 0 {
            request_line = Some(RequestLine::parse(line)?);
        } else if !line.is_empty() {
            let header = parse_header(at, line)?;
            progress.headers += 1;
            if progress.headers > HEADERS_MAX {
                let message = format!("more than {HEADERS_MAX} header lines");
                return Err(ApiError::new(431, "too_many_headers", message));
            }
            headers.push(header);
        } else if let Some(request_line) = request_line {
            return request_line.with(headers, line_feed + 1).map(Some);
        } else {
            // The lines of earlier pieces were judged, but nothing of them was kept: all of it again, once.
            headers.clear();
            *progress = Progress::default();
            return read(bytes, progress, headers);
        }
        progress.line_at = line_feed + 1;
    }
    debug_assert!(progress.line_at >= judged_before);
    progress.searched = window.len();
    if bytes.len() > HEAD_BYTES_MAX {
        let message = format!("a head of more than {HEAD_BYTES_MAX} bytes");
        return Err(ApiError::new(431, "head_too_large", message));
    }
    Ok(None)
}

/// Lines end with CR LF and hold no control characters but tabs. Returns the line without its CR.
fn check_line(at: usize, line: &[u8]) -> Result<&[u8], ApiError> {
    let bad = |at: usize, byte: u8| {
        let message = format!("byte 0x{byte:02x} may not stand here; lines end with CR LF");
        ApiError::bad_input("bad_head", at, message)
    };
    let Some(text) = line.strip_suffix(b"\r") else { return Err(bad(at + line.len(), b'\n')) };
    // Without an early end the loop is vectorised; which byte it was matters only to those who are refused.
    if text.iter().fold(false, |found, &b| found | is_forbidden(b)) {
        let (i, &byte) = text.iter().enumerate().find(|(_, b)| is_forbidden(**b)).unwrap_or((0, &0));
        return Err(bad(at + i, byte));
    }
    Ok(text)
}

fn is_forbidden(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

struct RequestLine<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    version: Version,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, ApiError> {
        let bad = |message: &str| ApiError::bad_input("bad_request_line", 0, message);
        let shape = || bad("expected: METHOD, one space, target, one space, HTTP/1.1");
        let method_end = memchr(b' ', line).ok_or_else(shape)?;
        let version_at = memrchr(b' ', line).filter(|at| *at > method_end).ok_or_else(shape)? + 1;
        let method = token(&line[..method_end]).ok_or_else(|| bad("the method is no token"))?;
        let (path, query) = parse_target(&line[method_end + 1..version_at - 1]).ok_or_else(|| {
            bad("the target must begin with '/' and hold no spaces, fragments or raw non-ASCII bytes")
        })?;
        let version = match &line[version_at..] {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(ApiError::new(505, "bad_version", "this server speaks HTTP/1.1"));
            }
            _ => return Err(bad("the version is not HTTP/1.1")),
        };
        Ok(Self { method, path, query, version })
    }

    /// The head that this line and these headers make.
    fn with(self, headers: &Headers<'a>, bytes: usize) -> Result<Head<'a>, ApiError> {
        let Self { method, path, query, version } = self;
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
fn parse_target(target: &[u8]) -> Option<(&str, &str)> {
    if !target.iter().all(|b| b.is_ascii_graphic() && *b != b'#') {
        return None;
    }
    let target = std::str::from_utf8(target).ok()?;
    let target = if target.starts_with('/') { target } else { behind_authority(target)? };
    match memchr(b'?', target.as_bytes()) {
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
    let good = scheme.eq_ignore_ascii_case(SCHEME) && !authority.is_empty() && is_host(authority.as_bytes());
    good.then_some(path)
}

fn parse_header(at: usize, line: &[u8]) -> Result<(&str, &[u8]), ApiError> {
    let bad = |message: &str| ApiError::bad_input("bad_header", at, message);
    if matches!(line[0], b' ' | b'\t') {
        return Err(bad("a header may not be folded over several lines (RFC 9112 section 5.2)"));
    }
    let colon = memchr(b':', line).ok_or_else(|| bad("a header line without a colon"))?;
    let name = token(&line[..colon])
        .ok_or_else(|| bad("a header name must be a token, with no space before its colon"))?;
    Ok((name, line[colon + 1..].trim_ascii()))
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
            // Few names are of these lengths, so most are never compared.
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is("host") => fields.host.add(value),
                6 if is("expect") => fields.expect.add(value),
                10 if is("connection") => fields.add_connection(value),
                14 if is("content-length") => fields.content_length.add(value),
                16 if is("content-encoding") => fields.content_encoding.add(value),
                17 if is("transfer-encoding") => fields.transfer_encoding.add(value),
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
            Ok(Some(host)) if is_host(host) => Ok(()),
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

fn token(bytes: &[u8]) -> Option<&str> {
    let good = !bytes.is_empty() && bytes.iter().all(|b| is_token_byte(*b));
    good.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
    TABLE[usize::from(byte)]
}

/// Name or address, and port (RFC 3986 section 3.2). No `@`: nobody logs in by a URI.
fn is_host(host: &[u8]) -> bool {
    const TABLE: [bool; 256] = table(b"-._~%!$&'()*+,;=:[]");
    host.iter().all(|b| TABLE[usize::from(*b)])
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
