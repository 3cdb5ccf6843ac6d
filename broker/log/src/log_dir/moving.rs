//! What a data directory keeps for logs that move to another, or here (KIP-113).

use std::path::PathBuf;

use taffrail_protocol::Uuid;

use super::{LogDir, LogDirError, Written};
use crate::error::CheckpointError;
use crate::names::{self, TopicPartition};
use crate::offset_checkpoint::{self, Offsets};
use crate::storage::Storage;

/// What the checkpoint files of a data directory tell of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCheckpoints {
    /// Up to here everything is on the disk.
    pub recovery_point: i64,
    /// Where the log begins.
    pub log_start_offset: i64,
    /// Records below are committed.
    pub high_watermark: i64,
    /// Up to here the log is compacted.
    pub cleaned_to: i64,
}

impl<S: Storage> LogDir<S> {
    /// Directories that replicas were being moved into when the last process ended.
    pub fn futures(&self) -> &[PathBuf] {
        &self.futures
    }

    /// The logs here that may have given way to others of the same partition ([`note_moving`](Self::note_moving)).
    pub fn moving(&self) -> Vec<TopicPartition> {
        self.written.lock().moving.keys().cloned().collect()
    }

    /// Writes down in all checkpoints what they are to tell of the log that is about to get a partition's name here.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn adopt_checkpoints(
        &self,
        partition: &TopicPartition,
        told: LogCheckpoints,
    ) -> Result<(), CheckpointError> {
        let mut written = self.written.lock();
        let Written { recovery_points, log_starts, high_watermarks, cleaned, .. } = &mut *written;
        for (offsets, name, offset) in [
            (recovery_points, names::RECOVERY_POINT_CHECKPOINT, told.recovery_point),
            (log_starts, names::LOG_START_CHECKPOINT, told.log_start_offset),
            (high_watermarks, names::REPLICATION_CHECKPOINT, told.high_watermark),
            (cleaned, names::CLEANER_CHECKPOINT, told.cleaned_to),
        ] {
            let mut adopted = offsets.clone();
            // A log that is not told of has 0.
            match offset {
                0 => adopted.remove(partition),
                offset => adopted.insert(partition.clone(), offset),
            };
            if adopted != *offsets {
                offset_checkpoint::write(&self.storage, &self.path.join(name), &adopted)?;
                *offsets = adopted;
            }
        }
        Ok(())
    }

    /// Writes down that a log of this directory, which ends at `log_end_offset`, gives way to one of the same partition in
    /// another: where both are found, it is this one that goes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note_moving(
        &self,
        partition: &TopicPartition,
        log_end_offset: i64,
    ) -> Result<(), CheckpointError> {
        self.change_moving(|moving| {
            moving.insert(partition.clone(), log_end_offset);
        })
    }

    /// Takes back what [`note_moving`](Self::note_moving) wrote.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget_moving(&self, partition: &TopicPartition) -> Result<(), CheckpointError> {
        self.change_moving(|moving| {
            moving.remove(partition);
        })
    }

    fn change_moving(&self, change: impl FnOnce(&mut Offsets)) -> Result<(), CheckpointError> {
        let mut written = self.written.lock();
        let mut moving = written.moving.clone();
        change(&mut moving);
        if moving != written.moving {
            offset_checkpoint::write(&self.storage, &self.path.join(names::MOVING), &moving)?;
            written.moving = moving;
        }
        Ok(())
    }

    /// Renames a partition's directory so that it is to be deleted, and returns where it is now, as
    /// [`give_up`](Self::give_up) does for one that was set aside.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn retire(&self, partition: &TopicPartition, unique: Uuid) -> Result<PathBuf, LogDirError> {
        let to = self.path.join(names::delete_dir_name(partition, unique));
        let renamed = self.storage.rename(&self.log_path(partition), &to);
        renamed.map_err(|source| self.fail("renaming a log's directory", source))?;
        self.sync()?;
        Ok(to)
    }

    /// As [`retire`](Self::retire), of one of the [`partitions`](Self::partitions) before they are asked for.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn retire_at_start(
        &mut self,
        partition: &TopicPartition,
        unique: Uuid,
    ) -> Result<PathBuf, LogDirError> {
        let to = self.retire(partition, unique)?;
        self.partitions.retain(|other| other != partition);
        Ok(to)
    }
}
