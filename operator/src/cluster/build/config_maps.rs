//! The ConfigMaps that a broker's pod mounts: where its controller is, which is read again at each reconnect, and Kafka's
//! configuration, which is read at its start.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use taffrail_crds::logcluster::{ListenerType, LogClusterSpec};

use super::Wish;
use super::names::{listener_name, metadata};

/// The key of the controller's address.
pub(super) const ADDRESS: &str = "address";
/// The key of the authority's certificate.
pub(super) const CA: &str = "ca.crt";
/// The key of the brokers' configuration.
pub(super) const BROKER_YAML: &str = "broker.yaml";

pub(super) fn controller(wish: &Wish<'_>) -> ConfigMap {
    let data = [
        (ADDRESS.to_owned(), wish.controller.address.clone()),
        (CA.to_owned(), wish.controller.ca_certificate.clone()),
    ];
    config_map(wish, wish.names().controller(), BTreeMap::from(data))
}

pub(super) fn config(wish: &Wish<'_>) -> ConfigMap {
    let settings = broker_settings(&wish.cluster.spec);
    // Every JSON text is one of YAML; so it needs no quoting rules of its own.
    let lines =
        settings.iter().map(|(key, value)| format!("{key}: {}\n", serde_json::Value::from(value.as_str())));
    let data = BTreeMap::from([(BROKER_YAML.to_owned(), lines.collect())]);
    config_map(wish, wish.names().config(), data)
}

/// The settings in a ConfigMap that [`config`] built.
pub fn settings_in(config_map: &ConfigMap) -> BTreeMap<String, String> {
    let text = config_map.data.as_ref().and_then(|data| data.get(BROKER_YAML)).map_or("", String::as_str);
    let settings = text.lines().filter_map(|line| line.split_once(": "));
    settings.filter_map(|(key, value)| Some((key.to_owned(), serde_json::from_str(value).ok()?))).collect()
}

fn config_map(wish: &Wish<'_>, name: String, data: BTreeMap<String, String>) -> ConfigMap {
    ConfigMap { metadata: metadata(wish.cluster, name), data: Some(data), ..ConfigMap::default() }
}

/// What brokers are started with: the resolved configuration, and the listener that they reach each other over, which is
/// the first internal one.
pub fn broker_settings(spec: &LogClusterSpec) -> BTreeMap<String, String> {
    let resolved = spec.resolved_config();
    let mut settings: BTreeMap<_, _> =
        resolved.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
    let internal = spec.listeners.iter().find(|listener| listener.listener_type == ListenerType::Internal);
    if let Some(internal) = internal {
        settings.insert("inter.broker.listener.name".to_owned(), listener_name(&internal.name));
    }
    settings
}
