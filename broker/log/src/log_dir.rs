//! A data directory: many logs under one lock, the checkpoints they share, and the marker of a clean stop
//! (`org.apache.kafka.storage.internals.log.LogManager`).
//!
//! Our directories are marked by a key of our own in [`meta.properties`](crate::meta_properties). One of Apache Kafka's
//! is recognised before anything is touched, and left alone.

mod moving;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use taffrail_protocol::Uuid;
use thiserror::Error;

use crate::clean_shutdown;
use crate::config::LogConfig;
use crate::error::{CheckpointError, OpenError};
use crate::log::{Log, OpenMode};
use crate::meta_properties::{self, MetaProperties, Owner};
use crate::names::{self, DirKind, TopicPartition};
use crate::offset_checkpoint::{self, Offsets};
use crate::partition_metadata;
use crate::recovery::{self, RecoveryProgress, RecoveryReport, Workload};
use crate::storage::Storage;

pub use moving::LogCheckpoints;

/// A data directory could not be opened or used.
#[derive(Debug, Error)]
pub enum LogDirError {
    /// Another process has it.
    #[error(
        "the data directory {} is in use by another process: stop that one, or name another directory",
        path.display()
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// It is Apache Kafka's.
    #[error(
        "the data directory {} belongs to Apache Kafka ({evidence}), and taking over a whole one is not supported: name \
         another directory; nothing in it was touched",
        path.display()
    )]
    ApacheKafka {
        /// The data directory.
        path: PathBuf,
        /// How that shows.
        evidence: &'static str,
    },
    /// It has logs, and nothing says whose.
    #[error(
        "the data directory {} holds logs such as {example}, but no meta.properties says whose they are: name an empty \
         directory, or put the file back; nothing in it was touched",
        path.display()
    )]
    Unmarked {
        /// The data directory.
        path: PathBuf,
        /// One of the logs.
        example: String,
    },
    /// It is another broker's or another cluster's.
    #[error(
        "the data directory {} belongs to {key} {stored}, and this is {key} {own}: name another directory",
        path.display()
    )]
    OtherOwner {
        /// The data directory.
        path: PathBuf,
        /// What differs: `cluster.id` or `node.id`.
        key: &'static str,
        /// What the directory says.
        stored: String,
        /// What the caller says.
        own: String,
    },
    /// A file of the directory could not be read, understood or written.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// Something else failed.
    #[error("cannot use the data directory {}: {action} failed: {source}", path.display())]
    Io {
        /// The data directory.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl LogDirError {
    /// The data directory, or the file in it.
    pub fn path(&self) -> &Path {
        match self {
            Self::InUse { path }
            | Self::ApacheKafka { path, .. }
            | Self::Unmarked { path, .. }
            | Self::OtherOwner { path, .. }
            | Self::Io { path, .. } => path,
            Self::File(error) => error.path(),
        }
    }

    /// What the disk answered, if it is the disk that failed and nothing is wrong with the choice of the directory.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::File(error) => error.io(),
            Self::InUse { .. }
            | Self::ApacheKafka { .. }
            | Self::Unmarked { .. }
            | Self::OtherOwner { .. } => None,
        }
    }
}

/// What a data directory is, as found without touching it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirState {
    /// It does not exist, or holds nothing of a broker's.
    Fresh,
    /// It is one of ours.
    Ours(MetaProperties),
}

/// Looks at a directory and touches nothing.
///
/// # Errors
/// When it is Apache Kafka's, or has logs of an unknown owner, or cannot be read.
pub fn inspect<S: Storage>(storage: &S, path: &Path) -> Result<DirState, LogDirError> {
    let fail = |source| LogDirError::Io { path: path.to_owned(), action: "listing it", source };
    let entries = match storage.list(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DirState::Fresh),
        Err(error) => return Err(fail(error)),
    };
    let apache = |evidence| Err(LogDirError::ApacheKafka { path: path.to_owned(), evidence });
    if entries.iter().any(|entry| entry.is_dir && entry.name == names::KAFKA_METADATA_DIR) {
        return apache("it has the metadata log __cluster_metadata-0");
    }
    let file = path.join(names::META_PROPERTIES);
    let bytes = storage
        .read_small(&file, meta_properties::MAX_BYTES)
        .map_err(|source| CheckpointError::Read { path: file.clone(), source })?;
    if let Some(bytes) = bytes {
        let owner = meta_properties::decode(&bytes);
        return match owner.map_err(|source| CheckpointError::Format { path: file, source })? {
            Owner::Taffrail(properties) => Ok(DirState::Ours(properties)),
            Owner::ApacheKafka => apache("its meta.properties has no taffrail.version"),
        };
    }
    if entries.iter().any(|entry| entry.name == names::KAFKA_BOOTSTRAP) {
        return apache("it has a bootstrap.checkpoint");
    }
    let log = entries
        .iter()
        .find(|entry| entry.is_dir && matches!(DirKind::parse(&entry.name), DirKind::Partition(_)));
    match log {
        Some(log) => Err(LogDirError::Unmarked { path: path.to_owned(), example: log.name.clone() }),
        None => Ok(DirState::Fresh),
    }
}

/// More than any time has.
const MAX_SET_ASIDE_BYTES: u64 = 64;

/// A data directory that is locked by this process until it is dropped.
pub struct LogDir<S: Storage> {
    storage: S,
    path: PathBuf,
    lock: S::Lock,
    properties: MetaProperties,
    clean: bool,
    closed: bool,
    previous_broker_epoch: Option<i64>,
    recovery_points: Offsets,
    log_starts: Offsets,
    high_watermarks: Offsets,
    cleaned: Offsets,
    partitions: Vec<TopicPartition>,
    leftovers: Vec<PathBuf>,
    strays: Vec<PathBuf>,
    futures: Vec<PathBuf>,
    progress: Arc<RecoveryProgress>,
    /// What the checkpoint files hold now.
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    recovery_points: Offsets,
    log_starts: Offsets,
    high_watermarks: Offsets,
    cleaned: Offsets,
    moving: Offsets,
}

impl<S: Storage> LogDir<S> {
    /// Opens a data directory, or makes one with these properties. One that is there must have the same cluster and node
    /// ids; its own directory id holds. The marker of a clean stop lets this one start believe the logs unseen; it is renamed,
    /// so that the next one still knows that nothing was lost, should this one end before it writes
    /// ([`forget_closed`](Self::forget_closed)).
    ///
    /// # Errors
    /// When the directory is in use, somebody else's, or cannot be read or written.
    pub fn open(storage: S, path: PathBuf, properties: MetaProperties) -> Result<Self, LogDirError> {
        inspect(&storage, &path)?;
        let fail = |action| {
            let path = path.clone();
            move |source| LogDirError::Io { path, action, source }
        };
        storage.create_dir_all(&path).map_err(fail("making it"))?;
        let lock = storage.lock(&path.join(names::LOCK)).map_err(fail("locking it"))?;
        let Some(lock) = lock else { return Err(LogDirError::InUse { path }) };
        // Looked at again: another process may have made it between the first look and the lock.
        let properties = match inspect(&storage, &path)? {
            DirState::Ours(stored) => check_owner(&path, stored, &properties)?,
            DirState::Fresh => {
                let file = path.join(names::META_PROPERTIES);
                storage
                    .replace_small(&file, meta_properties::encode(&properties).as_bytes())
                    .map_err(|source| CheckpointError::Write { path: file, source })?;
                properties
            }
        };
        let (marker, closed) = (path.join(names::CLEAN_SHUTDOWN), path.join(names::CLOSED));
        let marker_in = |file: &Path| storage.read_small(file, clean_shutdown::MAX_BYTES);
        let bytes = marker_in(&marker).map_err(fail("reading its marker"))?;
        let clean = bytes.is_some();
        let bytes = if clean {
            storage.rename(&marker, &closed).map_err(fail("renaming its marker"))?;
            storage.sync_dir(&path).map_err(fail("syncing it"))?;
            bytes
        } else {
            marker_in(&closed).map_err(fail("reading its marker"))?
        };
        let read = |name| offset_checkpoint::read(&storage, &path.join(name));
        let mut dir = Self {
            clean,
            closed: bytes.is_some(),
            previous_broker_epoch: bytes.as_deref().and_then(clean_shutdown::decode),
            recovery_points: read(names::RECOVERY_POINT_CHECKPOINT)?,
            log_starts: read(names::LOG_START_CHECKPOINT)?,
            high_watermarks: read(names::REPLICATION_CHECKPOINT)?,
            cleaned: read(names::CLEANER_CHECKPOINT)?,
            partitions: Vec::new(),
            leftovers: Vec::new(),
            strays: Vec::new(),
            futures: Vec::new(),
            progress: Arc::default(),
            written: Mutex::default(),
            lock,
            properties,
            storage,
            path,
        };
        *dir.written.get_mut() = Written {
            recovery_points: dir.recovery_points.clone(),
            log_starts: dir.log_starts.clone(),
            high_watermarks: dir.high_watermarks.clone(),
            cleaned: dir.cleaned.clone(),
            moving: offset_checkpoint::read(&dir.storage, &dir.path.join(names::MOVING))?,
        };
        dir.scan()?;
        Ok(dir)
    }

    fn scan(&mut self) -> Result<(), LogDirError> {
        let entries = self.storage.list(&self.path);
        let entries = entries.map_err(|source| self.fail("listing it", source))?;
        for entry in entries.into_iter().filter(|entry| entry.is_dir) {
            match DirKind::parse(&entry.name) {
                DirKind::Partition(partition) => self.partitions.push(partition),
                DirKind::Deleted => self.leftovers.push(self.path.join(&entry.name)),
                DirKind::Stray => self.strays.push(self.path.join(&entry.name)),
                DirKind::Future => self.futures.push(self.path.join(&entry.name)),
                DirKind::Other => {}
            }
        }
        self.partitions.sort_unstable();
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn properties(&self) -> &MetaProperties {
        &self.properties
    }

    /// Whether the process before this one stopped in good order: the logs need not be looked at.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Whether the last process that wrote here stopped in good order: nothing was lost.
    pub fn was_closed(&self) -> bool {
        self.closed
    }

    /// The broker epoch of the last process that wrote here, if it stopped in good order and said.
    pub fn previous_broker_epoch(&self) -> Option<i64> {
        self.previous_broker_epoch
    }

    /// The partitions that had a log when the directory was opened, in order.
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// Directories of logs whose deletion was not finished; [`remove_dir`](crate::remove_dir) ends it.
    pub fn leftovers(&self) -> &[PathBuf] {
        &self.leftovers
    }

    /// Directories that had been set aside when the directory was opened ([`set_aside`](Self::set_aside)).
    pub fn strays(&self) -> &[PathBuf] {
        &self.strays
    }

    /// Whether a partition has a directory now.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn has(&self, partition: &TopicPartition) -> Result<bool, LogDirError> {
        match self.storage.list(&self.log_path(partition)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.fail("listing a log's directory", error)),
        }
    }

    /// The id of the topic whose log a directory holds; `None` where it does not tell or cannot be understood.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn topic_id_in(&self, log_dir: &Path) -> Result<Option<Uuid>, LogDirError> {
        let path = log_dir.join(names::PARTITION_METADATA);
        let bytes = self.storage.read_small(&path, partition_metadata::MAX_BYTES);
        let bytes = bytes.map_err(|source| self.fail("reading partition.metadata", source))?;
        Ok(bytes.and_then(|bytes| partition_metadata::decode(&bytes).ok()))
    }

    /// Where a partition's log is, or would be.
    pub fn log_path(&self, partition: &TopicPartition) -> PathBuf {
        self.path.join(partition.dir_name())
    }

    /// The high watermark of a partition when it was last written down, or 0.
    pub fn high_watermark(&self, partition: &TopicPartition) -> i64 {
        self.high_watermarks.get(partition).copied().unwrap_or(0)
    }

    /// What the checkpoints tell about a log.
    pub fn open_mode(&self, partition: &TopicPartition) -> OpenMode {
        let find = |offsets: &Offsets| offsets.get(partition).copied().unwrap_or(0);
        OpenMode {
            clean: self.clean,
            recovery_point: find(&self.recovery_points),
            log_start_offset: find(&self.log_starts),
        }
    }

    /// Opens the log of a partition that is there.
    ///
    /// # Errors
    /// Those of [`Log::open`].
    pub fn open_log(
        &self,
        partition: &TopicPartition,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<(Log<S>, RecoveryReport), OpenError> {
        let (storage, path, mode) =
            (self.storage.clone(), self.log_path(partition), self.open_mode(partition));
        let checked = |bytes| self.progress.checked(partition, bytes);
        let opened = Log::open_watched(storage, path, config, mode, now_ms, &checked);
        self.progress.opened(partition);
        let (mut log, report) = opened?;
        log.set_cleaned_to(self.cleaned.get(partition).copied().unwrap_or(0));
        Ok((log, report))
    }

    /// How far opening the logs has come that were there when the directory was opened.
    pub fn progress(&self) -> &Arc<RecoveryProgress> {
        &self.progress
    }

    /// Counts what is to be checked when the logs of the directory are opened, for its [`progress`](Self::progress). A log
    /// that cannot be listed counts as one with nothing to check; opening it says why.
    pub fn count_recovery(&self) {
        for partition in &self.partitions {
            let counted =
                recovery::workload(&self.storage, &self.log_path(partition), &self.open_mode(partition));
            self.progress.expect(partition, counted.unwrap_or(Workload { logs: 1, ..Workload::default() }));
        }
    }

    /// Makes the log of a partition.
    ///
    /// # Errors
    /// Those of [`Log::create`].
    pub fn create_log(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<Log<S>, OpenError> {
        Log::create(self.storage.clone(), self.log_path(partition), config, topic_id, now_ms)
    }

    /// Sets a partition's directory aside under a name that is no partition's, and returns where it is now: its log is
    /// kept, and nobody opens it (`-stray`). It notes in it that this happened `now_ms`.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(
        &self,
        partition: &TopicPartition,
        unique: Uuid,
        now_ms: i64,
    ) -> Result<PathBuf, LogDirError> {
        let to = self.path.join(names::stray_dir_name(partition, unique));
        let renamed = self.storage.rename(&self.log_path(partition), &to);
        renamed.map_err(|source| self.fail("renaming a log's directory", source))?;
        self.sync()?;
        self.note_set_aside(&to, now_ms);
        Ok(to)
    }

    /// After the rename, so that no older note counts. Where it cannot be written the time begins with the next start.
    fn note_set_aside(&self, stray: &Path, now_ms: i64) {
        let _ = self.storage.replace_small(&stray.join(names::SET_ASIDE), format!("{now_ms}\n").as_bytes());
    }

    /// When a directory was set aside. One that does not tell, or tells a time to come, is taken to have been set aside
    /// `now_ms`, and does tell from then on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn set_aside_since(&self, stray: &Path, now_ms: i64) -> Result<i64, LogDirError> {
        let bytes = self.storage.read_small(&stray.join(names::SET_ASIDE), MAX_SET_ASIDE_BYTES);
        let bytes = bytes.map_err(|source| self.fail("reading since when a log is set aside", source))?;
        let noted = bytes.and_then(|bytes| str::from_utf8(&bytes).ok()?.trim().parse().ok());
        let since = noted.filter(|since| (0..=now_ms).contains(since));
        Ok(since.unwrap_or_else(|| {
            self.note_set_aside(stray, now_ms);
            now_ms
        }))
    }

    /// Marks a directory that was set aside as one to be deleted, and returns where it is now:
    /// [`remove_dir`](crate::remove_dir) ends it, in this process or after its end as one of the
    /// [`leftovers`](Self::leftovers).
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn give_up(&self, stray: &Path) -> Result<PathBuf, LogDirError> {
        let name = stray.file_name().and_then(|name| names::delete_stray_dir_name(name.to_str()?));
        let to = name.map(|name| self.path.join(name)).ok_or_else(|| io::ErrorKind::InvalidFilename.into());
        let renamed = to.and_then(|to| self.storage.rename(stray, &to).map(|()| to));
        let to = renamed.map_err(|source| self.fail("renaming a log's directory", source))?;
        self.sync()?;
        Ok(to)
    }

    /// Gives a directory that was set aside a partition's name, so that its log can be opened. What the checkpoints tell
    /// about that name is not about this log.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn take_back(&self, stray: &Path, partition: &TopicPartition) -> Result<(), LogDirError> {
        let path = self.log_path(partition);
        let renamed = self.storage.rename(stray, &path);
        renamed.map_err(|source| self.fail("renaming a log's directory", source))?;
        // Should it stay, it is replaced before it counts again.
        let _ = self.storage.remove_file(&path.join(names::SET_ASIDE));
        self.sync()
    }

    /// Makes the names of the logs' directories durable: due after logs were created, before they are counted on.
    ///
    /// # Errors
    /// When it cannot be synced.
    pub fn sync(&self) -> Result<(), LogDirError> {
        self.storage.sync_dir(&self.path).map_err(|source| self.fail("syncing it", source))
    }

    /// Makes all that was written in it durable at once, and whatever else the file system holds: between
    /// [`Log::begin_close`] and [`Log::finish_close`] of all its logs. Blocks.
    ///
    /// # Errors
    /// When something could not be written; no log is then closed in good order.
    pub fn sync_all(&self) -> Result<(), LogDirError> {
        self.storage.sync_all(&self.lock).map_err(|source| self.fail("syncing all of it", source))
    }

    /// Writes down up to where each log is durable.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_recovery_points(&self, offsets: &Offsets) -> Result<(), CheckpointError> {
        let mut written = self.written.lock();
        offset_checkpoint::write(&self.storage, &self.path.join(names::RECOVERY_POINT_CHECKPOINT), offsets)?;
        written.recovery_points.clone_from(offsets);
        Ok(())
    }

    /// Writes down where each log begins.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_log_starts(&self, offsets: &Offsets) -> Result<(), CheckpointError> {
        let mut written = self.written.lock();
        offset_checkpoint::write(&self.storage, &self.path.join(names::LOG_START_CHECKPOINT), offsets)?;
        written.log_starts.clone_from(offsets);
        Ok(())
    }

    /// Writes down where some logs begin; of the others stays what was written last.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn update_log_starts(
        &self,
        starts: impl IntoIterator<Item = (TopicPartition, i64)>,
    ) -> Result<(), CheckpointError> {
        let mut written = self.written.lock();
        let mut offsets = written.log_starts.clone();
        for (partition, offset) in starts {
            // A log that is not told of begins where its first segment does.
            if offset > 0 {
                offsets.insert(partition, offset);
            } else {
                offsets.remove(&partition);
            }
        }
        if offsets != written.log_starts {
            let path = self.path.join(names::LOG_START_CHECKPOINT);
            offset_checkpoint::write(&self.storage, &path, &offsets)?;
            written.log_starts = offsets;
        }
        Ok(())
    }

    /// Writes down up to where a log is compacted.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_cleaned(&self, partition: &TopicPartition, offset: i64) -> Result<(), CheckpointError> {
        let mut written = self.written.lock();
        let before = written.cleaned.insert(partition.clone(), offset);
        let path = self.path.join(names::CLEANER_CHECKPOINT);
        let result = offset_checkpoint::write(&self.storage, &path, &written.cleaned);
        if let (Err(_), Some(before)) = (&result, before) {
            written.cleaned.insert(partition.clone(), before);
        }
        result
    }

    /// Writes down each partition's high watermark.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_high_watermarks(&self, offsets: &Offsets) -> Result<(), CheckpointError> {
        let mut written = self.written.lock();
        offset_checkpoint::write(&self.storage, &self.path.join(names::REPLICATION_CHECKPOINT), offsets)?;
        written.high_watermarks.clone_from(offsets);
        Ok(())
    }

    /// Takes a partition out of the checkpoints: due before another log gets its name, or what they tell of the old one
    /// would be believed of the new one after a crash. Costs nothing where they do not tell of it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn forget_checkpoints(&self, partition: &TopicPartition) -> Result<(), CheckpointError> {
        let mut written = self.written.lock();
        let Written { recovery_points, log_starts, high_watermarks, cleaned, .. } = &mut *written;
        for (offsets, name) in [
            (recovery_points, names::RECOVERY_POINT_CHECKPOINT),
            (log_starts, names::LOG_START_CHECKPOINT),
            (high_watermarks, names::REPLICATION_CHECKPOINT),
            (cleaned, names::CLEANER_CHECKPOINT),
        ] {
            if let Some(offset) = offsets.remove(partition) {
                let forgotten = offset_checkpoint::write(&self.storage, &self.path.join(name), offsets);
                if forgotten.is_err() {
                    offsets.insert(partition.clone(), offset);
                }
                forgotten?;
            }
        }
        Ok(())
    }

    /// Leaves the marker of a clean stop. Every log must have been closed and every checkpoint written before; where one
    /// of them failed, leave it out.
    ///
    /// # Errors
    /// When the marker cannot be written; the stop then counts as unclean.
    pub fn mark_clean(&self, broker_epoch: i64) -> Result<(), CheckpointError> {
        let path = self.path.join(names::CLEAN_SHUTDOWN);
        let written = self.storage.replace_small(&path, clean_shutdown::encode(broker_epoch).as_bytes());
        written.map_err(|source| CheckpointError::Write { path, source })
    }

    /// To be called before anything is written: the last clean stop tells nothing any more.
    ///
    /// # Errors
    /// When the marker cannot be removed.
    pub fn forget_closed(&self) -> Result<(), LogDirError> {
        let removed = self.storage.remove_file(&self.path.join(names::CLOSED));
        removed.map_err(|source| self.fail("removing its marker", source))
    }

    fn fail(&self, action: &'static str, source: io::Error) -> LogDirError {
        LogDirError::Io { path: self.path.clone(), action, source }
    }
}

fn check_owner(
    path: &Path,
    stored: MetaProperties,
    own: &MetaProperties,
) -> Result<MetaProperties, LogDirError> {
    let differs = |key, stored: String, own: String| {
        Err(LogDirError::OtherOwner { path: path.to_owned(), key, stored, own })
    };
    if stored.cluster_id != own.cluster_id {
        return differs("cluster.id", stored.cluster_id, own.cluster_id.clone());
    }
    if stored.node_id != own.node_id {
        return differs("node.id", stored.node_id.to_string(), own.node_id.to_string());
    }
    Ok(stored)
}
