//! `LogCluster`: the wish for a cluster of brokers.

mod brokers;
mod listener;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{self, Config};

pub use brokers::{BrokersSpec, PodOverrides, RackSpec, ResourcesSpec, StorageSpec, VolumeSpec};
pub use listener::{ListenerSpec, ListenerType};
pub use status::{BrokerPhase, BrokerStatus, ListenerStatus, LogClusterStatus};

/// The most replicas that a topic has where nobody said how many.
const USUAL_REPLICATION_FACTOR: i32 = 3;

/// A cluster of brokers that speak the Kafka protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, CustomResource)]
#[kube(
    group = "taffrail.dev",
    version = "v1alpha1",
    kind = "LogCluster",
    doc = "A cluster of brokers that speak the Kafka protocol. An empty spec makes three brokers with 10Gi each.",
    namespaced,
    status = "LogClusterStatus",
    derive = "PartialEq",
    shortname = "lc",
    category = "taffrail",
    validation = Rule::new(
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
    ).message(
        "the name becomes part of Services' and pods' names: choose one of at most 40 lower-case letters, digits and \
         hyphens that begins with a letter and does not end in a hyphen"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the cluster is as its spec wishes."
    ),
    printcolumn(
        name = "Brokers",
        type_ = "integer",
        json_path = ".spec.brokers.replicas",
        description = "Brokers that there shall be."
    ),
    printcolumn(
        name = "Up",
        type_ = "integer",
        json_path = ".status.readyBrokers",
        description = "Brokers that are registered and ready."
    ),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(
        name = "Under-Replicated",
        type_ = "integer",
        json_path = ".status.underReplicatedPartitions",
        description = "Partitions with a replica that is not in sync."
    ),
    printcolumn(
        name = "Offline",
        type_ = "integer",
        json_path = ".status.offlinePartitions",
        description = "Partitions without a leader."
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Release that the brokers run."
    ),
    printcolumn(
        name = "Bootstrap",
        type_ = "string",
        json_path = ".status.listeners[0].bootstrap",
        description = "Address that clients begin with, of the first listener.",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!('default.replication.factor' in self.config) || \
         !string(self.config['default.replication.factor']).matches('^[0-9]{1,9}$') || \
         int(string(self.config['default.replication.factor'])) <= self.brokers.replicas"
    ).message(
        "default.replication.factor is above brokers.replicas, so that no topic could be made: lower it or ask for \
         more brokers"
    ),
    validation = Rule::new(
        "!('min.insync.replicas' in self.config) || \
         !string(self.config['min.insync.replicas']).matches('^[0-9]{1,9}$') || \
         ('default.replication.factor' in self.config ? \
         (!string(self.config['default.replication.factor']).matches('^[0-9]{1,9}$') || \
         int(string(self.config['min.insync.replicas'])) <= int(string(self.config['default.replication.factor']))) : \
         int(string(self.config['min.insync.replicas'])) <= 3 && \
         int(string(self.config['min.insync.replicas'])) <= self.brokers.replicas)"
    ).message(
        "min.insync.replicas is above default.replication.factor (where that is not set, 3 or the number of brokers), \
         so that no write with acks=all could succeed: lower the one or raise the other"
    )
)]
pub struct LogClusterSpec {
    /// The release of Taffrail that the brokers run, such as 0.1.0. Another value rolls the brokers one by one. Without
    /// it, the release that was the operator's when the cluster was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+[.][0-9]+[.][0-9]+(-[0-9A-Za-z.-]+)?$')").message(
        "a version is three numbers and perhaps a suffix, such as 0.1.0 or 0.2.0-rc.1: set one like that"
    ))]
    pub version: Option<String>,
    /// The image that the brokers run, where it is not the operator's for that version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// The brokers.
    #[serde(default)]
    pub brokers: BrokersSpec,
    /// Where clients connect. Without it, one internal listener, plain, on port 9092.
    #[serde(default = "listener::default_listeners")]
    #[schemars(schema_with = "listener::list_schema")]
    pub listeners: Vec<ListenerSpec>,
    /// Kafka's broker configuration, such as num.partitions or log.retention.ms, for all brokers. Put true and false
    /// in quotes. Most keys are changed without a restart.
    #[serde(default)]
    #[schemars(schema_with = "config::broker_schema")]
    pub config: Config,
    /// While true, the operator changes nothing in Kubernetes for this cluster: no roll, no scaling, no new topics
    /// from Topic objects. Leaders are still elected.
    #[serde(default)]
    pub pause: bool,
    /// How long a topic outlives its Topic object. An object made again within that time gets its topic back.
    #[serde(default = "an_hour")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub topic_deletion_grace_seconds: i64,
    /// How long clients may remember the address of a broker's name: after a restart, leaders return to a broker no
    /// sooner. The default is the time that Kubernetes' DNS usually sets.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0, max = 3600))]
    pub dns_ttl_seconds: i64,
    /// Who may reach the brokers, as far as the cluster's network enforces it.
    #[serde(default)]
    pub network_policy: NetworkPolicySpec,
}

fn an_hour() -> i64 {
    3600
}

fn thirty() -> i64 {
    30
}

/// Whether there is a NetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NetworkPolicySpec {
    /// Whether a NetworkPolicy admits clients to the listeners' ports only, and to replication only the brokers.
    #[serde(default)]
    pub enabled: bool,
}

impl Default for LogClusterSpec {
    fn default() -> Self {
        Self {
            version: None,
            image: None,
            brokers: BrokersSpec::default(),
            listeners: listener::default_listeners(),
            config: Config::new(),
            pause: false,
            topic_deletion_grace_seconds: an_hour(),
            dns_ttl_seconds: thirty(),
            network_policy: NetworkPolicySpec::default(),
        }
    }
}

impl LogClusterSpec {
    /// How many replicas a topic has where nobody says how many: what `config` says, else three, or as many as there
    /// are brokers.
    pub fn default_replication_factor(&self) -> i32 {
        let usual = self.brokers.replicas.min(USUAL_REPLICATION_FACTOR);
        self.configured("default.replication.factor").unwrap_or(usual)
    }

    /// How many replicas must be in sync where nobody says how many: what `config` says, else two of three or more, so
    /// that every acknowledged record is on two brokers and one broker may still be away.
    pub fn min_insync_replicas(&self) -> i32 {
        let usual = if self.default_replication_factor() >= USUAL_REPLICATION_FACTOR { 2 } else { 1 };
        self.configured("min.insync.replicas").unwrap_or(usual)
    }

    /// The configuration that brokers and controller run with: `config`, and what follows from the number of brokers.
    pub fn resolved_config(&self) -> Config {
        let replication_factor = i64::from(self.default_replication_factor());
        let mut config = self.config.clone();
        for (key, value) in [
            ("default.replication.factor", replication_factor),
            ("min.insync.replicas", i64::from(self.min_insync_replicas())),
            ("offsets.topic.replication.factor", replication_factor),
        ] {
            config.entry(key.to_owned()).or_insert_with(|| value.into());
        }
        config
    }

    fn configured(&self, key: &str) -> Option<i32> {
        config::number(&self.config, key).and_then(|number| number.try_into().ok())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(spec: serde_json::Value) -> LogClusterSpec {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn an_empty_spec_is_three_brokers_with_a_volume_and_a_listener() {
        let spec = spec(json!({}));
        assert_eq!(spec, LogClusterSpec::default());
        assert_eq!(spec.brokers.replicas, 3);
        let volumes: Vec<_> =
            spec.brokers.storage.volumes.iter().map(|v| (v.name.as_str(), v.size.0.as_str())).collect();
        assert_eq!(volumes, [("data", "10Gi")]);
        let listener =
            ListenerSpec { name: "plain".to_owned(), listener_type: ListenerType::Internal, port: 9092 };
        assert_eq!(spec.listeners, [listener]);
    }

    #[test]
    fn replicas_follow_the_number_of_brokers_up_to_three() {
        for (brokers, replication_factor, min_insync_replicas) in
            [(1, 1, 1), (2, 2, 1), (3, 3, 2), (30, 3, 2)]
        {
            let spec = spec(json!({"brokers": {"replicas": brokers}}));
            assert_eq!(spec.default_replication_factor(), replication_factor);
            assert_eq!(spec.min_insync_replicas(), min_insync_replicas);
        }
    }

    #[test]
    fn what_config_says_is_kept_and_what_follows_is_added() {
        let spec = spec(json!({"config": {"default.replication.factor": "2", "num.partitions": 6}}));
        let resolved: Vec<_> =
            spec.resolved_config().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let expected = [
            "default.replication.factor=2",
            "min.insync.replicas=1",
            "num.partitions=6",
            "offsets.topic.replication.factor=2",
        ];
        assert_eq!(resolved, expected);
    }
}
