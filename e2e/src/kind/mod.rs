//! Scenarios on kind, with real pods. In each a load runs that accounts for every record, and nothing may be lost.

mod day_two;
mod failures;
mod first_steps;
mod install;
mod load;
mod machine;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::load::{Load, PARTITIONS, Place};
use self::machine::Machine;
use self::world::World;

/// Which scenarios, and on which cluster.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only scenarios whose names contain one of these
    names: Vec<String>,
    /// Name the scenarios and run none
    #[arg(long)]
    list: bool,
    /// The kind cluster; made if it is not there
    #[arg(long, value_name = "NAME", default_value = "taffrail-e2e")]
    cluster: String,
    /// The image of its nodes, where it is made [default: kind's own]
    #[arg(long, value_name = "IMAGE", env = "KIND_NODE_IMAGE")]
    node_image: Option<String>,
    /// Leave the kind cluster there; the next run with this option uses it again
    #[arg(long)]
    keep: bool,
    /// Take the images and the operator that are in the kept cluster
    #[arg(long, requires = "keep")]
    as_installed: bool,
    /// Images to build
    #[command(flatten)]
    images: crate::images::Options,
}

/// What a scenario has at hand.
pub(crate) struct Stage<'a> {
    pub(crate) world: &'a World,
    /// The namespace of the scenario: its own, or that of the cluster that several share.
    pub(crate) namespace: &'a str,
    /// The load's program, for this machine.
    pub(crate) chaos: &'a Path,
}

/// A scenario; what it answers is printed beside its name.
type Scenario = for<'a> fn(Stage<'a>) -> BoxFuture<'a, Result<String>>;

/// Where the cluster lives that most scenarios change and break.
const SHARED: &str = "shared";
/// Where the cluster lives that the first scenario makes and the last takes away with its namespace.
const FIRST: &str = "first";

/// In the order in which they run.
const SCENARIOS: &[(&str, &str, Scenario)] = &[
    ("five-line", FIRST, |stage| first_steps::five_line(stage).boxed()),
    ("outside", SHARED, |stage| first_steps::outside(stage).boxed()),
    ("leader-killed", SHARED, |stage| failures::leader_killed(stage).boxed()),
    ("leader-deleted", SHARED, |stage| failures::leader_deleted(stage).boxed()),
    ("operator-killed", SHARED, |stage| failures::operator_killed(stage).boxed()),
    ("both-killed", SHARED, |stage| failures::both_killed(stage).boxed()),
    ("roll", SHARED, |stage| day_two::roll(stage).boxed()),
    ("roll-operator-killed", SHARED, |stage| day_two::roll_with_operator_killed(stage).boxed()),
    ("scale", SHARED, |stage| day_two::scale(stage).boxed()),
    ("scale-operator-killed", SHARED, |stage| day_two::scale_with_operator_killed(stage).boxed()),
    ("node-drained", SHARED, |stage| day_two::node_drained(stage).boxed()),
    ("node-paused", SHARED, |stage| failures::node_paused(stage).boxed()),
    ("node-paused-killed", SHARED, |stage| failures::node_paused_operator_killed(stage).boxed()),
    ("chart-away", SHARED, |stage| day_two::chart_away(stage).boxed()),
    ("namespace-deleted", FIRST, |stage| first_steps::namespace_deleted(stage).boxed()),
];

/// Runs them; whether all went well.
///
/// # Errors
///
/// If there is no cluster to run them on.
pub async fn run(options: Options) -> Result<bool> {
    let is_meant =
        |name: &str| options.names.is_empty() || options.names.iter().any(|part| name.contains(part));
    let chosen: Vec<_> = SCENARIOS.iter().filter(|(name, ..)| is_meant(name)).collect();
    if chosen.is_empty() {
        bail!("no scenario is called so; --list names them");
    }
    if options.list {
        chosen.iter().for_each(|(name, ..)| println!("{name}"));
        return Ok(true);
    }
    let directory = tempfile::Builder::new().prefix("taffrail-kind-").tempdir()?;
    let begun = Instant::now();
    let machine = Machine::make(&options.cluster, options.node_image.as_deref(), directory.path()).await?;
    tell("kind", "ready", begun.elapsed(), "1 control plane, 3 workers");
    let kubeconfig = machine.kubeconfig(directory.path()).await?;
    let world = World::open(machine, kubeconfig).await?;
    let outcome = run_all(&options, &world, &chosen, directory.path()).await;
    if !options.keep {
        world.machine.delete(directory.path()).await?;
    }
    outcome
}

async fn run_all(
    options: &Options,
    world: &World,
    chosen: &[&(&str, &str, Scenario)],
    directory: &Path,
) -> Result<bool> {
    let begun = Instant::now();
    let chaos = install::install(world, &options.images, options.as_installed, directory).await?;
    tell("operator", "ready", begun.elapsed(), "images built and loaded, chart installed");
    let mut all_well = true;
    for (name, namespace, scenario) in chosen {
        let begun = Instant::now();
        let stage = Stage { world, namespace, chaos: &chaos };
        let outcome = std::panic::AssertUnwindSafe(scenario(stage)).catch_unwind().await;
        let (verdict, remark) = match outcome {
            Ok(Ok(remark)) => ("ok", remark),
            Ok(Err(error)) => ("FAILED", format!("{error:#}")),
            Err(_) => ("FAILED", "see above".to_owned()),
        };
        tell(name, verdict, begun.elapsed(), &remark);
        if verdict != "ok" {
            all_well = false;
            let to = crate::images::workspace().join("target/kind").join(name);
            world.dump(namespace, &to).await;
            println!("{:24} what was there is in {}", "", to.display());
        }
    }
    Ok(all_well)
}

fn tell(name: &str, verdict: &str, took: Duration, remark: &str) {
    println!("{name:<24} {verdict:>6} {:>7.1} s  {remark}", took.as_secs_f64());
}

impl Stage<'_> {
    /// The shared cluster, whichever scenario comes first: three brokers that clients outside can reach.
    pub(crate) async fn shared_cluster(&self) -> Result<()> {
        let mut get = self.world.kubectl(self.namespace, ["get", "logcluster", "logs"]);
        if crate::command::output(&mut get).await.is_err() {
            self.world.namespace(self.namespace).await?;
            self.world.apply(self.namespace, SHARED_CLUSTER).await?;
        }
        self.world.cluster_ready(self.namespace, "logs", Duration::from_secs(90)).await.map(drop)
    }

    /// Makes topics for a load from outside and starts it.
    pub(crate) async fn load(&self, topic: &str) -> Result<Load> {
        self.shared_cluster().await?;
        self.topics(topic).await?;
        Load::start(&Place::Outside(self.chaos), &self.bootstrap("outside").await?, topic).await
    }

    /// The two topics of a load.
    pub(crate) async fn topics(&self, topic: &str) -> Result<()> {
        let plain = format!("{topic}-plain");
        for name in [topic, &plain] {
            let yaml = format!(
                "\
apiVersion: taffrail.dev/v1alpha1
kind: Topic
metadata: {{name: {name}}}
spec:
  clusterRef: {{name: logs}}
  partitions: {PARTITIONS}
  replicationFactor: 3
  config: {{min.insync.replicas: \"2\"}}
"
            );
            self.world.apply(self.namespace, &yaml).await?;
        }
        for name in [topic, &plain] {
            self.world.topic_ready(self.namespace, name, Duration::from_secs(30)).await?;
        }
        Ok(())
    }

    /// Where clients of a listener begin, as the status says.
    pub(crate) async fn bootstrap(&self, listener: &str) -> Result<String> {
        let path = format!("jsonpath={{.status.listeners[?(@.name==\"{listener}\")].bootstrap}}");
        let get = ["get", "logcluster", "logs", "--output", &path];
        let bootstrap = crate::command::output(&mut self.world.kubectl(self.namespace, get)).await?;
        if bootstrap.is_empty() {
            bail!("the status of the cluster names no address of listener {listener}");
        }
        Ok(bootstrap)
    }
}

const SHARED_CLUSTER: &str = "\
apiVersion: taffrail.dev/v1alpha1
kind: LogCluster
metadata: {name: logs}
spec:
  brokers:
    resources:
      requests: {cpu: 50m, memory: 256Mi}
      limits: {memory: 256Mi}
    storage:
      volumes: [{name: one, size: 512Mi}, {name: two, size: 512Mi}]
    terminationGracePeriodSeconds: 60
  listeners:
    - {name: plain, type: internal, port: 9092}
    - {name: outside, type: nodeport, port: 9094}
  # What the cluster's DNS says, so that rolls are not longer than they have to be.
  dnsTtlSeconds: 5
";
