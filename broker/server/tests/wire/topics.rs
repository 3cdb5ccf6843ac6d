//! Topics that are made, grown, deleted and made again, and what is told of them.

use taffrail_protocol::messages::create_partitions::CreatePartitionsTopic;
use taffrail_protocol::messages::delete_topics::DeleteTopicState;
use taffrail_protocol::messages::describe_topic_partitions::{Cursor, TopicRequest};
use taffrail_protocol::messages::metadata::MetadataRequestTopic;
use taffrail_protocol::messages::*;
use taffrail_protocol::{ErrorCode, Uuid};

use crate::every_version::offset_of;
use crate::fetch::fetch_at;
use crate::harness::{Broker, Connection, TIMESTAMP, batch};
use crate::produce::produced;

/// Where a partition ends.
pub fn end_of(connection: &mut Connection, topic: &'static str, partition: i32) -> i64 {
    let mut request = offset_of(topic, -1);
    request.topics[0].partitions[0].partition_index = partition;
    let listed: ListOffsetsResponse<'_> = connection.ask(&request, 10);
    assert_eq!(listed.topics[0].partitions[0].error_code, ErrorCode::NONE);
    listed.topics[0].partitions[0].offset
}

fn delete_by_id(connection: &mut Connection, id: Uuid) -> ErrorCode {
    let topic = DeleteTopicState { name: None, topic_id: id };
    let request = DeleteTopicsRequest { topics: vec![topic], ..Default::default() };
    let deleted: DeleteTopicsResponse<'_> = connection.ask(&request, 6);
    deleted.responses[0].error_code
}

#[test]
fn a_topic_made_again_under_its_name_is_another_and_empty_also_after_a_restart() {
    let mut broker = Broker::start();
    let mut connection = broker.connect();
    let mut ids = Vec::new();
    for round in 0..5 {
        let id = connection.create_topic("topic", 2, &[]);
        assert!(!ids.contains(&id));
        ids.push(id);
        assert_eq!(end_of(&mut connection, "topic", 0), 0);
        for at in 0..=round {
            assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["a"])), Ok(at));
        }
        if round < 4 {
            assert_eq!(delete_by_id(&mut connection, id), ErrorCode::NONE);
            assert_eq!(delete_by_id(&mut connection, id), ErrorCode::UNKNOWN_TOPIC_ID);
            assert_eq!(
                produced(&mut connection, "topic", id, 0, batch(&["a"])),
                Err(ErrorCode::UNKNOWN_TOPIC_ID)
            );
        }
    }
    for how in [Broker::kill, Broker::stop] {
        how(&mut broker);
        broker.start_again();
        let mut connection = broker.connect();
        assert_eq!(connection.topic("topic"), Ok((ids[4], 2)));
        assert_eq!((end_of(&mut connection, "topic", 0), end_of(&mut connection, "topic", 1)), (5, 0));
    }
}

#[test]
fn a_deleted_topic_leaves_no_recovery_point_to_the_next_of_its_name() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[("flush.messages", "1")]);
    produced(&mut connection, "topic", id, 0, batch(&["a"])).unwrap();
    // A deletion has the checkpoints written.
    let other = connection.create_topic("other", 1, &[]);
    assert_eq!(delete_by_id(&mut connection, other), ErrorCode::NONE);
    let checkpoint = broker.data_dir().join("brokers/0/recovery-point-offset-checkpoint");
    let written = || std::fs::read_to_string(&checkpoint).unwrap_or_default();
    assert!(written().contains("topic 0 1"), "{:?}", written());
    assert_eq!(delete_by_id(&mut connection, id), ErrorCode::NONE);
    connection.create_topic("topic", 1, &[]);
    assert!(!written().contains("topic 0 1"), "{:?}", written());
}

#[test]
fn new_partitions_are_written_and_read_at_once() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    produced(&mut connection, "topic", id, 0, batch(&["a"])).unwrap();
    let mut grow = |count| {
        let topic = CreatePartitionsTopic { name: "topic".into(), count, assignments: None };
        let request =
            CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
        let grown: CreatePartitionsResponse<'_> = connection.ask(&request, 3);
        grown.results[0].error_code
    };
    assert_eq!(grow(5), ErrorCode::NONE);
    assert_eq!(grow(5), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(grow(2), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(connection.topic("topic"), Ok((id, 5)));
    for partition in 1..5 {
        assert_eq!(produced(&mut connection, "topic", id, partition, batch(&["b"])), Ok(0));
    }
    assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["b"])), Ok(1), "the first one is as it was");
    let read: FetchResponse<'_> = connection.ask(&fetch_at("topic", id, &[(4, 0)]), 18);
    assert_eq!(read.responses[0].partitions[0].high_watermark, 1);
}

#[test]
fn offsets_are_found_by_all_kinds_of_times() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    for offset in [0, 3] {
        assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["a", "b", "c"])), Ok(offset));
    }
    let mut find = |timestamp| {
        let listed: ListOffsetsResponse<'_> = connection.ask(&offset_of("topic", timestamp), 10);
        let found = &listed.topics[0].partitions[0];
        (found.error_code, found.timestamp, found.offset)
    };
    let none = ErrorCode::NONE;
    assert_eq!(find(-1), (none, -1, 6), "latest");
    assert_eq!(find(-2), (none, -1, 0), "earliest");
    assert_eq!(find(-3), (none, TIMESTAMP + 2, 2), "the first with the largest timestamp");
    assert_eq!(find(-4), (none, -1, 0), "earliest on disk");
    assert_eq!(find(-5), (none, -1, -1), "latest in tiered storage");
    assert_eq!(find(0), (none, TIMESTAMP, 0));
    assert_eq!(find(TIMESTAMP + 1), (none, TIMESTAMP + 1, 1));
    assert_eq!(find(TIMESTAMP + 2), (none, TIMESTAMP + 2, 2));
    assert_eq!(find(TIMESTAMP + 3), (none, -1, -1));
    assert_eq!(find(-7), (ErrorCode::UNSUPPORTED_VERSION, -1, -1));
}

#[test]
fn described_topics_are_paged_through_without_gaps_or_doubles() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let broker = Broker::start();
    let mut connection = broker.connect();
    for (name, partitions) in NAMES.into_iter().zip([3, 1, 4, 2]) {
        connection.create_topic(name, partitions, &[]);
    }
    let all: Vec<(&str, i32)> = vec![
        ("a", 0),
        ("a", 1),
        ("a", 2),
        ("b", 0),
        ("c", 0),
        ("c", 1),
        ("c", 2),
        ("c", 3),
        ("d", 0),
        ("d", 1),
    ];
    for (topics, limit) in
        [(&NAMES[..0], 1), (&NAMES[..0], 2), (&NAMES[..], 3), (&NAMES[..], 4), (&NAMES[..], 2000)]
    {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let request = DescribeTopicPartitionsRequest {
                topics: topics.iter().map(|name| TopicRequest { name: (*name).into() }).collect(),
                response_partition_limit: limit,
                cursor,
            };
            let page: DescribeTopicPartitionsResponse<'static> = connection.ask(&request, 0);
            pages += 1;
            let partitions: Vec<_> = page
                .topics
                .iter()
                .flat_map(|topic| {
                    let name = topic.name.clone().unwrap().into_owned();
                    topic.partitions.iter().map(move |partition| (name.clone(), partition.partition_index))
                })
                .collect();
            assert!(partitions.len() <= limit as usize);
            seen.extend(partitions);
            cursor = page
                .next_cursor
                .map(|at| Cursor { topic_name: at.topic_name, partition_index: at.partition_index });
            if cursor.is_none() {
                break;
            }
        }
        let seen: Vec<_> = seen.iter().map(|(name, partition)| (name.as_str(), *partition)).collect();
        assert_eq!(seen, all, "limit {limit}");
        assert_eq!(pages, all.len().div_ceil(limit as usize));
    }
}

#[test]
fn all_who_use_a_topic_first_at_the_same_time_get_it() {
    let broker = Broker::start();
    let mut connections: Vec<_> = (0..30).map(|_| broker.connect()).collect();
    let topic = |name: &'static str| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id: Uuid::ZERO, name: Some(name.into()) }]),
        ..Default::default()
    };
    let coordinator = FindCoordinatorRequest { key: "group".into(), ..Default::default() };
    let sent: Vec<_> = connections
        .iter_mut()
        .map(|connection| {
            let first = connection.send(&topic("first"), 9);
            (first, connection.send(&coordinator, 0))
        })
        .collect();
    for (connection, (first, found)) in connections.iter_mut().zip(sent) {
        let metadata: MetadataResponse<'_> = connection.receive(first);
        assert_eq!(metadata.topics[0].error_code, ErrorCode::NONE);
        let found: FindCoordinatorResponse<'_> = connection.receive(found);
        assert_eq!(found.error_code, ErrorCode::NONE);
    }
}
