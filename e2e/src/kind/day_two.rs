//! Changes to a cluster under load: rolls, more brokers and fewer, and an operator that goes and comes back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use taffrail_crds::LogCluster;
use taffrail_crds::logcluster::{BrokerPhase, BrokerStatus};

use super::Stage;
use super::failures::{FAILOVER_OF_BOTH, SLACK};
use super::install::{RELEASE, chart};
use super::world::{OPERATOR_NAMESPACE, PodPlace};
use crate::command::output;

/// How long writes are to wait at any moment of a change, at most.
const SMOOTH: Duration = Duration::from_secs(1);
/// How long a roll of three brokers may take.
const ROLL: Duration = Duration::from_secs(240);
/// How long moving all partitions that have to move may take.
const SCALE: Duration = Duration::from_secs(300);

impl Stage<'_> {
    async fn patch(&self, patch: &str) -> Result<()> {
        let patch = ["patch", "logcluster", "logs", "--type=merge", "--patch", patch];
        output(&mut self.world.kubectl(self.namespace, patch)).await.map(drop)
    }

    /// Waits until every pod of the cluster carries an annotation, and the cluster is Ready.
    async fn rolled(&self, annotation: &str, value: &str) -> Result<Duration> {
        let begun = Instant::now();
        for name in ["logs-0", "logs-1", "logs-2"] {
            let has_it = |pod: Option<&Pod>| {
                let annotations = pod.and_then(|pod| pod.metadata.annotations.as_ref());
                annotations.and_then(|all| all.get(annotation)).is_some_and(|has| has == value)
            };
            let left = ROLL.saturating_sub(begun.elapsed());
            self.world.wait(self.namespace, name, "coming with the new template", left, has_it).await?;
        }
        self.world.cluster_ready(self.namespace, "logs", ROLL.saturating_sub(begun.elapsed())).await?;
        Ok(begun.elapsed())
    }
}

/// Every broker is restarted, one by one.
pub(crate) async fn roll(stage: Stage<'_>) -> Result<String> {
    let load = stage.load("roll").await?;
    stage.patch(r#"{"spec":{"brokers":{"pod":{"annotations":{"example.org/roll":"1"}}}}}"#).await?;
    let took = stage.rolled("example.org/roll", "1").await?;
    let sentence = stage.account(load, SMOOTH).await?;
    Ok(format!("three brokers in {:.1} s, {sentence}", took.as_secs_f64()))
}

/// The same, and the operator dies in the middle: a broker that goes just then has nobody to hand over to.
pub(crate) async fn roll_with_operator_killed(stage: Stage<'_>) -> Result<String> {
    let load = stage.load("roll-killed").await?;
    stage.patch(r#"{"spec":{"brokers":{"pod":{"annotations":{"example.org/roll":"2"}}}}}"#).await?;
    let rolling = |set: Option<&StatefulSet>| {
        let status = set.and_then(|set| set.status.as_ref());
        status.is_some_and(|status| status.ready_replicas.unwrap_or(0) < status.replicas)
    };
    stage.world.wait(stage.namespace, "logs", "a broker going", Duration::from_secs(60), rolling).await?;
    let operator = stage.active_operator().await?;
    stage.world.kill(&operator, "taffrail-operator").await?;
    let took = stage.rolled("example.org/roll", "2").await?;
    let sentence = stage.account(load, FAILOVER_OF_BOTH).await?;
    Ok(format!("three brokers in {:.1} s, {sentence}", took.as_secs_f64()))
}

/// Three brokers become five, and three again.
pub(crate) async fn scale(stage: Stage<'_>) -> Result<String> {
    let load = stage.load("scale").await?;
    let (up, down) = (stage.scale_up(false).await?, stage.scale_down(false).await?);
    let sentence = stage.account(load, SMOOTH).await?;
    Ok(format!("to five in {:.1} s, to three in {:.1} s, {sentence}", up.as_secs_f64(), down.as_secs_f64()))
}

/// The same, and the operator dies in the middle of both.
pub(crate) async fn scale_with_operator_killed(stage: Stage<'_>) -> Result<String> {
    let load = stage.load("scale-killed").await?;
    let (up, down) = (stage.scale_up(true).await?, stage.scale_down(true).await?);
    let sentence = stage.account(load, SMOOTH).await?;
    Ok(format!("to five in {:.1} s, to three in {:.1} s, {sentence}", up.as_secs_f64(), down.as_secs_f64()))
}

/// What status says of brokers.
fn brokers(cluster: Option<&LogCluster>) -> &[BrokerStatus] {
    cluster.and_then(|cluster| cluster.status.as_ref()).map_or(&[], |status| &status.brokers)
}

impl Stage<'_> {
    async fn scale_up(&self, operator_dies: bool) -> Result<Duration> {
        let begun = Instant::now();
        self.patch(r#"{"spec":{"brokers":{"replicas":5}}}"#).await?;
        if operator_dies {
            let begins = |cluster: Option<&LogCluster>| brokers(cluster).len() == 5;
            self.kill_operator_once("brokers being added", begins).await?;
        }
        let spread = |cluster: Option<&LogCluster>| {
            let brokers = brokers(cluster);
            brokers.len() == 5
                && brokers.iter().all(|broker| broker.leaders.is_some_and(|leaders| leaders > 0))
        };
        self.world.wait(self.namespace, "logs", "leaders on five brokers", SCALE, spread).await?;
        let took = begun.elapsed();
        self.world.cluster_ready(self.namespace, "logs", SCALE).await?;
        self.world.show(self.namespace, "logclusters").await?;
        Ok(took)
    }

    async fn scale_down(&self, operator_dies: bool) -> Result<Duration> {
        let begun = Instant::now();
        self.patch(r#"{"spec":{"brokers":{"replicas":3}}}"#).await?;
        if operator_dies {
            let begins = |cluster: Option<&LogCluster>| {
                brokers(cluster).iter().any(|broker| broker.phase == BrokerPhase::Draining)
            };
            self.kill_operator_once("brokers being emptied", begins).await?;
        }
        let three = |set: Option<&StatefulSet>| {
            set.and_then(|set| set.status.as_ref()).is_some_and(|status| status.replicas == 3)
        };
        self.world.wait(self.namespace, "logs", "two brokers going", SCALE, three).await?;
        Ok(begun.elapsed())
    }

    async fn kill_operator_once(
        &self,
        what: &str,
        begins: impl Fn(Option<&LogCluster>) -> bool,
    ) -> Result<()> {
        self.world.wait(self.namespace, "logs", what, SCALE, begins).await?;
        let operator = self.active_operator().await?;
        self.world.kill(&operator, "taffrail-operator").await
    }
}

/// A leader's node is taken out of service as people do it: cordoned, then drained. Its volume is there, so its pod waits
/// until the node may be used again.
pub(crate) async fn node_drained(stage: Stage<'_>) -> Result<String> {
    let load = stage.load("node-drained").await?;
    let leader = stage.leader("node-drained").await?;
    let begun = Instant::now();
    output(&mut stage.world.kubectl("default", ["cordon", &leader.node])).await?;
    let drained = stage.drain(&leader, begun).await;
    output(&mut stage.world.kubectl("default", ["uncordon", &leader.node])).await?;
    let moved = drained?;
    let sentence = stage.account(load, SMOOTH).await?;
    Ok(format!("leaders moved {} ms after the cordon, {sentence}", moved.as_millis()))
}

impl Stage<'_> {
    /// Drains a node that was cordoned at `begun`, once it leads nothing; how long that took.
    async fn drain(&self, leader: &PodPlace, begun: Instant) -> Result<Duration> {
        let id = leader.name.rsplit_once('-').and_then(|(_, id)| id.parse().ok());
        let leads_nothing = |cluster: Option<&LogCluster>| {
            brokers(cluster).iter().any(|broker| Some(broker.id) == id && broker.leaders == Some(0))
        };
        self.world.wait(self.namespace, "logs", "leaders moving", SCALE, leads_nothing).await?;
        let moved = begun.elapsed();
        let selector = format!(
            "--pod-selector=taffrail.dev/cluster=logs,apps.kubernetes.io/pod-index={}",
            id.unwrap_or(0)
        );
        let drain = [
            "drain",
            &leader.node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            &selector,
            "--timeout=120s",
        ];
        output(&mut self.world.kubectl(self.namespace, drain)).await?;
        let waits = |pod: Option<&Pod>| {
            let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
            phase == Some("Pending") && pod.is_some_and(|pod| pod.metadata.uid.as_ref() != Some(&leader.uid))
        };
        self.world.wait(self.namespace, &leader.name, "waiting for its node", SCALE, waits).await?;
        Ok(moved)
    }
}

/// The chart is uninstalled and installed again: the cluster goes on.
pub(crate) async fn chart_away(stage: Stage<'_>) -> Result<String> {
    let mut load = stage.load("chart-away").await?;
    let images = [
        "get",
        "deployment",
        "taffrail-operator",
        "--output",
        "jsonpath={.spec.template.spec.containers[0].image}",
    ];
    let image = output(&mut stage.world.kubectl(OPERATOR_NAMESPACE, images)).await?;
    let tag = image.rsplit_once(':').map_or("dev", |(_, tag)| tag);
    let pods = stage.pod_uids().await?;
    let uninstall = ["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "60s"];
    output(&mut stage.world.helm(uninstall)).await?;
    let gone = |deployment: Option<&Deployment>| deployment.is_none();
    let limit = Duration::from_secs(30);
    stage.world.wait(OPERATOR_NAMESPACE, "taffrail-operator", "going", limit, gone).await?;
    load.flows(SLACK * SMOOTH).await?;
    chart(stage.world, tag).await?;
    let sentence = stage.account(load, SMOOTH).await?;
    ensure!(stage.pod_uids().await? == pods, "pods were replaced although nothing was changed");
    Ok(format!("uninstalled and installed again, {sentence}"))
}

impl Stage<'_> {
    async fn pod_uids(&self) -> Result<Vec<Option<String>>> {
        let pods = self.world.pods(self.namespace, "taffrail.dev/cluster=logs").await?;
        Ok(pods.into_iter().map(|pod| pod.metadata.uid).collect())
    }
}
