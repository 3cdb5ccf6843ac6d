//! Fetch beyond a single request: bounds, waiting, sessions, batches entered in the middle.

use taffrail_protocol::codec::RecordSet;
use taffrail_protocol::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic, PartitionData};
use taffrail_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use taffrail_protocol::messages::{FetchRequest, FetchResponse, HeartbeatRequest, HeartbeatResponse};
use taffrail_protocol::messages::{ListGroupsRequest, ListGroupsResponse, ProduceResponse};
use taffrail_protocol::{ErrorCode, Uuid};

use crate::harness::{Broker, Connection, batch};
use crate::produce::{produce_to, produced};

/// A version that names topics by name, and one that does by id.
const BY_NAME: i16 = 12;
const BY_ID: i16 = 18;
/// Longer than any test waits: an answer that comes was not brought by the clock.
const LONG_MS: i32 = i32::MAX;

/// Wants at least a byte of some partitions of a topic, each from an offset on.
pub fn fetch_at(topic: &'static str, id: Uuid, partitions: &[(i32, i64)]) -> FetchRequest<'static> {
    let partitions = partitions.iter().map(|(partition, fetch_offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: i32::MAX,
        ..Default::default()
    });
    FetchRequest {
        max_wait_ms: LONG_MS,
        min_bytes: 1,
        topics: vec![FetchTopic { topic: topic.into(), topic_id: id, partitions: partitions.collect() }],
        ..Default::default()
    }
}

/// The records of a partition in an answer.
pub fn records<'a>(partition: &'a PartitionData<'_>) -> &'a [u8] {
    match &partition.records {
        RecordSet::Bytes(bytes) => bytes,
        RecordSet::Null | RecordSet::Splice { .. } => panic!("a decoded answer holds its records"),
    }
}

/// Sends a fetch, and returns once it is parked: what was sent behind it on its connection is known to be done.
fn park(
    broker: &Broker,
    connection: &mut Connection,
    fetch: &FetchRequest<'_>,
    version: i16,
) -> [crate::harness::Sent; 2] {
    let mut other = broker.connect();
    let id = match other.topic("marker") {
        Ok((id, _)) => id,
        Err(_) => other.create_topic("marker", 1, &[]),
    };
    let mut from_now = fetch_at("marker", id, &[(0, 0)]);
    from_now.topics[0].partitions[0].fetch_offset = crate::topics::end_of(&mut other, "marker", 0);
    let fetched = connection.send(fetch, version);
    let marked = connection.send(&produce_to("marker", id, 1, vec![(0, batch(&["parked"]))]), 9);
    let seen: FetchResponse<'_> = other.ask(&from_now, BY_NAME);
    assert!(!records(&seen.responses[0].partitions[0]).is_empty());
    [fetched, marked]
}

#[test]
fn a_parked_fetch_is_woken_by_another_connection_and_later_answers_wait_for_it() {
    let broker = Broker::start();
    let (mut reader, mut writer) = (broker.connect(), broker.connect());
    let id = writer.create_topic("topic", 1, &[]);
    for version in [BY_NAME, BY_ID] {
        let offset = crate::topics::end_of(&mut writer, "topic", 0);
        let [fetched, marked] = park(&broker, &mut reader, &fetch_at("topic", id, &[(0, offset)]), version);
        assert_eq!(produced(&mut writer, "topic", id, 0, batch(&["a"])), Ok(offset));
        let answer: FetchResponse<'_> = reader.receive(fetched);
        assert_eq!(records(&answer.responses[0].partitions[0])[..8], offset.to_be_bytes());
        let behind: ProduceResponse<'_> = reader.receive(marked);
        assert_eq!(behind.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
    }
}

#[test]
fn pipelined_requests_of_all_kinds_are_answered_in_order() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    for round in 0..20_i64 {
        let waiting = connection.send(&fetch_at("topic", id, &[(0, round)]), BY_ID);
        let list = connection.send(&ListGroupsRequest::default(), 5);
        let produce = connection.send(&produce_to("topic", id, -1, vec![(0, batch(&["a"]))]), 9);
        let silent = produce_to("topic", id, 0, vec![]);
        connection.send(&silent, 9);
        let heartbeat = connection.send(&HeartbeatRequest::default(), 4);
        let answer: FetchResponse<'_> = connection.receive(waiting);
        assert_eq!(answer.responses[0].partitions[0].high_watermark, round + 1);
        let _: ListGroupsResponse<'_> = connection.receive(list);
        let answer: ProduceResponse<'_> = connection.receive(produce);
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, round);
        let _: HeartbeatResponse = connection.receive(heartbeat);
    }
}

#[test]
fn min_bytes_are_gathered_from_all_partitions() {
    let broker = Broker::start();
    let (mut reader, mut writer) = (broker.connect(), broker.connect());
    let id = writer.create_topic("topic", 3, &[]);
    let size = batch(&["a"]).len();
    let mut request = fetch_at("topic", id, &[(0, 0), (1, 0), (2, 0)]);
    request.min_bytes = i32::try_from(2 * size + 1).unwrap();
    let [fetched, _] = park(&broker, &mut reader, &request, BY_ID);
    for partition in [2, 0, 1] {
        assert_eq!(produced(&mut writer, "topic", id, partition, batch(&["a"])), Ok(0));
    }
    // Had it been answered before the third, it would lack it.
    let answer: FetchResponse<'_> = reader.receive(fetched);
    let sizes: Vec<_> = answer.responses[0].partitions.iter().map(|found| records(found).len()).collect();
    assert_eq!(sizes, [size, size, size]);
}

#[test]
fn min_bytes_above_max_bytes_are_lowered_to_them() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    let size = i32::try_from(batch(&["a"]).len()).unwrap();
    for offset in 0..3 {
        assert_eq!(produced(&mut connection, "topic", id, 0, batch(&["a"])), Ok(offset));
    }
    let mut request = fetch_at("topic", id, &[(0, 0)]);
    (request.min_bytes, request.max_bytes) = (10 * size, 2 * size);
    let answer: FetchResponse<'_> = connection.ask(&request, BY_ID);
    assert_eq!(records(&answer.responses[0].partitions[0]).len(), 2 * size as usize);
}

#[test]
fn max_bytes_bound_an_answer_but_not_its_first_batch() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 2, &[]);
    for partition in [0, 0, 1, 1] {
        produced(&mut connection, "topic", id, partition, batch(&["a"])).unwrap();
    }
    let size = batch(&["a"]).len();
    let bytes = i32::try_from(size).unwrap();
    let mut sizes = |max_bytes, partition_max_bytes| {
        let mut request = fetch_at("topic", id, &[(0, 0), (1, 0)]);
        request.max_bytes = max_bytes;
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = partition_max_bytes;
        }
        let answer: FetchResponse<'_> = connection.ask(&request, BY_ID);
        let partitions = &answer.responses[0].partitions;
        [records(&partitions[0]).len(), records(&partitions[1]).len()]
    };
    assert_eq!(sizes(i32::MAX, i32::MAX), [2 * size, 2 * size]);
    assert_eq!(sizes(i32::MAX, bytes), [size, size]);
    assert_eq!(sizes(3 * bytes, i32::MAX), [2 * size, size]);
    assert_eq!(sizes(1, i32::MAX), [size, 0]);
    assert_eq!(sizes(i32::MAX, 1), [size, 0]);
    assert_eq!(sizes(0, 0), [size, 0]);
    assert_eq!(sizes(-1, -1), [size, 0]);
}

#[test]
fn a_fetch_from_the_middle_of_a_batch_gets_the_whole_batch() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    produced(&mut connection, "topic", id, 0, batch(&["a", "b", "c"])).unwrap();
    produced(&mut connection, "topic", id, 0, batch(&["d"])).unwrap();
    for (offset, base) in [(0, 0_i64), (1, 0), (2, 0), (3, 3)] {
        let answer: FetchResponse<'_> = connection.ask(&fetch_at("topic", id, &[(0, offset)]), BY_ID);
        assert_eq!(records(&answer.responses[0].partitions[0])[..8], base.to_be_bytes());
    }
    for offset in [-1, 5, i64::MAX, i64::MIN] {
        let answer: FetchResponse<'_> = connection.ask(&fetch_at("topic", id, &[(0, offset)]), BY_ID);
        assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE, "{offset}");
    }
}

#[test]
fn a_session_remembers_partitions_and_tells_only_news() {
    for version in [7, BY_NAME, BY_ID] {
        let broker = Broker::start();
        let mut connection = broker.connect();
        let id = connection.create_topic("topic", 3, &[]);
        produced(&mut connection, "topic", id, 0, batch(&["a"])).unwrap();
        let mut request = fetch_at("topic", id, &[(0, 0), (1, 0), (2, 0)]);
        request.session_epoch = 0;
        let first: FetchResponse<'_> = connection.ask(&request, version);
        assert_eq!((first.error_code, first.responses[0].partitions.len()), (ErrorCode::NONE, 3));
        assert_ne!(first.session_id, 0);

        // Partition 0 is read on, 2 is let go; the news is in 1.
        produced(&mut connection, "topic", id, 1, batch(&["b"])).unwrap();
        let mut request = fetch_at("topic", id, &[(0, 1)]);
        (request.session_id, request.session_epoch) = (first.session_id, 1);
        let gone = ForgottenTopic { topic: "topic".into(), topic_id: id, partitions: vec![2] };
        request.forgotten_topics_data = vec![gone];
        let second: FetchResponse<'_> = connection.ask(&request, version);
        let told: Vec<_> = second.responses[0].partitions.iter().map(|told| told.partition_index).collect();
        assert_eq!((second.session_id, told), (first.session_id, vec![1]));

        let mut again = FetchRequest { session_id: first.session_id, session_epoch: 1, ..Default::default() };
        let refused: FetchResponse<'_> = connection.ask(&again, version);
        assert_eq!(refused.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        (again.session_id, again.session_epoch) = (first.session_id ^ 1, 2);
        let refused: FetchResponse<'_> = connection.ask(&again, version);
        assert_eq!(refused.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);

        // A wait within a session: it begins behind what was read and ends with what another connection writes.
        let mut wait = fetch_at("topic", id, &[(1, 1)]);
        (wait.session_id, wait.session_epoch) = (first.session_id, 2);
        let [waiting, marked] = park(&broker, &mut connection, &wait, version);
        produced(&mut broker.connect(), "topic", id, 0, batch(&["c"])).unwrap();
        let third: FetchResponse<'_> = connection.receive(waiting);
        let told: Vec<_> = third.responses[0].partitions.iter().map(|told| told.partition_index).collect();
        assert_eq!(told, [0]);
        let _: ProduceResponse<'_> = connection.receive(marked);
    }
}

#[test]
fn a_session_does_not_change_between_names_and_ids() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    let mut request = fetch_at("topic", id, &[(0, 0)]);
    (request.session_epoch, request.max_wait_ms) = (0, 0);
    let opened: FetchResponse<'_> = connection.ask(&request, BY_NAME);
    (request.session_id, request.session_epoch) = (opened.session_id, 1);
    let refused: FetchResponse<'_> = connection.ask(&request, BY_ID);
    assert_eq!(refused.error_code, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
}

#[test]
fn a_fetch_parked_on_a_topic_that_is_deleted_is_answered() {
    let broker = Broker::start();
    let (mut reader, mut admin) = (broker.connect(), broker.connect());
    for (version, error) in
        [(BY_NAME, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), (BY_ID, ErrorCode::UNKNOWN_TOPIC_ID)]
    {
        let id = admin.create_topic("topic", 2, &[]);
        let [fetched, marked] =
            park(&broker, &mut reader, &fetch_at("topic", id, &[(0, 0), (1, 0)]), version);
        let delete = DeleteTopicsRequest { topic_names: vec!["topic".into()], ..Default::default() };
        let _: DeleteTopicsResponse<'_> = admin.ask(&delete, 5);
        let answer: FetchResponse<'_> = reader.receive(fetched);
        assert_eq!(answer.responses[0].partitions[0].error_code, error);
        let _: ProduceResponse<'_> = reader.receive(marked);
    }
}

#[test]
fn a_stop_ends_connections_with_parked_fetches() {
    let mut broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    park(&broker, &mut connection, &fetch_at("topic", id, &[(0, 0)]), BY_ID);
    broker.stop();
    connection.assert_closed();
}

#[test]
fn unknown_topics_and_partitions_are_told_beside_known_ones() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    produced(&mut connection, "topic", id, 0, batch(&["a"])).unwrap();
    let unknown = Uuid([7; 16]);
    for (version, missing) in
        [(BY_NAME, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), (BY_ID, ErrorCode::UNKNOWN_TOPIC_ID)]
    {
        let mut request = fetch_at("topic", id, &[(0, 0), (1, 0), (-1, 0)]);
        request.topics.extend(fetch_at("nowhere", unknown, &[(0, 0)]).topics);
        let answer: FetchResponse<'_> = connection.ask(&request, version);
        let codes: Vec<_> = answer
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|found| found.error_code)
            .collect();
        let no_partition = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        assert_eq!(codes, [ErrorCode::NONE, no_partition, no_partition, missing]);
    }
}

#[test]
fn a_request_that_would_take_too_much_memory_once_decoded_ends_its_connection_only() {
    let broker = Broker::start_with(&["--memory", "64MiB"]);
    let (mut other, mut greedy) = (broker.connect(), broker.connect());
    let id = other.create_topic("topic", 1, &[]);
    let many = |count| fetch_at("topic", id, &vec![(1, 0); count]);
    let answer: FetchResponse<'_> = greedy.ask(&many(10_000), BY_ID);
    assert_eq!(answer.responses[0].partitions.len(), 10_000);
    greedy.send(&many(100_000), BY_ID);
    greedy.assert_closed();
    assert_eq!(produced(&mut other, "topic", id, 0, batch(&["a"])), Ok(0));
}
