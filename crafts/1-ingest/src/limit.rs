//! Slot: who may send how much. Sharded by client, so that two threads rarely want the same lock.
//!
//! **The window.** A client's requests are counted in whole seconds. What it has used now is the count of this second,
//! and of the last one the part that lies less than a second back, as if its requests had been spread evenly: two numbers
//! a client instead of a time for each request. What that costs: no second on the clock ever sees more than the share,
//! but a client that sends all of it late in one second, and then evenly, gets up to twice the share into a second that
//! begins in between. A client that keeps an even pace at its share is never refused.
//!
//! **The shards.** A client belongs to one of 64 shards by a hash with a key that is drawn at start: nobody can choose
//! names that all meet in one shard. The shard's lock is taken once a request and held for a look-up and an addition.
//! Each shard has a cache line of its own.
//!
//! **The bound.** A shard remembers [`CLIENTS_PER_SHARD_MAX`] clients, by their hash alone: it allocates nothing for a
//! name, and two clients of the same 64 bits would share a count. When it is full, it forgets who has been silent long
//! enough to be owed a fresh start. When all are active, newcomers are counted together, as one client: whoever makes up
//! names by the thousand so takes shares only from others like it, and those who were there keep theirs.

use contracts::TimestampMs;
use crossbeam::utils::CachePadded;
use ingest::slots::Limit;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

/// Locks. Far more than cores, so that two threads seldom meet by chance.
const SHARDS: usize = 64;
/// Clients that one shard counts one by one. All shards together: 262,144 clients, in at most 16 MiB.
pub const CLIENTS_PER_SHARD_MAX: usize = 4096;
const SECOND_MS: i64 = 1000;

/// Counts requests per client, in shards.
pub struct ShardedLimiter {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    requests_max_per_s: u32,
    /// The key of the hash.
    key: RandomState,
}

impl Limit for ShardedLimiter {
    fn new(requests_max_per_s: u32) -> Self {
        let shards = (0..SHARDS).map(|_| CachePadded::default()).collect();
        Self { shards, requests_max_per_s, key: RandomState::new() }
    }

    fn admit(&self, client: &[u8], now: TimestampMs) -> Result<(), u32> {
        let client = self.key.hash_one(client);
        let mut shard = self.shard_of(client).lock();
        shard.window_of(client, now).admit(self.requests_max_per_s, now)
    }
}

impl ShardedLimiter {
    /// Whether a request of this client would have to wait for another one's count just now: what contention is, seen from
    /// outside. For measuring.
    pub fn is_locked(&self, client: &[u8]) -> bool {
        self.shard_of(self.key.hash_one(client)).is_locked()
    }

    fn shard_of(&self, client: u64) -> &Mutex<Shard> {
        // Bits that the map within the shard has no use for: it looks at the lowest and the highest.
        let [_, _, _, byte, ..] = client.to_le_bytes();
        &self.shards[usize::from(byte) % SHARDS]
    }
}

/// The clients of one lock.
#[derive(Default)]
struct Shard {
    windows: HashMap<u64, Window, BuildHasherDefault<AlreadyHashed>>,
    /// What clients share that found no place of their own.
    newcomers: Window,
    /// The second in which places were last looked for: once a second is enough.
    swept: i64,
}

impl Shard {
    /// Where this client is counted.
    fn window_of(&mut self, client: u64, now: TimestampMs) -> &mut Window {
        let second = now.0.div_euclid(SECOND_MS);
        if self.windows.len() >= CLIENTS_PER_SHARD_MAX && self.swept != second {
            self.swept = second;
            self.windows.retain(|_, window| window.counts_in(second));
        }
        if self.windows.len() < CLIENTS_PER_SHARD_MAX {
            return self.windows.entry(client).or_default();
        }
        self.windows.get_mut(&client).unwrap_or(&mut self.newcomers)
    }
}

/// A client's requests in this second and the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The second, since 1970, that `current` counts.
    second: i64,
    current: u32,
    /// Requests of the second before it.
    previous: u32,
}

impl Window {
    /// Counts one more request, if that does not pass the share.
    fn admit(&mut self, requests_max_per_s: u32, now: TimestampMs) -> Result<(), u32> {
        let into_second = self.advance(now);
        let still_counts = i64::from(self.previous) * (SECOND_MS - 1 - into_second) / SECOND_MS;
        if i64::from(self.current) + still_counts >= i64::from(requests_max_per_s) {
            return Err(self.retry_after_s(now));
        }
        self.current += 1;
        Ok(())
    }

    /// Moves to the second of `now`; returns how many milliseconds of it have passed.
    fn advance(&mut self, now: TimestampMs) -> i64 {
        let second = now.0.div_euclid(SECOND_MS);
        match second - self.second {
            0 => {}
            1 => (self.second, self.current, self.previous) = (second, 0, self.current),
            // Threads read the clock before they have the lock, so that a few milliseconds back are nothing unusual.
            -1 => return 0,
            // Long ago; or the clock was set back, and the future that was counted will not come for a long time.
            _ => *self = Self { second, ..Self::default() },
        }
        now.0.rem_euclid(SECOND_MS)
    }

    /// Whether it still says anything about a second.
    fn counts_in(&self, second: i64) -> bool {
        (-1..=1).contains(&(second - self.second))
    }

    /// Seconds until there is room again: the next second begins with room for one request at least.
    fn retry_after_s(&self, now: TimestampMs) -> u32 {
        let ms = (self.second + 1) * SECOND_MS - now.0;
        u32::try_from((ms + SECOND_MS - 1) / SECOND_MS).unwrap_or(1).max(1)
    }
}

/// Passes on what is a hash already.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        // Keys are `u64`, which come below. Anything else must still be told apart.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that all meet in one shard, or in one bucket of its map, would make the hash worthless.
    #[test]
    fn clients_spread_over_all_shards() {
        let limit = ShardedLimiter::new(1);
        for client in 0..64_000_u32 {
            limit.admit(&client.to_le_bytes(), TimestampMs(0)).unwrap_or_default();
        }
        let sizes: Vec<usize> = limit.shards.iter().map(|shard| shard.lock().windows.len()).collect();
        assert!(sizes.iter().all(|size| (700..1_300).contains(size)), "{sizes:?}");
    }

    #[test]
    fn only_clients_of_the_same_shard_wait_for_each_other() {
        let limit = ShardedLimiter::new(1);
        let held = limit.shard_of(limit.key.hash_one(&b"a"[..])).lock();
        assert!(limit.is_locked(b"a"));
        let others = (0..10_000_u32).filter(|client| limit.is_locked(&client.to_le_bytes())).count();
        assert!((1..1_000).contains(&others), "{others} of 10,000 in one of {SHARDS} shards");
        drop(held);
        assert!(!limit.is_locked(b"a"));
    }
}
