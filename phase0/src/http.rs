//! Stage 1a: bytes on a socket → requests. HTTP/1.1 (RFC 9112), strict, one request at a time.
//!
//! What is wrong with it: while one client is served, everybody else waits — a slow one stops the whole
//! pipeline until its deadline. Every request pays for a connection of its own. Every request allocates.

use contracts::{
    http::{ApiError, Handler, Request, Response, reason},
    ingest::{IngestConfig, Site},
    limits::{HEAD_BYTES_MAX, HEADERS_MAX},
};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long an answer may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long, and for how many bytes, a refused client is listened to, so that it can read why.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 64 << 20;
const READ_BYTES: usize = 16 << 10;

/// The accept loop: take a connection, read one request, answer it, close. Then the next.
///
/// # Errors
/// When accepting fails for a reason that is not the client's.
pub fn serve(site: &Site<'_>, config: &IngestConfig, handler: &dyn Handler) -> io::Result<()> {
    while !site.shutdown.is_set() {
        match site.listener.accept() {
            Ok((stream, peer)) => drop(exchange(stream, peer, site, config, handler)),
            // Out of file descriptors: what is open must close before the next can be taken.
            Err(e) if matches!(e.raw_os_error(), Some(23 | 24)) => {
                std::thread::sleep(Duration::from_millis(20))
            }
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// One request and its answer. An error means that the client is gone, which is its own business.
fn exchange(
    mut stream: TcpStream,
    peer: SocketAddr,
    site: &Site<'_>,
    config: &IngestConfig,
    handler: &dyn Handler,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    let mut begun = Instant::now();
    let (response, head_only, clean) = match read_request(&mut stream, config, &mut buffer, &mut begun) {
        Ok(None) => return Ok(()), // opened and closed without a word
        Ok(Some(head)) => {
            let headers = head.header_table();
            let request = head.request(&headers, &buffer, peer);
            let response: Response = site
                .middleware
                .before(&request)
                .map(|()| handler.handle(&request))
                .unwrap_or_else(|refusal| refusal);
            site.middleware.after(Some(&request), response.status, begun.elapsed());
            (response, request.method == "HEAD", buffer.len() == head.bytes + head.body_bytes)
        }
        Err(ReadError::Io(e)) => return Err(e),
        Err(ReadError::Refused(e)) => {
            site.middleware.after(None, e.status, begun.elapsed());
            (e.into(), false, false)
        }
    };
    write_within(&mut stream, &render(response, head_only)?, WRITE_TIMEOUT)?;
    stream.shutdown(Shutdown::Write)?;
    if clean { Ok(()) } else { linger(&mut stream) }
}

/// The timeout of a socket counts anew at every call: a reader who takes a little now and then could hold us for
/// ever. So the whole answer has one deadline.
fn write_within(stream: &mut TcpStream, mut bytes: &[u8], at_most: Duration) -> io::Result<()> {
    let deadline = Instant::now() + at_most;
    while !bytes.is_empty() {
        if Instant::now() >= deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left_until(deadline)))?;
        match stream.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Closing a socket that still has unread bytes resets it, and the client may never see our answer.
fn linger(stream: &mut TcpStream) -> io::Result<()> {
    let (deadline, mut bytes) = (Instant::now() + LINGER, 0);
    let mut waste = [0; READ_BYTES];
    while bytes < LINGER_BYTES_MAX && Instant::now() < deadline {
        stream.set_read_timeout(Some(left_until(deadline)))?;
        match stream.read(&mut waste)? {
            0 => break,
            n => bytes += n,
        }
    }
    Ok(())
}

enum ReadError {
    Io(io::Error),
    Refused(ApiError),
}

impl From<ApiError> for ReadError {
    fn from(e: ApiError) -> Self {
        Self::Refused(e)
    }
}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// Reads until a whole request stands in `buffer`; `None` if the client sent nothing at all.
fn read_request(
    stream: &mut TcpStream,
    config: &IngestConfig,
    buffer: &mut Vec<u8>,
    begun: &mut Instant,
) -> Result<Option<Head>, ReadError> {
    let deadline = Instant::now() + config.request_timeout;
    let mut idle = Some(config.idle_timeout);
    let head = loop {
        if let Some(head) = parse_head(buffer)? {
            break head;
        }
        let first = idle.is_some();
        let more = read_more(stream, buffer, deadline, idle.take())?;
        if first {
            *begun = Instant::now(); // waiting for a first byte is the client's time, not the request's
        }
        if !more {
            return match buffer.len() {
                0 => Ok(None),
                n => Err(ApiError::bad_input("cut_short", n, "the connection closed within the head").into()),
            };
        }
    };
    if head.body_bytes > config.body_bytes_max {
        let message = format!("a body of {} bytes; the most is {}", head.body_bytes, config.body_bytes_max);
        return Err(ApiError::new(413, "body_too_large", message).into());
    }
    if head.expects_continue {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    while buffer.len() < head.bytes + head.body_bytes {
        if !read_more(stream, buffer, deadline, None)? {
            let (got, all) = (buffer.len() - head.bytes, head.body_bytes);
            let message = format!("the connection closed after {got} of {all} bytes of the body");
            return Err(ApiError::bad_input("cut_short", got, message).into());
        }
    }
    Ok(Some(head))
}

/// `false` at the end of the stream, or if it stayed idle.
fn read_more(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    deadline: Instant,
    idle: Option<Duration>,
) -> Result<bool, ReadError> {
    let mut piece = [0; READ_BYTES];
    stream.set_read_timeout(Some(idle.unwrap_or_else(|| left_until(deadline))))?;
    match stream.read(&mut piece) {
        Ok(0) => Ok(false),
        Ok(n) if Instant::now() < deadline => {
            buffer.extend_from_slice(&piece[..n]);
            Ok(true)
        }
        Err(e) if e.kind() == ErrorKind::Interrupted => Ok(true),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && idle.is_some() => {
            Ok(false)
        }
        Err(e) if !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(e.into()),
        _ => {
            let message = format!("the request did not arrive in time; {} bytes of it did", buffer.len());
            Err(ApiError::new(408, "request_timeout", message).into())
        }
    }
}

/// A timeout of zero would mean "none" to the operating system.
fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Where the parts of a request's head stand in the buffer.
#[derive(Debug)]
pub struct Head {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    /// Length of the head, its empty line included.
    bytes: usize,
    body_bytes: usize,
    expects_continue: bool,
}

impl Head {
    fn header_table(&self) -> Vec<(&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect()
    }

    fn request<'a>(
        &'a self,
        headers: &'a [(&'a str, &'a [u8])],
        buffer: &'a [u8],
        peer: SocketAddr,
    ) -> Request<'a> {
        let body = &buffer[self.bytes..self.bytes + self.body_bytes];
        Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers,
            body,
            peer: Some(peer),
        }
    }
}

/// Reads the head that `buffer` begins with; `None` while it is not whole.
///
/// # Errors
/// What makes it no HTTP/1.1, with its byte: nothing is guessed, since a guess that differs from a proxy's is
/// how requests are smuggled (RFC 9112 §11.2).
pub fn parse_head(buffer: &[u8]) -> Result<Option<Head>, ApiError> {
    // An empty line before the request is forgiven (RFC 9112 §2.2).
    let start = buffer.chunks(2).take_while(|line| *line == b"\r\n").count() * 2;
    let end = buffer[start..].windows(4).position(|w| w == b"\r\n\r\n").map(|at| start + at + 4);
    let seen = &buffer[..end.unwrap_or(buffer.len())];
    check_bytes(seen)?;
    if seen.len() > HEAD_BYTES_MAX {
        return Err(ApiError::new(
            431,
            "head_too_large",
            format!("a head of more than {HEAD_BYTES_MAX} bytes"),
        ));
    }
    let Some(end) = end else { return Ok(None) };
    // `check_bytes` let through what is no UTF-8 in header values only, so the split is by bytes.
    let mut lines = Vec::new();
    let mut at = start;
    while at < end - 2 {
        let length = buffer[at..].windows(2).position(|w| w == b"\r\n").unwrap_or_default();
        lines.push((at, &buffer[at..at + length]));
        at += length + 2;
    }
    let (method, path, query) = parse_request_line(lines[0].0, lines[0].1)?;
    if lines.len() - 1 > HEADERS_MAX {
        return Err(ApiError::new(431, "too_many_headers", format!("more than {HEADERS_MAX} header lines")));
    }
    let headers =
        lines[1..].iter().map(|(at, line)| parse_header(*at, line)).collect::<Result<Vec<_>, _>>()?;
    let (body_bytes, expects_continue) = check_headers(&method, &headers)?;
    Ok(Some(Head { method, path, query, headers, bytes: end, body_bytes, expects_continue }))
}

/// No control characters, and no line feed or carriage return that does not end a line.
fn check_bytes(head: &[u8]) -> Result<(), ApiError> {
    let bad = head.iter().enumerate().position(|(at, byte)| match byte {
        b'\n' => at == 0 || head[at - 1] != b'\r',
        b'\r' => head.get(at + 1).is_some_and(|next| *next != b'\n'),
        b'\t' => false,
        byte => byte.is_ascii_control(),
    });
    bad.map_or(Ok(()), |at| {
        let message = format!("byte 0x{:02x} may not stand here; lines end with CR LF", head[at]);
        Err(ApiError::bad_input("bad_head", at, message))
    })
}

fn parse_request_line(at: usize, line: &[u8]) -> Result<(String, String, String), ApiError> {
    let bad = |message: &str| ApiError::bad_input("bad_request_line", at, message);
    let line = std::str::from_utf8(line).map_err(|_| bad("the request line is not ASCII"))?;
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(bad("expected: METHOD, one space, target, one space, HTTP/1.1"));
    };
    if method.is_empty() || !method.bytes().all(is_token_byte) {
        return Err(bad("the method is no token"));
    }
    match version {
        "HTTP/1.1" | "HTTP/1.0" => {}
        v if v.len() == 8
            && v.starts_with("HTTP/")
            && v.as_bytes()[5].is_ascii_digit()
            && v.as_bytes()[6] == b'.' =>
        {
            return Err(ApiError::new(505, "bad_version", "this server speaks HTTP/1.1"));
        }
        _ => return Err(bad("the version is not HTTP/1.1")),
    }
    // The absolute form, which every server must take (RFC 9112 §3.2.2), only names the host once more.
    let target =
        match target.strip_prefix("http://").map(|rest| &rest[rest.find(['/', '?']).unwrap_or(rest.len())..])
        {
            Some(rest) if !rest.starts_with('/') => format!("/{rest}"),
            Some(rest) => rest.to_owned(),
            None => target.to_owned(),
        };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    if !path.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(bad(
            "the target must begin with '/' and hold no spaces, fragments or raw non-ASCII bytes",
        ));
    }
    Ok((method.to_owned(), path.to_owned(), query.to_owned()))
}

fn parse_header(at: usize, line: &[u8]) -> Result<(String, Vec<u8>), ApiError> {
    let bad = |message: &str| ApiError::bad_input("bad_header", at, message);
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(bad("a header may not be folded over several lines (RFC 9112 section 5.2)"));
    }
    let colon = line.iter().position(|b| *b == b':').ok_or_else(|| bad("a header line without a colon"))?;
    let name = std::str::from_utf8(&line[..colon]).unwrap_or_default();
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(bad("a header name must be a token, with no space before its colon"));
    }
    Ok((name.to_owned(), line[colon + 1..].trim_ascii().to_vec()))
}

/// What the headers say of the body, and that they do not contradict one another.
fn check_headers(method: &str, headers: &[(String, Vec<u8>)]) -> Result<(usize, bool), ApiError> {
    let all = |name: &str| -> Vec<&[u8]> {
        headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice()).collect()
    };
    let bad = |message: &str| ApiError::new(400, "bad_header", message);
    if all("host").len() != 1 {
        return Err(bad("exactly one Host header is needed"));
    }
    let (lengths, codings, expected) = (all("content-length"), all("transfer-encoding"), all("expect"));
    if !lengths.is_empty() && !codings.is_empty() {
        return Err(bad("Content-Length and Transfer-Encoding contradict each other"));
    }
    if !codings.is_empty() {
        let message = "phase 0 cannot decode a Transfer-Encoding; send a Content-Length";
        return Err(ApiError::new(501, "transfer_encoding", message));
    }
    let body_bytes = match lengths[..] {
        [] if matches!(method, "POST" | "PUT" | "PATCH") => {
            return Err(ApiError::new(411, "length_required", format!("{method} needs a Content-Length")));
        }
        [] => 0,
        [digits] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).unwrap_or(usize::MAX)
        }
        [_] => return Err(bad("Content-Length must be a decimal number")),
        _ => return Err(bad("Content-Length is given more than once")),
    };
    match expected[..] {
        [] => Ok((body_bytes, false)),
        [value] if value.eq_ignore_ascii_case(b"100-continue") => Ok((body_bytes, body_bytes > 0)),
        _ => Err(ApiError::new(417, "bad_expectation", "only \"Expect: 100-continue\" is known")),
    }
}

/// RFC 9110 §5.6.2.
fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// The whole answer in one buffer, so that it leaves in one write. A file that cannot be read is answered with nothing at
/// all: what was promised in it cannot be kept.
fn render(response: Response, head_only: bool) -> io::Result<Vec<u8>> {
    let Response { status, content_type, headers, body } = response;
    let mut out = format!("HTTP/1.1 {status} {}\r\nConnection: close\r\n", reason(status));
    if status != 204 && status != 304 {
        out += &format!("Content-Length: {}\r\n", body.len());
    }
    if !content_type.is_empty() {
        out += &format!("Content-Type: {content_type}\r\n");
    }
    for (name, value) in &headers {
        out += &format!("{name}: {value}\r\n");
    }
    out += "\r\n";
    let mut out = out.into_bytes();
    if !head_only {
        out.extend_from_slice(&body.read()?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status_of(head: &str) -> u16 {
        match parse_head(head.as_bytes()) {
            Ok(Some(_)) => 200,
            Ok(None) => 0,
            Err(e) => e.status,
        }
    }

    #[test]
    fn accepts_and_refuses_by_the_book() {
        let with = |headers: &str| status_of(&format!("POST /metrics HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
        let line = |line: &str| status_of(&format!("{line}\r\nHost: x\r\n\r\n"));
        assert_eq!(with("Content-Length: 5\r\n"), 200);
        assert_eq!(with("content-length:5\r\nX-Any: \u{e9}\r\n"), 200);
        assert_eq!(with(""), 411);
        for bad in
            ["+5", "-1", "0x5", "5,5", "5 5", "", "5\r\nContent-Length: 5", "5\r\nTransfer-Encoding: chunked"]
        {
            assert_eq!(with(&format!("Content-Length: {bad}\r\n")), 400, "{bad:?}");
        }
        assert_eq!(with("Transfer-Encoding: chunked\r\n"), 501);
        assert_eq!(with("Content-Length : 5\r\n"), 400);
        assert_eq!(with("Content-Length: 5\r\n folded\r\n"), 400);
        assert_eq!(with("Content-Length: 5\r\nNo colon\r\n"), 400);
        assert_eq!(with("Content-Length: 5\r\nX: a\0b\r\n"), 400);
        assert_eq!(with("Content-Length: 5\r\nX: a\nb\r\n"), 400);
        assert_eq!(with("Content-Length: 5\r\nHost: y\r\n"), 400);
        assert_eq!(with("Content-Length: 5\r\nExpect: tea\r\n"), 417);
        assert_eq!(with(&"A: b\r\n".repeat(101)), 431);
        assert_eq!(with(&format!("A: {}\r\n", "b".repeat(HEAD_BYTES_MAX))), 431);
        assert_eq!(line("GET / HTTP/1.1"), 200);
        assert_eq!(line("\r\nGET / HTTP/1.1"), 200);
        assert_eq!(line("GET http://x/health?a=b HTTP/1.1"), 200);
        assert_eq!(line("GET / HTTP/2.0"), 505);
        for bad in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET / http/1.1",
            "G@T / HTTP/1.1",
            "GET x HTTP/1.1",
            "GET /é HTTP/1.1",
            "GET /#a HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "* / HTTP/1.1x",
        ] {
            assert_eq!(line(bad), 400, "{bad:?}");
        }
        assert_eq!(status_of("GET / HTTP/1.1\r\n\r\n"), 400, "no Host");
        assert_eq!(status_of("GET / HTTP/1.1\r\nHost: x\r\n"), 0, "not whole yet");
    }

    #[test]
    fn the_target_is_taken_apart() {
        let head =
            parse_head(b"GET http://x:80/query?name=a&b HTTP/1.1\r\nHost: x\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.path.as_str(), head.query.as_str()), ("/query", "name=a&b"));
        let head = parse_head(b"GET http://x?a=/health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.path.as_str(), head.query.as_str()), ("/", "a=/health"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_head(&bytes);
        }

        #[test]
        fn near_misses_are_read_or_refused(text in "(GET|POST)? ?/?[a-z?#]{0,4} HTTP/1.[01]\r\n(Host: x\r\n)?(Content-Length:[ 0-9,x]{0,4}\r\n)?[ :\r\na]{0,8}(\r\n)?") {
            let _ = parse_head(text.as_bytes());
        }
    }
}
