//! How a log is to be, what is found when it is opened, and why it may not be.

use crate::codec::Codec;
use contracts::queue::Bounds;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A segment is closed, and another begun, before its frames would pass this.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// How much a log holds. Beyond: [`LogError::Full`](contracts::queue::LogError::Full).
pub const RETAINED_BYTES_MAX: u64 = 16 << 30;
/// Most partitions of a log.
pub const PARTITIONS_MAX: u32 = 1024;
/// A member of a group that was silent for so long is expelled.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a log is to be.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Groups that hold the log from the start.
    pub groups: Vec<String>,
    /// How many partitions: at least as many as the log has, at most [`PARTITIONS_MAX`].
    pub partitions: u32,
    /// A segment is closed, and another begun, before it would pass this.
    pub segment_bytes_max: u64,
    /// The whole log; at least twice as much. A log that is so large takes nothing more.
    pub retained_bytes_max: u64,
    /// A log that is larger drops its oldest segment, whoever has not read it.
    pub retention_bytes_max: Option<u64>,
    /// A segment whose newest record is older is dropped, whoever has not read it.
    pub retention_age_max: Option<Duration>,
    /// A member of a group that was silent for so long is expelled, where a group has several.
    pub heartbeat_timeout: Duration,
    /// What is done to records that come one by one, where the log packs at all.
    pub codec: Codec,
}

impl LogConfig {
    /// A log of one partition that keeps every record until these groups have committed it.
    pub fn for_groups(groups: &[&str]) -> Self {
        Self {
            groups: groups.iter().map(|name| (*name).to_owned()).collect(),
            partitions: 1,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            retained_bytes_max: RETAINED_BYTES_MAX,
            retention_bytes_max: None,
            retention_age_max: None,
            heartbeat_timeout: HEARTBEAT_TIMEOUT,
            codec: Codec::default(),
        }
    }

    /// # Errors
    /// [`OpenError::BadPartitions`].
    pub(crate) fn checked(mut self) -> Result<Self, OpenError> {
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Err(OpenError::BadPartitions { asked: self.partitions, max: PARTITIONS_MAX });
        }
        self.retained_bytes_max = self.retained_bytes_max.max(2 * self.segment_bytes_max);
        Ok(self)
    }
}

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that the log holds, gaps not counted out.
    pub records: u64,
    /// Where each partition's next record will be.
    pub ends: Vec<u64>,
    /// What was cut off the end.
    pub cut: Option<Cut>,
    /// What is damaged in the middle, as far as opening has come across it. The rest can be read.
    pub gaps: Vec<Gap>,
    /// Why it is not known how far the groups came, if that is so: they begin at the log's start again.
    pub groups_lost: Option<String>,
}

/// What was cut off the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Of which file.
    pub file: PathBuf,
    /// From which byte on.
    pub at: u64,
    /// How many bytes, to the end of the last that was ours.
    pub bytes: u64,
    /// How many frames whose heads are whole, and the records in them.
    pub frames: u64,
    /// The records in them.
    pub records: u64,
    /// What was wrong there.
    pub why: String,
}

/// What is damaged in the middle of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// In which file.
    pub file: PathBuf,
    /// From which byte on.
    pub at: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many frames are missing.
    pub frames: u64,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Two processes would overwrite each other's records.
    #[error("{}: another process has this log open; stop it, or choose another directory", path.display())]
    Locked {
        /// The file that it has locked.
        path: PathBuf,
    },
    /// A file is not what its name says, and not because of a crash.
    #[error("{}, byte {at}: {why}; restore the file, or move it away together with all before it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first wrong byte.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// The log was written by a program that has another format.
    #[error(
        "{}: this log has format version {found}, this program reads version {reads}; \
         let the program that wrote it empty it into storage, then move the directory away",
        path.display()
    )]
    Version {
        /// A file of the log.
        path: PathBuf,
        /// The version that it has.
        found: u8,
        /// The version that this program reads.
        reads: u8,
    },
    /// A form of the log that keeps nothing to hold its records against.
    #[error("{}: there are no segments here, and no other form of the log can be verified", path.display())]
    NotVerifiable {
        /// The directory.
        path: PathBuf,
    },
    /// There are more partitions in the log than were asked for: records would become unreachable.
    #[error("{}: the log has {found} partitions, {asked} were asked for; ask for {found} or more", path.display())]
    FewerPartitions {
        /// The directory.
        path: PathBuf,
        /// How many the log has.
        found: u32,
        /// How many were asked for.
        asked: u32,
    },
    /// A bound on the number of partitions.
    #[error("{asked} partitions were asked for; a log has 1 to {max}")]
    BadPartitions {
        /// How many were asked for.
        asked: u32,
        /// The most.
        max: u32,
    },
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Segment files, and the bytes in them.
    pub segments: usize,
    /// See `segments`.
    pub bytes: u64,
    /// Frames that are whole.
    pub frames: u64,
    /// What each partition holds.
    pub partitions: Vec<Bounds>,
    /// What is not as it was written, from the oldest on.
    pub damage: Vec<Damage>,
    /// What a crash has left behind the end. Opening cuts it off, and nobody was told that it is safe.
    pub torn: Option<Cut>,
}

/// A place that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The first wrong byte.
    pub at: u64,
    /// Up to where all is well again; 0 if that is not known.
    pub bytes: u64,
    /// Frames that are lost; 0 where no record is.
    pub frames: u64,
    /// What is wrong.
    pub what: String,
}

/// The error of a file or a directory.
pub fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log holds {} records", self.records)?;
        if let Some(Cut { file, at, bytes, frames, records, why }) = &self.cut {
            write!(f, "; {bytes} bytes were CUT off {} from byte {at} on: {why}", file.display())?;
            write!(
                f,
                " ({frames} frames with {records} records could be told; the partitions end at {:?})",
                self.ends
            )?;
        }
        for Gap { file, at, bytes, frames } in &self.gaps {
            write!(
                f,
                "; {} is DAMAGED from byte {at} on, {bytes} bytes and {frames} frames",
                file.display()
            )?;
        }
        if let Some(why) = &self.groups_lost {
            write!(f, "; its groups begin again, {why}")?;
        }
        Ok(())
    }
}
