//! From bytes to frames, one after the other, everything checked.
//!
//! Fetches and recovery walk alike. What differs is what they do where no frame stands: the end of the log after a crash
//! is cut off there, anything else is told.

use queue::{
    disk::DataFile,
    frame::{ALIGN, HEAD_BYTES, Head, Kind},
};
use std::{io, path::Path, sync::Arc};

/// How much is read at once, unless a frame is longer …
const READ_BYTES: usize = 64 << 10;
/// … or the walk has just jumped: it may jump again after one frame …
const READ_BYTES_AFTER_A_JUMP: usize = 16 << 10;
/// … or only heads are looked at: where bodies are long, each is all that is wanted of a read.
const READ_BYTES_OF_HEADS: usize = 4 << 10;

/// A way through one segment.
pub(crate) struct Walk {
    file: Arc<dyn DataFile>,
    seed: u32,
    /// Where the next frame begins.
    at: u64,
    /// Where to stop. What lies behind may be half written.
    end: u64,
    read_bytes: usize,
    /// What is read at once when one frame follows the other.
    read_bytes_most: usize,
    buffer: Vec<u8>,
    /// The position in the file of the buffer's first byte.
    buffer_at: u64,
}

impl Walk {
    /// From byte `at`, where a frame begins, to the byte `end`.
    pub(crate) fn new(file: Arc<dyn DataFile>, seed: u32, at: u64, end: u64) -> Self {
        let (read_bytes, read_bytes_most) = (READ_BYTES_AFTER_A_JUMP, READ_BYTES);
        Self { file, seed, at, end, read_bytes, read_bytes_most, buffer: Vec::new(), buffer_at: at }
    }

    /// The same, for who wants the heads and hardly more.
    pub(crate) fn of_heads(self) -> Self {
        Self { read_bytes: READ_BYTES_OF_HEADS, read_bytes_most: READ_BYTES_OF_HEADS, ..self }
    }

    pub(crate) fn seed(&self) -> u32 {
        self.seed
    }

    pub(crate) fn file(&self) -> &Arc<dyn DataFile> {
        &self.file
    }

    /// Where the next frame begins, if there is one.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Where the walk ends at the latest.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether the head of a segment's last frame ends here: it stands apart from all others.
    pub(crate) fn is_end_of_segment(&mut self, end: u64) -> io::Result<bool> {
        let Some(at) = self.end.checked_sub(HEAD_BYTES as u64).filter(|at| *at < end) else {
            return Ok(false);
        };
        let before = self.at;
        self.jump(at);
        let head = self.head()?;
        self.jump(before);
        Ok(head.is_some_and(|head| head.kind == Kind::End))
    }

    /// Goes to another place.
    pub(crate) fn jump(&mut self, at: u64) {
        if at != self.at {
            self.at = at;
            self.read_bytes = self.read_bytes_most.min(READ_BYTES_AFTER_A_JUMP);
        }
    }

    /// The head that stands here, if one does.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        let seed = self.seed;
        Ok(Head::parse(seed, self.look(HEAD_BYTES)?))
    }

    /// The body of the frame that begins here; `None` if it is not what was written.
    pub(crate) fn body(&mut self, head: &Head) -> io::Result<Option<&[u8]>> {
        let end = HEAD_BYTES + head.body_bytes as usize;
        let body = self.look(end)?.get(HEAD_BYTES..end);
        Ok(body.filter(|body| head.fits(body)))
    }

    /// The first bytes of the body of the frame that begins here, four of them if there are so many. Nobody has checked
    /// them.
    pub(crate) fn begin_of_body(&mut self, head: &Head) -> io::Result<&[u8]> {
        let end = HEAD_BYTES + (head.body_bytes as usize).min(4);
        Ok(self.look(end)?.get(HEAD_BYTES..end).unwrap_or_default())
    }

    /// Goes behind the frame that begins here.
    pub(crate) fn pass(&mut self, head: &Head) {
        self.at += head.frame_bytes();
        self.read_bytes = self.read_bytes_most;
    }

    /// Goes to the next head that is wanted, here or behind; `None` if there is none.
    pub(crate) fn find(&mut self, wanted: impl Fn(&Head) -> bool) -> io::Result<Option<Head>> {
        let seed = self.seed;
        while self.at + HEAD_BYTES as u64 <= self.end {
            self.read_bytes = READ_BYTES;
            let window = self.look(READ_BYTES)?;
            let mut places = (0..window.len() - HEAD_BYTES + 1).step_by(ALIGN);
            let behind = places.len() * ALIGN;
            let found = places.find_map(|i| {
                Head::parse(seed, &window[i..]).filter(|head| wanted(head)).map(|head| (i, head))
            });
            self.at += found.as_ref().map_or(behind, |(i, _)| *i) as u64;
            if let Some((_, head)) = found {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Where the last byte that is not zero ends, from byte `from` on; `from` if all are.
    pub(crate) fn end_of_bytes(&mut self, from: u64) -> io::Result<u64> {
        let before = self.at;
        self.jump(from);
        let mut end = from;
        while self.at < self.end {
            let at = self.at;
            let window = self.look(READ_BYTES)?;
            if let Some(last) = window.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            self.at += window.len() as u64;
        }
        self.jump(before);
        Ok(end)
    }

    /// The next `bytes`, or fewer where the end is nearer.
    fn look(&mut self, bytes: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let bytes = bytes.min(left);
        if bytes == 0 {
            return Ok(&[]);
        }
        if self.held().is_none_or(|held| held.len() < bytes) {
            self.buffer.resize(bytes.max(self.read_bytes).min(left), 0);
            self.buffer_at = self.at;
            if let Err(e) = self.file.read_at(self.at, &mut self.buffer) {
                self.buffer.clear();
                return Err(e);
            }
        }
        Ok(self.held().and_then(|held| held.get(..bytes)).unwrap_or_default())
    }

    /// What the buffer holds from here on.
    fn held(&self) -> Option<&[u8]> {
        let ahead = usize::try_from(self.at.checked_sub(self.buffer_at)?).ok()?;
        self.buffer.get(ahead..)
    }
}
