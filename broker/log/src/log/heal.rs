//! Opening a log anew in place, after the disk had no room for a write and has again.

use std::sync::Arc;

use crate::error::HealError;
use crate::log::{Log, OpenMode};
use crate::recovery::RecoveryReport;
use crate::storage::Storage;

impl<S: Storage> Log<S> {
    /// Opens a log anew that is poisoned because a write found no room ([`Poisoned::lost_nothing`]). What was appended is
    /// all there afterwards, and nothing of what was refused: a batch may have been written whole before its index entry
    /// failed, and whoever sent it was told that it was not taken. The log is not changed where this fails.
    ///
    /// Does nothing on a log that takes writes.
    ///
    /// [`Poisoned::lost_nothing`]: crate::Poisoned::lost_nothing
    ///
    /// # Errors
    /// [`HealError`] says why it takes no writes still.
    pub fn heal(&mut self, now_ms: i64) -> Result<Option<RecoveryReport>, HealError> {
        let Some(poisoned) = &self.poisoned else { return Ok(None) };
        if !poisoned.lost_nothing() {
            return Err(poisoned.clone().into());
        }
        let mode = OpenMode {
            clean: false,
            recovery_point: self.recovery_point,
            log_start_offset: self.log_start_offset,
        };
        let (storage, dir) = (self.home.storage.clone(), self.home.dir.clone());
        let (mut healed, report) = Self::open(storage, dir, self.config.clone(), mode, now_ms)?;
        if healed.log_end_offset < self.log_end_offset {
            return Err(HealError::Short {
                dir: self.home.dir.clone(),
                log_end_offset: self.log_end_offset,
                recovered_end: healed.log_end_offset,
            });
        }
        // A truncation that found no room halfway is ended by this; it may have been meant for the middle of a batch.
        healed.truncate_to(self.log_end_offset, now_ms)?;
        healed.highest_recovery_point = healed.highest_recovery_point.max(self.highest_recovery_point);
        healed.cleaned_to = self.cleaned_to.min(healed.log_end_offset);
        if let Some(cut) = self.cut {
            healed.note_cut(cut);
        }
        // What is left of deleted segments is as it was.
        healed.deleted = Arc::clone(&self.deleted);
        // What is being written anew is not wanted any more, but has its names as long as it lasts.
        healed.rewrite = std::mem::take(&mut self.rewrite);
        // A flush that was begun before says nothing of this one.
        healed.generation = self.generation.max(healed.generation) + 1;
        assert!(
            healed.log_end_offset <= self.log_end_offset && healed.log_start_offset == self.log_start_offset,
            "the log in {} went from {}..{} to {}..{} when it was opened anew",
            self.home.dir.display(),
            self.log_start_offset,
            self.log_end_offset,
            healed.log_start_offset,
            healed.log_end_offset
        );
        *self = healed;
        Ok(Some(report))
    }
}
