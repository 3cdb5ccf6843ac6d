//! The volumes of LogClusters over a real API server: disks that run full or fail.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use taffrail_control::session::{LogDirHealth, LogDirState, ToController};

use super::Stage;
use super::cluster::{NAME, Scene, eventually, told};

/// A LogCluster says which disks have no room and which have failed as long as it is so, and tells both when it begins.
pub(crate) async fn disks(stage: Stage<'_>) -> Result<String> {
    let mut scene = Scene::begin(&stage)?;
    scene.three_brokers(json!({})).await?;
    let dir = |volume: &str, state, reason: &str| LogDirHealth {
        path: format!("/data/{volume}"),
        state,
        reason: format!("/data/{volume} {reason}"),
    };
    let full = || dir("data", LogDirState::Full, "has no room");
    let failed = || dir("more", LogDirState::Failed, "cannot be written to");
    let say = |dirs: Vec<LogDirHealth>| move |incarnation| ToController::LogDirs { incarnation, dirs };

    scene.tell(1, say(vec![full()])).await?;
    scene.becomes("DiskFull", "True", "NoRoom").await?;
    let said = told(&scene.api(), "DiskFull", NAME).await?;
    ensure!(said.starts_with("broker 1: /data/data has no room. "), "the Event says: {said}");
    scene.tell(2, say(vec![full(), failed()])).await?;
    scene.becomes("DiskFailed", "True", "OutOfService").await?;
    let said = told(&scene.api(), "DiskFailed", NAME).await?;
    ensure!(said.starts_with("broker 2: /data/more cannot be written to. "), "the Event says: {said}");
    let condition = scene.condition("DiskFull").await?.context("DiskFull is gone")?;
    for broker in ["broker 1: ", "broker 2: "] {
        ensure!(condition.message.contains(broker), "DiskFull says: {}", condition.message);
    }
    scene.becomes("Ready", "True", "AsWished").await?;

    // One has room again, and the other is the only one that the condition names.
    scene.tell(1, say(Vec::new())).await?;
    let this = &scene;
    eventually("DiskFull names only broker 2", move || async move {
        let condition = this.condition("DiskFull").await?.context("it is gone")?;
        ensure!(condition.message.starts_with("broker 2: "), "it says: {}", condition.message);
        Ok(Some(()))
    })
    .await?;
    scene.tell(2, say(vec![failed()])).await?;
    is_gone(&scene, "DiskFull").await?;
    told(&scene.api(), "DiskHasRoom", NAME).await?;
    ensure!(scene.condition("DiskFailed").await?.is_some(), "the failed disk is not mended");
    // It is, once the broker was started again and says nothing of it.
    scene.register(2).await?;
    scene.tell(2, say(Vec::new())).await?;
    is_gone(&scene, "DiskFailed").await?;
    Ok("two conditions came and went, three Events".to_owned())
}

/// Waits until a LogCluster has no such condition any more.
async fn is_gone(scene: &Scene, name: &str) -> Result<()> {
    eventually(&format!("{name} is gone"), move || async move {
        match scene.condition(name).await? {
            Some(condition) => anyhow::bail!("it says: {}", condition.message),
            None => Ok(Some(())),
        }
    })
    .await
}
