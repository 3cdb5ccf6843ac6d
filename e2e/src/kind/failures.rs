//! Pods, processes and nodes that fail under load.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::Stage;
use super::load::Load;
use super::machine::Machine;
use super::world::{OPERATOR_NAMESPACE, PodPlace};
use crate::command::output;

/// A goal that is missed by as many times as this is missed for another reason than a busy machine.
pub(crate) const SLACK: u32 = 10;
/// How long writes are to wait after a broker's process ended, at most.
const FAILOVER: Duration = Duration::from_secs(1);
/// The same where a new operator has to become the active one first.
pub(crate) const FAILOVER_OF_BOTH: Duration = Duration::from_secs(8);
/// The same where nothing tells of the failure but silence: a session's timeout, and a failover.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a cluster may take to be whole again.
const WHOLE: Duration = Duration::from_secs(120);

impl Stage<'_> {
    /// The pod of the broker that leads partition 0 of a topic.
    pub(crate) async fn leader(&self, topic: &str) -> Result<PodPlace> {
        let bootstrap = self.bootstrap("outside").await?;
        let topic = topic.to_owned();
        let leader = tokio::task::spawn_blocking(move || -> Result<i32> {
            let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
            let metadata = client.fetch_metadata(Some(&topic), Duration::from_secs(10))?;
            let topic = metadata.topics().first().context("the topic is not there")?;
            Ok(topic.partitions().first().context("the topic has no partition")?.leader())
        });
        let leader = leader.await??;
        ensure!(leader >= 0, "nobody leads the topic");
        self.world.pod(self.namespace, &format!("logs-{leader}")).await
    }

    /// The operator's pod that holds the Lease.
    pub(crate) async fn active_operator(&self) -> Result<PodPlace> {
        let leases: Api<Lease> = Api::namespaced(self.world.client.clone(), OPERATOR_NAMESPACE);
        let lease = leases.get("taffrail-operator").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).context("nobody holds the Lease")?;
        let pods = self.world.pods(OPERATOR_NAMESPACE, "app.kubernetes.io/name=taffrail-operator").await?;
        let named = pods
            .iter()
            .find(|pod| pod.metadata.name.as_ref().is_some_and(|name| holder.starts_with(name.as_str())));
        PodPlace::of(named.with_context(|| format!("no pod of the operator is the holder {holder}"))?)
    }

    /// Ends a load, and says what came of it. The longest gap is to be below `goal`.
    pub(crate) async fn account(&self, mut load: Load, goal: Duration) -> Result<String> {
        load.flows(SLACK * goal).await?;
        let gap = load.gap().await?;
        self.world.cluster_ready(self.namespace, "logs", WHOLE).await?;
        let later = load.gap().await?;
        let verdict = load.finish().await?;
        let longest = gap.max(later);
        let sentence = format!(
            "{} records, 0 lost, longest gap {} ms, goal {}",
            verdict.acknowledged,
            longest.as_millis(),
            goal.as_millis()
        );
        ensure!(longest < SLACK * goal, "{sentence}: too far from it");
        Ok(sentence)
    }
}

/// The process of a leader dies without a word.
pub(crate) async fn leader_killed(stage: Stage<'_>) -> Result<String> {
    let load = stage.load("leader-killed").await?;
    let leader = stage.leader("leader-killed").await?;
    stage.world.kill(&leader, "taffrail").await?;
    stage.account(load, FAILOVER).await
}

/// A leader's pod is deleted, as by a person.
pub(crate) async fn leader_deleted(stage: Stage<'_>) -> Result<String> {
    let load = stage.load("leader-deleted").await?;
    let leader = stage.leader("leader-deleted").await?;
    let delete = ["delete", "pod", &leader.name, "--timeout=90s"];
    output(&mut stage.world.kubectl(stage.namespace, delete)).await?;
    stage.account(load, FAILOVER).await
}

/// The active operator dies: nobody notices.
pub(crate) async fn operator_killed(stage: Stage<'_>) -> Result<String> {
    let mut load = stage.load("operator-killed").await?;
    let before = stage.active_operator().await?;
    stage.world.kill(&before, "taffrail-operator").await?;
    load.flows(SLACK * FAILOVER).await?;
    stage.account(load, FAILOVER).await
}

/// The active operator dies, and a leader with it.
pub(crate) async fn both_killed(stage: Stage<'_>) -> Result<String> {
    let load = stage.load("both-killed").await?;
    let leader = stage.leader("both-killed").await?;
    let operator = stage.active_operator().await?;
    stage.world.kill(&operator, "taffrail-operator").await?;
    stage.world.kill(&leader, "taffrail").await?;
    stage.account(load, FAILOVER_OF_BOTH).await
}

/// A leader's node hangs: no connection breaks, nothing answers.
pub(crate) async fn node_paused(stage: Stage<'_>) -> Result<String> {
    node_hangs(&stage, "node-paused", false).await
}

/// The same, and the operator dies with it, wherever it runs.
pub(crate) async fn node_paused_operator_killed(stage: Stage<'_>) -> Result<String> {
    node_hangs(&stage, "node-paused-killed", true).await
}

async fn node_hangs(stage: &Stage<'_>, topic: &str, operator_dies: bool) -> Result<String> {
    let mut load = stage.load(topic).await?;
    let leader = stage.leader(topic).await?;
    let operator = stage.active_operator().await?;
    let is_lost = operator_dies || operator.node == leader.node;
    let limit = if is_lost { SILENCE + FAILOVER_OF_BOTH } else { SILENCE };
    if operator_dies {
        stage.world.kill(&operator, "taffrail-operator").await?;
    }
    Machine::pause(&leader.node).await?;
    let flows = load.flows(SLACK * limit).await;
    // The kubelet is missed after some 40 seconds. The node goes on before that, with its old clock and connections.
    tokio::time::sleep(Duration::from_secs(10)).await;
    Machine::unpause(&leader.node).await?;
    flows?;
    stage.account(load, limit).await
}
