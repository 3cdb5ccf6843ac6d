//! Taking records back: at the end, where a leader says so, and at the start, where they were deleted.

use super::Log;
use crate::error::{Poisoned, synced};
use crate::names::SegmentFile;
use crate::recovery::{self, ReplayBounds};
use crate::segment::Segment;
use crate::storage::Storage;

impl<S: Storage> Log<S> {
    /// Removes all records at `offset` and behind it; producers and leader epochs go back to what they were then.
    /// Returns where the log ends now: at `offset`, or before it where it ended already or where the batch begins that
    /// had `offset` inside. Below the log's start nothing remains, and the log begins anew at `offset`.
    ///
    /// The truncation is durable when this returns. The recovery point may have fallen. A checkpoint that tells a higher one
    /// does no harm: until the log's end has passed that, no segment is left behind without being synced.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn truncate_to(&mut self, offset: i64, now_ms: i64) -> Result<i64, Poisoned> {
        self.check_writable()?;
        if offset >= self.log_end_offset {
            // An epoch may have begun at the end without a record.
            if self.epochs.truncate_from_end(self.log_end_offset) {
                self.write_epochs()?;
            }
            return Ok(self.log_end_offset);
        }
        if offset < self.log_start_offset {
            self.truncate_fully_and_start_at(offset, now_ms)?;
            return Ok(offset);
        }
        self.generation += 1;
        self.recent.clear();
        let keep = self.segment_of(offset);
        if let Err(error) = self.finish_deletions().and_then(|()| self.remove_behind(keep, offset)) {
            return self.guard_truncation(Err(error), keep, offset);
        }
        let cut = self.segments[keep].truncate_to(&self.home, offset, &self.config, now_ms);
        let cut = cut.and_then(|cut| cut.map_err(|damage| std::io::Error::other(damage.reason)));
        let end = match cut {
            Ok(end) => end,
            Err(error) => return self.guard_truncation(Err(error), keep, offset),
        };
        if end < self.log_start_offset {
            // The batch was cut off whose last records alone were left: the log begins anew, as on disk it ends below.
            let start = self.log_start_offset;
            self.truncate_fully_and_start_at(start, now_ms)?;
            return Ok(start);
        }
        self.log_end_offset = end;
        self.note_cut(end);
        self.lower_recovery_point(end);
        self.changes += 1;
        // Written in any case: the file may know an epoch without a record that was forgotten when the log was opened.
        self.epochs.truncate_from_end(self.log_end_offset);
        self.write_epochs()?;
        self.rewind_producers(now_ms)?;
        self.assert_order();
        Ok(self.log_end_offset)
    }

    /// Removes the segments behind that of number `keep`, and what is remembered of producers behind `offset`. None of it
    /// comes back after a power cut, behind what is appended in its place.
    fn remove_behind(&mut self, keep: usize, offset: i64) -> std::io::Result<()> {
        self.remove_snapshots_behind(offset)?;
        while self.segments.len() > keep + 1 {
            self.segments.pop().map_or(Ok(()), |segment| segment.remove(&self.home))?;
        }
        synced(self.home.storage.sync_dir(&self.home.dir))
    }

    /// After a truncation that failed halfway, what is left is served up to the end of the segments that remain.
    fn guard_truncation(
        &mut self,
        failed: std::io::Result<i64>,
        keep: usize,
        offset: i64,
    ) -> Result<i64, Poisoned> {
        self.segments.truncate(keep + 1);
        let start = self.log_start_offset;
        self.log_end_offset = offset.min(self.log_end_offset).max(start);
        self.note_cut(self.log_end_offset);
        self.lower_recovery_point(self.log_end_offset);
        self.guard("truncating", failed)
    }

    pub(super) fn lower_recovery_point(&mut self, end: i64) {
        self.cleaned_to = self.cleaned_to.min(end);
        self.highest_recovery_point = self.highest_recovery_point.max(self.recovery_point);
        self.recovery_point = self.recovery_point.min(end);
    }

    /// Removes all records; the log begins and ends at `offset`.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn truncate_fully_and_start_at(&mut self, offset: i64, now_ms: i64) -> Result<(), Poisoned> {
        self.check_writable()?;
        self.begin_anew_at(offset, now_ms).inspect_err(|_| {
            // What is on the disk is neither the old log nor the new one.
            if let Some(poisoned) = &mut self.poisoned {
                poisoned.in_doubt = true;
            }
        })
    }

    fn begin_anew_at(&mut self, offset: i64, now_ms: i64) -> Result<(), Poisoned> {
        self.generation += 1;
        self.note_cut(i64::MIN);
        self.recent.clear();
        self.mapped.clear();
        let mut removed = self.finish_deletions().and_then(|()| self.remove_snapshots_behind(-1));
        for segment in self.segments.drain(..).rev() {
            removed = removed.and(segment.remove(&self.home));
        }
        let removed = removed.and_then(|()| self.home.storage.sync_dir(&self.home.dir));
        let created = removed.and_then(|()| Segment::create(&self.home, offset, now_ms));
        self.log_start_offset = offset;
        self.log_end_offset = offset;
        self.lower_recovery_point(offset);
        self.put_segment(created)?;
        self.epochs = Default::default();
        self.write_epochs()?;
        self.producers.clear();
        self.snapshot_offset = -1;
        self.assert_order();
        Ok(())
    }

    /// Moves the log's start up (DeleteRecords, or a leader's start that a follower takes over). Records before it are
    /// no longer served; [`delete_old_segments`](Self::delete_old_segments) frees their space. A start that is not
    /// above the present one changes nothing, one behind the end is taken for the end. Returns whether it moved.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn set_log_start_offset(&mut self, offset: i64) -> Result<bool, Poisoned> {
        self.check_writable()?;
        let offset = offset.min(self.log_end_offset);
        if offset <= self.log_start_offset {
            return Ok(false);
        }
        self.log_start_offset = offset;
        if self.epochs.truncate_from_start(offset) {
            self.write_epochs()?;
        }
        self.assert_order();
        Ok(true)
    }

    /// Takes the producers back to what they were at the log's end.
    fn rewind_producers(&mut self, now_ms: i64) -> Result<(), Poisoned> {
        let bounds = ReplayBounds { log_end_offset: self.log_end_offset, indexed_from: i64::MAX };
        let rebuilt = recovery::load_producers(&self.home, &self.config, &mut self.segments, bounds, now_ms);
        let rebuilt = self.guard("reading the producers' state", rebuilt)?;
        self.producers = rebuilt.producers;
        self.snapshot_offset = rebuilt.snapshot_offset;
        Ok(())
    }

    fn remove_snapshots_behind(&self, offset: i64) -> std::io::Result<()> {
        let snapshots = recovery::list_snapshots(&self.home)?;
        for behind in snapshots.into_iter().filter(|snapshot| *snapshot > offset) {
            self.home.storage.remove_file(&self.home.path(SegmentFile::ProducerSnapshot, behind))?;
        }
        Ok(())
    }
}
