//! DescribeLogDirs (key 35): how large the logs here are, and how full the disk below them is (KIP-113, KIP-827).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use taffrail_log::TopicPartition;
use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use taffrail_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::broker::Broker;
use crate::call::Call;
use crate::cluster::Replica;
use crate::log_dirs::ServedLogDir;
use crate::net::parked::Answer;
use crate::request::{Operation, Resource, authorize, throttle_time_ms};

/// Handles a question for the log directories. Partitions that do not live here are left out.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: DescribeLogDirsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let throttle_time_ms = throttle_time_ms(&call.context);
    if !authorize(&call.context, Operation::Describe, Resource::Cluster) {
        let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        call.note_error(error_code);
        return call.answer(&DescribeLogDirsResponse { throttle_time_ms, error_code, ..Default::default() });
    }
    let replicas = match request.topics {
        None => call.broker.cluster.replicas(),
        Some(topics) => asked_for(&call.broker, &topics),
    };
    call.answer_blocking(move |broker| {
        let found = found(broker, &replicas);
        DescribeLogDirsResponse {
            throttle_time_ms,
            results: broker.log_dirs.iter().map(|dir| described(dir, &found)).collect(),
            ..DescribeLogDirsResponse::default()
        }
    })
}

/// Those of the partitions that live here, each once.
fn asked_for(broker: &Broker, topics: &[DescribableLogDirTopic<'_>]) -> Vec<(TopicPartition, Arc<Replica>)> {
    let mut found = BTreeMap::new();
    for asked in topics {
        let Some(topic) = broker.cluster.topic(&asked.topic) else { continue };
        for &number in &asked.partitions {
            let Some(replica) = topic.partition(number).and_then(|here| here.replica.clone()) else {
                continue;
            };
            found.insert((Arc::clone(&topic.name), number), replica);
        }
    }
    let named =
        |((name, number), replica): ((Arc<str>, i32), _)| (TopicPartition::new(&*name, number), replica);
    found.into_iter().map(named).collect()
}

/// A log, or one that is to take its place, and the data directory that it is in.
struct FoundLog<'a> {
    dir: PathBuf,
    topic: &'a str,
    partition: DescribeLogDirsPartition,
}

/// The logs of `replicas`, in the order of their topics, each with the one that it is being moved to.
fn found<'a>(broker: &Broker, replicas: &'a [(TopicPartition, Arc<Replica>)]) -> Vec<FoundLog<'a>> {
    let bytes = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
    // Looked at first: a move that ends meanwhile is told of, and has ended.
    let moves = broker.log_dir_moves.under_way();
    let mut found = Vec::new();
    for (name, replica) in replicas {
        let replica = replica.lock();
        let log = replica.log();
        let (key, end) = ((replica.record().topic_id, name.partition), log.log_end_offset());
        let Some(dir) = log.dir().parent() else { continue };
        let described = |size: u64, offset_lag: i64, is_future_key: bool| DescribeLogDirsPartition {
            partition_index: name.partition,
            partition_size: bytes(size),
            offset_lag: offset_lag.max(0),
            is_future_key,
        };
        let present = described(log.size(), replica.high_watermark() - end, false);
        found.push(FoundLog { dir: dir.to_owned(), topic: &name.topic, partition: present });
        if let Some(asked) = moves.get(&key).filter(|asked| asked.target != dir) {
            let future = described(asked.size, end - asked.end_offset, true);
            found.push(FoundLog { dir: asked.target.clone(), topic: &name.topic, partition: future });
        }
    }
    found
}

/// A directory with those logs that are in it. Of one that has failed nothing is told but that.
fn described(dir: &ServedLogDir, found: &[FoundLog<'_>]) -> DescribeLogDirsResult<'static> {
    let log_dir = dir.path.to_string_lossy().into_owned().into();
    if dir.has_failed() {
        return DescribeLogDirsResult {
            error_code: ErrorCode::KAFKA_STORAGE_ERROR,
            log_dir,
            topics: Vec::new(),
            total_bytes: -1,
            usable_bytes: -1,
        };
    }
    let mut topics: Vec<DescribeLogDirsTopic<'static>> = Vec::new();
    for log in found.iter().filter(|log| log.dir == dir.path) {
        match topics.last_mut() {
            Some(topic) if *topic.name == *log.topic => topic.partitions.push(log.partition.clone()),
            _ => topics.push(DescribeLogDirsTopic {
                name: log.topic.to_owned().into(),
                partitions: vec![log.partition.clone()],
            }),
        }
    }
    // A disk that cannot be asked is described without its size, as by a broker that does not know it.
    let space = rustix::fs::statvfs(&dir.path).ok();
    let bytes = |blocks: u64, size: u64| i64::try_from(blocks.saturating_mul(size)).unwrap_or(i64::MAX);
    DescribeLogDirsResult {
        error_code: ErrorCode::NONE,
        log_dir,
        topics,
        total_bytes: space.as_ref().map_or(-1, |space| bytes(space.f_blocks, space.f_frsize)),
        usable_bytes: space.as_ref().map_or(-1, |space| bytes(space.f_bavail, space.f_frsize)),
    }
}
