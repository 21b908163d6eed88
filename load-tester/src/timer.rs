//! Waking up on time.
//!
//! `epoll_wait` counts whole milliseconds and rounds up, so an open loop at 5000 requests a second would send in
//! clumps of five, up to a millisecond late. On Linux a timer descriptor in the same poll wakes the loop to within
//! some microseconds; elsewhere the poll's own timeout has to do. Spinning would be exact too, but then a busy
//! tester could not be told from a saturated one.

#[cfg(target_os = "linux")]
mod precise {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    /// A one-shot timer that shows up in a poll.
    pub(crate) struct Timer(OwnedFd);

    impl Timer {
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let fd =
                timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self(fd))
        }

        /// Sets it off after `wait`, and says how long the poll itself may then wait. It is never read: setting
        /// it anew clears it, and the poll is edge-triggered.
        pub(crate) fn arm(&self, wait: Duration) -> Duration {
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
            // All zeros would disarm it.
            let value = Timespec { tv_sec: seconds, tv_nsec: i64::from(wait.subsec_nanos()).max(1) };
            match timerfd_settime(
                &self.0,
                TimerfdTimerFlags::empty(),
                &Itimerspec { it_interval: zero, it_value: value },
            ) {
                Ok(_) => wait + Duration::from_millis(1),
                Err(_) => wait,
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod precise {
    use std::io;
    use std::time::Duration;

    use mio::{Registry, Token};

    /// Stands for the poll's own timeout.
    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) fn arm(&self, wait: Duration) -> Duration {
            wait
        }
    }
}

pub(crate) use precise::Timer;
