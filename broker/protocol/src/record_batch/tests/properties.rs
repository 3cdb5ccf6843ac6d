use proptest::collection::vec;
use proptest::prelude::*;

use crate::record_batch::*;

/// A record to be built: timestamp, key, value, headers.
pub(super) type Spec = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        Just(None),
        Just(Some(vec![])),
        vec(any::<u8>(), 0..80).prop_map(Some),
        vec(0..2u8, 300..400).prop_map(Some)
    ]
}

pub(super) fn specs() -> impl Strategy<Value = Vec<Spec>> {
    let timestamp = prop_oneof![-1..2_000_000_000_000i64, any::<i64>().prop_map(|t| t.max(-1))];
    vec((timestamp, bytes(), bytes(), vec(("[a-z]{0,9}|é", bytes()), 0..4)), 1..20)
}

pub(super) fn codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(Compression::ALL.as_slice())
}

pub(super) fn append_all(builder: &mut BatchBuilder, specs: &[Spec]) {
    for (timestamp, key, value, headers) in specs {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        builder.append(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
}

fn assert_same(records: &Records<'_>, base_offset: i64, specs: &[Spec]) {
    let mut expected = specs.iter().zip(base_offset..);
    for record in records.iter() {
        let (record, (spec, offset)) = (record.unwrap(), expected.next().unwrap());
        assert_eq!((record.offset, record.timestamp), (offset, spec.0));
        assert_eq!((record.key, record.value), (spec.1.as_deref(), spec.2.as_deref()));
        assert_eq!(record.headers.len(), spec.3.len());
        for (header, (name, value)) in record.headers.zip(&spec.3) {
            assert_eq!((header.key, header.value), (name.as_bytes(), value.as_deref()));
        }
    }
    assert!(expected.next().is_none());
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(specs in specs(), codec in codec(), base_offset in 0..1i64 << 62) {
        let mut builder = BatchBuilder::new(codec);
        append_all(builder.base_offset(base_offset), &specs);
        let batch = builder.build().unwrap();
        let view = BatchView::new(&batch).unwrap();
        view.verify_crc().unwrap();
        let limit = builder.uncompressed_size() - HEADER_SIZE;
        let records = view.records(limit).unwrap();
        assert_same(&records, base_offset, &specs);
        let summary = records.check().unwrap();
        prop_assert_eq!(summary.max_timestamp, view.header().max_timestamp);
        prop_assert_eq!(Some(summary.min_timestamp), specs.iter().map(|spec| spec.0).min());
        let keyless = specs.iter().position(|spec| spec.1.is_none());
        prop_assert_eq!(summary.first_without_key, keyless.map(|index| index as i32));
        if codec != Compression::None {
            let too_large = BatchError::DecompressedTooLarge { compression: codec, limit: limit - 1 };
            prop_assert_eq!(view.records(limit - 1).unwrap_err(), too_large);
        }
    }

    #[test]
    fn a_damaged_batch_never_panics_and_never_passes_its_crc(
        specs in specs(), codec in codec(), at in any::<prop::sample::Index>(), to in any::<u8>(), fix_crc: bool,
    ) {
        let mut builder = BatchBuilder::new(codec);
        append_all(&mut builder, &specs);
        let mut batch = builder.build().unwrap();
        let at = at.index(batch.len());
        let changed = batch[at] != to;
        batch[at] = to;
        if fix_crc {
            let crc = crc32c::crc32c(&batch[ATTRIBUTES_OFFSET..]);
            batch[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
        }
        let verdict = validate_produced(&batch, &ProduceLimits { max_message_bytes: usize::MAX });
        let outside_crc = (PARTITION_LEADER_EPOCH_OFFSET..MAGIC_OFFSET).contains(&at);
        prop_assert!(fix_crc || !changed || outside_crc || verdict.is_err());
        if let Ok(view) = BatchView::new(&batch)
            && let Ok(records) = view.records(1 << 16)
        {
            let _ = records.check();
            for record in records.iter().flatten() {
                prop_assert_eq!(record.headers.count(), record.headers.len());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..300), code in 0..8u8) {
        let _ = Batches::new(&bytes).count();
        if let Ok(codec) = Compression::from_code(code) {
            let _ = codec.decompress(&bytes, 1 << 16);
        }
        let sound = BatchBuilder::new(Compression::None).append(0, None, None, &[]).build().unwrap();
        let header = BatchHeader {
            batch_length: (HEADER_SIZE - LOG_OVERHEAD + bytes.len()) as i32, record_count: 3, ..BatchHeader::parse(&sound).unwrap()
        };
        let batch = [&header.to_bytes()[..], &bytes].concat();
        let records = BatchView::new(&batch).unwrap().records(0).unwrap();
        prop_assert!(records.iter().count() <= 4);
    }
}
