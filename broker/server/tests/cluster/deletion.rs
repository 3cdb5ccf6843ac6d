//! Old records that are deleted on three replicas.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use taffrail_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::clients::{consume, create_topic, numbers, produce, producer};
use crate::harness::{Cluster, eventually};
use crate::wire::Connection;

/// Nobody who is not woken asks anew within the time of a test.
const PATIENT_FOLLOWERS: (&str, &str) = ("replica.fetch.wait.max.ms", "600000");

fn deletion(offset: i64) -> DeleteRecordsRequest<'static> {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
    let topics = vec![DeleteRecordsTopic { name: "t".into(), partitions }];
    DeleteRecordsRequest { topics, timeout_ms: 30_000 }
}

/// Error code and low watermark of a deletion in partition 0 of the topic.
fn delete(cluster: &Cluster, broker: usize, request: &DeleteRecordsRequest<'_>) -> (ErrorCode, i64) {
    let mut connection = Connection::to(cluster.address(broker as i32));
    let answer: DeleteRecordsResponse<'_> = connection.ask(request, 2);
    let result = &answer.topics[0].partitions[0];
    (result.error_code, result.low_watermark)
}

fn start(cluster: &Cluster, id: usize) -> i64 {
    cluster.replica(id, "t", 0).unwrap().lock().log().log_start_offset()
}

fn starts(cluster: &Cluster) -> [i64; 3] {
    [0, 1, 2].map(|id| start(cluster, id))
}

/// A topic with ten committed records on all replicas.
fn with_records(cluster: &Cluster) {
    create_topic(cluster, "t", 1, &[]);
    produce(&producer(cluster), "t", &numbers(0..10)).unwrap();
    cluster.in_sync("t", 0);
}

#[test]
fn what_is_deleted_is_gone_from_all_replicas_when_the_client_is_told_and_with_the_next_leader_too() {
    let mut cluster = Cluster::start_with(&[PATIENT_FOLLOWERS]);
    with_records(&cluster);
    let leader = cluster.leader("t", 0);
    let follower = (0..3).find(|id| *id != leader).unwrap();
    let refused = (ErrorCode::NOT_LEADER_OR_FOLLOWER, -1);
    assert_eq!(delete(&cluster, follower, &deletion(4)), refused);
    assert_eq!(delete(&cluster, leader, &deletion(4)), (ErrorCode::NONE, 4));
    assert_eq!(starts(&cluster), [4; 3]);
    assert_eq!(consume(&cluster, "t", &[]), numbers(4..10));
    cluster.stop_broker(leader);
    let next = cluster.leader("t", 0);
    assert_ne!(next, leader);
    assert_eq!(start(&cluster, next), 4);
    assert_eq!(consume(&cluster, "t", &[]), numbers(4..10));
    cluster.start_broker(leader);
    cluster.in_sync("t", 0);
    assert_eq!(start(&cluster, leader), 4, "also after a restart");
    assert_eq!(delete(&cluster, next, &deletion(-1)), (ErrorCode::NONE, 10));
    assert_eq!(starts(&cluster), [10; 3]);
    produce(&producer(&cluster), "t", &numbers(10..12)).unwrap();
    assert_eq!(consume(&cluster, "t", &[]), numbers(10..12));
}

#[test]
fn a_broker_that_is_gone_is_not_waited_for_and_follows_when_it_is_back() {
    let mut cluster = Cluster::start();
    with_records(&cluster);
    let leader = cluster.leader("t", 0);
    let lost = (0..3).find(|id| *id != leader).unwrap();
    // It lives, and takes part in nothing of this partition any more: it is waited for until its broker is fenced.
    cluster.replica(lost, "t", 0).unwrap().lock().resign(&mut Vec::new());
    let mut connection = Connection::to(cluster.address(leader as i32));
    let sent = connection.send(&deletion(4), 2);
    cluster.eventually("the leader deletes", || start(&cluster, leader) == 4);
    cluster.lose_broker(lost);
    let answer: DeleteRecordsResponse<'_> = connection.receive(sent);
    let result = &answer.topics[0].partitions[0];
    assert_eq!((result.error_code, result.low_watermark), (ErrorCode::NONE, 4));
    cluster.start_broker(lost);
    cluster.eventually("the broker that was away follows", || start(&cluster, lost) == 4);
    assert_eq!(starts(&cluster), [4; 3]);
}

#[test]
fn a_replica_that_lives_and_does_not_follow_is_waited_for_as_long_as_the_client_says() {
    let cluster = Cluster::start_with(&[PATIENT_FOLLOWERS]);
    with_records(&cluster);
    let leader = cluster.leader("t", 0);
    let follower = (0..3).find(|id| *id != leader).unwrap();
    // It takes part in nothing of this partition any more, and its broker lives.
    cluster.replica(follower, "t", 0).unwrap().lock().resign(&mut Vec::new());
    let request = DeleteRecordsRequest { timeout_ms: 500, ..deletion(4) };
    assert_eq!(delete(&cluster, leader, &request), (ErrorCode::REQUEST_TIMED_OUT, 0));
    assert_eq!(start(&cluster, leader), 4, "the leader did it all the same");
}

#[test]
fn every_replica_keeps_what_the_topic_says_and_frees_the_rest() {
    let cluster = Cluster::start_with(&[("log.retention.check.interval.ms", "20")]);
    let settings = [("segment.bytes", "100"), ("retention.bytes", "300"), ("file.delete.delay.ms", "0")];
    create_topic(&cluster, "t", 1, &settings);
    let producer = producer(&cluster);
    for number in 0..20 {
        produce(&producer, "t", &numbers(number..number + 1)).unwrap();
    }
    let files = |id| {
        let dir = cluster.replica(id, "t", 0).unwrap().lock().log().dir().to_owned();
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains(".log")).count()
    };
    eventually("little is left on every replica", || {
        (0..3).all(|id| start(&cluster, id) >= 15 && files(id) <= 5)
    });
    cluster.in_sync("t", 0);
    let kept = consume(&cluster, "t", &[]);
    assert_eq!(kept, numbers(20 - kept.len()..20));
    assert!(!kept.is_empty());
}
