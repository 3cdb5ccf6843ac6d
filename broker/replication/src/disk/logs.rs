//! The logs of a broker's log directories: recovered before the broker registers, opened, made, moved aside and taken back as
//! the controller assigns them (KIP-112).
//!
//! The order in which a record is acted on matters. First the log is opened or made ([`ReplicaLogs::open`]), then the
//! record's epoch is noted ([`ReplicaLogs::note_epochs`]), and only then may the replica lead, truncate or fetch. Noted
//! first, a process that dies in between would find a log missing that was never made.
//!
//! A partition's log is in one of the directories. What was acted on is noted in all of them: whichever is lost, the others
//! know that a log was in it, and no empty one is made in its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockWriteGuard};
use taffrail_control::session::{HeldPartition, LogClaim, Member, PartitionRecord};
use taffrail_log::{
    CheckpointError, Log, LogConfig, LogDir, LogDirError, OpenError, RecoveryReport, Storage, TopicPartition,
    names::PARTITION_METADATA, remove_dir,
};
use taffrail_protocol::Uuid;

use super::DiskError;
use super::claim::{Missing, ShortLog};
use super::moving::end_moves;
use super::opening::{Fresh, NamedDir, OnDisk, Opening, named_in, opening};
use super::served_dir::ServedDir;

pub use super::served_dir::Stray;

/// Logs that were opened before the broker registered, so that it can state what its disks are worth.
pub type RecoveredLogs<S> = BTreeMap<TopicPartition, (Log<S>, RecoveryReport)>;

/// The logs that end before records that were known to be committed, or whose end was damaged by more than a write that was
/// interrupted (rule 28).
pub fn short_logs<S: Storage>(dir: &LogDir<S>, recovered: &RecoveredLogs<S>) -> Vec<ShortLog> {
    let short = recovered.iter().filter_map(|(partition, (log, report))| {
        let (log_end_offset, high_watermark) = (log.log_end_offset(), dir.high_watermark(partition));
        let damaged = report.truncation_reason.clone().filter(|_| report.lost_whole_batches);
        let committed = (log_end_offset < high_watermark).then_some(Missing::Committed(high_watermark));
        let missing = committed.or(damaged.map(Missing::Damaged))?;
        Some(ShortLog { partition: partition.clone(), log_end_offset, missing })
    });
    short.collect()
}

/// The settings that a log is recovered with while its topic's are not known: gaps are left alone, as compaction makes
/// them. Only a disk that is believed to have kept everything is recovered so early.
pub fn recovery_config(config: LogConfig) -> LogConfig {
    LogConfig { compact: true, ..config }
}

/// How a log directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Logs in it take writes.
    Online,
    /// There is room for little more; the sentence says how much.
    Full(Arc<str>),
    /// It is out of service until the next start, for this reason.
    Failed(Arc<str>),
}

impl Condition {
    /// Why nothing is to be appended to its logs, if so.
    pub fn reason(&self) -> Option<&Arc<str>> {
        match self {
            Self::Online => None,
            Self::Full(reason) | Self::Failed(reason) => Some(reason),
        }
    }
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
    /// The directory that it is in takes no part.
    #[error("its log directory is out of service: {0}")]
    OutOfService(Arc<str>),
    /// It is in none of the directories that are there, and was in one.
    #[error("its log is in a directory that is out of service ({})", paths(.0))]
    Elsewhere(Vec<PathBuf>),
}

impl LogsError {
    /// What the disk answered, if it is the disk that failed.
    pub fn io(&self) -> Option<&std::io::Error> {
        match self {
            Self::Open(OpenError::Io { source, .. }) | Self::Dir(LogDirError::Io { source, .. }) => {
                Some(source)
            }
            Self::Checkpoint(error) => error.io(),
            Self::Notes(error) => Some(error.source()),
            Self::Open(_) | Self::Dir(_) | Self::OutOfService(_) | Self::Elsewhere(_) => None,
        }
    }
}

impl LogsError {
    /// Where that was; empty where no directory was asked.
    pub fn path(&self) -> &Path {
        match self {
            Self::Open(
                OpenError::Io { dir, .. } | OpenError::OldFormat { dir, .. } | OpenError::Exists { dir },
            ) => dir,
            Self::Dir(error) => error.path(),
            Self::Checkpoint(error) => error.path(),
            Self::Notes(error) => error.path(),
            Self::OutOfService(_) | Self::Elsewhere(_) => Path::new(""),
        }
    }
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
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

/// A log of which positions are written down.
pub struct Checkpointed {
    /// Whose it is.
    pub partition: TopicPartition,
    /// Where it is.
    pub path: PathBuf,
    /// What is written down.
    pub positions: Positions,
}

/// Where a log starts by now.
pub struct LogStart {
    /// Whose it is.
    pub partition: TopicPartition,
    /// Where it is.
    pub path: PathBuf,
    /// The first offset there is.
    pub offset: i64,
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

/// The logs of a broker's log directories. All calls block on the disk.
pub struct ReplicaLogs<S: Storage> {
    storage: S,
    me: Member,
    claim: LogClaim,
    /// At least one, in the order of `--data-dir`.
    dirs: Vec<ServedDir<S>>,
    /// Directories that the broker was to serve and does not.
    absent: Vec<PathBuf>,
    /// Shared by those who open logs or move them aside: between their look and their step nothing must be given up, or moved
    /// to another directory.
    opening: RwLock<()>,
    /// Held from the choice of a directory until the log in it counts there, so that many new ones spread.
    placing: Mutex<()>,
}

impl<S: Storage> ReplicaLogs<S> {
    /// The logs of locked directories, for the broker that was registered as `me` with `claim`. Each comes with the logs that
    /// were opened before, and must have the note of this incarnation: from here on it is written to. Moves between them that a
    /// crash left are ended. `absent` are directories
    /// that cannot be served. Those that fail now are returned, each with its reason.
    ///
    /// # Errors
    /// When a partition is found in two directories, or no directory's notes can be read and written.
    #[allow(clippy::type_complexity, reason = "the second part is a list of failures")]
    pub fn new(
        storage: S,
        mut dirs: Vec<(LogDir<S>, RecoveredLogs<S>)>,
        absent: Vec<PathBuf>,
        me: Member,
        claim: LogClaim,
        now_ms: i64,
    ) -> Result<(Self, Vec<(PathBuf, LogsStartError)>), LogsStartError> {
        for former in end_moves(&mut dirs)? {
            // Where it stays the next start removes it.
            let _ = remove_dir(&storage, &former);
        }
        check_each_once(&dirs)?;
        let (mut served, mut failed, mut absent) = (Vec::new(), Vec::new(), absent);
        for (dir, recovered) in dirs {
            let path = dir.path().to_owned();
            match ServedDir::new(storage.clone(), dir, me, claim, recovered, now_ms) {
                Ok(dir) => served.push(dir),
                Err(error) => failed.push((path, error)),
            }
        }
        if served.is_empty()
            && let Some((_, error)) = failed.pop()
        {
            return Err(error);
        }
        absent.extend(failed.iter().map(|(path, _)| path.clone()));
        let (opening, placing) = (RwLock::default(), Mutex::default());
        Ok((Self { storage, me, claim, dirs: served, absent, opening, placing }, failed))
    }

    /// The directories that are served.
    pub fn dirs(&self) -> impl Iterator<Item = &LogDir<S>> {
        self.dirs.iter().map(|served| &served.dir)
    }

    /// What the directories are in.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// From now on this is how a directory is. One that has failed stays so; whether that is news.
    pub fn set_condition(&self, dir: &Path, condition: Condition) -> bool {
        self.dirs
            .iter()
            .filter(|served| served.dir.path() == dir)
            .any(|served| served.set_condition(condition.clone()))
    }

    /// The directory at `path`.
    pub(super) fn served(&self, path: &Path) -> Result<&ServedDir<S>, LogsError> {
        let served = self.dirs.iter().find(|served| served.dir.path() == path);
        served.ok_or_else(|| {
            LogsError::OutOfService(format!("{} is not served by this broker", path.display()).into())
        })
    }

    /// While this is held no log is opened, given up or moved aside, and no checkpoint is written.
    pub(super) fn alone(&self) -> (RwLockWriteGuard<'_, ()>, Vec<MutexGuard<'_, ()>>) {
        let opening = self.opening.write();
        (opening, self.dirs.iter().map(|served| served.checkpointing.lock()).collect())
    }

    /// The directory that a partition's log is in, of the log's path.
    pub(super) fn holding(&self, log: &Path) -> Option<&ServedDir<S>> {
        self.dirs.iter().find(|served| log.parent() == Some(served.dir.path()))
    }

    /// Opens the replica's log, makes an empty one or takes an old one back, as [`opening`] says. A new one goes into
    /// `preferred`, where that is in service. May be called for different partitions at a time.
    ///
    /// # Errors
    /// [`LogsError`] names the file and what failed.
    pub fn open(
        &self,
        name: &str,
        record: &PartitionRecord,
        config: LogConfig,
        preferred: Option<&Path>,
        unique: Uuid,
        now_ms: i64,
    ) -> Result<Opened<S>, LogsError> {
        let _nothing_is_given_up = self.opening.read();
        let partition = TopicPartition::new(name, record.partition);
        let (disk, home) = self.look(&partition, record)?;
        let verdict = opening(record, self.me, &disk);
        if let (Some(home), false) = (home, verdict == Opening::Ignore) {
            home.check_in_service()?;
        }
        let mut set_aside = None;
        let log = match (verdict, home) {
            (Opening::Ignore, _) => None,
            (Opening::Open, Some(home)) => Some(home.open_named(&partition, config, now_ms)?),
            (Opening::SetAside(fresh), Some(home)) => {
                set_aside = Some(home.set_aside(&partition, unique, now_ms)?);
                self.fresh(fresh, &partition, record, config, preferred, now_ms)?
            }
            (Opening::Fresh(fresh) | Opening::SetAside(fresh), _) => {
                self.fresh(fresh, &partition, record, config, preferred, now_ms)?
            }
            (Opening::Open, None) => unreachable!("only a directory that is there is opened"),
        };
        let damaged =
            |log: &OpenedLog<S>| log.report.as_ref().is_some_and(|report| report.lost_whole_batches);
        let log = match log {
            Some(log) if verdict.takes_back() && damaged(&log) && named_in(record, self.me).is_some() => {
                self.put_back(log, &partition, unique, now_ms)?;
                return Ok(Opened { verdict: Opening::Fresh(Fresh::Missing), set_aside, log: None });
            }
            log => log,
        };
        let led_in = self.dirs.iter().filter_map(|served| served.state.lock().epochs.led_in(record)).max();
        let log = log.map(|log| OpenedLog { led_in, ..log });
        Ok(Opened { verdict, set_aside, log })
    }

    /// A log that was taken back has lost what others count on: it is set aside again, without its topic's id, so that nobody
    /// takes it back once more when it is cut and looks sound.
    fn put_back(
        &self,
        log: OpenedLog<S>,
        partition: &TopicPartition,
        unique: Uuid,
        now_ms: i64,
    ) -> Result<(), LogsError> {
        let dir = log.log.dir().to_owned();
        drop(log);
        let Some(home) = self.holding(&dir) else { return Ok(()) };
        let removed = self.storage().remove_file(&dir.join(PARTITION_METADATA));
        removed.map_err(|source| LogDirError::Io {
            path: dir,
            action: "removing partition.metadata of a log that is damaged",
            source,
        })?;
        home.set_aside(partition, unique, now_ms)?;
        Ok(())
    }

    /// What is on the disks for a partition's name, and the directory that has it.
    fn look(
        &self,
        partition: &TopicPartition,
        record: &PartitionRecord,
    ) -> Result<(OnDisk, Option<&ServedDir<S>>), LogDirError> {
        let mut home = None;
        for served in &self.dirs {
            if served.dir.has(partition)? {
                home = Some(served);
                break;
            }
        }
        let topic_id = match home {
            Some(home) => home.dir.topic_id_in(&home.dir.log_path(partition))?,
            None => None,
        };
        let states: Vec<_> = self.dirs.iter().map(|served| served.state.lock()).collect();
        let creation_of = |topic_id| states.iter().filter_map(|state| state.epochs.creation(topic_id)).max();
        let named = home.map(|_| NamedDir { topic_id, creation: topic_id.and_then(creation_of) });
        let disk = OnDisk {
            named,
            stray: states.iter().any(|state| state.stray_of(record).is_some()),
            behind: states.iter().any(|state| state.epochs.is_behind(record)),
            known: states.iter().any(|state| state.epochs.knows(record.topic_id, record.partition)),
            claim: self.claim,
        };
        Ok((disk, home))
    }

    fn fresh(
        &self,
        fresh: Fresh,
        partition: &TopicPartition,
        record: &PartitionRecord,
        config: LogConfig,
        preferred: Option<&Path>,
        now_ms: i64,
    ) -> Result<Option<OpenedLog<S>>, LogsError> {
        match fresh {
            Fresh::Missing => Ok(None),
            Fresh::Create => {
                self.check_not_elsewhere(record)?;
                let placed = {
                    let _one_at_a_time = self.placing.lock();
                    let placed = self.place(preferred)?;
                    placed.count_one();
                    placed
                };
                let made = self.begin_anew(record).and_then(|()| {
                    placed.forget_checkpoints(partition)?;
                    Ok(placed.dir.create_log(partition, record.topic_id, config, now_ms)?)
                });
                let log = made.inspect_err(|_| placed.discount_one())?;
                Ok(Some(OpenedLog { log, high_watermark: 0, led_in: None, report: None }))
            }
            Fresh::TakeBack => {
                // Of several the one that was written to last.
                let strays = self.dirs.iter().filter_map(|served| {
                    let since_ms = served.state.lock().stray_of(record)?.since_ms;
                    Some((since_ms, served))
                });
                match strays.max_by_key(|(since_ms, _)| *since_ms) {
                    Some((_, served)) => served.take_back(partition, record, config, now_ms).map(Some),
                    None => Ok(None),
                }
            }
        }
    }

    /// A log that this broker once had may be where nobody can look now: made anew, it would be there twice.
    fn check_not_elsewhere(&self, record: &PartitionRecord) -> Result<(), LogsError> {
        let failed = self.dirs.iter().filter(|served| served.check_in_service().is_err());
        let failed = failed.map(|served| served.dir.path().to_owned());
        let out: Vec<PathBuf> = self.absent.iter().cloned().chain(failed).collect();
        let knows =
            |served: &ServedDir<S>| served.state.lock().epochs.knows(record.topic_id, record.partition);
        if out.is_empty() || !self.dirs.iter().any(knows) {
            return Ok(());
        }
        Err(LogsError::Elsewhere(out))
    }

    /// Where a new log is made: in the `preferred` directory, else in the one with the fewest; of those that have room if any
    /// has.
    fn place(&self, preferred: Option<&Path>) -> Result<&ServedDir<S>, LogsError> {
        let usable = self.dirs.iter().filter(|served| served.check_in_service().is_ok());
        let placed = usable.min_by_key(|served| {
            let is_other = Some(served.dir.path()) != preferred;
            (served.is_full(), is_other, served.count())
        });
        match placed {
            Some(placed) => Ok(placed),
            None => Err(LogsError::Elsewhere(self.dirs().map(|dir| dir.path().to_owned()).collect())),
        }
    }

    fn begin_anew(&self, record: &PartitionRecord) -> Result<(), LogsError> {
        for served in self.dirs.iter().filter(|served| served.check_in_service().is_ok()) {
            served.state.lock().epochs.begin_anew(record.topic_id, record.partition)?;
        }
        Ok(())
    }

    /// Writes down how far each log is durable, where it starts and how much of it is committed. `replicas` is asked once
    /// nobody else writes, so that a log that was deleted meanwhile is not written down again. Directories that have failed
    /// are left as they are.
    ///
    /// # Errors
    /// When a checkpoint file cannot be written; those of other directories are.
    pub fn checkpoint(&self, replicas: impl FnOnce() -> Vec<Checkpointed>) -> Result<(), CheckpointError> {
        let _one_at_a_time: Vec<_> = self.dirs.iter().map(|served| served.checkpointing.lock()).collect();
        let replicas = replicas();
        let mut outcome = Ok(());
        for served in self.dirs.iter().filter(|served| served.check_in_service().is_ok()) {
            let here = replicas.iter().filter(|log| log.path.parent() == Some(served.dir.path()));
            let written = served.write_checkpoints(here);
            outcome = outcome.and(written);
        }
        outcome
    }

    /// Writes down where some logs start; of the others stays what was written last. `starts` is asked once nobody else
    /// writes, so that a log that was deleted meanwhile is not written down again.
    ///
    /// # Errors
    /// When a checkpoint file cannot be written; those of other directories are.
    pub fn write_starts(&self, starts: impl FnOnce() -> Vec<LogStart>) -> Result<(), CheckpointError> {
        let _one_at_a_time: Vec<_> = self.dirs.iter().map(|served| served.checkpointing.lock()).collect();
        let starts = starts();
        let mut outcome = Ok(());
        for served in &self.dirs {
            let here = starts.iter().filter(|start| start.path.parent() == Some(served.dir.path()));
            let written =
                served.dir.update_log_starts(here.map(|start| (start.partition.clone(), start.offset)));
            outcome = outcome.and(written);
        }
        outcome
    }

    /// Writes down up to where the log at `path` is compacted. Blocks.
    ///
    /// # Errors
    /// When the checkpoint file cannot be written.
    pub fn write_cleaned(
        &self,
        partition: &TopicPartition,
        path: &Path,
        offset: i64,
    ) -> Result<(), CheckpointError> {
        let served = self.dirs.iter().find(|served| path.parent() == Some(served.dir.path()));
        // A log that was moved aside meanwhile has no checkpoint.
        let Some(served) = served else { return Ok(()) };
        let _one_at_a_time = served.checkpointing.lock();
        served.dir.write_cleaned(partition, offset)
    }

    /// Moves the directory of a partition's name aside, and returns where it is now. Its log must not be written to any
    /// more.
    ///
    /// # Errors
    /// When it cannot be found or renamed.
    pub fn set_aside(
        &self,
        partition: &TopicPartition,
        unique: Uuid,
        now_ms: i64,
    ) -> Result<PathBuf, LogDirError> {
        let _nothing_is_moved = self.opening.read();
        let mut home = &self.dirs[0];
        for served in &self.dirs {
            if served.dir.has(partition)? {
                home = served;
            }
        }
        home.set_aside(partition, unique, now_ms)
    }

    /// A log's directory was renamed for its deletion.
    pub fn deleted(&self, log: &Path) {
        if let Some(served) = self.holding(log) {
            served.discount_one();
        }
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
        let in_service = self.dirs.iter().filter(|served| served.check_in_service().is_ok());
        in_service.flat_map(|served| served.give_up_strays(now_ms, grace_ms, &may_go)).collect()
    }

    /// The partitions that had a directory at the start and still have one.
    ///
    /// # Errors
    /// When one cannot be looked at.
    pub fn left_from_start(&self) -> Result<Vec<TopicPartition>, LogDirError> {
        let mut left = Vec::new();
        for served in self.dirs.iter().filter(|served| served.check_in_service().is_ok()) {
            for partition in served.dir.partitions() {
                if served.dir.has(partition)? {
                    left.push(partition.clone());
                }
            }
        }
        Ok(left)
    }

    /// Notes the epochs of records that are about to be acted on (rule 31), in every directory that is in service. Those that
    /// failed are returned: what is noted in one of them holds after a restart.
    ///
    /// # Errors
    /// When they cannot be written anywhere. None of the records may be acted on then.
    pub fn note_epochs<'a>(
        &self,
        records: impl IntoIterator<Item = &'a PartitionRecord>,
    ) -> Result<Vec<DiskError>, DiskError> {
        let records: Vec<&PartitionRecord> = records.into_iter().collect();
        let (mut failed, mut noted) = (Vec::new(), false);
        // A directory that has failed is asked where there is no other.
        for only_in_service in [true, false] {
            let asked =
                self.dirs.iter().filter(|served| served.check_in_service().is_ok() == only_in_service);
            for served in asked {
                match served.state.lock().epochs.note(records.iter().copied()) {
                    Ok(()) => noted = true,
                    Err(error) => failed.push(error),
                }
            }
            if noted {
                return Ok(failed);
            }
        }
        failed.pop().map_or(Ok(Vec::new()), Err)
    }

    /// Forgets the epochs of a topic that does not exist any more.
    pub fn forget(&self, topic_id: Uuid) {
        self.dirs.iter().for_each(|served| served.state.lock().epochs.forget(topic_id));
    }

    /// Which epochs the broker has acted under (rule 25).
    pub fn held(&self) -> Vec<HeldPartition> {
        let mut all: Vec<HeldPartition> =
            self.dirs.iter().flat_map(|served| served.state.lock().epochs.held()).collect();
        let rank = |held: &HeldPartition| (held.creation, held.leader_epoch, held.partition_epoch);
        all.sort_by(|a, b| (a.topic_id, a.partition, rank(b)).cmp(&(b.topic_id, b.partition, rank(a))));
        all.dedup_by_key(|held| (held.topic_id, held.partition));
        all
    }

    /// A write or sync in a directory failed: the next start must not believe that it has everything (rule 28). Does
    /// nothing from the second time on. Whether this was the first.
    ///
    /// # Errors
    /// When the note cannot be taken away; the next call tries again.
    pub fn strike_out_note(&self, dir: &Path) -> Result<bool, DiskError> {
        match self.dirs.iter().find(|served| served.dir.path() == dir) {
            Some(served) => served.strike_out_note(),
            None => Ok(false),
        }
    }
}

fn check_each_once<S: Storage>(dirs: &[(LogDir<S>, RecoveredLogs<S>)]) -> Result<(), LogsStartError> {
    let mut seen: BTreeMap<&TopicPartition, &Path> = BTreeMap::new();
    for (dir, _) in dirs {
        for partition in dir.partitions() {
            if let Some(first) = seen.insert(partition, dir.path()) {
                let (first, second) = (first.to_owned(), dir.path().to_owned());
                return Err(LogsStartError::Twice { partition: partition.clone(), first, second });
            }
        }
    }
    Ok(())
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
    /// What a crash left of a move between directories cannot be ended.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A partition has a log in two directories.
    #[error(
        "{partition} has a log both in {} and in {}: find out which is right, move the other one out of the data \
         directory, and start the broker again; nothing in them was touched",
        first.display(), second.display()
    )]
    Twice {
        /// The partition.
        partition: TopicPartition,
        /// One directory.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::test_support::record;
    use taffrail_log::storage::{Access, StorageFile};
    use taffrail_log::{MemoryStorage, MetaProperties, OpenMode};
    use taffrail_protocol::record_batch::{BatchBuilder, Compression};

    const ME: Member = Member { broker_id: 1, incarnation: 9 };

    fn properties() -> MetaProperties {
        MetaProperties { cluster_id: "c".to_owned(), node_id: 1, directory_id: Uuid([1; 16]) }
    }

    fn logs(storage: &MemoryStorage) -> ReplicaLogs<MemoryStorage> {
        logs_in(storage, &["/data"], &[], 0).unwrap()
    }

    fn logs_in(
        storage: &MemoryStorage,
        dirs: &[&str],
        absent: &[&str],
        now_ms: i64,
    ) -> Result<ReplicaLogs<MemoryStorage>, LogsStartError> {
        let open = |path: &&str| LogDir::open(storage.clone(), PathBuf::from(path), properties()).unwrap();
        let dirs = dirs.iter().map(|path| (open(path), RecoveredLogs::new())).collect();
        let absent = absent.iter().map(PathBuf::from).collect();
        let made = ReplicaLogs::new(storage.clone(), dirs, absent, ME, LogClaim::SameBoot, now_ms);
        made.map(|(logs, _)| logs)
    }

    fn checkpoint(logs: &ReplicaLogs<MemoryStorage>, positions: Positions) {
        let (partition, path) = (TopicPartition::new("t", 0), PathBuf::from("/data/t-0"));
        logs.checkpoint(|| vec![Checkpointed { partition, path, positions }]).unwrap();
    }

    fn open(
        logs: &ReplicaLogs<MemoryStorage>,
        record: &PartitionRecord,
        unique: u8,
    ) -> Opened<MemoryStorage> {
        logs.open("t", record, LogConfig::default(), None, Uuid([unique; 16]), 0).unwrap()
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
            checkpoint(&logs, positions);
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
            checkpoint(&logs, positions);
            open(&logs, &of_topic(2, 2), 2);
        }
        // The process died before it wrote another checkpoint.
        let logs = logs(&storage);
        let opened = open(&logs, &of_topic(2, 2), 3);
        assert_eq!(opened.verdict, Opening::Open);
        assert_eq!(opened.log.unwrap().high_watermark, 0);
        assert_eq!(logs.dirs[0].dir.open_mode(&TopicPartition::new("t", 0)), OpenMode::UNKNOWN);
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
        assert_eq!(super::tests::logs(&storage).dirs[0].dir.leftovers().len(), 1, "the next start ends it");
    }

    #[test]
    fn the_age_of_what_was_moved_aside_survives_a_restart_and_a_clock_that_was_set_back() {
        for seed in 0..9 {
            let storage = MemoryStorage::new();
            drop(with_a_stray(&storage));
            storage.crash(seed);
            let at = |now_ms| logs_in(&storage, &["/data"], &[], now_ms).unwrap();
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
    fn a_log_that_is_taken_back_damaged_is_missing_where_it_is_counted_on() {
        for (is_damaged, is_named) in [(true, true), (true, false), (false, true)] {
            let storage = MemoryStorage::new();
            let logs = logs(&storage);
            let mut log = open(&logs, &of_topic(1, 1), 1).log.unwrap().log;
            let mut builder = BatchBuilder::new(Compression::None);
            builder.append(0, None, Some(b"value"), &[]);
            log.append_as_follower(&builder.build().unwrap(), 0).unwrap();
            drop(log);
            let stray = logs.set_aside(&TopicPartition::new("t", 0), Uuid([5; 16]), 0).unwrap();
            if is_damaged {
                let segment = stray.join("00000000000000000000.log");
                let file = storage.open(&segment, Access::Write).unwrap();
                file.write_all_at(b"!", file.size().unwrap() - 2).unwrap();
            }
            let isr = if is_named { vec![ME] } else { Vec::new() };
            let record = PartitionRecord { isr, leader_epoch: 4, ..of_topic(1, 1) };
            let is_missing = is_damaged && is_named;
            // Nor is it taken back later, when it was cut.
            for unique in [2, 3] {
                let opened = open(&logs, &record, unique);
                let end = opened.log.map(|log| log.log.log_end_offset());
                assert_eq!(end, (!is_missing).then_some(i64::from(!is_damaged)), "{is_damaged} {is_named}");
                assert_eq!(opened.verdict == Opening::Fresh(Fresh::Missing), is_missing);
            }
        }
    }

    #[test]
    fn the_note_is_struck_out_once() {
        let storage = MemoryStorage::new();
        let logs = logs(&storage);
        assert!(logs.strike_out_note(Path::new("/data")).unwrap());
        assert!(!logs.strike_out_note(Path::new("/data")).unwrap());
    }

    fn partition(number: i32) -> PartitionRecord {
        record(number, 1, 0)
    }

    fn place_of(opened: &Opened<MemoryStorage>) -> &str {
        opened.log.as_ref().unwrap().log.dir().parent().unwrap().to_str().unwrap()
    }

    #[test]
    fn new_logs_go_where_the_fewest_are_and_not_into_what_is_full_or_failed() {
        let storage = MemoryStorage::new();
        let logs = logs_in(&storage, &["/a", "/b", "/c"], &[], 0).unwrap();
        let placed = |number| place_of(&open(&logs, &partition(number), 1)).to_owned();
        assert_eq!([0, 1, 2, 3].map(placed), ["/a", "/b", "/c", "/a"]);
        logs.deleted(Path::new("/c/t-2"));
        assert_eq!(placed(4), "/c");
        assert!(logs.set_condition(Path::new("/b"), Condition::Full("full".into())));
        assert!(logs.set_condition(Path::new("/c"), Condition::Failed("bad".into())));
        assert!(!logs.set_condition(Path::new("/c"), Condition::Online), "it stays out of service");
        assert_eq!([5, 6].map(placed), ["/a", "/a"]);
        logs.set_condition(Path::new("/a"), Condition::Full("full".into()));
        assert_eq!(placed(7), "/b", "where all are full, the emptiest");
        drop(logs);
        let again = logs_in(&storage, &["/a", "/b", "/c"], &[], 0).unwrap();
        let found = |number| place_of(&open(&again, &partition(number), 1)).to_owned();
        assert_eq!([0, 1, 3, 4, 7].map(found), ["/a", "/b", "/a", "/c", "/b"]);
    }

    #[test]
    fn a_stray_in_one_directory_is_found_for_a_name_that_is_taken_in_another() {
        let storage = MemoryStorage::new();
        let logs = logs_in(&storage, &["/a", "/b"], &[], 0).unwrap();
        assert_eq!(place_of(&open(&logs, &of_topic(1, 1), 1)), "/a");
        logs.note_epochs([&of_topic(1, 1)]).unwrap();
        logs.set_aside(&TopicPartition::new("t", 0), Uuid([2; 16]), 0).unwrap();
        open(&logs, &partition(5), 3);
        assert_eq!(place_of(&open(&logs, &of_topic(2, 2), 3)), "/b");
        logs.note_epochs([&of_topic(2, 2)]).unwrap();
        let opened = open(&logs, &of_topic(1, 3), 4);
        assert_eq!((opened.verdict, place_of(&opened)), (Opening::SetAside(Fresh::TakeBack), "/a"));
        assert!(opened.set_aside.is_some_and(|path| path.starts_with("/b")));
    }

    #[test]
    fn a_partition_in_two_directories_is_refused_with_both_names() {
        let storage = MemoryStorage::new();
        storage.create_dir_all(Path::new("/a/t-0")).unwrap();
        drop(logs_in(&storage, &["/b"], &[], 0).unwrap());
        let properties = taffrail_log::meta_properties::encode(&properties());
        storage.replace_small(Path::new("/a/meta.properties"), properties.as_bytes()).unwrap();
        storage.create_dir_all(Path::new("/b/t-0")).unwrap();
        let Err(error) = logs_in(&storage, &["/a", "/b"], &[], 0) else { panic!("it was taken") };
        assert!(error.to_string().contains("t-0 has a log both in /a and in /b"), "{error}");
        assert!(storage.list(Path::new("/a/t-0")).is_ok() && storage.list(Path::new("/b/t-0")).is_ok());
    }

    #[test]
    fn no_empty_log_is_made_in_place_of_one_in_a_directory_that_is_out_of_service() {
        let storage = MemoryStorage::new();
        let moved_away =
            |number| PartitionRecord { partition_epoch: 9, leader_epoch: 3, ..partition(number) };
        {
            let logs = logs_in(&storage, &["/a", "/b"], &[], 0).unwrap();
            assert_eq!(place_of(&open(&logs, &partition(0), 1)), "/a");
            logs.note_epochs([&partition(0)]).unwrap();
        }
        let logs = logs_in(&storage, &["/b"], &["/a"], 0).unwrap();
        let opened = logs.open("t", &moved_away(0), LogConfig::default(), None, Uuid([1; 16]), 0);
        assert!(matches!(opened, Err(LogsError::Elsewhere(paths)) if paths == [PathBuf::from("/a")]));
        assert_eq!(place_of(&open(&logs, &moved_away(1), 1)), "/b", "of this one nothing was ever here");
    }

    #[test]
    fn epochs_are_noted_in_every_directory_and_one_that_fails_does_not_hold_up_the_others() {
        use taffrail_log::storage::{Effect, Fault, Operation};
        let storage = MemoryStorage::new();
        let logs = logs_in(&storage, &["/a", "/b"], &[], 0).unwrap();
        let fail = |after, times: u64| {
            for _ in 0..times {
                let name_ends_with = "taffrail.epochs".to_owned();
                let (operation, effect) = (Operation::Write, Effect::IoError);
                storage.inject(Fault { operation, after, name_ends_with, effect });
            }
        };
        fail(0, 1);
        assert_eq!(logs.note_epochs([&record(0, 1, 4)]).unwrap().len(), 1);
        let only = |dir: &str| logs_held(&logs_in(&storage.clone(), &[dir], &[], 0).unwrap());
        fail(0, 2);
        assert!(logs.note_epochs([&record(0, 1, 5)]).is_err());
        assert_eq!(logs_held(&logs), [(0, 4)]);
        drop(logs);
        assert_eq!((only("/a"), only("/b")), (vec![], vec![(0, 4)]));
        assert_eq!(logs_held(&logs_in(&storage, &["/a", "/b"], &[], 0).unwrap()), [(0, 4)]);
    }

    fn logs_held(logs: &ReplicaLogs<MemoryStorage>) -> Vec<(i32, i32)> {
        logs.held().iter().map(|held| (held.partition, held.leader_epoch)).collect()
    }
}
