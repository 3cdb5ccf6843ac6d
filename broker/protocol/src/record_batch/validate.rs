//! Whether a client's batch may enter a log.

use super::{BatchError, BatchHeader, BatchView, NO_TIMESTAMP, TimestampType};

/// What a topic allows of a produced batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceLimits {
    /// Largest batch in bytes, as it is sent (topic configuration `max.message.bytes`).
    pub max_message_bytes: usize,
}

/// Checks a batch that a client produced, as far as that goes without its records: `bytes` hold exactly one batch of
/// magic 2 whose size, CRC, counts, codec, timestamps and producer fields are sound. These are the checks of Kafka's
/// `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords` and `LogValidator.validateBatch`.
/// [`super::Records::check`] walks the records.
///
/// A maximum timestamp of -1 is let through, because older clients leave it out; the caller finds the real one with
/// [`super::Records::check`] and stores it with [`super::BatchMut::set_max_timestamp_and_type`], as Kafka does.
///
/// # Errors
/// The first check that fails; [`BatchError::error_code`] is what the client is told.
pub fn validate_produced(bytes: &[u8], limits: &ProduceLimits) -> Result<BatchHeader, BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::Empty);
    }
    let view = BatchView::new(bytes)?;
    if bytes.len() > limits.max_message_bytes {
        return Err(BatchError::TooLarge { size: bytes.len(), limit: limits.max_message_bytes });
    }
    view.verify_crc()?;
    let header = *view.header();
    check_offsets(&header)?;
    header.compression()?;
    if header.is_control() {
        return Err(BatchError::ControlBatch);
    }
    check_timestamps(&header)?;
    check_producer(&header)?;
    Ok(header)
}

fn check_offsets(header: &BatchHeader) -> Result<(), BatchError> {
    let BatchHeader { base_offset, record_count, last_offset_delta, .. } = *header;
    if base_offset != 0 {
        return Err(BatchError::InvalidBaseOffset { base_offset });
    }
    if record_count <= 0 || last_offset_delta != record_count - 1 {
        return Err(BatchError::InvalidCount { record_count, last_offset_delta });
    }
    Ok(())
}

fn check_timestamps(header: &BatchHeader) -> Result<(), BatchError> {
    let BatchHeader { base_timestamp, max_timestamp, .. } = *header;
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::LogAppendTimeFromClient);
    }
    if max_timestamp < base_timestamp && max_timestamp != NO_TIMESTAMP {
        return Err(BatchError::InvalidTimestamps { base_timestamp, max_timestamp });
    }
    Ok(())
}

fn check_producer(header: &BatchHeader) -> Result<(), BatchError> {
    let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = *header;
    let sound = match header.has_producer_id() {
        true => producer_epoch >= 0 && base_sequence >= 0,
        false => !header.is_transactional(),
    };
    if !sound {
        return Err(BatchError::InvalidProducer { producer_id, producer_epoch, base_sequence });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
