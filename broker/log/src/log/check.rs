//! Checking a batch that somebody could not read.

use std::path::PathBuf;

use super::Log;
use crate::error::ReadError;
use crate::names::SegmentFile;
use crate::scan::{Check, Damage, Found, Scan};
use crate::storage::Storage;

/// A batch of the log that is not what was appended.
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

impl<S: Storage> Log<S> {
    /// Reads the batch that has `offset` and checks it, header and checksum; the batch if it is corrupt.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn check_batch(&mut self, offset: i64) -> Result<Option<CorruptBatch>, ReadError> {
        let index = self.segment_of(offset);
        let base_offset = self.segments[index].base_offset;
        let corrupt = |first, last, damage: Damage, home: &crate::segment::Home<S>| CorruptBatch {
            base_offset: first,
            last_offset: last,
            file: home.path(SegmentFile::Log, base_offset),
            position: damage.position,
            reason: damage.reason,
        };
        let found = self.segments[index].locate(&self.home, offset);
        let found: Found = match found.map_err(|error| self.cannot_read(error))? {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(damage) => return Ok(Some(corrupt(offset, offset, damage, &self.home))),
        };
        let file = self.segments[index].reader(&self.home).map_err(|error| self.cannot_read(error))?;
        let checked = Scan::new(&*file, found.position, found.end(), Check::Checksum).next();
        match checked.map_err(|error| self.cannot_read(error))? {
            Ok(_) => Ok(None),
            Err(damage) => {
                let header = &found.header;
                Ok(Some(corrupt(header.base_offset, header.last_offset(), damage, &self.home)))
            }
        }
    }
}
