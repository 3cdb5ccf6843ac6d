//! What is asked of the controller for several topics in one request, and what became of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_control::session::{ApiError, ControllerRequest, ControllerResponse, Reassignment, TopicRef};

use super::plan::Ask;
use crate::events::News;

/// What a request asks for one topic.
#[derive(Debug)]
pub struct Part {
    /// The topic.
    pub name: Arc<str>,
    /// What is asked.
    pub ask: Ask,
    /// What people are told once it is done.
    pub news: Option<News>,
}

/// The request that parts of one kind are asked for with. `moves` are those of all topics.
pub fn request(parts: &[Part], moves: &[Reassignment]) -> ControllerRequest {
    let asks = || parts.iter().map(|part| &part.ask);
    let validate_only = false;
    match parts.first().map(|part| &part.ask) {
        Some(Ask::Create(_)) => {
            let topics =
                asks().filter_map(|ask| if let Ask::Create(new) = ask { Some(new.clone()) } else { None });
            ControllerRequest::CreateTopics { topics: topics.collect(), validate_only }
        }
        Some(Ask::Grow(_)) => {
            let topics =
                asks().filter_map(|ask| if let Ask::Grow(more) = ask { Some(more.clone()) } else { None });
            ControllerRequest::CreatePartitions { topics: topics.collect(), validate_only }
        }
        Some(Ask::Configure(_)) => {
            let changes =
                asks().filter_map(|ask| if let Ask::Configure(it) = ask { Some(it.clone()) } else { None });
            ControllerRequest::AlterConfigs { changes: changes.collect(), validate_only }
        }
        Some(Ask::Spread(_)) | None => {
            let is_asked = |it: &&Reassignment| parts.iter().any(|part| *part.name == *it.topic);
            let partitions = moves.iter().filter(is_asked).cloned().collect();
            ControllerRequest::AlterReassignments { partitions, allow_replication_factor_change: true }
        }
        Some(Ask::Delete(_)) => {
            let topics = asks()
                .filter_map(|ask| if let Ask::Delete(id) = ask { Some(TopicRef::Id(*id)) } else { None });
            ControllerRequest::DeleteTopics { topics: topics.collect() }
        }
    }
}

/// What became of each part.
pub fn results(parts: Vec<Part>, response: ControllerResponse) -> Vec<(Part, Result<(), ApiError>)> {
    match response {
        ControllerResponse::Topics(results) => {
            parts.into_iter().zip(results.into_iter().map(|result| result.map(drop))).collect()
        }
        ControllerResponse::Configs(results) => parts.into_iter().zip(results).collect(),
        ControllerResponse::Partitions(outcomes) => {
            let mut refused: BTreeMap<String, ApiError> = BTreeMap::new();
            for outcome in outcomes {
                if let Err(error) = outcome.result {
                    refused.entry(outcome.topic).or_insert(error);
                }
            }
            let result = |part: &Part| refused.get(&*part.name).cloned().map_or(Ok(()), Err);
            parts
                .into_iter()
                .map(|part| {
                    let result = result(&part);
                    (part, result)
                })
                .collect()
        }
        ControllerResponse::Failed(error) => {
            parts.into_iter().map(|part| (part, Err(error.clone()))).collect()
        }
        ControllerResponse::ProducerIds { .. } | ControllerResponse::Done => {
            parts.into_iter().map(|part| (part, Ok(()))).collect()
        }
    }
}

/// What was done, for the log.
pub fn done(ask: &Ask) -> String {
    match ask {
        Ask::Create(new) => format!("made, with {} partitions", new.partitions.unwrap_or_default()),
        Ask::Grow(more) => format!("grown to {} partitions", more.total_count),
        Ask::Configure(change) => {
            let keys: Vec<&str> = change.ops.iter().map(|(key, _)| key.as_str()).collect();
            format!("configured: {}", keys.join(", "))
        }
        Ask::Spread(factor) => format!("partitions are on their way to {factor} replicas"),
        Ask::Delete(_) => "deleted, as its object was".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use taffrail_control::session::PartitionOutcome;
    use taffrail_protocol::ErrorCode;

    use super::*;

    fn part(name: &str) -> Part {
        Part { name: name.into(), ask: Ask::Spread(2), news: None }
    }

    #[test]
    fn one_partition_that_is_refused_is_a_refusal_for_its_topic_alone() {
        let outcome =
            |topic: &str, partition, result| PartitionOutcome { topic: topic.into(), partition, result };
        let error = ApiError { code: ErrorCode::INVALID_REPLICA_ASSIGNMENT, message: "why".to_owned() };
        let outcomes =
            vec![outcome("a", 0, Ok(())), outcome("a", 1, Err(error.clone())), outcome("b", 0, Ok(()))];
        let results = results(vec![part("a"), part("b")], ControllerResponse::Partitions(outcomes));
        let results: Vec<_> =
            results.into_iter().map(|(part, result)| (part.name.to_string(), result)).collect();
        assert_eq!(results, [("a".to_owned(), Err(error)), ("b".to_owned(), Ok(()))]);
    }

    #[test]
    fn only_the_moves_of_topics_that_are_asked_for_are_in_a_request() {
        let moves =
            ["a", "b", "a"].map(|topic| Reassignment { topic: topic.into(), partition: 0, replicas: None });
        let ControllerRequest::AlterReassignments { partitions, .. } = request(&[part("a")], &moves) else {
            panic!("moves are asked for")
        };
        assert!(partitions.len() == 2 && partitions.iter().all(|it| it.topic == "a"));
    }
}
