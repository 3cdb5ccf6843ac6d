//! Deleting the oldest records: by age and size on every replica, where clients ask for it (KIP-107), and on followers as
//! their leaders did.
//!
//! The log's start moves at once, and from then on nobody reads what is before it. It counts once it was written down, as a
//! crash before that takes it back: then it is told to the leader, segments may go ([`Partition::delete_old_segments`]), and
//! whoever asked for it is answered when the start of every replica that lives counts.

use taffrail_log::{Poisoned, Retained, Storage, Sweep};
use taffrail_protocol::ErrorCode;

use super::{Effect, Effects, ParkId, Partition, Role};

/// Why records were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// This broker does not lead the partition.
    #[error("the partition refused to delete records: {0}")]
    Refused(ErrorCode),
    /// There is no such offset among those that are committed.
    #[error("offset {offset} is not between 0 and the high watermark {high_watermark}")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// Records below are committed.
        high_watermark: i64,
    },
    /// The log takes no writes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl DeleteError {
    /// The code that the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(code) => *code,
            Self::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
            Self::Poisoned(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }
}

impl<S: Storage, T: Clone> Partition<S, T> {
    /// Deletes the records below `offset`, on the leader; `None` stands for the high watermark. Returns what the
    /// [low watermark](Self::low_watermark) has to reach for it to be done. Where the log starts there already, or behind,
    /// nothing changes (`kafka.cluster.Partition.deleteRecordsOnLeader`).
    ///
    /// # Errors
    /// [`DeleteError`]; nothing was deleted then.
    pub fn delete_records(
        &mut self,
        offset: Option<i64>,
        effects: &mut Effects<T>,
    ) -> Result<i64, DeleteError> {
        self.check_leader(-1).map_err(DeleteError::Refused)?;
        let high_watermark = self.high_watermark;
        let offset = offset.unwrap_or(high_watermark);
        if !(0..=high_watermark).contains(&offset) {
            return Err(DeleteError::OutOfRange { offset, high_watermark });
        }
        self.move_start(offset, effects)?;
        self.tell_failure(effects);
        Ok(offset)
    }

    /// The smallest offset that the log of any replica on a broker that `lives` starts at, as those were written down; -1
    /// where one is not known yet (`kafka.cluster.Partition.lowWatermarkIfLeader`).
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`: only the leader can tell.
    pub fn low_watermark(&self, lives: impl Fn(i32) -> bool) -> Result<i64, ErrorCode> {
        match &self.role {
            Role::Leader(leader) => Ok(leader.low_watermark(self.written_start, lives)),
            Role::Idle | Role::Follower(_) => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }

    /// Moves the log's start up to where retention says; nothing that is not committed goes. `now_ms` is what records are
    /// old by. Returns what goes, to be told to people; `None` when nothing does.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn retain(&mut self, now_ms: i64, effects: &mut Effects<T>) -> Result<Option<Retained>, Poisoned> {
        let retained = self.log.retain(self.high_watermark, now_ms);
        self.tell_failure(effects);
        let retained = retained?;
        if let Some(retained) = &retained {
            assert!(
                retained.to <= self.high_watermark,
                "retention would move the log's start to {}, behind the high watermark {}",
                retained.to,
                self.high_watermark
            );
            self.start_moved(effects);
        }
        Ok(retained)
    }

    /// Parks a deletion of records: `token` is told whenever a replica has written down where its log starts, until
    /// [`Partition::leave`].
    pub fn await_deletion(&mut self, token: T) -> ParkId {
        self.purgatory.park_deletion(token)
    }

    /// Where the log starts was written down: it counts now.
    pub fn start_written(&mut self, offset: i64, effects: &mut Effects<T>) {
        let written = offset.min(self.log.log_start_offset());
        if written <= self.written_start {
            return;
        }
        self.written_start = written;
        self.purgatory.start_written(effects);
        // The leader is told with the next fetch.
        self.tell_if_fetchable(effects);
    }

    /// Takes the segments out of the log that lie wholly before its start, if that was written down; returns how many. It
    /// is due after [`Partition::start_written`].
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn delete_old_segments(&mut self, effects: &mut Effects<T>) -> Result<usize, Poisoned> {
        if self.written_start < self.log.log_start_offset() {
            return Ok(0);
        }
        let deleted = self.log.delete_old_segments();
        self.tell_failure(effects);
        deleted
    }

    /// The work that is left on deleted segments, if there is any, to be run without holding the partition; see
    /// [`Log::begin_sweep`](taffrail_log::Log::begin_sweep).
    pub fn begin_sweep(&self, now_ms: i64, at_once: bool) -> Option<Sweep<S>> {
        self.log.begin_sweep(now_ms, at_once)
    }

    /// Moves the log's start up to `offset`, which must not be above the high watermark; one that is not above the start
    /// changes nothing.
    pub(super) fn move_start(&mut self, offset: i64, effects: &mut Effects<T>) -> Result<(), Poisoned> {
        assert!(
            offset <= self.high_watermark,
            "the log would start at {offset}, behind the high watermark {}",
            self.high_watermark
        );
        if self.log.set_log_start_offset(offset)? {
            self.start_moved(effects);
        }
        Ok(())
    }

    /// Has the log's new start written down, and followers told.
    pub(super) fn start_moved(&mut self, effects: &mut Effects<T>) {
        self.purgatory.start_moved(effects);
        effects.push(Effect::StartMoved { token: self.reporter.clone() });
    }
}
