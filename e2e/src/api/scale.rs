//! A cluster of 30 brokers, 5,000 topics and 30,000 partitions whose memory is a real API server. Its brokers are sessions
//! in this process: they hold no records, and say of in-sync replicas what brokers would say.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use taffrail_control::session::{
    BrokerEnd, ClusterUpdate, ControllerRequest, ControllerResponse, FromController, IsrProposal, LogClaim,
    Member, NewTopic, PartitionRecord, Registration, ToController,
};
use taffrail_controller_service::{ClusterDefaults, ControllerHandle, LocalController};
use taffrail_operator::store::KubeStore;
use taffrail_protocol::Uuid;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::Stage;

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
/// For how long after a broker came back its replicas come into sync, one after another.
const CATCHING_UP_MS: u64 = 2_000;
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
        cluster.start_broker(Broker { observes: Some((telling, asked)), ..Broker::new(OBSERVER, 1) });
        (1..BROKERS).for_each(|id| cluster.start_broker(Broker::new(id, 1)));
        cluster.when(|told| told.unfenced() == BROKERS as usize).await?;
        Ok(cluster)
    }

    fn start_broker(&mut self, broker: Broker) {
        let id = broker.id;
        let running = self.brokers.spawn(broker.run(self.controller.handle()));
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

/// Why a broker ended that was not killed.
async fn next_failure(brokers: &mut JoinSet<Result<()>>) -> anyhow::Error {
    loop {
        match brokers.join_next().await {
            Some(Ok(Err(error))) => return error,
            Some(Err(error)) if !error.is_cancelled() => return error.into(),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// What a broker was told of all.
#[derive(Debug, Default)]
struct Told {
    /// By broker, its incarnation and whether it is fenced.
    brokers: BTreeMap<i32, (u64, bool)>,
    partitions: HashMap<(Uuid, i32), PartitionRecord>,
}

impl Told {
    fn apply(&mut self, update: &ClusterUpdate) {
        for broker in &update.brokers {
            self.brokers.insert(broker.broker_id, (broker.incarnation, broker.fenced));
        }
        for record in &update.partitions {
            self.partitions.insert((record.topic_id, record.partition), record.clone());
        }
    }

    fn unfenced(&self) -> usize {
        self.brokers.values().filter(|(_, fenced)| !fenced).count()
    }

    fn count(&self, fits: impl Fn(&PartitionRecord) -> bool) -> usize {
        self.partitions.values().filter(|record| fits(record)).count()
    }

    fn led(&self) -> usize {
        self.count(|record| record.leader.is_some())
    }

    fn led_by(&self, id: i32) -> usize {
        self.count(|record| record.leader.is_some_and(|leader| leader.broker_id == id))
    }

    fn in_isr(&self, id: i32) -> usize {
        self.count(|record| record.isr.iter().any(|member| member.broker_id == id))
    }

    fn hosted_by(&self, id: i32) -> usize {
        self.count(|record| record.replicas.contains(&id))
    }
}

/// A broker without records.
struct Broker {
    id: i32,
    process: u8,
    incarnation: u64,
    /// The partitions it leads.
    led: HashMap<(Uuid, i32), PartitionRecord>,
    brokers: BTreeMap<i32, (u64, bool)>,
    /// Followers that are in sync at a time, and are to be proposed then.
    catching_up: BTreeMap<(Instant, Uuid, i32), Member>,
    observes: Option<(watch::Sender<Told>, mpsc::Receiver<ControllerRequest>)>,
}

impl Broker {
    fn new(id: i32, process: u8) -> Self {
        let (led, brokers, catching_up) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { id, process, incarnation: 0, led, brokers, catching_up, observes: None }
    }

    async fn run(mut self, controller: ControllerHandle) -> Result<()> {
        let mut session = controller.connect();
        let process_id = Uuid([self.id as u8 + 1, self.process, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let registration = Registration::new(self.id, process_id, LogClaim::Unclean);
        session.sender.send(ToController::Register(registration)).await?;
        let mut heartbeats = tokio::time::interval(Duration::from_millis(500));
        let mut proposals = tokio::time::interval(Duration::from_millis(20));
        let mut request_id = 0;
        loop {
            let request = async {
                match &mut self.observes {
                    Some((_, requests)) if self.incarnation > 0 => requests.recv().await,
                    _ => std::future::pending().await,
                }
            };
            let incarnation = self.incarnation;
            tokio::select! {
                message = session.receiver.recv() => {
                    self.hear(message.context("the session of a broker ended")?, &session).await?;
                }
                _ = heartbeats.tick(), if incarnation > 0 => {
                    session.sender.send(ToController::Heartbeat { incarnation, applied_version: 0 }).await?;
                }
                _ = proposals.tick(), if !self.catching_up.is_empty() => {
                    let proposals = self.due(Instant::now());
                    if !proposals.is_empty() {
                        session.sender.send(ToController::ProposeIsr { incarnation, proposals }).await?;
                    }
                }
                Some(request) = request => {
                    request_id += 1;
                    session.sender.send(ToController::Request { request_id, request }).await?;
                }
            }
        }
    }

    async fn hear(&mut self, message: FromController, session: &BrokerEnd) -> Result<()> {
        match message {
            FromController::Registered { incarnation, .. } => {
                self.incarnation = incarnation;
                let held = ToController::Held { incarnation, partitions: Vec::new() };
                session.sender.send(held).await?;
            }
            FromController::Update(update) => self.apply(&update),
            FromController::Response { response: ControllerResponse::Topics(topics), .. } => {
                if let Some(error) = topics.into_iter().find_map(Result::err) {
                    bail!("a topic was not made: {}", error.message);
                }
            }
            // Its newest record has come, and was looked at.
            FromController::IsrRefused { .. } => {}
            other => bail!("broker {} was told {other:?}", self.id),
        }
        Ok(())
    }

    fn apply(&mut self, update: &Arc<ClusterUpdate>) {
        if let Some((telling, _)) = &self.observes {
            telling.send_modify(|told| told.apply(update));
        }
        for record in &update.partitions {
            let key = (record.topic_id, record.partition);
            if record.leader.is_some_and(|leader| leader.broker_id == self.id) {
                self.led.insert(key, record.clone());
                self.expect_missing(key);
            } else {
                self.led.remove(&key);
            }
        }
        for broker in &update.brokers {
            let now = (broker.incarnation, broker.fenced);
            if self.brokers.insert(broker.broker_id, now) != Some(now) {
                let hosted = self.led.values().filter(|record| record.replicas.contains(&broker.broker_id));
                let keys: Vec<_> = hosted.map(|record| (record.topic_id, record.partition)).collect();
                keys.into_iter().for_each(|key| self.expect_missing(key));
            }
        }
    }

    /// Each replica in session that is not in sync will be, some time within [`CATCHING_UP_MS`].
    fn expect_missing(&mut self, key: (Uuid, i32)) {
        let Some(record) = self.led.get(&key) else { return };
        for id in &record.replicas {
            let Some((incarnation, false)) = self.brokers.get(id).copied() else { continue };
            let member = Member { broker_id: *id, incarnation };
            let is_expected = self.catching_up.iter().any(|((_, topic_id, partition), expected)| {
                (*topic_id, *partition) == key && *expected == member
            });
            if !record.isr.contains(&member) && !is_expected {
                // Spread by what is random in the topic's id.
                let [a, b, ..] = key.0.0;
                let after_ms = (u64::from(a) * 256 + u64::from(b) + 317 * key.1 as u64) % CATCHING_UP_MS;
                let at = Instant::now() + Duration::from_millis(after_ms);
                self.catching_up.insert((at, key.0, key.1), member);
            }
        }
    }

    /// Proposes those that have caught up.
    fn due(&mut self, now: Instant) -> Vec<IsrProposal> {
        let later = self.catching_up.split_off(&(now, Uuid::ZERO, 0));
        let due = std::mem::replace(&mut self.catching_up, later);
        let propose = |((_, topic_id, partition), member): ((Instant, Uuid, i32), Member)| {
            let record = self.led.get(&(topic_id, partition))?;
            let isr: Vec<Member> = record.isr.iter().copied().chain([member]).collect();
            let (leader_epoch, partition_epoch) = (record.leader_epoch, record.partition_epoch);
            let is_new = !record.isr.contains(&member);
            is_new.then_some(IsrProposal { topic_id, partition, leader_epoch, partition_epoch, isr })
        };
        due.into_iter().filter_map(propose).collect()
    }
}

/// Writes of our objects that the API server has taken or refused.
async fn count_writes(stage: &Stage<'_>) -> Result<u64> {
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
