//! A producer of the log, and another one when it has failed.
//!
//! A producer that failed never works again: nobody knows what became of what it had taken. The log may well work again,
//! a moment later, when its service has come back. So a failed producer is given up, and the log is asked for a new one: at
//! once the first time, and then after pauses that double, for as long as nothing settles.
//!
//! What it does not do: hand over a second time what the failed one had taken. That would be in the log twice if it had
//! arrived after all. Whoever waits for it is to be told that it is lost.

use contracts::queue::{Ack, Log, LogError, Producer};
use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

/// The first pause …
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// … and the longest.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A log's producer, if it has one to give.
pub struct Outlet {
    log: Arc<dyn Log>,
    ack: Ack,
    producer: Option<Box<dyn Producer>>,
    /// What every producer wakes.
    waker: Option<Waker>,
    failed: Option<Failed>,
}

/// The log has failed, and has settled nothing since.
struct Failed {
    error: LogError,
    pause: Duration,
    retry_at: Instant,
}

impl Outlet {
    /// Asks for the first producer. A log that cannot be reached yet is asked again later, as one that has failed.
    ///
    /// # Errors
    /// Those of the log that no time will mend.
    pub fn open(log: Arc<dyn Log>, ack: Ack) -> Result<Self, LogError> {
        let mut outlet = Self { log, ack, producer: None, waker: None, failed: None };
        match outlet.reopen() {
            Ok(()) | Err(LogError::Failed(_)) => Ok(outlet),
            Err(error) => Err(error),
        }
    }

    /// How many partitions the log has. Certain while there is a producer: before that it may not be known.
    pub fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    /// The producer; a new one if the last was given up and the pause is over.
    ///
    /// # Errors
    /// Why there is none. That is noted already.
    pub fn producer(&mut self) -> Result<&mut (dyn Producer + 'static), LogError> {
        if self.producer.is_none() {
            self.reopen()?;
        }
        self.producer.as_deref_mut().ok_or_else(|| LogError::Failed("there is no producer".into()))
    }

    /// The producer has failed, and is given up. Not for an error of [`Outlet::producer`], which has noted it already: the
    /// pause would begin anew.
    pub fn give_up(&mut self, error: LogError) {
        self.producer = None;
        let before = self.failed.as_ref().map(|failed| failed.pause);
        let pause = before.map_or(Duration::ZERO, |pause| (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX));
        self.failed = Some(Failed { error, pause, retry_at: Instant::now() + pause });
    }

    /// Something has settled: the log works.
    pub fn works(&mut self) {
        self.failed = None;
    }

    /// Why the last producer was given up, if nothing has settled since.
    pub fn failure(&self) -> Option<&LogError> {
        self.failed.as_ref().map(|failed| &failed.error)
    }

    /// What is left of the pause.
    pub fn pause_left(&self) -> Duration {
        let retry_at = self.failed.as_ref().map(|failed| failed.retry_at);
        retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }

    /// What this producer and all later ones wake when something may have settled.
    pub fn set_waker(&mut self, waker: Waker) {
        if let Some(producer) = &mut self.producer {
            producer.set_waker(waker.clone());
        }
        self.waker = Some(waker);
    }

    fn reopen(&mut self) -> Result<(), LogError> {
        if let Some(failed) = self.failed.as_ref().filter(|failed| failed.retry_at > Instant::now()) {
            return Err(failed.error.clone());
        }
        let mut producer = self.log.producer(self.ack).inspect_err(|error| self.give_up(error.clone()))?;
        if let Some(waker) = &self.waker {
            producer.set_waker(waker.clone());
        }
        self.producer = Some(producer);
        Ok(())
    }
}

/// What is said of an error to those whose samples are lost.
pub fn reason_of(error: &LogError) -> Arc<str> {
    match error {
        LogError::Failed(reason) => reason.as_str().into(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::queue::{
        Bounds, FetchLimit, GroupStatus, Membership, NewRecord, Offset, Partition, Placed, Records, Ticket,
    };
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Gives a producer once, and then none.
    #[derive(Default)]
    struct Once(AtomicUsize);

    fn gone() -> LogError {
        LogError::Failed("it is gone".into())
    }

    impl Log for Once {
        fn partitions(&self) -> u32 {
            1
        }

        fn ack_max(&self) -> Ack {
            Ack::Memory
        }

        fn producer(&self, _: Ack) -> Result<Box<dyn Producer>, LogError> {
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 { Ok(Box::new(Idle)) } else { Err(gone()) }
        }

        fn bounds(&self, _: Partition) -> Result<Bounds, LogError> {
            Err(gone())
        }

        fn fetch(&self, _: Partition, _: Offset, _: FetchLimit, _: &mut Records) -> Result<(), LogError> {
            Err(gone())
        }

        fn subscribe(&self, _: &str, _: &str) -> Result<Membership, LogError> {
            Err(gone())
        }

        fn heartbeat(&self, _: &Membership) -> Result<u64, LogError> {
            Err(gone())
        }

        fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
            Err(gone())
        }

        fn commit(&self, _: &Membership, _: Partition, _: Offset) -> Result<(), LogError> {
            Err(gone())
        }

        fn committed(&self, _: &str, _: Partition) -> Result<Option<Offset>, LogError> {
            Err(gone())
        }
    }

    struct Idle;

    impl Producer for Idle {
        fn submit(&mut self, _: NewRecord<'_>) -> Result<Ticket, LogError> {
            Err(LogError::Full)
        }

        fn flush(&mut self) -> Result<(), LogError> {
            Ok(())
        }

        fn settled(&self) -> Result<Ticket, LogError> {
            Ok(Ticket(0))
        }

        fn wait(&mut self, _: Ticket, _: Duration) -> Result<Ticket, LogError> {
            Ok(Ticket(0))
        }

        fn placed(&mut self, _: &mut Vec<Placed>) {}

        fn set_waker(&mut self, _: Waker) {}
    }

    fn pause(outlet: &Outlet) -> Duration {
        outlet.failed.as_ref().map_or(Duration::ZERO, |failed| failed.pause)
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_once_something_settles() {
        let mut outlet = Outlet::open(Arc::new(Once::default()), Ack::Memory).unwrap();
        let pauses: Vec<u128> = (0..8)
            .map(|_| {
                outlet.give_up(gone());
                pause(&outlet).as_millis()
            })
            .collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1000, 1000]);
        outlet.works();
        assert_eq!(outlet.failure(), None);
        outlet.give_up(gone());
        assert_eq!(pause(&outlet), Duration::ZERO);
    }

    /// However often somebody wants a producer meanwhile: asking does not wind the clock up again.
    #[test]
    fn the_log_is_asked_once_a_pause() {
        let log = Arc::new(Once::default());
        let mut outlet = Outlet::open(log.clone(), Ack::Memory).unwrap();
        (0..7).for_each(|_| outlet.give_up(gone()));
        assert_eq!(pause(&outlet), PAUSE_MAX);
        let retry_at = outlet.failed.as_ref().map(|failed| failed.retry_at);
        let mut refused = 0;
        while outlet.failed.as_ref().map(|failed| failed.retry_at) == retry_at {
            assert_eq!(outlet.producer().err(), Some(gone()));
            refused += 1;
        }
        assert!(refused > 0 && Some(Instant::now()) >= retry_at);
        assert_eq!(log.0.load(Ordering::SeqCst), 2, "the first, and one after the pause");
    }
}
