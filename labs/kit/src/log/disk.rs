//! A disk in memory, for one log: it counts what is asked of it, and shows what a crash at any moment would leave.
//!
//! What the process is killed over stays as it was written ([`TestDisk::seen`]); of what the power is cut over, only what
//! was synced is certain ([`TestDisk::durable`]). Both are taken while the log goes on: another log is then opened on
//! them. A sync makes durable what was written before it *began*, as `fsync` promises, and not a byte more.
//!
//! What the log does can also be recorded ([`TestDisk::record`]): then every moment between two of its calls, and every
//! byte of its writes, is one at which it may be killed ([`Recorded::killed`]).

use contracts::file::OpenFile;
use parking_lot::{Condvar, Mutex, MutexGuard};
use queue::disk::{DataFile, Disk};
use std::{
    collections::BTreeMap,
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files by their names, as a crash leaves them.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct TestDisk {
    state: Arc<Mutex<State>>,
    released: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    counts: Counts,
    /// Bytes that files can still grow by.
    room_bytes: Option<usize>,
    syncs_fail: bool,
    syncs_held: bool,
    /// How many syncs wait to be released.
    held: usize,
    recorded: Option<Recorded>,
}

/// What was there, and what was done since.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    files: Vec<Vec<u8>>,
    names: BTreeMap<String, usize>,
    calls: Vec<Call>,
}

#[derive(Clone, Debug)]
enum Call {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
    Write { file: usize, at: usize, bytes: Vec<u8> },
}

/// What is left by a process that is killed in the middle.
pub(super) struct Killed {
    pub(super) files: Files,
    /// How many of its calls were done, of how many; of the next one, if it is a write, some bytes have arrived.
    pub(super) calls: usize,
    pub(super) of_calls: usize,
    pub(super) arrived: usize,
    pub(super) of_bytes: usize,
    /// Where the write went to that was under way.
    pub(super) file: Option<String>,
    pub(super) at: usize,
}

#[derive(Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// How many syncs had begun when that of this content did.
    synced_at: u64,
}

/// What was asked of a disk since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Syncs of files, and of the directory.
    pub(super) syncs: u64,
    pub(super) written_bytes: u64,
    pub(super) read_bytes: u64,
}

impl TestDisk {
    /// With these files on it, all of them durable.
    pub(super) fn with(files: &Files) -> Self {
        let disk = Self::default();
        let mut state = disk.state.lock();
        for (at, (name, bytes)) in files.iter().enumerate() {
            state.files.push(Content { seen: bytes.clone(), durable: bytes.clone(), synced_at: 0 });
            state.names.insert(name.clone(), at);
        }
        state.durable_names = state.names.clone();
        drop(state);
        disk
    }

    /// What is there if the process is killed now.
    pub(super) fn seen(&self) -> Files {
        let state = self.state.lock();
        state.names.iter().map(|(name, file)| (name.clone(), state.files[*file].seen.clone())).collect()
    }

    /// What is certain to be there if the power is cut now.
    pub(super) fn durable(&self) -> Files {
        let state = self.state.lock();
        let files = state.durable_names.iter();
        files.map(|(name, file)| (name.clone(), state.files[*file].durable.clone())).collect()
    }

    pub(super) fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// Records what is done from now on.
    pub(super) fn record(&self) {
        let mut state = self.state.lock();
        let files = state.files.iter().map(|file| file.seen.clone()).collect();
        state.recorded = Some(Recorded { files, names: state.names.clone(), calls: Vec::new() });
    }

    /// What was recorded.
    pub(super) fn recorded(&self) -> Recorded {
        let none = || Recorded { files: Vec::new(), names: BTreeMap::new(), calls: Vec::new() };
        self.state.lock().recorded.take().unwrap_or_else(none)
    }

    /// From now on files can grow by so many bytes; `None` is no bound.
    pub(super) fn set_room(&self, bytes: Option<usize>) {
        self.state.lock().room_bytes = bytes;
    }

    pub(super) fn fail_syncs(&self, fail: bool) {
        self.state.lock().syncs_fail = fail;
    }

    /// From now on a sync lasts until it is released.
    pub(super) fn hold_syncs(&self) {
        self.state.lock().syncs_held = true;
    }

    pub(super) fn release_syncs(&self) {
        self.state.lock().syncs_held = false;
        self.released.notify_all();
    }

    /// Whether a sync is under way that is held.
    pub(super) fn holds_one(&self) -> bool {
        self.state.lock().held > 0
    }

    fn file(&self, name: &str, at: usize) -> Arc<dyn DataFile> {
        Arc::new(TestFile { disk: self.clone(), path: self.path(name), at })
    }

    fn there(&self, name: &str) -> io::Result<usize> {
        self.state.lock().names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Counts a sync, waits while syncs are held, and fails if they do.
    fn sync<'s>(&self, mut state: MutexGuard<'s, State>) -> io::Result<MutexGuard<'s, State>> {
        state.counts.syncs += 1;
        state.held += 1;
        self.released.wait_while(&mut state, |state| state.syncs_held);
        state.held -= 1;
        if state.syncs_fail { Err(io::Error::other("the disk is gone")) } else { Ok(state) }
    }
}

impl State {
    fn note(&mut self, call: Call) {
        if let Some(recorded) = &mut self.recorded {
            recorded.calls.push(call);
        }
    }
}

impl Recorded {
    /// Killed before each call, within each write after each of its bytes, and after the last call.
    pub(super) fn killed(&self) -> Vec<Killed> {
        self.killed_at(|_| true)
    }

    /// The same at some of these moments, by their number.
    pub(super) fn killed_at(&self, mut is_chosen: impl FnMut(usize) -> bool) -> Vec<Killed> {
        let (mut left, mut all, mut moment) = (self.clone(), Vec::new(), 0);
        for (calls, call) in self.calls.iter().enumerate() {
            let of_bytes = if let Call::Write { bytes, .. } = call { bytes.len() } else { 0 };
            for arrived in 0..of_bytes.max(1) {
                moment += 1;
                if !is_chosen(moment) {
                    continue;
                }
                let mut torn = left.clone();
                let (mut file, mut place) = (None, 0);
                if let Call::Write { file: index, at, bytes } = call {
                    torn.apply(&Call::Write { file: *index, at: *at, bytes: bytes[..arrived].to_vec() });
                    file = torn.names.iter().find(|(_, named)| *named == index).map(|(name, _)| name.clone());
                    place = *at;
                }
                let of_calls = self.calls.len();
                all.push(Killed { files: torn.files(), calls, of_calls, arrived, of_bytes, file, at: place });
            }
            left.apply(call);
        }
        let calls = self.calls.len();
        let (arrived, of_bytes, file, at) = (0, 0, None, 0);
        all.push(Killed { files: left.files(), calls, of_calls: calls, arrived, of_bytes, file, at });
        all
    }

    fn apply(&mut self, call: &Call) {
        match call {
            Call::Create(name, file) => {
                self.files.resize(self.files.len().max(file + 1), Vec::new());
                self.names.insert(name.clone(), *file);
            }
            Call::Rename(from, to) => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Call::Remove(name) => drop(self.names.remove(name)),
            Call::Write { file, at, bytes } => write(&mut self.files[*file], *at, bytes),
        }
    }

    fn files(&self) -> Files {
        self.names.iter().map(|(name, file)| (name.clone(), self.files[*file].clone())).collect()
    }
}

impl Killed {
    /// Whether everything was done.
    pub(super) fn is_done(&self) -> bool {
        self.calls == self.of_calls
    }

    /// For people, without names of files, which are the log's own matter.
    pub(super) fn told(&self) -> String {
        let (calls, of) = (self.calls, self.of_calls);
        if self.of_bytes == 0 {
            return format!(
                "the process is killed after {calls} of the {of} calls that it makes of the disk"
            );
        }
        let (arrived, of_bytes) = (self.arrived, self.of_bytes);
        format!(
            "the process is killed in call {} of {of}, a write of which {arrived} of {of_bytes} bytes arrive",
            calls + 1
        )
    }
}

fn write(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Disk for TestDisk {
    fn path(&self, name: &str) -> PathBuf {
        Path::new("log").join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DataFile>> {
        let mut state = self.state.lock();
        let at = state.files.len();
        state.files.push(Content::default());
        state.names.insert(name.to_owned(), at);
        state.note(Call::Create(name.to_owned(), at));
        drop(state);
        Ok(self.file(name, at))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DataFile>> {
        let at = self.there(name)?;
        Ok(self.file(name, at))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let at = self.there(from)?;
        let mut state = self.state.lock();
        state.names.remove(from);
        state.names.insert(to.to_owned(), at);
        state.note(Call::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.there(name)?;
        let mut state = self.state.lock();
        state.names.remove(name);
        state.note(Call::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let state = self.state.lock();
        let names = state.names.clone();
        self.sync(state)?.durable_names = names;
        Ok(())
    }
}

#[derive(Debug)]
struct TestFile {
    disk: TestDisk,
    path: PathBuf,
    at: usize,
}

impl OpenFile for TestFile {
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let mut state = self.disk.state.lock();
        state.counts.read_bytes += out.len() as u64;
        let content = at.checked_add(out.len()).and_then(|end| state.files[self.at].seen.get(at..end));
        out.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl DataFile for TestFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().files[self.at].seen.len() as u64)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let mut state = self.disk.state.lock();
        let there = state.files[self.at].seen.len();
        // Only what makes the file longer needs room.
        let more = (at + bytes.len()).saturating_sub(there.max(at));
        let fits = bytes.len() - more.saturating_sub(state.room_bytes.unwrap_or(usize::MAX));
        if let Some(room) = &mut state.room_bytes {
            *room = room.saturating_sub(more);
        }
        state.counts.written_bytes += fits as u64;
        write(&mut state.files[self.at].seen, at, &bytes[..fits]);
        state.note(Call::Write { file: self.at, at, bytes: bytes[..fits].to_vec() });
        if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn sync(&self) -> io::Result<()> {
        let state = self.disk.state.lock();
        let begun = state.counts.syncs;
        let before = state.files[self.at].seen.clone();
        let mut state = self.disk.sync(state)?;
        let file = &mut state.files[self.at];
        // Of two syncs that end in another order than they began in, the later one knows more.
        if begun >= file.synced_at {
            (file.durable, file.synced_at) = (before, begun);
        }
        Ok(())
    }
}
