//! Flushing where records have to be on the disk before they count (rule 26).
//!
//! The partition asks with [`Effect::FlushWanted`]; the shell takes a [`Flush`], runs it without holding the partition, and
//! brings the result back. What is appended meanwhile waits for the next one, so one sync serves everybody who came during
//! the one before.

use taffrail_log::{Flush, FlushResult, Poisoned, Storage};

use super::{Effect, Effects, Partition};

impl<S: Storage, T: Clone> Partition<S, T> {
    /// Whether records wait for a flush before they count. [`Effect::FlushWanted`] was told when that began; a shell that
    /// had no room for it finds the partition by this.
    pub fn flush_wanted(&self) -> bool {
        self.counted_end() < self.log.log_end_offset() && self.log.poisoned().is_none()
    }

    /// What must be synced to make everything up to now durable; `None` when everything is. Run it without holding the
    /// partition and give the result to [`Partition::finish_flush`].
    ///
    /// # Errors
    /// When the log takes no writes.
    pub fn begin_flush(&mut self, effects: &mut Effects<T>) -> Result<Option<Flush<S>>, Poisoned> {
        self.flush_asked = false;
        let begun = self.log.begin_flush();
        self.tell_failure(effects);
        begun
    }

    /// Takes note of a flush that ran: what it made durable counts from now on.
    ///
    /// # Errors
    /// When the flush failed, or the log was poisoned meanwhile.
    pub fn finish_flush(
        &mut self,
        now_ms: i64,
        flushed: FlushResult,
        effects: &mut Effects<T>,
    ) -> Result<(), Poisoned> {
        let waited = self.flush_wanted();
        let could_heal = self.log.poisoned().is_some_and(Poisoned::lost_nothing);
        let finished = self.log.finish_flush(flushed, now_ms);
        if could_heal && !self.log.poisoned().is_some_and(Poisoned::lost_nothing) {
            // More is wrong than was told.
            self.failure_told = false;
        }
        self.tell_failure(effects);
        finished?;
        self.ask_for_flush(effects);
        self.advance(effects);
        self.propose(now_ms, effects);
        if waited {
            self.tell_if_fetchable(effects);
        }
        Ok(())
    }

    /// Asks for a flush if records wait for one and nobody was asked yet.
    pub(super) fn ask_for_flush(&mut self, effects: &mut Effects<T>) {
        if !self.flush_asked && self.flush_wanted() {
            self.flush_asked = true;
            effects.push(Effect::FlushWanted { token: self.reporter.clone() });
        }
    }
}
