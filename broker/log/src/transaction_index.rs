//! `.txnindex`: the transactions that were aborted in a segment
//! (`org.apache.kafka.storage.internals.log.TransactionIndex`, `AbortedTxn`).

use std::io;
use std::path::Path;

use crate::error::FormatError;
use crate::names::SegmentFile;
use crate::storage::{Access, Storage, StorageFile};

/// One aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose transaction it was.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
    /// Its abort marker.
    pub last_offset: i64,
    /// The last stable offset when it was aborted.
    pub last_stable_offset: i64,
}

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 34;
/// No transaction index can be meant to be larger.
pub(crate) const MAX_BYTES: u64 = 256 * 1024 * 1024;
const VERSION: i16 = 0;

impl AbortedTransaction {
    /// The entry's bytes.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
        let fields = [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        for (slot, field) in bytes[2..].chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    /// Reads an entry's bytes. As in Apache Kafka a higher version is read too: it may only add fields.
    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let field = |index: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[2 + 8 * index..10 + 8 * index]);
            i64::from_be_bytes(field)
        };
        Self {
            producer_id: field(0),
            first_offset: field(1),
            last_offset: field(2),
            last_stable_offset: field(3),
        }
    }
}

/// Reads a whole file of the segment that begins at `base_offset`; the last offsets must rise.
pub fn decode(bytes: &[u8], base_offset: i64) -> Result<Vec<AbortedTransaction>, FormatError> {
    let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(FormatError::new(format!("has {} bytes, not a multiple of {ENTRY_BYTES}", bytes.len())));
    }
    let entries: Vec<_> = entries.iter().map(AbortedTransaction::decode).collect();
    if entries.iter().any(|entry| entry.last_offset < base_offset) {
        return Err(FormatError::new("has an entry from before its segment"));
    }
    if entries.windows(2).any(|pair| pair[0].last_offset >= pair[1].last_offset) {
        return Err(FormatError::new("has entries that do not rise"));
    }
    Ok(entries)
}

fn read<S: Storage>(storage: &S, dir: &Path, base_offset: i64) -> io::Result<Option<Vec<u8>>> {
    storage.read_small(&SegmentFile::TransactionIndex.path(dir, base_offset), MAX_BYTES)
}

/// Makes the file of the segment that begins at `base_offset` hold these entries; whether it held others. Not durable.
pub(crate) fn replace<S: Storage>(
    storage: &S,
    dir: &Path,
    base_offset: i64,
    aborted: &[AbortedTransaction],
) -> io::Result<bool> {
    let bytes: Vec<u8> = aborted.iter().flat_map(AbortedTransaction::encode).collect();
    let held = read(storage, dir, base_offset)?;
    if held.as_deref().unwrap_or_default() == bytes {
        return Ok(false);
    }
    let path = SegmentFile::TransactionIndex.path(dir, base_offset);
    storage.open(&path, Access::Replace)?.write_all_at(&bytes, 0)?;
    Ok(true)
}

/// Removes the entries of transactions that ended at `offset` or behind it. Durable when this returns.
pub(crate) fn truncate_to<S: Storage>(
    storage: &S,
    dir: &Path,
    base_offset: i64,
    offset: i64,
) -> io::Result<()> {
    let Some(bytes) = read(storage, dir, base_offset)? else { return Ok(()) };
    let entries = bytes.as_chunks::<ENTRY_BYTES>().0;
    let kept = entries.partition_point(|entry| AbortedTransaction::decode(entry).last_offset < offset);
    if kept < entries.len() {
        let file = storage.open(&SegmentFile::TransactionIndex.path(dir, base_offset), Access::Write)?;
        file.set_len((kept * ENTRY_BYTES) as u64)?;
        file.sync()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_and_disorder_is_refused() {
        let entry = |last_offset| AbortedTransaction {
            producer_id: 9,
            first_offset: 4,
            last_offset,
            last_stable_offset: 4,
        };
        let bytes = [entry(10).encode(), entry(12).encode()].concat();
        assert_eq!(decode(&bytes, 0).unwrap(), [entry(10), entry(12)]);
        assert!(decode(&bytes, 11).is_err());
        assert!(decode(&bytes[1..], 0).is_err());
        let bytes = [entry(12).encode(), entry(10).encode()].concat();
        assert!(decode(&bytes, 0).is_err());
    }
}
