//! The settings of one log.

use taffrail_protocol::record_batch::TimestampType;

/// The settings of one log, with Kafka's defaults (`org.apache.kafka.storage.internals.log.LogConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that would grow beyond this is followed by a new one. Bytes.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment whose first batch is older is followed by a new one. Milliseconds.
    pub segment_ms: i64,
    /// Taken off `segment_ms`, drawn by the caller from 0..=`segment.jitter.ms`, so that segments do not all roll at
    /// once. Milliseconds.
    pub segment_jitter_ms: i64,
    /// `max.message.bytes`: a leader appends no larger batch. Bytes.
    pub max_message_bytes: u32,
    /// `index.interval.bytes`: how many bytes of batches lie at least between two index entries.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: a segment whose index would grow beyond this is followed by a new one. Bytes.
    pub segment_index_bytes: u32,
    /// `flush.messages`: [`Log::flush_due`](crate::Log::flush_due) once this many records are not synced.
    pub flush_messages: i64,
    /// `flush.ms`: [`Log::flush_due`](crate::Log::flush_due) once the last sync is that long ago. Milliseconds.
    pub flush_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// Whether offsets may be missing between batches, as they are after compaction (`cleanup.policy`). Where they may
    /// not, recovery takes a gap between two segments that were not synced for lost records.
    pub compact: bool,
    /// `producer.id.expiration.ms`: state of a producer that was silent for longer is forgotten. Milliseconds.
    pub producer_id_expiration_ms: i64,
    /// State is kept of at most so many producers; beyond it those silent longest are forgotten. Apache Kafka has no
    /// such bound, and so none on the memory that clients can make it use.
    pub max_producers: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1024 * 1024 * 1024,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            segment_jitter_ms: 0,
            max_message_bytes: 1_048_588,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 * 1024 * 1024,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            timestamp_type: TimestampType::CreateTime,
            compact: false,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
            max_producers: 100_000,
        }
    }
}
