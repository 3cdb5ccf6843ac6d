//! `Topic`: the wish for a topic in a LogCluster. It is never the topic's memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition;
use crate::config::{self, Config};
use crate::logcluster::LogClusterSpec;

/// A topic of a LogCluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, CustomResource)]
#[kube(
    group = "taffrail.dev",
    version = "v1alpha1",
    kind = "Topic",
    doc = "A topic of a LogCluster in the same namespace.",
    namespaced,
    status = "TopicStatus",
    derive = "PartialEq",
    shortname = "lt",
    category = "taffrail",
    validation = Rule::new(
        "(has(self.spec.topicName) ? self.spec.topicName : self.metadata.name) == \
         (has(oldSelf.spec.topicName) ? oldSelf.spec.topicName : oldSelf.metadata.name)"
    ).message(
        "a topic cannot be renamed: put the old topicName back, and make another Topic for the new name"
    ).field_path(".spec.topicName"),
    validation = Rule::new("has(self.spec.topicName) || self.metadata.name.size() <= 249").message(
        "Kafka's topic names have at most 249 characters, and this object's name has more: set spec.topicName"
    ),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the topic is as its spec wishes."
    ),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicationFactor",
        description = "Replicas of each partition."
    ),
    printcolumn(
        name = "Under-Replicated",
        type_ = "integer",
        json_path = ".status.underReplicatedCount",
        description = "Partitions with a replica that is not in sync."
    ),
    printcolumn(
        name = "Offline",
        type_ = "integer",
        json_path = ".status.offlineCount",
        description = "Partitions without a leader."
    ),
    printcolumn(
        name = "Bytes",
        type_ = "integer",
        json_path = ".status.sizeBytes",
        description = "About how many bytes one copy of the topic takes.",
        priority = 1
    ),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName", priority = 1),
    printcolumn(name = "Topic-ID", type_ = "string", json_path = ".status.topicId", priority = 1),
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
        "!has(self.replicationFactor) || !('min.insync.replicas' in self.config) || \
         !string(self.config['min.insync.replicas']).matches('^[0-9]{1,9}$') || \
         int(string(self.config['min.insync.replicas'])) <= self.replicationFactor"
    ).message(
        "min.insync.replicas is above replicationFactor, so that no write with acks=all could succeed: \
         lower min.insync.replicas or raise replicationFactor"
    )
)]
pub struct TopicSpec {
    /// The LogCluster that the topic lives in. It cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "a topic cannot move to another LogCluster: put the old clusterRef back, and make another Topic there"
    ))]
    pub cluster_ref: ClusterRef,
    /// The name that Kafka clients use, where it differs from this object's: letters, digits, dots, underscores and
    /// hyphens. It cannot be changed.
    #[schemars(length(min = 1, max = 249))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-zA-Z0-9._-]+$')").message(
            "a topic's name has only letters, digits, dots, underscores and hyphens: leave out all else"
        ),
        validation = Rule::new("self != '.' && self != '..'").message(
            "a topic cannot be named \".\" or \"..\": choose another name"
        ),
        validation = Rule::new("!self.startsWith('__')").message(
            "names that begin with two underscores are those of internal topics: choose another name"
        )
    )]
    pub topic_name: Option<String>,
    /// How many partitions the topic has. They can become more, which changes the partition that a key belongs to; they
    /// never become fewer.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message(
        "partitions can become more, never fewer: set at least as many as there were, or make another Topic"
    ))]
    pub partitions: i32,
    /// How many brokers keep each partition. Without it, the cluster's default.replication.factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 300))]
    pub replication_factor: Option<i32>,
    /// Kafka's topic configuration, such as retention.ms or cleanup.policy. Put true and false in quotes. It is changed
    /// without a restart. What is taken out of it is reset to its default; what only Kafka clients set stays.
    #[serde(default)]
    #[schemars(schema_with = "config::topic_schema")]
    pub config: Config,
    /// What becomes of the records once this object is deleted: Delete removes the topic after the cluster's
    /// topicDeletionGraceSeconds, Retain leaves it to Kafka clients.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn one() -> i32 {
    1
}

/// Names a LogCluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterRef {
    /// Its name, in the namespace of the object that refers to it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What becomes of a topic whose [`Topic`] is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It is deleted after a grace period.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

/// What the operator last saw of the topic. A summary: nothing is decided from it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The generation of the spec that this status follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is the case, one entry of each type. Ready sums the others up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,
    /// The name that Kafka clients use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// The topic's id, in Kafka's notation. A topic that is deleted and made again has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// How many partitions there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// The most replicas that a partition has, those that are still being added left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i32>,
    /// How many partitions have a replica that is not in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_replicated_count: Option<i32>,
    /// Their numbers, the first hundred of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub under_replicated: Vec<i32>,
    /// How many partitions have fewer replicas in sync than min.insync.replicas, and take no write with acks=all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_min_isr_count: Option<i32>,
    /// How many partitions have no leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_count: Option<i32>,
    /// Their numbers, the first hundred of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub offline: Vec<i32>,
    /// How many bytes its records take in the logs of the partitions' leaders: one copy of the topic. Written anew when it
    /// has changed by more than a quarter, and every ten minutes at most; absent until every leader has told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
}

impl Topic {
    /// The name that Kafka clients use.
    pub fn topic_name(&self) -> &str {
        let own = self.metadata.name.as_deref().unwrap_or_default();
        self.spec.topic_name.as_deref().unwrap_or(own)
    }
}

impl TopicSpec {
    /// How many replicas each partition of a new topic gets.
    pub fn replication_factor(&self, cluster: &LogClusterSpec) -> i32 {
        self.replication_factor.unwrap_or_else(|| cluster.default_replication_factor())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_topic_is_named_by_its_spec_or_else_by_its_object() {
        let spec = |spec| serde_json::from_value::<TopicSpec>(spec).unwrap();
        let mut topic = Topic::new("orders", spec(json!({"clusterRef": {"name": "c"}})));
        assert_eq!(topic.topic_name(), "orders");
        topic.spec.topic_name = Some("Orders_v2".to_owned());
        assert_eq!(topic.topic_name(), "Orders_v2");
    }

    #[test]
    fn a_topic_has_as_many_replicas_as_it_says_or_as_the_cluster_says() {
        let cluster = LogClusterSpec::default();
        let spec = |spec| serde_json::from_value::<TopicSpec>(spec).unwrap();
        let defaulted = spec(json!({"clusterRef": {"name": "c"}}));
        assert_eq!((defaulted.partitions, defaulted.replication_factor(&cluster)), (1, 3));
        let explicit = spec(json!({"clusterRef": {"name": "c"}, "replicationFactor": 2}));
        assert_eq!(explicit.replication_factor(&cluster), 2);
    }
}
