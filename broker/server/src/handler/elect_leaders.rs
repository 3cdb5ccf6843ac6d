//! ElectLeaders (key 43): preferred leaders brought back, or any leader where none is in sync (KIP-183, KIP-460).

use std::collections::BTreeMap;

use taffrail_control::session::{
    ApiError, ControllerRequest, ControllerResponse, ElectionKind, PartitionOutcome,
};
use taffrail_protocol::messages::elect_leaders::{PartitionResult, ReplicaElectionResult};
use taffrail_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::broker::Broker;
use crate::call::Call;
use crate::net::parked::Answer;
use crate::request::{Operation, Resource, authorize, throttle_time_ms};
use crate::topic_changes::{ask, refuse, unexpected};

/// Versions before this one can tell of an error only beside each partition.
const ERROR_OF_THE_WHOLE_FROM: i16 = 1;

/// Handles a request for elections.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: ElectLeadersRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let kind = match request.election_type {
        0 => Ok(ElectionKind::Preferred),
        1 => Ok(ElectionKind::Unclean),
        other => refuse(
            ErrorCode::INVALID_REQUEST,
            format!("there is no election of type {other}, only preferred (0) and unclean (1)"),
        ),
    };
    let kind = match authorize(&call.context, Operation::Alter, Resource::Cluster) {
        true => kind,
        false => refuse(ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "not authorized to elect leaders"),
    };
    let partitions = request.topic_partitions.map(|topics| {
        let named = topics.into_iter().flat_map(|topic| {
            let name = topic.topic.into_owned();
            topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
        });
        named.collect::<Vec<(String, i32)>>()
    });
    let (context, timeout_ms) = (call.context.clone(), request.timeout_ms);
    let tells_of_the_whole = call.version() >= ERROR_OF_THE_WHOLE_FROM;
    call.answer_later(move |broker| async move {
        let (error_code, outcomes) = match elect(&broker, timeout_ms, kind, partitions.clone()).await {
            Ok(outcomes) => (ErrorCode::NONE, outcomes),
            Err(error) => (error.code, failed(partitions.unwrap_or_default(), &error)),
        };
        if error_code != ErrorCode::NONE {
            broker.metrics.request_error(ApiKey::ElectLeaders, error_code);
        }
        ElectLeadersResponse {
            throttle_time_ms: throttle_time_ms(&context),
            error_code: if tells_of_the_whole { error_code } else { ErrorCode::NONE },
            replica_election_results: by_topic(outcomes),
        }
    })
}

async fn elect(
    broker: &Broker,
    timeout_ms: i32,
    kind: Result<ElectionKind, ApiError>,
    partitions: Option<Vec<(String, i32)>>,
) -> Result<Vec<PartitionOutcome>, ApiError> {
    let all = partitions.is_none();
    let request = ControllerRequest::ElectLeaders { kind: kind?, partitions };
    match ask(&broker.controller, timeout_ms, request).await {
        ControllerResponse::Partitions(mut outcomes) => {
            let needed = |outcome: &PartitionOutcome| {
                outcome.result.as_ref().err().is_none_or(|error| error.code != ErrorCode::ELECTION_NOT_NEEDED)
            };
            outcomes.retain(|outcome| !all || needed(outcome));
            Ok(outcomes)
        }
        ControllerResponse::Failed(error) => Err(error),
        _ => Err(unexpected()),
    }
}

fn failed(partitions: Vec<(String, i32)>, error: &ApiError) -> Vec<PartitionOutcome> {
    let outcome = |(topic, partition)| PartitionOutcome { topic, partition, result: Err(error.clone()) };
    partitions.into_iter().map(outcome).collect()
}

fn by_topic(outcomes: Vec<PartitionOutcome>) -> Vec<ReplicaElectionResult<'static>> {
    let mut topics: BTreeMap<String, Vec<PartitionResult<'static>>> = BTreeMap::new();
    for PartitionOutcome { topic, partition, result } in outcomes {
        let error = result.err();
        topics.entry(topic).or_default().push(PartitionResult {
            partition_id: partition,
            error_code: error.as_ref().map_or(ErrorCode::NONE, |error| error.code),
            error_message: error.map(|error| error.message.into()),
        });
    }
    let result = |(topic, partition_result): (String, _)| ReplicaElectionResult {
        topic: topic.into(),
        partition_result,
    };
    topics.into_iter().map(result).collect()
}
