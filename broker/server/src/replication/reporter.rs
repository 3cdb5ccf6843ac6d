//! What the controller hears of this broker's replicas: wishes for other in-sync replicas, how the replicas are, how large
//! those that lead are, and how far their logs reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use taffrail_control::session::{
    LOG_DIRS, LogDirHealth, LogEnd, LogState, Member, PARTITION_SIZES, RefusedIsr, ReplicaHealth,
    ToController,
};
use taffrail_log::FileStorage;
use taffrail_replication::partition::{Effects, Partition};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::broker::Broker;
use crate::clock;
use crate::cluster::{PartitionKey, Replica, TopicPartition};
use crate::log_dirs::ServedLogDir;
use crate::replication::sizes::{Led, ToldSizes};
use crate::waiter::{PartitionWaiter, carry_out};

/// How long proposals wait for others to go along: when a broker is lost, its partitions shrink together.
const GATHER: Duration = Duration::from_millis(2);
/// How often leaders look for followers that lag and for proposals that are due again.
const TICK: Duration = Duration::from_millis(500);
/// How often the controller hears of what is behind.
const HEALTH: Duration = Duration::from_secs(5);
/// How often the controller hears of sizes that have changed.
const SIZES: Duration = Duration::from_secs(30);
/// How long after the beginning of a session it hears of all of them: by then what matters more has been said.
const SIZES_AT_FIRST: Duration = Duration::from_secs(2);
/// A follower that was caught up so recently is not reported as behind. In milliseconds.
const LAG_WORTH_TELLING_MS: i64 = 1_000;
/// Replicas in one message.
const REPLICAS_PER_MESSAGE: usize = 1_000;

/// Tells the controller of this broker's replicas.
pub struct Reporter {
    broker: Arc<Broker>,
    me: Member,
    /// What the controller was told of those that are not well.
    told: BTreeMap<PartitionKey, ReplicaHealth>,
    sizes: ToldSizes,
    /// What the controller was told of log directories in this session.
    told_dirs: Option<Vec<LogDirHealth>>,
}

/// Reports until `stop` changes.
pub async fn run(mut reporter: Reporter, mut stop: watch::Receiver<bool>) {
    let ticks = |period| {
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut tick, mut health, mut sizes) = (ticks(TICK), ticks(HEALTH), ticks(SIZES));
    let errands = Arc::clone(&reporter.broker.errands);
    loop {
        tokio::select! {
            () = errands.proposed.notified() => {
                tokio::time::sleep(GATHER).await;
                reporter.propose().await;
            }
            keys = errands.reports.take() => {
                // Why comes before what follows from it.
                reporter.tell_log_dirs().await;
                reporter.tell_of(keys).await;
            }
            () = errands.renewed.notified() => {
                reporter.told_dirs = None;
                reporter.tell_log_dirs().await;
                reporter.tell_all(true).await;
                reporter.sizes = ToldSizes::default();
                sizes.reset_after(SIZES_AT_FIRST);
            }
            _ = tick.tick() => look_at_followers(&reporter.broker),
            _ = health.tick() => {
                reporter.tell_log_dirs().await;
                reporter.tell_all(false).await;
            }
            _ = sizes.tick() => reporter.tell_sizes().await,
            _ = stop.changed() => return,
        }
    }
}

impl Reporter {
    /// For the replicas of `me`. Nothing was told yet.
    pub fn new(broker: Arc<Broker>, me: Member) -> Self {
        Self { broker, me, told: BTreeMap::new(), sizes: ToldSizes::default(), told_dirs: None }
    }

    async fn propose(&self) {
        let proposals = self.broker.errands.take_proposals();
        if !proposals.is_empty() {
            let incarnation = self.me.incarnation;
            self.broker.controller.tell(ToController::ProposeIsr { incarnation, proposals }).await;
        }
    }

    /// Tells which log directories take no writes, where that is news.
    async fn tell_log_dirs(&mut self) {
        let dirs: Vec<LogDirHealth> = self.broker.log_dirs.iter().filter_map(ServedLogDir::health).collect();
        if self.told_dirs.as_ref() == Some(&dirs) {
            return;
        }
        let (incarnation, news) = (self.me.incarnation, dirs.clone());
        let message = ToController::LogDirs { incarnation, dirs };
        if self.broker.controller.tell_if_known(LOG_DIRS, message).await {
            self.told_dirs = Some(news);
        }
    }

    /// Tells of these at once, if there is something new to tell.
    async fn tell_of(&mut self, keys: BTreeSet<PartitionKey>) {
        let now_ms = clock::now_ms();
        let mut news = Vec::new();
        for key in keys {
            let partition = self.broker.cluster.topic_by_id(key.0);
            let Some(partition) = partition.as_ref().and_then(|topic| topic.partition(key.1)) else {
                continue;
            };
            if let Some(replica) = &partition.replica {
                self.look_at_log(key, replica);
            }
            match unwell(partition, now_ms) {
                Some(health) if self.told.get(&key) != Some(&health) => {
                    self.told.insert(key, health.clone());
                    news.push(health);
                }
                Some(_) => {}
                None if self.told.remove(&key).is_some() => news.extend(now_well(partition, now_ms)),
                None => {}
            }
        }
        self.tell(false, news).await;
    }

    /// A log that takes no writes any more, or has a batch that is damaged, is told to people, and what it means for its directory is found out.
    fn look_at_log(&self, key: PartitionKey, replica: &Replica) {
        let (poisoned, corrupt, dir) = {
            let replica = replica.lock();
            let corrupt = replica.corrupt_batch().map(ToString::to_string);
            (replica.log().poisoned().cloned(), corrupt, self.broker.log_dirs.of(replica.log().dir()))
        };
        let Some(reason) = poisoned.as_ref().map(ToString::to_string).or(corrupt) else { return };
        let failed = LogState::Failed { reason: reason.clone() };
        if self.told.get(&key).is_some_and(|told| told.log == failed) {
            return;
        }
        let name = self.broker.cluster.name(key);
        let Some(poisoned) = poisoned else {
            self.broker.metrics.corrupt_batch();
            tracing::error!(
                "{name}: {reason}; it is given out no more, another in-sync replica shall lead, if there is one, and what it has \
                 is taken over; taffrail log verify tells if there are others"
            );
            self.broker.errands.repairs.push(key);
            return;
        };
        tracing::error!("{name}: {poisoned}; it takes no writes any more");
        match dir {
            Some(dir) if poisoned.is_out_of_space() => self.broker.log_dirs.refused(dir),
            _ => self.broker.log_dirs.look_soon(),
        }
        // Which also strikes out the note that the disk has everything, if it may not have (rule 28).
        self.broker.errands.checkpoint.notify_one();
    }

    /// Tells what has changed, or everything that is not well.
    async fn tell_all(&mut self, full: bool) {
        let now_ms = clock::now_ms();
        let mut unwell_now = BTreeMap::new();
        let mut well_again = Vec::new();
        self.broker.cluster.for_each_topic(|topic| {
            for partition in &topic.partitions {
                let key = (topic.id, partition.record.partition);
                match unwell(partition, now_ms) {
                    Some(health) => drop(unwell_now.insert(key, health)),
                    None if self.told.contains_key(&key) => {
                        well_again.push((key, now_well(partition, now_ms)))
                    }
                    None => {}
                }
            }
        });
        let changed = |(key, health): &(&PartitionKey, &ReplicaHealth)| self.told.get(*key) != Some(*health);
        let mut news: Vec<_> = unwell_now
            .iter()
            .filter(|entry| full || changed(entry))
            .map(|(_, health)| health.clone())
            .collect();
        if !full {
            news.extend(well_again.into_iter().filter_map(|(_, health)| health));
        }
        self.told = unwell_now;
        self.tell(full, news).await;
    }

    /// Tells how large the partitions are that are led here, where that is news.
    async fn tell_sizes(&mut self) {
        let mut replicas = Vec::new();
        self.broker.cluster.for_each_topic(|topic| {
            for TopicPartition { record, replica, .. } in &topic.partitions {
                if let (true, Some(replica)) = (record.leader == Some(self.me), replica) {
                    let key = (record.topic_id, record.partition);
                    replicas.push((key, record.leader_epoch, Arc::clone(replica)));
                }
            }
        });
        let led = replicas.into_iter().map(|(key, leader_epoch, replica)| {
            let size_bytes = replica.lock().log().size();
            Led { key, leader_epoch, size_bytes }
        });
        let news = self.sizes.news(led);
        let incarnation = self.me.incarnation;
        for partitions in news.chunks(REPLICAS_PER_MESSAGE) {
            let message = ToController::PartitionSizes { incarnation, partitions: partitions.to_vec() };
            if !self.broker.controller.tell_if_known(PARTITION_SIZES, message).await {
                // The next session begins anew.
                return;
            }
        }
    }

    async fn tell(&self, full: bool, replicas: Vec<ReplicaHealth>) {
        let incarnation = self.me.incarnation;
        if full && replicas.is_empty() {
            self.broker.controller.tell(ToController::Health { incarnation, full, replicas }).await;
            return;
        }
        for (part, replicas) in replicas.chunks(REPLICAS_PER_MESSAGE).enumerate() {
            // What follows adds to what is all.
            let full = full && part == 0;
            let replicas = replicas.to_vec();
            self.broker.controller.tell(ToController::Health { incarnation, full, replicas }).await;
        }
    }
}

/// How the replica is, if it is not well: its log is missing or failed, or a follower of it is behind.
fn unwell(partition: &TopicPartition, now_ms: i64) -> Option<ReplicaHealth> {
    if let Some(log) = &partition.absence {
        let record = &partition.record;
        return Some(ReplicaHealth {
            topic_id: record.topic_id,
            partition: record.partition,
            leader_epoch: record.leader_epoch,
            log: log.clone(),
            log_end_offset: 0,
            followers: Vec::new(),
        });
    }
    let mut health = partition.replica.as_ref()?.lock().health(now_ms);
    health.followers.retain(|follower| follower.ms >= LAG_WORTH_TELLING_MS);
    (health.log != LogState::Online || !health.followers.is_empty()).then_some(health)
}

/// What is told of a replica that is well again.
fn now_well(partition: &TopicPartition, now_ms: i64) -> Option<ReplicaHealth> {
    let health = partition.replica.as_ref()?.lock().health(now_ms);
    Some(ReplicaHealth { followers: Vec::new(), ..health })
}

/// Calls `step` on each replica here that leads and has followers, and carries out what comes of it.
fn on_led_with_followers(
    broker: &Broker,
    step: impl Fn(&mut Partition<FileStorage, PartitionWaiter>, &mut Effects<PartitionWaiter>),
) {
    let mut led: Vec<Arc<Replica>> = Vec::new();
    broker.cluster.for_each_topic(|topic| {
        let has_followers = |partition: &&TopicPartition| {
            let record = &partition.record;
            record.replicas.len() > 1 && record.leader.is_some_and(|leader| leader.broker_id == broker.id)
        };
        led.extend(topic.partitions.iter().filter(has_followers).filter_map(|led| led.replica.clone()));
    });
    let mut effects = Effects::new();
    for replica in led {
        step(&mut replica.lock(), &mut effects);
        carry_out(&mut effects);
    }
}

fn look_at_followers(broker: &Broker) {
    let now_ms = clock::now_ms();
    on_led_with_followers(broker, |partition, effects| partition.tick(now_ms, effects));
}

/// A session with the controller begins, and nothing of its snapshot was applied: what became of proposals made in an
/// earlier one is known when it is, or never will be.
pub fn session_begins(broker: &Broker) {
    on_led_with_followers(broker, |partition, _| partition.session_renewed());
}

/// The session's snapshot was applied: the controller hears of everything that is not well.
pub fn snapshot_applied(broker: &Broker) {
    broker.errands.renewed.notify_one();
}

/// The controller did not take these proposals.
pub fn isr_refused(broker: &Broker, refused: &[RefusedIsr]) {
    let now_ms = clock::now_ms();
    let mut effects = Effects::new();
    for refused in refused {
        let key = (refused.topic_id, refused.partition);
        tracing::debug!(
            "the controller refused the in-sync replicas proposed for {}: {:?}",
            broker.cluster.name(key),
            refused.reason
        );
        broker.metrics.isr_update_failed();
        let Some(replica) = broker.cluster.replica(key) else { continue };
        replica.lock().isr_refused(now_ms, refused.partition_epoch, refused.reason, &mut effects);
        carry_out(&mut effects);
    }
}

/// How far the logs of these partitions reach, of those that are here and sound (rules 4, 17).
pub fn log_ends(broker: &Broker, partitions: &[PartitionKey]) -> Vec<LogEnd> {
    let replicas = partitions.iter().filter_map(|key| broker.cluster.replica(*key));
    let ends = replicas.filter_map(|replica| {
        let partition = replica.lock();
        partition.log().poisoned().is_none().then(|| partition.log_end())
    });
    ends.collect()
}
