//! The Helm chart on a real API server: what it makes is taken, may do what it has to and no more, and goes without the
//! clusters.

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::Stage;
use crate::command::{command, feed, output};
use crate::images::workspace;

const CLUSTER: &str = "\
apiVersion: taffrail.dev/v1alpha1
kind: LogCluster
metadata:
  name: logs
spec: {}
";

/// What the operator's account may do: where, what, whether.
const RIGHTS: &[(&str, &str, &str, bool)] = &[
    ("watched", "patch", "statefulsets.apps", true),
    ("watched", "delete", "pods", true),
    ("watched", "update", "logclusters.taffrail.dev/status", true),
    ("watched", "create", "topics.taffrail.dev", true),
    ("watched", "update", "partitionslices.taffrail.dev", true),
    ("watched", "patch", "persistentvolumeclaims", true),
    ("watched", "create", "events.events.k8s.io", true),
    ("watched", "get", "secrets", false),
    ("watched", "create", "pods", false),
    ("watched", "create", "pods/exec", false),
    ("watched", "delete", "logclusters.taffrail.dev", false),
    ("watched", "create", "roles.rbac.authorization.k8s.io", false),
    ("home", "create", "leases.coordination.k8s.io", true),
    ("home", "get", "secrets/taffrail-operator-ca", true),
    ("home", "get", "secrets/others", false),
    ("home", "create", "tokenreviews.authentication.k8s.io", true),
    ("home", "watch", "nodes", true),
    ("home", "delete", "nodes", false),
    ("home", "list", "storageclasses.storage.k8s.io", true),
];

/// Installed, upgraded and uninstalled, for all namespaces and for one.
pub(crate) async fn chart(stage: Stage<'_>) -> Result<String> {
    let chart = workspace().join("charts/taffrail");
    let kubeconfig = stage.plane.kubeconfig();
    let helm = |arguments: &[&str]| {
        let mut helm = command("helm", arguments.iter().copied());
        helm.arg(&chart).env("KUBECONFIG", &kubeconfig);
        helm
    };
    output(&mut helm(&["lint", "--strict"])).await?;
    let (home, watched) = (format!("{}-home", stage.namespace), format!("{}-watched", stage.namespace));
    stage.plane.namespace(&home).await?;
    stage.plane.namespace(&watched).await?;
    let everything = "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true,metrics.rules.enabled=true,\
                      metrics.dashboard.enabled=true";
    let rendered = output(&mut helm(&["template", "taffrail", "--set", everything])).await?;
    let monitors = rendered.matches("apiVersion: monitoring.coreos.com/v1").count();
    ensure!(
        monitors == 3,
        "a ServiceMonitor, a PodMonitor and a PrometheusRule are made on demand: {monitors}"
    );
    for wrong in ["operator.replicas=0", "operator.image.pullPolicy=Sometimes", "operater.replicas=2"] {
        ensure!(
            output(&mut helm(&["template", "taffrail", "--set", wrong])).await.is_err(),
            "{wrong} has to be refused"
        );
    }
    // The definitions are there already, and are not this release's.
    let install = ["upgrade", "--install", "taffrail", "--namespace", &home, "--set", "crds.install=false"];
    let install_with = |values: &str| {
        let mut all = install.to_vec();
        all.extend(["--set", values]);
        helm(&all)
    };
    output(&mut install_with("metrics.dashboard.enabled=true")).await?;
    let mut asked = 0;
    for scope in ["", &watched] {
        if !scope.is_empty() {
            output(&mut install_with(&format!("watchNamespaces={{{scope}}},operator.replicas=3"))).await?;
        }
        for (place, verb, what, expected) in RIGHTS {
            let namespace = if *place == "home" { &home } else { &watched };
            may(&stage, &home, namespace, verb, what, *expected).await?;
            asked += 1;
        }
    }
    let elsewhere = may(&stage, &home, "default", "patch", "statefulsets.apps", false).await;
    elsewhere.context("with watchNamespaces nothing is allowed elsewhere")?;
    definitions(&stage, &helm).await?;
    apply(&stage, &watched, CLUSTER, &[]).await?;
    let mut uninstall = command("helm", ["uninstall", "taffrail", "--namespace", &home]);
    output(uninstall.env("KUBECONFIG", &kubeconfig)).await?;
    let left = kubectl(&stage, ["get", "--namespace", &watched, "logcluster", "logs", "--output", "name"]);
    ensure!(output(&mut { left }).await?.contains("logs"), "the cluster stays when the chart goes");
    Ok(format!("{asked} rights asked for, installed, upgraded, uninstalled"))
}

/// The definitions that the chart brings are those that are there, and are kept.
async fn definitions(stage: &Stage<'_>, helm: &impl Fn(&[&str]) -> Command) -> Result<()> {
    let rendered = output(&mut helm(&["template", "taffrail", "--show-only", "templates/crds.yaml"])).await?;
    let kept = rendered.matches("helm.sh/resource-policy: keep").count();
    let there = taffrail_crds::generate::definitions().len();
    ensure!(kept == there, "{kept} of {there} definitions stay when the chart goes");
    apply(stage, "default", &rendered, &["--server-side", "--force-conflicts", "--dry-run=server"]).await
}

fn kubectl<'a>(stage: &Stage<'_>, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut kubectl = command("kubectl", arguments);
    kubectl.env("KUBECONFIG", stage.plane.kubeconfig());
    kubectl
}

async fn apply(stage: &Stage<'_>, namespace: &str, yaml: &str, options: &[&str]) -> Result<()> {
    let mut kubectl = kubectl(stage, ["apply", "--namespace", namespace, "--filename", "-"]);
    feed(kubectl.args(options), yaml).await
}

/// Whether the operator's account may do something, as the API server decides.
async fn may(
    stage: &Stage<'_>,
    home: &str,
    namespace: &str,
    verb: &str,
    what: &str,
    expected: bool,
) -> Result<()> {
    let account = format!("system:serviceaccount:{home}:taffrail-operator");
    // A subresource is an option of its own; a name follows a resource without a group.
    let (what, subresource) = match what.rsplit_once('/') {
        Some((resource, part @ ("status" | "exec"))) => (resource, format!("--subresource={part}")),
        _ => (what, String::from("--subresource=")),
    };
    let question = ["auth", "can-i", verb, what, &subresource, "--namespace", namespace, "--as", &account];
    // It says no with an exit status of 1, too.
    let answer = kubectl(stage, question).output().await.context("cannot run kubectl")?;
    let answer = String::from_utf8_lossy(&answer.stdout).trim().starts_with("yes");
    ensure!(answer == expected, "may the operator {verb} {what} in {namespace}? {answer}, not {expected}");
    Ok(())
}
