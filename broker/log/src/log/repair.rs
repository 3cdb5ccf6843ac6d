//! The log's part of a repair: which segments are to be written anew from what another replica has ([`crate::repair`]).

use super::Log;
use crate::error::Poisoned;
use crate::repair::{Repair, Rest};
use crate::segment::Segment;
use crate::storage::Storage;

impl<S: Storage> Log<S> {
    /// Ends the active segment where `offset` is in it: only sealed segments are written anew. Whether it did.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn seal_segment_of(&mut self, offset: i64, now_ms: i64) -> Result<bool, Poisoned> {
        self.check_writable()?;
        let is_active = self.segment_of(offset) == self.segments.len() - 1 && offset < self.log_end_offset;
        if is_active {
            self.roll(self.log_end_offset, now_ms)?;
        }
        Ok(is_active)
    }

    /// Where the segments begin that have to be written anew, in this order, for the one that has `offset` to be sound: it
    /// alone, or where the topic is compacted, all up to it. Another replica's compaction may have forgotten a tombstone with
    /// all that it deletes; what it deletes must not stay here without it.
    pub fn segments_to_repair(&self, offset: i64) -> Vec<i64> {
        let last = self.segment_of(offset);
        let first = if self.config.compact { 0 } else { last };
        self.segments[first..=last].iter().map(|segment| segment.base_offset).collect()
    }

    /// Begins to write the segment at `base_offset` anew, which is sealed and on the disk. `None` where it is not, or nothing of
    /// it is committed, or while segments of the log are written anew already. What compaction has done counts for nothing
    /// from now on: the other replica's may not have come so far.
    ///
    /// # Errors
    /// When the log is poisoned.
    pub fn begin_repair(
        &mut self,
        base_offset: i64,
        high_watermark: i64,
        now_ms: i64,
    ) -> Result<Option<Repair<S>>, Poisoned> {
        self.check_writable()?;
        let index = self.segment_of(base_offset);
        let is_it = self.segments[index].base_offset == base_offset;
        let Some(next) = self.segments.get(index + 1).filter(|_| is_it) else { return Ok(None) };
        let segment_end = next.base_offset;
        let end = segment_end.min(high_watermark);
        if segment_end > self.recovery_point || end <= base_offset.max(self.log_start_offset) {
            return Ok(None);
        }
        let Some(rest) = self.rest_of(index, end, segment_end) else { return Ok(None) };
        let Some(rewrite) = self.begin_rewrite(false) else { return Ok(None) };
        self.cleaned_to = 0;
        Ok(Some(Repair {
            home: self.home.clone(),
            config: self.config.clone(),
            source: Segment::state(&self.segments[index]),
            segment: None,
            next_offset: base_offset.max(self.log_start_offset),
            end,
            rest,
            segment_end,
            is_first: index == 0,
            epochs: self.epochs.clone(),
            rewrite,
            now_ms,
        }))
    }

    /// What a segment has from `offset` on, where that is not its end; `None` if it cannot be found.
    fn rest_of(&mut self, index: usize, offset: i64, segment_end: i64) -> Option<Option<Rest<S>>> {
        if offset >= segment_end {
            return Some(None);
        }
        match self.segments[index].locate(&self.home, offset).ok()?.ok()? {
            Some(found) if found.header.base_offset >= offset => {
                let file = self.segments[index].reader(&self.home).ok()?;
                Some(Some(Rest { file, position: found.position }))
            }
            Some(_) => None,
            // The last records of a compacted segment may be gone.
            None => Some(None),
        }
    }
}
