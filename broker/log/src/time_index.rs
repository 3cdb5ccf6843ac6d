//! `.timeindex`: from timestamps to offsets in a segment, sparse (`org.apache.kafka.storage.internals.log.TimeIndex`).
//!
//! An entry is 12 bytes, big-endian: the largest timestamp up to some point of the segment (64 bits), and the last
//! offset of the batch that has it, relative to the segment's base offset (32 bits). Timestamps rise strictly.

use std::io;
use std::path::Path;

use crate::index_file::IndexFile;
use crate::storage::Storage;

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 12;

/// One entry, or a record's place in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Milliseconds since 1970; -1 where there is none.
    pub timestamp: i64,
    /// An offset that belongs to it.
    pub offset: i64,
}

impl TimestampOffset {
    /// The entry's bytes; the offset must be within 2^31 of the base offset.
    pub fn encode(self, base_offset: i64) -> [u8; ENTRY_BYTES] {
        let relative = (self.offset - base_offset) as u32;
        let both = (self.timestamp as u64 as u128) << 32 | u128::from(relative);
        let mut bytes = [0; ENTRY_BYTES];
        bytes.copy_from_slice(&both.to_be_bytes()[4..]);
        bytes
    }

    /// Reads an entry's bytes.
    pub fn decode(bytes: [u8; ENTRY_BYTES], base_offset: i64) -> Self {
        let mut both = [0; 16];
        both[4..].copy_from_slice(&bytes);
        let both = u128::from_be_bytes(both);
        let relative = i64::from(both as u32 as i32);
        Self { timestamp: (both >> 32) as u64 as i64, offset: base_offset.saturating_add(relative) }
    }
}

/// The time index of one segment.
pub(crate) struct TimeIndex<S: Storage> {
    base_offset: i64,
    file: IndexFile<S, ENTRY_BYTES>,
    /// The last entry's timestamp, once it is known.
    last_timestamp: Option<i64>,
}

impl<S: Storage> TimeIndex<S> {
    pub fn new(base_offset: i64, written: u64) -> Self {
        Self { base_offset, file: IndexFile::new(written), last_timestamp: (written == 0).then_some(-1) }
    }

    pub fn file(&mut self) -> &mut IndexFile<S, ENTRY_BYTES> {
        &mut self.file
    }

    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// The last entry whose timestamp is not above `timestamp`.
    pub fn lookup(
        &mut self,
        storage: &S,
        path: &Path,
        timestamp: i64,
    ) -> io::Result<Option<TimestampOffset>> {
        let base = self.base_offset;
        let (_, entry) = self
            .file
            .floor(storage, path, |bytes| TimestampOffset::decode(*bytes, base).timestamp <= timestamp)?;
        Ok(entry.map(|bytes| TimestampOffset::decode(bytes, base)))
    }

    pub fn last(&mut self, storage: &S, path: &Path) -> io::Result<Option<TimestampOffset>> {
        let Some(index) = self.len().checked_sub(1) else { return Ok(None) };
        let entry = self.file.get(storage, path, index)?;
        Ok(entry.map(|bytes| TimestampOffset::decode(bytes, self.base_offset)))
    }

    /// Adds an entry unless its timestamp is no later than the last one's; returns whether it is time to write.
    pub fn push(&mut self, storage: &S, path: &Path, entry: TimestampOffset) -> io::Result<bool> {
        let last = match self.last_timestamp {
            Some(last) => last,
            None => self.last(storage, path)?.map_or(-1, |last| last.timestamp),
        };
        self.last_timestamp = Some(last.max(entry.timestamp));
        Ok(entry.timestamp > last && self.file.push(entry.encode(self.base_offset)))
    }

    /// Forgets entries with offsets at `offset` and behind it.
    pub fn truncate_to(&mut self, storage: &S, path: &Path, offset: i64) -> io::Result<()> {
        let base = self.base_offset;
        let (keep, last) =
            self.file.floor(storage, path, |bytes| TimestampOffset::decode(*bytes, base).offset < offset)?;
        self.last_timestamp = Some(last.map_or(-1, |bytes| TimestampOffset::decode(bytes, base).timestamp));
        self.file.truncate(storage, path, keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Access, MemoryStorage};

    #[test]
    fn entries_are_big_endian_numbers() {
        let entry = TimestampOffset { timestamp: 0x0102_0304_0506_0708, offset: 1003 };
        assert_eq!(entry.encode(1000), [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 3]);
        assert_eq!(TimestampOffset::decode(entry.encode(1000), 1000), entry);
    }

    #[test]
    fn only_later_timestamps_are_added_also_after_a_truncation() {
        let storage = MemoryStorage::new();
        storage.create_dir_all(Path::new("/d")).unwrap();
        let path = Path::new("/d/00000000000000000000.timeindex");
        storage.open(path, Access::Replace).unwrap();
        let mut index = TimeIndex::<MemoryStorage>::new(0, 0);
        for (timestamp, offset) in [(50, 1), (50, 2), (40, 3), (60, 4), (70, 9)] {
            index.push(&storage, path, TimestampOffset { timestamp, offset }).unwrap();
        }
        assert_eq!(index.len(), 3);
        index.file().write(&storage, path).unwrap();
        assert_eq!(
            index.lookup(&storage, path, 65).unwrap(),
            Some(TimestampOffset { timestamp: 60, offset: 4 })
        );
        assert_eq!(index.lookup(&storage, path, 49).unwrap(), None);
        index.truncate_to(&storage, path, 4).unwrap();
        index.push(&storage, path, TimestampOffset { timestamp: 55, offset: 5 }).unwrap();
        assert_eq!(index.last(&storage, path).unwrap(), Some(TimestampOffset { timestamp: 55, offset: 5 }));
        let mut reopened = TimeIndex::<MemoryStorage>::new(0, 1);
        reopened.push(&storage, path, TimestampOffset { timestamp: 50, offset: 6 }).unwrap();
        assert_eq!(reopened.len(), 1);
    }
}
