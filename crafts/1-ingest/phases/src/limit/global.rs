//! Slot: who may send how much. One map behind one lock.
//!
//! A client's requests are counted anew in each second of the clock.
//!
//! What is wrong with it: every request of every thread takes the same lock, and hashes the client's name while it holds
//! it. And since the count starts anew, a client that sends its share at the end of one second and at the beginning of the
//! next has sent it twice within a moment.

use contracts::TimestampMs;
use ingest::slots::Limit;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Clients that are counted one by one, in at most 64 MiB. More share one count.
pub const CLIENTS_MAX: usize = 262_144;

/// Counts requests per client.
pub struct GlobalLimiter {
    clients: Mutex<Clients>,
    requests_max_per_s: u32,
}

impl Limit for GlobalLimiter {
    fn new(requests_max_per_s: u32) -> Self {
        Self { clients: Mutex::default(), requests_max_per_s }
    }

    fn admit(&self, client: &[u8], now: TimestampMs) -> Result<(), u32> {
        let second = now.0.div_euclid(1000);
        let mut clients = self.clients.lock();
        let count = clients.count_of(client, second);
        // A second ahead is this one: another thread may have read the clock later and come first.
        if count.second != second && count.second != second + 1 {
            *count = Count { second, requests: 0 };
        }
        if count.requests >= self.requests_max_per_s {
            return Err(1); // the next second begins anew
        }
        count.requests += 1;
        Ok(())
    }
}

impl GlobalLimiter {
    /// Whether a request of this client would have to wait for another one's count just now: what contention is, seen from
    /// outside. For measuring.
    pub fn is_locked(&self, _client: &[u8]) -> bool {
        self.clients.is_locked()
    }
}

/// What the lock protects.
#[derive(Default)]
struct Clients {
    counts: HashMap<Box<[u8]>, Count>,
    /// What clients share that found no place of their own.
    newcomers: Count,
    /// The second in which places were last looked for: once a second is enough.
    swept: i64,
}

/// A client's requests in one second.
#[derive(Clone, Copy, Default)]
struct Count {
    second: i64,
    requests: u32,
}

impl Clients {
    fn count_of(&mut self, client: &[u8], second: i64) -> &mut Count {
        if self.counts.len() >= CLIENTS_MAX && self.swept != second {
            self.swept = second;
            self.counts.retain(|_, count| count.second == second);
        }
        if self.counts.len() < CLIENTS_MAX && !self.counts.contains_key(client) {
            self.counts.insert(client.into(), Count::default());
        }
        self.counts.get_mut(client).unwrap_or(&mut self.newcomers)
    }
}
