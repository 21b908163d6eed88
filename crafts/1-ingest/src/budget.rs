//! What strangers may take, all together: connections, bytes of memory, and time to say good-bye.
//!
//! One [`Budget`] is shared by all threads of an engine. Each connection has a [`Seat`], which gives back what it took when
//! it is dropped, so that a client who vanishes at any byte leaves nothing behind. Who wants more than there is suffers
//! alone: those who are seated keep what they have.

use contracts::ingest::IngestConfig;
use std::{
    cmp::Ordering,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// Connections over the limit that are kept for the moment in which they are told so. Beyond: closed without a word.
pub const REFUSED_MAX: usize = 256;
/// How long, and for how many bytes, a refused client is listened to, so that it can read why.
pub const LINGER_MAX: Duration = Duration::from_millis(500);
/// See [`LINGER_MAX`].
pub const LINGER_BYTES_MAX: usize = 64 << 20;
/// How long the connections that are open at the end may still take, whatever their own timeouts say.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);
/// So many bytes come with every seat. Nearly all requests stay below, and then no shared counter is touched for them.
const SEAT_BYTES: usize = 1 << 10;

/// The bounds, and how much of them is taken.
///
/// Both counters are statistics of independent connections: nothing is published through them, so all orderings are
/// relaxed.
#[derive(Debug)]
pub struct Budget {
    connections_max: usize,
    bytes_max: usize,
    connections: AtomicUsize,
    bytes: AtomicUsize,
}

/// What a new connection is met with.
#[derive(Debug)]
pub enum Entry<'b> {
    /// A seat.
    Admitted(Seat<'b>),
    /// All seats are taken: it is to be told so, and to leave.
    Refused(Seat<'b>),
    /// Too many are being told so already.
    Full,
}

/// One connection's share. Dropping it gives everything back.
#[derive(Debug)]
pub struct Seat<'b> {
    budget: &'b Budget,
    /// Bytes beyond [`SEAT_BYTES`].
    charged: usize,
}

impl Budget {
    /// Nothing is taken yet.
    pub fn new(config: &IngestConfig) -> Self {
        Self {
            connections_max: config.connections_max,
            bytes_max: config.buffered_bytes_max,
            connections: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Takes a seat for a connection.
    pub fn enter(&self) -> Entry<'_> {
        let before = self.connections.fetch_add(1, Relaxed);
        let seat = Seat { budget: self, charged: 0 };
        if before < self.connections_max {
            Entry::Admitted(seat)
        } else if before < self.connections_max.saturating_add(REFUSED_MAX) {
            Entry::Refused(seat)
        } else {
            Entry::Full // and the seat is given back
        }
    }
}

impl Seat<'_> {
    /// Asks for as many bytes as the connection's buffers hold now. `false`, and nothing is taken, if they are more than
    /// before and more than there is.
    pub fn ask(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(SEAT_BYTES);
        if wanted <= self.charged {
            self.take(bytes);
            return true;
        }
        let more = wanted - self.charged;
        let fits = |total: usize| total.checked_add(more).filter(|total| *total <= self.budget.bytes_max);
        let asked = self.budget.bytes.fetch_update(Relaxed, Relaxed, fits);
        self.charged += if asked.is_ok() { more } else { 0 };
        asked.is_ok()
    }

    /// Says how many bytes the connection's buffers hold, whether there are so many or not: an answer that was given cannot
    /// be taken back.
    pub fn take(&mut self, bytes: usize) {
        let taken = bytes.saturating_sub(SEAT_BYTES);
        match taken.cmp(&self.charged) {
            Ordering::Equal => return,
            Ordering::Less => self.budget.bytes.fetch_sub(self.charged - taken, Relaxed),
            Ordering::Greater => self.budget.bytes.fetch_add(taken - self.charged, Relaxed),
        };
        self.charged = taken;
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.charged, Relaxed);
        self.budget.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(connections_max: usize, buffered_bytes_max: usize) -> Budget {
        Budget::new(&IngestConfig { connections_max, buffered_bytes_max, ..IngestConfig::default() })
    }

    #[test]
    fn beyond_the_last_seat_some_are_told_and_the_rest_are_not() {
        let budget = budget(2, 0);
        let seats: Vec<_> = (0..2).map(|_| budget.enter()).collect();
        assert!(seats.iter().all(|entry| matches!(entry, Entry::Admitted(_))));
        let refused: Vec<_> = (0..REFUSED_MAX).map(|_| budget.enter()).collect();
        assert!(refused.iter().all(|entry| matches!(entry, Entry::Refused(_))));
        assert!(matches!(budget.enter(), Entry::Full));
        drop((seats, refused));
        assert!(matches!(budget.enter(), Entry::Admitted(_)), "everything was given back");
    }

    #[test]
    fn who_wants_too_much_suffers_alone() {
        let budget = budget(9, 10_000);
        let (Entry::Admitted(mut modest), Entry::Admitted(mut greedy)) = (budget.enter(), budget.enter())
        else {
            panic!("there are nine seats");
        };
        assert!(modest.ask(SEAT_BYTES + 6_000));
        assert!(!greedy.ask(SEAT_BYTES + 6_000));
        assert!(modest.ask(SEAT_BYTES + 10_000), "who was refused has taken nothing");
        greedy.take(SEAT_BYTES + 6_000);
        assert!(modest.ask(SEAT_BYTES + 10_000), "keeping what it has is no wish for more");
        assert!(greedy.ask(SEAT_BYTES + 5_000), "less is always granted");
        drop(modest);
        assert!(greedy.ask(SEAT_BYTES + 10_000));
        assert!(!greedy.ask(SEAT_BYTES + 10_001));
    }

    #[test]
    fn small_requests_touch_no_shared_counter() {
        let budget = budget(1, 0);
        let Entry::Admitted(mut seat) = budget.enter() else { panic!("there is a seat") };
        assert!(seat.ask(SEAT_BYTES));
        assert!(!seat.ask(SEAT_BYTES + 1));
    }
}
