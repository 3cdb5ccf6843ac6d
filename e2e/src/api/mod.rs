//! Scenarios on a real control plane, one by one, each in a namespace of its own.

mod admission;
mod asker;
mod brokers;
mod chart;
mod cluster;
mod crowd;
mod lease;
mod operator;
mod scale;
mod storage;
mod store;
mod topics;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use taffrail_control_plane::{ControlPlane, Parts};
use taffrail_operator::store::StoreOptions;

/// Which scenarios.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only scenarios whose names contain one of these; topics-5000, which takes eight minutes, only if it is one of these
    names: Vec<String>,
    /// The operator's binary where a scenario runs one; one is built for release otherwise
    #[arg(long, value_name = "PATH")]
    operator: Option<PathBuf>,
    /// Name all scenarios and run none
    #[arg(long)]
    list: bool,
}

/// What a scenario has to itself.
pub(crate) struct Stage<'a> {
    pub(crate) plane: &'a mut ControlPlane,
    pub(crate) namespace: String,
    /// The operator's binary, if there is one.
    pub(crate) operator: Option<PathBuf>,
}

impl Stage<'_> {
    /// For a store of cluster `orders` in this namespace.
    pub(crate) fn options(&self, writer: &str) -> StoreOptions {
        StoreOptions::new(&self.namespace, "orders", writer)
    }

    /// The same for many writes, which must not fail because the machine has other things to do.
    pub(crate) fn patient_options(&self, writer: &str) -> StoreOptions {
        StoreOptions { deadline: Duration::from_secs(60), ..self.options(writer) }
    }
}

/// A scenario; what it answers is printed beside its name.
type Scenario = for<'a> fn(Stage<'a>) -> BoxFuture<'a, Result<String>>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("admission", |stage| admission::admission(stage).boxed()),
    ("chart", |stage| chart::chart(stage).boxed()),
    ("store-conformance", |stage| store::conformance(stage).boxed()),
    ("store-conflicts", |stage| store::conflicts(stage).boxed()),
    ("store-watch", |stage| store::watch(stage).boxed()),
    ("store-later-release", |stage| store::later_release(stage).boxed()),
    ("store-too-large", |stage| store::too_large(stage).boxed()),
    ("lease-handover", |stage| lease::handover(stage).boxed()),
    ("lease-api-away", |stage| lease::api_server_away(stage).boxed()),
    ("store-api-killed", |stage| store::api_server_killed(stage).boxed()),
    ("cluster-children", |stage| cluster::children(stage).boxed()),
    ("cluster-settings", |stage| cluster::changes_without_a_roll(stage).boxed()),
    ("cluster-roll", |stage| cluster::roll(stage).boxed()),
    ("cluster-cordon", |stage| cluster::cordon(stage).boxed()),
    ("cluster-volumes", |stage| storage::volumes(stage).boxed()),
    ("cluster-disks", |stage| storage::disks(stage).boxed()),
    ("scale-30-brokers", |stage| scale::thirty_brokers(stage).boxed()),
    ("topics-life", |stage| topics::life(stage).boxed()),
    ("topics-of-clients", |stage| topics::clients(stage).boxed()),
    ("topics-deleted", |stage| topics::deletions(stage).boxed()),
    ("topics-kind-removed", |stage| topics::kind_removed(stage).boxed()),
    ("topics-500", |stage| crowd::five_hundred(stage).boxed()),
    ("topics-5000", |stage| crowd::five_thousand(stage).boxed()),
    ("store-30000-partitions", |stage| store::thirty_thousand_partitions(stage).boxed()),
];

/// Those that take too long for every run: they run where somebody names them in full.
const ONLY_BY_NAME: &[&str] = &["topics-5000"];

fn is_meant(name: &str, names: &[String]) -> bool {
    if ONLY_BY_NAME.contains(&name) {
        return names.iter().any(|named| named == name);
    }
    names.is_empty() || names.iter().any(|part| name.contains(part))
}

/// Runs them; whether all went well.
pub async fn run(options: Options) -> Result<bool> {
    if options.list {
        SCENARIOS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(true);
    }
    let chosen: Vec<_> = SCENARIOS.iter().filter(|(name, _)| is_meant(name, &options.names)).collect();
    if chosen.is_empty() {
        bail!("no scenario is called so; --list names them");
    }
    let begun = Instant::now();
    let mut plane = ControlPlane::start(Parts::default()).await?;
    plane.install(taffrail_crds::generate::definitions()).await?;
    println!("{:<24} {:>6} {:>7.1} s", "control plane", "ready", begun.elapsed().as_secs_f64());
    let mut all_well = true;
    for (name, scenario) in chosen {
        let begun = Instant::now();
        plane.namespace(name).await?;
        let stage =
            Stage { plane: &mut plane, namespace: (*name).to_owned(), operator: options.operator.clone() };
        // What a scenario asserts, it asserts by panicking.
        let outcome = std::panic::AssertUnwindSafe(scenario(stage)).catch_unwind().await;
        let (verdict, remark) = match outcome {
            Ok(Ok(remark)) => ("ok", remark),
            Ok(Err(error)) => ("FAILED", format!("{error:#}")),
            Err(_) => ("FAILED", "see above".to_owned()),
        };
        all_well &= verdict == "ok";
        println!("{name:<24} {verdict:>6} {:>7.1} s  {remark}", begun.elapsed().as_secs_f64());
    }
    Ok(all_well)
}
