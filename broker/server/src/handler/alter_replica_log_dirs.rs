//! AlterReplicaLogDirs (key 34): replicas moved to another data directory of this broker (KIP-113).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use taffrail_log::{TopicPartition, names};
use taffrail_protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use taffrail_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use taffrail_protocol::{ApiKey, ErrorCode, Uuid};
use taffrail_replication::disk::logs::Condition;

use crate::broker::Broker;
use crate::call::Call;
use crate::net::parked::Answer;
use crate::request::{Operation, Resource, authorize, throttle_time_ms};

/// Handles a request to move replicas. The answer comes when the moves are under way, not when they are done.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: AlterReplicaLogDirsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let throttle_time_ms = throttle_time_ms(&call.context);
    let is_allowed = authorize(&call.context, Operation::Alter, Resource::Cluster);
    let mut wanted: BTreeMap<String, BTreeMap<i32, String>> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            // Named twice, the last one counts.
            let partitions = topic.partitions.iter().map(|number| (*number, dir.path.to_string()));
            wanted.entry(topic.name.to_string()).or_default().extend(partitions);
        }
    }
    call.answer_blocking(move |broker| {
        let outcome = |topic: &str, number, dir: &str| match is_allowed {
            true => alter(broker, TopicPartition::new(topic, number), Path::new(dir)).err(),
            false => Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED),
        };
        let results = wanted.iter().map(|(topic, partitions)| AlterReplicaLogDirTopicResult {
            topic_name: topic.clone().into(),
            partitions: partitions
                .iter()
                .map(|(&number, dir)| result(broker, number, outcome(topic, number, dir)))
                .collect(),
        });
        AlterReplicaLogDirsResponse { throttle_time_ms, results: results.collect() }
    })
}

fn result(
    broker: &Broker,
    partition_index: i32,
    error: Option<ErrorCode>,
) -> AlterReplicaLogDirPartitionResult {
    if let Some(code) = error {
        broker.metrics.request_error(ApiKey::AlterReplicaLogDirs, code);
    }
    AlterReplicaLogDirPartitionResult { partition_index, error_code: error.unwrap_or(ErrorCode::NONE) }
}

/// Lets a replica move to the directory at `dir`, or stay if it is there. One that is not here yet will be made there; the tools
/// that place new replicas count on it and ask again (`ReplicaManager.alterReplicaLogDirs`).
fn alter(broker: &Broker, partition: TopicPartition, dir: &Path) -> Result<(), ErrorCode> {
    if names::future_dir_name(&partition, Uuid([0; 16])).is_none() {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let target = broker.log_dirs.at(dir).ok_or(ErrorCode::LOG_DIR_NOT_FOUND)?;
    let is_offline = |condition: Condition| matches!(condition, Condition::Failed(_));
    if is_offline(target.status().condition) {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    let topic = broker.cluster.topic(&partition.topic);
    let known = topic.as_ref().and_then(|topic| Some((topic.id, topic.partition(partition.partition)?)));
    let Some((topic_id, known)) = known else {
        broker.log_dirs.prefer(partition, dir);
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    };
    let replica = match known.replica() {
        Ok(replica) => Arc::clone(replica),
        Err(ErrorCode::KAFKA_STORAGE_ERROR) => return Err(ErrorCode::KAFKA_STORAGE_ERROR),
        Err(_) => {
            broker.log_dirs.prefer(partition, dir);
            return Err(ErrorCode::REPLICA_NOT_AVAILABLE);
        }
    };
    let key = (topic_id, partition.partition);
    let present = replica.lock().log().dir().to_owned();
    let source = broker.log_dirs.of(&present);
    if source.is_none_or(|source| is_offline(source.status().condition)) {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    match present.parent() == Some(dir) {
        true => broker.log_dir_moves.call_off(key),
        false => broker.log_dir_moves.ask(key, partition, dir),
    }
    Ok(())
}
