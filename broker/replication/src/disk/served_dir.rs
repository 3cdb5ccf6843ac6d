//! One of the log directories that a broker serves, with what it knows of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use taffrail_control::session::{LogClaim, Member, PartitionRecord};
use taffrail_log::{
    CheckpointError, Log, LogConfig, LogDir, LogDirError, OpenMode, Storage, TopicPartition, names,
};
use taffrail_protocol::Uuid;

use super::DiskError;
use super::epochs::EpochNotes;
use super::logs::{Checkpointed, Condition, LogsError, LogsStartError, OpenedLog, RecoveredLogs};
use super::note;

/// A directory that was moved aside (rule 18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Where it is.
    pub path: PathBuf,
    /// Whose log it was; `None` where a long name had to be cut.
    pub partition: Option<TopicPartition>,
    /// Which topic's; `None` where the directory does not tell.
    pub topic_id: Option<Uuid>,
    /// When it was moved aside.
    pub since_ms: i64,
}

impl Stray {
    fn is_of(&self, record: &PartitionRecord) -> bool {
        let number = self.partition.as_ref().map(|partition| partition.partition);
        self.topic_id == Some(record.topic_id) && number == Some(record.partition)
    }
}

/// A log directory in service.
pub(super) struct ServedDir<S: Storage> {
    storage: S,
    pub(super) dir: LogDir<S>,
    pub(super) state: Mutex<DirState<S>>,
    /// One writer of the checkpoint files at a time.
    pub(super) checkpointing: Mutex<()>,
    /// The logs that partitions have here.
    count: AtomicUsize,
}

pub(super) struct DirState<S: Storage> {
    /// Opened at the start and not yet asked for.
    recovered: RecoveredLogs<S>,
    /// Directories that were moved aside.
    strays: Vec<Stray>,
    pub(super) epochs: EpochNotes<S>,
    note_struck_out: bool,
    condition: Condition,
}

impl<S: Storage> DirState<S> {
    /// The directory that was moved aside and holds the record's partition; of several the one that was written to last.
    pub(super) fn stray_of(&self, record: &PartitionRecord) -> Option<&Stray> {
        self.strays.iter().filter(|stray| stray.is_of(record)).max_by_key(|stray| stray.since_ms)
    }
}

impl<S: Storage> ServedDir<S> {
    pub(super) fn new(
        storage: S,
        dir: LogDir<S>,
        me: Member,
        claim: LogClaim,
        recovered: RecoveredLogs<S>,
        now_ms: i64,
    ) -> Result<Self, LogsStartError> {
        dir.forget_closed()?;
        let epochs = EpochNotes::open(storage.clone(), dir.path(), me, claim)?;
        let stray = |path: &PathBuf| {
            let partition = path.file_name().and_then(|name| names::partition_of_marked(name.to_str()?));
            let (topic_id, since_ms) = (dir.topic_id_in(path)?, dir.set_aside_since(path, now_ms)?);
            Ok(Stray { path: path.clone(), partition, topic_id, since_ms })
        };
        let strays = dir.strays().iter().map(stray).collect::<Result<_, LogDirError>>()?;
        let count = AtomicUsize::new(dir.partitions().len());
        let condition = Condition::Online;
        let state = DirState { recovered, strays, epochs, note_struck_out: false, condition };
        Ok(Self { storage, dir, state: Mutex::new(state), checkpointing: Mutex::default(), count })
    }

    pub(super) fn set_condition(&self, condition: Condition) -> bool {
        let held = &mut self.state.lock().condition;
        let changes = *held != condition && !matches!(held, Condition::Failed(_));
        if changes {
            *held = condition;
        }
        changes
    }

    pub(super) fn check_in_service(&self) -> Result<(), LogsError> {
        match &self.state.lock().condition {
            Condition::Failed(reason) => Err(LogsError::OutOfService(reason.clone())),
            Condition::Online | Condition::Full(_) => Ok(()),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self.state.lock().condition, Condition::Full(_))
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn count_one(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn discount_one(&self) {
        // One that was deleted twice over is no reason to overflow.
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }

    pub(super) fn open_named(
        &self,
        partition: &TopicPartition,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<OpenedLog<S>, LogsError> {
        let recovered = self.state.lock().recovered.remove(partition);
        let (log, report) = match recovered {
            Some((mut log, report)) => {
                log.update_config(config);
                (log, report)
            }
            None => self.dir.open_log(partition, config, now_ms)?,
        };
        let high_watermark = self.dir.high_watermark(partition);
        Ok(OpenedLog { log, high_watermark, led_in: None, report: Some(report) })
    }

    /// A high watermark of another log would make records committed that are not.
    pub(super) fn forget_checkpoints(&self, partition: &TopicPartition) -> Result<(), LogsError> {
        let _no_old_ones_are_written = self.checkpointing.lock();
        Ok(self.dir.forget_checkpoints(partition)?)
    }

    pub(super) fn take_back(
        &self,
        partition: &TopicPartition,
        record: &PartitionRecord,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<OpenedLog<S>, LogsError> {
        self.check_in_service()?;
        self.forget_checkpoints(partition)?;
        let stray = self.state.lock().stray_of(record).cloned();
        if let Some(stray) = stray {
            self.dir.take_back(&stray.path, partition)?;
            self.count_one();
            self.state.lock().strays.retain(|other| other.path != stray.path);
        }
        let (storage, path) = (self.storage.clone(), self.dir.log_path(partition));
        let (log, report) = Log::open(storage, path, config, OpenMode::UNKNOWN, now_ms)?;
        Ok(OpenedLog { log, high_watermark: 0, led_in: None, report: Some(report) })
    }

    pub(super) fn set_aside(
        &self,
        partition: &TopicPartition,
        unique: Uuid,
        now_ms: i64,
    ) -> Result<PathBuf, LogDirError> {
        let topic_id = self.dir.topic_id_in(&self.dir.log_path(partition))?;
        let recovered = self.state.lock().recovered.remove(partition);
        drop(recovered);
        let to = self.dir.set_aside(partition, unique, now_ms)?;
        self.discount_one();
        let (path, partition) = (to.clone(), Some(partition.clone()));
        self.state.lock().strays.push(Stray { path, partition, topic_id, since_ms: now_ms });
        Ok(to)
    }

    pub(super) fn give_up_strays(
        &self,
        now_ms: i64,
        grace_ms: i64,
        may_go: impl Fn(&Stray) -> bool,
    ) -> Vec<(Stray, Result<PathBuf, LogDirError>)> {
        let strays = self.state.lock().strays.clone();
        let due = strays.into_iter().filter(|stray| now_ms - stray.since_ms >= grace_ms && may_go(stray));
        due.map(|stray| {
            let given_up = self.dir.give_up(&stray.path);
            if given_up.is_ok() {
                self.state.lock().strays.retain(|other| other.path != stray.path);
            }
            (stray, given_up)
        })
        .collect()
    }

    /// Writes the checkpoint files. The caller holds `checkpointing`.
    pub(super) fn write_checkpoints<'a>(
        &self,
        logs: impl Iterator<Item = &'a Checkpointed>,
    ) -> Result<(), CheckpointError> {
        let mut recovery_points = std::collections::BTreeMap::new();
        let (mut log_starts, mut high_watermarks) = (recovery_points.clone(), recovery_points.clone());
        for Checkpointed { partition, positions, .. } in logs {
            recovery_points.insert(partition.clone(), positions.recovery_point);
            if positions.log_start_offset > 0 {
                log_starts.insert(partition.clone(), positions.log_start_offset);
            }
            high_watermarks.insert(partition.clone(), positions.high_watermark);
        }
        self.dir.write_recovery_points(&recovery_points)?;
        self.dir.write_log_starts(&log_starts)?;
        self.dir.write_high_watermarks(&high_watermarks)
    }

    pub(super) fn strike_out_note(&self) -> Result<bool, DiskError> {
        let mut state = self.state.lock();
        if state.note_struck_out {
            return Ok(false);
        }
        note::strike_out(&self.storage, self.dir.path())?;
        state.note_struck_out = true;
        Ok(true)
    }
}
