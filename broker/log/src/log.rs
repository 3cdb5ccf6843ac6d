//! One partition's log: an owner's view of a directory of segments (`org.apache.kafka.storage.internals.log.UnifiedLog`,
//! `LocalLog`).
//!
//! A [`Log`] has one owner, does its work on the caller's thread, and knows no clock: time is an argument, in
//! milliseconds since 1970. It knows no replicas either: how far consumers may read is an argument too.

mod append;
mod check;
mod clean;
mod delete;
mod flush;
mod future;
mod heal;
mod read;
mod repair;
mod replace;
mod times;
mod truncate;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use taffrail_protocol::Uuid;
use taffrail_protocol::record_batch::BatchHeader;

use crate::config::LogConfig;
use crate::error::{OpenError, Poisoned};
use crate::leader_epoch::{EpochEntry, LeaderEpochs};
use crate::names::{self, SegmentFile};
use crate::producer_state::ProducerStates;
use crate::recent::RecentBatches;
use crate::recovery::{self, RecoveryReport};
use crate::segment::{Home, Segment};
use crate::storage::{Access, Storage, StorageFile};
use crate::{leader_epoch, partition_metadata};

pub use append::AppendInfo;
pub(crate) use append::marker_of;
pub use check::{CorruptBatch, SegmentCheck};
pub use delete::{Retained, Sweep};
pub use flush::{Flush, FlushResult, remove_dir};
pub use future::Followed;
pub use read::{FileRange, ReadInfo};
pub(crate) use replace::Rewrite;
pub use replace::{Replaced, Replacement, Unwanted};

/// What is known about a log before it is opened, from the data directory's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenMode {
    /// The log was closed in good order, so its files are taken at their word.
    pub clean: bool,
    /// Up to here everything was synced. Recovery checks from the segment that this is in.
    pub recovery_point: i64,
    /// Records before this were deleted.
    pub log_start_offset: i64,
}

impl OpenMode {
    /// Nothing is known: everything is checked.
    pub const UNKNOWN: Self = Self { clean: false, recovery_point: 0, log_start_offset: 0 };
}

/// One partition on disk.
///
/// The order of its positions, which every change asserts:
///
/// ```text
/// first segment's base offset ≤ log_start_offset ≤ log_end_offset
///                                 recovery_point ≤ log_end_offset
/// first segment's base offset < next segment's … ≤ log_end_offset
/// ```
///
/// An empty last segment may begin behind the end: the batch that it was made for comes behind a hole that compaction left.
///
/// The high watermark lies between `log_start_offset` and `log_end_offset` and is the replica's, not the log's.
/// `recovery_point` may lie on either side of `log_start_offset`.
///
/// After the first write, sync or removal that fails the log is poisoned: it keeps the reason, refuses every change,
/// and goes on serving reads of what it had. To heal it, drop it and open it anew.
pub struct Log<S: Storage> {
    home: Home<S>,
    config: LogConfig,
    topic_id: Option<Uuid>,
    log_start_offset: i64,
    recovery_point: i64,
    /// The recovery point as it was before truncations made it fall. A checkpoint may tell this one still.
    highest_recovery_point: i64,
    log_end_offset: i64,
    /// Never empty; base offsets rise; the last one is written to.
    segments: Vec<Segment<S>>,
    recent: RecentBatches,
    /// Sealed segments whose indexes may be mapped, by base offset, last used last.
    mapped: Vec<i64>,
    producers: ProducerStates,
    /// The end offset of the youngest producer snapshot, or -1.
    snapshot_offset: i64,
    epochs: LeaderEpochs,
    /// Whether they hold an epoch that the file lacks, because nothing was appended in it yet.
    epochs_unwritten: bool,
    /// Counts changes of the directory's names and of its small files.
    changes: u64,
    /// How many of them are durable.
    changes_synced: u64,
    /// Grows with every truncation, so that a flush under way then proves nothing.
    generation: u64,
    /// Records from here on were taken back, or replaced, since a move last asked ([`Log::followed`]); `i64::MIN` where all were.
    cut: Option<i64>,
    last_flush_ms: i64,
    /// Where the last compaction ended; may be below the log's start.
    cleaned_to: i64,
    /// Shared with the sweeps that are under way.
    deleted: Arc<Mutex<delete::Deleted>>,
    /// The claim of the [`Rewrite`] that is under way, if there is one.
    rewrite: Weak<()>,
    /// Set between the first and the last step of closing.
    closing: Option<flush::Closing>,
    poisoned: Option<Poisoned>,
}

impl<S: Storage> Log<S> {
    /// Opens the log in `dir`, which must exist, and repairs what a crash left behind (the table is in
    /// [`Finding`](crate::Finding)). Nothing is synced.
    ///
    /// # Errors
    /// When a file cannot be read or mended, or holds messages in a format from before Apache Kafka 0.11.
    pub fn open(
        storage: S,
        dir: PathBuf,
        config: LogConfig,
        mode: OpenMode,
        now_ms: i64,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_watched(storage, dir, config, mode, now_ms, &|_| {})
    }

    /// As [`open`](Self::open); `checked` hears of each segment that was checked batch by batch, with its bytes.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn open_watched(
        storage: S,
        dir: PathBuf,
        config: LogConfig,
        mode: OpenMode,
        now_ms: i64,
        checked: &dyn Fn(u64),
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let home = Home { storage, dir, suffix: "" };
        let (loaded, report) = recovery::load(&home, &config, mode, now_ms, checked)?;
        let log = Self {
            config,
            topic_id: loaded.topic_id,
            log_start_offset: loaded.log_start_offset,
            recovery_point: loaded.recovery_point,
            highest_recovery_point: mode.recovery_point,
            log_end_offset: loaded.log_end_offset,
            segments: loaded.segments,
            recent: RecentBatches::default(),
            mapped: Vec::new(),
            producers: loaded.producers,
            snapshot_offset: loaded.snapshot_offset,
            epochs: loaded.epochs,
            epochs_unwritten: false,
            changes: u64::from(loaded.files_changed),
            changes_synced: 0,
            generation: 0,
            cut: None,
            last_flush_ms: now_ms,
            cleaned_to: 0,
            deleted: Arc::default(),
            rewrite: Weak::new(),
            closing: None,
            poisoned: None,
            home,
        };
        log.assert_order();
        Ok((log, report))
    }

    /// Makes an empty log in `dir`, which may exist but must hold no log. The files become durable with the first
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// When a file cannot be made, or a log is there.
    pub fn create(
        storage: S,
        dir: PathBuf,
        config: LogConfig,
        topic_id: Uuid,
        now_ms: i64,
    ) -> Result<Self, OpenError> {
        let fail =
            |action: &str, source| OpenError::Io { dir: dir.clone(), action: action.to_owned(), source };
        storage.create_dir_all(&dir).map_err(|error| fail("making the directory", error))?;
        let log = storage.len_of(&SegmentFile::Log.path(&dir, 0));
        if log.map_err(|error| fail("looking for a log", error))?.is_some() {
            return Err(OpenError::Exists { dir });
        }
        let metadata = dir.join(names::PARTITION_METADATA);
        write_whole(&storage, &metadata, partition_metadata::encode(topic_id).as_bytes())
            .map_err(|error| fail("writing partition.metadata", error))?;
        write_whole(
            &storage,
            &dir.join(names::LEADER_EPOCH_CHECKPOINT),
            LeaderEpochs::default().encode().as_bytes(),
        )
        .map_err(|error| fail("writing leader-epoch-checkpoint", error))?;
        let home = Home { storage: storage.clone(), dir: dir.clone(), suffix: "" };
        let segment =
            Segment::create(&home, 0, now_ms).map_err(|error| fail("making the first segment", error))?;
        Ok(Self {
            home,
            config,
            topic_id: Some(topic_id),
            log_start_offset: 0,
            recovery_point: 0,
            highest_recovery_point: 0,
            log_end_offset: 0,
            segments: vec![segment],
            recent: RecentBatches::default(),
            mapped: Vec::new(),
            producers: ProducerStates::default(),
            snapshot_offset: -1,
            epochs: LeaderEpochs::default(),
            epochs_unwritten: false,
            changes: 1,
            changes_synced: 0,
            generation: 0,
            cut: None,
            last_flush_ms: now_ms,
            cleaned_to: 0,
            deleted: Arc::default(),
            rewrite: Weak::new(),
            closing: None,
            poisoned: None,
        })
    }

    /// The partition's directory.
    pub fn dir(&self) -> &Path {
        &self.home.dir
    }

    /// What the directory is in.
    pub fn storage(&self) -> &S {
        &self.home.storage
    }

    /// The topic's id, if `partition.metadata` told it.
    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic_id
    }

    /// The settings.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Takes new settings; they hold from the next append on.
    pub fn update_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> i64 {
        self.log_start_offset
    }

    /// The first offset that is on this disk: the same, as no records are kept elsewhere (KIP-405).
    pub fn local_log_start_offset(&self) -> i64 {
        self.log_start_offset
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> i64 {
        self.log_end_offset
    }

    /// Everything before this offset survives a power cut.
    pub fn recovery_point(&self) -> i64 {
        self.recovery_point
    }

    /// Up to where a consumer may read that wants committed transactions only, given the high watermark: the first
    /// offset of the oldest open transaction, or the high watermark itself.
    pub fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let first = self.producers.first_unstable_offset().unwrap_or(i64::MAX);
        // The beginning of a transaction may have been deleted.
        first.max(self.log_start_offset).min(high_watermark)
    }

    /// Bytes of batches in all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// How many segments there are; at least one.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The base offset of each segment, rising.
    pub fn segment_base_offsets(&self) -> impl Iterator<Item = i64> {
        self.segments.iter().map(|segment| segment.base_offset)
    }

    /// How many idempotent producers are remembered.
    pub fn producer_count(&self) -> usize {
        self.producers.len()
    }

    /// The offset of the last record of an idempotent producer, -1 where it has none any more; `None` if nothing is
    /// remembered of the producer.
    pub fn last_offset_of_producer(&self, producer_id: i64) -> Option<i64> {
        self.producers.last_offset(producer_id)
    }

    /// Forgets producers that were silent for longer than `producer.id.expiration.ms`; returns how many.
    pub fn remove_expired_producers(&mut self, now_ms: i64) -> usize {
        self.producers.expire(now_ms, &self.config)
    }

    /// Why the log refuses writes, if it does.
    pub fn poisoned(&self) -> Option<&Poisoned> {
        self.poisoned.as_ref()
    }

    /// The leader epochs and where they begin.
    pub fn leader_epochs(&self) -> &[EpochEntry] {
        self.epochs.entries()
    }

    /// The youngest leader epoch that is in the log.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest().map(|entry| entry.epoch)
    }

    /// The leader epoch of the record at `offset`.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        self.epochs.epoch_for_offset(offset)
    }

    /// Where an epoch ends, for OffsetForLeaderEpoch and the divergence check of Fetch: the largest known epoch not
    /// above `epoch`, and the offset behind its last record. `None` when nothing can be said (KIP-101, KIP-279).
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<EpochEntry> {
        self.epochs.end_offset_for(epoch, self.log_end_offset)
    }

    /// Notes that this broker leads with `epoch` from the log's end on, before it appends anything in it. The file is
    /// written with the first batch of the epoch: an epoch without one would not survive a restart anyway, and a broker
    /// that takes over thousands of idle partitions shall not write thousands of files.
    pub fn assign_leader_epoch(&mut self, epoch: i32) -> Result<(), Poisoned> {
        self.check_writable()?;
        self.epochs_unwritten |= self.epochs.assign(epoch, self.log_end_offset);
        Ok(())
    }

    /// Notes the epoch of a batch that is about to be appended.
    fn assign_epoch(&mut self, epoch: i32, start_offset: i64) -> Result<(), Poisoned> {
        if self.epochs.assign(epoch, start_offset) || self.epochs_unwritten {
            self.write_epochs()?;
        }
        Ok(())
    }

    fn write_epochs(&mut self) -> Result<(), Poisoned> {
        let written = leader_epoch::write(&self.home.storage, &self.home.dir, &self.epochs);
        self.changes += 1;
        self.epochs_unwritten = false;
        self.guard("writing leader-epoch-checkpoint", written)
    }

    fn check_writable(&self) -> Result<(), Poisoned> {
        match &self.poisoned {
            Some(poisoned) => Err(poisoned.clone()),
            None => Ok(()),
        }
    }

    /// Poisons the log if `result` is an error.
    fn guard<T>(&mut self, action: &'static str, result: io::Result<T>) -> Result<T, Poisoned> {
        result.map_err(|source| self.poison(action, source, false))
    }

    /// As [`guard`](Self::guard), where all is in doubt that the log had.
    fn guard_all<T>(&mut self, action: &'static str, result: io::Result<T>) -> Result<T, Poisoned> {
        result.map_err(|source| self.poison(action, source, true))
    }

    /// The first reason stays, but more may come to be in doubt.
    fn poison(&mut self, action: &'static str, source: io::Error, in_doubt: bool) -> Poisoned {
        let (dir, source) = (self.home.dir.clone(), Arc::new(source));
        let poisoned = self.poisoned.get_or_insert(Poisoned { dir, action, source, in_doubt });
        poisoned.in_doubt |= in_doubt;
        poisoned.clone()
    }

    fn active(&mut self) -> &mut Segment<S> {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// Ends the active segment and begins one at the log's end, or at `base_offset` if that is behind it.
    fn roll(&mut self, base_offset: i64, now_ms: i64) -> Result<(), Poisoned> {
        let base_offset = base_offset.max(self.log_end_offset);
        let last = self.segments.len() - 1;
        if self.segments[last].size == 0 {
            // An empty segment is replaced by one that begins where it should.
            let empty = self.segments.remove(last);
            let removed = empty.remove(&self.home);
            let created = removed.and_then(|()| Segment::create(&self.home, base_offset, now_ms));
            return self.put_segment(created);
        }
        let sealed = self.segments[last].seal(&self.home);
        self.guard("writing the indexes of a full segment", sealed)?;
        self.recent.clear();
        self.write_snapshot(base_offset)?;
        let created = Segment::create(&self.home, base_offset, now_ms);
        self.put_segment(created)?;
        if self.recovery_point < base_offset && base_offset < self.highest_recovery_point {
            // After a crash the sealed segment would be believed, if the checkpoint is from before a truncation.
            self.flush(now_ms)?;
        }
        Ok(())
    }

    fn put_segment(&mut self, created: io::Result<Segment<S>>) -> Result<(), Poisoned> {
        let segment = match created {
            Ok(segment) => segment,
            Err(error) if self.segments.is_empty() => {
                // There is always a segment, also in a log that only serves reads.
                self.segments.push(Segment::new(self.log_end_offset, 0, 0, 0, 0));
                return self.guard("making a segment", Err(error));
            }
            Err(error) => return self.guard("making a segment", Err(error)),
        };
        debug_assert!(self.segments.last().is_none_or(|last| last.base_offset < segment.base_offset));
        self.segments.push(segment);
        self.changes += 1;
        Ok(())
    }

    /// Writes the producers' state as of `end_offset`. It is synced with the segment before it.
    fn write_snapshot(&mut self, end_offset: i64) -> Result<(), Poisoned> {
        if end_offset <= self.snapshot_offset {
            return Ok(());
        }
        let path = self.home.path(SegmentFile::ProducerSnapshot, end_offset);
        let written = write_whole(&self.home.storage, &path, &self.producers.to_snapshot());
        self.guard("writing a producer snapshot", written)?;
        self.changes += 1;
        self.snapshot_offset = end_offset;
        Ok(())
    }

    /// Notes that a sealed segment's indexes were used, and unmaps those of the one used longest ago when there are
    /// several: maps are a bounded good, for a process as for this log.
    fn used_indexes_of(&mut self, index: usize) {
        const MOST: usize = 4;
        if index + 1 == self.segments.len() {
            return;
        }
        let base_offset = self.segments[index].base_offset;
        if self.mapped.last() == Some(&base_offset) {
            return;
        }
        self.mapped.retain(|mapped| *mapped != base_offset);
        self.mapped.push(base_offset);
        if self.mapped.len() > MOST {
            let oldest = self.mapped.remove(0);
            if let Ok(index) = self.segments.binary_search_by_key(&oldest, |segment| segment.base_offset) {
                self.segments[index].unmap();
            }
        }
    }

    /// The segment that `offset` belongs to; the first one for offsets before it.
    fn segment_of(&self, offset: i64) -> usize {
        match self.segments.last() {
            Some(last) if last.base_offset <= offset => self.segments.len() - 1,
            _ => self.segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1),
        }
    }

    fn assert_order(&self) {
        let first = self.segments.first().map_or(i64::MAX, |segment| segment.base_offset);
        let last = self.segments.last().map_or(i64::MAX, |segment| segment.base_offset);
        let waits_behind_a_hole = self.segments.last().is_some_and(|segment| segment.size == 0);
        assert!(
            first <= self.log_start_offset
                && self.log_start_offset <= self.log_end_offset
                && self.recovery_point <= self.log_end_offset
                && (last <= self.log_end_offset || waits_behind_a_hole),
            "positions of {} are out of order: segments {first}..={last}, log start {}, recovery point {}, log end {}",
            self.home.dir.display(),
            self.log_start_offset,
            self.recovery_point,
            self.log_end_offset
        );
    }

    fn advance(&mut self, header: &BatchHeader) {
        let next_offset = header.next_offset();
        assert!(
            next_offset > self.log_end_offset,
            "a batch that ends at {next_offset} was appended behind the log's end"
        );
        self.log_end_offset = next_offset;
    }
}

/// Writes a small file in one go. What a crash leaves of it is noticed when it is read.
fn write_whole<S: Storage>(storage: &S, path: &Path, bytes: &[u8]) -> io::Result<()> {
    storage.open(path, Access::Replace)?.write_all_at(bytes, 0)
}
