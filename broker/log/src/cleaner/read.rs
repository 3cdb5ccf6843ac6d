//! Reads the batches of a segment, with their checksums checked.

use std::path::Path;

use taffrail_protocol::record_batch::{BatchError, BatchView, Batches};

use super::{CleanError, Pace};
use crate::cleaner::plan::SegmentState;
use crate::names::SegmentFile;
use crate::segment::Home;
use crate::storage::{Storage, StorageFile};

/// A buffer that segments are read through. It grows to the largest batch.
pub(super) struct SegmentReader {
    io_bytes: usize,
    buffer: Vec<u8>,
}

impl SegmentReader {
    pub fn new(io_bytes: usize) -> Self {
        Self { io_bytes: io_bytes.max(1), buffer: Vec::new() }
    }

    /// Shows each batch of a segment to `look`, until that answers false or fails.
    pub fn for_each_batch<S: Storage, P: Pace>(
        &mut self,
        home: &Home<S>,
        segment: &SegmentState,
        pace: &mut P,
        mut look: impl FnMut(&mut P, &BatchView<'_>) -> Result<bool, CleanError>,
    ) -> Result<(), CleanError> {
        let path = home.path(SegmentFile::Log, segment.base_offset);
        let read_failed = |source| CleanError::Io { path: path.clone(), action: "reading", source };
        // Not through the cache of open files: what is read once in a while shall not close what is read often.
        let file = home.storage.open(&path, crate::storage::Access::Read).map_err(read_failed)?;
        let (mut position, mut next_offset, mut wanted) = (0, segment.base_offset, self.io_bytes);
        while position < segment.size {
            let len = usize::try_from(segment.size - position).unwrap_or(usize::MAX).min(wanted);
            pace.spend(len as u64)?;
            self.buffer.resize(len, 0);
            let read = file.read_at(&mut self.buffer, position).map_err(read_failed)?;
            let mut batches = Batches::new(&self.buffer[..read]);
            wanted = self.io_bytes;
            loop {
                let before = batches.position();
                let corrupt = |source| corrupt(&path, position + before as u64, next_offset, source);
                match batches.next() {
                    None => break,
                    Some(Ok(batch)) => {
                        batch.verify_crc().map_err(corrupt)?;
                        next_offset = batch.header().next_offset();
                        if !look(pace, &batch)? {
                            return Ok(());
                        }
                    }
                    // The rest of it is read next.
                    Some(Err(BatchError::Truncated { .. })) if before > 0 => break,
                    Some(Err(BatchError::Truncated { needed, .. }))
                        if read < needed && position + needed as u64 <= segment.size && read == len =>
                    {
                        wanted = needed;
                        break;
                    }
                    Some(Err(error)) => return Err(corrupt(error)),
                }
            }
            position += batches.position() as u64;
        }
        Ok(())
    }

    /// Gives memory back that only a large batch needed.
    pub fn shrink(&mut self) {
        self.buffer.truncate(self.io_bytes);
        self.buffer.shrink_to(self.io_bytes);
    }
}

fn corrupt(path: &Path, position: u64, offset: i64, source: BatchError) -> CleanError {
    CleanError::Corrupt { path: path.to_owned(), position, offset, source }
}
