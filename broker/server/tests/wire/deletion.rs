//! Old records that are deleted: because a client says so, because of their age, because there are too many.

use std::time::{Duration, Instant};

use taffrail_protocol::messages::create_topics::CreatableTopic;
use taffrail_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use taffrail_protocol::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use taffrail_protocol::messages::*;
use taffrail_protocol::{ErrorCode, Uuid};

use crate::admin::{TOPIC, change};
use crate::every_version::offset_of;
use crate::fetch::{fetch_at, records};
use crate::harness::{Broker, Connection, TIMESTAMP, batch};
use crate::produce::produced;
use crate::topics::end_of;

const SET: i8 = 0;
/// Ends a test that would hang; nothing that works takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

fn deletion(topic: &'static str, partitions: &[(i32, i64)]) -> DeleteRecordsRequest<'static> {
    let partition = |(partition_index, offset): &(i32, i64)| DeleteRecordsPartition {
        partition_index: *partition_index,
        offset: *offset,
    };
    let partitions = partitions.iter().map(partition).collect();
    DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic { name: topic.into(), partitions }],
        timeout_ms: 30_000,
    }
}

/// Error code and low watermark of one partition.
fn delete(
    connection: &mut Connection,
    topic: &'static str,
    at: (i32, i64),
    version: i16,
) -> (ErrorCode, i64) {
    let answer: DeleteRecordsResponse<'_> = connection.ask(&deletion(topic, &[at]), version);
    assert_eq!((answer.topics.len(), &*answer.topics[0].name), (1, topic));
    let result = &answer.topics[0].partitions[0];
    assert_eq!(result.partition_index, at.0);
    (result.error_code, result.low_watermark)
}

fn start_of(connection: &mut Connection, topic: &'static str) -> i64 {
    let listed: ListOffsetsResponse<'_> = connection.ask(&offset_of(topic, -2), 10);
    assert_eq!(listed.topics[0].partitions[0].error_code, ErrorCode::NONE);
    listed.topics[0].partitions[0].offset
}

/// Asks until the log starts there.
fn await_start(connection: &mut Connection, topic: &'static str, offset: i64) {
    let begun = Instant::now();
    while start_of(connection, topic) != offset {
        assert!(begun.elapsed() < PATIENCE, "the log starts at {}", start_of(connection, topic));
    }
}

/// A topic with segments of one record each, and so many of them.
fn with_records(connection: &mut Connection, topic: &'static str, count: i64) -> Uuid {
    let id = connection.create_topic(topic, 1, &[("segment.bytes", "100"), ("retention.ms", "-1")]);
    for offset in 0..count {
        assert_eq!(produced(connection, topic, id, 0, batch(&["a record of some length"])), Ok(offset));
    }
    id
}

/// The names of the partition's `.log` files, those to be removed among them.
fn log_files(broker: &Broker, topic: &str) -> Vec<String> {
    let dir = broker.data_dir().join(format!("brokers/0/{topic}-0"));
    let names =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.contains(".log")).collect();
    names.sort();
    names
}

fn await_log_files(broker: &Broker, topic: &str, bases: &[i64]) {
    let wanted: Vec<_> = bases.iter().map(|base| format!("{base:020}.log")).collect();
    let begun = Instant::now();
    while log_files(broker, topic) != wanted {
        assert!(begun.elapsed() < PATIENCE, "{:?}", log_files(broker, topic));
    }
}

#[test]
fn records_are_deleted_up_to_an_offset_in_every_version_and_their_files_go() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = with_records(&mut connection, "topic", 6);
    for version in 0..=2 {
        let offset = i64::from(version) + 1;
        assert_eq!(delete(&mut connection, "topic", (0, offset), version), (ErrorCode::NONE, offset));
        assert_eq!(start_of(&mut connection, "topic"), offset);
        let gone: FetchResponse<'_> = connection.ask(&fetch_at("topic", id, &[(0, offset - 1)]), 12);
        let partition = &gone.responses[0].partitions[0];
        assert_eq!(partition.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
        let there: FetchResponse<'_> = connection.ask(&fetch_at("topic", id, &[(0, offset)]), 12);
        let partition = &there.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.log_start_offset), (ErrorCode::NONE, offset));
        assert_eq!(records(partition)[..8], offset.to_be_bytes());
    }
    await_log_files(&broker, "topic", &[3, 4, 5]);
    assert_eq!(delete(&mut connection, "topic", (0, 2), 2), (ErrorCode::NONE, 3), "they are gone already");
    let first_from = |connection: &mut Connection, time| {
        let listed: ListOffsetsResponse<'_> = connection.ask(&offset_of("topic", time), 10);
        listed.topics[0].partitions[0].offset
    };
    assert_eq!(first_from(&mut connection, TIMESTAMP), 3, "deleted records are not found by time");
    assert_eq!(epoch_end(&mut connection), (0, 6));
    assert_eq!(delete(&mut connection, "topic", (0, -1), 2), (ErrorCode::NONE, 6), "the high watermark");
    assert_eq!((start_of(&mut connection, "topic"), end_of(&mut connection, "topic", 0)), (6, 6));
    assert_eq!(epoch_end(&mut connection), (0, 6));
    assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["b"])), Ok(6));
}

/// Where the first leader epoch ends.
fn epoch_end(connection: &mut Connection) -> (i32, i64) {
    let partition = OffsetForLeaderPartition { partition: 0, current_leader_epoch: -1, leader_epoch: 0 };
    let topic = OffsetForLeaderTopic { topic: "topic".into(), partitions: vec![partition] };
    let request = OffsetForLeaderEpochRequest { topics: vec![topic], replica_id: -1 };
    let answer: OffsetForLeaderEpochResponse<'_> = connection.ask(&request, 4);
    let end = &answer.topics[0].partitions[0];
    assert_eq!(end.error_code, ErrorCode::NONE);
    (end.leader_epoch, end.end_offset)
}

#[test]
fn what_cannot_be_deleted_is_refused_part_by_part() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    with_records(&mut connection, "topic", 2);
    let offsets = CreatableTopic {
        name: "__consumer_offsets".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![offsets], ..Default::default() };
    let created: CreateTopicsResponse<'_> = connection.ask(&request, 7);
    assert_eq!(created.topics[0].error_code, ErrorCode::NONE);
    let mut request = deletion("topic", &[(0, 1), (1, 0)]);
    request.topics.extend(deletion("nowhere", &[(0, 0)]).topics);
    request.topics.extend(deletion("__consumer_offsets", &[(0, 0)]).topics);
    let answer: DeleteRecordsResponse<'_> = connection.ask(&request, 2);
    let results = answer.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions
            .map(|result| (&*topic.name, result.partition_index, result.error_code, result.low_watermark))
    });
    assert_eq!(
        results.collect::<Vec<_>>(),
        [
            ("__consumer_offsets", 0, ErrorCode::INVALID_TOPIC_EXCEPTION, -1),
            ("nowhere", 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1),
            ("topic", 0, ErrorCode::NONE, 1),
            ("topic", 1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1),
        ]
    );
    for offset in [3, -2, i64::MAX, i64::MIN] {
        let refused = (ErrorCode::OFFSET_OUT_OF_RANGE, -1);
        assert_eq!(delete(&mut connection, "topic", (0, offset), 2), refused, "{offset}");
    }
    assert_eq!(start_of(&mut connection, "topic"), 1);
}

#[test]
fn a_topic_that_is_only_compacted_has_nothing_deleted() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    with_records(&mut connection, "topic", 2);
    let violation = (ErrorCode::POLICY_VIOLATION, -1);
    for (policy, outcome) in
        [("compact", violation), ("compact,delete", (ErrorCode::NONE, 1)), ("compact", violation)]
    {
        let set = [("cleanup.policy", SET, Some(policy))];
        assert_eq!(change(&mut connection, (TOPIC, "topic"), &set), ErrorCode::NONE);
        assert_eq!(delete(&mut connection, "topic", (0, 1), 2), outcome, "{policy}");
    }
    assert_eq!(start_of(&mut connection, "topic"), 1);
}

#[test]
fn what_was_deleted_stays_so_after_a_kill() {
    let mut broker = Broker::start();
    let mut connection = broker.connect();
    // In one segment: nothing on the disk but the checkpoint tells where the log starts.
    let id = connection.create_topic("topic", 1, &[]);
    for offset in 0..5 {
        assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["a"])), Ok(offset));
    }
    assert_eq!(delete(&mut connection, "topic", (0, 3), 2), (ErrorCode::NONE, 3));
    for how in [Broker::kill, Broker::stop] {
        how(&mut broker);
        broker.start_again();
        let mut connection = broker.connect();
        assert_eq!((start_of(&mut connection, "topic"), end_of(&mut connection, "topic", 0)), (3, 5));
    }
}

#[test]
fn what_is_kept_follows_the_topics_settings_and_the_brokers() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = with_records(&mut connection, "topic", 10);
    let size = batch(&["a record of some length"]).len();
    let keep: &'static str = (3 * size).to_string().leak();
    let set = [("retention.bytes", SET, Some(keep))];
    assert_eq!(change(&mut connection, (TOPIC, "topic"), &set), ErrorCode::NONE);
    await_start(&mut connection, "topic", 7);
    await_log_files(&broker, "topic", &[7, 8, 9]);
    // The records are years old, and the last segment is the active one.
    assert_eq!(change(&mut connection, (TOPIC, "topic"), &[("retention.ms", 1, None)]), ErrorCode::NONE);
    await_start(&mut connection, "topic", 10);
    await_log_files(&broker, "topic", &[10]);
    assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["b"])), Ok(10));
    const BROKER: i8 = 4;
    let brokers = [("log.retention.minutes", SET, Some("1"))];
    assert_eq!(change(&mut connection, (BROKER, ""), &brokers), ErrorCode::NONE);
    await_start(&mut connection, "topic", 11);
}

#[test]
fn logs_are_looked_at_every_now_and_then() {
    let broker = Broker::start_with(&["--set", "log.retention.check.interval.ms=10"]);
    let mut connection = broker.connect();
    let settings = [("retention.bytes", "0"), ("segment.bytes", "100")];
    let id = connection.create_topic("topic", 1, &settings);
    for offset in 0..3 {
        assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["a"])), Ok(offset));
        await_start(&mut connection, "topic", offset + 1);
    }
    await_log_files(&broker, "topic", &[3]);
}
