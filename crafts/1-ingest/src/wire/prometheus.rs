//! prometheus
use super::{Format, Taken};
use crate::slots::Sink;
use contracts::{TimestampMs, http::ApiError};
/// Parser.
#[derive(Default)]
pub struct Exposition {}
impl Format for Exposition {
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<Taken, ApiError> {
        unimplemented!()
    }
}
impl Exposition {
    /// OpenMetrics instead of the text format 0.0.4.
    pub fn set_open_metrics(&mut self, open: bool) {
        unimplemented!()
    }
}
