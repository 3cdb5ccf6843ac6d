//! The replicas on this broker's disk: opening, making, deleting and checkpointing their logs.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use taffrail_control::session::{HeldPartition, LogClaim, Member, PartitionRecord};
use taffrail_control::topic_config::{TimestampType, TopicConfig};
use taffrail_log::{
    CheckpointError, FileStorage, Log, LogConfig, LogDir, Poisoned, RecoveryReport, TopicPartition,
    is_of_whole_disk, is_out_of_space, is_passing,
};
use taffrail_protocol::{Uuid, record_batch};
use taffrail_replication::disk::DiskError;
use taffrail_replication::disk::claim::{self, DirFate};
use taffrail_replication::disk::logs::{
    Checkpointed, Condition, LogStart, LogsError, LogsStartError, OpenedLog, Positions, RecoveredLogs,
    ReplicaLogs, Stray, recovery_config, short_logs,
};
use taffrail_replication::disk::moving::{Move, MoveError, Placed};
use taffrail_replication::disk::opening::Opening;
use taffrail_replication::partition::{Effects, Partition};

use crate::boot::{self, BootError};
use crate::broker::Broker;
use crate::clock;
use crate::cluster::{self, Replica};
use crate::config::BrokerConfig;
use crate::log_dirs::{LogDirs, ServedLogDir};
use crate::random;
use crate::replication::Errands;
use crate::waiter::{PartitionWaiter, carry_out};

/// The directories of this broker's logs.
pub struct Replicas {
    logs: ReplicaLogs<FileStorage>,
    dirs: Arc<LogDirs>,
    me: Member,
    errands: Arc<Errands>,
    /// `replica.lag.time.max.ms`.
    lag_time_max_ms: i64,
}

/// A data directory whose logs were recovered before the broker registers.
pub struct RecoveredDir {
    /// The directory, locked.
    pub dir: LogDir<FileStorage>,
    /// The logs in it, unless it is known to have lost writes anyway.
    pub logs: RecoveredLogs<FileStorage>,
    /// What became of it.
    pub fate: DirFate,
}

impl RecoveredDir {
    /// Finds out what became of a locked data directory (rules 16, 28). Blocks on the disk; `threads` of them recover.
    ///
    /// # Errors
    /// When its note cannot be read.
    pub fn new(
        storage: &FileStorage,
        dir: LogDir<FileStorage>,
        config: &BrokerConfig,
        threads: NonZeroUsize,
    ) -> Result<Self, BootError> {
        let fate = DirFate::of(storage, &dir, boot::of(dir.path())?, Vec::new())?;
        let believed = fate.claim() != LogClaim::Unclean;
        let logs = if believed { recover(&dir, config, threads) } else { RecoveredLogs::new() };
        let fate = DirFate { short: short_logs(&dir, &logs), ..fate };
        for reason in claim::reasons(&[(dir.path().to_owned(), Some(fate.clone()))]) {
            tracing::warn!("{reason}; the replicas here count as having lost records");
        }
        Ok(Self { dir, logs, fate })
    }
}

/// Opens all logs of a directory. One that cannot be opened is left for when it is asked for.
fn recover(
    dir: &LogDir<FileStorage>,
    config: &BrokerConfig,
    threads: NonZeroUsize,
) -> RecoveredLogs<FileStorage> {
    let config = recovery_config(log_config(&config.topic(&BTreeMap::new()), config));
    let recovered = Mutex::new(RecoveredLogs::new());
    let queue = Mutex::new(dir.partitions().iter());
    let open_next = || {
        loop {
            let Some(partition) = queue.lock().next() else { return };
            if let Ok(opened) = dir.open_log(partition, config.clone(), clock::now_ms()) {
                recovered.lock().insert(partition.clone(), opened);
            }
        }
    };
    std::thread::scope(|scope| (0..threads.get()).for_each(|_| drop(scope.spawn(open_next))));
    recovered.into_inner()
}

/// Why a replica is not there.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Its log cannot be opened, made or moved.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// The record counts on a log that is not on the disk (rule 30).
    #[error("the controller counts on its log, and there is none on this disk")]
    Missing,
    /// This broker has acted on a newer record (rule 31).
    #[error("the controller's record is older than one that was acted on")]
    Outdated,
}

impl Replicas {
    /// Takes over data directories, with the logs that were recovered in them, for the broker that was registered as `me`
    /// with `claim`, and removes what deleted topics left in them. What the replicas need done is noted down with `broker`,
    /// which knows of directories that cannot be served as well.
    ///
    /// # Errors
    /// When a partition is in two of them, or the notes in none of them can be read and written.
    pub fn new(
        storage: FileStorage,
        dirs: Vec<(LogDir<FileStorage>, RecoveredLogs<FileStorage>)>,
        me: Member,
        claim: LogClaim,
        broker: &Broker,
    ) -> Result<Self, LogsStartError> {
        for leftover in dirs.iter().flat_map(|(dir, _)| dir.leftovers()) {
            remove(&storage, leftover);
        }
        for future in dirs.iter().flat_map(|(dir, _)| dir.futures()) {
            tracing::info!(
                "{} is what a move between directories had copied when this broker ended; it is deleted, and the replica stays \
                 where it is until the move is asked for again",
                future.display()
            );
            remove(&storage, future);
        }
        let served = |path: &Path| dirs.iter().any(|(dir, _)| dir.path() == path);
        let absent =
            broker.log_dirs.iter().map(|dir| dir.path.clone()).filter(|path| !served(path)).collect();
        let (logs, failed) = ReplicaLogs::new(storage, dirs, absent, me, claim, clock::now_ms())?;
        for (path, error) in failed {
            if let Some(dir) = broker.log_dirs.at(&path) {
                broker.log_dirs.fail(dir, &error.to_string());
            }
        }
        Ok(Self {
            logs,
            dirs: Arc::clone(&broker.log_dirs),
            me,
            errands: Arc::clone(&broker.errands),
            lag_time_max_ms: broker.config.replica_lag_time_max_ms,
        })
    }

    /// Opens the replica's log, or makes an empty one where nobody counts on one. A log of another topic of the same
    /// name is moved aside, one that was moved aside before is taken back. Blocks on the disk.
    ///
    /// # Errors
    /// [`ReplicaError`] says why there is no replica.
    pub fn open_or_create(
        &self,
        name: &str,
        record: &PartitionRecord,
        config: LogConfig,
    ) -> Result<Replica, ReplicaError> {
        let partition = TopicPartition::new(name, record.partition);
        let preferred = self.dirs.preferred(&partition);
        let opened =
            self.logs.open(name, record, config, preferred.as_deref(), random::uuid(), clock::now_ms());
        let opened = opened.inspect_err(|error| {
            self.note_disk_error(error.path(), error.io(), error);
        })?;
        if let Some(to) = &opened.set_aside {
            tracing::warn!(
                "{partition} held a log of another topic of that name, or one that does not tell whose it is; it is \
                 now {}",
                to.display()
            );
        }
        let Some(OpenedLog { log, high_watermark, led_in, report }) = opened.log else {
            return Err(match opened.verdict {
                Opening::Ignore => ReplicaError::Outdated,
                _ => ReplicaError::Missing,
            });
        };
        if let Some(report) = report {
            tell_findings(&partition, &report);
        }
        if opened.verdict.takes_back() {
            tracing::info!("{partition} is assigned to this broker again; its old log is taken back");
        }
        self.dirs.forget_preferred(&partition);
        let key = (record.topic_id, record.partition);
        let reporter = PartitionWaiter::Shell { errands: Arc::clone(&self.errands), key };
        let mut replica = Partition::new(log, record.clone(), high_watermark, self.me, reporter);
        replica.set_lag_time_max_ms(self.lag_time_max_ms);
        if let Some(leader_epoch) = led_in {
            replica.has_led_in(leader_epoch);
        }
        let condition = self.dirs.of(replica.log().dir()).map(|dir| dir.status().condition);
        // Nobody has been told anything of it yet.
        let held = condition.and_then(|condition| condition.reason().cloned());
        replica.hold_writes(held, &mut Effects::new());
        Ok(Mutex::new(replica))
    }

    /// Notes the epochs of records that are about to be acted on (rule 31).
    ///
    /// # Errors
    /// When they cannot be written anywhere; none of the records may be acted on then.
    pub fn note_epochs<'a>(
        &self,
        records: impl IntoIterator<Item = &'a PartitionRecord>,
    ) -> Result<(), DiskError> {
        let noted = self.logs.note_epochs(records);
        for error in noted.as_ref().map_or_else(std::slice::from_ref, Vec::as_slice) {
            self.note_disk_error(error.path(), Some(error.source()), error);
        }
        noted.map(drop)
    }

    /// Something failed at `path`. One of its log directory's own files that cannot be written, or an error of the whole disk,
    /// takes the directory out of service; a disk that is full does not.
    pub fn note_disk_error(&self, path: &Path, io: Option<&std::io::Error>, error: &dyn std::fmt::Display) {
        let Some(io) = io else { return };
        let own_file = self.dirs.iter().find(|dir| path.parent() == Some(&dir.path) && !path.is_dir());
        let dir = own_file.or_else(|| self.dirs.iter().find(|dir| path.starts_with(&dir.path)));
        let Some(dir) = dir else { return };
        if is_out_of_space(io) {
            self.dirs.refused(dir);
            return;
        }
        if own_file.is_some() && !is_passing(io) || is_of_whole_disk(io) {
            self.fail(&dir.path, &error.to_string());
        }
    }

    /// Takes a directory out of service until the next start.
    pub fn fail(&self, dir: &Path, reason: &str) {
        if let Some(served) = self.dirs.at(dir) {
            self.dirs.fail(served, reason);
            self.strike_out_note(dir);
        }
    }

    /// Begins to move a replica's log to another of the directories. Blocks on the disk.
    ///
    /// # Errors
    /// [`MoveError`] says why it cannot be.
    pub fn begin_move(
        &self,
        partition: &TopicPartition,
        replica: &Replica,
        target: &Path,
    ) -> Result<Move<FileStorage>, MoveError> {
        self.logs.begin_move(partition, replica, target, random::uuid(), clock::now_ms())
    }

    /// Lets the future log of a move take the place of the current one; see [`ReplicaLogs::take_place`]. Blocks on the disk.
    ///
    /// # Errors
    /// [`MoveError`] says why the replica stays where it is.
    pub fn take_place(
        &self,
        moving: &mut Move<FileStorage>,
        replica: &Replica,
        is_current: impl FnOnce() -> bool,
        held: Option<Arc<str>>,
        effects: &mut Effects<PartitionWaiter>,
    ) -> Result<Placed, MoveError> {
        self.logs.take_place(moving, replica, is_current, held, clock::now_ms(), effects)
    }

    /// Removes a directory whose name says that it is to be deleted. Blocks on the disk.
    pub fn remove(&self, dir: &Path) {
        remove(self.logs.storage(), dir);
    }

    /// What the directories are in.
    pub fn storage(&self) -> &FileStorage {
        self.logs.storage()
    }

    /// From now on this is how a directory is.
    pub fn set_condition(&self, dir: &ServedLogDir, condition: Condition) {
        let failed = matches!(condition, Condition::Failed(_));
        if self.logs.set_condition(&dir.path, condition) && failed {
            self.strike_out_note(&dir.path);
        }
    }

    /// Forgets what was noted of a deleted topic.
    pub fn forget(&self, topic_id: Uuid) {
        self.logs.forget(topic_id);
    }

    /// Which epochs this broker has acted under, for the controller (rule 25).
    pub fn held(&self) -> Vec<HeldPartition> {
        self.logs.held()
    }

    /// To be called when a write or sync in a directory failed: the next start does not believe that it has everything
    /// (rule 28).
    fn strike_out_note(&self, dir: &Path) {
        match self.logs.strike_out_note(dir) {
            Ok(true) => tracing::error!(
                "a write to {} failed; at the next start its replicas count as having lost records",
                dir.display()
            ),
            Ok(false) => {}
            Err(error) => tracing::error!("{error}"),
        }
    }

    /// Makes the directories of new logs durable.
    pub fn sync_names(&self) {
        for dir in self.logs.dirs() {
            if let Err(error) = dir.sync() {
                tracing::error!("{error}; a new partition may be gone after a power cut");
            }
        }
    }

    /// Moves aside every log that was here at the start and that `is_assigned` denies. Whether there was one.
    pub fn move_strays_aside(&self, is_assigned: impl Fn(&TopicPartition) -> bool) -> bool {
        let left = self.logs.left_from_start().unwrap_or_else(|error| {
            tracing::error!("{error}; logs that are not assigned to this broker stay until the next start");
            Vec::new()
        });
        left.iter().filter(|partition| !is_assigned(partition)).fold(false, |_, partition| {
            self.set_aside(partition);
            true
        })
    }

    /// Moves the log of a partition aside that is not assigned to this broker (rule 18). Nobody may write to it any more.
    pub fn set_aside(&self, partition: &TopicPartition) {
        match self.logs.set_aside(partition, random::uuid(), clock::now_ms()) {
            Ok(to) => {
                tracing::warn!("{partition} is not assigned to this broker; its log is now {}", to.display());
            }
            Err(error) => {
                tracing::error!("{partition} is not assigned to this broker and its log stays: {error}");
            }
        }
    }

    /// Deletes the logs that were moved aside `retention_ms` ago or longer and that `may_go` (rule 18). Blocks on the disk.
    pub fn delete_strays(&self, retention_ms: i64, may_go: impl Fn(&Stray) -> bool) {
        let now_ms = clock::now_ms();
        for (stray, given_up) in self.logs.give_up_strays(now_ms, retention_ms, may_go) {
            let path = stray.path.display();
            match given_up {
                Ok(to) => {
                    let hours = (now_ms - stray.since_ms) / 3_600_000;
                    tracing::info!(
                        "{path} is deleted: this broker has not been a replica of it for {hours} hours, and \
                         log.stray.retention.ms is {retention_ms}"
                    );
                    remove(self.logs.storage(), &to);
                }
                Err(error) => tracing::error!("{path} is due to be deleted and stays: {error}; trying again"),
            }
        }
    }

    /// Takes a deleted partition's log out of the way at once and removes it after `delay`, or as soon as its disk is full.
    /// Has to be called within the runtime.
    pub fn delete(&self, replica: &Replica, delay: Duration) {
        let (before, renamed) = {
            let mut replica = replica.lock();
            let before = replica.log().dir().to_owned();
            (before, replica.log_mut().rename_for_deletion(random::uuid()))
        };
        let to = match renamed {
            Ok(to) => {
                self.logs.deleted(&before);
                to
            }
            Err(error) => {
                tracing::error!("the log of a deleted partition cannot be renamed: {error}");
                return;
            }
        };
        let storage = self.logs.storage().clone();
        let filled = self.dirs.of(&to).map(ServedLogDir::filled);
        tokio::spawn(async move {
            let filled = async {
                match filled {
                    Some(filled) => filled.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                // The room is needed.
                () = filled => {}
            }
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
        let mut failed = BTreeSet::new();
        let written = self.logs.checkpoint(|| {
            let positions = |(partition, replica): (TopicPartition, Arc<Replica>)| {
                let replica = replica.lock();
                let path = replica.log().dir().to_owned();
                if replica.log().poisoned().is_some_and(|poisoned| !poisoned.lost_nothing()) {
                    failed.extend(path.parent().map(Path::to_owned));
                }
                let positions = Positions {
                    recovery_point: replica.log().recovery_point(),
                    log_start_offset: replica.log().log_start_offset(),
                    high_watermark: replica.high_watermark(),
                };
                Checkpointed { partition, path, positions }
            };
            replicas().into_iter().map(positions).collect()
        });
        failed.iter().for_each(|dir| self.strike_out_note(dir));
        if let Err(error) = &written {
            self.note_disk_error(error.path(), error.io(), error);
        }
        written
    }

    /// Writes down where some logs start. `starts` is asked once nobody else writes.
    ///
    /// # Errors
    /// When the checkpoint file cannot be written.
    pub fn write_starts(&self, starts: impl FnOnce() -> Vec<LogStart>) -> Result<(), CheckpointError> {
        let written = self.logs.write_starts(starts);
        written.inspect_err(|error| self.note_disk_error(error.path(), error.io(), error))
    }

    /// Writes down up to where the log at `path` is compacted. Blocks on the disk.
    ///
    /// # Errors
    /// When the checkpoint file cannot be written.
    pub fn write_cleaned(
        &self,
        partition: &TopicPartition,
        path: &Path,
        offset: i64,
    ) -> Result<(), CheckpointError> {
        let written = self.logs.write_cleaned(partition, path, offset);
        written.inspect_err(|error| self.note_disk_error(error.path(), error.io(), error))
    }

    /// Syncs and closes all logs, writes the checkpoints, and the marker that says that all of it succeeded.
    pub fn close(&self, replicas: &[(TopicPartition, Arc<Replica>)], incarnation: u64) {
        let closed: Vec<_> = self.logs.dirs().filter(|dir| self.close_logs(dir, replicas)).collect();
        if let Err(error) = self.checkpoint(|| replicas.to_vec()) {
            tracing::error!("{error}; the next start will check all logs");
            return;
        }
        let epoch = i64::try_from(incarnation).unwrap_or(-1);
        for dir in closed {
            if let Err(error) = dir.mark_clean(epoch) {
                tracing::error!("{error}; the next start will check all logs");
            }
        }
    }

    /// Closes all logs of a directory with one sync between them. False when one of them is not closed in good order, or the
    /// directory is out of service.
    fn close_logs(&self, dir: &LogDir<FileStorage>, replicas: &[(TopicPartition, Arc<Replica>)]) -> bool {
        let status = self.dirs.at(dir.path()).map(|dir| dir.status().condition);
        if matches!(status, Some(Condition::Failed(_))) {
            return false;
        }
        let is_here = |replica: &Replica| replica.lock().log().dir().parent() == Some(dir.path());
        let replicas: Vec<_> = replicas.iter().filter(|(_, replica)| is_here(replica)).collect();
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
        if let Err(error) = dir.sync_all() {
            tracing::error!("{error}; the next start will check all logs");
            self.strike_out_note(dir.path());
            return false;
        }
        let now_ms = clock::now_ms();
        begun && on_each(&|log| log.finish_close(now_ms))
    }
}

fn tell_findings(partition: &TopicPartition, report: &RecoveryReport) {
    for (finding, file) in &report.findings {
        tracing::warn!("{partition}: {file}: {finding}");
    }
    if let Some(reason) = &report.truncation_reason {
        tracing::warn!("{partition}: {} bytes were cut off at the end: {reason}", report.truncated_bytes);
    }
}

fn remove(storage: &FileStorage, dir: &Path) {
    if let Err(error) = taffrail_log::remove_dir(storage, dir) {
        tracing::error!("{} cannot be removed: {error}; the next start tries again", dir.display());
    }
}

/// Gives the logs of a topic's partitions other settings; those that are to keep other records are looked at soon.
pub fn set_log_configs(
    broker: &Broker,
    topic_id: Uuid,
    partitions: &[cluster::TopicPartition],
    config: impl Fn() -> LogConfig,
) {
    let retention = |config: &LogConfig| (config.delete, config.retention_ms, config.retention_bytes);
    let mut effects = Effects::new();
    for partition in partitions {
        let Some(replica) = &partition.replica else { continue };
        let mut replica = replica.lock();
        let before = retention(replica.log().config());
        replica.update_config(clock::now_ms(), config(), &mut effects);
        if retention(replica.log().config()) != before {
            broker.errands.retention.push((topic_id, partition.record.partition));
        }
    }
    carry_out(&mut effects);
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
        delete: topic.cleanup_policy.delete,
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        compact: topic.cleanup_policy.compact,
        min_cleanable_dirty_ratio: topic.min_cleanable_dirty_ratio,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        delete_retention_ms: topic.delete_retention_ms,
        producer_id_expiration_ms: i64::from(broker.producer_id_expiration_ms),
        ..LogConfig::default()
    }
}
