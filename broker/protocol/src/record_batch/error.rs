//! Why bytes are not an acceptable record batch.

use super::Compression;
use crate::ErrorCode;

/// Why bytes are not a record batch, or not one that may enter a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does. At the end of a log it is a torn write, not damage.
    #[error("the record batch ends early: it needs {needed} bytes and {available} are there")]
    Truncated {
        /// Bytes that the header or the whole batch needs.
        needed: usize,
        /// Bytes that were given.
        available: usize,
    },
    /// There is no batch at all.
    #[error("there is no record batch; one with at least one record is needed")]
    Empty,
    /// More bytes follow where exactly one batch was expected.
    #[error("only one record batch is accepted, but it ends after {size} of {available} bytes")]
    TrailingBytes {
        /// Size of the first batch in bytes.
        size: usize,
        /// Bytes that were given.
        available: usize,
    },
    /// The format version is not 2.
    #[error("record batches of magic {magic} are not supported; only magic 2 is (Kafka 0.11 and later)")]
    UnsupportedMagic {
        /// The magic byte found.
        magic: i8,
    },
    /// The length field holds a value that no batch can have.
    #[error("the record batch length {length} is invalid; a batch of magic 2 has at least 49")]
    InvalidLength {
        /// The length field's value.
        length: i32,
    },
    /// The checksum does not match the bytes.
    #[error("the record batch is corrupt: its CRC-32C is {stored:#010x}, its bytes give {computed:#010x}")]
    CrcMismatch {
        /// The CRC in the header.
        stored: u32,
        /// The CRC of the bytes.
        computed: u32,
    },
    /// The batch is larger than `max.message.bytes`.
    #[error("the record batch has {size} bytes, more than the topic's max.message.bytes of {limit}")]
    TooLarge {
        /// Size of the batch in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A client's batch does not start at offset 0.
    #[error("the record batch has base offset {base_offset}; a producer's batch must have 0")]
    InvalidBaseOffset {
        /// The base offset found.
        base_offset: i64,
    },
    /// The record count is not positive, or is not what the last offset delta says.
    #[error(
        "the record batch claims {record_count} records and a last offset delta of {last_offset_delta}; \
             a producer's batch has at least one record and a delta of one less than their number"
    )]
    InvalidCount {
        /// The record count found.
        record_count: i32,
        /// The last offset delta found.
        last_offset_delta: i32,
    },
    /// A client sent a control batch.
    #[error("clients may not write control records")]
    ControlBatch,
    /// The attributes name a codec that does not exist.
    #[error(
        "compression code {code} is unknown; 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) and 4 (zstd) are known"
    )]
    UnknownCompression {
        /// The code found.
        code: u8,
    },
    /// The producer id, its epoch, its sequence and the transactional flag do not fit together.
    #[error(
        "producer id {producer_id}, epoch {producer_epoch} and base sequence {base_sequence} do not fit together; \
             an idempotent producer sets all three, a transactional batch needs them"
    )]
    InvalidProducer {
        /// The producer id found.
        producer_id: i64,
        /// The producer epoch found.
        producer_epoch: i16,
        /// The base sequence found.
        base_sequence: i32,
    },
    /// The maximum timestamp is smaller than the base timestamp.
    #[error(
        "the record batch has maximum timestamp {max_timestamp}, before its base timestamp {base_timestamp}"
    )]
    InvalidTimestamps {
        /// The base timestamp found.
        base_timestamp: i64,
        /// The maximum timestamp found.
        max_timestamp: i64,
    },
    /// A client set the timestamp type that only the leader may set.
    #[error("producers may not set the timestamp type to LogAppendTime")]
    LogAppendTimeFromClient,
    /// A record is malformed.
    #[error("record {index} of the batch is invalid: {reason}")]
    InvalidRecord {
        /// The record's place in the batch, from 0.
        index: i32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The records do not decompress.
    #[error("the records do not decompress with {compression}: {reason}")]
    Decompression {
        /// The codec that the batch names.
        compression: Compression,
        /// What the codec says.
        reason: String,
    },
    /// The records decompress to more bytes than allowed.
    #[error("the records decompress with {compression} to more than the allowed {limit} bytes")]
    DecompressedTooLarge {
        /// The codec that the batch names.
        compression: Compression,
        /// The limit in bytes.
        limit: usize,
    },
    /// The records could not be compressed while building a batch.
    #[error("the records could not be compressed with {compression}: {reason}")]
    Compression {
        /// The codec asked for.
        compression: Compression,
        /// What the codec says.
        reason: String,
    },
}

impl BatchError {
    /// The protocol error that Apache Kafka answers a produce request with in this case. `CORRUPT_MESSAGE` invites
    /// the client to send the batch again, the others do not.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::InvalidLength { .. } | Self::CrcMismatch { .. } => ErrorCode::CORRUPT_MESSAGE,
            // Older formats are what Kafka refuses as invalid; later ones, and nonsense, it takes for damage.
            Self::UnsupportedMagic { magic: 0 | 1 } => ErrorCode::INVALID_RECORD,
            Self::UnsupportedMagic { .. } => ErrorCode::CORRUPT_MESSAGE,
            Self::TooLarge { .. } | Self::DecompressedTooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
            Self::UnknownCompression { .. } => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            Self::InvalidTimestamps { .. } | Self::LogAppendTimeFromClient => ErrorCode::INVALID_TIMESTAMP,
            Self::Truncated { .. }
            | Self::Empty
            | Self::TrailingBytes { .. }
            | Self::InvalidBaseOffset { .. }
            | Self::InvalidCount { .. }
            | Self::ControlBatch
            | Self::InvalidProducer { .. }
            | Self::InvalidRecord { .. }
            | Self::Decompression { .. }
            | Self::Compression { .. } => ErrorCode::INVALID_RECORD,
        }
    }
}
