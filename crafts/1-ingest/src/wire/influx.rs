//! influx
use super::{Format, Taken};
use crate::slots::Sink;
use contracts::{TimestampMs, http::ApiError};
/// Parser.
#[derive(Default)]
pub struct LineProtocol {}
impl Format for LineProtocol {
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<Taken, ApiError> {
        unimplemented!()
    }
}
impl LineProtocol {
    /// The unit of the timestamps: `ns` (if it is absent), `us`, `ms`, `s`.
    ///
    /// # Errors
    /// 400 `bad_precision`.
    pub fn set_precision(&mut self, precision: Option<&str>) -> Result<(), ApiError> {
        unimplemented!()
    }
}
