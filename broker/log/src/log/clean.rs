//! The log's part of compaction: what can be compacted, and how far it is ([`crate::cleaner`]).

use std::io;

use super::Log;
use crate::cleaner::Plan;
use crate::cleaner::plan::{self, Cleanable, Lag, SegmentState, SegmentTimes};
use crate::error::Poisoned;
use crate::segment::Segment;
use crate::storage::Storage;

impl<S: Storage> Log<S> {
    /// Records before this offset have been compacted.
    pub fn cleaned_to(&self) -> i64 {
        self.cleaned_to.max(self.log_start_offset)
    }

    /// Takes up where an earlier process left off compacting, as its checkpoint says. What it claims behind the log's end
    /// is from another log, and not believed.
    pub fn set_cleaned_to(&mut self, offset: i64) {
        self.cleaned_to = if offset > self.log_end_offset { 0 } else { offset };
    }

    /// What can be compacted: sealed segments that are on the disk, whose records are committed and belong to no open
    /// transaction. `None` where the topic is not compacted, or there is nothing.
    ///
    /// # Errors
    /// When the log is or becomes poisoned, or a segment's age cannot be read.
    pub fn cleanable(&mut self, high_watermark: i64, now_ms: i64) -> Result<Option<Cleanable>, Poisoned> {
        self.check_writable()?;
        if !self.config.compact || self.segments.len() < 2 {
            return Ok(None);
        }
        let stable = self.last_stable_offset(high_watermark).min(self.recovery_point);
        let lag =
            Lag { min_ms: self.config.min_compaction_lag_ms, max_ms: self.config.max_compaction_lag_ms };
        let states: Vec<SegmentState> = self.segments.iter().map(Segment::state).collect();
        let cleaned_to = self.cleaned_to();
        let cleanable =
            plan::cleanable(&states, cleaned_to, stable, lag, now_ms, |index| self.times_of(index));
        self.guard("reading the age of a segment", cleanable)
    }

    fn times_of(&mut self, index: usize) -> io::Result<SegmentTimes> {
        let segment = &mut self.segments[index];
        let first_ms = segment.first_timestamp(&self.home)?;
        let largest_ms = segment.largest_timestamp(&self.home)?;
        if !self.mapped.contains(&segment.base_offset) {
            segment.unmap();
        }
        Ok(SegmentTimes { first_ms, largest_ms })
    }

    /// Ends the active segment of a compacted log when its first record has waited for `max.compaction.lag.ms`; a log that
    /// nobody writes to any more would else keep it for ever. Whether it did.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn roll_overdue(&mut self, now_ms: i64) -> Result<bool, Poisoned> {
        self.check_writable()?;
        let active = self.segments.len() - 1;
        if !self.config.compact || self.segments[active].size == 0 {
            return Ok(false);
        }
        let first_ms = self.segments[active].first_timestamp(&self.home);
        let first_ms = self.guard("reading the segment", first_ms)?;
        let is_overdue = first_ms > 0 && now_ms.saturating_sub(first_ms) > self.config.max_compaction_lag_ms;
        if is_overdue {
            self.roll(self.log_end_offset, now_ms)?;
        }
        Ok(is_overdue)
    }

    /// A snapshot of what `cleanable` names, for a [`Cleaner`](crate::cleaner::Cleaner). `None` while other segments of the
    /// log are written anew.
    pub fn begin_cleaning(&mut self, cleanable: Cleanable, now_ms: i64) -> Option<Plan<S>> {
        let rewrite = self.begin_rewrite(true)?;
        let count =
            self.segments.partition_point(|segment| segment.base_offset < cleanable.first_uncleanable);
        Some(Plan {
            home: self.home.clone(),
            config: self.config.clone(),
            cleanable,
            segments: self.segments[..count].iter().map(Segment::state).collect(),
            bases: self.segments.iter().map(|segment| segment.base_offset).collect(),
            producers: self.producers.last_of_each().collect(),
            rewrite,
            now_ms,
        })
    }

    /// A compaction has come to its end, at `offset`. Where records were taken back meanwhile
    /// it counts up to the log's end.
    pub fn note_cleaned(&mut self, offset: i64) {
        self.cleaned_to = offset.min(self.log_end_offset);
    }
}
