//! The volumes of LogClusters over a real API server: several in a broker, and disks that run full or fail.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;
use taffrail_control::session::{LogDirHealth, LogDirState, ToController};
use taffrail_crds::LogCluster;
use taffrail_operator::cluster::claims::requested;

use super::Stage;
use super::cluster::{NAME, Scene, eventually, told};

/// Each volume of a broker has its claim, its mount and its log directory; one of them grows, and the order in which they are
/// written changes nothing.
pub(crate) async fn volumes(stage: Stage<'_>) -> Result<String> {
    let mut scene = Scene::begin(&stage)?;
    let volume = |name: &str, size: &str| json!({"name": name, "size": size});
    let spec = |volumes: serde_json::Value| json!({"brokers": {"storage": {"volumes": volumes}}});
    scene.three_brokers(spec(json!([volume("slow", "5Gi"), volume("fast", "10Gi")]))).await?;
    let set = scene.stateful_set().await?.spec.context("a StatefulSet without a spec")?;
    let templates = set.volume_claim_templates.unwrap_or_default();
    let size = |claim: &PersistentVolumeClaim| requested(claim).map(|size| size.0).unwrap_or_default();
    let claims: Vec<_> = templates.iter().map(|claim| (claim.name_any(), size(claim))).collect();
    let wished = [("fast".to_owned(), "10Gi".to_owned()), ("slow".to_owned(), "5Gi".to_owned())];
    ensure!(claims == wished, "the claim templates are {claims:?}");

    let pod: Pod = scene.api().get(&format!("{NAME}-0")).await?;
    let container = pod.spec.context("a pod without a spec")?.containers.remove(0);
    let mounted: Vec<_> =
        container.volume_mounts.into_iter().flatten().map(|it| (it.name, it.mount_path)).collect();
    for name in ["fast", "slow"] {
        ensure!(mounted.contains(&(name.to_owned(), format!("/data/{name}"))), "{name} of {mounted:?}");
    }
    let option = container.env.into_iter().flatten().find(|it| it.name == "TAFFRAIL_DATA_DIR");
    let option = option.and_then(|it| it.value).context("the broker is told no data directories")?;
    ensure!(option == "/data/fast,/data/slow", "the broker is told {option}");

    for (name, size) in [("fast", "10Gi"), ("slow", "5Gi")] {
        for id in 0..3 {
            scene.make_claim(name, id, size).await?;
        }
    }
    let template = scene.template_hash().await?;
    scene.apply(spec(json!([volume("fast", "10Gi"), volume("slow", "7Gi")]))).await?;
    for id in 0..3 {
        scene.claim_asks_for("slow", id, "7Gi").await?;
        scene.claim_asks_for("fast", id, "10Gi").await?;
    }
    let this = &scene;
    let grows = "the volume of claim slow-orders-1 grows from 5Gi to 7Gi";
    eventually("the status says what grows", move || async move {
        let cluster: LogCluster = this.api().get(NAME).await?;
        let brokers = cluster.status.map(|status| status.brokers).unwrap_or_default();
        let said = brokers.into_iter().find(|it| it.id == 1).and_then(|it| it.message);
        ensure!(said.as_deref() == Some(grows), "it says {said:?}");
        Ok(Some(()))
    })
    .await?;
    scene.becomes("Ready", "True", "AsWished").await?;
    ensure!(scene.template_hash().await? == template, "another template would restart the brokers");
    let pods: Api<Pod> = scene.api();
    ensure!(pods.list(&ListParams::default()).await?.items.len() == 3, "a broker was restarted");
    Ok("two claims for each broker, and one of them grown".to_owned())
}

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
