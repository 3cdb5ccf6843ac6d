//! Making a log durable, closing it, and deleting it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use taffrail_protocol::Uuid;

use super::Log;
use crate::error::Poisoned;
use crate::names::{self, DirKind, SegmentFile};
use crate::storage::{Access, Storage, StorageFile};

/// What must be synced so that the log is durable up to its present end. It may be run on another thread while the
/// log's owner goes on appending.
pub struct Flush<S: Storage> {
    storage: S,
    /// The log's directory.
    log: PathBuf,
    /// Files to open and sync; one that is missing by then was deleted, which is durable enough.
    paths: Vec<PathBuf>,
    active: Option<Arc<S::File>>,
    /// Synced last: names become durable after what they name.
    dir: Option<PathBuf>,
    upto: i64,
    generation: u64,
    changes: u64,
}

/// What a log was when its last bytes were written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    end: i64,
    changes: u64,
}

/// What came of a [`Flush`].
#[derive(Debug)]
pub struct FlushResult {
    log: PathBuf,
    upto: i64,
    generation: u64,
    changes: u64,
    result: io::Result<()>,
}

impl<S: Storage> Flush<S> {
    /// Syncs the files, oldest first, and then their directory. Blocks.
    pub fn run(self) -> FlushResult {
        let result = self.sync();
        let Self { log, upto, generation, changes, .. } = self;
        FlushResult { log, upto, generation, changes, result }
    }

    fn sync(&self) -> io::Result<()> {
        for path in &self.paths {
            match self.storage.open(path, Access::Read) {
                Ok(file) => file.sync()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(file) = &self.active {
            file.sync()?;
        }
        match &self.dir {
            Some(dir) => self.storage.sync_dir(dir),
            None => Ok(()),
        }
    }
}

impl<S: Storage> Log<S> {
    /// Whether `flush.messages` or `flush.ms` ask for a flush now.
    pub fn flush_due(&self, now_ms: i64) -> bool {
        let unflushed = self.log_end_offset - self.recovery_point;
        unflushed >= self.config.flush_messages
            || unflushed > 0 && now_ms.saturating_sub(self.last_flush_ms) >= self.config.flush_ms
    }

    /// What must be synced to make everything up to now durable; `None` when everything is.
    /// [`finish_flush`](Self::finish_flush) takes the result.
    ///
    /// # Errors
    /// When the log is poisoned.
    pub fn begin_flush(&mut self) -> Result<Option<Flush<S>>, Poisoned> {
        self.check_writable()?;
        let changed = self.changes != self.changes_synced;
        if self.recovery_point == self.log_end_offset && !changed {
            return Ok(None);
        }
        let mut paths = Vec::new();
        // A segment that ends at the recovery point was synced as long as it was written to; its indexes were not.
        let first = self.segment_of(self.recovery_point - 1);
        let active = self.segments.len() - 1;
        for segment in &self.segments[first..active] {
            // Indexes behind the recovery point are rebuilt after a crash, those before it are believed.
            paths.extend(SegmentFile::ALL.map(|kind| self.home.path(kind, segment.base_offset)));
        }
        if changed {
            paths.push(self.home.path(SegmentFile::ProducerSnapshot, self.segments[active].base_offset));
            paths.push(self.home.dir.join(names::PARTITION_METADATA));
            paths.push(self.home.dir.join(names::LEADER_EPOCH_CHECKPOINT));
        }
        let writer = self.segments[active].writer(&self.home).cloned();
        let file = self.guard("opening the segment", writer)?;
        Ok(Some(Flush {
            storage: self.home.storage.clone(),
            log: self.home.dir.clone(),
            paths,
            active: Some(file),
            dir: changed.then(|| self.home.dir.clone()),
            upto: self.log_end_offset,
            generation: self.generation,
            changes: self.changes,
        }))
    }

    /// Takes note of a flush that ran. A failed one poisons the log: what the disk holds then is unknown, and a
    /// second try would not tell. One of the log that this one took the place of meanwhile tells nothing.
    ///
    /// # Errors
    /// When the flush failed, or the log was poisoned meanwhile.
    pub fn finish_flush(&mut self, flushed: FlushResult, now_ms: i64) -> Result<(), Poisoned> {
        if flushed.log != self.home.dir {
            return self.check_writable();
        }
        self.guard_all("syncing", flushed.result)?;
        self.check_writable()?;
        self.last_flush_ms = now_ms;
        if flushed.generation != self.generation {
            return Ok(());
        }
        self.recovery_point = self.recovery_point.max(flushed.upto);
        self.changes_synced = flushed.changes;
        self.assert_order();
        Ok(())
    }

    /// Makes everything up to now durable. Blocks.
    ///
    /// # Errors
    /// When the log is or becomes poisoned.
    pub fn flush(&mut self, now_ms: i64) -> Result<(), Poisoned> {
        match self.begin_flush()? {
            Some(flush) => self.finish_flush(flush.run(), now_ms),
            None => Ok(()),
        }
    }

    /// Closes the log in good order: everything is durable, the indexes are whole and the producers' state is
    /// written. The next open may then be [clean](super::OpenMode::clean), if nothing is appended in between. Blocks for
    /// several syncs; for many logs at once, see [`begin_close`](Self::begin_close).
    ///
    /// # Errors
    /// When the log is or becomes poisoned; the next open must then not be clean.
    pub fn close(&mut self, now_ms: i64) -> Result<(), Poisoned> {
        let Some(closing) = self.write_for_close()? else { return self.flush(now_ms) };
        let active = &self.segments[self.segments.len() - 1];
        let mut paths = SegmentFile::ALL.map(|kind| self.home.path(kind, active.base_offset)).to_vec();
        paths.push(self.home.path(SegmentFile::ProducerSnapshot, closing.end));
        let (storage, log) = (self.home.storage.clone(), self.home.dir.clone());
        let (generation, changes) = (self.generation, self.changes_synced);
        let upto = self.recovery_point;
        let files = Flush { storage, log, paths, active: None, dir: None, upto, generation, changes };
        self.finish_flush(files.run(), now_ms)?;
        self.flush(now_ms)?;
        self.closing = Some(closing);
        self.finish_close(now_ms)
    }

    /// The first step of closing many logs: writes what [`close`](Self::close) would, and syncs nothing. When all logs
    /// of a data directory did it, [`LogDir::sync_all`](crate::LogDir::sync_all) makes all of it durable at once, and
    /// [`finish_close`](Self::finish_close) takes note.
    ///
    /// # Errors
    /// When the log is or becomes poisoned; the next open must then not be clean.
    pub fn begin_close(&mut self) -> Result<(), Poisoned> {
        let closing = self.write_for_close()?;
        let (end, changes) = (self.log_end_offset, self.changes);
        self.closing = Some(closing.unwrap_or(Closing { end, changes }));
        Ok(())
    }

    /// The last step: everything that was written at [`begin_close`](Self::begin_close) is durable.
    ///
    /// # Errors
    /// When the log was poisoned meanwhile; the next open must then not be clean.
    pub fn finish_close(&mut self, now_ms: i64) -> Result<(), Poisoned> {
        self.check_writable()?;
        let Some(closing) = self.closing.take() else { return Ok(()) };
        // What came in between is not known to be durable.
        if (closing.end, closing.changes) == (self.log_end_offset, self.changes) {
            self.recovery_point = self.log_end_offset;
            self.changes_synced = self.changes;
            self.last_flush_ms = now_ms;
            let active = self.segments.len() - 1;
            self.segments[active].indexes_changed = false;
        }
        Ok(())
    }

    /// Writes the producers' state and the active segment's indexes; `None` when they are as they should be.
    fn write_for_close(&mut self) -> Result<Option<Closing>, Poisoned> {
        self.check_writable()?;
        let active = self.segments.len() - 1;
        let (end, snapshot_due) = (self.log_end_offset, self.snapshot_offset < self.log_end_offset);
        if !(snapshot_due && end > self.log_start_offset || self.segments[active].indexes_changed) {
            return Ok(None);
        }
        self.write_snapshot(end)?;
        let written = self.segments[active].write_indexes(&self.home, true);
        self.guard("writing the indexes", written)?;
        Ok(Some(Closing { end, changes: self.changes }))
    }

    /// Renames the directory so that it no longer is a partition's (`topic-partition.<unique>-delete`), and returns
    /// where it is now. The files can then be removed at leisure with [`remove_dir`]: readers that hold them may end.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn rename_for_deletion(&mut self, unique: Uuid) -> io::Result<PathBuf> {
        let name =
            self.home.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let DirKind::Partition(partition) = DirKind::parse(&name) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name} is no partition's directory"),
            ));
        };
        let to = self.home.dir.with_file_name(names::delete_dir_name(&partition, unique));
        self.home.storage.rename(&self.home.dir, &to)?;
        self.home.dir.clone_from(&to);
        if let Some(parent) = to.parent() {
            self.home.storage.sync_dir(parent)?;
        }
        Ok(to)
    }
}

/// Removes a directory that [`Log::rename_for_deletion`] left, with all that is in it.
pub fn remove_dir<S: Storage>(storage: &S, dir: &std::path::Path) -> io::Result<()> {
    storage.remove_dir_all(dir)
}
