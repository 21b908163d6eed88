//! A small HTTP client on raw sockets, for the black-box suite: it can say what no proper client would say.
//!
//! Everything is bounded: connecting, sending, waiting for an answer, and the size of one.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

/// How long an answer may take to be complete.
const REPLY_SECONDS_MAX: u64 = 30;
/// Largest answer that is read.
const REPLY_BYTES_MAX: usize = 256 << 20;
/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Where a service is: `http://host:port`, with a path before all of its own if it stands behind a proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    /// `host:port`, as it stands in `Host`.
    pub authority: String,
    /// Empty, or with a slash at its front and none at its end.
    pub base: String,
    /// Sent as `Authorization: Bearer …` where the service asks for it.
    pub token: Option<String>,
}

impl Url {
    /// Reads `http://host:port[/base]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or(format!("{text:?} does not begin with http://"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(format!("{text:?} names no host"));
        }
        let has_port = authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let port = if has_port { "" } else { ":80" };
        Ok(Self {
            authority: format!("{authority}{port}"),
            base: path.trim_end_matches('/').to_owned(),
            token: None,
        })
    }

    /// The header line that the token makes, with its line end; nothing without one.
    pub fn authorization(&self) -> String {
        self.token.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"))
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Names in lower case, values trimmed.
    pub headers: Vec<(String, String)>,
    /// The body, decoded from its transfer coding.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// That it is none.
    pub fn json(&self) -> Result<serde_json::Value, String> {
        serde_json::from_slice(&self.body)
            .map_err(|e| format!("the body of a {} is no JSON ({e}): {:.200}", self.status, self.text()))
    }
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    /// Read, but not yet part of an answer.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Why it could not.
    pub fn open(url: &Url) -> Result<Self, String> {
        let failed = |e: io::Error| format!("connecting to {}: {e}", url.authority);
        let mut last = failed(ErrorKind::AddrNotAvailable.into());
        for address in url.authority.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
                Ok(stream) => {
                    // Cuts and drips must leave this machine as they are written.
                    stream.set_nodelay(true).map_err(failed)?;
                    stream.set_write_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
                    return Ok(Self { stream, buffer: Vec::new() });
                }
                Err(e) => last = failed(e),
            }
        }
        Err(last)
    }

    /// Sends bytes as they are. A server that has heard enough may close meanwhile: its answer tells.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        // It fails only where the connection is gone already, which the answer will tell.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next answer, interim ones (1xx) included; `None` if the server closed instead. `bodiless` is for
    /// answers to HEAD.
    ///
    /// # Errors
    /// An answer that is not HTTP, is cut short, too large, or does not come.
    pub fn reply(&mut self, bodiless: bool) -> Result<Option<Reply>, String> {
        let deadline = Instant::now() + Duration::from_secs(REPLY_SECONDS_MAX);
        let Some(head_end) = self.read_head(deadline)? else { return Ok(None) };
        let head: Vec<u8> = self.buffer.drain(..head_end).collect();
        let (status, headers) = parse_head(&head)?;
        let mut reply = Reply { status, headers, body: Vec::new() };
        if !bodiless && !matches!(status, 100..=199 | 204 | 304) {
            reply.body = self.read_body(&reply, deadline)?;
        }
        Ok(Some(reply))
    }

    /// What the server sends until it closes.
    ///
    /// # Errors
    /// If it does not close.
    pub fn rest(&mut self) -> Result<Vec<u8>, String> {
        let deadline = Instant::now() + Duration::from_secs(REPLY_SECONDS_MAX);
        while self.read_some(deadline)? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Whether the server has answered or closed within this time.
    ///
    /// # Errors
    /// More than an answer may hold.
    pub fn has_reacted(&mut self, within: Duration) -> Result<bool, String> {
        let deadline = Instant::now() + within;
        match self.read_some(deadline) {
            Ok(_) => Ok(true),
            Err(_) if Instant::now() >= deadline => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Where the head in the buffer ends, reading as much as that takes.
    fn read_head(&mut self, deadline: Instant) -> Result<Option<usize>, String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(at + 4));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(format!("the head of the answer passes {HEAD_BYTES_MAX} bytes"));
            }
            if !self.read_some(deadline)? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(format!("the answer ends within its head: {:?}", lossy(&self.buffer))),
                };
            }
        }
    }

    fn read_body(&mut self, reply: &Reply, deadline: Instant) -> Result<Vec<u8>, String> {
        if reply.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks(deadline);
        }
        match reply.header("content-length") {
            Some(text) => {
                let length: usize =
                    text.parse().map_err(|_| format!("Content-Length: {text:?} is no length"))?;
                self.take(length, deadline)
            }
            None => {
                while self.read_some(deadline)? {}
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    fn read_chunks(&mut self, deadline: Instant) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line(deadline)?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length =
                usize::from_str_radix(digits, 16).map_err(|_| format!("{line:?} is no chunk size"))?;
            if length == 0 {
                while !self.take_line(deadline)?.is_empty() {}
                return Ok(body);
            }
            body.append(&mut self.take(length, deadline)?);
            let end = self.take_line(deadline)?;
            if !end.is_empty() {
                return Err(format!("a chunk is followed by {end:?}"));
            }
        }
    }

    fn take_line(&mut self, deadline: Instant) -> Result<String, String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(lossy(&line[..at]));
            }
            self.read_more(deadline)?;
        }
    }

    fn take(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, String> {
        while self.buffer.len() < length {
            self.read_more(deadline)?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn read_more(&mut self, deadline: Instant) -> Result<(), String> {
        if self.read_some(deadline)? { Ok(()) } else { Err("the answer is cut short".to_owned()) }
    }

    /// Reads once; `false` at the end of the stream.
    fn read_some(&mut self, deadline: Instant) -> Result<bool, String> {
        if self.buffer.len() > REPLY_BYTES_MAX {
            return Err(format!("the answer passes {REPLY_BYTES_MAX} bytes"));
        }
        let mut some = [0; 16 << 10];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("no complete answer came in time".to_owned());
            }
            self.stream.set_read_timeout(Some(left)).map_err(|e| e.to_string())?;
            return match self.stream.read(&mut some) {
                Ok(0) => Ok(false),
                Ok(count) => {
                    self.buffer.extend_from_slice(&some[..count]);
                    Ok(true)
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    Err("no complete answer came in time".to_owned())
                }
                // A reset is how some systems close when bytes were left unread.
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(false),
                Err(e) => Err(format!("reading the answer: {e}")),
            };
        }
    }
}

/// Sends bytes on a connection of their own, says that there will be no more, and returns the answer.
///
/// # Errors
/// As [`Connection::open`] and [`Connection::reply`].
pub fn exchange(url: &Url, bytes: &[u8]) -> Result<Option<Reply>, String> {
    let mut connection = Connection::open(url)?;
    // A server may refuse before it has read everything.
    let _ = connection.send(bytes);
    connection.finish();
    connection.reply(false)
}

/// The bytes of a well-formed request, after which the connection is to be closed.
pub fn request(
    url: &Url,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Vec<u8> {
    let mut head = format!("{method} {}{target} HTTP/1.1\r\nHost: {}\r\n", url.base, url.authority);
    head.push_str(&url.authorization());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("Connection: close\r\n\r\n");
    [head.as_bytes(), body.unwrap_or_default()].concat()
}

fn parse_head(head: &[u8]) -> Result<(u16, Vec<(String, String)>), String> {
    let bad = |line: &str| format!("{line:?} is no line of an HTTP answer");
    let text = lossy(head);
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next().unwrap_or_default();
    let mut words = first.splitn(3, ' ');
    let version_is_known = matches!(words.next(), Some("HTTP/1.1" | "HTTP/1.0"));
    let status = words.next().filter(|s| version_is_known && s.len() == 3).and_then(|s| s.parse().ok());
    let status = status.filter(|s| (100..600).contains(s)).ok_or_else(|| bad(first))?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':').ok_or_else(|| bad(line))?;
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Ok((status, lines.map(header).collect::<Result<_, String>>()?))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let url = Url::parse("http://127.0.0.1:9/a/").unwrap();
        assert_eq!((&*url.authority, &*url.base), ("127.0.0.1:9", "/a"));
        assert_eq!(Url::parse("http://localhost").unwrap().authority, "localhost:80");
        Url::parse("https://localhost").unwrap_err();
        Url::parse("http:///x").unwrap_err();
    }

    #[test]
    fn heads() {
        let (status, headers) = parse_head(b"HTTP/1.1 200 OK\r\nA: b \r\n\r\n").unwrap();
        assert_eq!((status, &*headers[0].0, &*headers[0].1), (200, "a", "b"));
        for bad in ["200 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nnocolon\r\n\r\n"] {
            parse_head(bad.as_bytes()).unwrap_err();
        }
    }
}
