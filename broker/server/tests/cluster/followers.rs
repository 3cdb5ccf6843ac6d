//! What followers cost and serve.

use std::time::Duration;

use taffrail_protocol::messages::fetch::{FetchPartition, FetchTopic};
use taffrail_protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use taffrail_protocol::messages::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::clients::{consume, create_topic, numbers, produce, producer};
use crate::harness::Cluster;
use crate::wire::{Connection, batch};

const BY_RACK: (&str, &str) =
    ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector");

fn fetch(cluster: &Cluster, topic: &str, offset: i64, rack: &'static str) -> FetchRequest<'static> {
    let partition = FetchPartition {
        partition: 0,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic =
        FetchTopic { topic_id: cluster.topic_id(topic), partitions: vec![partition], ..Default::default() };
    FetchRequest {
        max_wait_ms: 30_000,
        min_bytes: 1,
        topics: vec![topic],
        rack_id: rack.into(),
        ..FetchRequest::default()
    }
}

#[test]
fn a_consumer_is_sent_to_the_replica_in_its_rack_and_served_there() {
    let cluster = Cluster::start_with(&[BY_RACK]);
    create_topic(&cluster, "t", 1, &[]);
    produce(&producer(&cluster), "t", &numbers(0..10)).unwrap();
    cluster.in_sync("t", 0);
    let leader = cluster.leader("t", 0);
    let racks = ["rack-0", "rack-1", "rack-2"];
    for (id, rack) in racks.into_iter().enumerate() {
        let mut connection = Connection::to(cluster.address(leader as i32));
        let told: FetchResponse<'_> = connection.ask(&fetch(&cluster, "t", 0, rack), 17);
        let told = &told.responses[0].partitions[0];
        assert_eq!(told.error_code, ErrorCode::NONE);
        let (preferred, records) = (told.preferred_read_replica, told.records.len());
        if id == leader {
            assert!(preferred == -1 && records > 0, "the leader is in the consumer's rack itself");
            continue;
        }
        assert_eq!((preferred, records), (id as i32, 0));
        let mut connection = Connection::to(cluster.address(id as i32));
        let served: FetchResponse<'_> = connection.ask(&fetch(&cluster, "t", 0, rack), 17);
        let served = &served.responses[0].partitions[0];
        assert_eq!((served.error_code, served.high_watermark), (ErrorCode::NONE, 10));
        assert!(!served.records.is_empty());
        assert_eq!(consume(&cluster, "t", &[("client.rack", rack)]), numbers(0..10));
    }
    let mut connection = Connection::to(cluster.address(leader as i32));
    let unknown: FetchResponse<'_> = connection.ask(&fetch(&cluster, "t", 0, "elsewhere"), 17);
    assert_eq!(unknown.responses[0].partitions[0].preferred_read_replica, -1);
}

#[test]
fn a_fetch_that_waits_at_a_follower_is_answered_when_the_follower_knows_of_the_commit() {
    let cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[]);
    let leader = cluster.leader("t", 0);
    let follower = (0..3).find(|id| *id != leader).unwrap();
    let mut connection = Connection::to(cluster.address(follower as i32));
    let sent = connection.send(&fetch(&cluster, "t", 0, ""), 17);
    produce(&producer(&cluster), "t", &numbers(0..1)).unwrap();
    let began = std::time::Instant::now();
    let served: FetchResponse<'_> = connection.receive(sent);
    assert!(began.elapsed() < Duration::from_secs(20), "it does not wait for the fetch's own deadline");
    let served = &served.responses[0].partitions[0];
    assert_eq!((served.error_code, served.high_watermark), (ErrorCode::NONE, 1));
    assert!(!served.records.is_empty());
    let beyond: FetchResponse<'_> = connection.ask(&fetch(&cluster, "t", 5, ""), 17);
    assert_eq!(
        beyond.responses[0].partitions[0].error_code,
        ErrorCode::OFFSET_NOT_AVAILABLE,
        "the leader may have it"
    );
}

#[test]
fn whoever_asks_the_wrong_broker_is_told_the_right_one() {
    let cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[]);
    let leader = cluster.leader("t", 0);
    let follower = (0..3).find(|id| *id != leader).unwrap();
    cluster.in_sync("t", 0);
    let mut connection = Connection::to(cluster.address(follower as i32));
    let partition = PartitionProduceData { index: 0, records: Some(batch(&["value"]).into()) };
    let topic = TopicProduceData {
        topic_id: cluster.topic_id("t"),
        partition_data: vec![partition],
        ..TopicProduceData::default()
    };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    let produced: ProduceResponse<'_> = connection.ask(&request, 13);
    let told = &produced.responses[0].partition_responses[0];
    assert_eq!(told.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(told.current_leader.leader_id, leader as i32);
    assert_eq!(produced.node_endpoints.len(), 1);
    assert_eq!(produced.node_endpoints[0].port, i32::from(cluster.address(leader as i32).port()));
}

#[test]
fn idle_partitions_cost_their_followers_a_few_requests_in_all() {
    let cluster = Cluster::start();
    create_topic(&cluster, "t", 300, &[]);
    cluster.in_sync("t", 299);
    let fetches =
        || -> u64 { (0..3).map(|id| cluster.broker(id).broker.metrics.requests_done(ApiKey::Fetch)).sum() };
    let before = fetches();
    std::thread::sleep(Duration::from_secs(2));
    let done = fetches() - before;
    // Six pairs of brokers, each with a request every half second.
    assert!((6..=60).contains(&done), "{done} fetches in two idle seconds");
}
