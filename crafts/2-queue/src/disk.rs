//! The files below a log.
//!
//! Nothing here knows what is in them. In tests the same files lie on a disk that is full, or fails, when it is told to.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// What a file is called until it is whole.
pub(crate) const UNFINISHED: &str = "tmp";

/// The directory of one log.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<faults::Faults>,
}

impl Disk {
    /// In this directory.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    /// Where a file of this name lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Opens a file that is there.
    pub(crate) fn open(&self, name: &str) -> io::Result<DataFile> {
        let path = self.path(name);
        let file = File::options().read(true).write(true).open(&path)?;
        Ok(DataFile {
            path,
            file,
            #[cfg(test)]
            faults: self.faults.clone(),
        })
    }

    /// Writes a file under another name and renames it: whoever finds it finds it whole, whenever the process was
    /// killed.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let unfinished = self.path(&format!("{name}.{UNFINISHED}"));
        fs::write(&unfinished, content)?;
        fs::rename(&unfinished, self.path(name))
    }

    /// The same, and safe from a power cut: first the content, then the name.
    pub(crate) fn create_synced(&self, name: &str, content: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.take_room(content.len()).map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        let unfinished = self.path(&format!("{name}.{UNFINISHED}"));
        fs::write(&unfinished, content)?;
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, self.path(name))?;
        self.sync_names()
    }

    /// Makes the directory's entries safe from a power cut.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }
}

/// A file that is read and written at positions.
#[derive(Debug)]
pub(crate) struct DataFile {
    path: PathBuf,
    file: File,
    #[cfg(test)]
    faults: std::sync::Arc<faults::Faults>,
}

impl DataFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Fills all of `out` from `at` on.
    pub(crate) fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, at)
    }

    /// Writes all of `bytes`, or leaves an unknown part of them.
    pub(crate) fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Err(room) = self.faults.take_room(bytes.len()) {
            self.file.write_all_at(&bytes[..room], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(bytes, at)
    }

    /// Makes what was written safe from a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.sync()?;
        self.file.sync_data()
    }

    /// Forgets everything from `bytes` on.
    pub(crate) fn cut(&self, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.cut()?;
        self.file.set_len(bytes)
    }
}

/// Whether more room would have helped: the disk is full, or a quota or a limit on the size of files is reached.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What can be wrong with a disk, in tests.
#[cfg(test)]
pub(crate) mod faults {
    use parking_lot::{Condvar, Mutex};
    use std::io;

    #[derive(Debug, Default)]
    pub(crate) struct Faults {
        state: Mutex<State>,
        released: Condvar,
    }

    #[derive(Debug, Default)]
    struct State {
        room_bytes: Option<usize>,
        sync_fails: bool,
        cut_fails: bool,
        syncs_held: bool,
        syncs: usize,
    }

    impl Faults {
        /// From now on so many bytes can be written; `None` is no bound.
        pub(crate) fn set_room(&self, bytes: Option<usize>) {
            self.state.lock().room_bytes = bytes;
        }

        pub(crate) fn fail_syncs(&self) {
            self.state.lock().sync_fails = true;
        }

        pub(crate) fn mend_syncs(&self) {
            self.state.lock().sync_fails = false;
        }

        pub(crate) fn fail_cuts(&self) {
            self.state.lock().cut_fails = true;
        }

        /// From now on a sync lasts until it is released.
        pub(crate) fn hold_syncs(&self) {
            self.state.lock().syncs_held = true;
        }

        pub(crate) fn release_syncs(&self) {
            self.state.lock().syncs_held = false;
            self.released.notify_all();
        }

        /// How often a sync of a file was begun.
        pub(crate) fn syncs(&self) -> usize {
            self.state.lock().syncs
        }

        /// `Err` with how much of it can still be written.
        pub(super) fn take_room(&self, bytes: usize) -> Result<(), usize> {
            let mut state = self.state.lock();
            let Some(room) = state.room_bytes else { return Ok(()) };
            state.room_bytes = Some(room.saturating_sub(bytes));
            if bytes <= room { Ok(()) } else { Err(room) }
        }

        pub(super) fn sync(&self) -> io::Result<()> {
            let mut state = self.state.lock();
            state.syncs += 1;
            self.released.wait_while(&mut state, |state| state.syncs_held);
            if state.sync_fails { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
        }

        pub(super) fn cut(&self) -> io::Result<()> {
            if self.state.lock().cut_fails { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
        }
    }
}
