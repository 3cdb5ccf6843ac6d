//! ListPartitionReassignments (key 46): the partitions that are being moved (KIP-455), as this broker knows them.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::list_partition_reassignments::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use taffrail_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::call::Call;
use crate::cluster::{Topic, TopicPartition};
use crate::net::parked::Answer;
use crate::request::{Operation, Resource, authorize, throttle_time_ms};

/// Handles a question for partitions that are being moved. Topics that do not exist are left out.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: ListPartitionReassignmentsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let answer = ListPartitionReassignmentsResponse {
        throttle_time_ms: throttle_time_ms(&call.context),
        ..ListPartitionReassignmentsResponse::default()
    };
    if !authorize(&call.context, Operation::Describe, Resource::Cluster) {
        call.note_error(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
        let error_message = Some("not authorized to see the cluster".into());
        let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        return call.answer(&ListPartitionReassignmentsResponse { error_code, error_message, ..answer });
    }
    let cluster = &call.broker.cluster;
    let topics = match &request.topics {
        None => cluster.topics().iter().filter_map(|topic| moving(topic, topic.partitions.iter())).collect(),
        Some(asked) => {
            let found = asked.iter().filter_map(|asked| Some((asked, cluster.topic(&asked.name)?)));
            let listed = found.filter_map(|(asked, topic)| {
                let partitions = asked.partition_indexes.iter().filter_map(|number| topic.partition(*number));
                moving(&topic, partitions)
            });
            listed.collect()
        }
    };
    call.answer(&ListPartitionReassignmentsResponse { topics, ..answer })
}

/// Those of the topic's partitions that are being moved, if there are any.
fn moving<'a>(
    topic: &Topic,
    partitions: impl Iterator<Item = &'a TopicPartition>,
) -> Option<OngoingTopicReassignment<'static>> {
    let records = partitions.map(|partition| &partition.record);
    let moving = records.filter(|record| !record.adding.is_empty() || !record.removing.is_empty());
    let partitions: Vec<_> = moving
        .map(|record| OngoingPartitionReassignment {
            partition_index: record.partition,
            replicas: record.replicas.clone(),
            adding_replicas: record.adding.clone(),
            removing_replicas: record.removing.clone(),
        })
        .collect();
    (!partitions.is_empty())
        .then(|| OngoingTopicReassignment { name: topic.name.to_string().into(), partitions })
}
