//! The fields of a batch that a leader assigns, patched in place.

use super::header::TIMESTAMP_TYPE_MASK;
use super::view::batch_crc;
use super::{
    ATTRIBUTES_OFFSET, BASE_OFFSET_OFFSET, BatchError, BatchHeader, BatchView, CRC_OFFSET,
    MAX_TIMESTAMP_OFFSET, PARTITION_LEADER_EPOCH_OFFSET, TimestampType,
};

/// Exactly one whole batch whose bytes may be patched.
#[derive(Debug)]
pub struct BatchMut<'a> {
    bytes: &'a mut [u8],
    header: BatchHeader,
}

impl<'a> BatchMut<'a> {
    /// Takes `bytes` as one batch that fills them; the CRC is not checked.
    ///
    /// # Errors
    /// Those of [`BatchView::new`].
    pub fn new(bytes: &'a mut [u8]) -> Result<Self, BatchError> {
        let header = *BatchView::new(bytes)?.header();
        Ok(Self { bytes, header })
    }

    /// The header as it is now.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Sets the base offset, which the CRC does not cover.
    pub fn set_base_offset(&mut self, base_offset: i64) {
        self.header.base_offset = base_offset;
        self.put(BASE_OFFSET_OFFSET, &base_offset.to_be_bytes());
    }

    /// Sets the partition leader epoch, which the CRC does not cover.
    pub fn set_partition_leader_epoch(&mut self, leader_epoch: i32) {
        self.header.partition_leader_epoch = leader_epoch;
        self.put(PARTITION_LEADER_EPOCH_OFFSET, &leader_epoch.to_be_bytes());
    }

    /// Sets the maximum timestamp (ms since the epoch) and what timestamps mean, and the CRC that covers both. It is
    /// how a leader stamps append time, and how it repairs the maximum of a client that does not compute it.
    pub fn set_max_timestamp_and_type(&mut self, timestamp_type: TimestampType, max_timestamp: i64) {
        if self.header.timestamp_type() == timestamp_type && self.header.max_timestamp == max_timestamp {
            return;
        }
        self.header.attributes = match timestamp_type {
            TimestampType::CreateTime => self.header.attributes & !TIMESTAMP_TYPE_MASK,
            TimestampType::LogAppendTime => self.header.attributes | TIMESTAMP_TYPE_MASK,
        };
        self.header.max_timestamp = max_timestamp;
        self.put(ATTRIBUTES_OFFSET, &self.header.attributes.to_be_bytes());
        self.put(MAX_TIMESTAMP_OFFSET, &max_timestamp.to_be_bytes());
        self.header.crc = batch_crc(self.bytes);
        self.put(CRC_OFFSET, &self.header.crc.to_be_bytes());
    }

    fn put(&mut self, at: usize, field: &[u8]) {
        self.bytes[at..at + field.len()].copy_from_slice(field);
    }
}
