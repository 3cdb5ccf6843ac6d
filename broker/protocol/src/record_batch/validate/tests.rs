use super::*;

use crate::ErrorCode;
use crate::record_batch::*;

const LIMITS: ProduceLimits = ProduceLimits { max_message_bytes: 1024 };

fn batch() -> Vec<u8> {
    BatchBuilder::new(Compression::None)
        .append(1000, Some(b"key"), Some(b"value"), &[("name", Some(b"x")), ("none", None)])
        .append(999, None, None, &[])
        .append(1002, Some(b""), Some(b""), &[])
        .build()
        .unwrap()
}

/// A sound batch with one field overwritten and the CRC made right again.
fn batch_with(at: usize, field: &[u8]) -> Vec<u8> {
    let mut bytes = batch();
    bytes[at..at + field.len()].copy_from_slice(field);
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_OFFSET..]);
    bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn refusal(bytes: &[u8]) -> (BatchError, i16) {
    let error = validate_produced(bytes, &LIMITS).unwrap_err();
    let ErrorCode(code) = error.error_code();
    (error, code)
}

#[test]
fn a_sound_batch_is_accepted_with_every_codec() {
    for compression in Compression::ALL {
        let bytes = BatchBuilder::new(compression).append(5, None, Some(b"value"), &[]).build().unwrap();
        let header = validate_produced(&bytes, &LIMITS).unwrap();
        assert_eq!(header.size_in_bytes(), bytes.len());
        assert_eq!(header.compression(), Ok(compression));
        assert_eq!((header.last_offset(), header.next_offset(), header.record_count), (0, 1, 1));
    }
}

#[test]
fn no_bytes_are_no_batch() {
    assert_eq!(refusal(&[]), (BatchError::Empty, 87));
}

#[test]
fn a_batch_that_is_cut_off_is_truncated_wherever_the_cut_is() {
    let bytes = batch();
    for cut in 1..bytes.len() {
        let needed = if cut < HEADER_SIZE { HEADER_SIZE } else { bytes.len() };
        assert_eq!(refusal(&bytes[..cut]), (BatchError::Truncated { needed, available: cut }, 87));
    }
}

#[test]
fn a_second_batch_is_refused() {
    let bytes = [batch(), batch()].concat();
    let (size, available) = (bytes.len() / 2, bytes.len());
    assert_eq!(refusal(&bytes), (BatchError::TrailingBytes { size, available }, 87));
}

#[test]
fn only_magic_2_is_accepted() {
    for (magic, code) in [(0, 87), (1, 87), (3, 2), (-1, 2)] {
        let bytes = batch_with(MAGIC_OFFSET, &[magic as u8]);
        assert_eq!(refusal(&bytes), (BatchError::UnsupportedMagic { magic }, code));
    }
}

#[test]
fn a_length_that_no_batch_can_have_is_corrupt() {
    for length in [i32::MIN, -1, 0, 13, 14, 48] {
        let bytes = batch_with(BATCH_LENGTH_OFFSET, &length.to_be_bytes());
        assert_eq!(refusal(&bytes), (BatchError::InvalidLength { length }, 2));
    }
    let bytes = batch_with(BATCH_LENGTH_OFFSET, &i32::MAX.to_be_bytes());
    assert!(matches!(refusal(&bytes), (BatchError::Truncated { .. }, 87)));
}

#[test]
fn each_byte_that_the_crc_covers_is_guarded_by_it() {
    let bytes = batch();
    for at in CRC_OFFSET..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x01;
        assert!(matches!(refusal(&damaged), (BatchError::CrcMismatch { .. }, 2)), "byte {at}");
    }
}

#[test]
fn a_batch_may_have_the_limit_in_bytes_and_no_more() {
    let value = vec![7; 4096];
    let bytes = BatchBuilder::new(Compression::None).append(0, None, Some(&value), &[]).build().unwrap();
    let size = bytes.len();
    assert!(validate_produced(&bytes, &ProduceLimits { max_message_bytes: size }).is_ok());
    let error = validate_produced(&bytes, &ProduceLimits { max_message_bytes: size - 1 }).unwrap_err();
    assert_eq!(error, BatchError::TooLarge { size, limit: size - 1 });
    assert_eq!(error.error_code(), ErrorCode(10));
}

#[test]
fn a_base_offset_other_than_0_is_refused() {
    for base_offset in [1, -1, i64::MAX] {
        let bytes = batch_with(BASE_OFFSET_OFFSET, &base_offset.to_be_bytes());
        assert_eq!(refusal(&bytes), (BatchError::InvalidBaseOffset { base_offset }, 87));
    }
}

#[test]
fn a_count_that_is_not_positive_or_differs_from_the_offsets_is_refused() {
    for record_count in [i32::MIN, -1, 0, 2, 4, i32::MAX] {
        let bytes = batch_with(RECORD_COUNT_OFFSET, &record_count.to_be_bytes());
        let expected = BatchError::InvalidCount { record_count, last_offset_delta: 2 };
        assert_eq!(refusal(&bytes), (expected, 87));
    }
    for last_offset_delta in [i32::MIN, -1, 0, 3, i32::MAX] {
        let bytes = batch_with(LAST_OFFSET_DELTA_OFFSET, &last_offset_delta.to_be_bytes());
        assert_eq!(refusal(&bytes), (BatchError::InvalidCount { record_count: 3, last_offset_delta }, 87));
    }
}

#[test]
fn control_batches_and_append_time_are_not_for_clients() {
    assert_eq!(refusal(&batch_with(ATTRIBUTES_OFFSET, &[0, 0x20])), (BatchError::ControlBatch, 87));
    assert_eq!(
        refusal(&batch_with(ATTRIBUTES_OFFSET, &[0, 0x08])),
        (BatchError::LogAppendTimeFromClient, 32)
    );
}

#[test]
fn codes_without_a_codec_are_refused() {
    for code in 5..8 {
        let bytes = batch_with(ATTRIBUTES_OFFSET, &[0, code]);
        assert_eq!(refusal(&bytes), (BatchError::UnknownCompression { code }, 76));
    }
}

#[test]
fn a_maximum_timestamp_before_the_base_is_refused_unless_it_is_none() {
    let bytes = batch_with(MAX_TIMESTAMP_OFFSET, &999i64.to_be_bytes());
    let expected = BatchError::InvalidTimestamps { base_timestamp: 1000, max_timestamp: 999 };
    assert_eq!(refusal(&bytes), (expected, 32));
    assert!(validate_produced(&batch_with(MAX_TIMESTAMP_OFFSET, &(-1i64).to_be_bytes()), &LIMITS).is_ok());
}

#[test]
fn a_missing_maximum_timestamp_is_found_among_the_records_and_stored() {
    let mut bytes = batch_with(MAX_TIMESTAMP_OFFSET, &(-1i64).to_be_bytes());
    let summary = BatchView::new(&bytes).unwrap().records(0).unwrap().check().unwrap();
    assert_eq!((summary.min_timestamp, summary.max_timestamp), (999, 1002));
    assert_eq!((summary.offset_of_max_timestamp, summary.first_without_key), (2, Some(1)));
    let mut batch_mut = BatchMut::new(&mut bytes).unwrap();
    batch_mut.set_max_timestamp_and_type(TimestampType::CreateTime, summary.max_timestamp);
    assert_eq!(bytes, batch());
}

#[test]
fn producer_fields_come_all_or_not_at_all() {
    let producer = |id, epoch, sequence| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.producer(id, epoch, sequence).append(0, None, None, &[]);
        builder
    };
    for (producer_id, producer_epoch, base_sequence) in [(7, -1, 0), (7, 0, -1), (0, -1, -1)] {
        let bytes = producer(producer_id, producer_epoch, base_sequence).build().unwrap();
        let expected = BatchError::InvalidProducer { producer_id, producer_epoch, base_sequence };
        assert_eq!(refusal(&bytes), (expected, 87));
    }
    let header = validate_produced(&producer(7, 0, 0).transactional().build().unwrap(), &LIMITS).unwrap();
    assert!(header.is_transactional() && header.has_producer_id());
    let bytes = producer(-1, -1, -1).transactional().build().unwrap();
    assert!(matches!(refusal(&bytes), (BatchError::InvalidProducer { producer_id: -1, .. }, 87)));
}
