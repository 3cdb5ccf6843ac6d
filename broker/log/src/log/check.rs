//! Checking a batch that somebody could not read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::Log;
use crate::error::ReadError;
use crate::names::SegmentFile;
use crate::scan::{Check, Damage, Found, Scan};
use crate::storage::Storage;

/// A batch of the log that is not what was appended any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptBatch {
    /// Its first offset, as far as that can be told.
    pub base_offset: i64,
    /// Its last offset, as far as that can be told.
    pub last_offset: i64,
    /// The segment's file.
    pub file: PathBuf,
    /// Where in the file it begins. Bytes.
    pub position: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for CorruptBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { base_offset, last_offset, file, position, reason } = self;
        let file = file.display();
        write!(f, "the batch of offset{} {base_offset}", if base_offset < last_offset { "s" } else { "" })?;
        if base_offset < last_offset {
            write!(f, "..{last_offset}")?;
        }
        write!(f, " at position {position} of {file} is corrupt: {reason}")
    }
}

/// A segment that is to be read from its beginning to its end, without holding the log.
pub struct SegmentCheck<S: Storage> {
    file: Arc<S::File>,
    base_offset: i64,
    size: u64,
}

impl<S: Storage> SegmentCheck<S> {
    /// The first offset whose batch is corrupt or cannot be read; `None` if all is well. Blocks on the disk.
    pub fn run(self) -> Option<i64> {
        let mut scan = Scan::new(&*self.file, 0, self.size, Check::Checksum);
        let mut offset = self.base_offset;
        loop {
            match scan.next() {
                Ok(Ok(Some(found))) => offset = found.header.next_offset(),
                Ok(Ok(None)) => return None,
                Ok(Err(_)) | Err(_) => return Some(offset),
            }
        }
    }
}

impl<S: Storage> Log<S> {
    /// A check of the segment at `base_offset`, if there is one.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub fn begin_check(&self, base_offset: i64) -> Result<Option<SegmentCheck<S>>, ReadError> {
        let segment = &self.segments[self.segment_of(base_offset)];
        if segment.base_offset != base_offset {
            return Ok(None);
        }
        let file = segment.reader(&self.home).map_err(|error| self.cannot_read(error))?;
        Ok(Some(SegmentCheck { file, base_offset, size: segment.size }))
    }

    /// Reads the batch that has `offset` and checks it, header and checksum; the batch if it is corrupt, or lies where the
    /// disk cannot be read (EIO): its bytes are as good as flipped.
    ///
    /// # Errors
    /// When the file cannot be read for another reason.
    pub fn check_batch(&mut self, offset: i64) -> Result<Option<CorruptBatch>, ReadError> {
        let index = self.segment_of(offset);
        let file = self.home.path(SegmentFile::Log, self.segments[index].base_offset);
        let corrupt = |first, last, damage: Damage| {
            let Damage { position, reason, .. } = damage;
            Ok(Some(CorruptBatch {
                base_offset: first,
                last_offset: last,
                file: file.clone(),
                position,
                reason,
            }))
        };
        let unreadable = |position, error: &io::Error| {
            let is_lost = error.raw_os_error() == Some(Errno::IO.raw_os_error());
            is_lost.then(|| Damage {
                position,
                reason: format!("it cannot be read: {error}"),
                cut_short: false,
                old_format: None,
            })
        };
        let found: Found = match self.segments[index].locate(&self.home, offset) {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(damage)) => return corrupt(offset, offset, damage),
            // Where in the file is not known.
            Err(error) => match unreadable(0, &error) {
                Some(damage) => return corrupt(offset, offset, damage),
                None => return Err(self.cannot_read(error)),
            },
        };
        let (first, last) = (found.header.base_offset, found.header.last_offset());
        let reader = self.segments[index].reader(&self.home).map_err(|error| self.cannot_read(error))?;
        match Scan::new(&*reader, found.position, found.end(), Check::Checksum).next() {
            Ok(Ok(_)) => Ok(None),
            Ok(Err(damage)) => corrupt(first, last, damage),
            Err(error) => match unreadable(found.position, &error) {
                Some(damage) => corrupt(first, last, damage),
                None => Err(self.cannot_read(error)),
            },
        }
    }
}
