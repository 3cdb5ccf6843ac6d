//! The entries of an index file one after the other, read in pieces.

use std::io;

use super::offset_entries::Wrong;
use crate::storage::{DiskFile, StorageFile};

/// Entries read at once.
const PIECE: usize = 4096;

/// A walk along an index of entries of one size. It ends where only zeros are left, as Apache Kafka preallocates indexes.
pub(super) struct Entries<const N: usize> {
    file: Option<DiskFile>,
    /// Bytes of the file when it was opened.
    size: u64,
    /// Where the next entry is.
    position: u64,
    buffer: Vec<u8>,
    buffered_from: u64,
    ended: bool,
}

impl<const N: usize> Entries<N> {
    /// Walks along a file; without one there are no entries.
    pub fn new(file: Option<DiskFile>) -> io::Result<Self> {
        let size = file.as_ref().map_or(Ok(0), StorageFile::size)?;
        Ok(Self { file, size, position: 0, buffer: Vec::new(), buffered_from: 0, ended: false })
    }

    /// The next entry and where it is; none behind the last.
    pub fn peek(&mut self) -> io::Result<Option<(u64, [u8; N])>> {
        let Some(file) = &self.file else { return Ok(None) };
        if self.ended || self.position + N as u64 > self.size {
            return Ok(None);
        }
        if self.position < self.buffered_from
            || self.position + N as u64 > self.buffered_from + self.buffer.len() as u64
        {
            let wanted = (N * PIECE).min(usize::try_from(self.size - self.position).unwrap_or(usize::MAX));
            self.buffer.resize(wanted, 0);
            let read = file.read_at(&mut self.buffer, self.position)?;
            self.buffer.truncate(read);
            self.buffered_from = self.position;
        }
        let start = (self.position - self.buffered_from) as usize;
        let Some(entry) = self.buffer.get(start..).and_then(<[u8]>::first_chunk::<N>) else {
            return Ok(None);
        };
        let entry = *entry;
        if entry == [0; N] && rest_is_zero(file, self.position)? {
            self.ended = true;
            return Ok(None);
        }
        Ok(Some((self.position, entry)))
    }

    /// Passes over the entry that [`Self::peek`] gave.
    pub fn advance(&mut self) {
        self.position += N as u64;
    }

    /// Where the walk is. Bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many entries were passed.
    pub fn count(&self) -> u64 {
        self.position / N as u64
    }

    /// What is wrong with the file's size.
    pub fn trailing(&self) -> Option<Wrong> {
        let rest = self.size % N as u64;
        (rest > 0 && !self.ended)
            .then(|| (self.size - rest, format!("the last {rest} bytes are no whole entry of {N}")))
    }
}

fn rest_is_zero(file: &DiskFile, mut position: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read_at(&mut buffer, position)?;
        if buffer[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read < buffer.len() {
            return Ok(true);
        }
        position += read as u64;
    }
}
