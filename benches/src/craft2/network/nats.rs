//! NATS JetStream: a stream in files, one publisher that does not wait for each acknowledgement.
//!
//! The client's protocol is lines of text: `PUB subject reply bytes`, and acknowledgements come as messages to the reply
//! subject (docs.nats.io, "Client Protocol", "JetStream publish").

use super::{
    super::{loads::MESSAGE_BYTES, slice::Figures, subject::Messages},
    Stand, WARM_UP_S,
    client::{self, Pace, Protocol},
    server::Server,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Messages that are written at once.
const BURST: usize = 100;
const STREAM: &[u8] = br#"{"name":"bench","subjects":["bench.in"],"storage":"file","retention":"limits"}"#;

pub(super) fn publish(stand: &Stand<'_>, in_flight: usize) -> Result<Figures> {
    let server = Server::peer("nats-server", |command, port| {
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream", "--store_dir"]);
        command.arg(stand.dir);
    })?;
    let mut socket = server.connect()?;
    prepare(&mut socket)?;
    let bursts = Bursts::new(&Messages::new(stand.seed));
    let pace = |seconds| Pace { in_flight: in_flight / BURST, seconds, units: BURST as f64 };
    client::run(&socket, &bursts, pace(WARM_UP_S))?;
    server.watched(|| client::run(&socket, &bursts, pace(stand.seconds)))
}

/// Introduces the client, and has the stream made.
fn prepare(socket: &mut TcpStream) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB acks.> 1\r\nPING\r\n")?;
    read_until(socket, b"PONG\r\n")?;
    let ask = format!("PUB $JS.API.STREAM.CREATE.bench acks.made {}\r\n", STREAM.len());
    socket.write_all(&[ask.as_bytes(), STREAM, b"\r\n"].concat())?;
    let said = read_until(socket, b"}\r\n")?;
    ensure!(!said.contains("\"error\""), "JetStream made no stream: {said}");
    Ok(())
}

fn read_until(socket: &mut TcpStream, end: &[u8]) -> Result<String> {
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !said.ends_with(end) {
        socket.read_exact(&mut byte).context("NATS says nothing")?;
        said.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

struct Bursts {
    bytes: Vec<u8>,
}

impl Bursts {
    fn new(messages: &Messages) -> Self {
        let mut bytes = Vec::new();
        for number in 0..BURST {
            bytes.extend_from_slice(format!("PUB bench.in acks.a {MESSAGE_BYTES}\r\n").as_bytes());
            bytes.extend_from_slice(messages.get(number));
            bytes.extend_from_slice(b"\r\n");
        }
        Self { bytes }
    }
}

impl Protocol for Bursts {
    fn burst(&self, _: usize) -> &[u8] {
        &self.bytes
    }

    fn answers(&self) -> usize {
        BURST
    }

    /// `MSG acks.a 1 bytes`, and in so many bytes what became of it. A `PING` is let pass: the server asks for more than
    /// one answer before it gives up, and that takes minutes.
    fn parse(&self, bytes: &[u8]) -> Result<(usize, usize)> {
        let (mut acks, mut at) = (0, 0);
        while let Some(length) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") {
            let line = &bytes[at..at + length];
            let behind = at + length + 2;
            if line == b"PING" {
                at = behind;
                continue;
            }
            let text = std::str::from_utf8(line).context("NATS said what is no text")?;
            let size: Option<usize> =
                text.strip_prefix("MSG ").and_then(|t| t.rsplit(' ').next()?.parse().ok());
            let Some(size) = size else { bail!("NATS said {text:?}") };
            let Some(body) = bytes.get(behind..behind + size).filter(|_| bytes.len() >= behind + size + 2)
            else {
                break;
            };
            ensure!(
                body.windows(5).any(|word| word == b"\"seq\""),
                "no acknowledgement: {}",
                body.escape_ascii()
            );
            acks += 1;
            at = behind + size + 2;
        }
        Ok((acks, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_told_from_what_else_is_said() {
        let bursts = Bursts::new(&Messages::new(1));
        let ack = b"MSG acks.a 1 27\r\n{\"stream\":\"bench\", \"seq\":1}\r\n";
        let two = [ack.as_slice(), b"PING\r\n", ack].concat();
        assert_eq!(bursts.parse(&two).unwrap(), (2, two.len()));
        assert_eq!(
            bursts.parse(&two[..two.len() - 1]).unwrap(),
            (1, ack.len() + 6),
            "the second is not whole"
        );
        assert!(bursts.parse(b"-ERR 'no'\r\n").is_err());
        assert!(bursts.parse(b"MSG acks.a 1 12\r\n{\"error\":{} }\r\n").is_err());
    }
}
