//! Slot: who may send how much.
use crate::slots::Limit;
use contracts::TimestampMs;
/// Shards.
pub struct ShardedLimiter;
impl Limit for ShardedLimiter {
    fn new(requests_max_per_s: u32) -> Self {
        unimplemented!()
    }
    fn admit(&self, client: &[u8], now: TimestampMs) -> Result<(), u32> {
        unimplemented!()
    }
}
