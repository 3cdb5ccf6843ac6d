//! What there is of LogClusters and their children, kept current by watches.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, Node, NodeStatus, PersistentVolumeClaim, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ObjectMeta;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use taffrail_crds::{CLUSTER_LABEL, LogCluster};
use tokio::sync::OnceCell;

use super::pods::broker_id;
use crate::context::{Scope, api};
use crate::fleet::ClusterKey;

/// Where a broker runs.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its pod.
    pub pod: Arc<Pod>,
    /// The node that the pod is bound to.
    pub node: Arc<Node>,
}

/// The children of LogClusters, of all kinds.
#[derive(Clone)]
pub struct Live {
    stateful_sets: Store<StatefulSet>,
    services: Store<Service>,
    config_maps: Store<ConfigMap>,
    accounts: Store<ServiceAccount>,
    budgets: Store<PodDisruptionBudget>,
    policies: Store<NetworkPolicy>,
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
    nodes: Store<Node>,
    /// Set once all of them have been listed. Only one at a time asks the stores: a store wakes the last who asked.
    listed: Arc<OnceCell<()>>,
}

impl Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    /// Begins to watch, for as long as `controller` runs: each child that appears, changes or goes has its LogCluster looked
    /// at.
    pub fn watch(
        client: &Client,
        scope: &Scope,
        controller: Controller<LogCluster>,
    ) -> (Self, Controller<LogCluster>) {
        let (stateful_sets, controller) = watched(client, scope, controller);
        let (services, controller) = watched(client, scope, controller);
        let (config_maps, controller) = watched(client, scope, controller);
        let (accounts, controller) = watched(client, scope, controller);
        let (budgets, controller) = watched(client, scope, controller);
        let (policies, controller) = watched(client, scope, controller);
        let (pods, controller) = watched(client, scope, controller);
        let (claims, controller) = watched(client, scope, controller);
        let (nodes, controller) = watched_nodes(client, controller);
        let live = Self {
            stateful_sets,
            services,
            config_maps,
            accounts,
            budgets,
            policies,
            pods,
            claims,
            nodes,
            listed: Arc::default(),
        };
        (live, controller)
    }

    /// Waits until everything has been listed once.
    ///
    /// # Errors
    ///
    /// If the watches have ended.
    pub async fn ready(&self) -> Result<(), WriterDropped> {
        let all = self.listed.get_or_try_init(async || {
            self.stateful_sets.wait_until_ready().await?;
            self.services.wait_until_ready().await?;
            self.config_maps.wait_until_ready().await?;
            self.accounts.wait_until_ready().await?;
            self.budgets.wait_until_ready().await?;
            self.policies.wait_until_ready().await?;
            self.pods.wait_until_ready().await?;
            self.claims.wait_until_ready().await?;
            self.nodes.wait_until_ready().await
        });
        all.await.copied()
    }

    /// The StatefulSet of a cluster.
    pub fn stateful_set(&self, key: &ClusterKey) -> Option<Arc<StatefulSet>> {
        self.stateful_sets.get(&ObjectRef::new(&key.name).within(&key.namespace))
    }

    /// A ConfigMap in the cluster's namespace.
    pub fn config_map(&self, key: &ClusterKey, name: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps.get(&ObjectRef::new(name).within(&key.namespace))
    }

    /// The PodDisruptionBudget of a cluster.
    pub fn budget(&self, key: &ClusterKey) -> Option<Arc<PodDisruptionBudget>> {
        self.budgets.get(&ObjectRef::new(&key.name).within(&key.namespace))
    }

    /// The pods of a cluster.
    pub fn pods(&self, key: &ClusterKey) -> Vec<Arc<Pod>> {
        of(&self.pods, key)
    }

    /// Where the brokers of a cluster run, by broker id.
    pub fn hosts(&self, key: &ClusterKey) -> BTreeMap<i32, Host> {
        let host = |pod: Arc<Pod>| {
            let name = pod.spec.as_ref()?.node_name.as_deref()?;
            let node = self.nodes.get(&ObjectRef::new(name))?;
            Some((broker_id(&pod)?, Host { pod, node }))
        };
        self.pods(key).into_iter().filter_map(host).collect()
    }

    /// The claims of a cluster.
    pub fn claims(&self, key: &ClusterKey) -> Vec<Arc<PersistentVolumeClaim>> {
        of(&self.claims, key)
    }

    /// The Services of a cluster, by name.
    pub fn services(&self, key: &ClusterKey) -> BTreeMap<String, Service> {
        of(&self.services, key).iter().map(|service| (service.name_any(), Service::clone(service))).collect()
    }

    /// The NetworkPolicies of a cluster.
    pub fn policies(&self, key: &ClusterKey) -> Vec<Arc<NetworkPolicy>> {
        of(&self.policies, key)
    }

    /// The metadata of the child of that kind and name, if it is there.
    pub fn metadata(&self, kind: &str, namespace: &str, name: &str) -> Option<ObjectMeta> {
        fn get<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<ObjectMeta>
        where
            K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + 'static,
        {
            store.get(&ObjectRef::new(name).within(namespace)).map(|object| object.meta().clone())
        }
        match kind {
            "StatefulSet" => get(&self.stateful_sets, namespace, name),
            "Service" => get(&self.services, namespace, name),
            "ConfigMap" => get(&self.config_maps, namespace, name),
            "ServiceAccount" => get(&self.accounts, namespace, name),
            "PodDisruptionBudget" => get(&self.budgets, namespace, name),
            "NetworkPolicy" => get(&self.policies, namespace, name),
            _ => None,
        }
    }
}

fn of<K>(store: &Store<K>, key: &ClusterKey) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut all = store.state_filter(|object| cluster_of(object).as_ref() == Some(key));
    all.sort_by_key(|object| object.name_any());
    all
}

/// The cluster that an object says it belongs to.
fn cluster_of<K: Resource>(object: &K) -> Option<ClusterKey> {
    let name = object.labels().get(CLUSTER_LABEL)?.clone();
    Some(ClusterKey { namespace: object.namespace()?, name })
}

/// A store of all objects that carry the label, and the controller that looks at their clusters.
fn watched<K>(
    client: &Client,
    scope: &Scope,
    controller: Controller<LogCluster>,
) -> (Store<K>, Controller<LogCluster>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (reader, writer) = reflector::store();
    let stream = touched(api::<K>(client, scope), watcher::Config::default().labels(CLUSTER_LABEL), writer);
    let cluster = |object: K| {
        cluster_of(&object).map(|ClusterKey { namespace, name }| ObjectRef::new(&name).within(&namespace))
    };
    (reader, controller.watches_stream(stream, cluster))
}

/// A store of all nodes, and the controller that looks at all clusters when one of them is labelled, cordoned, tainted or
/// reached at another address.
fn watched_nodes(
    client: &Client,
    controller: Controller<LogCluster>,
) -> (Store<Node>, Controller<LogCluster>) {
    let (reader, writer) = reflector::store();
    // What a node says of itself every now and then is of no interest; its images alone are most of it.
    let slim = |node: &mut Node| {
        node.managed_fields_mut().clear();
        if let Some(status) = &mut node.status {
            *status = NodeStatus { addresses: status.addresses.take(), ..NodeStatus::default() };
        }
    };
    let matters = |node: &Node| {
        let mut hasher = DefaultHasher::new();
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let addresses: Vec<_> = addresses.map(|address| (&address.type_, &address.address)).collect();
        let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable);
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let taints: Vec<_> = taints.map(|taint| (&taint.key, &taint.value, &taint.effect)).collect();
        (node.labels(), addresses, unschedulable, taints).hash(&mut hasher);
        Some(hasher.finish())
    };
    let changes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(slim)
        .reflect(writer)
        .touched_objects()
        .predicate_filter(matters, PredicateConfig::default())
        .filter_map(async |changed| changed.ok().map(|_| ()));
    (reader, controller.reconcile_all_on(changes))
}

fn touched<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: reflector::store::Writer<K>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    // Half of an object is who wrote which field of it.
    let slim = |object: &mut K| object.managed_fields_mut().clear();
    watcher(api, config).default_backoff().modify(slim).reflect(writer).touched_objects()
}
