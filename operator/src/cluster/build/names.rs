//! What the children of a LogCluster are called, and the labels and annotations that they carry.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use taffrail_crds::{CLUSTER_LABEL, LogCluster};

/// The container that a broker runs in.
pub const BROKER_CONTAINER: &str = "broker";

/// The port of probes and metrics.
pub const ADMIN_PORT: i32 = 9644;

/// What [`ADMIN_PORT`] is called; no listener can be.
pub const ADMIN_PORT_NAME: &str = "admin";

/// The annotation of a pod that tells by which template it was made.
pub const TEMPLATE_HASH: &str = "taffrail.dev/template-hash";

/// The annotation of a StatefulSet that keeps the templates of its pods: see [`super::template::Templates`].
pub const TEMPLATES: &str = "taffrail.dev/templates";

/// The annotation of a LogCluster that records the release it was made with, and of a pod that names its own.
pub const VERSION: &str = "taffrail.dev/version";

/// The label that a StatefulSet gives its pods: the ordinal, which is the broker's id.
pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The names of the children of one LogCluster.
#[derive(Debug, Clone)]
pub struct Names<'a> {
    cluster: &'a str,
    namespace: &'a str,
}

impl<'a> Names<'a> {
    /// For the LogCluster `cluster` in `namespace`.
    pub fn new(namespace: &'a str, cluster: &'a str) -> Self {
        Self { cluster, namespace }
    }

    /// The StatefulSet, the ServiceAccount, the PodDisruptionBudget and the NetworkPolicy are called as the cluster is.
    pub fn cluster(&self) -> String {
        self.cluster.to_owned()
    }

    /// The headless Service, under which every pod has a name.
    pub fn brokers(&self) -> String {
        format!("{}-brokers", self.cluster)
    }

    /// The Service that clients inside the Kubernetes cluster begin with.
    pub fn bootstrap(&self) -> String {
        format!("{}-bootstrap", self.cluster)
    }

    /// The Service that clients of an external listener begin with.
    pub fn external_bootstrap(&self, listener: &str) -> String {
        format!("{}-{listener}-bootstrap", self.cluster)
    }

    /// The Service of one broker's external listener.
    pub fn external(&self, listener: &str, id: i32) -> String {
        format!("{}-{listener}-{id}", self.cluster)
    }

    /// The ConfigMap with the brokers' configuration.
    pub fn config(&self) -> String {
        format!("{}-config", self.cluster)
    }

    /// The ConfigMap that says where the controller is.
    pub fn controller(&self) -> String {
        format!("{}-controller", self.cluster)
    }

    /// A broker's pod.
    pub fn pod(&self, id: i32) -> String {
        format!("{}-{id}", self.cluster)
    }

    /// The claim of a broker's volume.
    pub fn claim(&self, volume: &str, id: i32) -> String {
        format!("{volume}-{}-{id}", self.cluster)
    }

    /// Under what a Service is found from everywhere in the Kubernetes cluster.
    pub fn host(&self, service: &str) -> String {
        format!("{service}.{}.svc", self.namespace)
    }
}

/// What a listener is called in Kafka's terms.
pub fn listener_name(name: &str) -> String {
    name.to_ascii_uppercase()
}

/// The labels that tell the brokers of a cluster from all other pods. They can never change: selectors cannot.
pub fn selector_labels(cluster: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "taffrail".to_owned()),
        ("app.kubernetes.io/instance".to_owned(), cluster.to_owned()),
        ("app.kubernetes.io/component".to_owned(), BROKER_CONTAINER.to_owned()),
    ])
}

/// Selects the brokers of a cluster.
pub fn selector(cluster: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(selector_labels(cluster)), ..LabelSelector::default() }
}

/// The labels of everything that belongs to a cluster.
pub fn labels(cluster: &str) -> BTreeMap<String, String> {
    let mut labels = selector_labels(cluster);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "taffrail-operator".to_owned());
    labels.insert(CLUSTER_LABEL.to_owned(), cluster.to_owned());
    labels
}

/// The LogCluster as the owner of its children: they go when it goes, and it waits for them if whoever deletes it says so.
pub fn owner(cluster: &LogCluster) -> OwnerReference {
    OwnerReference {
        api_version: LogCluster::api_version(&()).into_owned(),
        kind: LogCluster::kind(&()).into_owned(),
        name: cluster.name_any(),
        uid: cluster.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The metadata of a child.
pub fn metadata(cluster: &LogCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: cluster.namespace(),
        labels: Some(labels(&cluster.name_any())),
        owner_references: Some(vec![owner(cluster)]),
        ..ObjectMeta::default()
    }
}
