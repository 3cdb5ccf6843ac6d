//! What there is of one cluster at the moment it is looked at.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Api, Client, ResourceExt};
use taffrail_controller_service::LogDirs;
use taffrail_crds::ClusterState;

use super::build::names::TEMPLATES;
use super::build::template::{Template, Templates};
use super::claims::{Claims, requested};
use super::facts::Facts;
use super::live::Live;
use super::pods::{PodSeen, seen};
use crate::calls::call;
use crate::fleet::{ClusterKey, Running};

/// See the module.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What pods are made by, if there is a StatefulSet.
    pub templates: Option<Templates>,
    /// How many pods the StatefulSet makes, if there is one.
    pub replicas: Option<i32>,
    /// The sizes of volumes that the StatefulSet was made with.
    pub first_sizes: BTreeMap<String, Quantity>,
    /// The pods.
    pub pods: BTreeMap<i32, PodSeen>,
    /// What is said of claims of its brokers.
    pub claims: Claims,
    /// What the controller has published, once it has read its state.
    pub facts: Option<Facts>,
    /// The log directories that take no writes, by broker; `None` while nobody tells.
    pub log_dirs: Option<LogDirs>,
    /// The id that clients know the cluster by.
    pub cluster_id: Option<String>,
    /// What keeps the controller from working.
    pub controller_problem: Option<String>,
    /// The Services, by name.
    pub services: BTreeMap<String, Service>,
    /// How many brokers may be evicted now.
    pub max_unavailable: i32,
}

impl Observation {
    /// Looks at everything. `running` is the cluster's controller, `told_id` the cluster's id if it is known.
    pub async fn gather(
        client: &Client,
        live: &Live,
        key: &ClusterKey,
        running: Option<&Running>,
        told_id: Option<&str>,
    ) -> Self {
        let stateful_set = live.stateful_set(key);
        let facts = running.and_then(published);
        let log_dirs = match (running, &facts) {
            (Some(running), Some(facts)) => {
                let mut dirs = running.handle.log_dirs().borrow().clone();
                // Nobody tells of a broker that was unregistered any more.
                dirs.retain(|id, _| facts.brokers.contains_key(id));
                Some(dirs)
            }
            _ => None,
        };
        let pods = live.pods(key);
        let budget = live.budget(key).and_then(|budget| budget.spec.as_ref()?.max_unavailable.clone());
        Self {
            templates: stateful_set.as_deref().map(templates),
            replicas: stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.replicas),
            first_sizes: stateful_set.as_deref().map(first_sizes).unwrap_or_default(),
            pods: seen(pods.iter().map(AsRef::as_ref)),
            claims: Claims::gather(client, &key.name, &live.claims(key)).await,
            max_unavailable: max_unavailable(facts.as_ref(), budget),
            controller_problem: controller_problem(running, facts.is_some()),
            cluster_id: cluster_id(client, key, facts.as_ref(), told_id).await,
            facts,
            log_dirs,
            services: live.services(key),
        }
    }
}

/// What the controller has published.
fn published(running: &Running) -> Option<Facts> {
    let view = running.view.lock();
    view.is_current.then(|| Facts::of(&view))
}

/// The id that clients know the cluster by. It is never another one, so whoever has told it once need not be asked again.
async fn cluster_id(
    client: &Client,
    key: &ClusterKey,
    facts: Option<&Facts>,
    told: Option<&str>,
) -> Option<String> {
    if told.is_some() || facts.is_none_or(|facts| facts.brokers.is_empty()) {
        return told.map(str::to_owned);
    }
    let states: Api<ClusterState> = Api::namespaced(client.clone(), &key.namespace);
    let state = call(format!("read ClusterState {key}"), states.get_opt(&key.name)).await;
    let state = state.inspect_err(|error| tracing::debug!("{error}")).ok()??;
    state.spec.state.get("cluster_id")?.as_str().map(str::to_owned)
}

fn controller_problem(running: Option<&Running>, is_read: bool) -> Option<String> {
    let Some(running) = running else { return Some("its controller does not run yet".to_owned()) };
    let health = running.health.borrow();
    if let Some(sentence) = health.sentences().next() {
        return Some(format!("the controller {sentence}"));
    }
    (!is_read).then(|| "the controller has not read its state yet".to_owned())
}

/// None may be evicted while a partition that has more replicas than it needs has no member to spare. What is not known
/// changes nothing.
fn max_unavailable(facts: Option<&Facts>, present: Option<IntOrString>) -> i32 {
    match (facts, present) {
        (Some(facts), _) => i32::from(facts.without_spare == 0),
        (None, Some(IntOrString::Int(present))) => present,
        (None, _) => 1,
    }
}

/// What the StatefulSet's pods are made by. Where the annotation was lost, what it has counts as made for a wish that
/// nobody knows.
fn templates(set: &StatefulSet) -> Templates {
    let kept = set.annotations().get(TEMPLATES).and_then(|text| Templates::decode(text).ok());
    kept.unwrap_or_else(|| {
        let template = set.spec.as_ref().map(|spec| serde_json::json!(spec.template)).unwrap_or_default();
        Templates::first(Template { wish: String::new(), version: String::new(), template })
    })
}

fn first_sizes(set: &StatefulSet) -> BTreeMap<String, Quantity> {
    let claims = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    let size = |claim: &PersistentVolumeClaim| Some((claim.name_any(), requested(claim)?));
    claims.filter_map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_be_evicted_while_a_partition_has_none_to_spare() {
        let facts = |without_spare| Facts { without_spare, ..Facts::default() };
        assert_eq!(max_unavailable(Some(&facts(0)), Some(IntOrString::Int(0))), 1);
        assert_eq!(max_unavailable(Some(&facts(2)), Some(IntOrString::Int(1))), 0);
        assert_eq!(max_unavailable(None, Some(IntOrString::Int(0))), 0);
        assert_eq!(max_unavailable(None, None), 1);
    }
}
