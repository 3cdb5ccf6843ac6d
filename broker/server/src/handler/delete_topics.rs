//! DeleteTopics (key 20): by name or by id (KIP-516).

use std::collections::HashMap;

use taffrail_control::session::{ApiError, ControllerRequest, TopicRef};
use taffrail_protocol::messages::delete_topics::DeletableTopicResult;
use taffrail_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use taffrail_protocol::{ApiKey, ErrorCode, Uuid};

use crate::broker::Broker;
use crate::call::Call;
use crate::cluster::Cluster;
use crate::net::parked::Answer;
use crate::request::{Operation, RequestContext, Resource, authorize, throttle_time_ms};
use crate::topic_changes::{Outcome, Unique, decide, refuse};

/// Versions from this one on name topics by name or by id.
const TOPIC_IDS_FROM: i16 = 6;
/// Versions from this one on know that deletion may be disabled.
const DELETION_DISABLED_FROM: i16 = 3;

/// A topic as the request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    name: Option<String>,
    id: Uuid,
}

/// Handles a request to delete topics. The broker's own may be deleted too, as in Apache Kafka.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: DeleteTopicsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let topics = Unique::by(asked(&request, call.version()), Asked::clone);
    let mut asked = topics.once;
    let mut checked: Vec<_> = asked.iter().map(|topic| check(&call, topic)).collect();
    refuse_named_twice(&call.broker.cluster, &asked, &mut checked);
    for topic in topics.repeated {
        checked.push(refuse(ErrorCode::INVALID_REQUEST, "the request names the topic twice"));
        asked.push(topic);
    }
    let (context, timeout_ms) = (call.context.clone(), request.timeout_ms);
    call.answer_later(move |broker| async move {
        let delete = |topics| ControllerRequest::DeleteTopics { topics };
        let outcomes = decide(&broker.controller, timeout_ms, checked, delete).await;
        let responses =
            asked.into_iter().zip(outcomes).map(|(topic, outcome)| result(&broker, topic, outcome));
        DeleteTopicsResponse { throttle_time_ms: throttle_time_ms(&context), responses: responses.collect() }
    })
}

fn asked(request: &DeleteTopicsRequest<'_>, version: i16) -> Vec<Asked> {
    if version >= TOPIC_IDS_FROM {
        let topics = request.topics.iter();
        return topics
            .map(|topic| Asked { name: topic.name.as_deref().map(str::to_owned), id: topic.topic_id })
            .collect();
    }
    request.topic_names.iter().map(|name| Asked { name: Some(name.to_string()), id: Uuid::ZERO }).collect()
}

/// Checks what can be checked without the controller.
fn check(call: &Call, topic: &Asked) -> Result<TopicRef, ApiError> {
    if !call.broker.config.delete_topic_enable {
        let code = if call.version() < DELETION_DISABLED_FROM {
            ErrorCode::INVALID_REQUEST
        } else {
            ErrorCode::TOPIC_DELETION_DISABLED
        };
        return refuse(code, "topics are not deleted here: delete.topic.enable is false");
    }
    match (&topic.name, topic.id.is_zero()) {
        (None, true) => refuse(ErrorCode::INVALID_REQUEST, "a topic is asked for by neither name nor id"),
        (Some(_), false) => {
            refuse(ErrorCode::INVALID_REQUEST, "a topic is asked for by name and id; give one of them")
        }
        (Some(name), true) => {
            may_delete(&call.context, name)?;
            Ok(TopicRef::Name(name.clone()))
        }
        (None, false) => {
            if let Some(known) = call.broker.cluster.topic_by_id(topic.id) {
                may_delete(&call.context, &known.name)?;
            }
            Ok(TopicRef::Id(topic.id))
        }
    }
}

fn may_delete(context: &RequestContext, name: &str) -> Result<(), ApiError> {
    if authorize(context, Operation::Delete, Resource::Cluster)
        || authorize(context, Operation::Delete, Resource::Topic(name))
    {
        return Ok(());
    }
    refuse(ErrorCode::TOPIC_AUTHORIZATION_FAILED, "not authorized to delete the topic")
}

/// Of a topic that is asked for both by its name and by its id, nothing is deleted.
fn refuse_named_twice(cluster: &Cluster, asked: &[Asked], checked: &mut [Result<TopicRef, ApiError>]) {
    let id_of = |topic: &Asked| match &topic.name {
        Some(name) => cluster.topic(name).map(|topic| topic.id),
        None => Some(topic.id),
    };
    let mut times: HashMap<Uuid, u32> = HashMap::new();
    let ids: Vec<_> =
        asked.iter().zip(&*checked).map(|(topic, ok)| ok.is_ok().then(|| id_of(topic)).flatten()).collect();
    for id in ids.iter().flatten() {
        *times.entry(*id).or_default() += 1;
    }
    for (id, checked) in ids.iter().zip(checked) {
        if id.is_some_and(|id| times.get(&id).is_some_and(|times| *times > 1)) {
            *checked =
                refuse(ErrorCode::INVALID_REQUEST, "the request names the topic by its name and by its id");
        }
    }
}

fn result(broker: &Broker, topic: Asked, outcome: Outcome) -> DeletableTopicResult<'static> {
    match outcome {
        Ok(deleted) => DeletableTopicResult {
            name: topic.name.or(deleted.name).map(Into::into),
            topic_id: deleted.topic_id,
            error_code: ErrorCode::NONE,
            error_message: None,
        },
        Err(error) => {
            broker.metrics.request_error(ApiKey::DeleteTopics, error.code);
            DeletableTopicResult {
                name: topic.name.map(Into::into),
                topic_id: topic.id,
                error_code: error.code,
                error_message: Some(error.message.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_protocol::messages::delete_topics::DeleteTopicState;

    use super::*;

    #[test]
    fn topics_are_named_in_one_list_up_to_version_5_and_in_another_from_6_on() {
        let id = Uuid([7; 16]);
        let request = DeleteTopicsRequest {
            topics: vec![
                DeleteTopicState { name: Some("new".into()), topic_id: Uuid::ZERO },
                DeleteTopicState { name: None, topic_id: id },
            ],
            topic_names: vec!["old".into()],
            ..DeleteTopicsRequest::default()
        };
        assert_eq!(asked(&request, 5), [Asked { name: Some("old".to_owned()), id: Uuid::ZERO }]);
        assert_eq!(
            asked(&request, 6),
            [Asked { name: Some("new".to_owned()), id: Uuid::ZERO }, Asked { name: None, id }]
        );
    }
}
