//! Writing batches: for internal topics, and for tests.

use super::header::{CONTROL_MASK, MAGIC, TIMESTAMP_TYPE_MASK, TRANSACTIONAL_MASK};
use super::varint::{put_varint, put_varlong};
use super::view::batch_crc;
use super::{
    BatchError, BatchHeader, CRC_OFFSET, Compression, HEADER_SIZE, LOG_OVERHEAD, NO_PARTITION_LEADER_EPOCH,
    NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP,
};

/// Builds one batch of magic 2, as Kafka's `MemoryRecordsBuilder` does.
///
/// Without more said it is what a producer that is not idempotent sends: base offset 0, no leader epoch, creation
/// time. Records get consecutive offsets.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    header: BatchHeader,
    append_time: Option<i64>,
    records: Vec<u8>,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// Starts a batch whose records will be compressed with `compression`.
    pub fn new(compression: Compression) -> Self {
        let header = BatchHeader {
            base_offset: 0,
            batch_length: 0,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            magic: MAGIC,
            crc: 0,
            attributes: i16::from(compression.code()),
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            record_count: 0,
        };
        Self { header, append_time: None, records: Vec::new(), scratch: Vec::new() }
    }

    /// Sets the first record's offset.
    pub fn base_offset(&mut self, base_offset: i64) -> &mut Self {
        self.header.base_offset = base_offset;
        self
    }

    /// Sets the epoch of the leader that appends the batch.
    pub fn partition_leader_epoch(&mut self, leader_epoch: i32) -> &mut Self {
        self.header.partition_leader_epoch = leader_epoch;
        self
    }

    /// Names the idempotent producer of the batch and the first record's sequence number (KIP-98).
    pub fn producer(&mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> &mut Self {
        self.header.producer_id = producer_id;
        self.header.producer_epoch = producer_epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    pub fn transactional(&mut self) -> &mut Self {
        self.header.attributes |= TRANSACTIONAL_MASK;
        self
    }

    /// Marks the records as control records.
    pub fn control(&mut self) -> &mut Self {
        self.header.attributes |= CONTROL_MASK;
        self
    }

    /// Stamps the batch with the leader's append time (ms since the epoch) instead of the records' creation times.
    pub fn log_append_time(&mut self, timestamp: i64) -> &mut Self {
        self.header.attributes |= TIMESTAMP_TYPE_MASK;
        self.append_time = Some(timestamp);
        self
    }

    /// Adds a record: its timestamp (ms since the epoch, or -1), its key and value (null is not empty), its headers.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> &mut Self {
        let header = &mut self.header;
        if header.record_count == 0 {
            header.base_timestamp = timestamp;
        }
        header.max_timestamp = header.max_timestamp.max(timestamp);
        header.record_count += 1;
        header.last_offset_delta += 1;

        let record = &mut self.scratch;
        record.clear();
        record.push(0);
        put_varlong(record, timestamp.wrapping_sub(header.base_timestamp));
        put_varint(record, header.last_offset_delta);
        put_nullable(record, key);
        put_nullable(record, value);
        put_length(record, headers.len());
        for (name, value) in headers {
            put_nullable(record, Some(name.as_bytes()));
            put_nullable(record, *value);
        }
        put_length(&mut self.records, self.scratch.len());
        self.records.extend_from_slice(&self.scratch);
        self
    }

    /// Number of records added so far.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Size in bytes that the batch would have without compression.
    pub fn uncompressed_size(&self) -> usize {
        HEADER_SIZE + self.records.len()
    }

    /// The batch.
    ///
    /// # Errors
    /// [`BatchError::Empty`] without a record, [`BatchError::TooLarge`] when it does not fit into its 31-bit length
    /// field, [`BatchError::Compression`] when the codec fails.
    pub fn build(&self) -> Result<Vec<u8>, BatchError> {
        if self.header.record_count == 0 {
            return Err(BatchError::Empty);
        }
        let limit = i32::MAX as usize;
        if self.uncompressed_size() > limit {
            return Err(BatchError::TooLarge { size: self.uncompressed_size(), limit });
        }
        let max_timestamp = self.append_time.unwrap_or(self.header.max_timestamp);
        let mut bytes = Vec::new();
        put_batch(&mut bytes, BatchHeader { max_timestamp, ..self.header }, &self.records)?;
        Ok(bytes)
    }
}

/// Appends a batch of these records, compressed as `header` says, and returns its header with length and checksum. After an
/// error `out` is as it was.
pub(super) fn put_batch(
    out: &mut Vec<u8>,
    mut header: BatchHeader,
    records: &[u8],
) -> Result<BatchHeader, BatchError> {
    let compression = header.compression()?;
    let start = out.len();
    out.resize(start + HEADER_SIZE, 0);
    let compressed = compression.compress(records, out);
    let size = out.len() - start;
    let length = i32::try_from(size - LOG_OVERHEAD);
    let length = length.map_err(|_| BatchError::TooLarge { size, limit: i32::MAX as usize });
    match compressed.and(length) {
        Ok(length) => header.batch_length = length,
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    }
    let batch = &mut out[start..];
    batch[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
    header.crc = batch_crc(batch);
    batch[CRC_OFFSET..CRC_OFFSET + size_of::<u32>()].copy_from_slice(&header.crc.to_be_bytes());
    Ok(header)
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_length(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends a length. One beyond 31 bits is cut here and refused by [`BatchBuilder::build`], as its bytes follow.
fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, length as i32);
}
