//! One partition as this broker has it: its log, its role, and the requests that wait on it.
//!
//! A step machine without clock, tasks or sockets: time and bytes are arguments, what the caller asked for is returned,
//! and what *others* must be told is pushed to an [`Effects`] list that the caller carries out after it let go of the
//! partition. `T` is how a waiting request is named; the partition only stores and returns it.
//!
//! Invariants, asserted where the values change:
//! - log_start_offset ≤ last_stable_offset ≤ high_watermark ≤ log_end_offset;
//! - the high watermark never falls while this broker leads;
//! - the leader epoch and the partition epoch of the record never fall (rule 2).

mod parked;

use taffrail_control::session::PartitionRecord;
use taffrail_log::{
    AppendError, AppendInfo, AppendOrigin, FileRange, Log, Poisoned, ProducerError, ReadError, Storage,
};
use taffrail_protocol::ErrorCode;
use taffrail_protocol::record_batch::BatchHeader;

use parked::Purgatory;
pub use parked::{Effect, Effects, ParkId};

/// How many replicas have to hold a batch before its producer is told (`acks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredAcks {
    /// 0 or 1: the leader's append is enough.
    Leader,
    /// -1: all in-sync replicas.
    All,
}

/// Which records a reader may see (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

/// What this broker is to the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The controller's record names another leader or none.
    Idle,
    /// The record names this broker in this incarnation (rule 7).
    Leader,
}

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// Where the log put it.
    pub info: AppendInfo,
    /// Whether it counts as acknowledged already. If not, park the request with
    /// [`Partition::await_commit`] under the same lock.
    pub acknowledged: bool,
}

/// One replica of a partition.
pub struct Partition<S: Storage, T> {
    log: Log<S>,
    record: PartitionRecord,
    role: Role,
    high_watermark: i64,
    purgatory: Purgatory<T>,
}

impl<S: Storage, T: Clone> Partition<S, T> {
    /// A replica around an open log. `high_watermark` is the checkpointed one; what it claims beyond the log's end or
    /// before its start is cut. It serves nothing before [`Partition::assign`].
    pub fn new(log: Log<S>, record: PartitionRecord, high_watermark: i64) -> Self {
        let high_watermark = high_watermark.clamp(log.log_start_offset(), log.log_end_offset());
        Self { log, record, role: Role::Idle, high_watermark, purgatory: Purgatory::default() }
    }

    /// Takes the controller's record and the role that follows from it. `leads` says whether the record names this
    /// broker in its registered incarnation. A record older than the one held is ignored (rule 2).
    ///
    /// # Errors
    /// [`Poisoned`] when the new epoch's start cannot be noted; the partition then stays idle.
    pub fn assign(
        &mut self,
        record: PartitionRecord,
        leads: bool,
        effects: &mut Effects<T>,
    ) -> Result<(), Poisoned> {
        let held = (self.record.creation, self.record.partition_epoch);
        if (record.creation, record.partition_epoch) < held {
            return Ok(());
        }
        assert!(record.leader_epoch >= self.record.leader_epoch, "a leader epoch fell");
        let epoch_changed = record.leader_epoch > self.record.leader_epoch;
        self.record = record;
        if epoch_changed || !leads {
            self.resign(effects);
        }
        if leads && self.role == Role::Idle {
            // Noted before anything is appended under the epoch (rule 7).
            self.log.assign_leader_epoch(self.record.leader_epoch)?;
            self.role = Role::Leader;
        }
        self.advance_high_watermark(effects);
        Ok(())
    }

    /// Stops acting as leader: whoever waits is told to look for another one (rule 12).
    pub fn resign(&mut self, effects: &mut Effects<T>) {
        self.role = Role::Idle;
        self.purgatory.fail_all(ErrorCode::NOT_LEADER_OR_FOLLOWER, effects);
    }

    /// The controller's record.
    pub fn record(&self) -> &PartitionRecord {
        &self.record
    }

    /// The log, to look at.
    pub fn log(&self) -> &Log<S> {
        &self.log
    }

    /// The log, for maintenance that moves no offset: flushing, configuration, deletion.
    pub fn log_mut(&mut self) -> &mut Log<S> {
        &mut self.log
    }

    /// Records below it are committed.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The first offset a reader with `isolation` may not see.
    pub fn readable_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.log.last_stable_offset(self.high_watermark),
        }
    }

    /// Whether this broker leads, and under the epoch that the client knows; -1 skips the epoch check (KIP-320, rule 20).
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`, `FENCED_LEADER_EPOCH` or `UNKNOWN_LEADER_EPOCH`.
    pub fn check_leader(&self, current_leader_epoch: i32) -> Result<(), ErrorCode> {
        if current_leader_epoch >= 0 {
            match current_leader_epoch.cmp(&self.record.leader_epoch) {
                std::cmp::Ordering::Less => return Err(ErrorCode::FENCED_LEADER_EPOCH),
                std::cmp::Ordering::Greater => return Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
                std::cmp::Ordering::Equal => {}
            }
        }
        match self.role {
            Role::Leader => Ok(()),
            Role::Idle => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }

    /// The epoch that this broker leads in, if it leads.
    pub fn led_epoch(&self) -> Option<i32> {
        (self.role == Role::Leader).then_some(self.record.leader_epoch)
    }

    /// Appends one batch of a client, checked by `validate_produced`, and gives it its offset and epoch in place.
    ///
    /// # Errors
    /// The code for the producer's answer: not the leader, too few in-sync replicas (rule 9), a broken sequence of an
    /// idempotent producer, or a log that takes no writes.
    pub fn produce(
        &mut self,
        now_ms: i64,
        batch: &mut [u8],
        header: &BatchHeader,
        acks: RequiredAcks,
        effects: &mut Effects<T>,
    ) -> Result<Produced, ProduceError> {
        self.check_leader(-1)?;
        let min_isr = usize::try_from(self.record.min_isr).unwrap_or(0);
        if acks == RequiredAcks::All && self.record.isr.len() < min_isr {
            return Err(ProduceError::Refused(ErrorCode::NOT_ENOUGH_REPLICAS));
        }
        let info = self.log.append_as_leader(
            batch,
            header,
            self.record.leader_epoch,
            AppendOrigin::Client,
            now_ms,
        )?;
        if !info.duplicate {
            self.purgatory.note_bytes(batch.len() as u64);
        }
        if self.log.flush_due(now_ms) {
            // Where the topic asks for it, a batch is on the disk before anybody hears of it.
            self.log.flush(now_ms)?;
        }
        self.advance_high_watermark(effects);
        // A duplicate is acknowledged once the original is committed, not before (rule 27).
        let acknowledged = acks == RequiredAcks::Leader || info.last_offset < self.high_watermark;
        Ok(Produced { info, acknowledged })
    }

    /// Parks a produce request until records up to and including `last_offset` are committed.
    pub fn await_commit(&mut self, last_offset: i64, token: T) {
        self.purgatory.park_produce(last_offset, token);
    }

    /// Parks a fetch: `token` is told whenever more becomes readable, until [`Partition::leave`].
    pub fn await_data(&mut self, token: T) -> ParkId {
        self.purgatory.park_fetch(token)
    }

    /// Takes a parked fetch back. Unknown ids are ignored: the partition may have let it go itself.
    pub fn leave(&mut self, id: ParkId) {
        self.purgatory.leave(id);
    }

    /// Names the bytes from the batch that holds `offset` on, up to what `isolation` allows; `None` when there are none
    /// yet, or not one whole batch within `max_bytes`: a consumer gives up on an answer that holds but a part of one.
    ///
    /// # Errors
    /// [`ReadError`] outside of log start and log end, or when the log cannot be read.
    pub fn read(
        &mut self,
        offset: i64,
        max_bytes: u32,
        at_least_one_batch: bool,
        isolation: Isolation,
    ) -> Result<Option<FileRange<S::File>>, ReadError> {
        let end = self.readable_end(isolation);
        let records = self.log.read(offset, max_bytes, at_least_one_batch, end)?.records;
        Ok(records.filter(|range| range.len >= range.first_batch_len))
    }

    /// As [`Partition::read`], but up to the log's end: for a coordinator, which loads what it may not speak of yet
    /// (rule 33).
    ///
    /// # Errors
    /// As [`Partition::read`].
    pub fn read_to_end(
        &mut self,
        offset: i64,
        max_bytes: u32,
    ) -> Result<Option<FileRange<S::File>>, ReadError> {
        let end = self.log.log_end_offset();
        Ok(self.log.read(offset, max_bytes, true, end)?.records)
    }

    /// Moves the high watermark to what the in-sync replicas hold, and tells those who wait for it. The only in-sync
    /// replica is this one, so that is the log's end.
    fn advance_high_watermark(&mut self, effects: &mut Effects<T>) {
        if self.role != Role::Leader {
            return;
        }
        let end = self.log.log_end_offset();
        assert!(end >= self.high_watermark, "the log ended below the high watermark of its leader");
        if end > self.high_watermark {
            self.high_watermark = end;
            self.purgatory.committed(end, effects);
        }
    }
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The partition refused before it touched the log.
    #[error("the partition refused the batch: {0}")]
    Refused(ErrorCode),
    /// The log refused or failed.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<ErrorCode> for ProduceError {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

impl From<Poisoned> for ProduceError {
    fn from(poisoned: Poisoned) -> Self {
        Self::Append(poisoned.into())
    }
}

impl ProduceError {
    /// The code that the producer is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(code) => *code,
            Self::Append(error) => append_error_code(error),
        }
    }
}

fn append_error_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Poisoned(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        AppendError::MessageTooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        AppendError::LargerThanSegment { .. } => ErrorCode::RECORD_LIST_TOO_LARGE,
        AppendError::Corrupt { .. } => ErrorCode::CORRUPT_MESSAGE,
        AppendError::UnexpectedOffset { .. } | AppendError::OffsetsExhausted { .. } => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        AppendError::Producer(error) => match error {
            ProducerError::OutOfOrderSequence { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            ProducerError::InvalidEpoch { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
            ProducerError::NotTransactional { .. } => ErrorCode::INVALID_TXN_STATE,
            ProducerError::CoordinatorFenced { .. } => ErrorCode::TRANSACTION_COORDINATOR_FENCED,
        },
    }
}

/// The code that a reader is told.
pub fn read_error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        ReadError::Io { .. } => ErrorCode::KAFKA_STORAGE_ERROR,
        ReadError::Corrupt { .. } => ErrorCode::CORRUPT_MESSAGE,
    }
}
