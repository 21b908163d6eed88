//! `craft queue produce`: records from the command line or from stdin.
//!
//! The batches are identified where the log can tell them apart: one whose answer was lost is sent again, and lies
//! in the log once.

use super::Server;
use crate::style::{out, say};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use contracts::{
    ingest::partition_of,
    queue::{Ack, Identity, Log, LogError, NewRecord, Offset, Partition, Producer, Ticket},
};
use serde_json::json;
use std::{
    io::{self, BufRead, IsTerminal},
    process::ExitCode,
    thread,
    time::Duration,
};

/// How long the log may take for a batch.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a batch is sent again that the log had no room for, and the pause between.
const ATTEMPTS_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `craft queue produce`.
#[derive(Args)]
pub(super) struct ProduceArgs {
    /// The records. Without any: each line of stdin is one.
    records: Vec<String>,
    /// Append to this partition.
    #[arg(long, value_name = "NUMBER", conflicts_with = "client_id")]
    partition: Option<u32>,
    /// Append to the partition of this client.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// How safe a record must be before it is told where it lies. Without it: as safe as the log can.
    #[arg(long, value_enum)]
    ack: Option<AckArg>,
    /// Send so many records at once. Without it: all arguments, one line of a terminal, or 1000 lines of a file or pipe.
    #[arg(long, value_name = "COUNT")]
    batch: Option<usize>,
    /// Do not print where the records lie.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum AckArg {
    Memory,
    Os,
    Disk,
}

impl From<AckArg> for Ack {
    fn from(ack: AckArg) -> Self {
        match ack {
            AckArg::Memory => Self::Memory,
            AckArg::Os => Self::Os,
            AckArg::Disk => Self::Disk,
        }
    }
}

/// Prints `partition offset` for each record.
pub(super) fn run(server: &Server, args: &ProduceArgs) -> Result<ExitCode> {
    ensure!(args.batch != Some(0), "--batch must be at least 1");
    let log = server.log()?;
    log.bounds(Partition(args.partition.unwrap_or(0))).map_err(|e| server.explain(&e))?;
    let partition = match (args.partition, &args.client_id) {
        (Some(partition), _) => Partition(partition),
        (None, client) => partition_of(client.as_deref().unwrap_or_default(), log.partitions()),
    };
    let ack = args.ack.map_or(log.ack_max(), Ack::from);
    let producer = log.producer(ack).map_err(|e| server.explain(&e))?;
    let mut sender =
        Sender { server, args, partition, producer, number: fastrand::u64(1..), sent: 0, batches: 0 };
    if args.records.is_empty() {
        let lines_max = args.batch.unwrap_or(if io::stdin().is_terminal() { 1 } else { 1000 });
        sender.send_lines(io::stdin().lock(), lines_max)?;
    } else {
        let records: Vec<_> = args.records.iter().map(|record| record.clone().into_bytes()).collect();
        records.chunks(args.batch.unwrap_or(records.len())).try_for_each(|batch| sender.send(batch))?;
    }
    say(&format!("{} records in {} batches, safe at {}", sender.sent, sender.batches, ack.as_str()));
    Ok(ExitCode::SUCCESS)
}

struct Sender<'a> {
    server: &'a Server,
    args: &'a ProduceArgs,
    partition: Partition,
    producer: Box<dyn Producer>,
    /// Who we are to the log.
    number: u64,
    sent: u64,
    batches: u32,
}

impl Sender<'_> {
    fn send_lines(&mut self, mut lines: impl BufRead, lines_max: usize) -> Result<()> {
        let mut batch = Vec::new();
        loop {
            let mut line = Vec::new();
            let more = lines.read_until(b'\n', &mut line).context("cannot read stdin")? > 0;
            if more {
                batch.push(line.strip_suffix(b"\n").unwrap_or(&line).to_vec());
            }
            if batch.len() >= lines_max || (!more && !batch.is_empty()) {
                self.send(&batch)?;
                batch.clear();
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Sends a batch, again while the log has no room for it.
    fn send(&mut self, batch: &[Vec<u8>]) -> Result<()> {
        for attempt in 1.. {
            match self.try_send(batch) {
                Err(LogError::Full) if attempt < ATTEMPTS_MAX => thread::sleep(PAUSE),
                result => {
                    let first = result.map_err(|e| self.server.explain(&e))?;
                    self.print(first, batch.len());
                    break;
                }
            }
        }
        self.sent += batch.len() as u64;
        self.batches += 1;
        Ok(())
    }

    /// Returns the offset of the batch's first record.
    fn try_send(&mut self, batch: &[Vec<u8>]) -> Result<Offset, LogError> {
        match self.producer.identify(Identity { producer: self.number, sequence: self.batches }) {
            Ok(()) | Err(LogError::NotOffered(_)) => {}
            Err(e) => return Err(e),
        }
        let mut last = Ticket(0);
        for payload in batch {
            last = self.producer.submit(NewRecord { partition: self.partition, payload })?;
        }
        self.producer.flush()?;
        if self.producer.wait(last, WAIT_MAX)? < last {
            return Err(LogError::Failed(format!(
                "the log has not settled the batch within {} s",
                WAIT_MAX.as_secs()
            )));
        }
        let mut placed = Vec::new();
        self.producer.placed(&mut placed);
        let first = placed.first().map(|place| place.offset);
        first.ok_or_else(|| LogError::Failed("the log does not say where the batch lies".to_owned()))
    }

    fn print(&self, first: Offset, records: usize) {
        if self.args.quiet {
            return;
        }
        let partition = self.partition;
        if self.server.json {
            out!("{}", json!({"partition": partition, "offset": first, "count": records}));
            return;
        }
        for offset in (first.0..).take(records) {
            out!("{} {offset}", partition.0);
        }
    }
}
