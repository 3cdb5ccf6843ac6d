//! Topics that come into being because somebody uses them (`kafka.server.AutoTopicCreationManager`).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use taffrail_control::session::{ApiError, ControllerRequest, ControllerResponse, NewTopic};
use taffrail_protocol::ErrorCode;

use crate::broker::Broker;
use crate::config::BrokerConfig;

/// Where groups keep their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// How long a topic that somebody else is making is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where transactions keep their state. Nobody makes it while there are no transactions.
const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// Makes the topics of these names, all in one request to the controller, and returns why some were not made. A topic
/// that somebody else made in the meantime counts as made. Of those made, the cluster as this broker knows it has the
/// record when the call returns; somebody else's are waited for as long as [`PATIENCE`].
pub async fn create_missing(broker: &Broker, names: Vec<String>) -> HashMap<String, ApiError> {
    let mut refused = HashMap::new();
    let mut topics = Vec::with_capacity(names.len());
    for name in names {
        match new_topic(&broker.config, &name) {
            Some(topic) => topics.push(topic),
            None => {
                refused.insert(name, not_made_by_use());
            }
        }
    }
    if topics.is_empty() {
        return refused;
    }
    let asked: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let request = ControllerRequest::CreateTopics { topics, validate_only: false };
    for (name, error) in failures(asked.clone(), broker.controller.request(request).await) {
        tracing::warn!(
            "topic {name:?} could not be created automatically: {}: {}",
            error.code,
            error.message
        );
        refused.insert(name, error);
    }
    let made: Vec<String> = asked.into_iter().filter(|name| !refused.contains_key(name)).collect();
    // What is still missing then is answered as such, and the client asks again.
    let there = || made.iter().all(|name| broker.cluster.topic(name).is_some());
    let _ = tokio::time::timeout(PATIENCE, broker.cluster.until(there)).await;
    refused
}

/// The topic to ask the controller for; `None` if it is not made by use.
fn new_topic(config: &BrokerConfig, name: &str) -> Option<NewTopic> {
    let by_default = NewTopic {
        name: name.to_owned(),
        partitions: None,
        replication_factor: None,
        assignments: Vec::new(),
        config: BTreeMap::new(),
    };
    match name {
        TRANSACTIONS_TOPIC => None,
        OFFSETS_TOPIC => Some(NewTopic {
            partitions: Some(config.offsets_topic_num_partitions),
            replication_factor: Some(config.offsets_topic_replication_factor),
            config: offsets_topic_config(config.offsets_topic_segment_bytes),
            ..by_default
        }),
        _ => Some(by_default),
    }
}

/// `GroupCoordinatorService.groupMetadataTopicConfigs`: small segments load and compact fast.
fn offsets_topic_config(segment_bytes: i32) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("compression.type".to_owned(), "producer".to_owned()),
        ("segment.bytes".to_owned(), segment_bytes.to_string()),
    ])
}

fn not_made_by_use() -> ApiError {
    ApiError {
        code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        message: "the topic is made when transactions are first used, and this broker does not serve them"
            .to_owned(),
    }
}

fn failures(asked: Vec<String>, response: ControllerResponse) -> Vec<(String, ApiError)> {
    let error = match response {
        ControllerResponse::Topics(outcomes) => {
            let named = asked.into_iter().zip(outcomes);
            let failed = named.filter_map(|(name, outcome)| Some((name, outcome.err()?)));
            return failed.filter(|(_, error)| error.code != ErrorCode::TOPIC_ALREADY_EXISTS).collect();
        }
        ControllerResponse::Failed(error) => error,
        _ => ApiError {
            code: ErrorCode::UNKNOWN_SERVER_ERROR,
            message: "the controller answered a request for topics with something else".to_owned(),
        },
    };
    asked.into_iter().map(|name| (name, error.clone())).collect()
}

#[cfg(test)]
mod tests {
    use taffrail_control::session::TopicOutcome;
    use taffrail_protocol::Uuid;

    use super::*;

    fn error(code: ErrorCode) -> ApiError {
        ApiError { code, message: String::new() }
    }

    #[test]
    fn a_topic_made_by_somebody_else_is_no_failure() {
        let made = TopicOutcome {
            name: Some("a".to_owned()),
            topic_id: Uuid::ZERO,
            partition_count: 1,
            replication_factor: 1,
            config: BTreeMap::new(),
        };
        let response = ControllerResponse::Topics(vec![
            Ok(made),
            Err(error(ErrorCode::TOPIC_ALREADY_EXISTS)),
            Err(error(ErrorCode::INVALID_REPLICATION_FACTOR)),
        ]);
        let asked = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(
            failures(asked, response),
            [("c".to_owned(), error(ErrorCode::INVALID_REPLICATION_FACTOR))]
        );
    }

    #[test]
    fn a_request_that_failed_as_a_whole_fails_every_topic() {
        let response = ControllerResponse::Failed(error(ErrorCode::REQUEST_TIMED_OUT));
        let failed = failures(vec!["a".to_owned(), "b".to_owned()], response);
        assert_eq!(failed.len(), 2);
        assert!(failed.iter().all(|(_, error)| error.code == ErrorCode::REQUEST_TIMED_OUT));
    }

    #[test]
    fn the_offsets_topic_is_compacted_and_its_settings_are_accepted() {
        let config = offsets_topic_config(1024);
        let settings = config.iter().map(|(name, value)| (name.as_str(), Some(value.as_str())));
        let kept = taffrail_control::topic_config::validate_topic(settings).unwrap();
        assert_eq!(kept, config);
        assert_eq!(kept["cleanup.policy"], "compact");
        assert_eq!(kept["segment.bytes"], "1024");
    }
}
