//! HTTP between an engine (sockets → requests) and whoever answers, without any IO.
//!
//! An engine parses bytes into a [`Request`], asks a [`Handler`], and writes the [`Response`]. Around the
//! handler stands a [`Middleware`] that every engine calls for every request: it may refuse one before its
//! handler sees it (a missing token), and is told of each answer (rate, errors, duration, trace).
//!
//! Every error has one form, [`ApiError`]: a status, a code for machines, a message for people, and where in
//! the input it went wrong.

use crate::file::FileSlice;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, io, net::SocketAddr, task::Waker, time::Duration};

/// A parsed request, borrowed from its connection's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As sent: methods are case-sensitive.
    pub method: &'a str,
    /// The target before any `?`, not percent-decoded.
    pub path: &'a str,
    /// The target behind the first `?`, or nothing.
    pub query: &'a str,
    /// Header lines in the order sent, values without surrounding white space.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The whole body, decoded from its transfer and content codings.
    pub body: &'a [u8],
    /// Who sent it, where that is known.
    pub peer: Option<SocketAddr>,
}

impl<'a> Request<'a> {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// The same as it was sent, which may be no UTF-8.
    pub fn header_bytes(&self, name: &str) -> Option<&'a [u8]> {
        let (_, value) = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// The value of a query parameter, percent-decoded; the first, if it is given several times.
    pub fn param(&self, name: &str) -> Option<Cow<'a, str>> {
        self.params().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// The same as bytes: what is no UTF-8 stays as it was sent.
    pub fn param_bytes(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find_map(|(n, value)| {
            (percent_decode(n, true) == name).then(|| percent_decode_bytes(value, true))
        })
    }

    /// All query parameters, percent-decoded, in the order sent.
    pub fn params(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        form_pairs(self.query)
    }
}

/// Who answers requests. Called from as many threads as the engine has.
pub trait Handler: Send + Sync {
    /// Answers one request. Must not panic on anything that a stranger can send.
    fn handle(&self, request: &Request<'_>) -> Response;

    /// One thread's way to answers that come later. An engine that has one thread for many connections asks each of its
    /// threads for one; others may leave it, and let [`Handler::handle`] wait.
    fn deferred(&self) -> Option<Box<dyn Deferred>> {
        None
    }
}

impl<F: Fn(&Request<'_>) -> Response + Send + Sync> Handler for F {
    fn handle(&self, request: &Request<'_>) -> Response {
        self(request)
    }
}

/// Takes requests whose answers wait until something is safe, and goes on with the next one meanwhile. So one thread has
/// as many of them under way as its clients send, and one fsync is good for all.
///
/// It does not order answers: whoever asked sends them in the order of the requests.
pub trait Deferred: Send {
    /// The method and the path of its requests. All others are the handler's.
    fn route(&self) -> (&'static str, &'static str);

    /// Takes a request. Its answer comes later, under this number.
    ///
    /// # Errors
    /// The answer, where there is nothing to wait for.
    fn take(&mut self, number: u64, request: &Request<'_>) -> Result<(), Response>;

    /// Publishes what was taken. An engine calls it once for all requests that came together.
    fn flush(&mut self);

    /// Moves the answers that are there now to `out`, with their numbers.
    fn finished(&mut self, out: &mut Vec<(u64, Response)>);

    /// Woken whenever there may be answers.
    fn set_waker(&mut self, waker: Waker);
}

/// Stands around every handler of an engine.
pub trait Middleware: Send + Sync {
    /// Called with the request before its handler: `Err` is the answer instead of the handler's.
    ///
    /// # Errors
    /// The refusal, ready to be sent.
    fn before(&self, request: &Request<'_>) -> Result<(), Response>;

    /// Called once the answer is known. `request` is `None` where no request could be parsed. Of one whose answer came
    /// later, only the method and the path are left.
    fn after(&self, request: Option<&Request<'_>>, status: u16, took: Duration);

    /// Called behind `before` where the answer comes later and this thread goes on with other requests: what it has
    /// noted of the request, to be given back to [`Middleware::resume`] on the same thread, before `after`.
    fn suspend(&self) -> u128 {
        0
    }

    /// See [`Middleware::suspend`].
    fn resume(&self, _noted: u128) {}
}

/// No middleware at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bare;

impl Middleware for Bare {
    fn before(&self, _: &Request<'_>) -> Result<(), Response> {
        Ok(())
    }

    fn after(&self, _: Option<&Request<'_>>, _: u16, _: Duration) {}
}

/// An answer. The engine adds `Content-Length` and what the connection needs.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`, unless the body is empty.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

/// What an answer carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Cow<'static, [u8]>),
    /// Parts of files, one behind the other, which an engine may send without looking at them.
    Slices(Vec<FileSlice>),
}

impl Body {
    /// Nothing.
    pub const EMPTY: Self = Self::Bytes(Cow::Borrowed(b""));

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Slices(slices) => slices.iter().map(|slice| slice.bytes).sum(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is in memory: of files, nothing.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Slices(_) => b"",
        }
    }

    /// The same body in memory: files are read.
    ///
    /// # Errors
    /// What reading a file ended with.
    pub fn read(self) -> io::Result<Cow<'static, [u8]>> {
        let slices = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Slices(slices) => slices,
        };
        let mut all = Vec::new();
        for FileSlice { file, at, bytes } in slices {
            let before = all.len();
            all.resize(before + usize::try_from(bytes).map_err(io::Error::other)?, 0);
            file.read_at(at, &mut all[before..])?;
        }
        Ok(all.into())
    }
}

impl<T: Into<Cow<'static, [u8]>>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl Response {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, content_type: "", headers: Vec::new(), body: Body::EMPTY }
    }

    /// A body of some type.
    pub fn body(status: u16, content_type: &'static str, body: impl Into<Body>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: body.into() }
    }

    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::body(status, "text/plain; charset=utf-8", body.into().into_bytes())
    }

    /// JSON. What cannot be serialised becomes an error 500.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::body(status, "application/json", body),
            Err(e) => ApiError::new(500, "not_serialisable", e.to_string()).into(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The one error of every HTTP service: `{"error":{"code":"bad_json","message":"…","at":17}}`, and `detail`
/// where a client can do more with the parts than with the sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// What went wrong, for machines: snake case, stable, documented in the OpenAPI file.
    pub code: &'static str,
    /// What went wrong and what to do next, for people.
    pub message: String,
    /// Byte of the body (or of the query text) at which it went wrong.
    pub at: Option<u64>,
    /// For 429 and 503: when to try again.
    pub retry_after_s: Option<u32>,
    /// For 405: what the path does take.
    pub allow: Option<String>,
    /// The parts of the error, as the contract's own error type serialises them.
    pub detail: Option<Box<serde_json::Value>>,
}

impl ApiError {
    /// An error without a place.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            at: None,
            retry_after_s: None,
            allow: None,
            detail: None,
        }
    }

    /// 400 at a byte of the input.
    pub fn bad_input(code: &'static str, at: usize, message: impl Into<String>) -> Self {
        Self { at: Some(at as u64), ..Self::new(400, code, message) }
    }

    /// 404 for a path that no route has.
    pub fn no_such_path(path: &str) -> Self {
        let shown: String = path.chars().take(80).collect();
        Self::new(404, "no_such_path", format!("nothing is served at {shown:?}; GET /openapi lists what is"))
    }

    /// 405 for a path that has other methods.
    pub fn method_not_allowed(method: &str, path: &str, allow: impl Into<String>) -> Self {
        let allow = allow.into();
        let shown: String = method.chars().take(20).collect();
        let message = format!("{path} takes {allow}, not {shown}");
        Self { allow: Some(allow), ..Self::new(405, "method_not_allowed", message) }
    }

    /// An error of a contract's own type, which a remote client can so have back as it was.
    pub fn of(status: u16, code: &'static str, error: &(impl fmt::Display + Serialize)) -> Self {
        let detail = serde_json::to_value(error).ok().map(Box::new);
        Self { detail, ..Self::new(status, code, error.to_string()) }
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)?;
        self.at.map_or(Ok(()), |at| write!(f, " (byte {at})"))
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for Response {
    fn from(e: ApiError) -> Self {
        let body = ErrorBody {
            error: ErrorDetail { code: e.code.to_owned(), message: e.message, at: e.at, detail: e.detail },
        };
        let mut response = Self::json(e.status, &body);
        response.headers.extend(e.retry_after_s.map(|s| ("Retry-After", s.to_string())));
        response.headers.extend(e.allow.map(|methods| ("Allow", methods)));
        response
    }
}

impl From<Result<Response, ApiError>> for Response {
    fn from(result: Result<Response, ApiError>) -> Self {
        result.unwrap_or_else(Into::into)
    }
}

/// The body of an error, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// See [`ApiError`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For machines.
    pub code: String,
    /// For people.
    pub message: String,
    /// Byte of the input, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The parts, where a client can use them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<serde_json::Value>>,
}

/// Pairs of a query string or of a form body, percent-decoded, `+` as a space.
pub fn form_pairs(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> + use<'_> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(name, true), percent_decode(value, true))
    })
}

/// Decodes `%41`; what is no valid escape stays as it is, what is no UTF-8 becomes U+FFFD.
pub fn percent_decode(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    match percent_decode_bytes(text, plus_is_space) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(bytes) => Cow::Owned(
            String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
        ),
    }
}

/// The same as bytes, whatever they are.
pub fn percent_decode_bytes(text: &str, plus_is_space: bool) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| b == b'%' || (plus_is_space && b == b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            // Two hexadecimal digits make one byte.
            #[allow(clippy::cast_possible_truncation)]
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) if plus_is_space => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}

/// Encodes everything but unreserved characters (RFC 3986 §2.3).
pub fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(b.into());
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

/// The reason phrase of a status, for people who read the wire.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_says_what_and_where() {
        let response: Response = ApiError::bad_input("bad_json", 17, "expected a value").into();
        assert_eq!(response.status, 400);
        assert_eq!(
            std::str::from_utf8(response.body.bytes()).unwrap(),
            r#"{"error":{"code":"bad_json","message":"expected a value","at":17}}"#
        );
        let busy: Response = ApiError::new(503, "queue_full", "try later").retry_after(1).into();
        assert_eq!(busy.headers, [("Retry-After", "1".to_owned())]);
    }

    #[test]
    fn parameters_are_decoded() {
        let request = Request {
            method: "GET",
            path: "/query",
            query: "name=a%2Bb+c&x&y=1&y=2&bad=%zz",
            headers: &[],
            body: b"",
            peer: None,
        };
        assert_eq!(request.param("name").unwrap(), "a+b c");
        assert_eq!(request.param("x").unwrap(), "");
        assert_eq!(request.param("y").unwrap(), "1");
        assert_eq!(request.param("bad").unwrap(), "%zz");
        assert_eq!(request.param("z"), None);
        let request = Request { query: "a=%ff&b=%41", ..request };
        assert_eq!(request.param("a").unwrap(), "\u{fffd}");
        assert_eq!(request.param_bytes("a").unwrap(), &b"\xff"[..]);
        assert_eq!(request.param_bytes("b").unwrap(), &b"A"[..]);
        assert_eq!(request.param_bytes("c"), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in "\\PC*") {
            let encoded = percent_encode(&text);
            prop_assert_eq!(percent_decode(&encoded, true), text);
        }

        #[test]
        fn decoding_never_panics(text in "[%+0-9a-zé]*") {
            let _ = percent_decode(&text, true);
        }
    }
}
