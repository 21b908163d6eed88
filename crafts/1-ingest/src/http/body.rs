//! The chunked transfer coding (RFC 9112 section 7.1), a byte or a megabyte at a time.
//!
//! Extensions and trailers are checked, bounded and dropped: nothing here has a use for them.

use super::scan::is_token_byte;
use contracts::{http::ApiError, limits::HEAD_BYTES_MAX};

/// Bytes of all extensions of a body: more is somebody who lets us read what nobody needs.
const EXTENSION_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// Bytes of all trailers of a body.
const TRAILER_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// Digits of a chunk's size: zeros in front do no harm, but there is no end to them.
const SIZE_DIGITS_MAX: u8 = 16;

/// Takes the chunks of one body apart.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// The size that is being read, or what is left of the chunk.
    size: usize,
    digits: u8,
    /// Bytes of extensions, then of trailers.
    extras: usize,
    /// Data so far, the chunk under way included.
    body_bytes: usize,
    body_bytes_max: usize,
}

/// What must come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// White space, which only an extension may follow.
    SpaceAfterSize,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

impl Chunks {
    pub(super) fn new(body_bytes_max: usize) -> Self {
        Self { state: State::Size, size: 0, digits: 0, extras: 0, body_bytes: 0, body_bytes_max }
    }

    /// Whether the last chunk and its trailers have been read.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Appends to `body` the data in `bytes`; returns how many of them belong to this body.
    ///
    /// # Errors
    /// What is no chunk, or passes a bound.
    pub(super) fn read(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, ApiError> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let data = &bytes[at..bytes.len().min(at.saturating_add(self.size))];
                body.extend_from_slice(data);
                self.size -= data.len();
                at += data.len();
                if self.size == 0 {
                    self.state = State::DataReturn;
                }
            } else {
                self.state = self.next(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// The state that this byte leads to.
    fn next(&mut self, byte: u8) -> Result<State, ApiError> {
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (State::Size | State::SpaceAfterSize | State::Extension, _) => self.after_size(byte),
            (State::SizeLineFeed, b'\n') => self.chunk(),
            (State::DataReturn, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => {
                (self.size, self.digits) = (0, 0);
                Ok(State::Size)
            }
            (State::LastLineFeed, b'\n') => Ok(State::Done),
            (State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLineFeed, _) => {
                self.trailer(byte)
            }
            _ => Err(bad_chunk(format!("byte 0x{byte:02x} stands where a chunk's CR LF should"))),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<State, ApiError> {
        self.digits += 1;
        if self.digits > SIZE_DIGITS_MAX {
            return Err(bad_chunk(format!("a chunk size of more than {SIZE_DIGITS_MAX} digits")));
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        // What passes all numbers stays too large, and is refused as that.
        self.size = self.size.saturating_mul(16).saturating_add(usize::from(digit));
        Ok(State::Size)
    }

    /// Behind the digits of a size.
    fn after_size(&mut self, byte: u8) -> Result<State, ApiError> {
        match (self.state, byte) {
            (State::Size, _) if self.digits == 0 => Err(bad_chunk(format!(
                "byte 0x{byte:02x} stands where the hexadecimal size of a chunk should"
            ))),
            (State::Size | State::Extension, b'\r') => Ok(State::SizeLineFeed),
            (State::Size | State::SpaceAfterSize, b' ' | b'\t') => self.extension(State::SpaceAfterSize),
            (State::Size | State::SpaceAfterSize, b';') => self.extension(State::Extension),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension(State::Extension),
            _ => Err(bad_chunk(format!("byte 0x{byte:02x} may not stand behind the size of a chunk"))),
        }
    }

    fn extension(&mut self, next: State) -> Result<State, ApiError> {
        self.extras += 1;
        if self.extras > EXTENSION_BYTES_MAX {
            return Err(bad_chunk(format!("more than {EXTENSION_BYTES_MAX} bytes of chunk extensions")));
        }
        Ok(next)
    }

    /// A size line has ended.
    fn chunk(&mut self) -> Result<State, ApiError> {
        self.body_bytes = self.body_bytes.saturating_add(self.size);
        if self.body_bytes > self.body_bytes_max {
            let message = format!("a body of more than {} bytes", self.body_bytes_max);
            return Err(ApiError::new(413, "body_too_large", message));
        }
        if self.size > 0 {
            return Ok(State::Data);
        }
        self.extras = 0;
        Ok(State::TrailerStart)
    }

    fn trailer(&mut self, byte: u8) -> Result<State, ApiError> {
        self.extras += 1;
        if self.extras > TRAILER_BYTES_MAX {
            let message = format!("more than {TRAILER_BYTES_MAX} bytes of trailers");
            return Err(ApiError::new(431, "head_too_large", message));
        }
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::LastLineFeed),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLineFeed),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::TrailerValue),
            (State::TrailerLineFeed, b'\n') => Ok(State::TrailerStart),
            _ => Err(bad_chunk(format!("byte 0x{byte:02x} may not stand in the trailers"))),
        }
    }
}

fn bad_chunk(message: String) -> ApiError {
    ApiError::new(400, "bad_chunk", message)
}
