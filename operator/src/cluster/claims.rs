//! The claims of brokers' volumes: what is wrong with them, and growing them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use taffrail_crds::LogCluster;

use super::build::names::Names;
use super::pods::Problem;
use crate::calls::{CallError, call};
use crate::fleet::ClusterKey;

/// What is wrong with a claim that has no volume. `class` says whether the storage class that it names is there, where that
/// is known.
fn claim_problem(claim: &PersistentVolumeClaim, class: Option<bool>) -> Option<Problem> {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Bound") {
        return None;
    }
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    if phase == Some("Lost") {
        return Some(Problem::new(
            "PersistentVolumeLost",
            format!("the volume of claim {name} is gone"),
            true,
        ));
    }
    match (claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()), class) {
        (Some(class), Some(false)) => Some(Problem::new(
            "StorageClassNotFound",
            format!(
                "claim {name} asks for storage class {class}, which is not there: make it, or make the LogCluster anew"
            ),
            true,
        )),
        (None, _) => Some(Problem::new(
            "NoDefaultStorageClass",
            format!(
                "claim {name} names no storage class and there is no default one: mark one as the default, or name one in \
                 brokers.storage"
            ),
            true,
        )),
        (Some(class), _) => Some(Problem::new(
            "PersistentVolumeClaimPending",
            format!("claim {name} waits for a volume of storage class {class}"),
            false,
        )),
    }
}

/// The size that a claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage").cloned()
}

/// Whether one size is above another, where both are numbers of bytes with or without a unit.
fn is_larger(one: &Quantity, other: &Quantity) -> bool {
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
fn claimed_by(cluster: &str, claim: &str) -> Option<i32> {
    let (rest, id) = claim.rsplit_once('-')?;
    rest.ends_with(&format!("-{cluster}")).then(|| id.parse().ok())?
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
}

/// What is said of the claims of a cluster's brokers, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// What is wrong with those that have no volumes.
    pub problems: BTreeMap<i32, Problem>,
    /// What those come to whose volumes are still smaller than they shall be.
    pub growing: BTreeMap<i32, String>,
}

impl Claims {
    /// Of `claims`, those of `cluster`.
    pub async fn gather(client: &Client, cluster: &str, claims: &[Arc<PersistentVolumeClaim>]) -> Self {
        Self::of(cluster, claims, &missing_classes(client, claims).await)
    }

    fn of(cluster: &str, claims: &[Arc<PersistentVolumeClaim>], missing_classes: &BTreeSet<String>) -> Self {
        let mut gathered = Self::default();
        // Always in the same order, so that the same is always said in the same words.
        let mut claims: Vec<_> = claims.iter().collect();
        claims.sort_by_key(|claim| claim.name_any());
        for claim in claims {
            let Some(id) = claimed_by(cluster, &claim.name_any()) else { continue };
            let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
            let is_there = class.map(|class| !missing_classes.contains(class));
            if let Some(problem) = claim_problem(claim, is_there) {
                gathered.add_problem(id, problem);
            }
            if let Some(growth) = growth(claim) {
                let growing = gathered.growing.entry(id).or_default();
                *growing += if growing.is_empty() { "" } else { "; " };
                *growing += &growth;
            }
        }
        gathered
    }

    /// A broker has a claim for each of its volumes. What lasts is the reason; all is said.
    fn add_problem(&mut self, id: i32, problem: Problem) {
        let Some(first) = self.problems.get_mut(&id) else {
            self.problems.insert(id, problem);
            return;
        };
        first.message = format!("{}; {}", first.message, problem.message);
        if problem.lasting && !first.lasting {
            (first.reason, first.lasting) = (problem.reason, true);
        }
    }
}

/// How a volume grows, if it is smaller than its claim asks for.
fn growth(claim: &PersistentVolumeClaim) -> Option<String> {
    let status = claim.status.as_ref()?;
    let (has, wished) = (status.capacity.as_ref()?.get("storage")?, requested(claim)?);
    if !is_larger(&wished, has) {
        return None;
    }
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let failed = conditions.iter().find(|condition| condition.type_.ends_with("ResizeError"));
    let why = failed.and_then(|condition| condition.message.as_deref());
    let why = why.map(|why| format!(", which failed and is tried again: {why}")).unwrap_or_default();
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    Some(format!("the volume of claim {name} grows from {} to {}{why}", has.0, wished.0))
}

/// The storage classes that claims without a volume name and that are not there. Asked only while there are such claims; an
/// operator that may not ask takes them for being there.
async fn missing_classes(client: &Client, claims: &[Arc<PersistentVolumeClaim>]) -> BTreeSet<String> {
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

/// Lets `claims` ask for the sizes that `cluster` wishes for. They are not asked to shrink: the API server would refuse.
///
/// # Errors
///
/// If one could not be changed, as its storage class does not allow it. The others are changed all the same.
pub async fn grow(
    client: &Client,
    cluster: &LogCluster,
    claims: &[Arc<PersistentVolumeClaim>],
) -> Result<(), CallError> {
    let key = ClusterKey::new(cluster.namespace().unwrap_or_default(), cluster.name_any());
    let names = Names::new(&key.namespace, &key.name);
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &key.namespace);
    let mut outcome = Ok(());
    for claim in claims {
        let name = claim.name_any();
        let mut volumes = cluster.spec.brokers.storage.volumes.iter();
        let id = claimed_by(&key.name, &name).unwrap_or_default();
        let volume = volumes.find(|volume| names.claim(&volume.name, id) == name);
        let (Some(volume), Some(present)) = (volume, requested(claim)) else { continue };
        if !is_larger(&volume.size, &present) {
            continue;
        }
        let patch = json!({"spec": {"resources": {"requests": {"storage": volume.size}}}});
        let what = format!("grow claim {name} to {}", volume.size.0);
        match call(what, api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))).await {
            Ok(_) => tracing::info!("claim {name} of LogCluster {key} grows to {}", volume.size.0),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
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
    fn a_claim_without_a_volume_says_what_it_waits_for() {
        let claim = |phase: &str, class: Option<&str>| -> PersistentVolumeClaim {
            serde_json::from_value(json!({
                "metadata": {"name": "data-orders-0"},
                "spec": {"storageClassName": class},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        let reason = |claim, class| claim_problem(&claim, class).map(|problem| problem.reason);
        assert_eq!(reason(claim("Bound", Some("fast")), None), None);
        assert_eq!(reason(claim("Pending", Some("fast")), Some(false)).unwrap(), "StorageClassNotFound");
        assert_eq!(
            reason(claim("Pending", Some("fast")), Some(true)).unwrap(),
            "PersistentVolumeClaimPending"
        );
        assert_eq!(reason(claim("Pending", None), None).unwrap(), "NoDefaultStorageClass");
        assert_eq!(reason(claim("Lost", Some("fast")), None).unwrap(), "PersistentVolumeLost");
    }

    #[test]
    fn a_volume_that_is_smaller_than_its_claim_asks_for_is_said_to_grow() {
        let claim = |has: Option<&str>, condition: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({
                "metadata": {"name": "data-orders-0"},
                "spec": {"resources": {"requests": {"storage": "2Gi"}}},
                "status": {
                    "capacity": has.map(|has| json!({"storage": has})),
                    "conditions": [{"type": condition, "status": "True", "message": "no room"}],
                },
            }))
            .unwrap()
        };
        let growing = "the volume of claim data-orders-0 grows from 1Gi to 2Gi";
        assert_eq!(growth(&claim(Some("1Gi"), "FileSystemResizePending")).as_deref(), Some(growing));
        let failed = growth(&claim(Some("1Gi"), "NodeResizeError")).unwrap();
        assert_eq!(failed, format!("{growing}, which failed and is tried again: no room"));
        assert_eq!(growth(&claim(Some("2048Mi"), "x")), None);
        assert_eq!(growth(&claim(None, "x")), None, "it has no volume");
    }

    #[test]
    fn all_is_said_of_a_broker_with_several_volumes() {
        let claim = |name: &str, class: &str, status: serde_json::Value| -> Arc<PersistentVolumeClaim> {
            let claim = json!({
                "metadata": {"name": name},
                "spec": {"storageClassName": class, "resources": {"requests": {"storage": "2Gi"}}},
                "status": status,
            });
            Arc::new(serde_json::from_value(claim).unwrap())
        };
        let small = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        let pending = json!({"phase": "Pending"});
        let claims = [
            claim("b-orders-0", "fast", small.clone()),
            claim("a-orders-0", "fast", small.clone()),
            claim("a-orders-1", "fast", pending.clone()),
            claim("b-orders-1", "gone", pending),
            claim("a-orders-2", "fast", json!({"phase": "Bound", "capacity": {"storage": "2Gi"}})),
            claim("b-orders-2", "fast", small),
        ];
        let said = Claims::of("orders", &claims, &BTreeSet::from(["gone".to_owned()]));
        let grows = |name: &str| format!("the volume of claim {name} grows from 1Gi to 2Gi");
        let both = format!("{}; {}", grows("a-orders-0"), grows("b-orders-0"));
        assert_eq!(said.growing, BTreeMap::from([(0, both), (2, grows("b-orders-2"))]));
        assert_eq!(said.problems.keys().collect::<Vec<_>>(), [&1]);
        let problem = &said.problems[&1];
        assert_eq!((problem.reason.as_str(), problem.lasting), ("StorageClassNotFound", true));
        assert!(
            problem.message.contains("a-orders-1 waits") && problem.message.contains("gone"),
            "{problem:?}"
        );
    }
}
