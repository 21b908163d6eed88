//! One blocking GET, for verify: the same response parser, on a plain socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::response::{Event, ResponseParser};
use crate::target::{Target, Token};

/// The largest answer that is taken in.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection for each request: it works with every server, and a window is large enough to carry its cost.
pub(crate) fn get(
    target: &Target,
    address: SocketAddr,
    path: &str,
    token: Option<&Token>,
    timeout: Duration,
) -> Result<(u16, Vec<u8>), String> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT.min(timeout))
        .map_err(|error| format!("cannot connect to {}: {error}", target.authority()))?;
    stream.set_write_timeout(Some(timeout)).map_err(|error| error.to_string())?;
    let authorization = token.map_or(String::new(), |t| format!("Authorization: Bearer {}\r\n", t.reveal()));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n{authorization}Connection: close\r\n\r\n",
        target.authority()
    );
    stream.write_all(request.as_bytes()).map_err(|error| format!("cannot send the query: {error}"))?;
    read_answer(&mut stream, deadline)
}

fn read_answer(stream: &mut TcpStream, deadline: Instant) -> Result<(u16, Vec<u8>), String> {
    let mut parser = ResponseParser::default();
    let (mut status, mut body) = (0, Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("the query was not answered in time".to_owned());
        }
        stream.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
        let read = stream.read(&mut buffer).map_err(|error| format!("the query went unanswered: {error}"))?;
        let mut input = &buffer[..read];
        loop {
            let event = if read == 0 { parser.end_of_input() } else { parser.next(&mut input) };
            match event.map_err(|error| error.to_string())? {
                Some(Event::Head { status: is }) => status = is,
                Some(Event::Body(piece)) if body.len() + piece.len() > ANSWER_BYTES_MAX => {
                    return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
                }
                Some(Event::Body(piece)) => body.extend_from_slice(piece),
                Some(Event::End { .. }) => return Ok((status, body)),
                None if read == 0 => return Err("the server closed without an answer".to_owned()),
                None => break,
            }
        }
    }
}
