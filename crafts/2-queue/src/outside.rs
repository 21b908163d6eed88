//! What comes from outside of the log: a disk, two clocks, chance. In tests all of it follows from a seed.

use crate::disk::{Disk, RealDisk};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

/// A number each time it is asked.
pub type Source = Box<dyn Fn() -> u64 + Send + Sync>;

/// Everything that the log does not make itself.
pub struct Outside {
    /// The directory of the log.
    pub disk: Arc<dyn Disk>,
    /// Milliseconds since 1970. They may jump: somebody sets the clock.
    pub now_ms: Source,
    /// Milliseconds since some moment. They never fall.
    pub uptime_ms: Source,
    /// Another number each time, which nobody can guess.
    pub salt: Source,
}

impl Outside {
    /// A directory of the operating system, its clocks and its randomness.
    pub fn real(dir: &Path) -> Self {
        let since_1970 = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let begin = Instant::now();
        Self {
            disk: Arc::new(RealDisk::new(dir)),
            now_ms: Box::new(move || u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)),
            uptime_ms: Box::new(move || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)),
            // The keys of a hasher come from the system's randomness.
            salt: Box::new(|| RandomState::new().hash_one(0_u8)),
        }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("disk", &self.disk).finish_non_exhaustive()
    }
}
