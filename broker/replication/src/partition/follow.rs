//! The follower's part: what to fetch next, and what to make of the answer (rules 13, 14, 26, 29).

use taffrail_log::{EpochEntry, Storage};
use taffrail_protocol::ErrorCode;

use super::{Effects, Partition, Role};
use crate::follower::{FollowError, FollowerLog, check_batches, check_truncation, truncation_point};
use crate::replica_fetch::{FetchPosition, Fetched, FetchedOutcome, Truncation};

impl<S: Storage, T: Clone> Partition<S, T> {
    /// What to ask the leader next; `None` unless this broker follows, its log takes writes and is not
    /// [held](Partition::hold_writes), it was not [stopped](FollowError::stops), and everything it has counts (rule 26). [`Effect::Fetchable`](super::Effect::Fetchable)
    /// tells when there is something to ask again.
    pub fn fetch_position(&self) -> Option<FetchPosition> {
        let Role::Follower(follower) = &self.role else { return None };
        let fetch_offset = self.log.log_end_offset();
        let takes_writes = self.log.poisoned().is_none() && self.held.is_none();
        if follower.stopped().is_some() || !takes_writes || self.counted_end() < fetch_offset {
            return None;
        }
        Some(FetchPosition {
            leader: follower.leader(),
            leader_epoch: self.record.leader_epoch,
            fetch_offset,
            last_fetched_epoch: self.last_record_epoch(),
            log_start_offset: self.written_start,
        })
    }

    /// Takes the leader's answer to the fetch that was made for `asked`. An answer to anything but the present
    /// [`Partition::fetch_position`] is ignored: a late one could truncate what was fetched since and is counted already
    /// (rule 13).
    ///
    /// # Errors
    /// [`FollowError`] when the answer cannot be used; where that [stops](FollowError::stops) the replica, there is no
    /// fetch position any more under this leader epoch. To be logged once, with the partition's name.
    pub fn fetched(
        &mut self,
        now_ms: i64,
        asked: &FetchPosition,
        answer: &Fetched<'_>,
        effects: &mut Effects<T>,
    ) -> Result<FetchedOutcome, FollowError> {
        if !self.fetch_position().is_some_and(|position| position.is_answered_by(asked)) {
            return Ok(FetchedOutcome::Ignored);
        }
        let outcome = match (answer.error, answer.diverging) {
            (ErrorCode::NONE, None) => self.append_fetched(now_ms, answer, effects),
            (ErrorCode::NONE, Some(diverging)) => self.truncate(now_ms, diverging),
            (ErrorCode::OFFSET_OUT_OF_RANGE, _) => self.start_anew(now_ms, answer, effects),
            (code, _) => Ok(FetchedOutcome::Refused(code)),
        };
        self.tell_failure(effects);
        if let (Err(error), Role::Follower(follower)) = (&outcome, &mut self.role)
            && error.stops()
        {
            follower.stop(error);
        }
        outcome
    }

    fn follower_log(&self) -> FollowerLog {
        FollowerLog {
            log_end_offset: self.log.log_end_offset(),
            last_epoch: self.last_record_epoch(),
            high_watermark: self.high_watermark,
            compact: self.log.config().compact,
        }
    }

    fn append_fetched(
        &mut self,
        now_ms: i64,
        answer: &Fetched<'_>,
        effects: &mut Effects<T>,
    ) -> Result<FetchedOutcome, FollowError> {
        let before = self.follower_log();
        check_batches(&before, answer.records, self.record.leader_epoch, answer.high_watermark)?;
        let size = self.log.size();
        let appended = self.log.append_as_follower(answer.records, now_ms)?;
        // Nothing else touched the log meanwhile.
        let bytes = self.log.size().saturating_sub(size);
        if bytes > 0 {
            self.purgatory.appended(bytes, effects);
            self.ask_for_flush(effects);
        }
        // It never falls: what an earlier leader committed stays so, though a new one may not know it yet.
        let high_watermark = answer.high_watermark.min(self.log.log_end_offset());
        if high_watermark > self.high_watermark {
            self.raise_high_watermark(high_watermark, effects);
        }
        self.move_start(answer.log_start_offset.min(self.high_watermark), effects)?;
        Ok(FetchedOutcome::Appended { bytes, rolled: appended.is_some_and(|info| info.rolled) })
    }

    fn truncate(&mut self, now_ms: i64, diverging: EpochEntry) -> Result<FetchedOutcome, FollowError> {
        let before = self.follower_log();
        let own = self.log.end_offset_for_epoch(diverging.epoch);
        let to = truncation_point(diverging, own, before.log_end_offset);
        if to < 0 || to >= before.log_end_offset {
            return Err(FollowError::NoDivergence {
                epoch: diverging.epoch,
                end_offset: diverging.start_offset,
                log_end_offset: before.log_end_offset,
                last_epoch: before.last_epoch,
            });
        }
        check_truncation(&before, to, self.record.leader_epoch, self.record.unclean_epoch)?;
        let cut = self.log.truncate_to(to, now_ms);
        // One that failed halfway may have taken something, too.
        let truncation = self.truncated(&before);
        cut?;
        Ok(FetchedOutcome::Truncated(truncation))
    }

    /// The leader has nothing at the end of this log. Either its log starts behind: then what this one has was deleted
    /// there, and it goes on at that start. Or this log is empty and the leader's ends before, which takes an unclean
    /// election; had it records, the leader had found them to diverge.
    fn start_anew(
        &mut self,
        now_ms: i64,
        answer: &Fetched<'_>,
        effects: &mut Effects<T>,
    ) -> Result<FetchedOutcome, FollowError> {
        let before = self.follower_log();
        let to = answer.log_start_offset;
        if to < 0 || to <= before.log_end_offset && before.last_epoch >= 0 {
            return Ok(FetchedOutcome::Refused(answer.error));
        }
        if to <= before.log_end_offset {
            check_truncation(&before, to, self.record.leader_epoch, self.record.unclean_epoch)?;
        }
        let cut = self.log.truncate_fully_and_start_at(to, now_ms);
        // One that failed halfway may have moved the log, too.
        let truncation = self.truncated(&before);
        cut?;
        self.start_moved(effects);
        Ok(FetchedOutcome::StartedAnew(truncation))
    }

    /// Takes the high watermark along after the log's end or start has moved.
    fn truncated(&mut self, before: &FollowerLog) -> Truncation {
        let (start, end) = (self.log.log_start_offset(), self.log.log_end_offset());
        self.damages.truncated(end);
        self.high_watermark = before.high_watermark.clamp(start, end);
        self.written_start = self.written_start.min(start);
        let lost = before.high_watermark > end;
        Truncation {
            from: before.log_end_offset,
            to: end,
            last_epoch: before.last_epoch,
            lost_below: lost.then(|| (before.high_watermark, self.record.unclean_epoch.unwrap_or(-1))),
        }
    }
}
