//! Disks that are full, and disks that fail.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use taffrail_control::session::LogState;
use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use taffrail_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use taffrail_replication::disk::logs::Condition;
use taffrail_server::metrics::MetricsSource;

use crate::clients::{client, consume, create_topic, create_topic_of, numbers, produce, producer};
use crate::harness::{Cluster, eventually};
use crate::wire::Connection;

fn condition(cluster: &Cluster, id: usize, number: usize) -> Condition {
    let dir = cluster.log_dir(id, number);
    cluster.broker(id).broker.log_dirs.at(&dir).unwrap().status().condition
}

fn fail(cluster: &Cluster, id: usize, number: usize) {
    let dirs = &cluster.broker(id).broker.log_dirs;
    dirs.fail(dirs.at(&cluster.log_dir(id, number)).unwrap(), "the disk is broken");
}

fn leads_elsewhere(cluster: &Cluster, topic: &str, before: usize) {
    eventually("another broker leads", || cluster.leader(topic, 0) != before);
}

#[test]
fn a_leader_whose_disk_fails_gives_way_to_one_in_sync_and_goes_on_to_serve_what_it_has() {
    let cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[]);
    let producer = producer(&cluster);
    produce(&producer, "t", &numbers(0..100)).unwrap();
    cluster.in_sync("t", 0);
    let failed = cluster.leader("t", 0);
    fail(&cluster, failed, 0);
    leads_elsewhere(&cluster, "t", failed);
    produce(&producer, "t", &numbers(100..200)).unwrap();
    assert_eq!(consume(&cluster, "t", &[]), numbers(0..200));
    let replica = cluster.replica(failed, "t", 0).unwrap();
    let health = replica.lock().health(0).log;
    assert_eq!(health, LogState::Failed { reason: "the disk is broken".into() });
    assert_eq!(replica.lock().log().log_end_offset(), 100, "nothing more is written there");
    let in_sync = cluster.replica(cluster.leader("t", 0), "t", 0).unwrap().lock().record().isr.len();
    assert_eq!(in_sync, 2);
}

#[test]
fn the_only_replica_on_a_disk_that_failed_serves_reads_and_says_why_it_takes_nothing() {
    let cluster = Cluster::start();
    create_topic_of(&cluster, "alone", 1, 1, &[]);
    produce(&producer(&cluster), "alone", &numbers(0..10)).unwrap();
    let only = cluster.leader("alone", 0);
    fail(&cluster, only, 0);
    eventually("the replica is told", || cluster.replica(only, "alone", 0).unwrap().lock().held().is_some());
    let error = produce(&client(&cluster, &[("acks", "all"), ("retries", "0")]), "alone", &numbers(10..11));
    let storage = KafkaError::MessageProduction(RDKafkaErrorCode::KafkaStorageError);
    assert_eq!(error, Err(storage));
    let partition = DeleteRecordsPartition { partition_index: 0, offset: 5 };
    let topic = DeleteRecordsTopic { name: "alone".into(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000 };
    let refused: DeleteRecordsResponse<'_> =
        Connection::to(cluster.address(i32::try_from(only).unwrap())).ask(&request, 2);
    let refused = &refused.topics[0].partitions[0];
    assert_eq!((refused.error_code, refused.low_watermark), (ErrorCode::KAFKA_STORAGE_ERROR, -1));
    assert_eq!(consume(&cluster, "alone", &[]), numbers(0..10));
    assert_eq!(cluster.leader("alone", 0), only);
}

#[test]
fn a_leader_without_room_gives_way_and_is_in_sync_again_by_itself_when_there_is_room() {
    let cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[]);
    create_topic_of(&cluster, "alone", 1, 1, &[]);
    let producer = producer(&cluster);
    produce(&producer, "t", &numbers(0..100)).unwrap();
    cluster.in_sync("t", 0);
    let full = cluster.leader("t", 0);
    let dirs = &cluster.broker(full).broker.log_dirs;
    // As when a quota is used up: the disk tells of room and refuses to write.
    dirs.refused(dirs.at(&cluster.log_dir(full, 0)).unwrap());
    leads_elsewhere(&cluster, "t", full);
    assert!(matches!(condition(&cluster, full, 0), Condition::Full(_)));
    let told = |dirs: &[(i32, usize)]| cluster.told_dirs() == dirs.iter().copied().collect();
    eventually("the controller hears why", || told(&[(full as i32, 1)]));
    produce(&producer, "t", &numbers(100..200)).unwrap();
    eventually("it has room again", || condition(&cluster, full, 0) == Condition::Online);
    eventually("the controller hears that it is over", || told(&[]));
    cluster.in_sync("t", 0);
    assert_eq!(consume(&cluster, "t", &[]), numbers(0..200));
}

#[test]
fn new_replicas_spread_over_directories_and_one_that_vanishes_takes_only_its_own_along() {
    let mut cluster = Cluster::start_on(2, &[]);
    create_topic(&cluster, "t", 8, &[]);
    produce(&producer(&cluster), "t", &numbers(0..50)).unwrap();
    (0..8).for_each(|partition| cluster.in_sync("t", partition));
    let in_dir = |cluster: &Cluster, number: usize| -> Vec<i32> {
        let has = |partition: &i32| cluster.log_dir(0, number).join(format!("t-{partition}")).exists();
        (0..8).filter(has).collect()
    };
    let (first, second) = (in_dir(&cluster, 0), in_dir(&cluster, 1));
    assert_eq!((first.len(), second.len()), (4, 4));
    std::fs::remove_dir_all(cluster.log_dir(0, 1)).unwrap();
    eventually("it is missed", || matches!(condition(&cluster, 0, 1), Condition::Failed(_)));
    let held = |partition: i32| cluster.replica(0, "t", partition).unwrap().lock().held().is_some();
    eventually("its replicas are told", || second.iter().all(|partition| held(*partition)));
    assert!(!first.iter().any(|partition| held(*partition)), "the others go on");
    for partition in &second {
        eventually("others lead what was in it", || cluster.leader("t", *partition) != 0);
    }
    let states: Vec<_> =
        cluster.broker(0).broker.log_dirs().into_iter().map(|dir| dir.status.space).collect();
    assert!(matches!(states[..], [Some(_), None]), "{states:?}");

    let response: DescribeLogDirsResponse<'_> =
        Connection::to(cluster.address(0)).ask(&DescribeLogDirsRequest { topics: None }, 4);
    let dirs: Vec<_> = response
        .results
        .iter()
        .map(|dir| {
            let partitions: usize = dir.topics.iter().map(|topic| topic.partitions.len()).sum();
            (dir.error_code, partitions > 0, dir.total_bytes > 0)
        })
        .collect();
    assert_eq!(dirs, [(ErrorCode::NONE, true, true), (ErrorCode::KAFKA_STORAGE_ERROR, false, false)]);

    // What was in it is filled from the others, under a new directory.
    cluster.stop_broker(0);
    cluster.start_broker(0);
    (0..8).for_each(|partition| cluster.in_sync("t", partition));
    assert_eq!(in_dir(&cluster, 0).len() + in_dir(&cluster, 1).len(), 8);
    assert_eq!(consume(&cluster, "t", &[]), numbers(0..50));
}

#[test]
fn a_broker_starts_without_a_directory_whose_disk_is_bad_and_not_without_any() {
    let mut cluster = Cluster::start_on(2, &[]);
    create_topic(&cluster, "t", 4, &[]);
    produce(&producer(&cluster), "t", &numbers(0..50)).unwrap();
    (0..4).for_each(|partition| cluster.in_sync("t", partition));
    cluster.stop_broker(0);
    for dir in [cluster.log_dir(0, 0), cluster.log_dir(0, 1)] {
        std::fs::rename(&dir, dir.with_extension("away")).unwrap();
        std::fs::write(&dir, "no directory").unwrap();
    }
    let error = cluster.try_to_start(0).unwrap_err().to_string();
    assert!(error.starts_with("none of the 2 data directories can be used: "), "{error}");
    let mended = cluster.log_dir(0, 1);
    std::fs::remove_file(&mended).unwrap();
    std::fs::rename(mended.with_extension("away"), &mended).unwrap();
    cluster.start_broker(0);
    assert!(matches!(condition(&cluster, 0, 0), Condition::Failed(_)));
    produce(&producer(&cluster), "t", &numbers(50..100)).unwrap();
    assert_eq!(consume(&cluster, "t", &[]), numbers(0..100));
}
