//! A follower's corrupt batches, mended with what the leader has ([`taffrail_log::repair`]). Its log never ends earlier for
//! it, so it stays in sync.

use std::ops::Range;

use taffrail_control::session::Member;
use taffrail_log::repair::Repair;
use taffrail_log::{CorruptBatch, Poisoned, Replaced, Replacement, Storage};

use super::{Effects, Partition, Role};

/// What is to be fetched anew, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairTask {
    /// Who has it.
    pub leader: Member,
    /// The epoch that it leads in.
    pub leader_epoch: i32,
    /// What is corrupt.
    pub batch: CorruptBatch,
    /// Where the segments begin that are to be written anew, in this order.
    pub segments: Vec<i64>,
}

/// Whether there is something to repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairState {
    /// No batch is known to be corrupt.
    Sound,
    /// There is nobody to repair it from: this broker leads, or nobody does, or its log takes no writes.
    NotNow,
    /// It can be done.
    Due(RepairTask),
}

impl<S: Storage, T: Clone> Partition<S, T> {
    /// Checks the batch that has `offset`, as somebody could not make anything of it. Whether it is corrupt: then the
    /// controller is told, and it is given out no more.
    pub fn found_corrupt(&mut self, offset: i64, effects: &mut Effects<T>) -> bool {
        let is_corrupt = self.check_batch(offset);
        self.tell_failure(effects);
        is_corrupt
    }

    /// Whether there is something to repair. A segment that is still written to ends first; what is in it has to be synced
    /// before [`Partition::begin_repair`].
    pub fn repair_state(&mut self, now_ms: i64, effects: &mut Effects<T>) -> RepairState {
        let Some(batch) = self.corrupt_batch().cloned() else { return RepairState::Sound };
        let Role::Follower(follower) = &self.role else { return RepairState::NotNow };
        let leader = follower.leader();
        if self.held.is_some() || self.log.poisoned().is_some() {
            return RepairState::NotNow;
        }
        let sealed = self.log.seal_segment_of(batch.base_offset, now_ms);
        self.tell_failure(effects);
        if sealed.is_err() {
            return RepairState::NotNow;
        }
        let segments = self.log.segments_to_repair(batch.base_offset);
        RepairState::Due(RepairTask { leader, leader_epoch: self.record.leader_epoch, batch, segments })
    }

    /// Begins to write a segment anew; `None` while that cannot be, as it is not committed or synced yet, or is being compacted.
    ///
    /// # Errors
    /// When the log is poisoned.
    pub fn begin_repair(&mut self, base_offset: i64, now_ms: i64) -> Result<Option<Repair<S>>, Poisoned> {
        self.log.begin_repair(base_offset, self.high_watermark, now_ms)
    }

    /// Puts a segment in its place, if what was there has not changed meanwhile: nothing of `offsets` is corrupt any more.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn finish_repair(
        &mut self,
        replacement: Replacement<S>,
        offsets: Range<i64>,
        effects: &mut Effects<T>,
    ) -> Result<Replaced<S>, Poisoned> {
        let replaced = self.log.replace_segments(replacement);
        if matches!(replaced, Ok(Replaced::InPlace)) {
            self.damages.mended(offsets);
            // What else is corrupt is told anew.
            self.failure_told = false;
        }
        self.tell_failure(effects);
        replaced
    }
}
