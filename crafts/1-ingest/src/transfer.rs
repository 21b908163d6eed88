//! From a file to a socket.
//!
//! Where the kernel can, it copies from its page cache straight into the socket (`sendfile`): the bytes are never in this
//! process, and no buffer of ours has to be filled and emptied. Where it cannot, a piece is read and written.
//!
//! Nothing here waits for the client. What is not in the page cache is waited for, a bounded piece at a time.

use contracts::file::FileSlice;
use std::io::{self, ErrorKind, Write};

/// What is read at once, where it must be read.
const PIECE_BYTES: usize = 64 << 10;

/// Sends as much of a part of a file as the socket takes, at most so much; returns how much.
///
/// # Errors
/// `WouldBlock` if the socket takes nothing now; `UnexpectedEof` if the file ends before; what else the two of them say.
pub fn send<S: Socket>(socket: &mut S, slice: &FileSlice, at_most: u64) -> io::Result<usize> {
    let bytes = usize::try_from(slice.bytes.min(at_most)).unwrap_or(usize::MAX);
    match in_the_kernel(socket, slice, bytes) {
        Some(Ok(0)) if bytes > 0 => Err(ErrorKind::UnexpectedEof.into()),
        // Some file systems have no such way; the file can be read all the same.
        Some(Err(e)) if e.kind() == ErrorKind::InvalidInput => by_reading(socket, slice, bytes),
        Some(sent) => sent,
        None => by_reading(socket, slice, bytes),
    }
}

/// Whether it is the client that is gone or does not read, and not the file that fails.
pub fn is_of_the_socket(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, NotConnected, WouldBlock};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | Interrupted | NotConnected | WouldBlock
    )
}

/// What is sent to.
#[cfg(target_os = "linux")]
pub trait Socket: Write + std::os::fd::AsFd {}

#[cfg(target_os = "linux")]
impl<S: Write + std::os::fd::AsFd> Socket for S {}

/// What is sent to.
#[cfg(not(target_os = "linux"))]
pub trait Socket: Write {}

#[cfg(not(target_os = "linux"))]
impl<S: Write> Socket for S {}

#[cfg(target_os = "linux")]
fn in_the_kernel<S: Socket>(socket: &S, slice: &FileSlice, bytes: usize) -> Option<io::Result<usize>> {
    let mut at = slice.at;
    let sent = rustix::fs::sendfile(socket, slice.file.fd()?, Some(&mut at), bytes);
    Some(sent.map_err(io::Error::from))
}

#[cfg(not(target_os = "linux"))]
fn in_the_kernel<S: Socket>(_: &S, _: &FileSlice, _: usize) -> Option<io::Result<usize>> {
    None
}

fn by_reading<S: Socket>(socket: &mut S, slice: &FileSlice, bytes: usize) -> io::Result<usize> {
    let mut piece = vec![0; bytes.min(PIECE_BYTES)];
    slice.file.read_at(slice.at, &mut piece)?;
    socket.write(&piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::file::OpenFile;
    use std::{
        fs::File,
        io::{Read, Seek},
        os::{
            fd::{AsFd, BorrowedFd},
            unix::{fs::FileExt, net::UnixStream},
        },
        sync::Arc,
    };

    /// A file, of which the kernel may or may not know.
    #[derive(Debug)]
    struct Held {
        file: File,
        is_known: bool,
    }

    impl OpenFile for Held {
        fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read_exact_at(out, at)
        }

        fn fd(&self) -> Option<BorrowedFd<'_>> {
            self.is_known.then(|| self.file.as_fd())
        }
    }

    fn held(content: &[u8], is_known: bool) -> Arc<Held> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        Arc::new(Held { file, is_known })
    }

    #[test]
    fn both_ways_send_the_same_bytes() {
        let content: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        for is_known in [true, false] {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            let mut slice = FileSlice { file: held(&content, is_known), at: 7, bytes: 150_000 };
            let reader = std::thread::spawn(move || {
                let mut read = Vec::new();
                theirs.read_to_end(&mut read).map(|_| read)
            });
            while slice.bytes > 0 {
                let sent = send(&mut ours, &slice, 40_000).unwrap() as u64;
                assert!((1..=40_000).contains(&sent), "{sent}");
                slice.at += sent;
                slice.bytes -= sent;
            }
            drop(ours);
            assert!(reader.join().unwrap().unwrap() == content[7..150_007], "known: {is_known}");
        }
    }

    #[test]
    fn a_file_that_ends_too_early_is_an_error_and_no_end() {
        for is_known in [true, false] {
            let (mut ours, _theirs) = UnixStream::pair().unwrap();
            let slice = FileSlice { file: held(b"short", is_known), at: 5, bytes: 1 };
            let error = send(&mut ours, &slice, 1000).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "known: {is_known}");
            assert!(!is_of_the_socket(&error));
        }
    }
}
