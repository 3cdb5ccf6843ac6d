//! Record batches of magic 2, the unit that producers send, logs store and consumers fetch.
//!
//! A batch is handled as the bytes it is: [`BatchHeader`] and [`BatchView`] look at them, [`BatchMut`] patches the
//! few fields that a broker assigns, [`validate_produced`] decides whether a client's batch may enter a log. Records
//! are only walked where somebody asks for them ([`BatchView::records`]). [`BatchBuilder`] writes batches, [`BatchRewriter`]
//! writes them anew with some of their records.
//!
//! The format is that of `org.apache.kafka.common.record.DefaultRecordBatch` and `DefaultRecord` (KIP-98, KIP-82).

mod batch_mut;
mod builder;
mod compression;
mod error;
mod header;
mod record;
mod retain;
mod validate;
mod varint;
mod view;

pub use batch_mut::BatchMut;
pub use builder::BatchBuilder;
pub use compression::Compression;
pub use error::BatchError;
pub use header::{
    ATTRIBUTES_OFFSET, BASE_OFFSET_OFFSET, BASE_SEQUENCE_OFFSET, BASE_TIMESTAMP_OFFSET, BATCH_LENGTH_OFFSET,
    BatchHeader, CRC_OFFSET, HEADER_SIZE, LAST_OFFSET_DELTA_OFFSET, LOG_OVERHEAD, MAGIC_OFFSET,
    MAX_TIMESTAMP_OFFSET, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
    NO_TIMESTAMP, PARTITION_LEADER_EPOCH_OFFSET, PRODUCER_EPOCH_OFFSET, PRODUCER_ID_OFFSET,
    RECORD_COUNT_OFFSET, TimestampType, decrement_sequence, increment_sequence,
};
pub use record::{
    RawRecord, RawRecords, RecordHeader, RecordHeaders, RecordIter, RecordView, Records, RecordsSummary,
};
pub use retain::{BatchRewriter, Rewriting, write_empty};
pub use validate::{ProduceLimits, validate_produced};
pub use view::{BatchView, Batches};

#[cfg(test)]
mod tests;
