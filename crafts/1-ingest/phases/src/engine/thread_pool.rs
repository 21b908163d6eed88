//! Slot: connections → requests. A fixed number of threads, and a bounded queue of connections in front of them.
//!
//! Threads, and the memory of their stacks, no longer grow with the connections. Who finds the queue full is told so at
//! once (503 with `Retry-After`), which is better for both sides than to wait for longer than anybody will.
//!
//! What is wrong with it: a thread belongs to one client until that client leaves. With more clients than threads the rest
//! wait in the queue, however little those who are served have to say.

use super::blocking::{Client, Door, Guest, House, turn_away};
use contracts::ingest::{IngestConfig, Site};
use crossbeam::channel::{self, Receiver};
use ingest::slots::{App, Engine, Worker};
use std::{io, thread};

/// How many threads there are, if nobody said.
const THREADS: usize = 64;
/// Connections that wait for a thread at most. Beyond: 503.
const WAITING_CONNECTIONS_MAX: usize = 1024;

/// Serves clients in turn, by a fixed number of threads.
#[derive(Debug)]
pub struct ThreadPool;

impl Engine for ThreadPool {
    const MAY_WAIT: bool = true;

    fn serve<A: App>(config: &IngestConfig, site: &Site<'_>, app: &A) -> io::Result<()> {
        let house = House::new(config, site);
        let mut door = Door::new(&house)?;
        let mut refusing = app.worker().map_err(io::Error::other)?;
        let threads = if config.threads == 0 { THREADS } else { config.threads };
        thread::scope(|scope| {
            // Dropping the sender, on whatever way out, is what ends the threads.
            let (sender, receiver) = channel::bounded(WAITING_CONNECTIONS_MAX);
            for number in 0..threads {
                let (worker, receiver) = (app.worker().map_err(io::Error::other)?, receiver.clone());
                let (thread, house) = (thread::Builder::new().name(format!("pool-{number}")), &house);
                thread.spawn_scoped(scope, move || serve_all(&receiver, house, config, worker))?;
            }
            while let Some(guest) = door.next(&mut refusing)? {
                if let Err(full) = sender.try_send(guest) {
                    turn_away(&full.into_inner().stream(), &mut refusing);
                }
            }
            Ok(())
        })
    }
}

/// One thread: a client after the other.
fn serve_all<'h, W: Worker>(
    waiting: &Receiver<Guest<'h>>,
    house: &'h House<'h>,
    config: &IngestConfig,
    mut worker: W,
) {
    for guest in waiting {
        // Who says nothing keeps those who wait from being served, so that patience with silence is short.
        let client = Client::new(house, guest, true, config.idle_timeout);
        // What becomes of one client is no matter to the next.
        let _ = client.and_then(|client| converse(client, &mut worker));
    }
}

/// Requests and their answers, a burst at a time.
fn converse<W: Worker>(mut client: Client<'_>, worker: &mut W) -> io::Result<()> {
    while !client.is_finished() {
        client.receive(worker)?;
        client.answer(worker)?;
    }
    client.close()
}
