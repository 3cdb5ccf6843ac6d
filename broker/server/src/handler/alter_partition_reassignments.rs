//! AlterPartitionReassignments (key 45): partitions moved to other replicas, or left where they are (KIP-455, KIP-860).

use std::collections::HashSet;

use taffrail_control::session::{ApiError, ControllerRequest, ControllerResponse, Reassignment};
use taffrail_protocol::messages::alter_partition_reassignments::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use taffrail_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::broker::Broker;
use crate::call::Call;
use crate::net::parked::Answer;
use crate::request::{Operation, Resource, authorize, throttle_time_ms};
use crate::topic_changes::{decide_each, refuse};

/// Handles a request to move partitions.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: AlterPartitionReassignmentsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let allow_replication_factor_change = request.allow_replication_factor_change;
    let answer = AlterPartitionReassignmentsResponse {
        throttle_time_ms: throttle_time_ms(&call.context),
        allow_replication_factor_change,
        ..AlterPartitionReassignmentsResponse::default()
    };
    if !authorize(&call.context, Operation::Alter, Resource::Cluster) {
        call.note_error(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
        let error_message = Some("not authorized to move partitions".into());
        let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        return call.answer(&AlterPartitionReassignmentsResponse { error_code, error_message, ..answer });
    }
    let timeout_ms = request.timeout_ms;
    // The number of partitions of each topic, to put the answer together again.
    let topics: Vec<(String, usize)> =
        request.topics.iter().map(|topic| (topic.name.to_string(), topic.partitions.len())).collect();
    let asked = request.topics.into_iter().flat_map(|topic| {
        let name = topic.name.into_owned();
        topic.partitions.into_iter().map(move |partition| Reassignment {
            topic: name.clone(),
            partition: partition.partition_index,
            replicas: partition.replicas,
        })
    });
    let (numbers, checked) = once_each(asked);
    call.answer_later(move |broker| async move {
        let request = |partitions| ControllerRequest::AlterReassignments {
            partitions,
            allow_replication_factor_change,
        };
        let each = |response| match response {
            ControllerResponse::Partitions(outcomes) => {
                Some(outcomes.into_iter().map(|outcome| outcome.result).collect())
            }
            _ => None,
        };
        let outcomes = decide_each(&broker.controller, timeout_ms, checked, request, each).await;
        let mut results =
            numbers.into_iter().zip(outcomes).map(|(number, outcome)| result(&broker, number, outcome));
        let response = |(name, count): (String, usize)| ReassignableTopicResponse {
            name: name.into(),
            partitions: results.by_ref().take(count).collect(),
        };
        AlterPartitionReassignmentsResponse {
            responses: topics.into_iter().map(response).collect(),
            ..answer
        }
    })
}

/// The numbers of all partitions asked for, and each one that is asked for once; later mentions are refused.
fn once_each(asked: impl Iterator<Item = Reassignment>) -> (Vec<i32>, Vec<Result<Reassignment, ApiError>>) {
    let mut seen = HashSet::new();
    let check = |wanted: Reassignment| match seen.insert((wanted.topic.clone(), wanted.partition)) {
        true => (wanted.partition, Ok(wanted)),
        false => {
            (wanted.partition, refuse(ErrorCode::INVALID_REQUEST, "the request names the partition twice"))
        }
    };
    asked.map(check).unzip()
}

fn result(
    broker: &Broker,
    partition_index: i32,
    outcome: Result<(), ApiError>,
) -> ReassignablePartitionResponse<'static> {
    let error = outcome.err();
    if let Some(error) = &error {
        broker.metrics.request_error(ApiKey::AlterPartitionReassignments, error.code);
    }
    ReassignablePartitionResponse {
        partition_index,
        error_code: error.as_ref().map_or(ErrorCode::NONE, |error| error.code),
        error_message: error.map(|error| error.message.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_asked_for_twice_is_moved_as_it_was_asked_first() {
        let wanted =
            |replica| Reassignment { topic: "t".into(), partition: 3, replicas: Some(vec![replica]) };
        let (numbers, checked) = once_each([wanted(1), wanted(2)].into_iter());
        assert_eq!(numbers, [3, 3]);
        assert_eq!(checked[0], Ok(wanted(1)));
        assert_eq!(checked[1].as_ref().map_err(|error| error.code), Err(ErrorCode::INVALID_REQUEST));
    }
}
