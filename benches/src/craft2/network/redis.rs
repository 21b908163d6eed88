//! Redis Streams: `XADD` in pipelines of so many, each of which is on disk before it is answered.

use super::{
    super::{loads::MESSAGE_BYTES, slice::Figures, subject::Messages},
    Stand, WARM_UP_S,
    client::{self, Pace, Protocol},
    server::Server,
};
use anyhow::{Context, Result, bail};

/// While one pipeline is written to disk, the next is on its way.
const PIPELINES: usize = 2;

pub(super) fn append(stand: &Stand<'_>, pipeline: usize) -> Result<Figures> {
    let server = Server::peer("redis-server", |command, port| {
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--daemonize", "no", "--dir"]);
        command.arg(stand.dir);
        // A log that is synced before each answer, and nothing else: no snapshots, no rewriting in between.
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        command.args(["--auto-aof-rewrite-percentage", "0"]);
    })?;
    let socket = server.connect()?;
    let bursts = Bursts::new(&Messages::new(stand.seed), pipeline);
    let pace = |seconds| Pace { in_flight: PIPELINES, seconds, units: pipeline as f64 };
    client::run(&socket, &bursts, pace(WARM_UP_S))?;
    server.watched(|| client::run(&socket, &bursts, pace(stand.seconds)))
}

struct Bursts {
    bytes: Vec<u8>,
    pipeline: usize,
}

impl Bursts {
    fn new(messages: &Messages, pipeline: usize) -> Self {
        let mut bytes = Vec::new();
        for number in 0..pipeline {
            bytes.extend_from_slice(b"*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nm\r\n");
            bytes.extend_from_slice(format!("${MESSAGE_BYTES}\r\n").as_bytes());
            bytes.extend_from_slice(messages.get(number));
            bytes.extend_from_slice(b"\r\n");
        }
        Self { bytes, pipeline }
    }
}

impl Protocol for Bursts {
    fn burst(&self, _: usize) -> &[u8] {
        &self.bytes
    }

    fn answers(&self) -> usize {
        self.pipeline
    }

    /// `$15`, and in so many bytes the entry's id.
    fn parse(&self, bytes: &[u8]) -> Result<(usize, usize)> {
        let (mut answers, mut at) = (0, 0);
        while let Some(length) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") {
            let line = std::str::from_utf8(&bytes[at..at + length]).context("Redis said what is no text")?;
            let Some(size) = line.strip_prefix('$').and_then(|size| size.parse::<usize>().ok()) else {
                bail!("Redis said {line:?}");
            };
            let behind = at + length + 2 + size + 2;
            if bytes.len() < behind {
                break;
            }
            answers += 1;
            at = behind;
        }
        Ok((answers, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_when_they_are_whole() {
        let bursts = Bursts::new(&Messages::new(1), 2);
        let one = b"$15\r\n1763700000000-0\r\n";
        let two = [one.as_slice(), one].concat();
        assert_eq!(bursts.parse(&two).unwrap(), (2, two.len()));
        assert_eq!(bursts.parse(&two[..two.len() - 1]).unwrap(), (1, one.len()));
        assert!(bursts.parse(b"-ERR no\r\n").is_err());
    }
}
