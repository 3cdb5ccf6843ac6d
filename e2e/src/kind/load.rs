//! The load that runs while a cluster is changed or broken: the program `chaos`, which accounts for every record.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::world::World;

/// Partitions of each topic that is written to.
pub(crate) const PARTITIONS: u16 = 6;
/// How long an order may take; the last one reads everything.
const PATIENCE: Duration = Duration::from_secs(400);

/// Where the load's process runs.
pub(crate) enum Place<'a> {
    /// On this machine, as somebody from outside.
    Outside(&'a Path),
    /// In this pod of this namespace.
    Inside(&'a World, &'a str, &'a str),
}

impl Place<'_> {
    fn command(&self) -> Command {
        match self {
            Self::Outside(chaos) => Command::new(chaos),
            Self::Inside(world, namespace, pod) => {
                world.kubectl(namespace, ["exec", "--stdin", pod, "--", "/usr/local/bin/chaos"])
            }
        }
    }

    /// Writes a record as soon as that can be done, and reads it back: how long both took together, from the start.
    ///
    /// # Errors
    ///
    /// If it cannot be done within a minute.
    pub(crate) async fn first(&self, bootstrap: &str, topic: &str) -> Result<(Duration, Duration)> {
        let mut command = self.command();
        command.args(["first", "--bootstrap", bootstrap, "--topic", topic]);
        let answer = crate::command::output(command.stdin(Stdio::null())).await?;
        let answer: Value = serde_json::from_str(answer.trim()).context("reading the answer of chaos")?;
        let ms = |key: &str| answer[key].as_u64().map(Duration::from_millis);
        ms("acknowledged_ms").zip(ms("read_ms")).with_context(|| format!("{answer} tells no times"))
    }
}

/// A running load of two topics, one of idempotent producers and one of others.
pub(crate) struct Load {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What came of a load.
pub(crate) struct Verdict {
    pub(crate) acknowledged: u64,
}

impl Load {
    /// Starts to write to the topics TOPIC and TOPIC-plain, and waits until every partition has taken a record.
    ///
    /// # Errors
    ///
    /// If that takes more than a minute.
    pub(crate) async fn start(place: &Place<'_>, bootstrap: &str, topic: &str) -> Result<Self> {
        let (plain, partitions) = (format!("{topic}-plain"), PARTITIONS.to_string());
        let mut command = place.command();
        command.args(["verify", "--bootstrap", bootstrap, "--idempotent", topic, "--plain", &plain]);
        command.args(["--partitions", &partitions, "--rate", "100"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot run chaos")?;
        let orders = child.stdin.take().context("chaos has no standard input")?;
        let answers = child.stdout.take().context("chaos has no standard output")?;
        let mut load = Self { child, orders, answers: BufReader::new(answers).lines() };
        load.answer().await?;
        let begun = Instant::now();
        while load.ask("status").await?["oldest_ns"].as_u64() == Some(0) {
            if begun.elapsed() > Duration::from_secs(60) {
                bail!("not every partition of {topic} and {plain} took a record within a minute");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        load.gap().await?;
        Ok(load)
    }

    /// The longest time that any partition acknowledged nothing since this was last asked.
    ///
    /// # Errors
    ///
    /// If the load has ended.
    pub(crate) async fn gap(&mut self) -> Result<Duration> {
        let answer = self.ask("gap").await?;
        let ms = answer["longest_ms"].as_f64().with_context(|| format!("{answer} tells no gap"))?;
        Ok(Duration::from_secs_f64(ms / 1000.0))
    }

    /// Waits until every partition has taken a record that is younger than this call.
    ///
    /// # Errors
    ///
    /// If that takes longer than `limit`.
    pub(crate) async fn flows(&mut self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        let first = self.newest_of_the_slowest().await?;
        // The time of the partition that waits longest has to pass that of this call.
        let asked_ns = monotonic_ns().max(first);
        while self.newest_of_the_slowest().await? < asked_ns {
            if begun.elapsed() > limit {
                bail!("some partition has acknowledged nothing for {limit:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn newest_of_the_slowest(&mut self) -> Result<u64> {
        let status = self.ask("status").await?;
        status["oldest_ns"].as_u64().with_context(|| format!("{status} tells no time"))
    }

    /// Ends the writing and accounts for every record.
    ///
    /// # Errors
    ///
    /// If a record was lost, doubled or moved, or a producer was told of an error.
    pub(crate) async fn finish(mut self) -> Result<Verdict> {
        let status = self.ask("quiesce").await?;
        let verdict = self.ask("verify").await?;
        ensure!(verdict["sound"].as_bool() == Some(true), "records are not as they must be: {verdict}");
        let failed = status["failed"].as_u64();
        ensure!(failed == Some(0), "producers were told of {failed:?} errors: {verdict}");
        let acknowledged = |topic: &str| verdict[topic]["acknowledged"].as_u64().unwrap_or(0);
        let verdict = Verdict { acknowledged: acknowledged("idempotent") + acknowledged("plain") };
        self.child.wait().await?;
        Ok(verdict)
    }

    async fn ask(&mut self, order: &str) -> Result<Value> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.context("the load has ended")?;
        self.orders.flush().await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<Value> {
        let line = tokio::time::timeout(PATIENCE, self.answers.next_line()).await;
        let line = line.context("the load does not answer")??.context("the load has ended")?;
        serde_json::from_str(&line).with_context(|| format!("the load says {line:?}"))
    }
}

/// The clock that the load tells times by.
fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Builds the load's program, and its image for pods.
///
/// # Errors
///
/// If Docker or cargo fail.
pub(crate) async fn build(base: &str, directory: &Path) -> Result<(PathBuf, String)> {
    let chaos = crate::images::release_binary("taffrail-e2e", "chaos").await?;
    let context = directory.join("client");
    std::fs::create_dir_all(&context)?;
    crate::images::strip(&chaos, &context.join("chaos")).await?;
    std::fs::write(context.join("Dockerfile"), include_str!("client.Dockerfile"))?;
    let image = "taffrail/e2e:dev".to_owned();
    let mut build = crate::command::command("docker", ["build", "--quiet", "--tag", &image]);
    build.arg("--build-arg").arg(format!("BASE={base}")).arg(&context);
    crate::command::output(&mut build).await?;
    Ok((chaos, image))
}
