//! The kind cluster: its nodes are containers here, so that they can be paused, and what runs in their pods can be killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::{command, output};

/// Three workers in zones of their own.
const CONFIG: &str = "\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
- role: worker
  labels: {topology.kubernetes.io/zone: a}
- role: worker
  labels: {topology.kubernetes.io/zone: b}
- role: worker
  labels: {topology.kubernetes.io/zone: c}
";

/// How often pausing a node is tried, and how long is waited in between.
const PAUSES: u32 = 5;
const BETWEEN_PAUSES: Duration = Duration::from_millis(300);

/// A kind cluster by its name.
pub(crate) struct Machine {
    pub(crate) name: String,
}

impl Machine {
    /// Makes the cluster unless it is there. `image` is that of its nodes; without it, kind's own.
    ///
    /// # Errors
    ///
    /// If kind or Docker are missing, or the cluster does not come up.
    pub(crate) async fn make(name: &str, image: Option<&str>, directory: &Path) -> Result<Self> {
        let machine = Self { name: name.to_owned() };
        let clusters = output(&mut command("kind", ["get", "clusters"])).await;
        let clusters = clusters
            .context("kind and Docker are needed: ../shared/kube/install-kind installs both, ../shared/kube/env sets PATH")?;
        if !clusters.lines().any(|cluster| cluster == name) {
            let config = directory.join("kind.yaml");
            std::fs::write(&config, CONFIG)?;
            let mut create =
                command("kind", ["create", "cluster", "--quiet", "--wait", "3m", "--name", name]);
            create.arg("--config").arg(&config).arg("--kubeconfig").arg(directory.join("created"));
            if let Some(image) = image {
                create.args(["--image", image]);
            }
            output(&mut create).await?;
        }
        Ok(machine)
    }

    /// Writes the file by which the cluster is reached.
    ///
    /// # Errors
    ///
    /// If the cluster is not there.
    pub(crate) async fn kubeconfig(&self, directory: &Path) -> Result<PathBuf> {
        let text = output(&mut command("kind", ["get", "kubeconfig", "--name", &self.name])).await?;
        let path = directory.join("kubeconfig");
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Takes the cluster away.
    ///
    /// # Errors
    ///
    /// If Docker does not do it.
    pub(crate) async fn delete(&self, directory: &Path) -> Result<()> {
        let mut delete = command("kind", ["delete", "cluster", "--quiet", "--name", &self.name]);
        output(delete.arg("--kubeconfig").arg(directory.join("created"))).await.map(drop)
    }

    /// Stops all of a node at once, as a machine that hangs.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub(crate) async fn pause(node: &str) -> Result<()> {
        // The kernel gives up freezing where processes come and go faster than it can stop them.
        for _ in 1..PAUSES {
            match output(&mut command("docker", ["pause", node])).await {
                Err(error) if error.to_string().contains("unable to freeze") => {
                    tokio::time::sleep(BETWEEN_PAUSES).await;
                }
                other => return other.map(drop),
            }
        }
        output(&mut command("docker", ["pause", node])).await.map(drop)
    }

    /// Lets a node go on.
    ///
    /// # Errors
    ///
    /// If it was not paused.
    pub(crate) async fn unpause(node: &str) -> Result<()> {
        output(&mut command("docker", ["unpause", node])).await.map(drop)
    }

    /// Kills the process `name` of the pod with this uid, which runs on `node`, without a word of warning.
    ///
    /// # Errors
    ///
    /// If it does not run there.
    pub(crate) async fn kill_process(node: &str, pod_uid: &str, name: &str) -> Result<()> {
        // The kubelet writes uids with underscores where systemd manages the groups.
        let script = "\
for process in /proc/[0-9]*; do
  [ \"$(cat $process/comm 2>/dev/null)\" = \"$2\" ] || continue
  tr _ - <$process/cgroup | grep -q \"$1\" || continue
  kill -9 ${process#/proc/} && echo killed
done";
        // The kernel keeps 15 bytes of a name.
        let name = &name[..name.len().min(15)];
        let arguments = ["exec", node, "sh", "-c", script, "sh", pod_uid, name];
        let said = output(&mut command("docker", arguments)).await?;
        if !said.contains("killed") {
            bail!("no process {name} of pod {pod_uid} runs on {node}");
        }
        Ok(())
    }
}
