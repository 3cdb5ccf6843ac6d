//! Brings images and operator into the cluster.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::load;
use super::world::{OPERATOR_NAMESPACE, World};
use crate::command::output;
use crate::images;

/// The name of the chart's release.
pub(crate) const RELEASE: &str = "taffrail";

/// Builds and loads the images and installs the chart, all unless that was done before; the path of the load's program.
pub(crate) async fn install(
    world: &World,
    options: &images::Options,
    as_installed: bool,
    directory: &Path,
) -> Result<PathBuf> {
    if as_installed {
        return images::release_binary("taffrail-e2e", "chaos").await;
    }
    let mut options = options.clone();
    options.load = Some(world.machine.name.clone());
    images::run(&options).await?;
    let (chaos, client) = load::build(&options.base, directory).await?;
    images::load(&[client], &world.machine.name).await?;
    chart(world, &options.tag).await?;
    // Images that are there under the same tag as before are used by new pods alone.
    let restart = ["rollout", "restart", "deployment", "taffrail-operator"];
    output(&mut world.kubectl(OPERATOR_NAMESPACE, restart)).await?;
    let status = ["rollout", "status", "deployment", "taffrail-operator", "--timeout=90s"];
    output(&mut world.kubectl(OPERATOR_NAMESPACE, status)).await?;
    Ok(chaos)
}

/// Installs or upgrades the chart.
pub(crate) async fn chart(world: &World, tag: &str) -> Result<()> {
    let mut helm = world.helm(["upgrade", "--install", RELEASE]);
    helm.arg(images::workspace().join("charts/taffrail"));
    helm.args(["--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--wait", "--timeout", "90s"]);
    helm.args(["--set", &format!("operator.image.tag={tag}")]);
    output(&mut helm).await.map(drop)
}
