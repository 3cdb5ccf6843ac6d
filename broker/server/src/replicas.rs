//! The replicas on this broker's disk: opening, making, deleting and checkpointing their logs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use taffrail_control::session::PartitionRecord;
use taffrail_control::topic_config::{TimestampType, TopicConfig};
use taffrail_log::{
    CheckpointError, FileStorage, Log, LogConfig, LogDir, LogDirError, OpenError, Poisoned, TopicPartition,
};
use taffrail_protocol::record_batch;

use crate::clock;
use crate::cluster::Replica;
use crate::config::BrokerConfig;
use crate::random;
use taffrail_replication::partition::Partition;

/// The directory of this broker's logs.
pub struct Replicas {
    storage: FileStorage,
    dir: LogDir<FileStorage>,
    /// One writer of the checkpoint files at a time.
    checkpointing: Mutex<()>,
}

/// Why a replica is not there.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Its log cannot be opened or made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The topic's id cannot be written beside it.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// A log of another topic is in its way.
    #[error(transparent)]
    MoveAside(#[from] LogDirError),
}

impl Replicas {
    /// Takes over a locked data directory, and removes what deleted topics left in it.
    pub fn new(storage: FileStorage, dir: LogDir<FileStorage>) -> Self {
        for leftover in dir.leftovers() {
            remove(&storage, leftover);
        }
        Self { storage, dir, checkpointing: Mutex::new(()) }
    }

    /// Opens the replica's log, or makes an empty one where there is none. A log of another topic of the same name is
    /// moved aside (rule 18). Blocks on the disk.
    ///
    /// # Errors
    /// [`ReplicaError`] names the file and what failed.
    pub fn open_or_create(
        &self,
        name: &str,
        record: &PartitionRecord,
        config: LogConfig,
    ) -> Result<Replica, ReplicaError> {
        let partition = TopicPartition::new(name, record.partition);
        let now_ms = clock::now_ms();
        if self.dir.partitions().binary_search(&partition).is_ok() && self.dir.log_path(&partition).is_dir() {
            let (mut log, report) = self.dir.open_log(&partition, config.clone(), now_ms)?;
            for (finding, file) in &report.findings {
                tracing::warn!("{partition}: {file}: {finding}");
            }
            if let Some(reason) = &report.truncation_reason {
                tracing::warn!(
                    "{partition}: {} bytes were cut off at the end: {reason}",
                    report.truncated_bytes
                );
            }
            if log.topic_id().is_none() {
                // A partition from before KIP-516: it becomes this topic's.
                log.set_topic_id(record.topic_id)?;
            }
            if log.topic_id() == Some(record.topic_id) {
                let high_watermark = self.dir.high_watermark(&partition);
                return Ok(Mutex::new(Partition::new(log, record.clone(), high_watermark)));
            }
            drop(log);
            let to = self.dir.set_aside(&partition, random::uuid())?;
            tracing::warn!(
                "{partition} held a log of another topic of that name; it is now {}",
                to.display()
            );
        }
        if record.leader_epoch > 0 {
            tracing::warn!("{partition} had a leader before and has no log here; it begins empty");
        }
        let log = self.dir.create_log(&partition, record.topic_id, config, now_ms)?;
        Ok(Mutex::new(Partition::new(log, record.clone(), 0)))
    }

    /// Makes the directories of new logs durable.
    pub fn sync_names(&self) {
        if let Err(error) = self.dir.sync() {
            tracing::error!("{error}; a new partition may be gone after a power cut");
        }
    }

    /// Moves aside every log that was here at the start and that `is_assigned` denies.
    pub fn move_strays_aside(&self, is_assigned: impl Fn(&TopicPartition) -> bool) {
        for partition in self.dir.partitions().iter().filter(|partition| !is_assigned(partition)) {
            match self.dir.set_aside(partition, random::uuid()) {
                Ok(to) => {
                    tracing::warn!("{partition} is not assigned to this broker; it is now {}", to.display())
                }
                Err(error) => {
                    tracing::error!("{partition} is not assigned to this broker and stays: {error}")
                }
            }
        }
    }

    /// Takes a deleted partition's log out of the way at once and removes it after `delay`. Has to be called within the
    /// runtime.
    pub fn delete(&self, replica: &Replica, delay: Duration) {
        let renamed = replica.lock().log_mut().rename_for_deletion(random::uuid());
        let to = match renamed {
            Ok(to) => to,
            Err(error) => {
                tracing::error!("the log of a deleted partition cannot be renamed: {error}");
                return;
            }
        };
        let storage = self.storage.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // Fails only when the runtime is shutting down; the next start removes it.
            let _ = tokio::task::spawn_blocking(move || remove(&storage, &to)).await;
        });
    }

    /// Writes down how far each log is durable, where it starts and how much of it is committed. `replicas` is asked once
    /// nobody else writes, so that a log that was deleted meanwhile is not written down again.
    ///
    /// # Errors
    /// When a checkpoint file cannot be written.
    pub fn checkpoint(
        &self,
        replicas: impl FnOnce() -> Vec<(TopicPartition, Arc<Replica>)>,
    ) -> Result<(), CheckpointError> {
        let _one_at_a_time = self.checkpointing.lock();
        let mut recovery_points = BTreeMap::new();
        let mut log_start_offsets = BTreeMap::new();
        let mut high_watermarks = BTreeMap::new();
        for (partition, replica) in replicas() {
            let replica = replica.lock();
            recovery_points.insert(partition.clone(), replica.log().recovery_point());
            high_watermarks.insert(partition.clone(), replica.high_watermark());
            if replica.log().log_start_offset() > 0 {
                log_start_offsets.insert(partition, replica.log().log_start_offset());
            }
        }
        self.dir.write_recovery_points(&recovery_points)?;
        self.dir.write_log_starts(&log_start_offsets)?;
        self.dir.write_high_watermarks(&high_watermarks)
    }

    /// Syncs and closes all logs, writes the checkpoints, and the marker that says that all of it succeeded.
    pub fn close(&self, replicas: &[(TopicPartition, Arc<Replica>)], incarnation: u64) {
        let mut all_closed = self.close_logs(replicas);
        if let Err(error) = self.checkpoint(|| replicas.to_vec()) {
            tracing::error!("{error}; the next start will check all logs");
            all_closed = false;
        }
        let epoch = i64::try_from(incarnation).unwrap_or(-1);
        if all_closed && let Err(error) = self.dir.mark_clean(epoch) {
            tracing::error!("{error}; the next start will check all logs");
        }
    }

    /// Closes all logs with one sync between them. False when one of them is not closed in good order.
    fn close_logs(&self, replicas: &[(TopicPartition, Arc<Replica>)]) -> bool {
        let on_each = |step: &dyn Fn(&mut Log<FileStorage>) -> Result<(), Poisoned>| {
            let failures = replicas.iter().filter(|(partition, replica)| {
                let stepped = step(replica.lock().log_mut());
                if let Err(poisoned) = &stepped {
                    tracing::error!(
                        "{partition} is not closed in good order: {poisoned}; the next start checks it"
                    );
                }
                stepped.is_err()
            });
            failures.count() == 0
        };
        let begun = on_each(&|log| log.begin_close());
        if let Err(error) = self.dir.sync_all() {
            tracing::error!("{error}; the next start will check all logs");
            return false;
        }
        let now_ms = clock::now_ms();
        begun && on_each(&|log| log.finish_close(now_ms))
    }
}

fn remove(storage: &FileStorage, dir: &Path) {
    if let Err(error) = taffrail_log::remove_dir(storage, dir) {
        tracing::error!("{} cannot be removed: {error}; the next start tries again", dir.display());
    }
}

/// A log's settings from its topic's and the broker's.
pub fn log_config(topic: &TopicConfig, broker: &BrokerConfig) -> LogConfig {
    let unsigned = |value: i32| u32::try_from(value).unwrap_or(0);
    LogConfig {
        segment_bytes: unsigned(topic.segment_bytes),
        segment_ms: topic.segment_ms,
        segment_jitter_ms: random::below(topic.segment_jitter_ms),
        max_message_bytes: unsigned(topic.max_message_bytes),
        index_interval_bytes: unsigned(topic.index_interval_bytes),
        segment_index_bytes: unsigned(topic.segment_index_bytes),
        flush_messages: topic.flush_messages,
        flush_ms: topic.flush_ms,
        timestamp_type: match topic.message_timestamp_type {
            TimestampType::CreateTime => record_batch::TimestampType::CreateTime,
            TimestampType::LogAppendTime => record_batch::TimestampType::LogAppendTime,
        },
        compact: topic.cleanup_policy.compact,
        producer_id_expiration_ms: i64::from(broker.producer_id_expiration_ms),
        ..LogConfig::default()
    }
}
