//! A cluster of 30 brokers, 5,000 topics and 30,000 partitions whose memory is a real API server. Controller and brokers are
//! in this process.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use taffrail_control::session::{ControllerRequest, NewTopic};
use taffrail_controller_service::{ClusterDefaults, LocalController};
use taffrail_operator::store::KubeStore;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::Stage;
use super::brokers::{Broker, CATCHING_UP_MS, Told, next_failure};

const BROKERS: i32 = 30;
const TOPICS: usize = 5_000;
const PARTITIONS_PER_TOPIC: i32 = 6;
const PARTITIONS: usize = TOPICS * PARTITIONS_PER_TOPIC as usize;
/// Topics that are asked for at once.
const TOPICS_PER_REQUEST: usize = 250;
/// Who dies.
const VICTIM: i32 = 17;
/// Who is asked what it was told.
const OBSERVER: i32 = 0;
/// In how many writes what a dead broker led must be led by others. It takes some two seconds, most of which is the API
/// server's own work; a machine that has other things to do is given more.
const FAILOVER: (Duration, u64) = (Duration::from_secs(15), 100);
const PATIENCE: Duration = Duration::from_secs(300);

/// See the module.
pub(crate) async fn thirty_brokers(stage: Stage<'_>) -> Result<String> {
    let mut cluster = Cluster::start(&stage).await?;
    let mut figures = vec![cluster.make_topics(&stage).await?];
    figures.push(format!("{} MiB resident", resident_mib()?));
    figures.push(cluster.lose_a_broker(&stage).await?);
    figures.push(cluster.take_it_back(&stage).await?);
    figures.push(format!("{} MiB resident", resident_mib()?));
    cluster.controller.shutdown().await;
    Ok(figures.join("; "))
}

struct Cluster {
    controller: LocalController,
    brokers: JoinSet<Result<()>>,
    running: BTreeMap<i32, AbortHandle>,
    told: watch::Receiver<Told>,
    /// To the observer, who asks for others.
    requests: mpsc::Sender<ControllerRequest>,
}

impl Cluster {
    async fn start(stage: &Stage<'_>) -> Result<Self> {
        let (sender, news) = mpsc::channel(1_024);
        let store = KubeStore::open(&stage.plane.config(), stage.patient_options("scale"), sender)?;
        let defaults = ClusterDefaults {
            default_replication_factor: 3,
            min_insync_replicas: 2,
            // Who is to be missed is missed because its session breaks. On a busy machine others may be late.
            session_timeout_ms: 30_000,
            ..ClusterDefaults::default()
        };
        let controller = LocalController::start(store, news, defaults)?;
        // Those who come before the store was read are sent away.
        controller.handle().summary().await.context("the controller has stopped")?;
        let (telling, told) = watch::channel(Told::default());
        let (requests, asked) = mpsc::channel(1);
        let mut cluster =
            Self { controller, brokers: JoinSet::new(), running: BTreeMap::new(), told, requests };
        cluster.start_broker(Broker::new(OBSERVER, 1).observing(telling, asked));
        (1..BROKERS).for_each(|id| cluster.start_broker(Broker::new(id, 1)));
        cluster.when(|told| told.unfenced() == BROKERS as usize).await?;
        Ok(cluster)
    }

    fn start_broker(&mut self, broker: Broker) {
        let id = broker.id;
        let running = self.brokers.spawn(broker.run(self.controller.handle().connect()));
        self.running.insert(id, running);
    }

    /// Waits until the observer was told what fits.
    async fn when(&mut self, fits: impl Fn(&Told) -> bool) -> Result<Duration> {
        let begun = Instant::now();
        tokio::select! {
            told = self.told.wait_for(fits) => drop(told.context("the observer has ended")?),
            ended = next_failure(&mut self.brokers) => return Err(ended),
            () = tokio::time::sleep(PATIENCE) => bail!("the brokers wait for more than {PATIENCE:?}"),
        }
        Ok(begun.elapsed())
    }

    async fn make_topics(&mut self, stage: &Stage<'_>) -> Result<String> {
        let before = count_writes(stage).await?;
        let begun = Instant::now();
        for first in (0..TOPICS).step_by(TOPICS_PER_REQUEST) {
            let topic = |n| NewTopic {
                name: format!("shop.orders.region-{}.topic-{n}", n % 7),
                partitions: Some(PARTITIONS_PER_TOPIC),
                ..NewTopic::default()
            };
            let topics = (first..first + TOPICS_PER_REQUEST).map(topic).collect();
            let request = ControllerRequest::CreateTopics { topics, validate_only: false };
            self.requests.send(request).await.context("the observer has ended")?;
        }
        self.when(|told| told.led() == PARTITIONS).await?;
        let took = begun.elapsed();
        let writes = count_writes(stage).await? - before;
        Ok(format!("{TOPICS} topics made and led in {:.1} s, {writes} writes", took.as_secs_f64()))
    }

    async fn lose_a_broker(&mut self, stage: &Stage<'_>) -> Result<String> {
        let before = count_writes(stage).await?;
        let lost = self.told.borrow().led_by(VICTIM);
        self.running.remove(&VICTIM).context("the victim runs")?.abort();
        let took = self.when(|told| told.led_by(VICTIM) == 0 && told.led() == PARTITIONS).await?;
        self.when(|told| told.in_isr(VICTIM) == 0).await?;
        let writes = count_writes(stage).await? - before;
        let (in_time, few) = FAILOVER;
        ensure!(took <= in_time, "{lost} leaders moved in {took:?}, which is more than {in_time:?}");
        ensure!(writes <= few, "a broker was lost with {writes} writes, which is more than {few}");
        Ok(format!("{lost} leaders moved in {} ms, {writes} writes", took.as_millis()))
    }

    async fn take_it_back(&mut self, stage: &Stage<'_>) -> Result<String> {
        let before = count_writes(stage).await?;
        self.start_broker(Broker::new(VICTIM, 2));
        let hosted = self.told.borrow().hosted_by(VICTIM);
        let took = self.when(|told| told.in_isr(VICTIM) == hosted).await?;
        let writes = count_writes(stage).await? - before;
        Ok(format!(
            "{hosted} replicas in sync again in {:.1} s ({CATCHING_UP_MS} ms to catch up), {writes} writes",
            took.as_secs_f64()
        ))
    }
}

/// Writes of our objects that the API server has taken or refused.
pub(super) async fn count_writes(stage: &Stage<'_>) -> Result<u64> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let metrics = stage.plane.client()?.request_text(request).await?;
    let requests = metrics.lines().filter(|line| line.starts_with("apiserver_request_total{"));
    let ours = requests.filter(|line| line.contains(r#"group="taffrail.dev""#));
    let writes =
        ours.filter(|line| [r#"verb="POST""#, r#"verb="PUT""#].iter().any(|verb| line.contains(verb)));
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    Ok(writes.filter_map(value).sum::<f64>() as u64)
}

/// What this process holds in memory: the controller, its store, and the brokers' sessions.
fn resident_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024)
}
