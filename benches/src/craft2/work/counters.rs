//! What this process, and the disk under its log, have done so far: facts that no clock has to find out.

use super::super::slice::Figures;
use crate::phase_server::{allocator, counters};
use anyhow::Result;
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// All counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    cpu_us: u64,
    allocations: Option<u64>,
    /// Bytes that this process passed to the kernel in writes.
    log_bytes: Option<u64>,
    /// Bytes of the pages that it so had written to the disk.
    written_bytes: Option<u64>,
    /// Writes and bytes of the whole disk, whoever caused them: the file system's own books are among them.
    device: Option<(u64, u64)>,
}

/// The kernel's sectors, whatever the disk's are.
const SECTOR_BYTES: u64 = 512;

impl Counters {
    pub(super) fn now(dir: &Path) -> Result<Self> {
        let snapshot = counters::snapshot()?;
        Ok(Self {
            cpu_us: snapshot.cpu_user_us + snapshot.cpu_system_us,
            allocations: allocator::count(),
            log_bytes: own_io("wchar"),
            written_bytes: own_io("write_bytes"),
            device: device(dir),
        })
    }

    /// What was used since, for each of so many messages that took so many syncs.
    pub(super) fn tell(self, dir: &Path, messages: f64, syncs: f64, figures: &mut Figures) -> Result<()> {
        let now = Self::now(dir)?;
        let mut put = |name: &str, value: f64| figures.insert(name.to_owned(), value);
        put("cpu_us_per_message", (now.cpu_us - self.cpu_us) as f64 / messages);
        if let Some((before, after)) = self.allocations.zip(now.allocations) {
            put("allocations_per_message", (after - before) as f64 / messages);
        }
        if let Some((before, after)) = self.log_bytes.zip(now.log_bytes) {
            put("log_bytes_per_message", after.saturating_sub(before) as f64 / messages);
        }
        if let Some((before, after)) = self.written_bytes.zip(now.written_bytes) {
            put("written_bytes_per_message", after.saturating_sub(before) as f64 / messages);
        }
        if let Some(((writes_before, bytes_before), (writes, bytes))) = self.device.zip(now.device) {
            put("device_bytes_per_message", bytes.saturating_sub(bytes_before) as f64 / messages);
            if syncs > 0.0 {
                put("device_writes_per_sync", writes.saturating_sub(writes_before) as f64 / syncs);
            }
        }
        Ok(())
    }
}

/// A counter of `/proc/self/io`.
pub(super) fn own_io(name: &str) -> Option<u64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

/// The disk that holds a directory: its finished writes and written bytes.
fn device(dir: &Path) -> Option<(u64, u64)> {
    let device = fs::metadata(dir).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let fields: Vec<u64> = stat.split_whitespace().map_while(|field| field.parse().ok()).collect();
    Some((*fields.get(4)?, fields.get(6)? * SECTOR_BYTES))
}

/// A figure of `/proc/self/status` in bytes: `VmRSS`, `VmHWM`.
pub(super) fn own_memory(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_this_process_writes_is_seen() {
        let (Some(before), mut file) = (own_io("write_bytes"), tempfile::tempfile().unwrap()) else { return };
        file.write_all(&[7; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        // A file system in memory writes nothing to a disk.
        let after = own_io("write_bytes").unwrap();
        assert!(after == before || after >= before + (1 << 20), "{before} {after}");
        assert!(own_memory("VmHWM") >= own_memory("VmRSS"));
    }
}
