//! Records in and out: every codec, keys, headers, timestamps, offsets.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, Timestamp, TopicPartitionList};

use crate::broker::{Broker, PATIENCE};
use crate::client::{
    client, consume_all, create_topic, headers, produce, produce_numbers, texts, try_create_topic,
    try_produce,
};

/// A record as sent, of every shape that a record may have.
struct Sent {
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp_ms: i64,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn records_of_every_shape(count: usize) -> Vec<Sent> {
    (0..count)
        .map(|n| Sent {
            partition: (n % 3) as i32,
            key: (n % 4 != 0).then(|| format!("key-{}", n % 7).into_bytes()),
            value: match n % 5 {
                0 => None,
                1 => Some(Vec::new()),
                2 => Some(vec![n as u8; n]),
                _ => Some((0..n % 997).map(|i| (i * n) as u8).collect()),
            },
            timestamp_ms: 1_700_000_000_000 + (n as i64 * 7919) % 100_000,
            headers: match n % 3 {
                0 => Vec::new(),
                1 => vec![("null".to_owned(), None), ("same".to_owned(), Some(vec![0, 255]))],
                _ => {
                    vec![("same".to_owned(), Some(Vec::new())), ("same".to_owned(), Some(b"again".to_vec()))]
                }
            },
        })
        .collect()
}

impl Sent {
    fn record(&self, topic: &'static str) -> FutureRecord<'_, [u8], [u8]> {
        let mut record = FutureRecord::to(topic).partition(self.partition).timestamp(self.timestamp_ms);
        record.key = self.key.as_deref();
        record.payload = self.value.as_deref();
        if !self.headers.is_empty() {
            record.headers = Some(self.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_ref() })
            }));
        }
        record
    }

    fn assert_is(&self, got: &OwnedMessage) {
        assert_eq!(got.key(), self.key.as_deref());
        assert_eq!(got.payload(), self.value.as_deref());
        assert_eq!(got.timestamp(), Timestamp::CreateTime(self.timestamp_ms));
        assert_eq!(headers(got), self.headers);
    }
}

fn every_shape_comes_back(codec: &str) {
    let broker = Broker::start();
    create_topic(&broker, "shapes", 3);
    let sent = records_of_every_shape(1_500);
    let producer: FutureProducer = client(&broker, &[("compression.type", codec), ("linger.ms", "50")]);
    let delivered = produce(&producer, sent.iter().map(|sent| sent.record("shapes")));
    let found = consume_all(&broker, "shapes");
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), sent.len());
    for (sent, delivery) in sent.iter().zip(delivered) {
        let got = &found[&sent.partition][usize::try_from(delivery.offset).unwrap()];
        assert_eq!((got.partition(), got.offset()), (sent.partition, delivery.offset));
        sent.assert_is(got);
    }
}

#[test]
fn records_of_every_shape_come_back_uncompressed() {
    every_shape_comes_back("none");
}

#[test]
fn records_of_every_shape_come_back_through_gzip() {
    every_shape_comes_back("gzip");
}

#[test]
fn records_of_every_shape_come_back_through_snappy() {
    every_shape_comes_back("snappy");
}

#[test]
fn records_of_every_shape_come_back_through_lz4() {
    every_shape_comes_back("lz4");
}

#[test]
fn records_of_every_shape_come_back_through_zstd() {
    every_shape_comes_back("zstd");
}

#[test]
fn the_broker_keeps_compressed_batches_compressed() {
    let broker = Broker::start();
    create_topic(&broker, "zeros", 1);
    let producer: FutureProducer = client(&broker, &[("compression.type", "zstd"), ("linger.ms", "50")]);
    let zeros = vec![0u8; 100_000];
    produce(&producer, (0..10).map(|_| FutureRecord::to("zeros").partition(0).payload(&zeros[..])));
    let segment = broker.log_dir().join("zeros-0/00000000000000000000.log");
    assert!(std::fs::metadata(segment).unwrap().len() < 10_000);
}

#[test]
fn fewer_acknowledgements_are_served_too() {
    let broker = Broker::start();
    create_topic(&broker, "acks", 1);
    for acks in ["1", "0", "all"] {
        let producer: FutureProducer = client(&broker, &[("acks", acks)]);
        produce(&producer, [FutureRecord::to("acks").partition(0).payload(acks.as_bytes())]);
    }
    // The record of acks=0 travelled on a connection of its own and may come after that of acks=all.
    crate::broker::eventually("all three are there", || texts(&broker, "acks").len() == 3);
}

/// The next record; librdkafka's poll may also return early with nothing.
fn next(consumer: &BaseConsumer) -> OwnedMessage {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            return message.unwrap().detach();
        }
        assert!(Instant::now() < deadline, "no record came");
    }
}

#[test]
fn a_fetch_may_begin_in_the_middle_of_a_batch() {
    let broker = Broker::start();
    create_topic(&broker, "middle", 1);
    produce_numbers(&broker, "middle", 100);
    for start in [99, 37, 1] {
        let consumer: BaseConsumer = client(&broker, &[("group.id", "middle")]);
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset("middle", 0, Offset::Offset(start)).unwrap();
        consumer.assign(&assignment).unwrap();
        let first = next(&consumer);
        assert_eq!(first.offset(), start);
        assert_eq!(first.payload(), Some(start.to_string().as_bytes()));
    }
}

#[test]
fn offsets_are_found_by_time() {
    let broker = Broker::start();
    create_topic(&broker, "times", 1);
    let producer: FutureProducer = client(&broker, &[]);
    // Batches of ten records; within a batch, time does not only rise.
    for batch in 0..10i64 {
        let times = (0..10i64).map(|n| 1_000_000 + batch * 1_000 + (n * 7) % 10 * 10);
        let records =
            times.map(|time| FutureRecord::to("times").partition(0).payload(&b"x"[..]).timestamp(time));
        produce(&producer, records);
    }
    let consumer: BaseConsumer = client(&broker, &[("group.id", "times")]);
    assert_eq!(consumer.fetch_watermarks("times", 0, PATIENCE).unwrap(), (0, 100));
    let offset_at = |time: i64| {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset("times", 0, Offset::Offset(time)).unwrap();
        let found = consumer.offsets_for_times(asked, PATIENCE).unwrap();
        found.find_partition("times", 0).unwrap().offset()
    };
    assert_eq!(offset_at(0), Offset::Offset(0));
    assert_eq!(offset_at(1_000_000), Offset::Offset(0));
    // The first record at or after that time: 0, 70, 40, … lie at offsets 0, 1, 2, …
    assert_eq!(offset_at(1_000_050), Offset::Offset(1));
    assert_eq!(offset_at(1_000_080), Offset::Offset(4));
    assert_eq!(offset_at(1_005_000), Offset::Offset(50));
    assert_eq!(offset_at(1_009_091), Offset::End);
}

#[test]
fn a_waiting_consumer_gets_a_record_when_it_comes() {
    let broker = Broker::start();
    create_topic(&broker, "waiting", 1);
    let consumer: BaseConsumer =
        client(&broker, &[("group.id", "w"), ("fetch.wait.max.ms", "50000"), ("socket.timeout.ms", "60000")]);
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset("waiting", 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    assert!(consumer.poll(Duration::from_millis(500)).is_none());
    produce_numbers(&broker, "waiting", 1);
    let start = Instant::now();
    assert_eq!(next(&consumer).offset(), 0);
    assert!(
        start.elapsed() < Duration::from_secs(25),
        "the record waited for the end of the fetch's patience"
    );
}

#[test]
fn producing_creates_the_topic() {
    let broker = Broker::start_with(&["num.partitions=3"]);
    let producer: FutureProducer = client(&broker, &[]);
    produce(&producer, [FutureRecord::to("made-by-producing").payload(&b"hello"[..])]);
    let found = consume_all(&broker, "made-by-producing");
    assert_eq!(found.len(), 3);
    assert_eq!(found.values().flatten().count(), 1);
}

#[test]
fn producing_creates_no_topic_where_that_is_switched_off() {
    let broker = Broker::start_with(&["auto.create.topics.enable=false"]);
    let producer: FutureProducer = client(&broker, &[("topic.metadata.propagation.max.ms", "10")]);
    let record = FutureRecord::to("not-there").payload(&b"hello"[..]);
    let refused = try_produce(&producer, [record]).remove(0).unwrap_err();
    assert!(
        matches!(
            refused,
            KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopic)
                | KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopicOrPartition)
        ),
        "{refused:?}"
    );
}

#[test]
fn a_batch_above_the_topics_limit_is_refused_and_the_next_is_taken() {
    let broker = Broker::start();
    try_create_topic(&broker, "limited", 1, &[("max.message.bytes", "5000")]).unwrap();
    let producer: FutureProducer = client(&broker, &[("batch.num.messages", "1")]);
    let (large, small) = (vec![1u8; 6_000], vec![1u8; 4_000]);
    let record = |value| FutureRecord::to("limited").partition(0).payload(value);
    let refused = try_produce(&producer, [record(&large[..])]).remove(0);
    assert!(
        matches!(refused, Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge))),
        "{refused:?}"
    );
    assert_eq!(produce(&producer, [record(&small[..])])[0].offset, 0);
}

#[test]
fn small_segments_are_rolled_and_read_as_one_log() {
    let broker = Broker::start();
    try_create_topic(&broker, "rolled", 1, &[("segment.bytes", "4096")]).unwrap();
    for _ in 0..20 {
        produce_numbers(&broker, "rolled", 100);
    }
    let names = std::fs::read_dir(broker.log_dir().join("rolled-0")).unwrap();
    let segments =
        names.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "log")).count();
    assert!(segments >= 4, "{segments} segments");
    let values = texts(&broker, "rolled");
    let wanted = (0..20).flat_map(|_| 0..100).map(|n: i32| n.to_string());
    assert!(values.into_iter().eq(wanted));
}
