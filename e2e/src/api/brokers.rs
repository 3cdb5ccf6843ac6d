//! Brokers that are sessions with a controller: they hold no records, and say of in-sync replicas what brokers would say.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use taffrail_control::session::{
    BrokerEnd, ClusterUpdate, ControllerRequest, ControllerResponse, FromController, IsrProposal, LogClaim,
    Member, PartitionRecord, Registration, ToController,
};
use taffrail_protocol::Uuid;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// For how long after a broker came back its replicas come into sync, one after another.
pub(super) const CATCHING_UP_MS: u64 = 2_000;

/// What a broker was told of all.
#[derive(Debug, Default)]
pub(super) struct Told {
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

    pub(super) fn unfenced(&self) -> usize {
        self.brokers.values().filter(|(_, fenced)| !fenced).count()
    }

    fn count(&self, fits: impl Fn(&PartitionRecord) -> bool) -> usize {
        self.partitions.values().filter(|record| fits(record)).count()
    }

    pub(super) fn led(&self) -> usize {
        self.count(|record| record.leader.is_some())
    }

    pub(super) fn led_by(&self, id: i32) -> usize {
        self.count(|record| record.leader.is_some_and(|leader| leader.broker_id == id))
    }

    pub(super) fn in_isr(&self, id: i32) -> usize {
        self.count(|record| record.isr.iter().any(|member| member.broker_id == id))
    }

    pub(super) fn hosted_by(&self, id: i32) -> usize {
        self.count(|record| record.replicas.contains(&id))
    }
}

/// A broker without records.
pub(super) struct Broker {
    pub(super) id: i32,
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
    /// Of this id, in this of its lives.
    pub(super) fn new(id: i32, process: u8) -> Self {
        let (led, brokers, catching_up) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { id, process, incarnation: 0, led, brokers, catching_up, observes: None }
    }

    /// The same one, which says what it is told and asks what it is asked for.
    pub(super) fn observing(
        self,
        telling: watch::Sender<Told>,
        asked: mpsc::Receiver<ControllerRequest>,
    ) -> Self {
        Self { observes: Some((telling, asked)), ..self }
    }

    /// Speaks in `session` until that ends, which it should not.
    pub(super) async fn run(mut self, mut session: BrokerEnd) -> Result<()> {
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

/// Why a broker ended that was not killed.
pub(super) async fn next_failure(brokers: &mut JoinSet<Result<()>>) -> anyhow::Error {
    loop {
        match brokers.join_next().await {
            Some(Ok(Err(error))) => return error,
            Some(Err(error)) if !error.is_cancelled() => return error.into(),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
