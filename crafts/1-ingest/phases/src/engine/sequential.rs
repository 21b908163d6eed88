//! Slot: connections → requests. One accept loop, and one request at a time.
//!
//! What is wrong with it: while one client is served, everybody else waits. A client that sends a byte now and then stops
//! all others until its time is up.

use super::blocking::{Client, Door, House};
use contracts::ingest::{IngestConfig, Site};
use ingest::slots::{App, Engine, Worker};
use std::io;

/// Serves in the loop that accepts.
#[derive(Debug)]
pub struct Sequential;

impl Engine for Sequential {
    const MAY_WAIT: bool = true;

    fn serve<A: App>(config: &IngestConfig, site: &Site<'_>, app: &A) -> io::Result<()> {
        let house = House::new(config, site);
        let mut door = Door::new(&house)?;
        let mut worker = app.worker().map_err(io::Error::other)?;
        while let Some(guest) = door.next(&mut worker)? {
            // Who says nothing keeps the others out, so that patience with silence is short.
            let client = Client::new(&house, guest, false, config.idle_timeout);
            // What becomes of one client is no matter to the next.
            let _ = client.and_then(|client| exchange(client, &mut worker));
        }
        Ok(())
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
