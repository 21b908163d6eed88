//! Bytes that lie in a file, and are to go on as they lie: from the log's segment to a consumer's socket.

use std::{fmt, io, os::fd::BorrowedFd, sync::Arc};

/// A file that somebody holds open. Its bytes do not change as long as it is held.
pub trait OpenFile: Send + Sync + fmt::Debug {
    /// Fills all of `out` from `at` on.
    ///
    /// # Errors
    /// What the operating system said; `UnexpectedEof` if the file ends before.
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()>;

    /// For the kernel's own ways to copy a file to a socket. `None` where there is no such file: then it is read.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct FileSlice {
    /// The file.
    pub file: Arc<dyn OpenFile>,
    /// Its first byte.
    pub at: u64,
    /// How many.
    pub bytes: u64,
}
