//! An operator as it is released: a process of its own, of which is seen what it takes of the machine.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::{Client, Config};
use taffrail_control_plane::free_ports;
use tokio::process::{Child, Command};

use super::Stage;
use super::cluster::eventually;
use crate::images::release_binary;

/// See the module. The process is killed when it is dropped.
pub(super) struct Operator {
    child: Child,
    /// Where brokers reach it.
    pub(super) controller: SocketAddr,
    admin: Client,
    log: PathBuf,
}

/// What the operator has counted by now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counted {
    /// Looks at LogClusters.
    pub(super) clusters: u64,
    /// Looks at Topics.
    pub(super) topics: u64,
}

impl Operator {
    /// Runs it for what is in the stage's namespace; its log goes into `directory`.
    pub(super) async fn start(stage: &Stage<'_>, directory: &std::path::Path) -> Result<Self> {
        let binary = match &stage.operator {
            Some(binary) => binary.clone(),
            None => release_binary("taffrail-operator", "taffrail-operator").await?,
        };
        let [controller, admin] = free_ports()?.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let log = directory.join("operator.log");
        let mut command = Command::new(binary);
        command.args(["--namespace", &stage.namespace, "--watch-namespaces", &stage.namespace]);
        command.args([
            "--pod-name",
            "operator-0",
            "--pod-ip",
            &IpAddr::from(Ipv4Addr::LOCALHOST).to_string(),
        ]);
        command.args(["--listen", &controller.to_string(), "--admin", &admin.to_string()]);
        command.args(["--log-level", "warn"]).env("KUBECONFIG", stage.plane.kubeconfig());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).kill_on_drop(true);
        let child = command.spawn().context("cannot start the operator")?;
        let admin = Client::try_from(Config::new(format!("http://{admin}").parse()?))?;
        let operator = Self { child, controller, admin, log };
        let this = &operator;
        eventually("the operator is ready", move || async move {
            this.get("/readyz").await.with_context(|| this.log())?;
            Ok(Some(()))
        })
        .await?;
        Ok(operator)
    }

    /// The end of its log, for when something went wrong.
    pub(super) fn log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("the operator's log ends with:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    async fn get(&self, path: &str) -> Result<String> {
        Ok(self.admin.request_text(http::Request::get(path).body(Vec::new())?).await?)
    }

    /// What it has counted.
    pub(super) async fn counted(&self) -> Result<Counted> {
        let metrics = self.get("/metrics").await?;
        let reconciles = |kind: &str| {
            let family = format!("taffrail_operator_reconciles_total{{kind=\"{kind}\"");
            let counts = metrics.lines().filter(|line| line.starts_with(&family));
            let counts = counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            counts.sum::<f64>() as u64
        };
        Ok(Counted { clusters: reconciles("LogCluster"), topics: reconciles("Topic") })
    }

    /// Memory that is resident now, and the most that ever was, in bytes.
    pub(super) fn memory(&self) -> Result<(u64, u64)> {
        let path = self.proc()?.join("status");
        let status = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let field = |name: &str| -> Result<u64> {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
            Ok(kib.with_context(|| format!("{} has no {name}", path.display()))? * 1024)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Time on a processor of all its threads.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let tasks = self.proc()?.join("task");
        let mut total_ns = 0;
        for task in fs::read_dir(&tasks).with_context(|| format!("reading {}", tasks.display()))? {
            // A thread may end between the listing and the look.
            let Ok(stat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            total_ns +=
                stat.split_ascii_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total_ns))
    }

    fn proc(&self) -> Result<PathBuf> {
        let Some(id) = self.child.id() else { bail!("the operator has ended; {}", self.log()) };
        Ok(PathBuf::from(format!("/proc/{id}")))
    }
}
