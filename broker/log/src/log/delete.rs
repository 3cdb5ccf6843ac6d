//! Deleting segments at the log's start: those that retention gives up, and those before a start that was moved.
//!
//! The order, so that a crash at any point leaves a log without a hole:
//! 1. the log's start moves up ([`Log::retain`], [`Log::set_log_start_offset`]) and is written to its checkpoint by the
//!    caller: from here on no restart brings the records back;
//! 2. the segments leave the log, and their `.log` files are renamed to `.log.deleted` ([`Log::delete_old_segments`]):
//!    without them the other files belong to nothing, and recovery removes them;
//! 3. the other files are renamed, and after `file.delete.delay.ms` all of them are removed ([`Sweep::run`]), by whoever
//!    has time for it: readers that hold a file may end.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Log;
use crate::error::Poisoned;
use crate::names::{DELETED_SUFFIX, SegmentFile};
use crate::retention::{self, Retention, SegmentAge};
use crate::segment::Home;
use crate::storage::Storage;

/// What [`Log::retain`] gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retained {
    /// Where the log began.
    pub from: i64,
    /// Where it begins now.
    pub to: i64,
    /// Which segments go, and why.
    pub due: retention::Due,
}

/// Segments that left the log and whose files are still there.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    /// Base offsets of those whose `.log` alone has been renamed.
    half: Vec<i64>,
    /// Base offsets of those that are renamed wholly, and when their files may go. Milliseconds since 1970.
    doomed: VecDeque<(i64, i64)>,
}

/// The rest of the work on deleted segments, to be done without holding the log.
pub struct Sweep<S: Storage> {
    storage: S,
    dir: PathBuf,
    deleted: Arc<Mutex<Deleted>>,
    now_ms: i64,
    delay_ms: i64,
}

/// The files of a segment beside its `.log`.
const BESIDE: [SegmentFile; 4] = [
    SegmentFile::OffsetIndex,
    SegmentFile::TimeIndex,
    SegmentFile::TransactionIndex,
    SegmentFile::ProducerSnapshot,
];

fn deleted_path(dir: &Path, kind: SegmentFile, base_offset: i64) -> PathBuf {
    dir.join(kind.name(base_offset) + DELETED_SUFFIX)
}

fn rename_deleted<S: Storage>(
    storage: &S,
    dir: &Path,
    kind: SegmentFile,
    base_offset: i64,
) -> io::Result<()> {
    match storage.rename(&kind.path(dir, base_offset), &deleted_path(dir, kind, base_offset)) {
        // Not every segment has every file, and the directory may be gone with its partition.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

impl Deleted {
    /// Renames what is left of segments that are deleted by half.
    fn rename_half<S: Storage>(&mut self, storage: &S, dir: &Path, due_ms: i64) -> io::Result<()> {
        while let Some(&base_offset) = self.half.last() {
            for kind in BESIDE {
                rename_deleted(storage, dir, kind, base_offset)?;
            }
            self.half.pop();
            self.doomed.push_back((due_ms, base_offset));
        }
        Ok(())
    }
}

impl<S: Storage> Sweep<S> {
    /// Renames what is left of deleted segments, and removes the files of those that have been so for long enough.
    /// Blocks. What fails is tried again by the next one, and by the next start.
    ///
    /// # Errors
    /// When a file cannot be renamed or removed.
    pub fn run(self) -> io::Result<()> {
        // Held for some renames at a time: a truncation waits for it.
        self.deleted.lock().rename_half(
            &self.storage,
            &self.dir,
            self.now_ms.saturating_add(self.delay_ms),
        )?;
        while let Some(base_offset) = self.next_doomed() {
            for kind in SegmentFile::ALL {
                self.storage.remove_file(&deleted_path(&self.dir, kind, base_offset))?;
            }
            self.deleted.lock().doomed.retain(|(_, doomed)| *doomed != base_offset);
        }
        Ok(())
    }

    fn next_doomed(&self) -> Option<i64> {
        let deleted = self.deleted.lock();
        let (due_ms, base_offset) = *deleted.doomed.front()?;
        (self.delay_ms == 0 || due_ms <= self.now_ms).then_some(base_offset)
    }
}

impl<S: Storage> Log<S> {
    /// Moves the log's start up to where retention says (`retention.ms`, `retention.bytes`), if the topic deletes old
    /// segments at all; `None` when nothing is due. Where all records are, a new segment is begun. No file is removed:
    /// write the start to its checkpoint, then call [`delete_old_segments`](Self::delete_old_segments).
    ///
    /// # Errors
    /// When the log is or becomes poisoned, or a segment's age cannot be read.
    pub fn retain(&mut self, high_watermark: i64, now_ms: i64) -> Result<Option<Retained>, Poisoned> {
        self.check_writable()?;
        let retention = Retention { ms: self.config.retention_ms, bytes: self.config.retention_bytes };
        if !self.config.delete
            || retention.ms < 0 && retention.bytes < 0
            || self.log_end_offset == self.log_start_offset
        {
            return Ok(None);
        }
        let ages = self.ages(retention.ms, now_ms);
        let ages = self.guard("reading the age of a segment", ages)?;
        let due = retention::due(&ages, retention, high_watermark.min(self.log_end_offset), now_ms);
        let Some(last) = due.segments().checked_sub(1) else { return Ok(None) };
        if due.segments() == ages.len() {
            self.roll(self.log_end_offset, now_ms)?;
        }
        let from = self.log_start_offset;
        // Segments that lie before the start already are none of retention's.
        if !self.set_log_start_offset(ages[last].end_offset)? {
            return Ok(None);
        }
        Ok(Some(Retained { from, to: self.log_start_offset, due }))
    }

    /// What retention is to know of each segment. Behind the first one that is young enough to stay none is asked for its
    /// age: after a start that is a file to be opened for each.
    fn ages(&mut self, retention_ms: i64, now_ms: i64) -> io::Result<Vec<SegmentAge>> {
        const YOUNG: i64 = i64::MAX;
        let mut ages = Vec::with_capacity(self.segments.len());
        let mut stay = retention_ms < 0;
        for index in 0..self.segments.len() {
            let end_offset = self.end_of_segment(index);
            let segment = &mut self.segments[index];
            let mut largest_timestamp_ms = YOUNG;
            if !stay {
                largest_timestamp_ms = segment.largest_timestamp(&self.home)?;
                stay = now_ms.saturating_sub(largest_timestamp_ms) <= retention_ms;
                if !self.mapped.contains(&segment.base_offset) {
                    segment.unmap();
                }
            }
            ages.push(SegmentAge { end_offset, size: segment.size, largest_timestamp_ms });
        }
        Ok(ages)
    }

    /// Where the next segment begins, or the log ends.
    pub(super) fn end_of_segment(&self, index: usize) -> i64 {
        self.segments.get(index + 1).map_or(self.log_end_offset, |next| next.base_offset)
    }

    /// Takes the segments out that lie wholly before the log's start, the active one excepted; returns how many. Their
    /// space is freed by [`begin_sweep`](Self::begin_sweep). The log's start should be on the disk: a segment that a power
    /// cut brings back is then not served.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn delete_old_segments(&mut self) -> Result<usize, Poisoned> {
        self.check_writable()?;
        let count = self.segment_of(self.log_start_offset);
        let gone: Vec<i64> = self.segments.drain(..count).map(|segment| segment.base_offset).collect();
        self.give_up(gone)?;
        self.assert_order();
        Ok(count)
    }

    /// Renames the `.log` files of these segments, in this order, and leaves the rest to a sweep. After a failure the
    /// others stay: the next start deals with them.
    pub(super) fn give_up(&mut self, base_offsets: impl IntoIterator<Item = i64>) -> Result<(), Poisoned> {
        for base_offset in base_offsets {
            self.mapped.retain(|mapped| *mapped != base_offset);
            let Home { storage, dir, .. } = &self.home;
            let renamed = rename_deleted(storage, dir, SegmentFile::Log, base_offset);
            self.guard("renaming a deleted segment", renamed)?;
            self.deleted.lock().half.push(base_offset);
            self.changes += 1;
        }
        Ok(())
    }

    /// The work that is left on deleted segments, if there is any: to be [run](Sweep::run) without holding the log. With
    /// `at_once` files do not stay for `file.delete.delay.ms`: the disk needs the room.
    pub fn begin_sweep(&self, now_ms: i64, at_once: bool) -> Option<Sweep<S>> {
        let delay_ms = if at_once { 0 } else { self.config.file_delete_delay_ms };
        let is_due = {
            let deleted = self.deleted.lock();
            let first = deleted.doomed.front();
            !deleted.half.is_empty() || first.is_some_and(|(due_ms, _)| at_once || *due_ms <= now_ms)
        };
        is_due.then(|| Sweep {
            storage: self.home.storage.clone(),
            dir: self.home.dir.clone(),
            deleted: Arc::clone(&self.deleted),
            now_ms,
            delay_ms,
        })
    }

    /// Bytes or names of deleted segments must not come to be taken for those of a new one with the same base offset: to
    /// be called before segments are made at offsets that were used before.
    pub(super) fn finish_deletions(&mut self) -> io::Result<()> {
        let mut deleted = self.deleted.lock();
        // They are removed by a sweep of whenever.
        deleted.rename_half(&self.home.storage, &self.home.dir, i64::MIN)
    }
}
