use crate::record_batch::*;

fn three_records() -> Vec<u8> {
    BatchBuilder::new(Compression::None)
        .base_offset(40)
        .producer(7, 3, i32::MAX - 1)
        .append(1, Some(b"a"), Some(b"1"), &[])
        .append(2, None, Some(b"2"), &[("h", None)])
        .append(3, Some(b"c"), None, &[])
        .build()
        .unwrap()
}

#[test]
fn a_header_is_written_as_it_was_read() {
    let bytes = three_records();
    let header = BatchHeader::parse(&bytes[..HEADER_SIZE]).unwrap();
    assert_eq!(header.to_bytes(), bytes[..HEADER_SIZE]);
    assert_eq!((header.base_offset, header.last_offset(), header.next_offset()), (40, 42, 43));
    assert_eq!((header.producer_id, header.producer_epoch, header.record_count), (7, 3, 3));
    assert_eq!((header.base_timestamp, header.max_timestamp), (1, 3));
    assert_eq!(header.delete_horizon_ms(), None);
}

#[test]
fn sequences_wrap_past_the_largest_to_0() {
    assert_eq!(BatchHeader::parse(&three_records()).unwrap().last_sequence(), 0);
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX - 4, 10), 5);
    assert_eq!(increment_sequence(5, 0), 5);
    assert_eq!(decrement_sequence(0, 1), i32::MAX);
    assert_eq!(decrement_sequence(5, 10), i32::MAX - 4);
    assert_eq!(decrement_sequence(i32::MAX, i32::MAX), 0);
}

#[test]
fn offsets_at_the_end_of_the_range_do_not_overflow() {
    let header = BatchHeader { base_offset: i64::MAX, ..BatchHeader::parse(&three_records()).unwrap() };
    assert_eq!((header.last_offset(), header.next_offset()), (i64::MAX, i64::MAX));
}

#[test]
fn the_delete_horizon_stands_in_the_base_timestamp() {
    let header = BatchHeader { attributes: 0x40, ..BatchHeader::parse(&three_records()).unwrap() };
    assert_eq!(header.delete_horizon_ms(), Some(1));
}

#[test]
fn offset_and_epoch_are_set_without_touching_the_crc() {
    let mut bytes = three_records();
    let mut batch = BatchMut::new(&mut bytes).unwrap();
    let crc = batch.header().crc;
    batch.set_base_offset(1 << 40);
    batch.set_partition_leader_epoch(9);
    let patched = *batch.header();
    let view = BatchView::new(&bytes).unwrap();
    view.verify_crc().unwrap();
    assert_eq!(*view.header(), patched);
    assert_eq!((patched.base_offset, patched.partition_leader_epoch, patched.crc), (1 << 40, 9, crc));
}

#[test]
fn append_time_is_every_records_timestamp_and_the_crc_is_made_anew() {
    let mut bytes = three_records();
    let mut batch = BatchMut::new(&mut bytes).unwrap();
    batch.set_max_timestamp_and_type(TimestampType::LogAppendTime, 5000);
    let patched = *batch.header();
    let view = BatchView::new(&bytes).unwrap();
    view.verify_crc().unwrap();
    assert_eq!(*view.header(), patched);
    assert_eq!((patched.timestamp_type(), patched.max_timestamp), (TimestampType::LogAppendTime, 5000));
    let records = view.records(0).unwrap();
    assert!(records.iter().all(|record| record.unwrap().timestamp == 5000));

    let mut batch = BatchMut::new(&mut bytes).unwrap();
    batch.set_max_timestamp_and_type(TimestampType::CreateTime, 3);
    assert_eq!(bytes, three_records());
}

#[test]
fn the_builder_can_stamp_append_time_itself() {
    let mut bytes = BatchBuilder::new(Compression::Zstd).append(7, None, None, &[]).build().unwrap();
    let stamped =
        BatchBuilder::new(Compression::Zstd).log_append_time(99).append(7, None, None, &[]).build().unwrap();
    BatchMut::new(&mut bytes).unwrap().set_max_timestamp_and_type(TimestampType::LogAppendTime, 99);
    assert_eq!(bytes, stamped);
}

#[test]
fn a_batch_without_records_is_not_built() {
    let builder = BatchBuilder::new(Compression::None);
    assert_eq!((builder.record_count(), builder.uncompressed_size()), (0, HEADER_SIZE));
    assert_eq!(builder.build(), Err(BatchError::Empty));
}

#[test]
fn a_torn_tail_is_told_from_damage() {
    let bytes = [three_records(), three_records()].concat();
    let size = bytes.len() / 2;
    for end in 0..=bytes.len() {
        let mut batches = Batches::new(&bytes[..end]);
        let whole = batches.by_ref().take_while(Result::is_ok).count();
        assert_eq!(whole, end / size, "{end} bytes");
        assert_eq!(batches.position(), whole * size);
        let torn = Batches::new(&bytes[..end]).find_map(Result::err);
        match end % size {
            0 => assert_eq!(torn, None),
            _ => assert!(matches!(torn, Some(BatchError::Truncated { .. })), "{end} bytes: {torn:?}"),
        }
    }

    let zeros = [three_records(), vec![0; 100]].concat();
    let mut batches = Batches::new(&zeros);
    assert!(batches.next().unwrap().is_ok());
    assert_eq!(batches.next().unwrap().unwrap_err(), BatchError::InvalidLength { length: 0 });
    assert_eq!((batches.position(), batches.next().is_none()), (size, true));
}

#[test]
fn messages_name_what_was_found_and_what_is_needed() {
    let bytes = three_records();
    let expected = format!("the record batch ends early: it needs {} bytes and 70 are there", bytes.len());
    assert_eq!(BatchView::new(&bytes[..70]).unwrap_err().to_string(), expected);
}
