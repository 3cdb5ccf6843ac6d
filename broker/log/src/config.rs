//! The settings of one log.

use taffrail_protocol::record_batch::TimestampType;

/// The settings of one log, with Kafka's defaults (`org.apache.kafka.storage.internals.log.LogConfig`).
#[derive(Debug, Clone, PartialEq)]
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
    /// Whether old segments are deleted (`cleanup.policy`).
    pub delete: bool,
    /// `retention.ms`: segments whose records are all older are deleted; -1 for never. Milliseconds.
    pub retention_ms: i64,
    /// `retention.bytes`: the oldest segments are deleted while so much is left without them; -1 for never. Bytes.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: how long the files of a deleted segment stay. Milliseconds.
    pub file_delete_delay_ms: i64,
    /// Whether only the latest record of each key is kept (`cleanup.policy`). Offsets may then be missing between batches;
    /// where they may not, recovery takes a gap between two segments that were not synced for lost records.
    pub compact: bool,
    /// `min.cleanable.dirty.ratio`: the share of the log that must be new since it was compacted last.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: segments with younger records are not compacted. Milliseconds.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: records that have waited longer are compacted, however few. Milliseconds.
    pub max_compaction_lag_ms: i64,
    /// `delete.retention.ms`: how long a tombstone or a transaction's marker is kept after it was first seen by a
    /// compaction. Milliseconds.
    pub delete_retention_ms: i64,
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
            delete: true,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            compact: false,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 24 * 60 * 60 * 1000,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
            max_producers: 100_000,
        }
    }
}
