//! The logs of one log directory: recovered before the broker registers, opened, made, moved aside and taken back as the
//! controller assigns them.
//!
//! The order in which a record is acted on matters. First the log is opened or made ([`ReplicaLogs::open`]), then the
//! record's epoch is noted ([`ReplicaLogs::note_epochs`]), and only then may the replica lead, truncate or fetch. Noted
//! first, a process that dies in between would find a log missing that was never made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parking_lot::{Mutex, RwLock};
use taffrail_control::session::{HeldPartition, LogClaim, Member, PartitionRecord};
use taffrail_log::{
    CheckpointError, Log, LogConfig, LogDir, LogDirError, OpenError, OpenMode, RecoveryReport, Storage,
    TopicPartition, names,
};
use taffrail_protocol::Uuid;

use super::DiskError;
use super::claim::ShortLog;
use super::epochs::EpochNotes;
use super::opening::{Fresh, NamedDir, OnDisk, Opening, opening};

/// Logs that were opened before the broker registered, so that it can state what its disks are worth.
pub type RecoveredLogs<S> = BTreeMap<TopicPartition, (Log<S>, RecoveryReport)>;

/// The logs that end before records that were known to be committed (rule 28).
pub fn short_logs<S: Storage>(dir: &LogDir<S>, recovered: &RecoveredLogs<S>) -> Vec<ShortLog> {
    let short = recovered.iter().filter_map(|(partition, (log, _))| {
        let (log_end_offset, high_watermark) = (log.log_end_offset(), dir.high_watermark(partition));
        let partition = partition.clone();
        (log_end_offset < high_watermark).then_some(ShortLog { partition, log_end_offset, high_watermark })
    });
    short.collect()
}

/// The settings that a log is recovered with while its topic's are not known: gaps are left alone, as compaction makes
/// them. Only a disk that is believed to have kept everything is recovered so early.
pub fn recovery_config(config: LogConfig) -> LogConfig {
    LogConfig { compact: true, ..config }
}

/// A replica's log could not be opened, made or moved.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// It cannot be opened or made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A directory cannot be looked at or renamed.
    #[error(transparent)]
    Dir(#[from] LogDirError),
    /// What the checkpoints tell of an earlier log of that name cannot be taken out.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// What is noted of epochs cannot be written.
    #[error(transparent)]
    Notes(#[from] DiskError),
}

/// What is written down of a log every now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// Up to here everything is on the disk.
    pub recovery_point: i64,
    /// Where the log begins.
    pub log_start_offset: i64,
    /// Records below are committed.
    pub high_watermark: i64,
}

/// What became of a record.
pub struct Opened<S: Storage> {
    /// The verdict.
    pub verdict: Opening,
    /// Where the directory is now that was in the way.
    pub set_aside: Option<PathBuf>,
    /// The log, unless the record is ignored or its log is missing.
    pub log: Option<OpenedLog<S>>,
}

/// A log that is there.
pub struct OpenedLog<S: Storage> {
    /// The log.
    pub log: Log<S>,
    /// Up to where its records were known to be committed.
    pub high_watermark: i64,
    /// The last leader epoch that this broker led in with this log, whatever became of the replica since.
    pub led_in: Option<i32>,
    /// What recovery found; `None` for a log that was just made.
    pub report: Option<RecoveryReport>,
}

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

/// The logs of one log directory. All calls block on the disk.
pub struct ReplicaLogs<S: Storage> {
    storage: S,
    dir: LogDir<S>,
    me: Member,
    claim: LogClaim,
    state: Mutex<State<S>>,
    /// One writer of the checkpoint files at a time.
    checkpointing: Mutex<()>,
    /// Shared by those who open logs: what they take back must not be given up between their look and their step.
    opening: RwLock<()>,
}

struct State<S: Storage> {
    /// Opened at the start and not yet asked for.
    recovered: RecoveredLogs<S>,
    /// Directories that were moved aside.
    strays: Vec<Stray>,
    epochs: EpochNotes<S>,
    note_struck_out: bool,
}

impl<S: Storage> ReplicaLogs<S> {
    /// The logs of a locked directory, for the broker that was registered as `me` with `claim`. `recovered` are those that
    /// were opened before. The note of this incarnation has to be there: from here on the directory is written to.
    ///
    /// # Errors
    /// When the directory's notes cannot be read or written.
    pub fn new(
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
        let state = State { recovered, strays, epochs, note_struck_out: false };
        Ok(Self {
            storage,
            dir,
            me,
            claim,
            state: Mutex::new(state),
            checkpointing: Mutex::default(),
            opening: RwLock::default(),
        })
    }

    /// The directory.
    pub fn dir(&self) -> &LogDir<S> {
        &self.dir
    }

    /// What the directory is in.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Opens the replica's log, makes an empty one or takes an old one back, as [`opening`] says. May be called for
    /// different partitions at a time.
    ///
    /// # Errors
    /// [`LogsError`] names the file and what failed.
    pub fn open(
        &self,
        name: &str,
        record: &PartitionRecord,
        config: LogConfig,
        unique: Uuid,
        now_ms: i64,
    ) -> Result<Opened<S>, LogsError> {
        let _nothing_is_given_up = self.opening.read();
        let partition = TopicPartition::new(name, record.partition);
        let disk = self.look(&partition, record)?;
        let verdict = opening(record, self.me, &disk);
        let mut set_aside = None;
        let log = match verdict {
            Opening::Ignore => None,
            Opening::Open => Some(self.open_named(&partition, config, now_ms)?),
            Opening::SetAside(fresh) => {
                set_aside = Some(self.set_aside(&partition, unique, now_ms)?);
                self.fresh(fresh, &partition, record, config, now_ms)?
            }
            Opening::Fresh(fresh) => self.fresh(fresh, &partition, record, config, now_ms)?,
        };
        let led_in = self.state.lock().epochs.led_in(record);
        let log = log.map(|log| OpenedLog { led_in, ..log });
        Ok(Opened { verdict, set_aside, log })
    }

    fn look(&self, partition: &TopicPartition, record: &PartitionRecord) -> Result<OnDisk, LogDirError> {
        let there = self.dir.has(partition)?;
        let topic_id = if there { self.dir.topic_id_in(&self.dir.log_path(partition))? } else { None };
        let state = self.state.lock();
        let creation = topic_id.and_then(|topic_id| state.epochs.creation(topic_id));
        Ok(OnDisk {
            named: there.then_some(NamedDir { topic_id, creation }),
            stray: state.strays.iter().any(|stray| stray.is_of(record)),
            behind: state.epochs.is_behind(record),
            known: state.epochs.knows(record.topic_id, record.partition),
            claim: self.claim,
        })
    }

    fn open_named(
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

    fn fresh(
        &self,
        fresh: Fresh,
        partition: &TopicPartition,
        record: &PartitionRecord,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<Option<OpenedLog<S>>, LogsError> {
        if fresh != Fresh::Missing {
            // A high watermark of another log would make records committed that are not.
            let _no_old_ones_are_written = self.checkpointing.lock();
            self.dir.forget_checkpoints(partition)?;
        }
        match fresh {
            Fresh::Missing => Ok(None),
            Fresh::Create => {
                self.state.lock().epochs.begin_anew(record.topic_id, record.partition)?;
                let log = self.dir.create_log(partition, record.topic_id, config, now_ms)?;
                Ok(Some(OpenedLog { log, high_watermark: 0, led_in: None, report: None }))
            }
            Fresh::TakeBack => {
                // Of several the one that was written to last.
                let strays = self.state.lock().strays.clone().into_iter().filter(|stray| stray.is_of(record));
                if let Some(stray) = strays.max_by_key(|stray| stray.since_ms) {
                    self.dir.take_back(&stray.path, partition)?;
                    self.state.lock().strays.retain(|other| other.path != stray.path);
                }
                let (storage, path) = (self.storage.clone(), self.dir.log_path(partition));
                let (log, report) = Log::open(storage, path, config, OpenMode::UNKNOWN, now_ms)?;
                Ok(Some(OpenedLog { log, high_watermark: 0, led_in: None, report: Some(report) }))
            }
        }
    }

    /// Writes down how far each log is durable, where it starts and how much of it is committed. `replicas` is asked once
    /// nobody else writes, so that a log that was deleted meanwhile is not written down again.
    ///
    /// # Errors
    /// When a checkpoint file cannot be written.
    pub fn checkpoint(
        &self,
        replicas: impl FnOnce() -> Vec<(TopicPartition, Positions)>,
    ) -> Result<(), CheckpointError> {
        let _one_at_a_time = self.checkpointing.lock();
        let (mut recovery_points, mut log_starts) = (BTreeMap::new(), BTreeMap::new());
        let mut high_watermarks = BTreeMap::new();
        for (partition, positions) in replicas() {
            recovery_points.insert(partition.clone(), positions.recovery_point);
            if positions.log_start_offset > 0 {
                log_starts.insert(partition.clone(), positions.log_start_offset);
            }
            high_watermarks.insert(partition, positions.high_watermark);
        }
        self.dir.write_recovery_points(&recovery_points)?;
        self.dir.write_log_starts(&log_starts)?;
        self.dir.write_high_watermarks(&high_watermarks)
    }

    /// Writes down where some logs start; of the others stays what was written last. `starts` is asked once nobody else
    /// writes, so that a log that was deleted meanwhile is not written down again.
    ///
    /// # Errors
    /// When the checkpoint file cannot be written.
    pub fn write_starts(
        &self,
        starts: impl FnOnce() -> Vec<(TopicPartition, i64)>,
    ) -> Result<(), CheckpointError> {
        let _one_at_a_time = self.checkpointing.lock();
        self.dir.update_log_starts(starts())
    }

    /// Writes down up to where a log is compacted. Blocks.
    ///
    /// # Errors
    /// When the checkpoint file cannot be written.
    pub fn write_cleaned(&self, partition: &TopicPartition, offset: i64) -> Result<(), CheckpointError> {
        let _one_at_a_time = self.checkpointing.lock();
        self.dir.write_cleaned(partition, offset)
    }

    /// Moves the directory of a partition's name aside, and returns where it is now. Its log must not be written to any
    /// more.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(
        &self,
        partition: &TopicPartition,
        unique: Uuid,
        now_ms: i64,
    ) -> Result<PathBuf, LogDirError> {
        let topic_id = self.dir.topic_id_in(&self.dir.log_path(partition))?;
        let recovered = self.state.lock().recovered.remove(partition);
        drop(recovered);
        let to = self.dir.set_aside(partition, unique, now_ms)?;
        let (path, partition) = (to.clone(), Some(partition.clone()));
        self.state.lock().strays.push(Stray { path, partition, topic_id, since_ms: now_ms });
        Ok(to)
    }

    /// Gives up the directories that were moved aside `grace_ms` ago or longer and that `may_go` (rule 18), and returns
    /// each with where it is now, to be removed, or why it is still there. None while logs are being opened: one of them
    /// may be about to be taken back.
    pub fn give_up_strays(
        &self,
        now_ms: i64,
        grace_ms: i64,
        may_go: impl Fn(&Stray) -> bool,
    ) -> Vec<(Stray, Result<PathBuf, LogDirError>)> {
        let Some(_none_is_taken_back) = self.opening.try_write() else { return Vec::new() };
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

    /// The partitions that had a directory at the start and still have one.
    ///
    /// # Errors
    /// When one cannot be looked at.
    pub fn left_from_start(&self) -> Result<Vec<TopicPartition>, LogDirError> {
        let mut left = Vec::new();
        for partition in self.dir.partitions() {
            if self.dir.has(partition)? {
                left.push(partition.clone());
            }
        }
        Ok(left)
    }

    /// Notes the epochs of records that are about to be acted on (rule 31).
    ///
    /// # Errors
    /// When they cannot be written. None of the records may be acted on then.
    pub fn note_epochs<'a>(
        &self,
        records: impl IntoIterator<Item = &'a PartitionRecord>,
    ) -> Result<(), DiskError> {
        self.state.lock().epochs.note(records)
    }

    /// Forgets the epochs of a topic that does not exist any more.
    pub fn forget(&self, topic_id: Uuid) {
        self.state.lock().epochs.forget(topic_id);
    }

    /// Which epochs the broker has acted under (rule 25).
    pub fn held(&self) -> Vec<HeldPartition> {
        self.state.lock().epochs.held()
    }

    /// A write or sync in the directory failed: the next start must not believe that it has everything (rule 28). Does
    /// nothing from the second time on. Whether this was the first.
    ///
    /// # Errors
    /// When the note cannot be taken away; the next call tries again.
    pub fn strike_out_note(&self) -> Result<bool, DiskError> {
        let mut state = self.state.lock();
        if state.note_struck_out {
            return Ok(false);
        }
        super::note::strike_out(&self.storage, self.dir.path())?;
        state.note_struck_out = true;
        Ok(true)
    }
}

/// The notes of a log directory cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogsStartError {
    /// A file of notes.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A directory that was moved aside, or the marker of the last clean stop.
    #[error(transparent)]
    Dir(#[from] LogDirError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::test_support::record;
    use std::path::Path;
    use taffrail_log::{MemoryStorage, MetaProperties};

    const ME: Member = Member { broker_id: 1, incarnation: 9 };

    fn properties() -> MetaProperties {
        MetaProperties { cluster_id: "c".to_owned(), node_id: 1, directory_id: Uuid([1; 16]) }
    }

    fn logs(storage: &MemoryStorage) -> ReplicaLogs<MemoryStorage> {
        let dir = LogDir::open(storage.clone(), PathBuf::from("/data"), properties()).unwrap();
        ReplicaLogs::new(storage.clone(), dir, ME, LogClaim::SameBoot, BTreeMap::new(), 0).unwrap()
    }

    fn open(
        logs: &ReplicaLogs<MemoryStorage>,
        record: &PartitionRecord,
        unique: u8,
    ) -> Opened<MemoryStorage> {
        logs.open("t", record, LogConfig::default(), Uuid([unique; 16]), 0).unwrap()
    }

    fn of_topic(id: u8, creation: u64) -> PartitionRecord {
        PartitionRecord { topic_id: Uuid([id; 16]), ..record(0, creation, 0) }
    }

    #[test]
    fn a_topic_made_again_sets_the_old_log_aside_and_gets_its_own_back() {
        let storage = MemoryStorage::new();
        let (first, second) = (of_topic(1, 1), of_topic(2, 2));
        {
            let logs = logs(&storage);
            assert_eq!(open(&logs, &first, 1).verdict, Opening::Fresh(Fresh::Create));
            logs.note_epochs([&first]).unwrap();
            let opened = open(&logs, &second, 2);
            assert_eq!(opened.verdict, Opening::SetAside(Fresh::Create));
            assert!(opened.set_aside.is_some_and(|path| path.to_string_lossy().ends_with("-stray")));
            logs.note_epochs([&second]).unwrap();
            assert_eq!(open(&logs, &first, 3).verdict, Opening::Ignore, "an older topic of that name");
        }
        let logs = logs(&storage);
        let again = PartitionRecord { creation: 3, ..first };
        let opened = open(&logs, &again, 4);
        assert_eq!(opened.verdict, Opening::SetAside(Fresh::TakeBack));
        assert_eq!(opened.log.unwrap().log.topic_id(), Some(again.topic_id));
        assert_eq!(logs.held().len(), 2);
        logs.forget(again.topic_id);
        assert_eq!(logs.held().len(), 1);
    }

    #[test]
    fn a_log_that_a_power_cut_left_without_its_topics_id_is_not_taken_for_another_topics() {
        let storage = MemoryStorage::new();
        {
            let logs = logs(&storage);
            open(&logs, &of_topic(1, 1), 1);
            let positions = Positions { recovery_point: 0, log_start_offset: 0, high_watermark: 9 };
            logs.checkpoint(|| vec![(TopicPartition::new("t", 0), positions)]).unwrap();
        }
        storage.remove_file(Path::new("/data/t-0/partition.metadata")).unwrap();
        let opened = open(&logs(&storage), &of_topic(2, 2), 2);
        assert_eq!(opened.verdict, Opening::SetAside(Fresh::Create));
        let log = opened.log.unwrap();
        assert_eq!((log.log.topic_id(), log.high_watermark), (Some(Uuid([2; 16])), 0));
    }

    #[test]
    fn a_log_that_is_taken_back_tells_which_epoch_was_led_in() {
        let storage = MemoryStorage::new();
        let logs = logs(&storage);
        let led_in = |opened: Opened<MemoryStorage>| opened.log.unwrap().led_in;
        assert_eq!(led_in(open(&logs, &of_topic(1, 1), 1)), None);
        let led = PartitionRecord { leader: Some(ME), ..of_topic(1, 1) };
        logs.note_epochs([&led]).unwrap();
        logs.set_aside(&TopicPartition::new("t", 0), Uuid([2; 16]), 0).unwrap();
        assert_eq!(led_in(open(&logs, &of_topic(1, 1), 3)), Some(0));
    }

    #[test]
    fn a_topic_made_again_does_not_inherit_the_old_ones_high_watermark() {
        let storage = MemoryStorage::new();
        {
            let logs = logs(&storage);
            open(&logs, &of_topic(1, 1), 1);
            let positions = Positions { recovery_point: 9, log_start_offset: 3, high_watermark: 9 };
            logs.checkpoint(|| vec![(TopicPartition::new("t", 0), positions)]).unwrap();
            open(&logs, &of_topic(2, 2), 2);
        }
        // The process died before it wrote another checkpoint.
        let logs = logs(&storage);
        let opened = open(&logs, &of_topic(2, 2), 3);
        assert_eq!(opened.verdict, Opening::Open);
        assert_eq!(opened.log.unwrap().high_watermark, 0);
        assert_eq!(logs.dir().open_mode(&TopicPartition::new("t", 0)), OpenMode::UNKNOWN);
    }

    #[test]
    fn a_log_that_is_counted_on_and_gone_is_missing_and_nothing_is_made() {
        let storage = MemoryStorage::new();
        let record = PartitionRecord { isr: vec![ME], ..record(0, 1, 4) };
        let logs = logs(&storage);
        let opened = open(&logs, &record, 1);
        assert!(opened.log.is_none());
        assert_eq!(opened.verdict, Opening::Fresh(Fresh::Missing));
        assert!(storage.list(Path::new("/data/t-0")).is_err());
    }

    /// What is given up at a time, of a directory whose only log was moved aside at 1000; the grace is 500.
    fn given_up(logs: &ReplicaLogs<MemoryStorage>, now_ms: i64, may_go: bool) -> Vec<Stray> {
        let given_up = logs.give_up_strays(now_ms, 500, |_| may_go).into_iter();
        let moved = |(stray, to): (Stray, Result<PathBuf, _>)| {
            assert!(to.unwrap().to_string_lossy().ends_with("-delete"));
            stray
        };
        given_up.map(moved).collect()
    }

    fn with_a_stray(storage: &MemoryStorage) -> ReplicaLogs<MemoryStorage> {
        let logs = logs(storage);
        open(&logs, &of_topic(1, 1), 1);
        logs.set_aside(&TopicPartition::new("t", 0), Uuid([4; 16]), 1_000).unwrap();
        logs
    }

    #[test]
    fn rule_18_what_was_moved_aside_is_given_up_after_the_grace_and_not_while_it_may_be_needed() {
        let storage = MemoryStorage::new();
        let logs = with_a_stray(&storage);
        assert_eq!(given_up(&logs, 1_499, true), []);
        assert_eq!(given_up(&logs, 1_500, false), [], "its partition lacks a leader, say");
        let gone = given_up(&logs, 1_500, true);
        assert_eq!((gone[0].topic_id, gone[0].since_ms), (Some(Uuid([1; 16])), 1_000));
        assert_eq!(gone[0].partition, Some(TopicPartition::new("t", 0)));
        assert_eq!(given_up(&logs, 9_999, true), [], "it is gone");
        assert_eq!(open(&logs, &of_topic(1, 1), 2).verdict, Opening::Fresh(Fresh::Create));
        drop(logs);
        storage.crash(1);
        assert_eq!(super::tests::logs(&storage).dir().leftovers().len(), 1, "the next start ends it");
    }

    #[test]
    fn the_age_of_what_was_moved_aside_survives_a_restart_and_a_clock_that_was_set_back() {
        for seed in 0..9 {
            let storage = MemoryStorage::new();
            drop(with_a_stray(&storage));
            storage.crash(seed);
            let at = |now_ms| {
                let dir = LogDir::open(storage.clone(), PathBuf::from("/data"), properties()).unwrap();
                let logs = RecoveredLogs::new();
                ReplicaLogs::new(storage.clone(), dir, ME, LogClaim::SameBoot, logs, now_ms).unwrap()
            };
            let logs = at(1_400);
            assert_eq!(given_up(&logs, 1_499, true), []);
            drop(logs);
            let logs = at(600);
            assert_eq!(
                given_up(&logs, 1_099, true),
                [],
                "counted from when the clock ran true, as far as is known"
            );
            assert_eq!(given_up(&logs, 1_100, true).len(), 1);
        }
    }

    #[test]
    fn what_is_taken_back_in_time_is_not_given_up() {
        let storage = MemoryStorage::new();
        let logs = with_a_stray(&storage);
        assert_eq!(open(&logs, &of_topic(1, 1), 2).verdict, Opening::Fresh(Fresh::TakeBack));
        assert_eq!(given_up(&logs, 9_999, true), []);
        let opening = logs.opening.read();
        logs.set_aside(&TopicPartition::new("t", 0), Uuid([5; 16]), 9_000).unwrap();
        assert_eq!(given_up(&logs, 9_999, true), [], "a log is being opened");
        drop(opening);
        assert_eq!(given_up(&logs, 9_999, true).len(), 1);
    }

    #[test]
    fn the_note_is_struck_out_once() {
        let storage = MemoryStorage::new();
        let logs = logs(&storage);
        assert!(logs.strike_out_note().unwrap());
        assert!(!logs.strike_out_note().unwrap());
    }
}
