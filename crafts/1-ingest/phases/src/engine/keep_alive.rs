//! Slot: connections → requests. A thread for each connection, which serves as many requests as the client has.
//!
//! The handshake and the thread are paid for once. A client may send its next requests without waiting for answers
//! (pipelining, RFC 9112 section 9.3.2): what arrives together is run together, and its answers leave in one write.
//!
//! What is wrong with it: a thread sleeps for every client that is silent, with a stack of its own, and nothing bounds
//! their number but the number of connections.

use super::blocking::{Client, Door, House, turn_away};
use contracts::ingest::{IngestConfig, Site};
use ingest::slots::{App, Engine, Worker};
use std::{io, thread};

/// Serves each client in a thread of its own until the client leaves.
#[derive(Debug)]
pub struct KeepAlive;

impl Engine for KeepAlive {
    const MAY_WAIT: bool = true;

    fn serve<A: App>(config: &IngestConfig, site: &Site<'_>, app: &A) -> io::Result<()> {
        let house = House::new(config, site);
        let mut door = Door::new(&house)?;
        let mut refusing = app.worker().map_err(io::Error::other)?;
        thread::scope(|scope| {
            while let Some(guest) = door.next(&mut refusing)? {
                let (stream, house) = (guest.stream(), &house);
                let begun = app.worker().map_err(io::Error::other).and_then(|mut worker| {
                    thread::Builder::new().spawn_scoped(scope, move || {
                        let client = Client::new(house, guest, true, config.keep_alive_timeout);
                        // What becomes of one client is no matter to the others.
                        let _ = client.and_then(|client| converse(client, &mut worker));
                    })
                });
                if begun.is_err() {
                    turn_away(&stream, &mut refusing);
                }
            }
            Ok(())
        })
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
