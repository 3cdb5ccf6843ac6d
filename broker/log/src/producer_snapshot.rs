//! `.snapshot`: the state of all producers up to the offset in the file's name
//! (`org.apache.kafka.storage.internals.log.ProducerStateManager`, `ProducerSnapshot.json`).
//!
//! A version (int16, 1), a CRC-32C of all that follows it (uint32), a count (int32), and 46 bytes for each producer.

use crate::error::FormatError;

const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const CRC_END: usize = 6;
/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 46;

/// No snapshot can be meant to be larger: a million producers.
pub(crate) const MAX_BYTES: u64 = 1_000_000 * ENTRY_BYTES as u64;

/// One producer's state: what remains of it in a snapshot. -1 stands for none throughout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// The producer.
    pub producer_id: i64,
    /// Its highest epoch.
    pub producer_epoch: i16,
    /// The last sequence number of its last batch.
    pub last_sequence: i32,
    /// The last offset of its last batch.
    pub last_offset: i64,
    /// That batch's last offset, counted from its first.
    pub offset_delta: i32,
    /// That batch's largest timestamp. Milliseconds since 1970.
    pub timestamp: i64,
    /// The epoch of the coordinator that wrote its last transaction marker.
    pub coordinator_epoch: i32,
    /// The first offset of its open transaction.
    pub current_txn_first_offset: i64,
}

/// The file's content.
pub fn encode(entries: impl ExactSizeIterator<Item = SnapshotEntry>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&i32::try_from(entries.len()).unwrap_or(i32::MAX).to_be_bytes());
    for entry in entries {
        bytes.extend_from_slice(&entry.producer_id.to_be_bytes());
        bytes.extend_from_slice(&entry.producer_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.last_sequence.to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset.to_be_bytes());
        bytes.extend_from_slice(&entry.offset_delta.to_be_bytes());
        bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.current_txn_first_offset.to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[CRC_END..]);
    bytes[2..CRC_END].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Reads a file's content.
pub fn decode(bytes: &[u8]) -> Result<Vec<SnapshotEntry>, FormatError> {
    let mut fields = Fields(bytes);
    let version = i16::from_be_bytes(fields.take()?);
    if version != VERSION {
        return Err(FormatError::new(format!("has version {version}, and only version {VERSION} is known")));
    }
    let crc = u32::from_be_bytes(fields.take()?);
    if crc != crc32c::crc32c(fields.0) {
        return Err(FormatError::new("does not match its checksum"));
    }
    let count = usize::try_from(i32::from_be_bytes(fields.take()?)).unwrap_or(usize::MAX);
    if count.checked_mul(ENTRY_BYTES) != Some(fields.0.len()) {
        return Err(FormatError::new("does not have as many entries as it counts"));
    }
    (0..count)
        .map(|_| {
            Ok(SnapshotEntry {
                producer_id: i64::from_be_bytes(fields.take()?),
                producer_epoch: i16::from_be_bytes(fields.take()?),
                last_sequence: i32::from_be_bytes(fields.take()?),
                last_offset: i64::from_be_bytes(fields.take()?),
                offset_delta: i32::from_be_bytes(fields.take()?),
                timestamp: i64::from_be_bytes(fields.take()?),
                coordinator_epoch: i32::from_be_bytes(fields.take()?),
                current_txn_first_offset: i64::from_be_bytes(fields.take()?),
            })
        })
        .collect()
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (field, rest) = self.0.split_first_chunk().ok_or_else(|| FormatError::new("ends too early"))?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(producer_id: i64) -> SnapshotEntry {
        SnapshotEntry {
            producer_id,
            producer_epoch: 3,
            last_sequence: 99,
            last_offset: 1234,
            offset_delta: 9,
            timestamp: 1_700_000_000_000,
            coordinator_epoch: -1,
            current_txn_first_offset: -1,
        }
    }

    #[test]
    fn entries_read_back() {
        let bytes = encode([entry(1), entry(2)].into_iter());
        assert_eq!(bytes.len(), HEADER_BYTES + 2 * ENTRY_BYTES);
        assert_eq!(decode(&bytes).unwrap(), [entry(1), entry(2)]);
        assert_eq!(decode(&encode([].into_iter())).unwrap(), []);
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let bytes = encode([entry(1), entry(2)].into_iter());
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x10;
            assert!(decode(&changed).is_err(), "byte {index}");
            assert!(decode(&bytes[..index]).is_err(), "cut at {index}");
        }
    }
}
