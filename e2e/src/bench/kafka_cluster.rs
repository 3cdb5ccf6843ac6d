//! Several Apache Kafka brokers on one machine, each of them controller too, as small clusters run it.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::broker::{await_listening, free_ports, in_sync};
use crate::process::Process;

/// The heap and collector that Kafka's own scripts give a broker.
const JAVA_OPTIONS: &str = "-Xmx1g -Xms1g -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
    -XX:InitiatingHeapOccupancyPercent=35 -Dkafka.log.level=INFO";
/// Any id will do: the cluster is thrown away.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// Formats what is not formatted yet, starts `count` brokers under `dir` and waits until all accept connections.
pub fn start(scripts: &Path, dir: &Path, count: u16) -> Result<(Vec<Process>, Vec<String>)> {
    let ports = free_ports(2 * count)?;
    let mut started = Vec::new();
    for node in 0..count {
        let dir = dir.join(format!("node-{node}"));
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let properties = dir.join("server.properties");
        fs::write(&properties, server_properties(&dir, node, count, ports)?)?;
        if !dir.join("data/meta.properties").exists() {
            format_storage(scripts, &properties)?;
        }
        let log = File::options().create(true).append(true).open(dir.join("server.log"))?;
        let child = Command::new(scripts.join("run"))
            .arg("server")
            .arg(&properties)
            .env("KAFKA_JAVA_OPTS", JAVA_OPTIONS)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", scripts.join("run").display()))?;
        started.push((Process::new("kafka", child), format!("127.0.0.1:{}", ports + node), dir));
    }
    let (mut processes, mut addresses) = (Vec::new(), Vec::new());
    for (mut process, address, dir) in started {
        await_listening(&mut process, &address, &dir.join("server.log"))?;
        processes.push(process);
        addresses.push(address);
    }
    Ok((processes, addresses))
}

fn format_storage(scripts: &Path, properties: &Path) -> Result<()> {
    let formatted = Command::new(scripts.join("run"))
        .args(["storage", "format", "-t", CLUSTER_ID, "-c"])
        .arg(properties)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("running {}", scripts.join("run").display()))?;
    if !formatted.success() {
        bail!("formatting Kafka's storage by {} failed: {formatted}", properties.display());
    }
    Ok(())
}

/// Brokers listen on the first ports, controllers on those after them.
fn server_properties(dir: &Path, node: u16, count: u16, ports: u16) -> Result<String> {
    let controller_port = |node: u16| ports + count + node;
    let voters: Vec<String> = (0..count).map(|n| format!("{n}@127.0.0.1:{}", controller_port(n))).collect();
    let mut text = String::new();
    writeln!(text, "process.roles=broker,controller")?;
    writeln!(text, "node.id={node}")?;
    writeln!(
        text,
        "listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}",
        ports + node,
        controller_port(node)
    )?;
    writeln!(text, "controller.listener.names=CONTROLLER")?;
    writeln!(text, "controller.quorum.voters={}", voters.join(","))?;
    writeln!(text, "log.dirs={}", dir.join("data").display())?;
    writeln!(text, "offsets.topic.replication.factor={count}")?;
    writeln!(text, "transaction.state.log.replication.factor={count}")?;
    writeln!(text, "transaction.state.log.min.isr={}", in_sync(count))?;
    writeln!(text, "min.insync.replicas={}", in_sync(count))?;
    // Deleted topics of a finished run shall not weigh on the next.
    writeln!(text, "log.segment.delete.delay.ms=100")?;
    writeln!(text, "group.initial.rebalance.delay.ms=0")?;
    Ok(text)
}
