//! Work that no request waits for: syncing sealed segments, checkpoints, forgetting producers, deleting what was moved
//! aside.

use std::sync::Arc;
use std::time::Duration;

use taffrail_log::TopicPartition;
use taffrail_replication::disk::logs::Stray;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::broker::Broker;
use crate::clock;
use crate::cluster::Replica;
use crate::cluster_view::{ClusterView, Leader};
use crate::controller_session::SessionState;
use crate::replicas::Replicas;
use crate::replication::flush;

/// Replicas whose sealed segments wait to be synced. More than that are found by the next round.
const QUEUE: usize = 1024;
/// How often logs are looked at for `flush.ms`, and for `flush.messages` where the queue was full.
const ROUND: Duration = Duration::from_secs(1);
/// How often logs that were moved aside are looked at, unless they are kept for less.
const STRAY_ROUND: Duration = Duration::from_secs(60);

/// The way to ask for a replica to be synced soon.
#[derive(Clone)]
pub struct SyncQueue(mpsc::Sender<Arc<Replica>>);

/// The other end of a [`SyncQueue`].
pub struct SyncRequests(mpsc::Receiver<Arc<Replica>>);

/// A queue of replicas to be synced.
pub fn sync_queue() -> (SyncQueue, SyncRequests) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (SyncQueue(sender), SyncRequests(receiver))
}

impl SyncQueue {
    /// Has a replica synced soon: it began a new segment, or records wait for it. When the queue is full the former is left
    /// to the next roll or the stop (until then recovery after a crash has more to check, and nothing else), the latter to
    /// the next round.
    pub fn push(&self, replica: &Arc<Replica>) {
        if self.0.try_send(Arc::clone(replica)).is_err() {
            tracing::debug!("the queue of segments to sync is full");
        }
    }
}

/// Works until `stop` changes.
pub async fn run(
    broker: Arc<Broker>,
    replicas: Arc<Replicas>,
    mut requests: SyncRequests,
    session: watch::Receiver<SessionState>,
    mut stop: watch::Receiver<bool>,
) {
    let config = &broker.config;
    let checkpoint_every = Duration::from_millis(
        u64::try_from(config.log_flush_offset_checkpoint_interval_ms).unwrap_or(60_000),
    );
    let forget_every = Duration::from_millis(
        u64::try_from(config.producer_id_expiration_check_interval_ms).unwrap_or(600_000),
    );
    let mut round = ticks(ROUND);
    let mut checkpoint = ticks(checkpoint_every);
    let mut forget = ticks(forget_every);
    let retention_ms = config.log_stray_retention_ms;
    let stray_round = Duration::from_millis(u64::try_from(retention_ms).unwrap_or(u64::MAX));
    let mut strays = ticks(stray_round.clamp(ROUND, STRAY_ROUND));
    let mut checkpointed = 0;
    loop {
        tokio::select! {
            replica = requests.0.recv() => {
                let Some(replica) = replica else { return };
                in_background(move || flush(&replica)).await;
            }
            _ = round.tick() => {
                if broker.cluster.has_flush_settings() {
                    let broker = Arc::clone(&broker);
                    in_background(move || sync_due(&broker)).await;
                }
            }
            _ = checkpoint.tick() => {
                let state = fingerprint(&broker.cluster.replicas());
                if state != checkpointed {
                    checkpointed = state;
                    let (broker, replicas) = (Arc::clone(&broker), Arc::clone(&replicas));
                    in_background(move || {
                        if let Err(error) = replicas.checkpoint(|| broker.cluster.replicas()) {
                            tracing::error!("{error}; trying again in a while");
                        }
                    })
                    .await;
                }
            }
            () = broker.errands.checkpoint.notified() => {
                checkpointed = 0;
                checkpoint.reset_immediately();
            }
            _ = forget.tick() => forget_producers(&broker),
            // What is known without a session may be long outdated.
            _ = strays.tick(), if retention_ms >= 0 => if session.borrow().is_current {
                let (broker, replicas) = (Arc::clone(&broker), Arc::clone(&replicas));
                in_background(move || replicas.delete_strays(retention_ms, |stray| is_unneeded(&broker, stray)))
                    .await;
            },
            _ = stop.changed() => return,
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let period = period.max(Duration::from_millis(1));
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn in_background(work: impl FnOnce() + Send + 'static) {
    // Fails only when the runtime is shutting down.
    let _ = tokio::task::spawn_blocking(work).await;
}

fn sync_due(broker: &Broker) {
    let now_ms = clock::now_ms();
    for (_, replica) in broker.cluster.replicas() {
        let due = replica.lock().log().flush_due(now_ms);
        if due {
            flush(&replica);
        }
    }
}

/// Changes whenever something changes that a checkpoint would tell.
fn fingerprint(replicas: &[(TopicPartition, Arc<Replica>)]) -> i64 {
    replicas.iter().fold(0, |sum: i64, (_, replica)| {
        let replica = replica.lock();
        let log = replica.log();
        [replica.high_watermark(), log.recovery_point(), log.log_start_offset(), 1]
            .iter()
            .fold(sum, |sum, position| sum.wrapping_mul(31).wrapping_add(*position))
    })
}

/// Whether a log that was moved aside is needed by nobody: its partition is gone, or somebody leads it (rule 18).
fn is_unneeded(broker: &Broker, stray: &Stray) -> bool {
    // A name that was cut belongs to a partition that cannot be told any more.
    let Some(TopicPartition { topic, partition }) = &stray.partition else { return true };
    let topic = match stray.topic_id {
        Some(id) => broker.cluster.topic_by_id(id),
        None => broker.cluster.topic(topic),
    };
    let Some(partition) = topic.as_ref().and_then(|topic| topic.partition(*partition)) else { return true };
    let is_missed = partition.replica.is_none() && partition.record.replicas.contains(&broker.id);
    !is_missed && ClusterView::new(&broker.cluster, "").leader(&partition.record) != Leader::None
}

fn forget_producers(broker: &Broker) {
    for (_, replica) in broker.cluster.replicas() {
        replica.lock().log_mut().remove_expired_producers(clock::now_ms());
    }
}
