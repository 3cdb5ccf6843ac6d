//! A log that is made of another one, to take its place in another directory
//! (`UnifiedLog` with `isFuture`, `LogManager.replaceCurrentWithFutureLog`).
//!
//! The *future* log is appended to as a follower's is, from the *current* log's start on, and follows what becomes of that
//! meanwhile: records that are taken back, a start that moves up. What no batch tells any more (epochs and producers whose
//! records are gone) it gets at the end, when both are equal.

use std::path::Path;

use taffrail_protocol::Uuid;

use super::Log;
use crate::config::LogConfig;
use crate::error::{OpenError, Poisoned};
use crate::storage::Storage;

/// What a future log is to know of the current one.
#[derive(Debug, Clone)]
pub struct Followed {
    /// Records from here on were taken back, or replaced by another replica's, since this was asked last; `i64::MIN` where all
    /// were.
    cut: Option<i64>,
    /// Where the log begins.
    pub log_start_offset: i64,
    /// Where it ends.
    pub log_end_offset: i64,
    topic_id: Option<Uuid>,
    config: LogConfig,
    cleaned_to: i64,
}

impl Followed {
    /// Makes an empty log in `dir` that is to become what this is told of; [`Log::follow`] tells it where it begins.
    ///
    /// # Errors
    /// When a file cannot be made, or it is not known whose log this is.
    pub fn begin_future<S: Storage>(&self, storage: S, dir: &Path, now_ms: i64) -> Result<Log<S>, OpenError> {
        let topic_id = self.topic_id.ok_or_else(|| OpenError::Io {
            dir: dir.to_owned(),
            action: "finding the topic's id".to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let mut future = Log::create(storage, dir.to_owned(), self.config.clone(), topic_id, now_ms)?;
        future.cleaned_to = self.cleaned_to;
        Ok(future)
    }
}

impl<S: Storage> Log<S> {
    pub(super) fn note_cut(&mut self, end: i64) {
        self.cut = Some(self.cut.map_or(end, |cut| cut.min(end)));
    }

    /// What a future log is to follow. What was taken back is told once, so there may be one future log at a time.
    pub fn followed(&mut self) -> Followed {
        Followed {
            cut: self.cut.take(),
            log_start_offset: self.log_start_offset,
            log_end_offset: self.log_end_offset,
            topic_id: self.topic_id,
            config: self.config.clone(),
            cleaned_to: self.cleaned_to,
        }
    }

    /// Makes this future log one that may be continued from its end: nothing is left in it that the current one has no
    /// more. Blocks on the disk where there was.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn follow(&mut self, current: Followed, now_ms: i64) -> Result<(), Poisoned> {
        let Followed { cut, log_start_offset, log_end_offset, config, cleaned_to, .. } = current;
        self.config = config;
        let cut = cut.filter(|cut| *cut < self.log_end_offset);
        let anew = cut.is_some_and(|cut| cut <= self.log_start_offset)
            || log_start_offset > self.log_end_offset
            || log_start_offset < self.log_start_offset;
        if anew {
            self.truncate_fully_and_start_at(log_start_offset, now_ms)?;
            // What is copied from now on is as compact as the current log is by now.
            self.cleaned_to = cleaned_to;
        } else {
            if let Some(cut) = cut {
                self.truncate_to(cut, now_ms)?;
            }
            if self.set_log_start_offset(log_start_offset)? {
                self.delete_old_segments()?;
                if let Some(sweep) = self.begin_sweep(now_ms, true) {
                    let swept = sweep.run();
                    self.guard("removing deleted segments", swept)?;
                }
            }
            self.cleaned_to = self.cleaned_to.min(cleaned_to);
        }
        assert!(
            self.log_end_offset <= log_end_offset && self.log_start_offset == log_start_offset,
            "the log in {} goes from {} to {}, and the one that it is made of from {log_start_offset} to {log_end_offset}",
            self.home.dir.display(),
            self.log_start_offset,
            self.log_end_offset
        );
        Ok(())
    }

    /// Ends this future log at `offset`, behind its last batch: in the current one compaction has left none there.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn skip_to(&mut self, offset: i64, now_ms: i64) -> Result<(), Poisoned> {
        self.check_writable()?;
        if offset > self.log_end_offset {
            self.roll(offset, now_ms)?;
            self.log_end_offset = offset;
            self.assert_order();
        }
        Ok(())
    }

    /// Takes from the `current` log what batches do not tell, makes everything durable and moves to `dir`, the partition's own
    /// in this data directory: from here on this is the partition's log. Both must begin and end alike. Blocks for some
    /// syncs.
    ///
    /// # Errors
    /// When this log is or becomes poisoned. Its directory may have got the new name all the same.
    pub fn take_place_of(&mut self, current: &Self, dir: &Path, now_ms: i64) -> Result<(), Poisoned> {
        assert_eq!(
            (self.log_start_offset, self.log_end_offset),
            (current.log_start_offset, current.log_end_offset),
            "the log in {} is to take the place of another one",
            self.home.dir.display()
        );
        self.check_writable()?;
        self.config = current.config.clone();
        self.epochs = current.epochs.clone();
        self.write_epochs()?;
        self.producers = current.producers.clone();
        // One that the batches alone told is replaced; and recovery believes one with which a segment begins.
        self.snapshot_offset = self.snapshot_offset.min(self.log_end_offset - 1);
        self.roll(self.log_end_offset, now_ms)?;
        self.write_snapshot(self.log_end_offset)?;
        self.flush(now_ms)?;
        // What was begun on the other log is not for this one.
        self.generation = self.generation.max(current.generation) + 1;
        let renamed = self.home.storage.rename(&self.home.dir, dir);
        self.guard("giving it the partition's name", renamed)?;
        self.home.dir = dir.to_owned();
        let synced = dir.parent().map_or(Ok(()), |parent| self.home.storage.sync_dir(parent));
        self.guard_all("syncing the partition's name", synced)?;
        self.cut = None;
        Ok(())
    }
}
