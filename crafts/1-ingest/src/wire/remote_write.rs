//! remote_write
use super::{Format, Taken};
use crate::slots::Sink;
use contracts::{TimestampMs, http::ApiError};
/// Parser.
#[derive(Default)]
pub struct RemoteWrite {}
impl Format for RemoteWrite {
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<Taken, ApiError> {
        unimplemented!()
    }
}
