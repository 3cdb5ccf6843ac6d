//! Partitions that move to other brokers.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use taffrail_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use crate::clients::{consume, create_topic, numbers, produce, producer};
use crate::harness::Cluster;
use crate::wire::Connection;

fn reassign(cluster: &Cluster, topic: &'static str, replicas: &[i32]) {
    let partition = ReassignablePartition { partition_index: 0, replicas: Some(replicas.to_vec()) };
    let topic = ReassignableTopic { name: topic.into(), partitions: vec![partition] };
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: 30_000,
        topics: vec![topic],
        ..AlterPartitionReassignmentsRequest::default()
    };
    let mut connection = Connection::to(cluster.address(0));
    let answer: AlterPartitionReassignmentsResponse<'_> = connection.ask(&request, 1);
    assert_eq!(answer.error_code, ErrorCode::NONE);
    assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::NONE, "{answer:?}");
}

/// The replicas here that there are, as each broker has it.
fn here(cluster: &Cluster) -> Vec<bool> {
    (0..3).map(|id| cluster.replica(id, "moving", 0).is_some()).collect()
}

#[test]
fn a_partition_moves_away_and_back_while_it_is_written() {
    let cluster = Cluster::start();
    create_topic(&cluster, "moving", 1, &[]);
    let producer = producer(&cluster);
    produce(&producer, "moving", &numbers(0..100)).unwrap();
    reassign(&cluster, "moving", &[0, 1]);
    cluster.eventually("broker 2 gave its replica up", || here(&cluster) == [true, true, false]);
    produce(&producer, "moving", &numbers(100..200)).unwrap();
    reassign(&cluster, "moving", &[1, 2]);
    cluster.eventually("broker 0 gave its replica up", || here(&cluster) == [false, true, true]);
    produce(&producer, "moving", &numbers(200..300)).unwrap();
    reassign(&cluster, "moving", &[2, 0, 1]);
    produce(&producer, "moving", &numbers(300..400)).unwrap();
    cluster.in_sync("moving", 0);
    for id in 0..3 {
        let end = cluster.replica(id, "moving", 0).unwrap().lock().log().log_end_offset();
        assert_eq!(end, 400, "broker {id} has everything again");
    }
    assert_eq!(consume(&cluster, "moving", &[]), numbers(0..400));
}
