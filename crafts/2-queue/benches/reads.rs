//! Are mapped reads faster than `pread`, once every byte is summed up as a fetch does it?
//!
//! Prediction: no. The copy that a mapping saves is small beside the checksum, and its pages have to be mapped one after
//! the other. If this ever says otherwise by much, decision 14 has to be looked at again.

#![allow(clippy::unwrap_used)] // a bench that cannot go on should stop
#![allow(clippy::print_stdout)] // its result
#![allow(unsafe_code)] // a mapping cannot be made otherwise

use std::{fs::File, io::Write, os::unix::fs::FileExt, time::Instant};

const FILE_BYTES: usize = 256 << 20;
/// As a fetch reads.
const READ_BYTES: usize = 64 << 10;
const ROUNDS: usize = 9;

fn main() {
    let mut file = tempfile::tempfile().unwrap();
    let block: Vec<u8> = (0..READ_BYTES).map(|i| i.to_le_bytes()[0]).collect();
    (0..FILE_BYTES / READ_BYTES).for_each(|_| file.write_all(&block).unwrap());
    println!("| reads | MiB/s, the middle of {ROUNDS} rounds |\n|---|---|");
    println!("| pread | {:.0} |", middle(|| with_pread(&file)));
    println!("| mapped | {:.0} |", middle(|| mapped(&file)));
}

fn with_pread(file: &File) -> u32 {
    let mut buffer = vec![0; READ_BYTES];
    (0..FILE_BYTES / READ_BYTES).fold(0, |sum, i| {
        file.read_exact_at(&mut buffer, (i * READ_BYTES) as u64).unwrap();
        sum ^ crc32c::crc32c(&buffer)
    })
}

/// Mapped anew each time, as each segment would be.
fn mapped(file: &File) -> u32 {
    // SAFETY: the file has no name, and nobody writes to it while it is mapped.
    let map = unsafe { memmap2::Mmap::map(file) }.unwrap();
    map.chunks_exact(READ_BYTES).fold(0, |sum, block| sum ^ crc32c::crc32c(block))
}

fn middle(read: impl Fn() -> u32) -> f64 {
    let mut rates: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            std::hint::black_box(read());
            (FILE_BYTES >> 20) as f64 / begun.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[ROUNDS / 2]
}
