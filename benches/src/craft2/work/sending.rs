//! A reader that sends a log to a socket, alone and beside a writer.
//!
//! What is sent is what a consumer over HTTP would get: frames as they are stored, if the log gives them, from file to
//! socket; else records, fetched, put into their HTTP form and written. Counted are the bytes that the producers submitted.

use super::{
    super::{
        loads::{LAST, MESSAGE_BYTES, PACKED},
        slice::{Figures, Task},
        subject::{Messages, Setting, Subject, settle, submit},
    },
    producing::rates,
};
use crate::phase_server::counters;
use anyhow::{Context, Result, ensure};
use contracts::queue::{FetchLimit, Log, Offset, Partition, Records, Stored};
use queue::Codec;
use rustix::{
    fs::sendfile,
    thread::{CpuSet, sched_setaffinity},
};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// As much as a fetch reads at once.
pub(super) const READ_BYTES: usize = 64 << 10;
/// The log that is sent.
const LOG_BYTES: u64 = 256 << 20;
/// As agents send them.
const MESSAGES_A_COMMIT: usize = 100;
/// As a consumer asks that has fallen behind.
const LIMIT: FetchLimit = FetchLimit { records_max: 10_000, bytes_max: 4 << 20, wait: Duration::ZERO };
const MIB: f64 = 1_048_576.0;

/// The whole log, again and again.
pub(super) fn fetch(task: &Task) -> Result<Figures> {
    let (subject, messages) = filled(&task.subject, task)?;
    drop(messages);
    let (socket, drain) = Drain::start(task.other_core)?;
    // Once for the page cache.
    send_all(&*subject.log, &socket, &AtomicBool::new(false))?;
    let figures = task.sampled(|| {
        let (mut sent, cpu_before, begun) = (Sent::default(), cpu_us()?, Instant::now());
        while begun.elapsed() < Duration::from_secs_f64(task.seconds) {
            sent.add(send_all(&*subject.log, &socket, &AtomicBool::new(false))?);
        }
        Ok(told(sent, begun.elapsed().as_secs_f64(), cpu_us()? - cpu_before))
    })?;
    drop(socket);
    drain.finish()?;
    Ok(figures)
}

/// A writer that commits 1,000 messages at a time at `disk`: `with` a reader that sends the log as it grows, or `without`.
pub(super) fn readers(task: &Task) -> Result<Figures> {
    let (subject, messages) = filled(LAST, task)?;
    let stop = AtomicBool::new(false);
    let with = task.subject == "with";
    let (socket, drain) = Drain::start(task.other_core)?;
    let log = &subject.log;
    let (written, read) = thread::scope(|scope| -> Result<_> {
        let reader = with.then(|| {
            let (socket, stop) = (&socket, &stop);
            scope.spawn(move || send_until(&**log, socket, stop))
        });
        let written = write(&subject, &messages, task.seconds);
        // Release pairs with the Acquire of the reader, though nothing hangs on it but the flag.
        stop.store(true, Ordering::Release);
        let read = reader.map(|reader| reader.join().map_err(|_| anyhow::anyhow!("the reader panicked")));
        Ok((written?, read.transpose()?.transpose()?))
    })?;
    drop(socket);
    drain.finish()?;
    let (mut latencies_us, elapsed) = written;
    let messages = latencies_us.len() as f64 * 1000.0;
    let writer = rates(messages, elapsed, &mut latencies_us);
    let mut figures: Figures =
        writer.into_iter().map(|(name, value)| (format!("writer_{name}"), value)).collect();
    if let Some((sent, seconds)) = read {
        let read = [
            ("reader_mib_per_s", sent.payload_bytes as f64 / MIB / seconds),
            ("reader_wire_mib_per_s", sent.wire_bytes as f64 / MIB / seconds),
        ];
        figures.extend(read.map(|(name, value)| (name.to_owned(), value)));
    }
    Ok(figures)
}

fn filled(subject: &str, task: &Task) -> Result<(Subject, Messages)> {
    let messages = Messages::new(task.seed);
    let (subject, codec) = if subject == PACKED { (LAST, Codec::Lz4) } else { (subject, Codec::Raw) };
    let subject = Subject::open(subject, &task.dir, &Setting { codec, ..Setting::default() })?;
    subject.fill(&messages, LOG_BYTES, MESSAGES_A_COMMIT)?;
    Ok((subject, messages))
}

/// What each turn took, in µs, and all of them, in seconds.
fn write(subject: &Subject, messages: &Messages, seconds: f64) -> Result<(Vec<f64>, f64)> {
    let mut producer = subject.producer()?;
    let (mut latencies_us, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < Duration::from_secs_f64(seconds) {
        let turn = Instant::now();
        let last = submit(&mut *producer, Partition(0), messages, 1000)?;
        settle(&mut *producer, last)?;
        latencies_us.push(turn.elapsed().as_secs_f64() * 1e6);
    }
    Ok((latencies_us, begun.elapsed().as_secs_f64()))
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    payload_bytes: u64,
    wire_bytes: u64,
    stored: bool,
}

impl Sent {
    fn add(&mut self, other: Self) {
        self.payload_bytes += other.payload_bytes;
        self.wire_bytes += other.wire_bytes;
        self.stored |= other.stored;
    }
}

fn told(sent: Sent, seconds: f64, cpu_us: u64) -> Figures {
    let gib = sent.payload_bytes as f64 / (1024.0 * MIB);
    let figures = [
        ("throughput", sent.payload_bytes as f64 / MIB / seconds),
        ("wire_mib_per_s", sent.wire_bytes as f64 / MIB / seconds),
        ("wire_bytes_per_record", sent.wire_bytes as f64 * MESSAGE_BYTES as f64 / sent.payload_bytes as f64),
        ("cpu_ms_per_gib", cpu_us as f64 / 1e3 / gib),
        ("as_stored", f64::from(u8::from(sent.stored))),
    ];
    figures.map(|(name, value)| (name.to_owned(), value)).into()
}

fn cpu_us() -> Result<u64> {
    let snapshot = counters::snapshot()?;
    Ok(snapshot.cpu_user_us + snapshot.cpu_system_us)
}

/// Again and again from the begin, until it is told to stop; returns what was sent in how many seconds.
fn send_until(log: &dyn Log, socket: &TcpStream, stop: &AtomicBool) -> Result<(Sent, f64)> {
    let (mut sent, begun) = (Sent::default(), Instant::now());
    // Acquire pairs with the Release of the writer.
    while !stop.load(Ordering::Acquire) {
        sent.add(send_all(log, socket, stop)?);
    }
    Ok((sent, begun.elapsed().as_secs_f64()))
}

/// What the first partition holds now, from its begin to its end.
fn send_all(log: &dyn Log, socket: &TcpStream, stop: &AtomicBool) -> Result<Sent> {
    let bounds = log.bounds(Partition(0))?;
    let (mut next, mut sent, mut records) = (bounds.start, Sent::default(), Records::new());
    while next < bounds.end && !stop.load(Ordering::Acquire) {
        let behind = match log.fetch_stored(Partition(0), next, LIMIT)? {
            Some(stored) => {
                sent.stored = true;
                sent.wire_bytes += send_stored(&stored, socket)?;
                stored.next
            }
            None => {
                log.fetch(Partition(0), next, LIMIT, &mut records)?;
                let body = records.encode();
                (&*socket).write_all(&body)?;
                sent.wire_bytes += body.len() as u64;
                Offset(next.0 + records.len() as u64)
            }
        };
        ensure!(behind > next, "a fetch within the bounds gave nothing");
        sent.payload_bytes += (behind.0 - next.0) * MESSAGE_BYTES as u64;
        next = behind;
    }
    Ok(sent)
}

fn send_stored(stored: &Stored, socket: &TcpStream) -> Result<u64> {
    let mut sent = 0;
    for slice in stored.slices.iter().map(|stored| &stored.slice) {
        match slice.file.fd() {
            Some(file) => {
                let (mut at, end) = (slice.at, slice.at + slice.bytes);
                while at < end {
                    let most = usize::try_from(end - at)?;
                    ensure!(sendfile(socket, file, Some(&mut at), most)? > 0, "a file ends too early");
                }
            }
            None => {
                let mut bytes = vec![0; usize::try_from(slice.bytes)?];
                slice.file.read_at(slice.at, &mut bytes)?;
                (&*socket).write_all(&bytes)?;
            }
        }
        sent += slice.bytes;
    }
    Ok(sent)
}

/// Who reads a socket and forgets it, on a core of its own if there is one.
pub(super) struct Drain {
    reading: JoinHandle<Result<u64>>,
}

impl Drain {
    /// Returns the socket to write to.
    pub(super) fn start(core: Option<usize>) -> Result<(TcpStream, Self)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let socket = TcpStream::connect(listener.local_addr()?)?;
        let (mut peer, _) = listener.accept()?;
        let reading = thread::spawn(move || {
            if let Some(core) = core {
                let mut cores = CpuSet::new();
                cores.set(core);
                sched_setaffinity(None, &cores).context("cannot have a core of its own")?;
            }
            let (mut buffer, mut bytes) = (vec![0; 256 << 10], 0);
            loop {
                match peer.read(&mut buffer)? {
                    0 => return Ok(bytes),
                    read => bytes += read as u64,
                }
            }
        });
        Ok((socket, Self { reading }))
    }

    /// Once the socket is closed: how many bytes came.
    pub(super) fn finish(self) -> Result<u64> {
        self.reading.join().map_err(|_| anyhow::anyhow!("who reads the socket panicked"))?
    }
}
