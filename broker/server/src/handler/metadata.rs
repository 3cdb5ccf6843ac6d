//! Metadata (key 3): brokers, topics, and who leads their partitions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use taffrail_control::session::ApiError;
use taffrail_log::names::is_legal_topic;
use taffrail_protocol::messages::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use taffrail_protocol::messages::{MetadataRequest, MetadataResponse};
use taffrail_protocol::{ErrorCode, Uuid};

use crate::auto_create::create_missing;
use crate::broker::Broker;
use crate::call::Call;
use crate::cluster::{Topic, TopicPartition, is_internal};
use crate::cluster_view::{ClusterView, Leader, NO_BROKER, ids};
use crate::net::parked::Answer;
use crate::request::{
    OPERATIONS_NOT_ASKED, Operation, RequestContext, Resource, authorize, authorized_operations,
    throttle_time_ms,
};

/// Versions from this one on may ask for topics by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 12;
/// In this version and only there, an empty list asks for all topics, and an answer names only brokers that are alive.
const FIRST_VERSION: i16 = 0;
/// Versions from this one on tell a missing listener from a missing leader.
const LISTENER_ERRORS_FROM: i16 = 6;
/// How long an answer waits for the controller to elect leaders in the place of some that have just died. Long enough for
/// thousands of them, and short beside what clients are ready to wait.
const ELECTION_PATIENCE: Duration = Duration::from_millis(500);

/// The topics that a request is about.
#[derive(Debug)]
enum Asked {
    All,
    /// Each topic once, in the request's order.
    Some(Vec<TopicKey>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TopicKey {
    Name(String),
    Id(Uuid),
}

/// What a request wants to know besides the topics.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    cluster_operations: bool,
    topic_operations: bool,
}

/// Handles a metadata request. Where it names topics that are to be made, the answer waits for them: it costs a client
/// less than an error and another request. So it does for a moment where a leader has just died: who is told that there is
/// none asks again when it suits him, librdkafka up to a second later.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: MetadataRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    if !ids_and_names_fit(&request, call.version()) {
        return refuse(&call, &request, ErrorCode::INVALID_REQUEST);
    }
    let asked = asked(&request, call.version());
    let wanted = Wanted {
        cluster_operations: request.include_cluster_authorized_operations,
        topic_operations: request.include_topic_authorized_operations,
    };
    let missing = if request.allow_auto_topic_creation { to_make(&call, &asked) } else { Vec::new() };
    if missing.is_empty() {
        let response = respond(&call.broker, &call.context, &asked, wanted, &HashMap::new());
        if !lacks_leaders(&response) {
            note_errors(&call.broker, &response);
            return call.answer(&response);
        }
    }
    let context = call.context.clone();
    call.answer_later(move |broker| async move {
        let failed = if missing.is_empty() { HashMap::new() } else { create_missing(&broker, missing).await };
        let elected = broker.cluster.until(|| !awaits_leaders(&broker, &context, &asked));
        // What is known then is told, whatever it is.
        let _ = tokio::time::timeout(ELECTION_PATIENCE, elected).await;
        let response = respond(&broker, &context, &asked, wanted, &failed);
        note_errors(&broker, &response);
        response
    })
}

/// Versions 10 and 11 have the fields for ids, but must not use them.
fn ids_and_names_fit(request: &MetadataRequest<'_>, version: i16) -> bool {
    let mut topics = request.topics.iter().flatten();
    version >= TOPIC_IDS_FROM || topics.all(|topic| topic.topic_id.is_zero() && topic.name.is_some())
}

fn refuse(call: &Call, request: &MetadataRequest<'_>, error_code: ErrorCode) -> Answer {
    call.note_error(error_code);
    let topics = request.topics.iter().flatten();
    call.answer(&MetadataResponse {
        topics: topics
            .map(|topic| MetadataResponseTopic {
                error_code,
                name: Some(topic.name.clone().unwrap_or_default()),
                topic_id: topic.topic_id,
                ..MetadataResponseTopic::default()
            })
            .collect(),
        throttle_time_ms: throttle_time_ms(&call.context),
        error_code,
        ..MetadataResponse::default()
    })
}

fn asked(request: &MetadataRequest<'_>, version: i16) -> Asked {
    let Some(topics) = &request.topics else { return Asked::All };
    if topics.is_empty() && version == FIRST_VERSION {
        return Asked::All;
    }
    // A topic named again and again would make an answer of any size.
    let mut seen = HashSet::with_capacity(topics.len());
    let keys = topics.iter().filter_map(|topic| match &topic.name {
        Some(name) if topic.topic_id.is_zero() => Some(TopicKey::Name(name.to_string())),
        _ if topic.topic_id.is_zero() => None,
        _ => Some(TopicKey::Id(topic.topic_id)),
    });
    Asked::Some(keys.filter(|key| seen.insert(key.clone())).collect())
}

/// Of the topics asked for by name, those that do not exist and that the client may have made.
fn to_make(call: &Call, asked: &Asked) -> Vec<String> {
    let Asked::Some(keys) = asked else { return Vec::new() };
    if !call.broker.config.auto_create_topics_enable {
        return Vec::new();
    }
    let names = keys.iter().filter_map(|key| match key {
        TopicKey::Name(name) => Some(name),
        TopicKey::Id(_) => None,
    });
    let missing = names.filter(|name| is_legal_topic(name) && call.broker.cluster.topic(name).is_none());
    missing.filter(|name| may_make(&call.context, name)).cloned().collect()
}

fn may_make(context: &RequestContext, name: &str) -> bool {
    authorize(context, Operation::Describe, Resource::Topic(name))
        && (authorize(context, Operation::Create, Resource::Cluster)
            || authorize(context, Operation::Create, Resource::Topic(name)))
}

fn note_errors(broker: &Broker, response: &MetadataResponse<'_>) {
    for topic in response.topics.iter().filter(|topic| topic.error_code.is_error()) {
        broker.metrics.request_error(taffrail_protocol::ApiKey::Metadata, topic.error_code);
    }
}

fn lacks_leaders(response: &MetadataResponse<'_>) -> bool {
    let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|partition| partition.leader_id == NO_BROKER)
}

/// Whether a leader is about to be elected for any partition that was asked for.
fn awaits_leaders(broker: &Broker, context: &RequestContext, asked: &Asked) -> bool {
    let topics = match asked {
        Asked::All => visible_topics(broker, context),
        Asked::Some(keys) => {
            let nothing_failed = HashMap::new();
            keys.iter().filter_map(|key| find(broker, context, key, &nothing_failed).ok()).collect()
        }
    };
    let view = ClusterView::new(&broker.cluster, &context.listener);
    let mut partitions = topics.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|partition| view.awaits_leader(&partition.record))
}

/// The answer from what the cluster is now. `failed` says why topics could not be made.
fn respond(
    broker: &Broker,
    context: &RequestContext,
    asked: &Asked,
    wanted: Wanted,
    failed: &HashMap<String, ApiError>,
) -> MetadataResponse<'static> {
    let view = ClusterView::new(&broker.cluster, &context.listener);
    let describe = |topic: &Topic| describe_topic(&view, context, topic, wanted);
    let topics = match asked {
        Asked::All => visible_topics(broker, context).iter().map(|topic| describe(topic)).collect(),
        Asked::Some(keys) => {
            let topic = |key: &TopicKey| match find(broker, context, key, failed) {
                Ok(topic) => describe(&topic),
                Err(missing) => missing,
            };
            keys.iter().map(topic).collect()
        }
    };
    let cluster_operations = if wanted.cluster_operations {
        match authorize(context, Operation::Describe, Resource::Cluster) {
            true => authorized_operations(context, Resource::Cluster),
            false => 0,
        }
    } else {
        OPERATIONS_NOT_ASKED
    };
    MetadataResponse {
        throttle_time_ms: throttle_time_ms(context),
        brokers: view
            .listed()
            .map(|node| MetadataResponseBroker {
                node_id: node.id,
                host: node.host.to_owned().into(),
                port: node.port,
                rack: node.rack.map(|rack| rack.to_owned().into()),
            })
            .collect(),
        cluster_id: Some(broker.cluster.id.to_string().into()),
        // Every broker forwards what only the controller can decide.
        controller_id: broker.id,
        topics,
        cluster_authorized_operations: cluster_operations,
        error_code: ErrorCode::NONE,
    }
}

fn visible_topics(broker: &Broker, context: &RequestContext) -> Vec<Arc<Topic>> {
    let mut topics = broker.cluster.topics();
    topics.retain(|topic| may_describe(context, &topic.name));
    topics
}

fn may_describe(context: &RequestContext, name: &str) -> bool {
    authorize(context, Operation::Describe, Resource::Topic(name))
}

/// The topic asked for, or what the answer says in its stead. Who may not see a topic is not told whether it exists.
fn find(
    broker: &Broker,
    context: &RequestContext,
    key: &TopicKey,
    failed: &HashMap<String, ApiError>,
) -> Result<Arc<Topic>, MetadataResponseTopic<'static>> {
    let missing = |error_code| MetadataResponseTopic {
        error_code,
        name: match key {
            TopicKey::Name(name) => Some(name.clone().into()),
            TopicKey::Id(_) => None,
        },
        topic_id: match key {
            TopicKey::Name(_) => Uuid::ZERO,
            TopicKey::Id(id) => *id,
        },
        is_internal: matches!(key, TopicKey::Name(name) if is_internal(name)),
        ..MetadataResponseTopic::default()
    };
    match key {
        TopicKey::Id(id) => {
            let topic =
                broker.cluster.topic_by_id(*id).ok_or_else(|| missing(ErrorCode::UNKNOWN_TOPIC_ID))?;
            if !may_describe(context, &topic.name) {
                return Err(missing(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
            }
            Ok(topic)
        }
        TopicKey::Name(name) => {
            if !may_describe(context, name) {
                return Err(missing(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
            }
            broker.cluster.topic(name).ok_or_else(|| missing(why_missing(broker, context, name, failed)))
        }
    }
}

/// Why a topic that may be seen is not there.
fn why_missing(
    broker: &Broker,
    context: &RequestContext,
    name: &str,
    failed: &HashMap<String, ApiError>,
) -> ErrorCode {
    if !is_legal_topic(name) {
        return ErrorCode::INVALID_TOPIC_EXCEPTION;
    }
    match failed.get(name) {
        // The one code on which every client tries again.
        Some(error) if error.code.is_retriable() => ErrorCode::LEADER_NOT_AVAILABLE,
        Some(error) => error.code,
        None if broker.config.auto_create_topics_enable && !may_make(context, name) => {
            ErrorCode::TOPIC_AUTHORIZATION_FAILED
        }
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    }
}

fn describe_topic(
    view: &ClusterView<'_>,
    context: &RequestContext,
    topic: &Topic,
    wanted: Wanted,
) -> MetadataResponseTopic<'static> {
    let version = context.api_version;
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(topic.name.to_string().into()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| describe_partition(view, version, partition))
            .collect(),
        topic_authorized_operations: if wanted.topic_operations {
            authorized_operations(context, Resource::Topic(&topic.name))
        } else {
            OPERATIONS_NOT_ASKED
        },
    }
}

fn describe_partition(
    view: &ClusterView<'_>,
    version: i16,
    partition: &TopicPartition,
) -> MetadataResponsePartition {
    let record = &partition.record;
    let leader = view.leader(record);
    let mut error_code = leader.error();
    if leader == Leader::WithoutListener && version < LISTENER_ERRORS_FROM {
        error_code = ErrorCode::LEADER_NOT_AVAILABLE;
    }
    let (mut replica_nodes, mut isr_nodes) = (record.replicas.clone(), ids(&record.isr));
    if version == FIRST_VERSION {
        let before = replica_nodes.len() + isr_nodes.len();
        replica_nodes.retain(|id| view.live_node(*id).is_some());
        isr_nodes.retain(|id| view.live_node(*id).is_some());
        if !error_code.is_error() && replica_nodes.len() + isr_nodes.len() < before {
            error_code = ErrorCode::REPLICA_NOT_AVAILABLE;
        }
    }
    MetadataResponsePartition {
        error_code,
        partition_index: record.partition,
        leader_id: leader.id(),
        leader_epoch: record.leader_epoch,
        replica_nodes,
        isr_nodes,
        offline_replicas: view.offline_replicas(record),
    }
}

#[cfg(test)]
mod tests {
    use taffrail_protocol::messages::metadata::MetadataRequestTopic;

    use super::*;

    fn by_name(name: &str) -> MetadataRequestTopic<'_> {
        MetadataRequestTopic { topic_id: Uuid::ZERO, name: Some(name.into()) }
    }

    fn request(topics: Option<Vec<MetadataRequestTopic<'_>>>) -> MetadataRequest<'_> {
        MetadataRequest { topics, ..MetadataRequest::default() }
    }

    #[test]
    fn null_asks_for_all_topics_and_an_empty_list_only_in_version_0() {
        assert!(matches!(asked(&request(None), 1), Asked::All));
        assert!(matches!(asked(&request(Some(vec![])), 0), Asked::All));
        assert!(matches!(asked(&request(Some(vec![])), 1), Asked::Some(keys) if keys.is_empty()));
    }

    #[test]
    fn a_topic_named_twice_is_answered_once() {
        let id = Uuid([7; 16]);
        let by_id = || MetadataRequestTopic { topic_id: id, name: None };
        let request = request(Some(vec![by_name("b"), by_id(), by_name("a"), by_name("b"), by_id()]));
        let Asked::Some(keys) = asked(&request, 12) else { panic!("not all topics were asked for") };
        let name = |name: &str| TopicKey::Name(name.to_owned());
        assert_eq!(keys, [name("b"), TopicKey::Id(id), name("a")]);
    }

    #[test]
    fn topics_are_asked_for_by_id_from_version_12_on() {
        let by_id = MetadataRequestTopic { topic_id: Uuid([7; 16]), name: None };
        let request = request(Some(vec![by_id]));
        assert!(!ids_and_names_fit(&request, 10));
        assert!(!ids_and_names_fit(&request, 11));
        assert!(ids_and_names_fit(&request, 12));
    }

    #[test]
    fn an_id_wins_over_a_name_beside_it() {
        let both = MetadataRequestTopic { topic_id: Uuid([7; 16]), name: Some("a".into()) };
        let Asked::Some(keys) = asked(&request(Some(vec![both])), 12) else {
            panic!("not all topics were asked for")
        };
        assert_eq!(keys, [TopicKey::Id(Uuid([7; 16]))]);
    }
}
