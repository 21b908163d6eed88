//! Slot: the text of a request → samples.
use crate::slots::{Parse, Sink};
use contracts::{TimestampMs, http::ApiError};
/// One pass.
#[derive(Default)]
pub struct SinglePass {}
impl Parse for SinglePass {
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<usize, ApiError> {
        unimplemented!()
    }
}
