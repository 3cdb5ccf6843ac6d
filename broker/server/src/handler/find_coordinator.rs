//! FindCoordinator (key 10): which broker keeps a group (KIP-699).

use taffrail_protocol::messages::find_coordinator::Coordinator;
use taffrail_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::auto_create::{OFFSETS_TOPIC, create_missing};
use crate::broker::Broker;
use crate::call::Call;
use crate::cluster_view::{ClusterView, Leader, NO_BROKER};
use crate::group::partition_for;
use crate::net::parked::Answer;
use crate::request::{Operation, RequestContext, Resource, authorize, throttle_time_ms};

/// Versions from this one on ask for several keys.
const SEVERAL_KEYS_FROM: i16 = 4;
/// `FindCoordinatorRequest.CoordinatorType.GROUP`.
const GROUP: i8 = 0;
/// `FindCoordinatorRequest.CoordinatorType.TRANSACTION`.
const TRANSACTION: i8 = 1;

/// Why a key has no coordinator that can be named.
struct Refusal {
    code: ErrorCode,
    message: String,
}

/// Where a coordinator is.
struct Place {
    id: i32,
    host: String,
    port: i32,
}

/// Handles a request for coordinators. The first one for a group makes the topic that groups are kept in, and waits
/// for it.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: FindCoordinatorRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let one = [request.key];
    let keys = if call.version() >= SEVERAL_KEYS_FROM { &request.coordinator_keys[..] } else { &one };
    let wanted = keys.iter().any(|key| check(&call.context, request.key_type, key).is_ok());
    if !wanted || call.broker.cluster.topic(OFFSETS_TOPIC).is_some() {
        return call.answer(&respond(&call.broker, &call.context, request.key_type, keys, None));
    }
    let (key_type, context) = (request.key_type, call.context.clone());
    let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
    call.answer_later(move |broker| async move {
        let mut failed = create_missing(&broker, vec![OFFSETS_TOPIC.to_owned()]).await;
        let failed = failed.remove(OFFSETS_TOPIC).map(|error| error.message);
        respond(&broker, &context, key_type, &keys, failed.as_deref()).into_owned()
    })
}

/// What can be said of a key without looking at the cluster.
fn check(context: &RequestContext, key_type: i8, key: &str) -> Result<(), Refusal> {
    let refuse = |code, message: String| Err(Refusal { code, message });
    match key_type {
        GROUP if key.is_empty() => {
            refuse(ErrorCode::INVALID_GROUP_ID, "the group id must not be empty; set group.id".to_owned())
        }
        GROUP if !authorize(context, Operation::Describe, Resource::Group(key)) => refuse(
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
            format!("not authorized to describe the group {key:?}"),
        ),
        GROUP => Ok(()),
        // Of the codes that a client may expect here, this is the one on which the Java client and librdkafka both give
        // up at once: librdkafka goes on asking after every other that would fit, until its application loses patience.
        TRANSACTION => refuse(
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            "this broker does not serve transactions yet; leave transactional.id out".to_owned(),
        ),
        _ => refuse(
            ErrorCode::INVALID_REQUEST,
            format!("there are no coordinators of type {key_type} here, only those of groups (0)"),
        ),
    }
}

/// Answers each key. `not_made` says why the topic that groups are kept in could not be made.
fn respond<'a, K: AsRef<str>>(
    broker: &Broker,
    context: &RequestContext,
    key_type: i8,
    keys: &'a [K],
    not_made: Option<&str>,
) -> FindCoordinatorResponse<'a> {
    let view = ClusterView::new(&broker.cluster, &context.listener);
    let coordinator = |key: &'a K| {
        let key = key.as_ref();
        let found = check(context, key_type, key).and_then(|()| place_of(broker, &view, key, not_made));
        if let Err(refusal) = &found {
            broker.metrics.request_error(ApiKey::FindCoordinator, refusal.code);
        }
        to_coordinator(key, found)
    };
    let throttle_time_ms = throttle_time_ms(context);
    let mut coordinators: Vec<_> = keys.iter().map(coordinator).collect();
    if context.api_version >= SEVERAL_KEYS_FROM {
        return FindCoordinatorResponse {
            throttle_time_ms,
            coordinators,
            ..FindCoordinatorResponse::default()
        };
    }
    let coordinator = coordinators.pop().unwrap_or_default();
    FindCoordinatorResponse {
        throttle_time_ms,
        error_code: coordinator.error_code,
        error_message: coordinator.error_message,
        node_id: coordinator.node_id,
        host: coordinator.host,
        port: coordinator.port,
        ..FindCoordinatorResponse::default()
    }
}

/// Where the group of this id is kept: at the leader of its partition of the offsets topic.
fn place_of(
    broker: &Broker,
    view: &ClusterView<'_>,
    group_id: &str,
    not_made: Option<&str>,
) -> Result<Place, Refusal> {
    let unavailable = |message: String| Refusal { code: ErrorCode::COORDINATOR_NOT_AVAILABLE, message };
    let Some(topic) = broker.cluster.topic(OFFSETS_TOPIC) else {
        let why = not_made.unwrap_or("it is being made; try again");
        return Err(unavailable(format!("the topic {OFFSETS_TOPIC} is not there: {why}")));
    };
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let number = partition_for(group_id, count);
    let leader = topic.partition(number).map_or(Leader::None, |partition| view.leader(&partition.record));
    match view.live_node(leader.id()) {
        Some(node) => Ok(Place { id: node.id, host: node.host.to_owned(), port: node.port }),
        None => Err(unavailable(format!("partition {number} of {OFFSETS_TOPIC} has no leader; try again"))),
    }
}

fn to_coordinator(key: &str, found: Result<Place, Refusal>) -> Coordinator<'_> {
    match found {
        Ok(place) => Coordinator {
            key: key.into(),
            node_id: place.id,
            host: place.host.into(),
            port: place.port,
            error_code: ErrorCode::NONE,
            error_message: None,
        },
        Err(refusal) => Coordinator {
            key: key.into(),
            node_id: NO_BROKER,
            host: "".into(),
            port: -1,
            error_code: refusal.code,
            error_message: Some(refusal.message.into()),
        },
    }
}
