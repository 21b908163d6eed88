//! A disk in memory that does what real ones do to those who trust them too far.
//!
//! What was not synced may be lost, kept, or torn at any byte, sector by sector and in any order; a name that was not
//! synced may be the old one. Names change in order, as in a journal: a crash keeps the first so many changes. The disk
//! can also be full, fail to read, to sync or to change a name, hold a sync until it is released, flip a bit, and lie: say that it has synced and have done
//! nothing. All of it follows from a seed.

use crate::{
    disk::{DataFile, Disk},
    outside::Outside,
};
use contracts::file::OpenFile;
use fastrand::Rng;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What a disk writes at once, or tears.
const SECTOR_BYTES: usize = 512;

/// Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    released: Arc<Condvar>,
    /// Handles from before a crash are dead.
    life: u64,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    life: u64,
    files: Vec<Content>,
    /// As everybody sees them, and as they are on disk; the changes between.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    faults: Faults,
    syncs: usize,
}

#[derive(Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written since the last sync.
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct Faults {
    room_bytes: Option<usize>,
    /// A file that gets a name needs room, too.
    names_fail: Option<io::ErrorKind>,
    /// After so many reads none succeeds.
    reads_left: Option<usize>,
    syncs_fail: Option<io::ErrorKind>,
    syncs_lie: bool,
    syncs_held: bool,
    /// After so many changes the power goes.
    changes_left: Option<usize>,
}

impl SimDisk {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: Rng::with_seed(seed),
            life: 0,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            faults: Faults::default(),
            syncs: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), released: Arc::default(), life: 0 }
    }

    /// The power goes. Returns the disk as it is found afterwards; all handles from before are dead.
    pub fn crash(&self) -> Self {
        let mut state = self.state.lock();
        let State { rng, files, changes, durable_names, .. } = &mut *state;
        let kept = rng.usize(..=changes.len());
        changes.drain(..kept).for_each(|change| change.apply(durable_names));
        changes.clear();
        let keep = [0.0, 0.2, 0.5, 0.8, 0.95, 1.0][rng.usize(..6)];
        files.iter_mut().for_each(|file| file.crash(keep, rng));
        state.names = state.durable_names.clone();
        self.revived(state)
    }

    /// The process goes, the system stays: everything that was written is there.
    pub fn kill(&self) -> Self {
        self.revived(self.state.lock())
    }

    fn revived(&self, mut state: MutexGuard<'_, State>) -> Self {
        state.life += 1;
        state.faults = Faults { syncs_lie: state.faults.syncs_lie, ..Faults::default() };
        Self { life: state.life, ..self.clone() }
    }

    /// Syncs say that they have synced, and do nothing.
    pub fn lie(&self) {
        self.state.lock().faults.syncs_lie = true;
    }

    /// From now on so many bytes can be added; `None` is no bound.
    pub fn set_room(&self, bytes: Option<usize>) {
        self.state.lock().faults.room_bytes = bytes;
    }

    /// How every change of a name fails from now on, if it does: files can be written, as in a directory that was made
    /// read-only, or that has no room for another entry.
    pub fn fail_names(&self, with: Option<io::ErrorKind>) {
        self.state.lock().faults.names_fail = with;
    }

    /// After so many more reads each of them fails; `None` is never.
    pub fn fail_reads_after(&self, reads: Option<usize>) {
        self.state.lock().faults.reads_left = reads;
    }

    /// Whether syncs fail from now on.
    pub fn fail_syncs(&self, fail: bool) {
        self.fail_syncs_with(fail.then_some(io::ErrorKind::Other));
    }

    /// How every sync of a file fails from now on, if it does.
    pub fn fail_syncs_with(&self, error: Option<io::ErrorKind>) {
        self.state.lock().faults.syncs_fail = error;
    }

    /// The power goes after so many changes to files or names, whatever the log is doing then.
    pub fn lose_power_after(&self, changes: usize) {
        self.state.lock().faults.changes_left = Some(changes);
    }

    /// From now on a sync lasts until it is released.
    pub fn hold_syncs(&self) {
        self.state.lock().faults.syncs_held = true;
    }

    /// Lets those go on that last, and all that follow.
    pub fn release_syncs(&self) {
        self.state.lock().faults.syncs_held = false;
        self.released.notify_all();
    }

    /// A world around this disk, in which everything follows from the seed. Its clocks tick each time they are looked at.
    pub fn outside(&self, seed: u64) -> Outside {
        let (ticks, uptime) = (AtomicU64::new(1_763_689_000_000), AtomicU64::new(0));
        let salts = Mutex::new(Rng::with_seed(seed));
        Outside {
            disk: Arc::new(self.clone()),
            now_ms: Box::new(move || ticks.fetch_add(1, Ordering::Relaxed)),
            uptime_ms: Box::new(move || uptime.fetch_add(1, Ordering::Relaxed)),
            salt: Box::new(move || salts.lock().u64(..)),
        }
    }

    /// How often a sync of a file was begun.
    pub fn syncs(&self) -> usize {
        self.state.lock().syncs
    }

    /// How many files were ever made.
    pub fn files(&self) -> usize {
        self.state.lock().files.len()
    }

    /// What is in a file.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state.lock();
        state.files[state.names[name]].seen.clone()
    }

    /// Flips a bit, as it is seen and on disk.
    pub fn flip(&self, name: &str, at: usize, bit: u32) {
        let mut state = self.state.lock();
        let file = state.names[name];
        let Content { seen, durable, .. } = &mut state.files[file];
        for bytes in [seen, durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
    }

    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.life == self.life { Ok(state) } else { Err(power_is_gone()) }
    }

    /// The same, for who is about to read from a file.
    fn read(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state()?;
        match &mut state.faults.reads_left {
            Some(0) => return Err(io::Error::other("the disk cannot read what it holds")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }

    /// The same, for who is about to change something.
    fn changed(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state()?;
        match &mut state.faults.changes_left {
            Some(0) => Err(power_is_gone()),
            Some(left) => {
                *left -= 1;
                Ok(state)
            }
            None => Ok(state),
        }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.changed()?;
        state.faults.names_fail.map_or(Ok(()), |kind| Err(io::Error::from(kind)))?;
        change.clone().apply(&mut state.names);
        state.changes.push(change);
        Ok(())
    }

    fn has(&self, name: &str) -> io::Result<()> {
        let there = self.state()?.names.contains_key(name);
        if there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn handle(&self, name: &str, file: usize) -> Arc<dyn DataFile> {
        Arc::new(SimFile { disk: self.clone(), path: self.path(name), file })
    }
}

fn power_is_gone() -> io::Error {
    io::Error::other("the power is gone")
}

impl Change {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Put(name, file) => drop(names.insert(name, file)),
            Self::Remove(name) => drop(names.remove(&name)),
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }
}

impl Content {
    fn crash(&mut self, keep: f64, rng: &mut Rng) {
        for sector in std::mem::take(&mut self.dirty) {
            let begin = sector * SECTOR_BYTES;
            let end = (begin + SECTOR_BYTES).min(self.seen.len());
            let kept = match rng.f64() {
                draw if draw < keep => end,
                draw if draw > 0.95 => begin + rng.usize(..=end - begin),
                _ => continue,
            };
            if self.durable.len() < kept {
                self.durable.resize(kept, 0);
            }
            self.durable[begin..kept].copy_from_slice(&self.seen[begin..kept]);
        }
        self.seen.clone_from(&self.durable);
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }
}

impl Disk for SimDisk {
    fn path(&self, name: &str) -> PathBuf {
        Path::new("/sim").join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DataFile>> {
        let mut state = self.state()?;
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        drop(state);
        self.change(Change::Put(name.to_owned(), file))?;
        Ok(self.handle(name, file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DataFile>> {
        self.has(name)?;
        let file = self.state()?.names[name];
        Ok(self.handle(name, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.has(from)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.has(name)?;
        self.change(Change::Remove(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.changed()?;
        if !state.faults.syncs_lie {
            state.changes.clear();
            state.durable_names = state.names.clone();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    file: usize,
}

impl OpenFile for SimFile {
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let state = self.disk.read()?;
        let content = state.files[self.file].seen.get(at..at + out.len());
        out.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl DataFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state()?.files[self.file].seen.len() as u64)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let mut state = self.disk.changed()?;
        // Only what makes the file longer needs room.
        let there = state.files[self.file].seen.len();
        let more = (at + bytes.len()).saturating_sub(there.max(at));
        let room = state.faults.room_bytes.unwrap_or(usize::MAX);
        let fits = bytes.len() - more.saturating_sub(room);
        state.files[self.file].write(at, &bytes[..fits]);
        if let Some(room) = &mut state.faults.room_bytes {
            *room = room.saturating_sub(more);
        }
        if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.changed()?;
        state.syncs += 1;
        self.disk.released.wait_while(&mut state, |state| state.faults.syncs_held);
        match state.faults.syncs_fail {
            Some(io::ErrorKind::Other) => return Err(io::Error::other("the disk is gone")),
            Some(kind) => return Err(kind.into()),
            None => {}
        }
        if !state.faults.syncs_lie {
            let Content { seen, durable, dirty } = &mut state.files[self.file];
            durable.clone_from(seen);
            dirty.clear();
        }
        Ok(())
    }
}
