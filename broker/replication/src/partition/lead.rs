//! The leader's part: answering followers, the high watermark, and the in-sync replicas (rules 8, 10, 15, 20, 27).

use taffrail_control::session::{IsrProposal, IsrRefusal};
use taffrail_log::{EpochEntry, ReadError, Storage};
use taffrail_protocol::ErrorCode;

use super::{Effect, Effects, Partition, Role};
use crate::leader::Standpoint;
use crate::progress::CountedFetch;
use crate::replica_fetch::{FetchError, ReplicaFetch, ReplicaRead};

/// How a follower's log lies to the leader's.
enum Fit {
    /// It is the beginning of the leader's.
    Agrees,
    /// They part at the end of this epoch or before.
    Diverges(EpochEntry),
    /// It ends where the leader's log does not reach.
    OutOfRange,
}

impl<S: Storage, T: Clone> Partition<S, T> {
    /// Answers a follower, and counts what its fetch acknowledges: unless the logs part before it, or it is out of range
    /// (rule 27). Reads up to the log's end, committed or not.
    ///
    /// # Errors
    /// [`FetchError`]: not the leader, another epoch than the follower's (rule 20), another incarnation than the one that is
    /// registered (rule 15), or a log that cannot be read. Nothing was counted then, but in the last case.
    pub fn replica_fetch(
        &mut self,
        now_ms: i64,
        fetch: &ReplicaFetch,
        effects: &mut Effects<T>,
    ) -> Result<ReplicaRead<S::File>, FetchError> {
        if fetch.current_leader_epoch < 0 {
            // A follower knows whom it follows.
            return Err(ErrorCode::FENCED_LEADER_EPOCH.into());
        }
        self.check_leader(fetch.current_leader_epoch)?;
        let fit = self.fit(fetch)?;
        let Role::Leader(leader) = &mut self.role else {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER.into());
        };
        leader.admit(now_ms, fetch.replica, fetch.registered)?;
        match fit {
            Fit::Agrees => {}
            Fit::Diverges(entry) => return Ok(self.answer(ErrorCode::NONE, Some(entry))),
            Fit::OutOfRange => return Ok(self.answer(ErrorCode::OFFSET_OUT_OF_RANGE, None)),
        }
        let leader_end_offset = self.log.log_end_offset();
        let start_moved = leader.count(
            fetch.replica,
            CountedFetch {
                now_ms,
                end_offset: fetch.fetch_offset,
                log_start_offset: fetch.log_start_offset,
                leader_end_offset,
                fenced: fetch.fenced,
            },
        );
        if start_moved {
            self.purgatory.start_written(effects);
        }
        self.advance(effects);
        self.propose(now_ms, effects);
        let sound_end = self.damages.sound_end(fetch.fetch_offset, leader_end_offset)?;
        let read = self.log.read(fetch.fetch_offset, fetch.max_bytes, fetch.at_least_one_batch, sound_end);
        if matches!(read, Err(ReadError::Corrupt { .. } | ReadError::Io { .. })) {
            self.found_corrupt(fetch.fetch_offset, effects);
        }
        let read = read?;
        // What was lost on its way is asked for again too, but rarely.
        if read.records.is_some()
            && self.damages.is_sent_again(fetch.replica.broker_id, fetch.fetch_offset)
            && self.found_corrupt(fetch.fetch_offset, effects)
        {
            return Err(ErrorCode::CORRUPT_MESSAGE.into());
        }
        Ok(ReplicaRead {
            records: read.records.filter(|range| range.len >= range.first_batch_len),
            ..self.answer(ErrorCode::NONE, None)
        })
    }

    fn fit(&self, fetch: &ReplicaFetch) -> Result<Fit, ErrorCode> {
        let (start, end) = (self.log.log_start_offset(), self.log.log_end_offset());
        // Whatever the epochs say: what is before the log's start was deleted everywhere or will be.
        if fetch.fetch_offset < start {
            return Ok(Fit::OutOfRange);
        }
        if fetch.last_fetched_epoch >= 0 {
            // An epoch above all that this leader knows, its own included: it does not lead any more.
            let own = self.log.end_offset_for_epoch(fetch.last_fetched_epoch);
            let own = own.ok_or(ErrorCode::UNKNOWN_LEADER_EPOCH)?;
            if own.epoch < fetch.last_fetched_epoch || own.start_offset < fetch.fetch_offset {
                return Ok(Fit::Diverges(own));
            }
        }
        Ok(if fetch.fetch_offset > end { Fit::OutOfRange } else { Fit::Agrees })
    }

    fn answer(&self, error: ErrorCode, diverging: Option<EpochEntry>) -> ReplicaRead<S::File> {
        ReplicaRead {
            error,
            records: None,
            diverging,
            high_watermark: self.high_watermark,
            log_start_offset: self.log.log_start_offset(),
            last_stable_offset: self.log.last_stable_offset(self.high_watermark),
        }
    }

    /// Moves the high watermark to what all members of the maximal ISR hold (rule 8), and answers the producers that waited
    /// for this log alone.
    pub(super) fn advance(&mut self, effects: &mut Effects<T>) {
        let Role::Leader(leader) = &self.role else { return };
        let own_end = self.counted_end();
        let committed_end = leader.committed_end(own_end);
        self.purgatory.counted(own_end, effects);
        if let Some(end) = committed_end.filter(|end| *end > self.high_watermark) {
            self.raise_high_watermark(end, effects);
        }
    }

    /// Makes the proposal that is due, if one is (rule 10).
    pub(super) fn propose(&mut self, now_ms: i64, effects: &mut Effects<T>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let at = Standpoint {
            now_ms,
            high_watermark: self.high_watermark,
            log_end_offset: self.log.log_end_offset(),
            lag_time_max_ms: self.lag_time_max_ms,
        };
        let Some(isr) = leader.next_proposal(&at) else { return };
        let proposal = IsrProposal {
            topic_id: self.record.topic_id,
            partition: self.record.partition,
            leader_epoch: self.record.leader_epoch,
            partition_epoch: leader.isr().partition_epoch(),
            isr,
        };
        effects.push(Effect::Propose { token: self.reporter.clone(), proposal });
    }

    /// Time has passed: members of the ISR may lag, a proposal may be due again.
    pub fn tick(&mut self, now_ms: i64, effects: &mut Effects<T>) {
        self.ask_for_flush(effects);
        self.advance(effects);
        self.propose(now_ms, effects);
        self.tell_failure(effects);
    }

    /// The controller refused the proposal that carried `partition_epoch`. The old ISR is proposed at once, so that other
    /// copies of it become void (rule 10).
    pub fn isr_refused(
        &mut self,
        now_ms: i64,
        partition_epoch: i32,
        reason: IsrRefusal,
        effects: &mut Effects<T>,
    ) {
        if let Role::Leader(leader) = &mut self.role {
            leader.isr_refused(now_ms, partition_epoch, reason);
        }
        self.propose(now_ms, effects);
    }

    /// A new session with the controller begins. Call it before anything of the session is assigned: what its first
    /// records do not decide is proposed again when they are, or at the next tick.
    pub fn session_renewed(&mut self) {
        if let Role::Leader(leader) = &mut self.role {
            leader.session_renewed();
        }
    }
}
