//! From the messages of the contract to those of a session. Whatever this release does not know is refused with the name
//! of the field it stands in; fields that a later release added are passed over.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use taffrail_protocol::{ErrorCode, Uuid};

use super::{InvalidMessageError, proto};
use crate::session as s;
use crate::slices::TOPIC_SLICES;

type Read<T> = Result<T, InvalidMessageError>;

fn missing(field: &'static str) -> InvalidMessageError {
    InvalidMessageError::new(field, "it is missing, or of a kind that this release does not know")
}

fn unknown(field: &'static str, value: i32) -> InvalidMessageError {
    InvalidMessageError::new(field, format!("{value} is not a value that this release knows"))
}

fn uuid(field: &'static str, bytes: &[u8]) -> Read<Uuid> {
    let wrong = |_| InvalidMessageError::new(field, format!("it has {} bytes and not 16", bytes.len()));
    bytes.try_into().map(Uuid).map_err(wrong)
}

fn topic_id(bytes: &[u8]) -> Read<Uuid> {
    uuid("topic_id", bytes)
}

fn address(field: &'static str, text: Option<&str>) -> Read<Option<SocketAddr>> {
    let parse = |text: &str| {
        let wrong = |_| InvalidMessageError::new(field, format!("{text:?} is not an address and a port"));
        text.parse().map_err(wrong)
    };
    text.map(parse).transpose()
}

fn short(field: &'static str, value: i32) -> Read<i16> {
    let wrong = |_| InvalidMessageError::new(field, format!("{value} is not a 16-bit number"));
    i16::try_from(value).map_err(wrong)
}

fn all<A, B>(items: Vec<A>, convert: impl Fn(A) -> Read<B>) -> Read<Vec<B>> {
    items.into_iter().map(convert).collect()
}

fn map(config: HashMap<String, String>) -> BTreeMap<String, String> {
    config.into_iter().collect()
}

fn ids(lists: Vec<proto::BrokerIds>) -> Vec<Vec<i32>> {
    lists.into_iter().map(|list| list.broker_ids).collect()
}

fn member(member: proto::Member) -> s::Member {
    s::Member { broker_id: member.broker_id, incarnation: member.incarnation }
}

fn members(list: Vec<proto::Member>) -> Vec<s::Member> {
    list.into_iter().map(member).collect()
}

fn endpoint(endpoint: proto::Endpoint) -> Read<s::Endpoint> {
    let proto::Endpoint { listener, host, port } = endpoint;
    let wrong = || InvalidMessageError::new("port", format!("{port} is not a TCP port"));
    let port = u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    Ok(s::Endpoint { listener, host, port })
}

fn enumerated<E: TryFrom<i32> + PartialEq + Default>(field: &'static str, value: i32) -> Read<E> {
    E::try_from(value).ok().filter(|known| *known != E::default()).ok_or_else(|| unknown(field, value))
}

/// A message to the controller, and whether the next one continues it.
///
/// # Errors
/// [`InvalidMessageError`] names the field.
pub fn to_controller(message: proto::ToController) -> Read<(s::ToController, bool)> {
    use proto::to_controller::Message as M;
    let more = message.more;
    let message = match message.message.ok_or_else(|| missing("message"))? {
        M::Register(message) => s::ToController::Register(registration(message)?),
        M::Heartbeat(proto::Heartbeat { incarnation, applied_version }) => {
            s::ToController::Heartbeat { incarnation, applied_version }
        }
        M::Held(proto::Held { incarnation, partitions }) => {
            s::ToController::Held { incarnation, partitions: all(partitions, held)? }
        }
        M::ProposeIsr(proto::ProposeIsr { incarnation, proposals }) => {
            s::ToController::ProposeIsr { incarnation, proposals: all(proposals, proposal)? }
        }
        M::Health(proto::Health { incarnation, full, replicas }) => {
            s::ToController::Health { incarnation, full, replicas: all(replicas, health)? }
        }
        M::LogEnds(proto::LogEnds { incarnation, query_id, ends }) => {
            s::ToController::LogEnds { incarnation, query_id, ends: all(ends, log_end)? }
        }
        M::PartitionSizes(proto::PartitionSizes { incarnation, partitions }) => {
            s::ToController::PartitionSizes { incarnation, partitions: all(partitions, partition_size)? }
        }
        M::LogDirs(proto::LogDirs { incarnation, dirs }) => {
            s::ToController::LogDirs { incarnation, dirs: all(dirs, log_dir)? }
        }
        M::ControlledShutdown(proto::ControlledShutdown { incarnation }) => {
            s::ToController::ControlledShutdown { incarnation }
        }
        M::Request(message) => {
            let (request_id, request) = (message.request_id, message.request);
            let request = request.ok_or_else(|| missing("request"))?;
            s::ToController::Request { request_id, request: controller_request(request)? }
        }
    };
    Ok((message, more))
}

fn registration(message: proto::Registration) -> Read<s::Registration> {
    let claim = match enumerated("claim", message.claim)? {
        proto::LogClaim::Clean => s::LogClaim::Clean,
        proto::LogClaim::SameBoot => s::LogClaim::SameBoot,
        proto::LogClaim::Unclean => s::LogClaim::Unclean,
        proto::LogClaim::Unspecified => return Err(missing("claim")),
    };
    let digest = |held: proto::SliceDigest| s::SliceDigest { slice: held.slice, digest: held.digest };
    Ok(s::Registration {
        contract_version: message.contract_version,
        cluster_id: message.cluster_id,
        broker_id: message.broker_id,
        process_id: uuid("process_id", &message.process_id)?,
        claim,
        last_incarnation: message.last_incarnation,
        endpoints: all(message.endpoints, endpoint)?,
        rack: message.rack,
        log_dirs: all(message.log_dirs, |id| uuid("log_dirs", &id))?,
        features: message.features,
        peer_address: address("peer_address", message.peer_address.as_deref())?,
        peer_token: uuid("peer_token", &message.peer_token)?,
        resumes: message.resumes,
        // There are no more; whatever is not read is told whole.
        slices: message.slices.into_iter().map(digest).take(TOPIC_SLICES as usize).collect(),
    })
}

fn held(held: proto::HeldPartition) -> Read<s::HeldPartition> {
    Ok(s::HeldPartition {
        topic_id: topic_id(&held.topic_id)?,
        partition: held.partition,
        creation: held.creation,
        leader_epoch: held.leader_epoch,
        partition_epoch: held.partition_epoch,
        replicas: held.replicas,
    })
}

fn proposal(proposal: proto::IsrProposal) -> Read<s::IsrProposal> {
    Ok(s::IsrProposal {
        topic_id: topic_id(&proposal.topic_id)?,
        partition: proposal.partition,
        leader_epoch: proposal.leader_epoch,
        partition_epoch: proposal.partition_epoch,
        isr: members(proposal.isr),
    })
}

fn health(health: proto::ReplicaHealth) -> Read<s::ReplicaHealth> {
    let log = match enumerated("log", health.log)? {
        proto::LogState::Online => s::LogState::Online,
        proto::LogState::Missing => s::LogState::Missing,
        proto::LogState::Failed => s::LogState::Failed { reason: health.failed_reason },
        proto::LogState::Unspecified => return Err(missing("log")),
    };
    let lag = |lag: proto::FollowerLag| s::FollowerLag {
        broker_id: lag.broker_id,
        records: lag.records,
        ms: lag.ms,
    };
    Ok(s::ReplicaHealth {
        topic_id: topic_id(&health.topic_id)?,
        partition: health.partition,
        leader_epoch: health.leader_epoch,
        log,
        log_end_offset: health.log_end_offset,
        followers: health.followers.into_iter().map(lag).collect(),
    })
}

fn log_end(end: proto::LogEnd) -> Read<s::LogEnd> {
    Ok(s::LogEnd {
        topic_id: topic_id(&end.topic_id)?,
        partition: end.partition,
        last_epoch: end.last_epoch,
        end_offset: end.end_offset,
    })
}

fn log_dir(dir: proto::LogDirHealth) -> Read<s::LogDirHealth> {
    let state = match dir.state() {
        proto::LogDirState::Full => s::LogDirState::Full,
        proto::LogDirState::Failed => s::LogDirState::Failed,
        proto::LogDirState::Unspecified => return Err(missing("state")),
    };
    Ok(s::LogDirHealth { path: dir.path, state, reason: dir.reason })
}

fn partition_size(size: proto::PartitionSize) -> Read<s::PartitionSize> {
    Ok(s::PartitionSize {
        topic_id: topic_id(&size.topic_id)?,
        partition: size.partition,
        size_bytes: size.size_bytes,
    })
}

fn controller_request(request: proto::controller_request::Request) -> Read<s::ControllerRequest> {
    use proto::controller_request::Request as R;
    Ok(match request {
        R::CreateTopics(proto::CreateTopics { topics, validate_only }) => {
            s::ControllerRequest::CreateTopics { topics: all(topics, new_topic)?, validate_only }
        }
        R::DeleteTopics(proto::DeleteTopics { topics }) => {
            s::ControllerRequest::DeleteTopics { topics: all(topics, topic_ref)? }
        }
        R::CreatePartitions(proto::CreatePartitions { topics, validate_only }) => {
            let more = |more: proto::MorePartitions| s::MorePartitions {
                name: more.name,
                total_count: more.total_count,
                assignments: ids(more.assignments),
            };
            let topics = topics.into_iter().map(more).collect();
            s::ControllerRequest::CreatePartitions { topics, validate_only }
        }
        R::AllocateProducerIds(proto::AllocateProducerIds {}) => s::ControllerRequest::AllocateProducerIds,
        R::AlterConfigs(proto::AlterConfigs { changes, validate_only }) => {
            s::ControllerRequest::AlterConfigs { changes: all(changes, config_change)?, validate_only }
        }
        R::ElectLeaders(message) => elect_leaders(message)?,
        R::AlterReassignments(message) => {
            let reassignment = |moved: proto::Reassignment| s::Reassignment {
                topic: moved.topic,
                partition: moved.partition,
                replicas: moved.replicas.map(|replicas| replicas.broker_ids),
            };
            s::ControllerRequest::AlterReassignments {
                partitions: message.partitions.into_iter().map(reassignment).collect(),
                allow_replication_factor_change: message.allow_replication_factor_change,
            }
        }
        R::UnregisterBroker(proto::UnregisterBroker { broker_id }) => {
            s::ControllerRequest::UnregisterBroker { broker_id }
        }
    })
}

fn new_topic(topic: proto::NewTopic) -> Read<s::NewTopic> {
    let replication_factor = topic.replication_factor.map(|value| short("replication_factor", value));
    Ok(s::NewTopic {
        name: topic.name,
        partitions: topic.partitions,
        replication_factor: replication_factor.transpose()?,
        assignments: ids(topic.assignments),
        config: map(topic.config),
    })
}

fn topic_ref(topic: proto::TopicRef) -> Read<s::TopicRef> {
    use proto::topic_ref::Topic as T;
    match topic.topic.ok_or_else(|| missing("topic"))? {
        T::Name(name) => Ok(s::TopicRef::Name(name)),
        T::TopicId(id) => topic_id(&id).map(s::TopicRef::Id),
    }
}

fn config_change(change: proto::ConfigChange) -> Read<s::ConfigChange> {
    use proto::ConfigOpKind as K;
    use proto::config_change::Resource as R;
    let resource = match change.resource.ok_or_else(|| missing("resource"))? {
        R::Topic(topic) => s::ConfigResource::Topic(topic),
        R::BrokerId(broker_id) => s::ConfigResource::Broker(Some(broker_id)),
        R::AllBrokers(_) => s::ConfigResource::Broker(None),
    };
    let op = |op: proto::ConfigOp| {
        let change = match enumerated("kind", op.kind)? {
            K::Set => s::ConfigOp::Set(op.value),
            K::Delete => s::ConfigOp::Delete,
            K::Append => s::ConfigOp::Append(op.value),
            K::Subtract => s::ConfigOp::Subtract(op.value),
            K::Unspecified => return Err(missing("kind")),
        };
        Ok((op.key, change))
    };
    Ok(s::ConfigChange { resource, replace: change.replace, ops: all(change.ops, op)? })
}

fn elect_leaders(message: proto::ElectLeaders) -> Read<s::ControllerRequest> {
    let kind = match enumerated("kind", message.kind)? {
        proto::ElectionKind::Preferred => s::ElectionKind::Preferred,
        proto::ElectionKind::Unclean => s::ElectionKind::Unclean,
        proto::ElectionKind::Unspecified => return Err(missing("kind")),
    };
    let named = message.partitions.into_iter().map(|named| (named.topic, named.partition));
    let partitions = (!message.all).then(|| named.collect());
    Ok(s::ControllerRequest::ElectLeaders { kind, partitions })
}

/// A message from the controller, and whether the next one continues it.
///
/// # Errors
/// [`InvalidMessageError`] names the field.
pub fn from_controller(message: proto::FromController) -> Read<(s::FromController, bool)> {
    use proto::from_controller::Message as M;
    let more = message.more;
    let message = match message.message.ok_or_else(|| missing("message"))? {
        M::Registered(message) => registered(message)?,
        M::Redirect(proto::Redirect { active }) => s::FromController::Redirect { active },
        M::Refused(proto::Refused { reason }) => s::FromController::Refused { reason },
        M::Update(message) => s::FromController::Update(Arc::new(update(message)?)),
        M::Response(message) => {
            let (request_id, response) = (message.request_id, message.response);
            let response = response.ok_or_else(|| missing("response"))?;
            s::FromController::Response { request_id, response: controller_response(response)? }
        }
        M::IsrRefused(proto::IsrRefused { refused }) => {
            s::FromController::IsrRefused { refused: all(refused, refused_isr)? }
        }
        M::QueryLogEnds(proto::QueryLogEnds { query_id, partitions }) => {
            let partitions = all(partitions, |asked| Ok((topic_id(&asked.topic_id)?, asked.partition)))?;
            s::FromController::QueryLogEnds { query_id, partitions }
        }
        M::ShutdownGranted(proto::ShutdownGranted {}) => s::FromController::ShutdownGranted,
    };
    Ok((message, more))
}

fn registered(message: proto::Registered) -> Read<s::FromController> {
    let theirs = message.contract_version;
    if !s::is_contract_understood(theirs) {
        let problem = format!(
            "the controller speaks version {theirs} and this broker {}; run releases that are at most one apart",
            s::CONTRACT_VERSION
        );
        return Err(InvalidMessageError::new("contract_version", problem));
    }
    Ok(s::FromController::Registered {
        cluster_id: message.cluster_id,
        incarnation: message.incarnation,
        rack: message.rack,
        endpoints: all(message.endpoints, endpoint)?,
        features: message.features,
    })
}

fn update(message: proto::ClusterUpdate) -> Read<s::ClusterUpdate> {
    let config = |record: proto::BrokerConfigRecord| s::BrokerConfigRecord {
        broker_id: record.broker_id,
        config: map(record.config),
    };
    Ok(s::ClusterUpdate {
        version: message.version,
        snapshot: message.snapshot,
        unchanged_slices: message.unchanged_slices,
        brokers: all(message.brokers, broker_record)?,
        removed_brokers: message.removed_brokers,
        topics: all(message.topics, topic_record)?,
        removed_topics: all(message.removed_topics, |id| uuid("removed_topics", &id))?,
        partitions: all(message.partitions, partition_record)?,
        broker_configs: message.broker_configs.into_iter().map(config).collect(),
        wishes: Vec::new(),
    })
}

fn broker_record(record: proto::BrokerRecord) -> Read<s::BrokerRecord> {
    Ok(s::BrokerRecord {
        broker_id: record.broker_id,
        incarnation: record.incarnation,
        endpoints: all(record.endpoints, endpoint)?,
        rack: record.rack,
        fenced: record.fenced,
        peer_address: address("peer_address", record.peer_address.as_deref())?,
        peer_token: record.peer_token.map(|token| uuid("peer_token", &token)).transpose()?,
    })
}

fn topic_record(record: proto::TopicRecord) -> Read<s::TopicRecord> {
    Ok(s::TopicRecord {
        name: record.name.into(),
        topic_id: topic_id(&record.topic_id)?,
        creation: record.creation,
        config: map(record.config),
        partition_count: record.partition_count,
    })
}

fn partition_record(record: proto::PartitionRecord) -> Read<s::PartitionRecord> {
    Ok(s::PartitionRecord {
        topic_id: topic_id(&record.topic_id)?,
        partition: record.partition,
        creation: record.creation,
        replicas: record.replicas,
        leader: record.leader.map(member),
        leader_epoch: record.leader_epoch,
        partition_epoch: record.partition_epoch,
        isr: members(record.isr),
        elr: members(record.elr),
        min_isr: record.min_isr,
        adding: record.adding,
        removing: record.removing,
        unclean_epoch: record.unclean_epoch,
    })
}

fn refused_isr(refused: proto::RefusedIsr) -> Read<s::RefusedIsr> {
    let reason = match enumerated("reason", refused.reason)? {
        proto::IsrRefusal::UnknownPartition => s::IsrRefusal::UnknownPartition,
        proto::IsrRefusal::StaleEpoch => s::IsrRefusal::StaleEpoch,
        proto::IsrRefusal::NotLeader => s::IsrRefusal::NotLeader,
        proto::IsrRefusal::Ineligible => s::IsrRefusal::Ineligible,
        proto::IsrRefusal::Unspecified => return Err(missing("reason")),
    };
    Ok(s::RefusedIsr {
        topic_id: topic_id(&refused.topic_id)?,
        partition: refused.partition,
        partition_epoch: refused.partition_epoch,
        reason,
    })
}

fn controller_response(response: proto::controller_response::Response) -> Read<s::ControllerResponse> {
    use proto::controller_response::Response as R;
    let done_or = |error: Option<proto::ApiError>| match error {
        None => Ok(Ok(())),
        Some(error) => api_error(error).map(Err),
    };
    Ok(match response {
        R::Topics(proto::TopicResults { results }) => {
            s::ControllerResponse::Topics(all(results, topic_result)?)
        }
        R::ProducerIds(proto::ProducerIds { first, count }) => {
            s::ControllerResponse::ProducerIds { first, count }
        }
        R::Partitions(proto::PartitionOutcomes { outcomes }) => {
            s::ControllerResponse::Partitions(all(outcomes, |outcome| {
                let proto::PartitionOutcome { topic, partition, error } = outcome;
                Ok(s::PartitionOutcome { topic, partition, result: done_or(error)? })
            })?)
        }
        R::Configs(proto::ConfigResults { results }) => {
            s::ControllerResponse::Configs(all(results, |result| done_or(result.error))?)
        }
        R::Done(proto::Done {}) => s::ControllerResponse::Done,
        R::Failed(error) => s::ControllerResponse::Failed(api_error(error)?),
    })
}

fn api_error(error: proto::ApiError) -> Read<s::ApiError> {
    Ok(s::ApiError { code: ErrorCode(short("code", error.code)?), message: error.message })
}

fn topic_result(result: proto::TopicResult) -> Read<Result<s::TopicOutcome, s::ApiError>> {
    use proto::topic_result::Result as R;
    match result.result.ok_or_else(|| missing("result"))? {
        R::Error(error) => api_error(error).map(Err),
        R::Outcome(outcome) => Ok(Ok(s::TopicOutcome {
            name: outcome.name,
            topic_id: topic_id(&outcome.topic_id)?,
            partition_count: outcome.partition_count,
            replication_factor: short("replication_factor", outcome.replication_factor)?,
            config: map(outcome.config),
        })),
    }
}
