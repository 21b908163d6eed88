//! Answers as bytes (RFC 9112 section 4), written without an allocation into the connection's buffer.

use super::head::{Head, Version};
use crate::slots::Answer;
use contracts::http::{Body, Response, reason};

/// Tells the client to send its body (RFC 9110 section 15.2.1).
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What the request that is answered asks of the form of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// The request was a HEAD.
    pub(super) head_only: bool,
    /// What to say of the connection.
    pub(super) connection: ConnectionOption,
}

/// `Connection`, where it differs from what HTTP/1.1 takes for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionOption {
    Unsaid,
    KeepAlive,
    Close,
}

impl Form {
    /// The last answer, to something that was no request.
    pub(super) const REFUSAL: Self = Self { head_only: false, connection: ConnectionOption::Close };

    /// Of the answer to this request.
    pub(super) fn of(head: &Head<'_>, is_last: bool) -> Self {
        let connection = match head.version {
            _ if is_last => ConnectionOption::Close,
            Version::Http10 => ConnectionOption::KeepAlive,
            Version::Http11 => ConnectionOption::Unsaid,
        };
        Self { head_only: head.method == "HEAD", connection }
    }

    /// The same, and nothing after it.
    pub(super) fn last(self) -> Self {
        Self { connection: ConnectionOption::Close, ..self }
    }

    /// Whether the body of an answer with this status is sent. Two never have one (RFC 9112 section 6.3), and whoever asks
    /// with HEAD wants none.
    pub(super) fn sends_body(self, status: u16) -> bool {
        has_body(status) && !self.head_only
    }
}

/// Appends an answer to `out`, but for what of its body is in files.
pub(super) fn write(out: &mut Vec<u8>, answer: &Answer, date: &[u8], form: Form) {
    match answer {
        Answer::Accepted(count) => write_accepted(out, *count, date, form),
        Answer::NoContent => {
            out.extend_from_slice(b"HTTP/1.1 204 No Content\r\n");
            out.extend_from_slice(date);
            out.extend_from_slice(end_of_head(form.connection));
        }
        Answer::Other(response) => write_response(out, response, date, form),
        // Who promises an answer keeps its form, and writes it when it is there.
        Answer::Later(_) | Answer::Soon(_) => {}
    }
}

fn write_accepted(out: &mut Vec<u8>, count: usize, date: &[u8], form: Form) {
    const BEGIN: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: ";
    let mut digits = [0; 20];
    let count = decimal(count as u64, &mut digits);
    out.extend_from_slice(BEGIN);
    write_decimal(out, (r#"{"accepted":}"#.len() + count.len()) as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(date);
    out.extend_from_slice(end_of_head(form.connection));
    if !form.head_only {
        out.extend_from_slice(br#"{"accepted":"#);
        out.extend_from_slice(count);
        out.push(b'}');
    }
}

fn write_response(out: &mut Vec<u8>, response: &Response, date: &[u8], form: Form) {
    let Response { status, content_type, headers, body } = response;
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(*status));
    out.push(b' ');
    out.extend_from_slice(reason(*status).as_bytes());
    out.extend_from_slice(b"\r\n");
    // Where there is never a body, a length would only mislead.
    if has_body(*status) {
        if !content_type.is_empty() {
            write_header(out, "Content-Type", content_type);
        }
        out.extend_from_slice(b"Content-Length: ");
        write_decimal(out, body.len());
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in headers {
        write_header(out, name, value);
    }
    out.extend_from_slice(date);
    out.extend_from_slice(end_of_head(form.connection));
    if let Body::Bytes(body) = body
        && form.sends_body(*status)
    {
        out.extend_from_slice(body);
    }
}

fn has_body(status: u16) -> bool {
    !matches!(status, 204 | 304)
}

/// A value can hold what a client sent. A control character in it becomes a space, so that it never ends its line.
fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b }));
    out.extend_from_slice(b"\r\n");
}

fn end_of_head(connection: ConnectionOption) -> &'static [u8] {
    match connection {
        ConnectionOption::Unsaid => b"\r\n",
        ConnectionOption::KeepAlive => b"Connection: keep-alive\r\n\r\n",
        ConnectionOption::Close => b"Connection: close\r\n\r\n",
    }
}

fn write_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(decimal(number, &mut [0; 20]));
}

/// The digits of a number, right-aligned in a buffer that holds any.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}
