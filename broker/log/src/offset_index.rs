//! `.index`: from offsets to positions in a segment, sparse (`org.apache.kafka.storage.internals.log.OffsetIndex`).
//!
//! An entry is 8 bytes: the last offset of a batch, relative to the segment's base offset, and the position where that
//! batch begins; both are big-endian 32-bit numbers.

use std::io;
use std::path::Path;

use crate::index_file::IndexFile;
use crate::storage::Storage;

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 8;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetPosition {
    /// The last offset of a batch.
    pub offset: i64,
    /// Where that batch begins in the segment. Bytes.
    pub position: u32,
}

impl OffsetPosition {
    /// The entry's bytes; the offset must be within 2^31 of the base offset.
    pub fn encode(self, base_offset: i64) -> [u8; ENTRY_BYTES] {
        let relative = (self.offset - base_offset) as u32;
        ((u64::from(relative) << 32) | u64::from(self.position)).to_be_bytes()
    }

    /// Reads an entry's bytes.
    pub fn decode(bytes: [u8; ENTRY_BYTES], base_offset: i64) -> Self {
        let both = u64::from_be_bytes(bytes);
        let relative = i64::from((both >> 32) as i32);
        Self { offset: base_offset.saturating_add(relative), position: both as u32 }
    }
}

/// The offset index of one segment.
pub(crate) struct OffsetIndex<S: Storage> {
    base_offset: i64,
    file: IndexFile<S, ENTRY_BYTES>,
}

impl<S: Storage> OffsetIndex<S> {
    pub fn new(base_offset: i64, written: u64) -> Self {
        Self { base_offset, file: IndexFile::new(written) }
    }

    pub fn file(&mut self) -> &mut IndexFile<S, ENTRY_BYTES> {
        &mut self.file
    }

    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// The last entry whose offset is not above `offset`.
    pub fn lookup(&mut self, storage: &S, path: &Path, offset: i64) -> io::Result<Option<OffsetPosition>> {
        let base = self.base_offset;
        let (_, entry) =
            self.file.floor(storage, path, |bytes| OffsetPosition::decode(*bytes, base).offset <= offset)?;
        Ok(entry.map(|bytes| OffsetPosition::decode(bytes, base)))
    }

    pub fn last(&mut self, storage: &S, path: &Path) -> io::Result<Option<OffsetPosition>> {
        let Some(index) = self.len().checked_sub(1) else { return Ok(None) };
        let entry = self.file.get(storage, path, index)?;
        Ok(entry.map(|bytes| OffsetPosition::decode(bytes, self.base_offset)))
    }

    /// Adds an entry; returns whether it is time to write.
    pub fn push(&mut self, entry: OffsetPosition) -> bool {
        self.file.push(entry.encode(self.base_offset))
    }

    /// Forgets entries at `offset` and behind it.
    pub fn truncate_to(&mut self, storage: &S, path: &Path, offset: i64) -> io::Result<()> {
        let base = self.base_offset;
        let (keep, _) =
            self.file.floor(storage, path, |bytes| OffsetPosition::decode(*bytes, base).offset < offset)?;
        self.file.truncate(storage, path, keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Access, MemoryStorage, StorageFile};

    #[test]
    fn entries_are_two_big_endian_numbers() {
        let entry = OffsetPosition { offset: 1_000_007, position: 4096 };
        assert_eq!(entry.encode(1_000_000), [0, 0, 0, 7, 0, 0, 16, 0]);
        assert_eq!(OffsetPosition::decode(entry.encode(1_000_000), 1_000_000), entry);
    }

    #[test]
    fn lookups_agree_whether_entries_are_written_or_gathered() {
        let storage = MemoryStorage::new();
        storage.create_dir_all(Path::new("/d")).unwrap();
        let path = Path::new("/d/00000000000000000100.index");
        storage.open(path, Access::Replace).unwrap();
        let mut index = OffsetIndex::<MemoryStorage>::new(100, 0);
        assert_eq!(index.lookup(&storage, path, 500).unwrap(), None);
        for i in 0..10 {
            index.push(OffsetPosition { offset: 110 + 10 * i, position: 100 * i as u32 });
            if i == 4 {
                index.file().write(&storage, path).unwrap();
            }
        }
        for (offset, position) in
            [(109, None), (110, Some(0)), (155, Some(400)), (160, Some(500)), (999, Some(900))]
        {
            let found = index.lookup(&storage, path, offset).unwrap();
            assert_eq!(found.map(|entry| entry.position), position, "{offset}");
        }
        index.truncate_to(&storage, path, 180).unwrap();
        assert_eq!(index.last(&storage, path).unwrap().unwrap().offset, 170);
        index.truncate_to(&storage, path, 130).unwrap();
        assert_eq!(index.last(&storage, path).unwrap().unwrap().offset, 120);
        assert_eq!(storage.open(path, Access::Read).unwrap().size().unwrap(), 16);
        index.push(OffsetPosition { offset: 131, position: 777 });
        index.file().write(&storage, path).unwrap();
        assert_eq!(index.lookup(&storage, path, 131).unwrap().unwrap().position, 777);
    }
}
