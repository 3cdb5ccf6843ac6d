//! A log that is not to be appended to for a while, and one that takes writes again.

use std::sync::Arc;

use taffrail_log::{HealError, RecoveryReport, Storage};

use super::{Effects, Partition, Role};

impl<S: Storage, T: Clone> Partition<S, T> {
    /// Nothing is appended any more, for this reason, until this is called with `None`: producers are refused, and a
    /// follower fetches nothing. Reads, deletion and flushes go on. Whether that is news.
    pub fn hold_writes(&mut self, reason: Option<Arc<str>>, effects: &mut Effects<T>) -> bool {
        let changed = self.held != reason;
        self.held = reason;
        if changed {
            self.tell_if_fetchable(effects);
        }
        changed
    }

    /// Why nothing is to be appended, if so.
    pub fn held(&self) -> Option<&Arc<str>> {
        self.held.as_ref()
    }

    /// Opens the log anew after a write found no room ([`taffrail_log::Log::heal`]); the replica goes on in its role. A role
    /// that it could not take meanwhile is taken when its record is assigned once more.
    ///
    /// # Errors
    /// When the log takes no writes still.
    pub fn heal(
        &mut self,
        now_ms: i64,
        effects: &mut Effects<T>,
    ) -> Result<Option<RecoveryReport>, HealError> {
        let healed = self.log.heal(now_ms)?;
        if healed.is_none() {
            return Ok(None);
        }
        self.failure_told = false;
        self.flush_asked = false;
        // A truncation may have been cut short, before what was lost by it was.
        self.high_watermark =
            self.high_watermark.clamp(self.log.log_start_offset(), self.log.log_end_offset());
        // What a role begins with may not have been written.
        let begun = match &self.role {
            Role::Leader(_) => self.log.assign_leader_epoch(self.record.leader_epoch),
            Role::Follower(_) => self.log.truncate_to(self.log.log_end_offset(), now_ms).map(drop),
            Role::Idle => Ok(()),
        };
        self.tell_failure(effects);
        begun?;
        self.ask_for_flush(effects);
        self.advance(effects);
        self.tell_if_fetchable(effects);
        Ok(healed)
    }
}
