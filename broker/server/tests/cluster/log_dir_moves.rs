//! Replicas that move between the directories of a broker.

use std::path::PathBuf;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use taffrail_protocol::messages::alter_replica_log_dirs::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use taffrail_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use taffrail_protocol::{ApiKey, ErrorCode};
use taffrail_server::metrics::MetricsSource;

use crate::clients::{block_on, client, consume, create_topic, create_topic_of, numbers, produce, producer};
use crate::harness::{Cluster, PATIENCE, eventually};
use crate::wire::{Connection, nearest};

/// Asks a broker to have partitions of a topic in the directory at `path`.
fn ask(cluster: &Cluster, id: usize, path: &str, topic: &str, partitions: &[i32]) -> Vec<(i32, ErrorCode)> {
    let topics =
        vec![AlterReplicaLogDirTopic { name: topic.to_owned().into(), partitions: partitions.to_vec() }];
    let request = AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir { path: path.to_owned().into(), topics }],
    };
    let mut connection = Connection::to(cluster.address(id as i32));
    let version = nearest(ApiKey::AlterReplicaLogDirs, i16::MAX);
    let response: AlterReplicaLogDirsResponse<'_> = connection.ask(&request, version);
    assert_eq!(response.results.len(), 1);
    response.results[0].partitions.iter().map(|told| (told.partition_index, told.error_code)).collect()
}

/// Asks for partition 0 to be in the directory of that number.
fn ask_one(cluster: &Cluster, id: usize, number: usize, topic: &str) -> ErrorCode {
    let path = cluster.log_dir(id, number);
    ask(cluster, id, path.to_str().unwrap(), topic, &[0])[0].1
}

/// Where a broker's replica of partition 0 is.
fn dir(cluster: &Cluster, id: usize, topic: &str) -> PathBuf {
    cluster.replica(id, topic, 0).unwrap().lock().log().dir().to_owned()
}

/// The number of the directory that it is in.
fn home(cluster: &Cluster, id: usize, topic: &str) -> usize {
    let dir = dir(cluster, id, topic);
    (0..2).find(|number| dir.parent() == Some(&cluster.log_dir(id, *number))).unwrap()
}

fn moves_to(cluster: &Cluster, id: usize, topic: &str, number: usize) {
    assert_eq!(ask_one(cluster, id, number, topic), ErrorCode::NONE);
    has_moved(cluster, id, topic, number);
}

fn has_moved(cluster: &Cluster, id: usize, topic: &str, number: usize) {
    eventually("it has moved", || home(cluster, id, topic) == number);
    eventually("nothing is under way", || cluster.broker(id).broker.log_dir_moves().under_way == 0);
}

/// What a broker tells of partition 0, by directory: size, lag, and whether it is a future log.
fn told(cluster: &Cluster, id: usize, topic: &str) -> Vec<Vec<(i64, i64, bool)>> {
    let mut connection = Connection::to(cluster.address(id as i32));
    let response: DescribeLogDirsResponse<'_> = connection.ask(&DescribeLogDirsRequest { topics: None }, 4);
    let dirs = response.results.iter().map(|dir| {
        let topics = dir.topics.iter().filter(|told| *told.name == *topic);
        let partitions = topics.flat_map(|topic| &topic.partitions).filter(|told| told.partition_index == 0);
        partitions.map(|told| (told.partition_size, told.offset_lag, told.is_future_key)).collect()
    });
    dirs.collect()
}

/// The directories of a broker's data directory whose names end so.
fn ending(cluster: &Cluster, id: usize, number: usize, end: &str) -> usize {
    let entries = std::fs::read_dir(cluster.log_dir(id, number)).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(end)).count()
}

/// How many bytes a second all brokers may copy.
fn throttle(cluster: &Cluster, bytes_per_second: &str) {
    let admin: AdminClient<DefaultClientContext> = client(cluster, &[]);
    for id in 0..3 {
        let change = AlterConfig::new(ResourceSpecifier::Broker(id))
            .set("replica.alter.log.dirs.io.max.bytes.per.second", bytes_per_second);
        block_on(admin.alter_configs([&change], &AdminOptions::new())).unwrap().remove(0).unwrap();
        let live = &cluster.broker(id as usize).broker.live;
        eventually("the rate is known", || {
            live.now().replica_alter_log_dirs_io_max_bytes_per_second.to_string() == bytes_per_second
        });
    }
}

/// Several steps of a move: numbered, and of some size.
fn large(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{number:010}{}", ".".repeat(10_000))).collect()
}

#[test]
fn a_replica_moves_while_it_is_written_to_and_everything_is_read_from_the_new_place() {
    let mut cluster = Cluster::start_on(2, &[("log.segment.bytes", "1048576")]);
    create_topic(&cluster, "t", 1, &[]);
    let sender = producer(&cluster);
    produce(&sender, "t", &large(0..500)).unwrap();
    cluster.in_sync("t", 0);
    let leader = cluster.leader("t", 0);
    let (more, rounds) = std::sync::mpsc::channel::<()>();
    let written = std::thread::scope(|scope| {
        // As much for each move and no more, however slow the machine is.
        let writing = scope.spawn(|| {
            rounds.into_iter().fold(500, |end, ()| {
                produce(&sender, "t", &large(end..end + 50)).unwrap();
                end + 50
            })
        });
        for id in 0..3 {
            for _ in 0..3 {
                (0..6).for_each(|_| more.send(()).unwrap());
                let other = 1 - home(&cluster, id, "t");
                moves_to(&cluster, id, "t", other);
                assert_eq!(told(&cluster, id, "t")[other].iter().filter(|told| !told.2).count(), 1);
                assert_eq!(told(&cluster, id, "t")[1 - other], []);
            }
        }
        drop(more);
        writing.join().unwrap()
    });
    assert_eq!(written, 500 + 9 * 6 * 50);
    cluster.in_sync("t", 0);
    assert_eq!(cluster.leader("t", 0), leader, "nobody noticed");
    assert_eq!(consume(&cluster, "t", &[]), large(0..written));
    let homes: Vec<_> = (0..3).map(|id| dir(&cluster, id, "t")).collect();
    for id in 0..3 {
        for number in 0..2 {
            assert_eq!(ending(&cluster, id, number, "-future") + ending(&cluster, id, number, "-delete"), 0);
        }
    }
    assert!(cluster.broker(leader).broker.log_dir_moves().copied_bytes > 3 * 5_000_000);
    cluster.lose_broker(leader);
    cluster.start_broker(leader);
    cluster.in_sync("t", 0);
    assert_eq!((0..3).map(|id| dir(&cluster, id, "t")).collect::<Vec<_>>(), homes);
    produce(&sender, "t", &large(written..written + 10)).unwrap();
    assert_eq!(consume(&cluster, "t", &[]), large(0..written + 10));
}

#[test]
fn a_move_under_way_is_told_replaced_called_off_and_begun_anew_after_a_restart() {
    let mut cluster = Cluster::start_on(2, &[]);
    create_topic_of(&cluster, "t", 1, 1, &[("min.insync.replicas", "1")]);
    create_topic_of(&cluster, "small", 1, 1, &[("min.insync.replicas", "1")]);
    let sender = producer(&cluster);
    produce(&sender, "t", &large(0..300)).unwrap();
    produce(&sender, "small", &numbers(0..10)).unwrap();
    let id = cluster.leader("t", 0);
    let (source, target) = (home(&cluster, id, "t"), 1 - home(&cluster, id, "t"));
    throttle(&cluster, "1");
    assert_eq!(ask_one(&cluster, id, source, "t"), ErrorCode::NONE, "it is there");
    assert_eq!(cluster.broker(id).broker.log_dir_moves().under_way, 0);
    assert_eq!(ask_one(&cluster, id, target, "t"), ErrorCode::NONE);
    eventually("some of it is copied", || {
        let dirs = told(&cluster, id, "t");
        let future = dirs[target].first().copied();
        future.is_some_and(|(size, lag, is_future)| is_future && size > 0 && (1..300).contains(&lag))
            && dirs[source].len() == 1
            && !dirs[source][0].2
    });
    assert_eq!(ending(&cluster, id, target, "-future"), 1);
    assert_eq!(ask_one(&cluster, id, target, "t"), ErrorCode::NONE, "it is on its way");
    produce(&sender, "t", &large(300..310)).unwrap();
    assert_eq!(ask_one(&cluster, id, source, "t"), ErrorCode::NONE, "it shall stay");
    eventually("what was copied is gone", || ending(&cluster, id, target, "-future") == 0);
    assert_eq!(told(&cluster, id, "t")[target], []);
    // The debt of the first move is paid at the new rate.
    throttle(&cluster, "1000000000");
    let small = cluster.leader("small", 0);
    let other = 1 - home(&cluster, small, "small");
    moves_to(&cluster, small, "small", other);

    throttle(&cluster, "1");
    assert_eq!(ask_one(&cluster, id, target, "t"), ErrorCode::NONE);
    eventually("it has begun", || ending(&cluster, id, target, "-future") == 1);
    cluster.lose_broker(id);
    cluster.start_broker(id);
    eventually("it leads again", || {
        cluster.replica(id, "t", 0).is_some_and(|it| it.lock().led_epoch().is_some())
    });
    assert_eq!((home(&cluster, id, "t"), ending(&cluster, id, target, "-future")), (source, 0));
    throttle(&cluster, "1000000000");
    moves_to(&cluster, id, "t", target);
    assert_eq!(consume(&cluster, "t", &[]), large(0..310));
}

#[test]
fn what_cannot_be_moved_is_refused_as_by_kafka_and_a_new_replica_goes_where_it_was_wanted() {
    let cluster = Cluster::start_on(2, &[]);
    create_topic_of(&cluster, "t", 1, 1, &[("min.insync.replicas", "1")]);
    let id = cluster.leader("t", 0);
    let target = cluster.log_dir(id, 1 - home(&cluster, id, "t"));
    let path = target.to_str().unwrap();
    assert_eq!(ask(&cluster, id, "/nowhere", "t", &[0]), [(0, ErrorCode::LOG_DIR_NOT_FOUND)]);
    let too_long = "t".repeat(230);
    assert_eq!(ask(&cluster, id, path, &too_long, &[0]), [(0, ErrorCode::INVALID_TOPIC_EXCEPTION)]);
    assert_eq!(ask(&cluster, id, path, "none", &[0]), [(0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]);
    assert_eq!(ask(&cluster, id, path, "t", &[7]), [(7, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]);
    let elsewhere = (id + 1) % 3;
    let there = cluster.log_dir(elsewhere, 1);
    let there = there.to_str().unwrap();
    assert_eq!(ask(&cluster, elsewhere, there, "t", &[0]), [(0, ErrorCode::REPLICA_NOT_AVAILABLE)]);

    // New replicas go where they were wanted, though the other directory has fewer.
    let all: Vec<i32> = (0..6).collect();
    for id in 0..3 {
        let path = cluster.log_dir(id, 1);
        for told in ask(&cluster, id, path.to_str().unwrap(), "wanted", &all) {
            assert_eq!(told.1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
    }
    create_topic(&cluster, "wanted", 6, &[]);
    for id in 0..3 {
        eventually("they are made", || (0..6).all(|number| cluster.replica(id, "wanted", number).is_some()));
        assert!((0..6).all(|number| cluster.log_dir(id, 1).join(format!("wanted-{number}")).exists()));
    }

    let dirs = &cluster.broker(id).broker.log_dirs;
    dirs.fail(dirs.at(&target).unwrap(), "the disk is broken");
    assert_eq!(ask(&cluster, id, path, "t", &[0]), [(0, ErrorCode::KAFKA_STORAGE_ERROR)]);
}

#[test]
fn a_target_that_fails_or_fills_leaves_the_replica_where_it_is() {
    for fails in [true, false] {
        let cluster = Cluster::start_on(2, &[]);
        create_topic_of(&cluster, "t", 1, 1, &[("min.insync.replicas", "1")]);
        let sender = producer(&cluster);
        produce(&sender, "t", &large(0..300)).unwrap();
        let id = cluster.leader("t", 0);
        let before = dir(&cluster, id, "t");
        let target = 1 - home(&cluster, id, "t");
        throttle(&cluster, "1");
        assert_eq!(ask_one(&cluster, id, target, "t"), ErrorCode::NONE);
        eventually("it has begun", || ending(&cluster, id, target, "-future") == 1);
        let dirs = &cluster.broker(id).broker.log_dirs;
        let at = dirs.at(&cluster.log_dir(id, target)).unwrap();
        if fails {
            dirs.fail(at, "the disk is broken")
        } else {
            dirs.refused(at)
        }
        eventually("it takes nothing", || at.status().condition.reason().is_some());
        throttle(&cluster, "1000000000");
        eventually("the move is over", || cluster.broker(id).broker.log_dir_moves().under_way == 0);
        eventually("what was copied is gone", || ending(&cluster, id, target, "-future") == 0);
        assert_eq!(dir(&cluster, id, "t"), before);
        produce(&sender, "t", &large(300..310)).unwrap();
        assert_eq!(consume(&cluster, "t", &[]), large(0..310));
    }
}

#[test]
fn a_directory_is_emptied_of_more_than_is_copied_at_once() {
    let cluster = Cluster::start_on(2, &[]);
    create_topic(&cluster, "t", 30, &[]);
    produce(&producer(&cluster), "t", &numbers(0..50)).unwrap();
    (0..30).for_each(|partition| cluster.in_sync("t", partition));
    let all: Vec<i32> = (0..30).collect();
    let path = cluster.log_dir(0, 1);
    for told in ask(&cluster, 0, path.to_str().unwrap(), "t", &all) {
        assert_eq!(told.1, ErrorCode::NONE);
    }
    let moves = || cluster.broker(0).broker.log_dir_moves().under_way;
    eventually("all have moved", || moves() == 0);
    assert!(all.iter().all(|partition| path.join(format!("t-{partition}")).exists()));
    assert!(!all.iter().any(|partition| cluster.log_dir(0, 0).join(format!("t-{partition}")).exists()));
    assert_eq!(consume(&cluster, "t", &[]), numbers(0..50));
}

#[test]
fn a_topic_that_is_deleted_while_it_moves_leaves_nothing() {
    let cluster = Cluster::start_on(2, &[("log.segment.delete.delay.ms", "0")]);
    create_topic_of(&cluster, "t", 1, 1, &[("min.insync.replicas", "1")]);
    produce(&producer(&cluster), "t", &large(0..300)).unwrap();
    let id = cluster.leader("t", 0);
    let target = 1 - home(&cluster, id, "t");
    throttle(&cluster, "1");
    assert_eq!(ask_one(&cluster, id, target, "t"), ErrorCode::NONE);
    eventually("it has begun", || ending(&cluster, id, target, "-future") == 1);
    let admin: AdminClient<DefaultClientContext> = client(&cluster, &[]);
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    block_on(admin.delete_topics(&["t"], &options)).unwrap().remove(0).unwrap();
    throttle(&cluster, "1000000000");
    let left = |number| ending(&cluster, id, number, "-future") + ending(&cluster, id, number, "-delete");
    eventually("nothing is left of it", || left(0) + left(1) == 0);
    assert_eq!(cluster.broker(id).broker.log_dir_moves().under_way, 0);
}
