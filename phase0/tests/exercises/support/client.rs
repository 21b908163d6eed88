//! An HTTP client of a few lines: one connection, one request, the whole answer.

use super::PATIENCE;
use serde_json::Value;
use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
};

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    /// The body as JSON; `null` if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.body)
    }
}

/// `GET target`.
pub(crate) fn get(port: u16, target: &str) -> Answer {
    must(exchange(port, &request("GET", target, None)), &format!("GET {target}"))
}

/// `POST target` with a body.
pub(crate) fn post(port: u16, target: &str, body: &str) -> Answer {
    must(exchange(port, &request("POST", target, Some(body))), &format!("POST {target} {body}"))
}

/// Bytes as they are; what follows the status line may be anything.
pub(crate) fn raw(port: u16, bytes: &str) -> Answer {
    must(exchange(port, bytes), &format!("{bytes:?}"))
}

/// A connection to write to at one's own pace.
pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server takes a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
    stream
}

/// Reads the answer to what was sent on a connection.
pub(crate) fn answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status in {head:?}")))?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// The text of a request.
pub(crate) fn request(method: &str, target: &str, body: Option<&str>) -> String {
    let length = body.map_or(String::new(), |b| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", b.len())
    });
    format!(
        "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{length}\r\n{}",
        body.unwrap_or_default()
    )
}

fn exchange(port: u16, bytes: &str) -> io::Result<Answer> {
    let mut stream = connect(port);
    stream.write_all(bytes.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    answer(&mut stream)
}

fn must(answer: io::Result<Answer>, sent: &str) -> Answer {
    answer.unwrap_or_else(|e| panic!("\n  sent:     {sent}\n  expected: an answer\n  observed: {e}\n"))
}
