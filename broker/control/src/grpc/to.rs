//! From the messages of a session to those of the contract.

use std::collections::BTreeMap;

use taffrail_protocol::Uuid;

use super::proto;
use crate::session as s;

fn uuid(id: Uuid) -> Vec<u8> {
    id.0.to_vec()
}

fn map(config: BTreeMap<String, String>) -> std::collections::HashMap<String, String> {
    config.into_iter().collect()
}

fn all<A, B>(items: impl IntoIterator<Item = A>, convert: impl Fn(A) -> B) -> Vec<B> {
    items.into_iter().map(convert).collect()
}

fn ids(lists: Vec<Vec<i32>>) -> Vec<proto::BrokerIds> {
    all(lists, |broker_ids| proto::BrokerIds { broker_ids })
}

pub(super) fn member(member: s::Member) -> proto::Member {
    proto::Member { broker_id: member.broker_id, incarnation: member.incarnation }
}

fn endpoint(endpoint: s::Endpoint) -> proto::Endpoint {
    let s::Endpoint { listener, host, port } = endpoint;
    proto::Endpoint { listener, host, port: port.into() }
}

pub(super) fn registration(registration: s::Registration) -> proto::Registration {
    let claim = match registration.claim {
        s::LogClaim::Clean => proto::LogClaim::Clean,
        s::LogClaim::SameBoot => proto::LogClaim::SameBoot,
        s::LogClaim::Unclean => proto::LogClaim::Unclean,
    };
    proto::Registration {
        contract_version: registration.contract_version,
        cluster_id: registration.cluster_id,
        broker_id: registration.broker_id,
        process_id: uuid(registration.process_id),
        claim: claim.into(),
        last_incarnation: registration.last_incarnation,
        endpoints: all(registration.endpoints, endpoint),
        rack: registration.rack,
        log_dirs: all(registration.log_dirs, uuid),
        features: registration.features,
        peer_address: registration.peer_address.map(|address| address.to_string()),
        peer_token: uuid(registration.peer_token),
        resumes: registration.resumes,
        slices: all(registration.slices, |held| proto::SliceDigest {
            slice: held.slice,
            digest: held.digest,
        }),
    }
}

pub(super) fn held(held: s::HeldPartition) -> proto::HeldPartition {
    let s::HeldPartition { topic_id, partition, creation, leader_epoch, partition_epoch, replicas } = held;
    let topic_id = uuid(topic_id);
    proto::HeldPartition { topic_id, partition, creation, leader_epoch, partition_epoch, replicas }
}

pub(super) fn proposal(proposal: s::IsrProposal) -> proto::IsrProposal {
    let s::IsrProposal { topic_id, partition, leader_epoch, partition_epoch, isr } = proposal;
    let isr = all(isr, member);
    proto::IsrProposal { topic_id: uuid(topic_id), partition, leader_epoch, partition_epoch, isr }
}

pub(super) fn health(health: s::ReplicaHealth) -> proto::ReplicaHealth {
    let (log, failed_reason) = match health.log {
        s::LogState::Online => (proto::LogState::Online, String::new()),
        s::LogState::Missing => (proto::LogState::Missing, String::new()),
        s::LogState::Failed { reason } => (proto::LogState::Failed, reason),
    };
    let lag = |lag: s::FollowerLag| proto::FollowerLag {
        broker_id: lag.broker_id,
        records: lag.records,
        ms: lag.ms,
    };
    proto::ReplicaHealth {
        topic_id: uuid(health.topic_id),
        partition: health.partition,
        leader_epoch: health.leader_epoch,
        log: log.into(),
        failed_reason,
        log_end_offset: health.log_end_offset,
        followers: all(health.followers, lag),
    }
}

pub(super) fn log_end(end: s::LogEnd) -> proto::LogEnd {
    let s::LogEnd { topic_id, partition, last_epoch, end_offset } = end;
    proto::LogEnd { topic_id: uuid(topic_id), partition, last_epoch, end_offset }
}

pub(super) fn log_dir(dir: s::LogDirHealth) -> proto::LogDirHealth {
    let s::LogDirHealth { path, state, reason } = dir;
    let state = match state {
        s::LogDirState::Full => proto::LogDirState::Full,
        s::LogDirState::Failed => proto::LogDirState::Failed,
    };
    proto::LogDirHealth { path, state: state.into(), reason }
}

pub(super) fn partition_size(size: s::PartitionSize) -> proto::PartitionSize {
    let s::PartitionSize { topic_id, partition, size_bytes } = size;
    proto::PartitionSize { topic_id: uuid(topic_id), partition, size_bytes }
}

pub(super) fn refused_isr(refused: s::RefusedIsr) -> proto::RefusedIsr {
    let reason = match refused.reason {
        s::IsrRefusal::UnknownPartition => proto::IsrRefusal::UnknownPartition,
        s::IsrRefusal::StaleEpoch => proto::IsrRefusal::StaleEpoch,
        s::IsrRefusal::NotLeader => proto::IsrRefusal::NotLeader,
        s::IsrRefusal::Ineligible => proto::IsrRefusal::Ineligible,
    };
    proto::RefusedIsr {
        topic_id: uuid(refused.topic_id),
        partition: refused.partition,
        partition_epoch: refused.partition_epoch,
        reason: reason.into(),
    }
}

pub(super) fn partition_ref((topic_id, partition): (Uuid, i32)) -> proto::PartitionRef {
    proto::PartitionRef { topic_id: uuid(topic_id), partition }
}

pub(super) fn removed_topic(topic_id: Uuid) -> Vec<u8> {
    uuid(topic_id)
}

pub(super) fn broker_record(record: &s::BrokerRecord) -> proto::BrokerRecord {
    proto::BrokerRecord {
        broker_id: record.broker_id,
        incarnation: record.incarnation,
        endpoints: all(record.endpoints.clone(), endpoint),
        rack: record.rack.clone(),
        fenced: record.fenced,
        peer_address: record.peer_address.map(|address| address.to_string()),
        peer_token: record.peer_token.map(uuid),
    }
}

pub(super) fn topic_record(record: &s::TopicRecord) -> proto::TopicRecord {
    proto::TopicRecord {
        name: record.name.to_string(),
        topic_id: uuid(record.topic_id),
        creation: record.creation,
        config: map(record.config.clone()),
        partition_count: record.partition_count,
    }
}

pub(super) fn partition_record(record: &s::PartitionRecord) -> proto::PartitionRecord {
    proto::PartitionRecord {
        topic_id: uuid(record.topic_id),
        partition: record.partition,
        creation: record.creation,
        replicas: record.replicas.clone(),
        leader: record.leader.map(member),
        leader_epoch: record.leader_epoch,
        partition_epoch: record.partition_epoch,
        isr: all(record.isr.iter().copied(), member),
        elr: all(record.elr.iter().copied(), member),
        min_isr: record.min_isr,
        adding: record.adding.clone(),
        removing: record.removing.clone(),
        unclean_epoch: record.unclean_epoch,
    }
}

pub(super) fn broker_config(record: &s::BrokerConfigRecord) -> proto::BrokerConfigRecord {
    proto::BrokerConfigRecord { broker_id: record.broker_id, config: map(record.config.clone()) }
}

pub(super) fn registered(
    cluster_id: String,
    incarnation: u64,
    rack: Option<String>,
    endpoints: Vec<s::Endpoint>,
    features: Vec<String>,
) -> proto::Registered {
    proto::Registered {
        cluster_id,
        incarnation,
        rack,
        endpoints: all(endpoints, endpoint),
        contract_version: s::CONTRACT_VERSION,
        features,
    }
}

pub(super) fn request(request_id: u64, request: s::ControllerRequest) -> proto::ControllerRequest {
    use proto::controller_request::Request as R;
    let request = match request {
        s::ControllerRequest::CreateTopics { topics, validate_only } => {
            R::CreateTopics(proto::CreateTopics { topics: all(topics, new_topic), validate_only })
        }
        s::ControllerRequest::DeleteTopics { topics } => {
            R::DeleteTopics(proto::DeleteTopics { topics: all(topics, topic_ref) })
        }
        s::ControllerRequest::CreatePartitions { topics, validate_only } => {
            let more = |more: s::MorePartitions| proto::MorePartitions {
                name: more.name,
                total_count: more.total_count,
                assignments: ids(more.assignments),
            };
            R::CreatePartitions(proto::CreatePartitions { topics: all(topics, more), validate_only })
        }
        s::ControllerRequest::AllocateProducerIds => R::AllocateProducerIds(proto::AllocateProducerIds {}),
        s::ControllerRequest::AlterConfigs { changes, validate_only } => {
            R::AlterConfigs(proto::AlterConfigs { changes: all(changes, config_change), validate_only })
        }
        s::ControllerRequest::ElectLeaders { kind, partitions } => {
            R::ElectLeaders(elect_leaders(kind, partitions))
        }
        s::ControllerRequest::AlterReassignments { partitions, allow_replication_factor_change } => {
            let partitions = all(partitions, |s::Reassignment { topic, partition, replicas }| {
                let replicas = replicas.map(|broker_ids| proto::BrokerIds { broker_ids });
                proto::Reassignment { topic, partition, replicas }
            });
            R::AlterReassignments(proto::AlterReassignments { partitions, allow_replication_factor_change })
        }
        s::ControllerRequest::UnregisterBroker { broker_id } => {
            R::UnregisterBroker(proto::UnregisterBroker { broker_id })
        }
    };
    proto::ControllerRequest { request_id, request: Some(request) }
}

fn new_topic(topic: s::NewTopic) -> proto::NewTopic {
    proto::NewTopic {
        name: topic.name,
        partitions: topic.partitions,
        replication_factor: topic.replication_factor.map(i32::from),
        assignments: ids(topic.assignments),
        config: map(topic.config),
    }
}

fn topic_ref(topic: s::TopicRef) -> proto::TopicRef {
    use proto::topic_ref::Topic as T;
    let topic = match topic {
        s::TopicRef::Name(name) => T::Name(name),
        s::TopicRef::Id(topic_id) => T::TopicId(uuid(topic_id)),
    };
    proto::TopicRef { topic: Some(topic) }
}

fn config_change(change: s::ConfigChange) -> proto::ConfigChange {
    use proto::config_change::Resource as R;
    let resource = match change.resource {
        s::ConfigResource::Topic(topic) => R::Topic(topic),
        s::ConfigResource::Broker(Some(broker_id)) => R::BrokerId(broker_id),
        s::ConfigResource::Broker(None) => R::AllBrokers(true),
    };
    let op = |(key, op)| {
        use proto::ConfigOpKind as K;
        let (kind, value) = match op {
            s::ConfigOp::Set(value) => (K::Set, value),
            s::ConfigOp::Delete => (K::Delete, String::new()),
            s::ConfigOp::Append(value) => (K::Append, value),
            s::ConfigOp::Subtract(value) => (K::Subtract, value),
        };
        proto::ConfigOp { key, kind: kind.into(), value }
    };
    proto::ConfigChange { resource: Some(resource), replace: change.replace, ops: all(change.ops, op) }
}

fn elect_leaders(kind: s::ElectionKind, partitions: Option<Vec<(String, i32)>>) -> proto::ElectLeaders {
    let kind = match kind {
        s::ElectionKind::Preferred => proto::ElectionKind::Preferred,
        s::ElectionKind::Unclean => proto::ElectionKind::Unclean,
    };
    let named = |(topic, partition)| proto::NamedPartition { topic, partition };
    proto::ElectLeaders {
        kind: kind.into(),
        all: partitions.is_none(),
        partitions: all(partitions.unwrap_or_default(), named),
    }
}

pub(super) fn response(request_id: u64, response: s::ControllerResponse) -> proto::ControllerResponse {
    use proto::controller_response::Response as R;
    let response = match response {
        s::ControllerResponse::Topics(results) => {
            R::Topics(proto::TopicResults { results: all(results, topic_result) })
        }
        s::ControllerResponse::ProducerIds { first, count } => {
            R::ProducerIds(proto::ProducerIds { first, count })
        }
        s::ControllerResponse::Partitions(outcomes) => {
            let outcome = |outcome: s::PartitionOutcome| proto::PartitionOutcome {
                topic: outcome.topic,
                partition: outcome.partition,
                error: outcome.result.err().map(api_error),
            };
            R::Partitions(proto::PartitionOutcomes { outcomes: all(outcomes, outcome) })
        }
        s::ControllerResponse::Configs(results) => {
            let result = |result: Result<(), _>| proto::ConfigResult { error: result.err().map(api_error) };
            R::Configs(proto::ConfigResults { results: all(results, result) })
        }
        s::ControllerResponse::Done => R::Done(proto::Done {}),
        s::ControllerResponse::Failed(error) => R::Failed(api_error(error)),
    };
    proto::ControllerResponse { request_id, response: Some(response) }
}

fn api_error(error: s::ApiError) -> proto::ApiError {
    proto::ApiError { code: error.code.0.into(), message: error.message }
}

fn topic_result(result: Result<s::TopicOutcome, s::ApiError>) -> proto::TopicResult {
    use proto::topic_result::Result as R;
    let result = match result {
        Ok(outcome) => R::Outcome(proto::TopicOutcome {
            name: outcome.name,
            topic_id: uuid(outcome.topic_id),
            partition_count: outcome.partition_count,
            replication_factor: outcome.replication_factor.into(),
            config: map(outcome.config),
        }),
        Err(error) => R::Error(api_error(error)),
    };
    proto::TopicResult { result: Some(result) }
}
