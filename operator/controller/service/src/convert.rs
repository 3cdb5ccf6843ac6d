//! Between the session contract's messages and the controller's.

use std::sync::Arc;

use taffrail_control::session as wire;
use taffrail_controller::message as pure;
use taffrail_controller::model::{BrokerState, Endpoint, Member};

/// A registration as the controller takes it.
pub(crate) fn registration(from: wire::Registration) -> pure::Registration {
    let endpoint = |e: wire::Endpoint| Endpoint { listener: e.listener, host: e.host, port: e.port };
    pure::Registration {
        cluster_id: from.cluster_id,
        broker_id: from.broker_id,
        process_id: from.process_id,
        kept_everything: match from.claim {
            wire::LogClaim::Clean | wire::LogClaim::SameBoot => true,
            wire::LogClaim::Unclean => false,
        },
        last_incarnation: from.last_incarnation,
        endpoints: from.endpoints.into_iter().map(endpoint).collect(),
        rack: from.rack,
        log_dirs: from.log_dirs,
    }
}

/// A request as the controller takes it.
pub(crate) fn request(from: wire::ControllerRequest) -> pure::Request {
    match from {
        wire::ControllerRequest::CreateTopics { topics, validate_only } => {
            let new = |t: wire::NewTopic| pure::NewTopic {
                name: t.name,
                partitions: t.partitions,
                replication_factor: t.replication_factor,
                assignments: t.assignments,
                config: t.config,
            };
            pure::Request::CreateTopics { topics: topics.into_iter().map(new).collect(), validate_only }
        }
        wire::ControllerRequest::DeleteTopics { topics } => {
            let reference = |t| match t {
                wire::TopicRef::Name(name) => pure::TopicRef::Name(name),
                wire::TopicRef::Id(id) => pure::TopicRef::Id(id),
            };
            pure::Request::DeleteTopics { topics: topics.into_iter().map(reference).collect() }
        }
        wire::ControllerRequest::CreatePartitions { topics, validate_only } => {
            let more = |t: wire::MorePartitions| pure::MorePartitions {
                name: t.name,
                total_count: t.total_count,
                assignments: t.assignments,
            };
            pure::Request::CreatePartitions { topics: topics.into_iter().map(more).collect(), validate_only }
        }
        wire::ControllerRequest::AllocateProducerIds => pure::Request::AllocateProducerIds,
    }
}

/// A message as the broker takes it. `update` converts updates, of which many brokers get the same.
pub(crate) fn message(
    from: pure::Message,
    update: impl FnOnce(Arc<pure::Update>) -> Arc<wire::ClusterUpdate>,
) -> wire::FromController {
    match from {
        pure::Message::Registered { cluster_id, incarnation } => {
            wire::FromController::Registered { cluster_id, incarnation }
        }
        pure::Message::Refused { reason } => wire::FromController::Refused { reason },
        pure::Message::Update(from) => wire::FromController::Update(update(from)),
        pure::Message::Response { request_id, response: from } => {
            wire::FromController::Response { request_id, response: response(from) }
        }
        pure::Message::ShutdownGranted => wire::FromController::ShutdownGranted,
    }
}

fn response(from: pure::Response) -> wire::ControllerResponse {
    let error = |e: pure::ApiError| wire::ApiError { code: e.code, message: e.message };
    let outcome = |o: pure::TopicOutcome| wire::TopicOutcome {
        name: o.name,
        topic_id: o.topic_id,
        partition_count: o.partition_count,
        replication_factor: o.replication_factor,
        config: o.config,
    };
    match from {
        pure::Response::Topics(results) => {
            let results = results.into_iter().map(|result| result.map(outcome).map_err(error));
            wire::ControllerResponse::Topics(results.collect())
        }
        pure::Response::ProducerIds { first, count } => {
            wire::ControllerResponse::ProducerIds { first, count }
        }
        pure::Response::Failed(e) => wire::ControllerResponse::Failed(error(e)),
    }
}

/// An update as brokers take it.
pub(crate) fn update(from: &pure::Update) -> wire::ClusterUpdate {
    wire::ClusterUpdate {
        version: from.version,
        snapshot: from.snapshot,
        brokers: from.brokers.iter().map(broker).collect(),
        removed_brokers: Vec::new(),
        topics: from.topics.iter().map(topic).collect(),
        removed_topics: from.removed_topics.clone(),
        partitions: from.partitions.iter().map(partition).collect(),
    }
}

fn broker(from: &BrokerState) -> wire::BrokerRecord {
    let endpoint =
        |e: &Endpoint| wire::Endpoint { listener: e.listener.clone(), host: e.host.clone(), port: e.port };
    wire::BrokerRecord {
        broker_id: from.broker_id,
        incarnation: from.incarnation,
        endpoints: from.endpoints.iter().map(endpoint).collect(),
        rack: from.rack.clone(),
        fenced: from.fenced,
    }
}

fn topic(from: &pure::PublishedTopic) -> wire::TopicRecord {
    wire::TopicRecord {
        name: Arc::clone(&from.name),
        topic_id: from.topic_id,
        creation: from.creation,
        config: from.config.clone(),
        partition_count: from.partition_count,
    }
}

fn partition(from: &pure::PublishedPartition) -> wire::PartitionRecord {
    let member = |m: Member| wire::Member { broker_id: m.broker_id, incarnation: m.incarnation };
    let state = &from.state;
    wire::PartitionRecord {
        topic_id: from.topic_id,
        partition: state.partition,
        creation: from.creation,
        replicas: state.replicas.clone(),
        leader: state.leader.map(member),
        leader_epoch: state.leader_epoch,
        partition_epoch: state.partition_epoch,
        isr: state.isr.iter().copied().map(member).collect(),
        elr: state.elr.iter().copied().map(member).collect(),
        min_isr: state.min_isr,
    }
}
