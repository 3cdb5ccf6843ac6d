//! Mending corrupt batches of logs that follow, with what their leaders have: one log after the other, a request at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taffrail_control::session::Member;
use taffrail_log::names::{PartitionFile, SegmentFile};
use taffrail_log::repair::{Repair, RepairError};
use taffrail_log::{CheckpointError, FileStorage, Poisoned, Replaced, SegmentCheck, TopicPartition};
use taffrail_protocol::codec::RecordSet;
use taffrail_protocol::messages::fetch::{FetchPartition, FetchTopic};
use taffrail_protocol::messages::{FetchRequest, FetchResponse};
use taffrail_protocol::{ErrorCode, Uuid};
use taffrail_replication::partition::{Effects, RepairState, RepairTask};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connect::{connect, socket_timeout};
use super::flush;
use crate::broker::Broker;
use crate::clock;
use crate::cluster::{PartitionKey, Replica};
use crate::peer::connection::{PeerConnection, PeerError};
use crate::replicas::Replicas;
use crate::waiter::carry_out;

/// The version that the leader is asked in: as a consumer asks, for what is committed.
const VERSION: i16 = 18;
/// How often a log is looked at that nobody can mend just now: most often its broker still leads.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The pause after a repair that failed, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause after a repair that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why a log was not mended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("it answers {0}")]
    Refused(ErrorCode),
    #[error("it has nothing at offset {0}")]
    Nothing(i64),
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is not committed or synced yet, is being compacted, or the log has changed meanwhile.
    #[error("the log is not ready for it")]
    NotReady,
    #[error("the broker is stopping")]
    Stopping,
}

/// A log that is to be mended.
struct Waiting {
    due: Instant,
    pause: Duration,
}

/// Mends logs, one after the other.
pub struct Repairer {
    pub(super) broker: Arc<Broker>,
    pub(super) replicas: Arc<Replicas>,
    pub(super) me: Member,
    /// Proves to leaders that this broker is `me`.
    pub(super) token: Uuid,
}

/// Mends until `stop` changes.
pub async fn run(repairer: Repairer, mut stop: watch::Receiver<bool>) {
    let mut waiting: BTreeMap<PartitionKey, Waiting> = BTreeMap::new();
    let errands = Arc::clone(&repairer.broker.errands);
    loop {
        let next = waiting.iter().min_by_key(|(_, waiting)| waiting.due).map(|(key, next)| (*key, next.due));
        let (due, key) = next.map_or((None, None), |(key, due)| (Some(due), Some(key)));
        let is_due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            keys = errands.repairs.take() => {
                for key in keys {
                    waiting.entry(key).or_insert(Waiting { due: Instant::now(), pause: FIRST_PAUSE });
                }
                continue;
            }
            () = errands.unread.notified() => {
                let segments = std::mem::take(&mut *errands.unreadable.lock());
                let broker = Arc::clone(&repairer.broker);
                // Fails only when the runtime is stopping.
                let _ = blocking(move || segments.iter().for_each(|segment| check(&broker, segment))).await;
                continue;
            }
            () = is_due => {}
            _ = stop.changed() => return,
        }
        let Some(key) = key else { continue };
        let look = tokio::select! {
            look = repairer.look_at(key) => look,
            _ = stop.changed() => return,
        };
        match look {
            Look::Sound => drop(waiting.remove(&key)),
            Look::Later => {
                if let Some(later) = waiting.get_mut(&key) {
                    later.due = Instant::now() + LOOK_AGAIN;
                }
            }
            Look::Failed => {
                if let Some(failed) = waiting.get_mut(&key) {
                    failed.due = Instant::now() + failed.pause;
                    failed.pause = (failed.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// What came of looking at a log.
enum Look {
    Sound,
    Later,
    Failed,
}

impl Repairer {
    async fn look_at(&self, key: PartitionKey) -> Look {
        // A replica that is gone takes its damage along.
        let Some(replica) = self.broker.cluster.replica(key) else { return Look::Sound };
        let mut effects = Effects::new();
        let state = replica.lock().repair_state(clock::now_ms(), &mut effects);
        carry_out(&mut effects);
        let task = match state {
            RepairState::Sound => return Look::Sound,
            RepairState::NotNow => return Look::Later,
            RepairState::Due(task) => task,
        };
        let name = self.broker.cluster.name(key);
        let leader = task.leader.broker_id;
        match self.repair(key, &replica, &task).await {
            Ok(bytes) => {
                tracing::info!(
                    "{name}: {} and is mended: {bytes} bytes of {} segments were fetched anew from broker {leader}",
                    task.batch,
                    task.segments.len()
                );
                self.broker.metrics.corrupt_batch_mended();
                self.broker.errands.reports.push(key);
                // There may be others.
                Look::Later
            }
            Err(Failure::NotReady | Failure::Stopping) => Look::Later,
            // That a log failed is an effect, which has it told.
            Err(Failure::Poisoned(_)) => Look::Later,
            Err(error) => {
                tracing::warn!(
                    "{name}: {} and cannot be mended from broker {leader}: {error}; trying again in a while",
                    task.batch
                );
                Look::Failed
            }
        }
    }

    /// Writes the segments of `task` anew. How many bytes were fetched.
    async fn repair(
        &self,
        key: PartitionKey,
        replica: &Arc<Replica>,
        task: &RepairTask,
    ) -> Result<u64, Failure> {
        let topic = self.broker.cluster.topic_by_id(key.0).ok_or(Failure::NotReady)?;
        let partition = TopicPartition::new(&*topic.name, key.1);
        let mut connection = connect(&self.broker, self.me, self.token, task.leader.broker_id).await?;
        let mut fetched = 0;
        for &base_offset in &task.segments {
            let (replicas, locked, partition) =
                (Arc::clone(&self.replicas), Arc::clone(replica), partition.clone());
            let begun = blocking(move || begin(&replicas, &locked, &partition, base_offset)).await??;
            let (whole, bytes) = self.fill(&mut connection, key, task.leader_epoch, begun).await?;
            fetched += bytes;
            let locked = Arc::clone(replica);
            blocking(move || finish(&locked, whole, base_offset)).await??;
            self.broker.errands.sweeps.push(key);
        }
        Ok(fetched)
    }

    /// Fetches all that `repair` needs. How many bytes that were.
    async fn fill(
        &self,
        connection: &mut PeerConnection,
        key: PartitionKey,
        leader_epoch: i32,
        mut repair: Repair<FileStorage>,
    ) -> Result<(Repair<FileStorage>, u64), Failure> {
        let mut bytes = 0;
        while let Some(offset) = repair.next_offset() {
            let fetched = self.fetch(connection, key, leader_epoch, offset).await;
            let (taken, appended) = blocking(move || {
                let appended = fetched.and_then(|records| {
                    repair.append(&records)?;
                    Ok(records.len() as u64)
                });
                (repair, appended)
            })
            .await?;
            repair = taken;
            match appended {
                Ok(appended) if repair.next_offset() != Some(offset) => bytes += appended,
                failed => {
                    blocking(move || repair.discard()).await?;
                    return Err(failed.err().unwrap_or(Failure::Nothing(offset)));
                }
            }
        }
        Ok((repair, bytes))
    }

    async fn fetch(
        &self,
        connection: &mut PeerConnection,
        (topic_id, partition): PartitionKey,
        current_leader_epoch: i32,
        fetch_offset: i64,
    ) -> Result<Vec<u8>, Failure> {
        let partition_max_bytes = self.broker.config.replica_fetch_max_bytes;
        let asked = FetchPartition {
            partition,
            current_leader_epoch,
            fetch_offset,
            partition_max_bytes,
            ..FetchPartition::default()
        };
        let topic = FetchTopic { topic_id, partitions: vec![asked], ..FetchTopic::default() };
        let request =
            FetchRequest { max_bytes: partition_max_bytes, topics: vec![topic], ..FetchRequest::default() };
        let patience = socket_timeout(&self.broker);
        let asking = async {
            connection.send(&request, VERSION).await?;
            let response: FetchResponse<'_> = connection.receive().await?.read(VERSION)?;
            let answered = response.responses.into_iter().flat_map(|topic| topic.partitions).next();
            let code = answered.as_ref().map_or(response.error_code, |partition| partition.error_code);
            match answered.map(|partition| partition.records) {
                _ if code != ErrorCode::NONE => Err(Failure::Refused(code)),
                Some(RecordSet::Bytes(bytes)) => Ok(bytes.into_owned()),
                _ => Err(Failure::Nothing(fetch_offset)),
            }
        };
        tokio::time::timeout(patience, asking).await.map_err(|_elapsed| PeerError::TimedOut(patience))?
    }
}

/// Finds the batch of a segment that cannot be read, which has the controller told of it.
fn check(broker: &Broker, segment: &Path) {
    let name = segment.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let PartitionFile::Live(SegmentFile::Log, base_offset) = PartitionFile::parse(name) else { return };
    let replicas = broker.cluster.replicas().into_iter().map(|(_, replica)| replica);
    let Some(replica) = replicas.into_iter().find(|r| Some(r.lock().log().dir()) == segment.parent()) else {
        return;
    };
    let checked = replica.lock().log().begin_check(base_offset);
    let offset = match checked {
        Ok(check) => check.and_then(SegmentCheck::run),
        // Of another file than could not be read.
        Err(error) => return tracing::warn!("{error}"),
    };
    if let Some(offset) = offset {
        let mut effects = Effects::new();
        replica.lock().found_corrupt(offset, &mut effects);
        carry_out(&mut effects);
    }
}

/// Syncs what is to be mended, and begins.
fn begin(
    replicas: &Replicas,
    replica: &Replica,
    partition: &TopicPartition,
    base_offset: i64,
) -> Result<Repair<FileStorage>, Failure> {
    flush(replica);
    let (begun, path, compact) = {
        let mut replica = replica.lock();
        let begun = replica.begin_repair(base_offset, clock::now_ms())?;
        (begun, replica.log().dir().to_owned(), replica.log().config().compact)
    };
    let repair = begun.ok_or(Failure::NotReady)?;
    if compact {
        // Before anything of the leader's is in place: it may not have compacted as far.
        replicas.write_cleaned(partition, &path, 0)?;
    }
    Ok(repair)
}

/// Puts a segment that is whole in its place.
fn finish(replica: &Replica, repair: Repair<FileStorage>, base_offset: i64) -> Result<(), Failure> {
    let offsets = base_offset..repair.end_offset();
    let replacement = repair.finish()?;
    let mut effects = Effects::new();
    let replaced = replica.lock().finish_repair(replacement, offsets, &mut effects);
    carry_out(&mut effects);
    if let Replaced::Unwanted(unwanted) = replaced? {
        unwanted.discard();
        return Err(Failure::NotReady);
    }
    // The new names too.
    flush(replica);
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_stopping| Failure::Stopping)
}
