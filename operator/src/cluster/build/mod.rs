//! From a LogCluster to its children: pure, and the same bytes for the same wish.
//!
//! One file builds one kind of child. [`children`] gives all of them in the order in which they are applied: what a pod
//! needs to start comes before the StatefulSet, so that no pod waits for a ConfigMap; Services come before it too, so that
//! the name of a pod resolves as soon as there is one; and what protects pods comes last but one, as it needs nothing.

pub mod config_maps;
mod disruption_budget;
pub mod names;
mod network_policy;
mod pod;
mod service_account;
mod services;
mod stateful_set;
pub mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Resource;
use kube::core::ApiResource;
use serde::Serialize;
use taffrail_crds::LogCluster;

use names::Names;
use template::Templates;

/// All that the children of a LogCluster follow from.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// The LogCluster.
    pub cluster: &'a LogCluster,
    /// Where the brokers find their controller.
    pub controller: &'a ControllerAccess,
    /// How many brokers there shall be now.
    pub replicas: i32,
    /// What pods are made by.
    pub templates: &'a Templates,
    /// How large the volumes were when the StatefulSet was made, by name, if it was: its claim templates cannot change.
    pub first_sizes: &'a BTreeMap<String, Quantity>,
    /// How many brokers may be evicted at a time.
    pub max_unavailable: i32,
}

impl Wish<'_> {
    fn name(&self) -> &str {
        self.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    fn names(&self) -> Names<'_> {
        Names::new(self.cluster.metadata.namespace.as_deref().unwrap_or_default(), self.name())
    }
}

/// Where brokers find their controller, and how they know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerAccess {
    /// `https://HOST:PORT`; the host's name resolves to every operator.
    pub address: String,
    /// The certificate of the authority that signed the controller's own, as PEM.
    pub ca_certificate: String,
}

/// The release that brokers run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// Its image.
    pub image: String,
    /// When nodes pull the image, where that is said.
    pub pull_policy: Option<String>,
}

/// One object that a LogCluster shall have.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its kind.
    pub resource: ApiResource,
    /// Its name, in the LogCluster's namespace.
    pub name: String,
    /// All that the operator wishes of it, as it is applied.
    pub object: serde_json::Value,
}

impl Child {
    fn new<K>(object: &K) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        // Objects of Kubernetes are maps with texts for keys, which JSON has no trouble with.
        let json = serde_json::to_value(object).unwrap_or_default();
        let name = object.meta().name.clone().unwrap_or_default();
        Self { resource: ApiResource::erase::<K>(&()), name, object: json }
    }
}

/// All children of a LogCluster, in the order in which they are applied.
pub fn children(wish: &Wish<'_>) -> Vec<Child> {
    let mut children = vec![
        Child::new(&service_account::build(wish)),
        Child::new(&config_maps::controller(wish)),
        Child::new(&config_maps::config(wish)),
        Child::new(&services::headless(wish)),
        Child::new(&services::bootstrap(wish)),
    ];
    children.extend(services::external(wish).iter().map(Child::new));
    children.extend(network_policy::build(wish).iter().map(Child::new));
    children.push(Child::new(&disruption_budget::build(wish)));
    children.push(stateful_set::build(wish));
    children
}
