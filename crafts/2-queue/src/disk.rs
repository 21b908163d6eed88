//! What the log needs of a disk, and the real one.
//!
//! The log asks for names and for bytes at positions, and says when which of them must be durable. It does not know
//! what is below: in tests the same calls end at a disk in memory that forgets what was not synced, tears what was being
//! written, fails, and lies (`sim`).

use contracts::file::OpenFile;
use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// The directory of one log.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Where a file of this name lies: for messages.
    fn path(&self, name: &str) -> PathBuf;
    /// The names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// An empty file of this name, whatever was there before.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DataFile>>;
    /// A file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DataFile>>;
    /// Gives a file another name; a crash leaves the one or the other.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name. Who has the file open goes on reading it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes what was done to names durable. What is in the files is another matter.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file that is written at positions, and read as others read it to whom it is given.
pub trait DataFile: OpenFile {
    /// Where it was when it was opened: for messages.
    fn path(&self) -> &Path;
    /// How long it is.
    fn bytes(&self) -> io::Result<u64>;
    /// Writes all of `bytes`, or leaves an unknown part of them. The file grows where that is needed.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written before durable, and how long the file is.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
}

impl RealDisk {
    /// This directory, which is there.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }
}

impl Disk for RealDisk {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DataFile>> {
        let path = self.path(name);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Arc::new(RealFile { path, file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DataFile>> {
        let path = self.path(name);
        let file = File::options().read(true).write(true).open(&path)?;
        Ok(Arc::new(RealFile { path, file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

#[derive(Debug)]
struct RealFile {
    path: PathBuf,
    file: File,
}

impl OpenFile for RealFile {
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, at)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

impl DataFile for RealFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: the length belongs to the data where it changed, access times do not.
        self.file.sync_data()
    }
}

/// Makes a directory, and its name safe from a power cut.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // The parent of a path of one part is the directory that the process is in.
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Locked by the process that has a log open.
pub const LOCK: &str = "lock";

/// Locks a directory for as long as the file is open.
pub fn lock(dir: &Path) -> Result<File, TryLockError> {
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK));
    let file = file.map_err(TryLockError::Error)?;
    file.try_lock().map(|()| file)
}

/// Replaces a file as a whole: whoever finds it finds the old content or the new, also after a power cut.
pub fn replace(disk: &dyn Disk, name: &str, content: &[u8]) -> io::Result<()> {
    let unfinished = unfinished(name);
    let file = disk.create(&unfinished)?;
    file.write_at(0, content)?;
    file.sync()?;
    disk.rename(&unfinished, name)?;
    disk.sync_names()
}

/// All of a file; `None` if there is none.
pub fn read(disk: &dyn Disk, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut content = vec![0; usize::try_from(file.bytes()?).map_err(io::Error::other)?];
    file.read_at(0, &mut content)?;
    Ok(Some(content))
}

/// Writes zeros, so that later writes find their blocks there and a sync has nothing but data to write.
pub fn zero_fill(file: &dyn DataFile, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < to {
        let bytes = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(at, &ZEROS[..bytes])?;
        at += bytes as u64;
    }
    Ok(())
}

/// Whether more room would have helped: the disk is full, or a quota or a limit on the size of files is reached.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

const UNFINISHED: &str = ".tmp";

/// What a file is called until it is whole.
pub fn unfinished(name: &str) -> String {
    format!("{name}{UNFINISHED}")
}

/// Whether a file of this name never became whole.
pub fn is_unfinished(name: &str) -> bool {
    name.ends_with(UNFINISHED)
}
