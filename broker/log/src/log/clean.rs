//! The log's part of compaction: what can be compacted, and putting in place what was ([`crate::cleaner`]).

use std::io;

use super::Log;
use crate::cleaner::plan::{self, Cleanable, Lag, SegmentState, SegmentTimes};
use crate::cleaner::{Plan, Replaced, Replacement, Unwanted};
use crate::error::Poisoned;
use crate::names::{SWAP_SUFFIX, SegmentFile};
use crate::segment::{Home, Segment};
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

    /// A snapshot of what `cleanable` names, for a [`Cleaner`](crate::cleaner::Cleaner).
    pub fn begin_cleaning(&self, cleanable: Cleanable, now_ms: i64) -> Plan<S> {
        let count =
            self.segments.partition_point(|segment| segment.base_offset < cleanable.first_uncleanable);
        Plan {
            home: self.home.clone(),
            config: self.config.clone(),
            cleanable,
            segments: self.segments[..count].iter().map(Segment::state).collect(),
            bases: self.segments.iter().map(|segment| segment.base_offset).collect(),
            producers: self.producers.last_of_each().collect(),
            generation: self.generation,
            now_ms,
        }
    }

    /// Puts a segment in the place of those it was made of, unless any of them has changed or gone meanwhile.
    ///
    /// The order, so that a crash at any point leaves either the old segments or the new one: it waits under `.swap`, which
    /// is durable; those behind the first go; it takes the first one's name. Recovery does what is left of these.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn replace_segments(&mut self, replacement: Replacement<S>) -> Result<Replaced<S>, Poisoned> {
        self.check_writable()?;
        let Replacement { sources, segment, generation } = replacement;
        let base_offset = sources[0].base_offset;
        let first = self.segments.iter().position(|segment| segment.base_offset == base_offset);
        let unchanged = first.filter(|first| {
            let present = self.segments.iter().skip(*first).map(Segment::state);
            let is_sealed = first + sources.len() < self.segments.len();
            is_sealed && present.take(sources.len()).eq(sources.iter().copied())
        });
        // A topic that keeps all records by now loses none any more.
        let unchanged = unchanged.filter(|_| self.config.compact);
        let Some(first) = unchanged.filter(|_| generation == self.generation) else {
            let (storage, dir) = (self.home.storage.clone(), self.home.dir.clone());
            return Ok(Replaced::Unwanted(Unwanted { storage, dir, base_offset }));
        };
        let replaced = first..first + sources.len();
        let base_offsets = sources.iter().map(|source| source.base_offset);
        let Some(segment) = segment else {
            self.give_up(base_offsets)?;
            self.segments.drain(replaced);
            self.assert_order();
            return Ok(Replaced::InPlace);
        };
        self.give_up(base_offsets.skip(1))?;
        let swap = Home { suffix: SWAP_SUFFIX, ..self.home.clone() };
        let log = |home: &Home<S>| home.path(SegmentFile::Log, base_offset);
        let renamed = self.home.storage.rename(&log(&swap), &log(&self.home));
        self.guard("putting a compacted segment in place", renamed)?;
        // From here on the file of that name is the new one.
        self.segments.splice(replaced, [segment]);
        self.mapped.retain(|mapped| *mapped != base_offset);
        self.changes += 1;
        let renamed = self.take_names_beside(&swap, base_offset);
        self.guard("putting the index of a compacted segment in place", renamed)?;
        self.assert_order();
        Ok(Replaced::InPlace)
    }

    /// Renames the files beside a segment's `.log` from `.swap` to their own names. Its producer snapshot goes: it may tell
    /// of an open transaction whose marker the segment has lost. What the batches tell without it is whole.
    fn take_names_beside(&self, swap: &Home<S>, base_offset: i64) -> io::Result<()> {
        let storage = &self.home.storage;
        storage.remove_file(&self.home.path(SegmentFile::ProducerSnapshot, base_offset))?;
        for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex] {
            match storage.rename(&swap.path(kind, base_offset), &self.home.path(kind, base_offset)) {
                // Most segments have no transaction index.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
        }
        Ok(())
    }

    /// A compaction that began with `generation` has come to its end, at `offset`. Where records were taken back meanwhile
    /// it counts up to the log's end.
    pub fn note_cleaned(&mut self, offset: i64) {
        self.cleaned_to = offset.min(self.log_end_offset);
    }
}
