//! What scenarios see of Kubernetes, and how they wait for it.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;
use taffrail_crds::{LogCluster, Topic};
use tokio::process::Command;

use super::machine::Machine;
use crate::command::{command, feed, output};

/// Where the operator is installed.
pub(crate) const OPERATOR_NAMESPACE: &str = "taffrail-system";
/// Lines of each container's log that are kept of a scenario that failed.
const LOG_LINES: &str = "--tail=2000";

/// A Kubernetes cluster with the operator in it.
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) client: Client,
    kubeconfig: PathBuf,
}

impl World {
    /// # Errors
    ///
    /// If the file does not name a cluster.
    pub(crate) async fn open(machine: Machine, kubeconfig: PathBuf) -> Result<Self> {
        let parsed = Kubeconfig::read_from(&kubeconfig)?;
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await?;
        Ok(Self { machine, client: Client::try_from(config)?, kubeconfig })
    }

    /// kubectl, in a namespace.
    pub(crate) fn kubectl<'a>(
        &self,
        namespace: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let mut kubectl = command("kubectl", ["--namespace", namespace]);
        kubectl.args(arguments).env("KUBECONFIG", &self.kubeconfig);
        kubectl
    }

    /// helm.
    pub(crate) fn helm<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut helm = command("helm", arguments);
        helm.env("KUBECONFIG", &self.kubeconfig);
        helm
    }

    /// Applies YAML as a person would.
    ///
    /// # Errors
    ///
    /// If it is refused: with the API server's words.
    pub(crate) async fn apply(&self, namespace: &str, yaml: &str) -> Result<()> {
        feed(&mut self.kubectl(namespace, ["apply", "-f", "-"]), yaml).await
    }

    /// Makes a namespace, anew if an earlier run left one.
    ///
    /// # Errors
    ///
    /// If the earlier one does not go.
    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        let gone = ["delete", "namespace", name, "--ignore-not-found", "--timeout=120s"];
        output(&mut self.kubectl("default", gone)).await?;
        output(&mut self.kubectl("default", ["create", "namespace", name])).await.map(drop)
    }

    /// Waits until an object is as `condition` says; without an object, `None` is asked about.
    ///
    /// # Errors
    ///
    /// If it is not within `limit`: with the object as it is.
    pub(crate) async fn wait<K>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        limit: Duration,
        condition: impl Fn(Option<&K>) -> bool,
    ) -> Result<Duration>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize
            + Send
            + 'static,
    {
        let begun = Instant::now();
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let waited = tokio::time::timeout(limit, await_condition(api.clone(), name, condition)).await;
        if let Ok(found) = waited {
            found.with_context(|| format!("watching {} {name}", K::kind(&())))?;
            return Ok(begun.elapsed());
        }
        let kind = K::kind(&());
        let shown = match api.get_opt(name).await? {
            Some(object) => serde_json::to_value(&object)?["status"].to_string(),
            None => "there is none".to_owned(),
        };
        bail!("{kind} {namespace}/{name}: {what} did not happen within {limit:?}: {shown}")
    }

    /// Waits until the cluster is as its present spec wishes.
    ///
    /// # Errors
    ///
    /// If that takes longer than `limit`.
    pub(crate) async fn cluster_ready(
        &self,
        namespace: &str,
        name: &str,
        limit: Duration,
    ) -> Result<Duration> {
        self.wait(namespace, name, "becoming Ready", limit, |cluster: Option<&LogCluster>| {
            cluster.is_some_and(|cluster| {
                let generation = cluster.metadata.generation;
                let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
                is_true("Ready", generation, conditions)
            })
        })
        .await
    }

    /// Waits until the topic is as its present spec wishes.
    ///
    /// # Errors
    ///
    /// If that takes longer than `limit`.
    pub(crate) async fn topic_ready(&self, namespace: &str, name: &str, limit: Duration) -> Result<Duration> {
        self.wait(namespace, name, "becoming Ready", limit, |topic: Option<&Topic>| {
            topic.is_some_and(|topic| {
                let generation = topic.metadata.generation;
                let conditions = topic.status.iter().flat_map(|status| &status.conditions);
                is_true("Ready", generation, conditions)
            })
        })
        .await
    }

    /// A pod, by its name.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub(crate) async fn pod(&self, namespace: &str, name: &str) -> Result<PodPlace> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        PodPlace::of(&pods.get(name).await?)
    }

    /// The pods with these labels.
    ///
    /// # Errors
    ///
    /// If the API server does not answer.
    pub(crate) async fn pods(&self, namespace: &str, labels: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(pods.list(&ListParams::default().labels(labels)).await?.items)
    }

    /// Kills the process of a pod's container; the kubelet starts another one.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub(crate) async fn kill(&self, pod: &PodPlace, process: &str) -> Result<()> {
        Machine::kill_process(&pod.node, &pod.uid, process).await
    }

    /// What people look at, as kubectl prints it.
    ///
    /// # Errors
    ///
    /// If kubectl fails.
    pub(crate) async fn show(&self, namespace: &str, what: &str) -> Result<()> {
        let text = output(&mut self.kubectl(namespace, ["get", what])).await?;
        println!("    $ kubectl get {what}");
        text.lines().for_each(|line| println!("    {line}"));
        Ok(())
    }

    /// Writes down what helps to understand why a scenario failed.
    pub(crate) async fn dump(&self, namespace: &str, directory: &Path) {
        let _ = std::fs::create_dir_all(directory);
        let kinds = "pods,statefulsets,services,endpoints,configmaps,pvc,pdb,lc,topics";
        let everything = format!("{kinds},clusterstates,topicslices,partitionslices");
        let wide = ["get", kinds, "--output", "wide"];
        let whole = ["get", everything.as_str(), "--output", "yaml"];
        let events = ["get", "events", "--sort-by", ".lastTimestamp"];
        for (file, arguments) in [
            ("objects", &wide[..]),
            ("objects.yaml", &whole),
            ("events", &events),
            ("pods", &["describe", "pods"]),
        ] {
            self.dump_one(namespace, arguments, &directory.join(file)).await;
        }
        for namespace in [namespace, OPERATOR_NAMESPACE] {
            let pods = self.pods(namespace, "").await.unwrap_or_default();
            for name in pods.iter().filter_map(|pod| pod.metadata.name.as_deref()) {
                let log = directory.join(format!("{name}.log"));
                self.dump_one(namespace, &["logs", LOG_LINES, name], &log).await;
                // Only what was restarted has one.
                let before = directory.join(format!("{name}.before.log"));
                self.dump_one(namespace, &["logs", "--previous", LOG_LINES, name], &before).await;
            }
        }
    }

    async fn dump_one(&self, namespace: &str, arguments: &[&str], to: &Path) {
        if let Ok(text) = output(&mut self.kubectl(namespace, arguments.iter().copied())).await {
            let _ = std::fs::write(to, text);
        }
    }
}

fn is_true<'a>(
    kind: &str,
    generation: Option<i64>,
    mut conditions: impl Iterator<Item = &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>,
) -> bool {
    conditions.any(|condition| {
        condition.type_ == kind && condition.status == "True" && condition.observed_generation == generation
    })
}

/// Where a pod is.
#[derive(Debug, Clone)]
pub(crate) struct PodPlace {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: String,
}

impl PodPlace {
    /// # Errors
    ///
    /// If the pod was not given to a node yet.
    pub(crate) fn of(pod: &Pod) -> Result<Self> {
        let name = pod.metadata.name.clone().context("the pod has no name")?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let node = node.with_context(|| format!("pod {name} is on no node"))?;
        Ok(Self { uid: pod.metadata.uid.clone().context("the pod has no uid")?, name, node })
    }
}
