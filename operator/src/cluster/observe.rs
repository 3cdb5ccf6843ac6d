//! What there is of one cluster at the moment it is looked at.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Api, Client, ResourceExt};
use taffrail_crds::ClusterState;

use super::build::names::TEMPLATES;
use super::build::template::{Template, Templates};
use super::facts::Facts;
use super::live::Live;
use super::pods::{PodSeen, Problem, claim_problem, seen};
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
    /// What is wrong with claims, by broker.
    pub claims: BTreeMap<i32, Problem>,
    /// What the controller has published, once it has read its state.
    pub facts: Option<Facts>,
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
        let claims = live.claims(key);
        let classes = missing_classes(client, &claims).await;
        let pods = live.pods(key);
        let budget = live.budget(key).and_then(|budget| budget.spec.as_ref()?.max_unavailable.clone());
        Self {
            templates: stateful_set.as_deref().map(templates),
            replicas: stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.replicas),
            first_sizes: stateful_set.as_deref().map(first_sizes).unwrap_or_default(),
            pods: seen(pods.iter().map(AsRef::as_ref)),
            claims: claim_problems(&key.name, &claims, &classes),
            max_unavailable: max_unavailable(facts.as_ref(), budget),
            controller_problem: controller_problem(running, facts.is_some()),
            cluster_id: cluster_id(client, key, facts.as_ref(), told_id).await,
            facts,
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

/// The size that a claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage").cloned()
}

/// Whether one size is above another, where both are numbers of bytes with or without a unit.
pub fn is_larger(one: &Quantity, other: &Quantity) -> bool {
    bytes(one).zip(bytes(other)).is_some_and(|(one, other)| one > other)
}

fn bytes(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// The broker that a claim is of: the StatefulSet calls it after the volume and the pod.
pub fn claimed_by(cluster: &str, claim: &str) -> Option<i32> {
    let (rest, id) = claim.rsplit_once('-')?;
    rest.ends_with(&format!("-{cluster}")).then(|| id.parse().ok())?
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
}

fn claim_problems(
    cluster: &str,
    claims: &[std::sync::Arc<PersistentVolumeClaim>],
    missing_classes: &BTreeSet<String>,
) -> BTreeMap<i32, Problem> {
    let problem = |claim: &std::sync::Arc<PersistentVolumeClaim>| {
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
        let is_there = class.map(|class| !missing_classes.contains(class));
        Some((claimed_by(cluster, &claim.name_any())?, claim_problem(claim, is_there)?))
    };
    claims.iter().filter_map(problem).collect()
}

/// The storage classes that claims without a volume name and that are not there. Asked only while there are such claims; an
/// operator that may not ask takes them for being there.
async fn missing_classes(
    client: &Client,
    claims: &[std::sync::Arc<PersistentVolumeClaim>],
) -> BTreeSet<String> {
    let waiting = claims.iter().filter(|claim| !is_bound(claim));
    let named: BTreeSet<String> =
        waiting.filter_map(|claim| claim.spec.as_ref()?.storage_class_name.clone()).collect();
    let classes: Api<StorageClass> = Api::all(client.clone());
    let mut missing = BTreeSet::new();
    for class in named {
        match call(format!("look for storage class {class}"), classes.get_opt(&class)).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                missing.insert(class);
            }
            Err(error) => tracing::debug!("{error}"),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_told_by_their_names() {
        assert_eq!(claimed_by("orders", "data-orders-12"), Some(12));
        assert_eq!(claimed_by("orders", "a-b-orders-0"), Some(0));
        assert_eq!(claimed_by("orders", "data-other-0"), None);
        assert_eq!(claimed_by("orders", "data-orders-x"), None);
    }

    #[test]
    fn sizes_are_compared_whatever_their_units() {
        let larger =
            |one: &str, other: &str| is_larger(&Quantity(one.to_owned()), &Quantity(other.to_owned()));
        assert!(larger("11Gi", "10Gi") && larger("1Ti", "1023Gi") && larger("1Gi", "1G"));
        assert!(!larger("1Gi", "1024Mi") && !larger("1G", "1Gi") && !larger("x", "1"));
    }

    #[test]
    fn nobody_may_be_evicted_while_a_partition_has_none_to_spare() {
        let facts = |without_spare| Facts { without_spare, ..Facts::default() };
        assert_eq!(max_unavailable(Some(&facts(0)), Some(IntOrString::Int(0))), 1);
        assert_eq!(max_unavailable(Some(&facts(2)), Some(IntOrString::Int(1))), 0);
        assert_eq!(max_unavailable(None, Some(IntOrString::Int(0))), 0);
        assert_eq!(max_unavailable(None, None), 1);
    }
}
