//! DescribeTopicPartitions (key 75): topics in pages (KIP-966).

use std::collections::BTreeSet;
use std::sync::Arc;

use taffrail_log::names::is_legal_topic;
use taffrail_protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use taffrail_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use taffrail_protocol::{ApiKey, ErrorCode, Uuid};

use crate::broker::Broker;
use crate::call::Call;
use crate::cluster::{Topic, TopicPartition, is_internal};
use crate::cluster_view::{ClusterView, ids};
use crate::net::parked::Answer;
use crate::request::{
    Operation, RequestContext, Resource, authorize, authorized_operations, throttle_time_ms,
};

/// Where a page begins: everything before it was told on earlier pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Start<'a> {
    topic: &'a str,
    partition: usize,
}

/// Handles a request for a page.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: DescribeTopicPartitionsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let Some(start) = start(&request) else { return refuse(&call, &request) };
    let all = call.broker.cluster.topics();
    let named = |name: &&str| *name >= start.topic;
    let names: BTreeSet<&str> = if request.topics.is_empty() {
        all.iter().map(|topic| &*topic.name).filter(named).collect()
    } else {
        request.topics.iter().map(|topic| &*topic.name).filter(named).collect()
    };
    let limit = request.response_partition_limit.min(call.broker.config.max_request_partition_size_limit);
    let page = Page {
        broker: &call.broker,
        context: &call.context,
        view: ClusterView::new(&call.broker.cluster, &call.context.listener),
        named: !request.topics.is_empty(),
    };
    let response = page.fill(names, start, usize::try_from(limit).unwrap_or(0).max(1));
    call.answer(&response)
}

/// Where the cursor points; `None` if it points nowhere that the request asks for.
fn start<'a>(request: &'a DescribeTopicPartitionsRequest<'_>) -> Option<Start<'a>> {
    let Some(cursor) = &request.cursor else { return Some(Start { topic: "", partition: 0 }) };
    let listed =
        request.topics.is_empty() || request.topics.iter().any(|topic| topic.name == cursor.topic_name);
    let partition = usize::try_from(cursor.partition_index).ok()?;
    listed.then_some(Start { topic: &cursor.topic_name, partition })
}

fn refuse(call: &Call, request: &DescribeTopicPartitionsRequest<'_>) -> Answer {
    call.note_error(ErrorCode::INVALID_REQUEST);
    let topics = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        name: Some((&*topic.name).into()),
        ..DescribeTopicPartitionsResponseTopic::default()
    });
    call.answer(&DescribeTopicPartitionsResponse {
        throttle_time_ms: throttle_time_ms(&call.context),
        topics: topics.collect(),
        next_cursor: None,
    })
}

/// What a page is made from.
struct Page<'a> {
    broker: &'a Broker,
    context: &'a RequestContext,
    view: ClusterView<'a>,
    /// Whether the request names topics, so that those which are missing are told.
    named: bool,
}

impl Page<'_> {
    fn fill<'n>(
        &self,
        names: BTreeSet<&'n str>,
        start: Start<'_>,
        limit: usize,
    ) -> DescribeTopicPartitionsResponse<'n> {
        let mut response = DescribeTopicPartitionsResponse {
            throttle_time_ms: throttle_time_ms(self.context),
            ..DescribeTopicPartitionsResponse::default()
        };
        let mut left = limit;
        for name in names {
            if left == 0 {
                response.next_cursor = Some(Cursor { topic_name: name.into(), partition_index: 0 });
                break;
            }
            let topic = match self.find(name) {
                Ok(topic) => topic,
                Err(missing) => {
                    response.topics.extend(missing);
                    continue;
                }
            };
            let from = if name == start.topic { start.partition } else { 0 };
            let shown = shown(from, topic.partitions.len(), left);
            left -= shown.len();
            if shown.end < topic.partitions.len() {
                let partition_index = i32::try_from(shown.end).unwrap_or(i32::MAX);
                response.next_cursor = Some(Cursor { topic_name: name.into(), partition_index });
            }
            let partitions = &topic.partitions[shown];
            response.topics.push(DescribeTopicPartitionsResponseTopic {
                error_code: ErrorCode::NONE,
                name: Some(name.into()),
                topic_id: topic.id,
                is_internal: topic.is_internal(),
                partitions: partitions.iter().map(|partition| self.describe(partition)).collect(),
                topic_authorized_operations: authorized_operations(self.context, Resource::Topic(name)),
            });
            if response.next_cursor.is_some() {
                break;
            }
        }
        response
    }

    /// The topic, or what the answer says in its stead; nothing if it does not have to mention it.
    fn find<'n>(
        &self,
        name: &'n str,
    ) -> Result<Arc<Topic>, Option<DescribeTopicPartitionsResponseTopic<'n>>> {
        let missing = |error_code| {
            self.broker.metrics.request_error(ApiKey::DescribeTopicPartitions, error_code);
            self.named.then(|| DescribeTopicPartitionsResponseTopic {
                error_code,
                name: Some(name.into()),
                topic_id: Uuid::ZERO,
                is_internal: is_internal(name),
                ..DescribeTopicPartitionsResponseTopic::default()
            })
        };
        if !authorize(self.context, Operation::Describe, Resource::Topic(name)) {
            return Err(missing(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
        }
        self.broker.cluster.topic(name).ok_or_else(|| {
            let legal = is_legal_topic(name);
            missing(if legal {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            } else {
                ErrorCode::INVALID_TOPIC_EXCEPTION
            })
        })
    }

    fn describe(&self, partition: &TopicPartition) -> DescribeTopicPartitionsResponsePartition {
        let record = &partition.record;
        DescribeTopicPartitionsResponsePartition {
            error_code: ErrorCode::NONE,
            partition_index: record.partition,
            leader_id: self.view.leader(record).id(),
            leader_epoch: record.leader_epoch,
            replica_nodes: record.replicas.clone(),
            isr_nodes: ids(&record.isr),
            eligible_leader_replicas: Some(ids(&record.elr)),
            // The controller keeps no replicas on record that were eligible once.
            last_known_elr: Some(Vec::new()),
            offline_replicas: self.view.offline_replicas(record),
        }
    }
}

/// Which of `count` partitions go onto a page that has room for `left`, from number `from` on.
fn shown(from: usize, count: usize, left: usize) -> std::ops::Range<usize> {
    let from = from.min(count);
    from..count.min(from.saturating_add(left))
}

#[cfg(test)]
mod tests {
    use taffrail_protocol::messages::describe_topic_partitions::TopicRequest;

    use super::*;

    fn request<'a>(topics: &[&'a str], cursor: Option<(&'a str, i32)>) -> DescribeTopicPartitionsRequest<'a> {
        DescribeTopicPartitionsRequest {
            topics: topics.iter().map(|name| TopicRequest { name: (*name).into() }).collect(),
            cursor: cursor
                .map(|(topic, partition_index)| Cursor { topic_name: topic.into(), partition_index }),
            ..DescribeTopicPartitionsRequest::default()
        }
    }

    #[test]
    fn a_page_begins_where_the_cursor_points() {
        assert_eq!(start(&request(&[], None)), Some(Start { topic: "", partition: 0 }));
        assert_eq!(start(&request(&[], Some(("b", 3)))), Some(Start { topic: "b", partition: 3 }));
        assert_eq!(start(&request(&["a", "b"], Some(("b", 3)))), Some(Start { topic: "b", partition: 3 }));
    }

    #[test]
    fn a_cursor_must_point_to_a_partition_of_a_topic_asked_for() {
        assert_eq!(start(&request(&["a"], Some(("b", 3)))), None);
        assert_eq!(start(&request(&[], Some(("b", -1)))), None);
    }

    #[test]
    fn a_page_shows_no_more_than_it_has_room_for_and_nothing_behind_the_end() {
        assert_eq!(shown(0, 10, 4), 0..4);
        assert_eq!(shown(4, 10, 100), 4..10);
        assert_eq!(shown(20, 10, 4), 10..10);
        assert_eq!(shown(usize::MAX, 10, usize::MAX), 10..10);
    }
}
