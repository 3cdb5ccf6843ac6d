//! Appending what clients and coordinators produce (rules 7, 9, 26, 27).

use std::sync::Arc;

use taffrail_log::{AppendError, AppendInfo, AppendOrigin, Poisoned, ProducerError, Storage};
use taffrail_protocol::ErrorCode;
use taffrail_protocol::record_batch::BatchHeader;

use super::{Effects, Partition, Role};

/// How many replicas have to hold a batch before its producer is told (`acks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredAcks {
    /// 0 or 1: the leader's append is enough, or its flush where the topic asks for it (rule 26).
    Leader,
    /// -1: all in-sync replicas.
    All,
}

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// Where the log put it.
    pub info: AppendInfo,
    /// Whether it counts as acknowledged already. If not, park the request with [`Partition::await_acks`] under the same
    /// lock.
    pub acknowledged: bool,
}

impl<S: Storage, T: Clone> Partition<S, T> {
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
        let behind = self.refused.code_for(now_ms, header);
        let epoch = self.record.leader_epoch;
        let refusal = match &self.role {
            Role::Leader(leader) if acks == RequiredAcks::All && !leader.committed_isr().has_min() => {
                Some(ErrorCode::NOT_ENOUGH_REPLICAS)
            }
            // Its sequence number cannot be checked.
            Role::Leader(_) => {
                behind.filter(|_| self.log.last_offset_of_producer(header.producer_id).is_none())
            }
            Role::Idle | Role::Follower(_) => Some(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        };
        let refusal = match (refusal, &self.held) {
            (Some(code), _) => Some(ProduceError::Refused(code)),
            (None, Some(reason)) => Some(ProduceError::Held(Arc::clone(reason))),
            (None, None) => None,
        };
        if let Some(refusal) = refusal {
            self.refused.note(now_ms, header, epoch, refusal.code());
            return Err(refusal);
        }
        let appended = self.log.append_as_leader(batch, header, epoch, AppendOrigin::Client, now_ms);
        let info = match (appended, behind) {
            (Ok(info), _) => info,
            (Err(AppendError::Producer(error @ ProducerError::OutOfOrderSequence { .. })), behind) => {
                let code = behind.or_else(|| self.awaits_earlier(now_ms, header));
                return Err(code.map_or_else(|| AppendError::Producer(error).into(), Into::into));
            }
            (Err(error), _) => {
                self.tell_failure(effects);
                return Err(error.into());
            }
        };
        self.refused.appended(header);
        if !info.duplicate {
            self.purgatory.appended(batch.len() as u64, effects);
            self.ask_for_flush(effects);
            self.advance(effects);
        }
        // A duplicate is acknowledged once the original is (rule 27).
        let acknowledged_end = match acks {
            RequiredAcks::All => self.high_watermark,
            RequiredAcks::Leader => self.counted_end(),
        };
        Ok(Produced { info, acknowledged: info.last_offset < acknowledged_end })
    }

    /// The code to refuse a batch with that is out of order, if the one before it may be about to be sent again: where its
    /// producer has appended nothing under this leadership yet.
    fn awaits_earlier(&mut self, now_ms: i64, header: &BatchHeader) -> Option<ErrorCode> {
        let Role::Leader(leader) = &self.role else { return None };
        let last_offset = self.log.last_offset_of_producer(header.producer_id)?;
        let is_first = last_offset < leader.epoch_start_offset();
        is_first.then(|| self.refused.awaits_earlier(now_ms, header, self.record.leader_epoch)).flatten()
    }
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The partition refused before it touched the log.
    #[error("the partition refused the batch: {0}")]
    Refused(ErrorCode),
    /// The log's disk has no room, or has failed.
    #[error("{0}")]
    Held(Arc<str>),
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
            Self::Held(_) => ErrorCode::KAFKA_STORAGE_ERROR,
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
