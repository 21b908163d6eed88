//! Response bytes in, events out. Does no IO, allocates only for a line that was cut in two.
//!
//! Invariant: the events depend on the bytes alone, never on how the network cut them (only the cuts between two
//! `Body` events do). Every length that the server chooses is bounded, and nothing it sends can panic.
//!
//! Deliberately absent: header fields that change nothing for a load tester are skipped unread.

use std::mem;

/// The longest status, header or chunk-size line.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// The most header lines, trailers included, of one response.
pub const HEADER_LINES_MAX: usize = 128;

/// One step of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The header is complete.
    Head {
        /// The status code, 200 to 599.
        status: u16,
    },
    /// A piece of the body.
    Body(&'a [u8]),
    /// The response is complete.
    End {
        /// Whether the connection can carry another response.
        keep_alive: bool,
    },
}

/// Why an answer is not HTTP/1.1. The connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not `HTTP/1.x SSS …` with a final status.
    #[error("the status line is not HTTP/1.x with a status from 200 to 599")]
    StatusLine,
    /// A header line without a colon.
    #[error("a header line has no colon")]
    HeaderLine,
    /// Not a number, or two that differ.
    #[error("Content-Length is not one number")]
    ContentLength,
    /// A coding other than `chunked`.
    #[error("Transfer-Encoding is something other than chunked")]
    TransferEncoding,
    /// A chunk without a hexadecimal length, or not ended by a line end.
    #[error("a chunk has no valid length or no line end")]
    Chunk,
    /// See [`LINE_BYTES_MAX`] and [`HEADER_LINES_MAX`].
    #[error("the header exceeds {LINE_BYTES_MAX} bytes a line or {HEADER_LINES_MAX} lines")]
    TooLong,
    /// The connection ended inside a response.
    #[error("the connection ended inside a response")]
    Truncated,
}

/// The parser of one connection's responses, one after the other.
#[derive(Debug, Default)]
pub struct ResponseParser {
    state: State,
    /// The beginning of a line whose end has not come yet.
    partial_line: Vec<u8>,
    head: Head,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    StatusLine,
    Headers,
    Fixed {
        left: u64,
    },
    UntilClose,
    ChunkSize,
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    Trailers,
    Failed(ParseError),
}

#[derive(Debug, Default, Clone, Copy)]
struct Head {
    status: u16,
    keep_alive: bool,
    chunked: bool,
    content_length: Option<u64>,
    lines: usize,
}

impl ResponseParser {
    /// Takes bytes off the front of `input` until there is an event; `None` means that more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are not a response. The parser then repeats that error for ever.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ParseError> {
        let step = self.step(input);
        if let Err(error) = step {
            self.state = State::Failed(error);
        }
        step
    }

    /// What the end of the connection means: the end of a response without a length, nothing (between two
    /// responses), or an error.
    ///
    /// # Errors
    /// When a response had begun.
    pub fn end_of_input(&mut self) -> Result<Option<Event<'static>>, ParseError> {
        match self.state {
            State::UntilClose => Ok(Some(self.end())),
            State::StatusLine if self.partial_line.is_empty() => Ok(None),
            State::Failed(error) => Err(error),
            _ => Err(ParseError::Truncated),
        }
    }

    fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ParseError> {
        loop {
            match self.state {
                State::Fixed { left: 0 } => return Ok(Some(self.end())),
                State::Fixed { left } => {
                    let Some(piece) = take(input, left) else { return Ok(None) };
                    self.state = State::Fixed { left: left - piece.len() as u64 };
                    return Ok(Some(Event::Body(piece)));
                }
                State::ChunkData { left: 0 } => self.state = State::ChunkEnd,
                State::ChunkData { left } => {
                    let Some(piece) = take(input, left) else { return Ok(None) };
                    self.state = State::ChunkData { left: left - piece.len() as u64 };
                    return Ok(Some(Event::Body(piece)));
                }
                State::UntilClose => return Ok(take(input, u64::MAX).map(Event::Body)),
                State::Failed(error) => return Err(error),
                State::StatusLine | State::Headers | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    let Some(ended) = self.line(input)? else { return Ok(None) };
                    if let Some(event) = ended {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// Reads one line and acts on it. The outer `None` means that its end has not come yet.
    fn line<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Option<Event<'a>>>, ParseError> {
        let Some(end) = memchr::memchr(b'\n', input) else {
            self.keep_partial(input)?;
            *input = &[];
            return Ok(None);
        };
        let (line, rest) = (&input[..end], &input[end + 1..]);
        *input = rest;
        if self.partial_line.is_empty() {
            if line.len() > LINE_BYTES_MAX {
                return Err(ParseError::TooLong);
            }
            return self.on_line(without_cr(line)).map(Some);
        }
        self.keep_partial(line)?;
        let mut whole = mem::take(&mut self.partial_line);
        let event = self.on_line(without_cr(&whole));
        whole.clear();
        self.partial_line = whole;
        event.map(Some)
    }

    fn keep_partial(&mut self, piece: &[u8]) -> Result<(), ParseError> {
        if self.partial_line.len() + piece.len() > LINE_BYTES_MAX {
            return Err(ParseError::TooLong);
        }
        self.partial_line.extend_from_slice(piece);
        Ok(())
    }

    fn on_line<'a>(&mut self, line: &[u8]) -> Result<Option<Event<'a>>, ParseError> {
        match self.state {
            State::StatusLine => {
                self.head = status_line(line)?;
                self.state = State::Headers;
            }
            State::Headers if line.is_empty() => return Ok(self.end_of_head()),
            State::Headers => {
                self.count_line()?;
                self.head.field(line)?;
            }
            State::ChunkSize => {
                self.state = match chunk_size(line)? {
                    0 => State::Trailers,
                    left => State::ChunkData { left },
                }
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(ParseError::Chunk),
            State::Trailers if line.is_empty() => return Ok(Some(self.end())),
            State::Trailers => self.count_line()?,
            State::Fixed { .. } | State::ChunkData { .. } | State::UntilClose | State::Failed(_) => {}
        }
        Ok(None)
    }

    fn count_line(&mut self) -> Result<(), ParseError> {
        self.head.lines += 1;
        if self.head.lines > HEADER_LINES_MAX { Err(ParseError::TooLong) } else { Ok(()) }
    }

    /// How the body is delimited: RFC 9112, section 6.3.
    fn end_of_head<'a>(&mut self) -> Option<Event<'a>> {
        let status = self.head.status;
        if status < 200 {
            // An interim answer such as 100 Continue: the real one follows.
            self.state = State::StatusLine;
            return None;
        }
        self.state = if matches!(status, 204 | 304) {
            State::Fixed { left: 0 }
        } else if self.head.chunked {
            // Both lengths at once smells of smuggling: obey the chunks, do not reuse the connection.
            self.head.keep_alive &= self.head.content_length.is_none();
            State::ChunkSize
        } else if let Some(left) = self.head.content_length {
            State::Fixed { left }
        } else {
            self.head.keep_alive = false;
            State::UntilClose
        };
        Some(Event::Head { status })
    }

    fn end<'a>(&mut self) -> Event<'a> {
        self.state = State::StatusLine;
        Event::End { keep_alive: self.head.keep_alive }
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) -> Result<(), ParseError> {
        // Only three names matter, and their lengths differ: most fields are skipped after one look.
        let colon = memchr::memchr(b':', line).ok_or(ParseError::HeaderLine)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(ParseError::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"close") {
                self.keep_alive = false;
                return;
            }
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), ParseError> {
        let length = number(value, 10).ok_or(ParseError::ContentLength)?;
        match self.content_length.replace(length) {
            Some(earlier) if earlier != length => Err(ParseError::ContentLength),
            _ => Ok(()),
        }
    }
}

fn status_line(line: &[u8]) -> Result<Head, ParseError> {
    let rest = line.strip_prefix(b"HTTP/1.").ok_or(ParseError::StatusLine)?;
    let [minor, b' ', a, b, c, rest @ ..] = rest else { return Err(ParseError::StatusLine) };
    let status = number(&[*a, *b, *c], 10).and_then(|status| u16::try_from(status).ok());
    match (minor, status, rest.first()) {
        // 101 would mean that we had asked for another protocol.
        (b'0' | b'1', Some(status), None | Some(b' ')) if matches!(status, 100 | 102..=599) => {
            Ok(Head { status, keep_alive: *minor == b'1', ..Head::default() })
        }
        _ => Err(ParseError::StatusLine),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, ParseError> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    number(digits.trim_ascii(), 16).ok_or(ParseError::Chunk)
}

/// Digits only: `u64::from_str_radix` would take a plus sign.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        sum.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

/// Takes up to `most` bytes off `input`; `None` when there are none.
fn take<'a>(input: &mut &'a [u8], most: u64) -> Option<&'a [u8]> {
    if input.is_empty() {
        return None;
    }
    let taken = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
    let (piece, rest) = input.split_at(taken);
    *input = rest;
    Some(piece)
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a conversation came to, with body pieces joined.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        answers: Vec<(u16, Vec<u8>, bool)>,
        open: Option<(u16, Vec<u8>)>,
        error: Option<ParseError>,
    }

    /// Feeds `pieces`, then the end of the connection.
    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
        let mut parser = ResponseParser::default();
        let mut seen = Seen::default();
        for mut piece in pieces {
            loop {
                match parser.next(&mut piece) {
                    Ok(Some(event)) => seen.on(event),
                    Ok(None) => break,
                    Err(error) => {
                        seen.error = Some(error);
                        return seen;
                    }
                }
            }
            assert!(piece.is_empty(), "asks for more before it has read what there is");
        }
        match parser.end_of_input() {
            Ok(Some(event)) => seen.on(event),
            Ok(None) => {}
            Err(error) => seen.error = Some(error),
        }
        seen
    }

    impl Seen {
        fn on(&mut self, event: Event<'_>) {
            match event {
                Event::Head { status } => {
                    assert!(self.open.replace((status, Vec::new())).is_none());
                }
                Event::Body(piece) => self.open.as_mut().unwrap().1.extend_from_slice(piece),
                Event::End { keep_alive } => {
                    let (status, body) = self.open.take().unwrap();
                    self.answers.push((status, body, keep_alive));
                }
            }
        }
    }

    #[track_caller]
    fn check(bytes: &str, answers: &[(u16, &str, bool)]) {
        let seen = parse([bytes.as_bytes()]);
        assert_eq!(seen.error, None);
        let expected: Vec<_> =
            answers.iter().map(|(status, body, keep)| (*status, body.as_bytes().to_vec(), *keep)).collect();
        assert_eq!(seen.answers, expected);
    }

    #[track_caller]
    fn check_error(bytes: &str, error: ParseError) {
        assert_eq!(parse([bytes.as_bytes()]).error, Some(error));
    }

    #[test]
    fn a_length_delimits_the_body() {
        check("HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabc", &[(202, "abc", true)]);
        check("HTTP/1.1 202\r\ncontent-LENGTH:0\r\n\r\n", &[(202, "", true)]);
        check("HTTP/1.1 202 Accepted\nContent-Length: 1\n\na", &[(202, "a", true)]);
    }

    #[test]
    fn chunks_delimit_the_body_whatever_their_extensions_and_trailers() {
        check(
            "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
            &[(400, "abc0123456789", true)],
        );
    }

    #[test]
    fn without_a_length_the_connection_delimits_the_body() {
        check("HTTP/1.1 200 OK\r\n\r\nall of this", &[(200, "all of this", false)]);
    }

    #[test]
    fn the_server_says_whether_the_connection_stays() {
        check("HTTP/1.1 202 A\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", &[(202, "", false)]);
        check("HTTP/1.0 202 A\r\nContent-Length: 0\r\n\r\n", &[(202, "", false)]);
        check("HTTP/1.0 202 A\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", &[(202, "", true)]);
        check("HTTP/1.1 202 A\r\nConnection: foo, Close\r\nContent-Length: 0\r\n\r\n", &[(202, "", false)]);
    }

    #[test]
    fn pipelined_answers_and_interim_ones_come_in_order() {
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\nHTTP/1.1 429 T\r\nContent-Length: 1\r\n\r\nx",
            &[(204, "", true), (429, "x", true)],
        );
    }

    #[test]
    fn nonsense_is_an_error_and_not_a_panic() {
        check_error("SSH-2.0-OpenSSH\r\n", ParseError::StatusLine);
        check_error("HTTP/1.1 999 Odd\r\n", ParseError::StatusLine);
        check_error("HTTP/1.1 101 Switching\r\n", ParseError::StatusLine);
        check_error("HTTP/2 200\r\n", ParseError::StatusLine);
        check_error("HTTP/1.1 200 OK\r\nno colon\r\n", ParseError::HeaderLine);
        check_error("HTTP/1.1 200 OK\r\nContent-Length: +3\r\n", ParseError::ContentLength);
        check_error("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n", ParseError::ContentLength);
        check_error(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            ParseError::ContentLength,
        );
        check_error("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", ParseError::TransferEncoding);
        check_error("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", ParseError::Chunk);
        check_error("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", ParseError::Chunk);
        check_error("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", ParseError::Truncated);
        check_error("HTTP/1.1 20", ParseError::Truncated);
    }

    #[test]
    fn lines_and_their_number_are_bounded() {
        check_error(&format!("HTTP/1.1 200 {}", "x".repeat(LINE_BYTES_MAX)), ParseError::TooLong);
        check_error(&format!("HTTP/1.1 200 {}\r\n", "x".repeat(LINE_BYTES_MAX)), ParseError::TooLong);
        check_error(&format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(200)), ParseError::TooLong);
    }

    /// One response, well formed or nearly so.
    fn response() -> impl Strategy<Value = Vec<u8>> {
        let body = proptest::collection::vec(any::<u8>(), 0..60);
        let status =
            prop_oneof![Just(200_u16), Just(202), Just(204), Just(400), Just(429), Just(503), Just(100)];
        (status, body, 0..4_u8, any::<bool>()).prop_map(|(status, body, framing, close)| {
            let mut bytes = format!("HTTP/1.1 {status} Words here\r\nServer: some server\r\n").into_bytes();
            if close {
                bytes.extend(b"Connection: close\r\n");
            }
            match framing {
                0 => bytes.extend(b"\r\n"),
                1 => {
                    bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in body.chunks(7) {
                        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                        bytes.extend(chunk);
                        bytes.extend(b"\r\n");
                    }
                    bytes.extend(b"0\r\n\r\n");
                }
                _ => {
                    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
                    bytes.extend(&body);
                }
            }
            bytes
        })
    }

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n";

    fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_events(
            responses in proptest::collection::vec(response(), 1..5),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            let bytes = responses.concat();
            prop_assert_eq!(parse([bytes.as_slice()]), parse(cut(&bytes, &cuts)));
            prop_assert_eq!(parse([bytes.as_slice()]), parse(bytes.chunks(1)));
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_depend_on_the_split(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            cuts in proptest::collection::vec(any::<usize>(), 0..6),
            keep in 0..60_usize,
        ) {
            let mut bytes = HEAD[..keep.min(HEAD.len())].to_vec();
            bytes.extend(noise);
            prop_assert_eq!(parse([bytes.as_slice()]), parse(cut(&bytes, &cuts)));
        }
    }
}
