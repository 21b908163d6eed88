//! Are mapped reads faster than `pread`, once every byte is summed up as a fetch does it?
#![allow(unsafe_code)] // a mapping cannot be made otherwise

use super::{
    super::slice::{Figures, Task},
    limits::speed,
    sending::READ_BYTES,
};
use anyhow::Result;
use std::{
    fs::File,
    hint::black_box,
    io::Write,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// The file that is read.
const FILE_BYTES: usize = 256 << 20;

/// Reads a file and sums it up as a fetch does: with `pread`, or through a mapping that is made anew each time, as each
/// segment's would be.
pub(super) fn measure(task: &Task) -> Result<Figures> {
    let mut file = tempfile::tempfile_in(&task.dir)?;
    let block: Vec<u8> = (0..READ_BYTES).map(|i| i.to_le_bytes()[0]).collect();
    for _ in 0..FILE_BYTES / READ_BYTES {
        file.write_all(&block)?;
    }
    let read = if task.subject == "pread" { with_pread } else { through_a_mapping };
    // Once for the page cache.
    black_box(read(&file)?);
    let (mut bytes, begun) = (0, Instant::now());
    while begun.elapsed() < Duration::from_secs_f64(task.seconds) {
        black_box(read(&file)?);
        bytes += FILE_BYTES;
    }
    Ok(speed(bytes as f64, begun.elapsed()))
}

fn with_pread(file: &File) -> Result<u32> {
    let mut buffer = vec![0; READ_BYTES];
    let mut sum = 0;
    for block in 0..FILE_BYTES / buffer.len() {
        file.read_exact_at(&mut buffer, (block * READ_BYTES) as u64)?;
        sum ^= crc32c::crc32c(&buffer);
    }
    Ok(sum)
}

fn through_a_mapping(file: &File) -> Result<u32> {
    // SAFETY: the file has no name, and nobody writes to it while it is mapped.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(map.chunks_exact(READ_BYTES).fold(0, |sum, block| sum ^ crc32c::crc32c(block)))
}
