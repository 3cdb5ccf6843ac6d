//! What a person does first and last: a cluster in five lines, clients inside and outside, and a namespace that goes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;

use super::Stage;
use super::failures::SLACK;
use super::load::{Load, Place};
use crate::command::output;

const FIVE_LINES: &str = "\
apiVersion: taffrail.dev/v1alpha1
kind: LogCluster
metadata:
  name: logs
spec: {}
";

const FIRST_TOPIC: &str = "\
apiVersion: taffrail.dev/v1alpha1
kind: Topic
metadata: {name: greetings}
spec:
  clusterRef: {name: logs}
  partitions: 3
";

/// A pod with the load's program.
const CLIENT: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers:
  - name: client
    image: taffrail/e2e:dev
    imagePullPolicy: Never
";

/// How long the first record is to take from `kubectl apply` on, at most.
const FIRST_RECORD: Duration = Duration::from_secs(20);

/// A cluster in five lines: how long its first record takes, and clients within Kubernetes.
pub(crate) async fn five_line(stage: Stage<'_>) -> Result<String> {
    let (world, namespace) = (stage.world, stage.namespace);
    world.namespace(namespace).await?;
    world.apply(namespace, CLIENT).await?;
    let running = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        statuses.is_some_and(|statuses| statuses.iter().all(|status| status.ready))
    };
    world.wait(namespace, "client", "running", Duration::from_secs(60), running).await?;
    let inside = Place::Inside(world, namespace, "client");
    let begun = Instant::now();
    world.apply(namespace, FIVE_LINES).await?;
    world.apply(namespace, FIRST_TOPIC).await?;
    let applied = begun.elapsed();
    let (_, read) = inside.first("logs-bootstrap:9092", "greetings").await?;
    let first = begun.elapsed();
    world.cluster_ready(namespace, "logs", Duration::from_secs(60)).await?;
    world.topic_ready(namespace, "greetings", Duration::from_secs(30)).await?;
    let ready = begun.elapsed();
    ensure!(first < SLACK * FIRST_RECORD, "the first record took {first:?}, goal {FIRST_RECORD:?}");
    stage.topics("inside").await?;
    let mut load = Load::start(&inside, "logs-bootstrap:9092", "inside").await?;
    load.flows(Duration::from_secs(5)).await?;
    let verdict = load.finish().await?;
    world.show(namespace, "logclusters,topics").await?;
    Ok(format!(
        "first record {:.1} s after apply ({:.1} s of that kubectl, read back {:.1} s after the client's start), Ready {:.1} s; {} records inside, 0 lost",
        first.as_secs_f64(),
        applied.as_secs_f64(),
        read.as_secs_f64(),
        ready.as_secs_f64(),
        verdict.acknowledged
    ))
}

/// Clients outside Kubernetes, of brokers with two volumes each.
pub(crate) async fn outside(stage: Stage<'_>) -> Result<String> {
    let begun = Instant::now();
    stage.shared_cluster().await?;
    let ready = begun.elapsed();
    let mut load = stage.load("outside").await?;
    load.flows(Duration::from_secs(5)).await?;
    let gap = load.gap().await?;
    let verdict = load.finish().await?;
    let spread = stage.logs_on_volumes().await?;
    stage.world.show(stage.namespace, "logclusters,topics").await?;
    Ok(format!(
        "cluster Ready after {:.1} s, {} records, 0 lost, longest gap {} ms, logs on the volumes {spread:?}",
        ready.as_secs_f64(),
        verdict.acknowledged,
        gap.as_millis()
    ))
}

impl Stage<'_> {
    /// How many logs each broker of the shared cluster keeps on each of its volumes.
    async fn logs_on_volumes(&self) -> Result<Vec<usize>> {
        let mut counts = Vec::new();
        for id in 0..3 {
            let mut of_broker = Vec::new();
            for volume in ["/data/one", "/data/two"] {
                let pod = format!("logs-{id}");
                let verify =
                    ["exec", &pod, "--", "/usr/local/bin/taffrail", "log", "verify", "--json", volume];
                let lines = output(&mut self.world.kubectl(self.namespace, verify)).await?;
                of_broker.push(lines.lines().filter(|line| line.contains("\"type\":\"log\"")).count());
            }
            let (least, most) = (of_broker.iter().min(), of_broker.iter().max());
            let even = least.zip(most).is_some_and(|(least, most)| *least > 0 && most - least <= 1);
            ensure!(even, "the volumes of broker {id} have {of_broker:?} logs");
            counts.extend(of_broker);
        }
        Ok(counts)
    }
}

/// A namespace goes with all that is in it, while the operator runs.
pub(crate) async fn namespace_deleted(stage: Stage<'_>) -> Result<String> {
    let begun = Instant::now();
    let delete = ["delete", "namespace", stage.namespace, "--ignore-not-found", "--timeout=120s"];
    output(&mut stage.world.kubectl("default", delete)).await?;
    Ok(format!("gone after {:.1} s", begun.elapsed().as_secs_f64()))
}
