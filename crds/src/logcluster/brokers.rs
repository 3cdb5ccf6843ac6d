//! The brokers of a LogCluster: how many, on what, and where.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The brokers of a LogCluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokersSpec {
    /// How many brokers there are. More get partitions moved onto them; fewer are emptied first, highest ordinal first.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 300))]
    pub replicas: i32,
    /// What the brokers keep their logs on.
    #[serde(default)]
    pub storage: StorageSpec,
    /// CPU and memory of a broker's container.
    #[serde(default)]
    pub resources: ResourcesSpec,
    /// Where a broker's rack is read from.
    #[serde(default)]
    pub rack: RackSpec,
    /// What the brokers' pods have beside what the operator gives them.
    #[serde(default)]
    pub pod: PodOverrides,
    /// How long a broker that is told to stop may take to hand its partitions over and to flush its logs.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub termination_grace_period_seconds: i64,
}

fn three() -> i32 {
    3
}

fn five_minutes() -> i64 {
    300
}

impl Default for BrokersSpec {
    fn default() -> Self {
        Self {
            replicas: three(),
            storage: StorageSpec::default(),
            resources: ResourcesSpec::default(),
            rack: RackSpec::default(),
            pod: PodOverrides::default(),
            termination_grace_period_seconds: five_minutes(),
        }
    }
}

/// What a broker keeps its logs on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// The volumes of each broker, each of them a log directory. A new replica goes into the one that has the fewest, so
    /// they had better be of one size. Their names and storage classes cannot be changed; their sizes can grow.
    #[serde(default = "default_volumes")]
    #[schemars(schema_with = "volumes_schema")]
    pub volumes: Vec<VolumeSpec>,
    /// Whether the claims go, and all records with them, when the LogCluster is deleted or a broker is scaled away.
    #[serde(default)]
    pub delete_claim: bool,
}

impl StorageSpec {
    /// The volumes in the order of their names: people write them in any, and nothing shall change for that.
    pub fn volumes_by_name(&self) -> Vec<&VolumeSpec> {
        let mut volumes: Vec<_> = self.volumes.iter().collect();
        volumes.sort_by_key(|volume| &volume.name);
        volumes
    }
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self { volumes: default_volumes(), delete_claim: false }
    }
}

fn default_volumes() -> Vec<VolumeSpec> {
    vec![VolumeSpec { name: "data".to_owned(), size: Quantity("10Gi".to_owned()), storage_class: None }]
}

fn volumes_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": VolumeSpec::json_schema(generator),
        "minItems": 1,
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "x-kubernetes-validations": [{
            "rule": "self.size() == oldSelf.size() && self.all(v, oldSelf.exists(o, o.name == v.name))",
            "message": "volumes can be neither added, removed nor renamed: put the old names back; for other volumes \
                        make another LogCluster",
        }],
    })
}

/// A volume of each broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!isQuantity(self.size) || !isQuantity(oldSelf.size) || \
         quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0"
    ).message("a volume can grow, never shrink: set at least the old size").field_path(".size"),
    validation = Rule::new(
        "has(self.storageClass) == has(oldSelf.storageClass) && \
         (!has(self.storageClass) || self.storageClass == oldSelf.storageClass)"
    ).message(
        "the storage class of a volume cannot be changed: put the old one back; for another class make another LogCluster"
    )
)]
pub struct VolumeSpec {
    /// Names the volume; part of its claims' names.
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "a volume's name has only lower-case letters, digits and hyphens, and no hyphen at either end: choose such a name"
    ))]
    pub name: String,
    /// How large it is, such as 100Gi. It can grow while the brokers run, if the storage class allows it.
    #[schemars(schema_with = "size_schema")]
    pub size: Quantity,
    /// The storage class of its claims. Without it, the default one of the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
}

fn size_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 32,
        "x-kubernetes-validations": [{
            "rule": "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
            "message": "a size is a quantity above zero, such as 500Mi, 100Gi or 2Ti: set one like that",
        }],
    })
}

/// CPU and memory of a container, as in a pod's `resources`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourcesSpec {
    /// What a node must have free, by resource: cpu, memory.
    #[serde(default)]
    #[schemars(schema_with = "quantities_schema")]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container may not exceed, by resource. A broker sizes its buffers by the memory limit.
    #[serde(default)]
    #[schemars(schema_with = "quantities_schema")]
    pub limits: BTreeMap<String, Quantity>,
}

impl Default for ResourcesSpec {
    fn default() -> Self {
        let quantity = |name: &str, text: &str| (name.to_owned(), Quantity(text.to_owned()));
        Self {
            requests: BTreeMap::from([quantity("cpu", "250m"), quantity("memory", "512Mi")]),
            limits: BTreeMap::from([quantity("memory", "512Mi")]),
        }
    }
}

fn quantities_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": r"^([0-9]+|[0-9]*[.][0-9]+|[0-9]+[.])([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$",
        },
    })
}

/// Where a broker's rack is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RackSpec {
    /// The label of nodes whose value is the rack of the brokers there: the replicas of a partition are spread over
    /// racks. A node without the label is in no rack.
    #[serde(default = "zone")]
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = Rule::new(
        "self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')"
    ).message(
        "topologyKey is the name of a node label, such as topology.kubernetes.io/zone: set one like that"
    ))]
    pub topology_key: String,
}

fn zone() -> String {
    "topology.kubernetes.io/zone".to_owned()
}

impl Default for RackSpec {
    fn default() -> Self {
        Self { topology_key: zone() }
    }
}

/// What the brokers' pods have beside what the operator gives them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodOverrides {
    /// Labels to add. Those under taffrail.dev/ and app.kubernetes.io/ are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub labels: BTreeMap<String, String>,
    /// Annotations to add. Those under taffrail.dev/ are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations_schema")]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Rules of affinity, as in a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Taints of nodes to put up with, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// How brokers are spread, as in a pod, in place of the operator's: over zones, then over nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Secrets to pull the image with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    added_schema(
        63,
        "!k.startsWith('taffrail.dev/') && !k.startsWith('app.kubernetes.io/')",
        "labels under taffrail.dev/ and app.kubernetes.io/ are the operator's: choose another prefix",
    )
}

fn annotations_schema(_: &mut SchemaGenerator) -> Schema {
    added_schema(
        4096,
        "!k.startsWith('taffrail.dev/')",
        "annotations under taffrail.dev/ are the operator's: choose another prefix",
    )
}

/// Labels or annotations whose keys `allowed` admits.
fn added_schema(max_length: u32, allowed: &str, message: &str) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": max_length },
        "x-kubernetes-validations": [{ "rule": format!("self.all(k, {allowed})"), "message": message }],
    })
}
