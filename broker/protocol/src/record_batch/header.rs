//! The 61-byte batch header: where each field lies and what it says.

use super::{BatchError, Compression};

/// Where the base offset lies in a batch (int64).
pub const BASE_OFFSET_OFFSET: usize = 0;
/// Where the batch length lies in a batch (int32): the bytes after this field.
pub const BATCH_LENGTH_OFFSET: usize = 8;
/// Where the partition leader epoch lies in a batch (int32).
pub const PARTITION_LEADER_EPOCH_OFFSET: usize = 12;
/// Where the magic byte lies in a batch (int8); the same place in every format version.
pub const MAGIC_OFFSET: usize = 16;
/// Where the CRC-32C lies in a batch (uint32).
pub const CRC_OFFSET: usize = 17;
/// Where the attributes lie in a batch (int16); from here to the end the CRC covers every byte.
pub const ATTRIBUTES_OFFSET: usize = 21;
/// Where the last offset delta lies in a batch (int32).
pub const LAST_OFFSET_DELTA_OFFSET: usize = 23;
/// Where the base timestamp lies in a batch (int64).
pub const BASE_TIMESTAMP_OFFSET: usize = 27;
/// Where the maximum timestamp lies in a batch (int64).
pub const MAX_TIMESTAMP_OFFSET: usize = 35;
/// Where the producer id lies in a batch (int64).
pub const PRODUCER_ID_OFFSET: usize = 43;
/// Where the producer epoch lies in a batch (int16).
pub const PRODUCER_EPOCH_OFFSET: usize = 51;
/// Where the base sequence lies in a batch (int32).
pub const BASE_SEQUENCE_OFFSET: usize = 53;
/// Where the record count lies in a batch (int32).
pub const RECORD_COUNT_OFFSET: usize = 57;
/// Size of the header in bytes; the records, compressed or not, follow it.
pub const HEADER_SIZE: usize = 61;
/// Bytes of a batch that its length field does not count: base offset and the length itself.
pub const LOG_OVERHEAD: usize = 12;

/// The leader epoch of a batch that no leader has stamped yet.
pub const NO_PARTITION_LEADER_EPOCH: i32 = -1;
/// The producer id of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// The producer epoch that goes with [`NO_PRODUCER_ID`].
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// The base sequence of a batch that carries none.
pub const NO_SEQUENCE: i32 = -1;
/// The timestamp that stands for "none".
pub const NO_TIMESTAMP: i64 = -1;

/// The one format version that is written and accepted.
pub(super) const MAGIC: i8 = 2;
pub(super) const COMPRESSION_MASK: i16 = 0x07;
pub(super) const TIMESTAMP_TYPE_MASK: i16 = 0x08;
pub(super) const TRANSACTIONAL_MASK: i16 = 0x10;
pub(super) const CONTROL_MASK: i16 = 0x20;
pub(super) const DELETE_HORIZON_MASK: i16 = 0x40;

/// Shortest entry of the two older formats after its length field; less is damage in any format.
const MIN_LENGTH_OF_ANY_MAGIC: i32 = 14;
const MIN_LENGTH: i32 = (HEADER_SIZE - LOG_OVERHEAD) as i32;

/// What a batch's timestamps mean (topic configuration `message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's clock when the record was created.
    CreateTime,
    /// The leader's clock when the batch was appended; all records have the batch's maximum timestamp.
    LogAppendTime,
}

/// A batch's header, copied out of its bytes. Field order and names are those of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record the batch was written with (compaction may have removed it since).
    pub base_offset: i64,
    /// Bytes of the batch after this field; at least 49.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch, or [`NO_PARTITION_LEADER_EPOCH`].
    pub partition_leader_epoch: i32,
    /// Format version; always 2 after [`BatchHeader::parse`].
    pub magic: i8,
    /// CRC-32C of all bytes from the attributes on.
    pub crc: u32,
    /// Bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
    pub attributes: i16,
    /// Last offset minus base offset.
    pub last_offset_delta: i32,
    /// Timestamp (ms since the epoch) that the records' deltas count from, or the delete horizon when its flag is set.
    pub base_timestamp: i64,
    /// Largest timestamp of the records, or the append time.
    pub max_timestamp: i64,
    /// Id of the idempotent producer, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// The producer's epoch, or [`NO_PRODUCER_EPOCH`].
    pub producer_epoch: i16,
    /// The first record's sequence number, or [`NO_SEQUENCE`].
    pub base_sequence: i32,
    /// Number of records in the batch now.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may hold less than the whole batch, or more.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] when the header is not all there, [`BatchError::InvalidLength`] for a length field
    /// that no batch can have, [`BatchError::UnsupportedMagic`] for any format but 2.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let truncated = BatchError::Truncated { needed: HEADER_SIZE, available: bytes.len() };
        if let Some(prefix) = bytes.first_chunk::<{ MAGIC_OFFSET + 1 }>() {
            let length = i32::from_be_bytes(field(prefix, BATCH_LENGTH_OFFSET));
            if length < MIN_LENGTH_OF_ANY_MAGIC {
                return Err(BatchError::InvalidLength { length });
            }
            let magic = i8::from_be_bytes(field(prefix, MAGIC_OFFSET));
            if magic != MAGIC {
                return Err(BatchError::UnsupportedMagic { magic });
            }
            if length < MIN_LENGTH {
                return Err(BatchError::InvalidLength { length });
            }
        }
        let header = bytes.first_chunk::<HEADER_SIZE>().ok_or(truncated)?;
        Ok(Self {
            base_offset: i64::from_be_bytes(field(header, BASE_OFFSET_OFFSET)),
            batch_length: i32::from_be_bytes(field(header, BATCH_LENGTH_OFFSET)),
            partition_leader_epoch: i32::from_be_bytes(field(header, PARTITION_LEADER_EPOCH_OFFSET)),
            magic: i8::from_be_bytes(field(header, MAGIC_OFFSET)),
            crc: u32::from_be_bytes(field(header, CRC_OFFSET)),
            attributes: i16::from_be_bytes(field(header, ATTRIBUTES_OFFSET)),
            last_offset_delta: i32::from_be_bytes(field(header, LAST_OFFSET_DELTA_OFFSET)),
            base_timestamp: i64::from_be_bytes(field(header, BASE_TIMESTAMP_OFFSET)),
            max_timestamp: i64::from_be_bytes(field(header, MAX_TIMESTAMP_OFFSET)),
            producer_id: i64::from_be_bytes(field(header, PRODUCER_ID_OFFSET)),
            producer_epoch: i16::from_be_bytes(field(header, PRODUCER_EPOCH_OFFSET)),
            base_sequence: i32::from_be_bytes(field(header, BASE_SEQUENCE_OFFSET)),
            record_count: i32::from_be_bytes(field(header, RECORD_COUNT_OFFSET)),
        })
    }

    /// The header as it stands at the start of a batch.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(BASE_OFFSET_OFFSET, &self.base_offset.to_be_bytes());
        put(BATCH_LENGTH_OFFSET, &self.batch_length.to_be_bytes());
        put(PARTITION_LEADER_EPOCH_OFFSET, &self.partition_leader_epoch.to_be_bytes());
        put(MAGIC_OFFSET, &self.magic.to_be_bytes());
        put(CRC_OFFSET, &self.crc.to_be_bytes());
        put(ATTRIBUTES_OFFSET, &self.attributes.to_be_bytes());
        put(LAST_OFFSET_DELTA_OFFSET, &self.last_offset_delta.to_be_bytes());
        put(BASE_TIMESTAMP_OFFSET, &self.base_timestamp.to_be_bytes());
        put(MAX_TIMESTAMP_OFFSET, &self.max_timestamp.to_be_bytes());
        put(PRODUCER_ID_OFFSET, &self.producer_id.to_be_bytes());
        put(PRODUCER_EPOCH_OFFSET, &self.producer_epoch.to_be_bytes());
        put(BASE_SEQUENCE_OFFSET, &self.base_sequence.to_be_bytes());
        put(RECORD_COUNT_OFFSET, &self.record_count.to_be_bytes());
        bytes
    }

    /// Offset of the last record the batch was written with.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch: the log end offset once it is appended.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Size of the whole batch in bytes, header included.
    pub fn size_in_bytes(&self) -> usize {
        LOG_OVERHEAD + usize::try_from(self.batch_length).unwrap_or(0)
    }

    /// The codec of the records.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`] for one of the three codes that no codec has.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_code((self.attributes & COMPRESSION_MASK) as u8)
    }

    /// What the timestamps mean.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & TIMESTAMP_TYPE_MASK {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_MASK != 0
    }

    /// Whether the records are control records (transaction markers), which consumers never see.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_MASK != 0
    }

    /// Whether the base timestamp holds the time after which tombstones may be removed (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_MASK != 0
    }

    /// The time (ms since the epoch) after which tombstones in the batch may be removed (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Whether an idempotent producer wrote the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The last record's sequence number; sequences go from 0 to 2^31-1 and wrap to 0.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            base => increment_sequence(base, self.last_offset_delta),
        }
    }
}

/// The sequence number `increment` records after `sequence`, wrapping past 2^31-1 to 0.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    ((i64::from(sequence) + i64::from(increment)) & i64::from(i32::MAX)) as i32
}

/// The sequence number `decrement` records before `sequence`, wrapping below 0 to 2^31-1.
pub fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    ((i64::from(sequence) - i64::from(decrement)) & i64::from(i32::MAX)) as i32
}

/// The `N` bytes of a field; every caller names a field that lies inside `bytes`.
fn field<const N: usize, const SIZE: usize>(bytes: &[u8; SIZE], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}
