//! What all reconcilers work with.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

use crate::cluster::build::ControllerAccess;
use crate::events::Events;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::options::OperatorOptions;

/// Which namespaces are looked at: one, or all.
pub type Scope = Option<String>;

/// The API of a kind in the scope.
pub fn api<K>(client: &Client, scope: &Scope) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

/// What all reconcilers work with.
#[derive(Clone)]
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// The controllers that run here.
    pub fleet: Fleet,
    /// Where brokers find them.
    pub access: ControllerAccess,
    /// Tells people what they should know.
    pub events: Events,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The namespaces that are looked after; `None` for all.
    pub namespaces: Option<Vec<String>>,
    /// The image of brokers, without its tag.
    pub broker_image: String,
    /// The tag of that image for this release.
    pub broker_tag: String,
    /// When nodes pull it.
    pub image_pull_policy: Option<String>,
}

impl Context {
    /// As the options say.
    pub fn new(
        client: Client,
        fleet: Fleet,
        access: ControllerAccess,
        metrics: Arc<Metrics>,
        options: &OperatorOptions,
    ) -> Self {
        let events = Events::new(client.clone(), options.pod_name.clone());
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            client,
            fleet,
            access,
            events,
            metrics,
            namespaces: options.watched_namespaces(),
            broker_image: options.broker_image.clone(),
            broker_tag: options.broker_tag.clone().unwrap_or(release),
            image_pull_policy: options.image_pull_policy.clone(),
        }
    }

    /// What is looked at: all namespaces at once, or each that is named.
    pub fn scopes(&self) -> Vec<Scope> {
        match &self.namespaces {
            None => vec![None],
            Some(namespaces) => namespaces.iter().cloned().map(Some).collect(),
        }
    }
}
