//! What the handlers that change configuration share.

use std::collections::HashSet;

use taffrail_control::session::{
    ApiError, ConfigChange, ConfigOp, ConfigResource, ControllerRequest, ControllerResponse,
};
use taffrail_log::names::is_legal_topic;
use taffrail_protocol::messages::alter_configs::AlterConfigsResourceResponse;
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::broker::Broker;
use crate::config::live;
use crate::request::{Operation, RequestContext, Resource, authorize};
use crate::topic_changes::{decide_each, refuse};

/// What a resource is (`org.apache.kafka.common.config.ConfigResource.Type`).
pub mod resource_type {
    /// A topic.
    pub const TOPIC: i8 = 2;
    /// A broker; all of them where the name is empty.
    pub const BROKER: i8 = 4;
    /// The levels of a broker's loggers.
    pub const BROKER_LOGGER: i8 = 8;
    /// What clients are asked to measure.
    pub const CLIENT_METRICS: i8 = 16;
    /// A group.
    pub const GROUP: i8 = 32;
}

/// A resource of a request, and what is to be done with its configuration.
pub struct Wanted {
    /// Its type.
    pub resource_type: i8,
    /// Its name.
    pub name: String,
    /// The change, or why it is refused.
    pub change: Result<ConfigChange, ApiError>,
}

impl Wanted {
    /// Checks what can be checked without the controller. `ops` are the keys and what is to be done with each.
    pub fn new(
        context: &RequestContext,
        resource_type: i8,
        name: &str,
        replace: bool,
        ops: Vec<(String, Result<ConfigOp, String>)>,
    ) -> Self {
        let change =
            resource(context, resource_type, name).and_then(|resource| change(resource, replace, ops));
        Self { resource_type, name: name.to_owned(), change }
    }
}

/// The resource, if it has a configuration that the principal may change.
fn resource(context: &RequestContext, resource_type: i8, name: &str) -> Result<ConfigResource, ApiError> {
    let may = |resource| authorize(context, Operation::AlterConfigs, resource);
    match resource_type {
        resource_type::TOPIC if !may(Resource::Topic(name)) => refuse(
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            format!("not authorized to change the configuration of topic {name:?}"),
        ),
        resource_type::TOPIC if !is_legal_topic(name) => {
            refuse(ErrorCode::INVALID_TOPIC_EXCEPTION, format!("{name:?} is no name for a topic"))
        }
        resource_type::TOPIC => Ok(ConfigResource::Topic(name.to_owned())),
        resource_type::BROKER if !may(Resource::Cluster) => refuse(
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
            "not authorized to change the configuration of brokers",
        ),
        resource_type::BROKER if name.is_empty() => Ok(ConfigResource::Broker(None)),
        resource_type::BROKER => match name.parse() {
            Ok(id) => Ok(ConfigResource::Broker(Some(id))),
            Err(_) => refuse(ErrorCode::INVALID_REQUEST, format!("{name:?} is not the id of a broker")),
        },
        resource_type::BROKER_LOGGER => refuse(
            ErrorCode::INVALID_REQUEST,
            "what this broker logs is set by --log-level at its start and cannot be changed while it runs",
        ),
        resource_type::CLIENT_METRICS => {
            refuse(ErrorCode::INVALID_REQUEST, "clients do not push their metrics to this broker yet")
        }
        resource_type::GROUP => {
            refuse(ErrorCode::INVALID_REQUEST, "groups have no configuration of their own yet")
        }
        other => refuse(
            ErrorCode::INVALID_REQUEST,
            format!(
                "there is no configuration for resources of type {other}, only for topics (2) and brokers (4)"
            ),
        ),
    }
}

fn change(
    resource: ConfigResource,
    replace: bool,
    ops: Vec<(String, Result<ConfigOp, String>)>,
) -> Result<ConfigChange, ApiError> {
    let mut seen = HashSet::with_capacity(ops.len());
    if let Some((key, _)) = ops.iter().find(|(key, _)| !seen.insert(key.clone())) {
        return refuse(ErrorCode::INVALID_REQUEST, format!("configuration {key} is named more than once"));
    }
    let read = |(key, op): (String, Result<ConfigOp, String>)| match op {
        Ok(op) => Ok((key, op)),
        Err(problem) => refuse(ErrorCode::INVALID_REQUEST, format!("configuration {key}: {problem}")),
    };
    let ops: Vec<(String, ConfigOp)> = ops.into_iter().map(read).collect::<Result<_, _>>()?;
    if let ConfigResource::Broker(broker_id) = resource {
        ops.iter().try_for_each(|(key, op)| live::check(broker_id, key, op))?;
    }
    Ok(ConfigChange { resource, replace, ops })
}

/// Carries out the changes, each for itself; what to answer for each. A resource that is named twice is left alone.
pub async fn carry_out(
    broker: &Broker,
    api: ApiKey,
    mut wanted: Vec<Wanted>,
    validate_only: bool,
) -> Vec<AlterConfigsResourceResponse<'static>> {
    refuse_named_twice(&mut wanted);
    let (named, changes): (Vec<_>, Vec<_>) =
        wanted.into_iter().map(|wanted| ((wanted.resource_type, wanted.name), wanted.change)).unzip();
    let request = |changes| ControllerRequest::AlterConfigs { changes, validate_only };
    let each = |response| match response {
        ControllerResponse::Configs(outcomes) => Some(outcomes),
        _ => None,
    };
    let outcomes = decide_each(&broker.controller, 0, changes, request, each).await;
    let response = |((resource_type, name), outcome): ((i8, String), Result<(), ApiError>)| {
        let error = outcome.err();
        if let Some(error) = &error {
            broker.metrics.request_error(api, error.code);
        }
        AlterConfigsResourceResponse {
            error_code: error.as_ref().map_or(ErrorCode::NONE, |error| error.code),
            error_message: error.map(|error| error.message.into()),
            resource_type,
            resource_name: name.into(),
        }
    };
    named.into_iter().zip(outcomes).map(response).collect()
}

fn refuse_named_twice(wanted: &mut [Wanted]) {
    let mut seen = HashSet::with_capacity(wanted.len());
    let twice: HashSet<(i8, String)> = wanted
        .iter()
        .map(|wanted| (wanted.resource_type, wanted.name.clone()))
        .filter(|resource| !seen.insert(resource.clone()))
        .collect();
    for wanted in wanted {
        if twice.contains(&(wanted.resource_type, wanted.name.clone())) {
            wanted.change =
                refuse(ErrorCode::INVALID_REQUEST, "the request names the resource more than once");
        }
    }
}
