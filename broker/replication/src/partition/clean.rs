//! Compaction, on every replica for itself: what is committed, and belongs to no open transaction, may go where a later
//! record has its key.

use taffrail_log::cleaner::Plan;
use taffrail_log::cleaner::plan::Cleanable;
use taffrail_log::{Poisoned, Replaced, Replacement, Storage};

use super::{Effects, Partition};

impl<S: Storage, T: Clone> Partition<S, T> {
    /// What of the log can be compacted; `None` for nothing. A segment whose records have waited for
    /// `max.compaction.lag.ms` is ended first.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn cleanable(
        &mut self,
        now_ms: i64,
        effects: &mut Effects<T>,
    ) -> Result<Option<Cleanable>, Poisoned> {
        let rolled = self.log.roll_overdue(now_ms);
        let cleanable = rolled.and_then(|_| self.log.cleanable(self.high_watermark, now_ms));
        self.tell_failure(effects);
        cleanable
    }

    /// A snapshot of what `cleanable` names; `None` while segments of the log are written anew already.
    pub fn begin_cleaning(&mut self, cleanable: Cleanable, now_ms: i64) -> Option<Plan<S>> {
        assert!(
            cleanable.first_uncleanable <= self.high_watermark,
            "records up to {} would be compacted, and only those below {} are committed",
            cleanable.first_uncleanable,
            self.high_watermark
        );
        self.log.begin_cleaning(cleanable, now_ms)
    }

    /// Puts a compacted segment in its place, if what it was made of is still there; see
    /// [`Log::replace_segments`](taffrail_log::Log::replace_segments).
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn replace_segments(
        &mut self,
        replacement: Replacement<S>,
        effects: &mut Effects<T>,
    ) -> Result<Replaced<S>, Poisoned> {
        let replaced = self.log.replace_segments(replacement);
        self.tell_failure(effects);
        replaced
    }

    /// Up to here the log is compacted.
    pub fn note_cleaned(&mut self, offset: i64) {
        self.log.note_cleaned(offset);
    }
}
