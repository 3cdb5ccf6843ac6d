//! DescribeConfigs (key 32): every key of a topic or of this broker, with its value and where it comes from (KIP-133,
//! KIP-226, KIP-569).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use taffrail_control::config_value::ConfigEntry;
use taffrail_log::names::is_legal_topic;
use taffrail_protocol::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use taffrail_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::broker::Broker;
use crate::call::Call;
use crate::config_changes::resource_type;
use crate::net::parked::Answer;
use crate::request::{Operation, RequestContext, Resource, authorize, throttle_time_ms};

/// Why a resource is not described.
struct Refusal {
    code: ErrorCode,
    message: Option<String>,
}

/// How much of each key is told.
#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
}

/// Handles a request for configuration.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: DescribeConfigsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let detail = Detail { synonyms: request.include_synonyms, documentation: request.include_documentation };
    // A resource named again and again would make an answer of any size.
    let mut seen = HashSet::with_capacity(request.resources.len());
    let resources = request.resources.iter();
    let resources =
        resources.filter(|resource| seen.insert((resource.resource_type, &*resource.resource_name)));
    let results = resources.map(|resource| result(&call.broker, &call.context, resource, detail)).collect();
    call.answer(&DescribeConfigsResponse { throttle_time_ms: throttle_time_ms(&call.context), results })
}

fn result<'a>(
    broker: &Broker,
    context: &RequestContext,
    resource: &'a DescribeConfigsResource<'_>,
    detail: Detail,
) -> DescribeConfigsResult<'a> {
    let (entries, error_code, message) = match entries(broker, context, resource) {
        Ok(entries) => (entries, ErrorCode::NONE, None),
        Err(refusal) => {
            broker.metrics.request_error(ApiKey::DescribeConfigs, refusal.code);
            (Vec::new(), refusal.code, refusal.message)
        }
    };
    let keys = resource.configuration_keys.as_ref();
    let wanted = |entry: &ConfigEntry| keys.is_none_or(|keys| keys.iter().any(|key| key == entry.name));
    DescribeConfigsResult {
        error_code,
        error_message: message.map(Into::into),
        resource_type: resource.resource_type,
        resource_name: (&*resource.resource_name).into(),
        configs: entries.into_iter().filter(wanted).map(|entry| described(entry, detail)).collect(),
    }
}

/// All keys of a resource.
fn entries(
    broker: &Broker,
    context: &RequestContext,
    resource: &DescribeConfigsResource<'_>,
) -> Result<Vec<ConfigEntry>, Refusal> {
    let name = &*resource.resource_name;
    match resource.resource_type {
        resource_type::TOPIC => {
            check(context, Resource::Topic(name), ErrorCode::TOPIC_AUTHORIZATION_FAILED)?;
            topic_entries(broker, name)
        }
        resource_type::BROKER => {
            check(context, Resource::Cluster, ErrorCode::CLUSTER_AUTHORIZATION_FAILED)?;
            if name.is_empty() {
                Ok(broker.live.now().describe_of_all())
            } else {
                broker_entries(broker, name)
            }
        }
        resource_type::BROKER_LOGGER => {
            check(context, Resource::Cluster, ErrorCode::CLUSTER_AUTHORIZATION_FAILED)?;
            invalid("the levels of this broker's loggers are set at its start and cannot be read".to_owned())
        }
        // Neither groups nor clients' metrics can be given a configuration, so none has one.
        resource_type::CLIENT_METRICS => {
            check(context, Resource::Cluster, ErrorCode::CLUSTER_AUTHORIZATION_FAILED)?;
            named(name, "a subscription to clients' metrics")
        }
        resource_type::GROUP => {
            check(context, Resource::Group(name), ErrorCode::GROUP_AUTHORIZATION_FAILED)?;
            named(name, "a group")
        }
        other => invalid(format!(
            "there is no configuration for resources of type {other}, only for topics (2), brokers (4) and groups (32)"
        )),
    }
}

fn check(context: &RequestContext, resource: Resource<'_>, code: ErrorCode) -> Result<(), Refusal> {
    match authorize(context, Operation::DescribeConfigs, resource) {
        true => Ok(()),
        false => Err(Refusal { code, message: None }),
    }
}

fn invalid<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal { code: ErrorCode::INVALID_REQUEST, message: Some(message) })
}

fn named(name: &str, what: &str) -> Result<Vec<ConfigEntry>, Refusal> {
    if name.is_empty() { invalid(format!("the name of {what} must not be empty")) } else { Ok(Vec::new()) }
}

fn topic_entries(broker: &Broker, name: &str) -> Result<Vec<ConfigEntry>, Refusal> {
    if !is_legal_topic(name) {
        let message = Some(format!("{name:?} is no name for a topic"));
        return Err(Refusal { code: ErrorCode::INVALID_TOPIC_EXCEPTION, message });
    }
    match broker.cluster.topic(name) {
        Some(topic) => Ok(broker.live.now().describe_topic(&topic.record.config)),
        None => Err(Refusal { code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message: None }),
    }
}

fn broker_entries(broker: &Broker, name: &str) -> Result<Vec<ConfigEntry>, Refusal> {
    let id = broker.id.to_string();
    if name != id {
        return invalid(format!(
            "broker {id} can describe its own configuration only, not that of {name:?}: ask that broker"
        ));
    }
    let own = broker.cluster.broker(broker.id);
    let endpoints = own.iter().flat_map(|record| &record.endpoints);
    let advertised: Vec<_> = endpoints
        .map(|endpoint| format!("{}://{}:{}", endpoint.listener, endpoint.host, endpoint.port))
        .collect();
    let mut decided = BTreeMap::from([
        ("advertised.listeners", advertised.join(",")),
        ("broker.id", id.clone()),
        ("node.id", id),
    ]);
    // The controller may know the rack better than the setting.
    if let Some(own) = own.filter(|own| own.rack != broker.config.broker_rack) {
        decided.insert("broker.rack", own.rack.clone().unwrap_or_default());
    }
    Ok(broker.live.now().describe(&decided))
}

fn described(entry: ConfigEntry, detail: Detail) -> DescribeConfigsResourceResult<'static> {
    let synonyms = if detail.synonyms { entry.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: Cow::Borrowed(entry.name),
        value: entry.value.map(Cow::Owned),
        read_only: entry.read_only,
        config_source: entry.source.id(),
        is_sensitive: entry.sensitive,
        synonyms: synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: Cow::Borrowed(synonym.name),
                value: synonym.value.map(Cow::Owned),
                source: synonym.source.id(),
            })
            .collect(),
        config_type: entry.config_type.id(),
        documentation: detail.documentation.then_some(Cow::Borrowed(entry.documentation)),
    }
}

#[cfg(test)]
mod tests {
    use taffrail_control::topic_config;

    use super::*;

    fn retention(detail: Detail) -> DescribeConfigsResourceResult<'static> {
        let own = BTreeMap::from([("segment.ms".to_owned(), "10".to_owned())]);
        let entries = topic_config::describe(&own, &[]);
        let entry = entries.into_iter().find(|entry| entry.name == "segment.ms").unwrap();
        described(entry, detail)
    }

    #[test]
    fn synonyms_and_documentation_are_told_only_to_who_asks() {
        let brief = retention(Detail { synonyms: false, documentation: false });
        assert_eq!((brief.synonyms.len(), brief.documentation), (0, None));
        let full = retention(Detail { synonyms: true, documentation: true });
        assert_eq!(full.synonyms[0].name, "segment.ms");
        assert!(full.documentation.is_some_and(|text| !text.is_empty()));
    }

    #[test]
    fn a_value_set_on_the_topic_is_told_with_its_type_and_source() {
        let told = retention(Detail { synonyms: false, documentation: false });
        assert_eq!(told.value.as_deref(), Some("10"));
        // A long (5), set on the topic (1).
        assert_eq!((told.config_type, told.config_source), (5, 1));
        assert!(!told.read_only && !told.is_sensitive);
    }
}
