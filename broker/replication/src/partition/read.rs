//! Reading, by consumers and coordinators (rules 19, 20, 33).

use taffrail_log::{EpochEntry, FileRange, ReadError, Storage};
use taffrail_protocol::ErrorCode;

use super::{Partition, Role};
use crate::replica_fetch::FetchError;

/// Which records a reader may see (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

impl<S: Storage, T: Clone> Partition<S, T> {
    /// The first offset a reader with `isolation` may not see.
    pub fn readable_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.log.last_stable_offset(self.high_watermark),
        }
    }

    /// Names the bytes from the batch that holds `offset` on, up to what `isolation` allows; `None` when there are none
    /// yet, or not one whole batch within `max_bytes`: a consumer gives up on an answer that holds but a part of one.
    ///
    /// # Errors
    /// `OFFSET_NOT_AVAILABLE` from a follower for what it does not know to be committed: the leader may (rule 19).
    /// `CORRUPT_MESSAGE` for a batch that was found to be corrupt. [`ReadError`] outside of log start and log end, or when the log cannot be read.
    pub fn read(
        &mut self,
        offset: i64,
        max_bytes: u32,
        at_least_one_batch: bool,
        isolation: Isolation,
    ) -> Result<Option<FileRange<S::File>>, FetchError> {
        if offset > self.high_watermark && matches!(self.role, Role::Follower(_)) {
            return Err(ErrorCode::OFFSET_NOT_AVAILABLE.into());
        }
        let end = self.readable_end(isolation);
        let end = if offset < end { self.damages.sound_end(offset, end)? } else { end };
        let read = self.log.read(offset, max_bytes, at_least_one_batch, end);
        if matches!(read, Err(ReadError::Corrupt { .. } | ReadError::Io { .. })) {
            // Who answers the consumer has it told.
            self.check_batch(offset);
        }
        let records = read?.records;
        Ok(records.filter(|range| range.len >= range.first_batch_len))
    }

    /// As [`Partition::read`], but up to the log's end: for a coordinator, which loads what it may not speak of yet
    /// (rule 33).
    ///
    /// # Errors
    /// As [`taffrail_log::Log::read`].
    pub fn read_to_end(
        &mut self,
        offset: i64,
        max_bytes: u32,
    ) -> Result<Option<FileRange<S::File>>, ReadError> {
        let end = self.log.log_end_offset();
        Ok(self.log.read(offset, max_bytes, true, end)?.records)
    }

    /// Whether the end of what is readable can be told: a new leader's high watermark may be behind what was readable on the
    /// old one, until it has reached the start of its own epoch (rule 19, KIP-207).
    ///
    /// # Errors
    /// `OFFSET_NOT_AVAILABLE`.
    pub fn check_offsets_known(&self) -> Result<(), ErrorCode> {
        match &self.role {
            Role::Leader(leader) if self.high_watermark < leader.epoch_start_offset() => {
                Err(ErrorCode::OFFSET_NOT_AVAILABLE)
            }
            _ => Ok(()),
        }
    }

    /// Where `epoch` ends on this leader: the largest epoch that is not above it, and the offset behind its last record, in
    /// `start_offset`; both -1 where nothing can be said (OffsetForLeaderEpoch, KIP-101, KIP-279, KIP-320).
    ///
    /// # Errors
    /// As [`Partition::check_leader`].
    pub fn end_offset_for_epoch(
        &self,
        epoch: i32,
        current_leader_epoch: i32,
    ) -> Result<EpochEntry, ErrorCode> {
        self.check_leader(current_leader_epoch)?;
        Ok(self.log.end_offset_for_epoch(epoch).unwrap_or(EpochEntry { epoch: -1, start_offset: -1 }))
    }
}
