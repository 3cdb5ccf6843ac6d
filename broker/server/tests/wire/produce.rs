//! Produce beyond a single good batch: what is refused, and what idempotent producers rely on.

use taffrail_protocol::messages::fetch::PartitionData;
use taffrail_protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use taffrail_protocol::messages::{
    FetchResponse, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
};
use taffrail_protocol::record_batch::{BatchMut, TimestampType};
use taffrail_protocol::{ErrorCode, Uuid};

use crate::fetch::{fetch_at, records};
use crate::harness::{Broker, Connection, batch, producer_batch};

/// Sends batches to partitions of a topic.
pub fn produce_to(
    topic: &'static str,
    id: Uuid,
    acks: i16,
    batches: Vec<(i32, Vec<u8>)>,
) -> ProduceRequest<'static> {
    let partitions = batches
        .into_iter()
        .map(|(index, records)| PartitionProduceData { index, records: Some(records.into()) });
    let topic = TopicProduceData { name: topic.into(), topic_id: id, partition_data: partitions.collect() };
    ProduceRequest { acks, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

/// Produces one batch and returns its offset.
pub fn produced(
    connection: &mut Connection,
    topic: &'static str,
    id: Uuid,
    partition: i32,
    batch: Vec<u8>,
) -> Result<i64, ErrorCode> {
    let answer: ProduceResponse<'_> =
        connection.ask(&produce_to(topic, id, -1, vec![(partition, batch)]), 13);
    let answer = &answer.responses[0].partition_responses[0];
    match answer.error_code {
        ErrorCode::NONE => Ok(answer.base_offset),
        error => Err(error),
    }
}

/// Asks for an id for an idempotent producer.
pub fn not_transactional() -> InitProducerIdRequest<'static> {
    InitProducerIdRequest { transactional_id: None, ..Default::default() }
}

/// With the bytes from `at` on replaced.
fn changed(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    batch
}

/// With a checksum that is right again.
fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let mut patch = BatchMut::new(&mut batch).unwrap();
    let max_timestamp = patch.header().max_timestamp;
    // Only what changes is sealed anew.
    patch.set_max_timestamp_and_type(TimestampType::LogAppendTime, max_timestamp);
    patch.set_max_timestamp_and_type(TimestampType::CreateTime, max_timestamp);
    batch
}

#[test]
fn bad_batches_are_refused_each_for_itself_and_the_good_ones_beside_them_are_kept() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 12, &[]);
    let good = || batch(&["a", "b"]);
    let length = i32::try_from(good().len()).unwrap() - 12;
    let corrupt = ErrorCode::CORRUPT_MESSAGE;
    let cases = [
        ("good", good(), ErrorCode::NONE),
        ("crc", changed(good(), 17, &[1, 2, 3, 4]), corrupt),
        ("magic 1", changed(good(), 16, &[1]), ErrorCode::INVALID_RECORD),
        ("magic 3", changed(good(), 16, &[3]), corrupt),
        ("too long", changed(good(), 8, &(length + 1).to_be_bytes()), ErrorCode::INVALID_RECORD),
        ("too short", changed(good(), 8, &(length - 1).to_be_bytes()), ErrorCode::INVALID_RECORD),
        ("negative length", changed(good(), 8, &(-1_i32).to_be_bytes()), corrupt),
        ("count", sealed(changed(good(), 57, &3_i32.to_be_bytes())), ErrorCode::INVALID_RECORD),
        ("huge count", sealed(changed(good(), 57, &i32::MAX.to_be_bytes())), ErrorCode::INVALID_RECORD),
        ("last offset", sealed(changed(good(), 23, &5_i32.to_be_bytes())), ErrorCode::INVALID_RECORD),
        ("two batches", [good(), good()].concat(), ErrorCode::INVALID_RECORD),
        ("good as well", good(), ErrorCode::NONE),
    ];
    let batches = (0..).zip(&cases).map(|(partition, (_, batch, _))| (partition, batch.clone())).collect();
    let answer: ProduceResponse<'_> = connection.ask(&produce_to("topic", id, -1, batches), 13);
    let answers = &answer.responses[0].partition_responses;
    let codes: Vec<_> =
        answers.iter().zip(&cases).map(|(answer, (name, ..))| (*name, answer.error_code)).collect();
    let expected: Vec<_> = cases.iter().map(|(name, _, expected)| (*name, *expected)).collect();
    assert_eq!(codes, expected);
    for answer in answers {
        let refused = answer.error_code.is_error();
        assert_eq!(answer.base_offset, if refused { -1 } else { 0 });
        assert_eq!(answer.error_message.is_some(), refused);
    }
    let everything: Vec<_> = (0..12).map(|partition| (partition, 0)).collect();
    let read: FetchResponse<'_> = connection.ask(&fetch_at("topic", id, &everything), 18);
    for (found, (name, _, expected)) in read.responses[0].partitions.iter().zip(&cases) {
        assert_eq!(records(found).is_empty(), expected.is_error(), "{name}");
    }
}

#[test]
fn requests_without_a_batch_are_refused() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    for version in 3..=13 {
        let mut request = produce_to("topic", id, -1, vec![(0, Vec::new())]);
        let answer: ProduceResponse<'_> = connection.ask(&request, version);
        assert!(answer.responses[0].partition_responses[0].error_code.is_error());
        request.topic_data[0].partition_data[0].records = None;
        let answer: ProduceResponse<'_> = connection.ask(&request, version);
        assert!(answer.responses[0].partition_responses[0].error_code.is_error());
    }
    assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["a"])), Ok(0));
}

#[test]
fn a_batch_larger_than_the_topic_takes_is_refused() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let size = batch(&["a"]).len().to_string();
    let id = connection.create_topic("topic", 1, &[("max.message.bytes", size.leak())]);
    assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["a"])), Ok(0));
    assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["ab"])), Err(ErrorCode::MESSAGE_TOO_LARGE));
    assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["b"])), Ok(1));
}

#[test]
fn acks_other_than_0_1_and_all_are_refused_and_nothing_is_kept() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    for acks in [2, -2, i16::MAX, i16::MIN] {
        for version in 3..=13 {
            let request = produce_to("topic", id, acks, vec![(0, batch(&["a"]))]);
            let answer: ProduceResponse<'_> = connection.ask(&request, version);
            let answer = &answer.responses[0].partition_responses[0];
            assert_eq!(answer.error_code, ErrorCode::INVALID_REQUIRED_ACKS);
        }
    }
    assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["a"])), Ok(0));
}

#[test]
fn an_error_with_acks_0_ends_the_connection_and_none_is_silent() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    connection.send(&produce_to("topic", id, 0, vec![(0, batch(&["a"]))]), 13);
    assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["b"])), Ok(1));
    connection.send(&produce_to("topic", id, 0, vec![(1, batch(&["a"]))]), 13);
    connection.assert_closed();
}

#[test]
fn unknown_topics_and_partitions_are_refused() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    let refused = |connection: &mut Connection, topic, id, partition, version| {
        let request = produce_to(topic, id, -1, vec![(partition, batch(&["a"]))]);
        let answer: ProduceResponse<'_> = connection.ask(&request, version);
        answer.responses[0].partition_responses[0].error_code
    };
    let unknown = Uuid([7; 16]);
    assert_eq!(refused(&mut connection, "topic", unknown, 0, 13), ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(refused(&mut connection, "topic", Uuid::ZERO, 0, 13), ErrorCode::UNKNOWN_TOPIC_ID);
    for (topic, partition) in [("nowhere", 0), ("topic", 1), ("topic", -1), ("topic", i32::MIN)] {
        let code = refused(&mut connection, topic, id, partition, 9);
        assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[test]
fn an_idempotent_producer_is_held_to_its_sequence_also_after_a_restart() {
    let mut broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    let given: InitProducerIdResponse = connection.ask(&not_transactional(), 5);
    let send = |connection: &mut Connection, epoch, sequence| {
        let batch = producer_batch(&["a", "b"], Some((given.producer_id, epoch, sequence)));
        produced(connection, "topic", id, 0, batch)
    };
    assert_eq!(send(&mut connection, 0, 0), Ok(0));
    assert_eq!(send(&mut connection, 0, 2), Ok(2));
    assert_eq!(
        send(&mut connection, 0, 0),
        Ok(0),
        "a batch sent again is acknowledged with its first offset"
    );
    assert_eq!(send(&mut connection, 0, 6), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(send(&mut connection, 1, 4), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(send(&mut connection, 1, 0), Ok(4));
    assert_eq!(send(&mut connection, 0, 4), Err(ErrorCode::INVALID_PRODUCER_EPOCH));

    for how in [Broker::kill, Broker::stop] {
        how(&mut broker);
        broker.start_again();
        let mut connection = broker.connect();
        assert_eq!(send(&mut connection, 1, 0), Ok(4), "still known as sent again");
        let behind = send(&mut connection, 1, 6);
        assert_eq!(
            behind,
            Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            "what it lacks may be about to be sent again"
        );
        assert_eq!(send(&mut connection, 0, 4), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
        let fresh: InitProducerIdResponse = connection.ask(&not_transactional(), 5);
        assert!(fresh.producer_id > given.producer_id, "ids are not given twice");
    }
    let mut connection = broker.connect();
    assert_eq!(send(&mut connection, 1, 2), Ok(6));
    assert_eq!(send(&mut connection, 1, 6), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    let read: FetchResponse<'_> = connection.ask(&fetch_at("topic", id, &[(0, 0)]), 18);
    let found: &PartitionData<'_> = &read.responses[0].partitions[0];
    assert_eq!((found.high_watermark, records(found).len()), (8, 4 * batch(&["a", "b"]).len()));
}
