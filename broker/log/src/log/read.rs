//! Reading: a read names a range of a file and copies nothing.

use std::sync::Arc;

use super::Log;
use crate::error::ReadError;
use crate::scan::{Damage, Found};
use crate::storage::Storage;

/// A range of a segment's file that begins with a batch. It may end inside of one, as in Apache Kafka.
pub struct FileRange<F> {
    /// The file, for `sendfile` or reads. It may be cut or removed while it is held; reads then come up short.
    pub file: Arc<F>,
    /// Where the range begins. Bytes.
    pub position: u64,
    /// How long it is, at least 1. Bytes.
    pub len: u32,
    /// How long its first batch is, which is more than `len` where the range ends inside of it. Bytes.
    pub first_batch_len: u32,
}

impl<F> std::fmt::Debug for FileRange<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileRange({}+{})", self.position, self.len)
    }
}

/// The answer to a read.
#[derive(Debug)]
pub struct ReadInfo<F> {
    /// The records, or `None` when there are none at that offset yet or none that may be read.
    pub records: Option<FileRange<F>>,
    /// The log's start offset.
    pub log_start_offset: i64,
    /// The log's end offset.
    pub log_end_offset: i64,
}

/// A batch that a read meets.
struct Place {
    position: u64,
    size: u64,
}

impl<S: Storage> Log<S> {
    /// Finds the records from `offset` on, up to `max_offset` (exclusive: the high watermark, say, or the log's end)
    /// and `max_bytes`. The range begins with the batch that has `offset`, which may begin before it. With
    /// `min_one_batch` the first batch is whole, however large (KIP-74).
    ///
    /// # Errors
    /// When `offset` is not between the log's start and its end, or a file cannot be read.
    pub fn read(
        &mut self,
        offset: i64,
        max_bytes: u32,
        min_one_batch: bool,
        max_offset: i64,
    ) -> Result<ReadInfo<S::File>, ReadError> {
        let (log_start_offset, log_end_offset) = (self.log_start_offset, self.log_end_offset);
        if offset < log_start_offset || offset > log_end_offset {
            return Err(ReadError::OutOfRange { offset, log_start_offset, log_end_offset });
        }
        let bound = max_offset.min(log_end_offset);
        let mut records = None;
        if offset < bound && (max_bytes > 0 || min_one_batch) {
            records = self.range(offset, max_bytes, min_one_batch, bound)?;
        }
        Ok(ReadInfo { records, log_start_offset, log_end_offset })
    }

    fn range(
        &mut self,
        offset: i64,
        max_bytes: u32,
        min_one_batch: bool,
        bound: i64,
    ) -> Result<Option<FileRange<S::File>>, ReadError> {
        let mut index = self.segment_of(offset);
        let place = loop {
            if let Some(place) = self.place_of(index, offset)? {
                break place;
            }
            // Compaction may have emptied the end of a segment: the next batch is in the next one.
            index += 1;
            if index == self.segments.len() {
                return Ok(None);
            }
        };
        let whole = match self.segments.get(index + 1) {
            Some(next) => bound >= next.base_offset,
            // What a write or truncation that failed has left behind the end is nobody's.
            None => bound >= self.log_end_offset && self.poisoned.is_none(),
        };
        let end = if whole {
            self.segments[index].size
        } else {
            let place = self.place_of(index, bound)?;
            place.map_or(self.segments[index].size, |place| place.position)
        };
        let size = u32::try_from(place.size).unwrap_or(u32::MAX);
        let most = if min_one_batch { max_bytes.max(size) } else { max_bytes };
        let len = end.saturating_sub(place.position).min(u64::from(most)) as u32;
        if len == 0 {
            return Ok(None);
        }
        let file = self.segments[index].reader(&self.home).map_err(|source| self.cannot_read(source))?;
        Ok(Some(FileRange { file, position: place.position, len, first_batch_len: size }))
    }

    /// The first batch of a segment that ends at `offset` or behind it.
    fn place_of(&mut self, index: usize, offset: i64) -> Result<Option<Place>, ReadError> {
        if index + 1 == self.segments.len()
            && let Some(recent) = self.recent.locate(offset)
        {
            return Ok(Some(Place { position: recent.position, size: recent.size }));
        }
        let found = self.locate(index, offset)?;
        Ok(found.map(|found| Place { position: found.position, size: found.size }))
    }

    pub(super) fn locate(&mut self, index: usize, offset: i64) -> Result<Option<Found>, ReadError> {
        self.used_indexes_of(index);
        let segment = &mut self.segments[index];
        let base_offset = segment.base_offset;
        match segment.locate(&self.home, offset) {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(damage)) => Err(self.damaged(base_offset, damage)),
            Err(source) => Err(self.cannot_read(source)),
        }
    }

    pub(super) fn damaged(&self, base_offset: i64, damage: Damage) -> ReadError {
        let dir = self.home.dir.clone();
        ReadError::Corrupt { dir, base_offset, position: damage.position, reason: damage.reason }
    }

    pub(super) fn cannot_read(&self, source: std::io::Error) -> ReadError {
        ReadError::Io { dir: self.home.dir.clone(), source }
    }
}
