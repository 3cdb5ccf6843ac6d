//! Against the `kafka-protocol` crate, both directions.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as other;
use proptest::prelude::*;

use super::properties::{Spec, append_all, codec, specs};
use crate::record_batch::*;

#[derive(Debug, Clone, Copy)]
struct Producer {
    id: i64,
    epoch: i16,
    sequence: i32,
    transactional: bool,
}

fn producer() -> impl Strategy<Value = Producer> {
    let some = (0..i64::MAX, 0..i16::MAX, 0..1_000_000i32, any::<bool>());
    prop_oneof![
        Just(Producer { id: -1, epoch: -1, sequence: -1, transactional: false }),
        some.prop_map(|(id, epoch, sequence, transactional)| Producer { id, epoch, sequence, transactional }),
    ]
}

fn theirs(compression: Compression) -> other::Compression {
    match compression {
        Compression::None => other::Compression::None,
        Compression::Gzip => other::Compression::Gzip,
        Compression::Snappy => other::Compression::Snappy,
        Compression::Lz4 => other::Compression::Lz4,
        Compression::Zstd => other::Compression::Zstd,
    }
}

/// Makes records that both can write: their base timestamp is the smallest, ours the first, and their headers are a map.
fn common(mut specs: Vec<Spec>) -> Vec<Spec> {
    specs.sort_by_key(|spec| spec.0);
    let first = specs[0].0;
    for (timestamp, _, _, headers) in &mut specs {
        *timestamp = (*timestamp).min(first.saturating_add(1 << 50));
        let unique: IndexMap<_, _> = headers.drain(..).collect();
        headers.extend(unique);
    }
    specs
}

fn their_records(
    specs: &[Spec],
    base_offset: i64,
    leader_epoch: i32,
    producer: Producer,
) -> Vec<other::Record> {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Bytes::from);
    let record = |(index, (timestamp, key, value, headers)): (i32, &Spec)| other::Record {
        transactional: producer.transactional,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: leader_epoch,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        timestamp_type: other::TimestampType::Creation,
        offset: base_offset + i64::from(index),
        sequence: producer.sequence.wrapping_add(index),
        timestamp: *timestamp,
        key: bytes(key),
        value: bytes(value),
        headers: headers.iter().map(|(name, value)| (StrBytes::from(name.clone()), bytes(value))).collect(),
    };
    (0..).zip(specs).map(record).collect()
}

fn our_batch(
    specs: &[Spec],
    codec: Compression,
    base_offset: i64,
    leader_epoch: i32,
    producer: Producer,
) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    builder.base_offset(base_offset).partition_leader_epoch(leader_epoch);
    builder.producer(producer.id, producer.epoch, producer.sequence);
    if producer.transactional {
        builder.transactional();
    }
    append_all(&mut builder, specs);
    builder.build().unwrap()
}

fn their_batch(records: &[other::Record], codec: Compression) -> Vec<u8> {
    let options = other::RecordEncodeOptions { version: 2, compression: theirs(codec) };
    let mut out = BytesMut::new();
    other::RecordBatchEncoder::encode(&mut out, records, &options).unwrap();
    out.to_vec()
}

proptest! {
    #[test]
    fn they_read_what_we_write(
        specs in specs().prop_map(common), codec in codec(), producer in producer(), offset in 0..1i64 << 40,
        leader_epoch in -1..i32::MAX,
    ) {
        let batch = our_batch(&specs, codec, offset, leader_epoch, producer);
        let decoded = other::RecordBatchDecoder::decode(&mut Bytes::from(batch)).unwrap();
        prop_assert_eq!(decoded.compression, theirs(codec));
        let mut expected = their_records(&specs, offset, leader_epoch, producer);
        for (index, record) in (0..).zip(&mut expected) {
            record.sequence = producer.sequence.wrapping_add(index);
        }
        prop_assert_eq!(decoded.records, expected);
    }

    #[test]
    fn we_read_what_they_write(
        specs in specs().prop_map(common), codec in codec(), producer in producer(), offset in 0..1i64 << 40,
        leader_epoch in -1..i32::MAX,
    ) {
        let batch = their_batch(&their_records(&specs, offset, leader_epoch, producer), codec);
        let view = BatchView::new(&batch).unwrap();
        view.verify_crc().unwrap();
        let ours = our_batch(&specs, Compression::None, offset, leader_epoch, producer);
        let ours = BatchView::new(&ours).unwrap();
        let records = view.records(1 << 20).unwrap();
        prop_assert_eq!(records.bytes(), ours.payload());
        let header = BatchHeader {
            attributes: view.header().attributes & !7,
            crc: ours.header().crc,
            batch_length: ours.header().batch_length,
            ..*view.header()
        };
        prop_assert_eq!(header, *ours.header());
        if codec == Compression::None {
            prop_assert_eq!(view.bytes(), ours.bytes());
        }
    }
}
