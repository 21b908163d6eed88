//! Slot: a request's samples → the log.
use crate::{
    frame::Frame,
    slots::{Handoff, Lost, Submit},
};
use contracts::{
    ingest::IngestConfig,
    queue::{Log, LogError, Ticket},
};
use std::{sync::Arc, task::Waker, time::Duration};
/// Rings.
pub struct RingHandoff {}
/// One thread's ring.
pub struct RingSubmit {}
impl Handoff for RingHandoff {
    type Submit = RingSubmit;
    fn open(config: &IngestConfig, log: Arc<dyn Log>) -> Result<Self, LogError> {
        unimplemented!()
    }
    fn submitter(&self) -> Result<Self::Submit, LogError> {
        unimplemented!()
    }
    fn close(self) -> Result<(), LogError> {
        unimplemented!()
    }
}
impl Submit for RingSubmit {
    fn frame(&mut self) -> &mut Frame {
        unimplemented!()
    }
    fn submit(&mut self) -> Result<Ticket, LogError> {
        unimplemented!()
    }
    fn flush(&mut self) {
        unimplemented!()
    }
    fn settled(&mut self) -> Result<Ticket, Lost> {
        unimplemented!()
    }
    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, Lost> {
        unimplemented!()
    }
    fn set_waker(&mut self, waker: Waker) {
        unimplemented!()
    }
}
