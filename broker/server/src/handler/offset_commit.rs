//! OffsetCommit (key 8): how far a group has read.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::offset_commit::{
    OffsetCommitRequestTopic, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use taffrail_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use crate::call::Call;
use crate::group::{self, CommitPartition, CommitTopic, GroupRequest, GroupResponse};
use crate::group_call::{owned, owned_option};
use crate::net::parked::Answer;
use crate::request::{Operation, Resource, authorize};

/// From this version on a missing group has an error of its own.
const REPORTS_MISSING_GROUP_FROM: i16 = 9;

/// Handles a commit.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: OffsetCommitRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let group_allowed = call.authorize_group(Operation::Read, &request.group_id);
    let verdicts: Vec<Vec<ErrorCode>> =
        request.topics.iter().map(|topic| judge(&call, topic, group_allowed.err())).collect();
    let good = request.topics.iter().zip(&verdicts).map(|(topic, verdicts)| CommitTopic {
        topic: owned(&topic.name),
        partitions: good_partitions(topic, verdicts),
    });
    let topics: Vec<_> = good.filter(|topic| !topic.partitions.is_empty()).collect();
    let skeleton = skeleton(&request, verdicts);
    if topics.is_empty() && !request.topics.is_empty() {
        return call.answer(&finish(&call, skeleton, Vec::new()));
    }
    let asked = GroupRequest::OffsetCommit(group::OffsetCommitRequest {
        group_id: owned(&request.group_id),
        generation_id: request.generation_id_or_member_epoch,
        member_id: owned(&request.member_id),
        group_instance_id: owned_option(request.group_instance_id.as_ref()),
        retention_time_ms: (request.retention_time_ms >= 0).then_some(request.retention_time_ms),
        reports_missing_group: call.version() >= REPORTS_MISSING_GROUP_FROM,
        topics,
    });
    call.ask_group(&request.group_id, asked, |call, response| {
        let GroupResponse::OffsetCommit(response) = response else { return None };
        let codes = response.topics.into_iter().flat_map(|topic| topic.partitions);
        Some(finish(call, skeleton, codes.map(|(_, code)| code).collect()))
    })
}

/// What keeps each of a topic's partitions from being committed, before the coordinator is asked.
fn judge(call: &Call, topic: &OffsetCommitRequestTopic<'_>, refused: Option<ErrorCode>) -> Vec<ErrorCode> {
    let allowed = authorize(&call.context, Operation::Read, Resource::Topic(&topic.name));
    let known = call.broker.cluster.topic(&topic.name);
    let verdict = |partition: i32| match (refused, &known) {
        (Some(code), _) => code,
        _ if !allowed => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        (None, Some(known)) if known.partition(partition).is_some() => ErrorCode::NONE,
        _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    };
    topic.partitions.iter().map(|partition| verdict(partition.partition_index)).collect()
}

fn good_partitions(topic: &OffsetCommitRequestTopic<'_>, verdicts: &[ErrorCode]) -> Vec<CommitPartition> {
    let good = topic.partitions.iter().zip(verdicts).filter(|(_, verdict)| **verdict == ErrorCode::NONE);
    good.map(|(partition, _)| CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: owned_option(partition.committed_metadata.as_ref()),
    })
    .collect()
}

/// The answer as far as it is known without the coordinator.
fn skeleton(
    request: &OffsetCommitRequest<'_>,
    verdicts: Vec<Vec<ErrorCode>>,
) -> Vec<OffsetCommitResponseTopic<'static>> {
    let topics = request.topics.iter().zip(verdicts);
    topics
        .map(|(topic, verdicts)| {
            let partitions = topic.partitions.iter().zip(verdicts);
            OffsetCommitResponseTopic {
                name: topic.name.to_string().into(),
                partitions: partitions
                    .map(|(partition, error_code)| OffsetCommitResponsePartition {
                        partition_index: partition.partition_index,
                        error_code,
                    })
                    .collect(),
            }
        })
        .collect()
}

/// Fills the coordinator's codes, which come in the order in which it was asked, into the places that were open.
fn finish(
    call: &Call,
    mut topics: Vec<OffsetCommitResponseTopic<'static>>,
    codes: Vec<ErrorCode>,
) -> OffsetCommitResponse<'static> {
    let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    let open = partitions.filter(|partition| partition.error_code == ErrorCode::NONE);
    for (partition, code) in open.zip(codes) {
        partition.error_code = code;
    }
    for partition in topics.iter().flat_map(|topic| &topic.partitions) {
        call.note_error(partition.error_code);
    }
    OffsetCommitResponse { topics, ..OffsetCommitResponse::default() }
}
