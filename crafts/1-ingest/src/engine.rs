//! Slot: connections → requests. One reactor per core.
use crate::slots::{App, Engine};
use contracts::ingest::{IngestConfig, Site};
use std::io;
/// One `mio` reactor per core, each with a listener of its own.
pub struct ReactorPerCore;
impl Engine for ReactorPerCore {
    fn serve<A: App>(config: &IngestConfig, site: &Site<'_>, app: &A) -> io::Result<()> {
        unimplemented!()
    }
}
