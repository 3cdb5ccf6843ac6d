//! CreateTopics (key 19).

use std::borrow::Cow;

use taffrail_control::session::{ApiError, ControllerRequest, NewTopic, TopicOutcome};
use taffrail_control::topic_config::validate_topic;
use taffrail_protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
};
use taffrail_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use taffrail_protocol::{ApiKey, ErrorCode, Uuid};

use crate::broker::Broker;
use crate::call::Call;
use crate::net::parked::Answer;
use crate::request::{Operation, RequestContext, Resource, authorize, throttle_time_ms};
use crate::topic_changes::{Outcome, Unique, decide, refuse};

/// Asks for the cluster's default, in place of a number of partitions or replicas.
const DEFAULT: i32 = -1;
/// Kafka's own metadata log, whose name nobody may take.
const KAFKA_METADATA_TOPIC: &str = "__cluster_metadata";

/// Handles a request for new topics.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: CreateTopicsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let (timeout_ms, validate_only) = (request.timeout_ms, request.validate_only);
    let topics = Unique::by(request.topics, |topic| topic.name.clone());
    let mut names: Vec<String> = topics.once.iter().map(|topic| topic.name.to_string()).collect();
    let mut checked: Vec<_> = topics.once.iter().map(|topic| new_topic(&call.context, topic)).collect();
    for name in topics.repeated {
        checked
            .push(refuse(ErrorCode::INVALID_REQUEST, format!("the request names the topic {name:?} twice")));
        names.push(name.into_owned());
    }
    let context = call.context.clone();
    call.answer_later(move |broker| async move {
        let create = |topics| ControllerRequest::CreateTopics { topics, validate_only };
        let outcomes = decide(&broker.controller, timeout_ms, checked, create).await;
        let named = names.into_iter().zip(outcomes);
        CreateTopicsResponse {
            throttle_time_ms: throttle_time_ms(&context),
            topics: named.map(|(name, outcome)| result(&broker, &context, name, outcome)).collect(),
        }
    })
}

/// Checks what can be checked without the cluster, and puts the rest before the controller.
fn new_topic(context: &RequestContext, topic: &CreatableTopic<'_>) -> Result<NewTopic, ApiError> {
    let name = &*topic.name;
    if name == KAFKA_METADATA_TOPIC {
        return refuse(
            ErrorCode::INVALID_REQUEST,
            format!("the topic {name} is Kafka's own and cannot be created"),
        );
    }
    if !authorize(context, Operation::Create, Resource::Cluster)
        && !authorize(context, Operation::Create, Resource::Topic(name))
    {
        return refuse(
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            format!("not authorized to create the topic {name:?}"),
        );
    }
    let (partitions, replication_factor, assignments) = if topic.assignments.is_empty() {
        let (partitions, replication_factor) = counts(topic)?;
        (partitions, replication_factor, Vec::new())
    } else {
        if topic.num_partitions != DEFAULT || i32::from(topic.replication_factor) != DEFAULT {
            return refuse(
                ErrorCode::INVALID_REQUEST,
                "with replicas assigned by hand, the numbers of partitions and replicas follow from them: set both to -1",
            );
        }
        (None, None, assignments(&topic.assignments)?)
    };
    let settings = topic.configs.iter().map(|config| (&*config.name, config.value.as_deref()));
    let config = validate_topic(settings)
        .map_err(|error| ApiError { code: ErrorCode::INVALID_CONFIG, message: error.to_string() })?;
    Ok(NewTopic { name: name.to_owned(), partitions, replication_factor, assignments, config })
}

/// The numbers of partitions and replicas; `None` for the cluster's default.
fn counts(topic: &CreatableTopic<'_>) -> Result<(Option<i32>, Option<i16>), ApiError> {
    let (partitions, replication_factor) = (topic.num_partitions, topic.replication_factor);
    if i32::from(replication_factor) < DEFAULT || replication_factor == 0 {
        return refuse(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            format!(
                "the replication factor is {replication_factor}; it must be 1 or more, or -1 for the default"
            ),
        );
    }
    if partitions < DEFAULT || partitions == 0 {
        return refuse(
            ErrorCode::INVALID_PARTITIONS,
            format!("the number of partitions is {partitions}; it must be 1 or more, or -1 for the default"),
        );
    }
    let given = |number| number != DEFAULT;
    Ok((
        Some(partitions).filter(|number| given(*number)),
        Some(replication_factor).filter(|number| given((*number).into())),
    ))
}

/// The replicas assigned by hand, in the order of the partitions.
fn assignments(given: &[CreatableReplicaAssignment]) -> Result<Vec<Vec<i32>>, ApiError> {
    let mut in_order: Vec<Option<Vec<i32>>> = vec![None; given.len()];
    for assignment in given {
        let number = assignment.partition_index;
        let place = usize::try_from(number).ok().and_then(|index| in_order.get_mut(index));
        let Some(place) = place else {
            return refuse(
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                format!(
                    "replicas are assigned to partition {number}, but not to each one from 0 up to it: \
                     {} are assigned in all",
                    given.len()
                ),
            );
        };
        if place.replace(assignment.broker_ids.clone()).is_some() {
            return refuse(
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                format!("replicas are assigned to partition {number} twice"),
            );
        }
    }
    // As many places as assignments, and none was filled twice: none is empty.
    Ok(in_order.into_iter().flatten().collect())
}

fn result(
    broker: &Broker,
    context: &RequestContext,
    name: String,
    outcome: Outcome,
) -> CreatableTopicResult<'static> {
    match outcome {
        Ok(made) => success(broker, context, name, made),
        Err(error) => {
            broker.metrics.request_error(ApiKey::CreateTopics, error.code);
            CreatableTopicResult {
                topic_id: Uuid::ZERO,
                error_code: error.code,
                error_message: Some(error.message.into()),
                name: name.into(),
                ..CreatableTopicResult::default()
            }
        }
    }
}

fn success(
    broker: &Broker,
    context: &RequestContext,
    name: String,
    made: TopicOutcome,
) -> CreatableTopicResult<'static> {
    let topic_id = made.topic_id;
    if !authorize(context, Operation::DescribeConfigs, Resource::Topic(&name)) {
        return CreatableTopicResult {
            name: name.into(),
            topic_id,
            error_message: None,
            topic_config_error_code: ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ..CreatableTopicResult::default()
        };
    }
    let configs =
        broker.live.now().describe_topic(&made.config).into_iter().map(|entry| CreatableTopicConfigs {
            name: Cow::Borrowed(entry.name),
            value: entry.value.map(Cow::Owned),
            read_only: entry.read_only,
            config_source: entry.source.id(),
            is_sensitive: entry.sensitive,
        });
    CreatableTopicResult {
        name: name.into(),
        topic_id,
        error_code: ErrorCode::NONE,
        error_message: None,
        topic_config_error_code: ErrorCode::NONE,
        num_partitions: made.partition_count,
        replication_factor: made.replication_factor,
        configs: Some(configs.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(partition_index: i32, broker_ids: &[i32]) -> CreatableReplicaAssignment {
        CreatableReplicaAssignment { partition_index, broker_ids: broker_ids.to_vec() }
    }

    fn code<T>(result: Result<T, ApiError>) -> Option<ErrorCode> {
        result.err().map(|error| error.code)
    }

    #[test]
    fn assignments_by_hand_are_put_in_the_order_of_the_partitions() {
        let given = [assign(1, &[2, 3]), assign(0, &[1, 2])];
        assert_eq!(assignments(&given), Ok(vec![vec![1, 2], vec![2, 3]]));
    }

    #[test]
    fn assignments_by_hand_must_cover_each_partition_once() {
        let refused = Some(ErrorCode::INVALID_REPLICA_ASSIGNMENT);
        assert_eq!(code(assignments(&[assign(0, &[1]), assign(2, &[1])])), refused);
        assert_eq!(code(assignments(&[assign(0, &[1]), assign(0, &[1])])), refused);
        assert_eq!(code(assignments(&[assign(-1, &[1])])), refused);
    }

    #[test]
    fn numbers_are_positive_or_ask_for_the_default() {
        let topic = |num_partitions, replication_factor| CreatableTopic {
            num_partitions,
            replication_factor,
            ..CreatableTopic::default()
        };
        assert_eq!(counts(&topic(-1, -1)), Ok((None, None)));
        assert_eq!(counts(&topic(3, 2)), Ok((Some(3), Some(2))));
        assert_eq!(code(counts(&topic(0, 1))), Some(ErrorCode::INVALID_PARTITIONS));
        assert_eq!(code(counts(&topic(-2, 1))), Some(ErrorCode::INVALID_PARTITIONS));
        assert_eq!(code(counts(&topic(1, 0))), Some(ErrorCode::INVALID_REPLICATION_FACTOR));
        assert_eq!(code(counts(&topic(1, -2))), Some(ErrorCode::INVALID_REPLICATION_FACTOR));
    }
}
