//! Slot: connections → requests. A thread for each connection.
//!
//! A client that is slow holds up its own thread and nobody else.
//!
//! What is wrong with it: a connection serves one request, so that every request pays for a handshake and for a thread.

use super::blocking::{Client, Door, House, turn_away};
use contracts::ingest::{IngestConfig, Site};
use ingest::slots::{App, Engine, Worker};
use std::{io, thread};

/// Serves each client in a thread of its own, and asks it to come again for its next request.
#[derive(Debug)]
pub struct ThreadPerConnection;

impl Engine for ThreadPerConnection {
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
                        let client = Client::new(house, guest, false, config.idle_timeout);
                        // What becomes of one client is no matter to the others.
                        let _ = client.and_then(|client| exchange(client, &mut worker));
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

/// One request and its answer.
fn exchange<W: Worker>(mut client: Client<'_>, worker: &mut W) -> io::Result<()> {
    while !client.is_finished() {
        client.receive(worker)?;
        client.answer(worker)?;
    }
    client.close()
}
