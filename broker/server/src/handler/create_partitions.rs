//! CreatePartitions (key 37): topics that grow (KIP-195).

use taffrail_control::session::{ApiError, ControllerRequest, MorePartitions};
use taffrail_protocol::messages::create_partitions::{CreatePartitionsTopic, CreatePartitionsTopicResult};
use taffrail_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::call::Call;
use crate::net::parked::Answer;
use crate::request::{Operation, RequestContext, Resource, authorize, throttle_time_ms};
use crate::topic_changes::{Unique, decide, refuse};

/// Handles a request for more partitions.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: CreatePartitionsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let (timeout_ms, validate_only) = (request.timeout_ms, request.validate_only);
    let topics = Unique::by(request.topics, |topic| topic.name.clone());
    let mut names: Vec<String> = topics.once.iter().map(|topic| topic.name.to_string()).collect();
    let mut checked: Vec<_> =
        topics.once.into_iter().map(|topic| more_partitions(&call.context, topic)).collect();
    for name in topics.repeated {
        checked
            .push(refuse(ErrorCode::INVALID_REQUEST, format!("the request names the topic {name:?} twice")));
        names.push(name.into_owned());
    }
    let context = call.context.clone();
    call.answer_later(move |broker| async move {
        let grow = |topics| ControllerRequest::CreatePartitions { topics, validate_only };
        let outcomes = decide(&broker.controller, timeout_ms, checked, grow).await;
        let results = names.into_iter().zip(outcomes).map(|(name, outcome)| {
            let error = outcome.err();
            if let Some(error) = &error {
                broker.metrics.request_error(ApiKey::CreatePartitions, error.code);
            }
            CreatePartitionsTopicResult {
                name: name.into(),
                error_code: error.as_ref().map_or(ErrorCode::NONE, |error| error.code),
                error_message: error.map(|error| error.message.into()),
            }
        });
        CreatePartitionsResponse { throttle_time_ms: throttle_time_ms(&context), results: results.collect() }
    })
}

/// Checks what can be checked without the cluster, and puts the rest before the controller.
fn more_partitions(
    context: &RequestContext,
    topic: CreatePartitionsTopic<'_>,
) -> Result<MorePartitions, ApiError> {
    let name = topic.name.into_owned();
    if !authorize(context, Operation::Alter, Resource::Topic(&name)) {
        return refuse(
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            format!("not authorized to alter the topic {name:?}"),
        );
    }
    let assignments = match topic.assignments {
        None => Vec::new(),
        Some(assignments) if assignments.is_empty() => {
            return refuse(
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                "the replicas of the new partitions are to be assigned by hand, but none are: \
                 leave the assignment null to have them placed",
            );
        }
        Some(assignments) => assignments.into_iter().map(|assignment| assignment.broker_ids).collect(),
    };
    Ok(MorePartitions { name, total_count: topic.count, assignments })
}
