//! Moving a replica's log from one directory of the broker to another (KIP-113; `ReplicaAlterLogDirsThread`).
//!
//! A [`Move`] fills a future log, `<topic>-<partition>.<id>-future` in the target directory, from the current one in small
//! steps that hold the replica for no more than a look. When it has caught up, [`ReplicaLogs::take_place`] copies the rest
//! under the replica's lock and exchanges the logs, in this order:
//!
//! 1. the target's checkpoints are told of the log: its start, above all, as it was written down in the source;
//! 2. the source notes that its log gives way (`taffrail.moving`);
//! 3. the future log is made durable and gets the partition's name, and that is made durable: from here on it is the log;
//! 4. the replica goes on with it;
//! 5. the source's log gets a name that is to be deleted, and that is made durable;
//! 6. the source forgets its checkpoints and its note.
//!
//! Nothing is appended between 3 and 5, so a crash leaves the same records in both. What the next start finds:
//!
//! | source | noted in the source | target | verdict |
//! |---|---|---|---|
//! | the log | no | a future log | the source's; the future log is deleted, and the move has to be asked for again |
//! | the log | yes | a future log, or nothing | the same, and the note goes |
//! | the log | yes | the log | the target's; the source's is deleted, then the note |
//! | nothing | yes | the log | the target's; the note goes |
//! | nothing | no | the log | the target's; the move is over |
//! | the log | no | the log | refused: nobody can tell which is right |
//! | the log | yes | the log, noted too | refused |
//! | the log | yes | the directory is missing | the source's; the note goes before anything is appended |
//!
//! After the last row, should the target come back with the log, two are found and no note: that is refused, as the one there
//! may lack what was acknowledged since.
//!
//! Compaction of the current log goes on meanwhile, and what it removes may have been copied before: a move that takes longer
//! than `delete.retention.ms` may miss a tombstone, as any reader.

mod place;

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use taffrail_log::{
    AppendError, FileRange, Log, OpenError, Poisoned, ReadError, Storage, StorageFile, TopicPartition, names,
    remove_dir,
};
use taffrail_protocol::Uuid;

use super::logs::{LogsError, ReplicaLogs};
use crate::partition::Partition;

pub use place::Placed;
pub(super) use place::end_moves;

/// How much is copied in one step, unless a batch is larger. Bytes.
pub const STEP_BYTES: u32 = 1024 * 1024;
/// Bytes that are no batches were read so many times in a row: they are not those of a file that was cut meanwhile.
const MOST_FAILURES: u32 = 3;

/// Why a move ended before its end. The current log is what it was.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The replica was deleted or moved aside, or has moved already.
    #[error("the replica is not in {} any more", .0.display())]
    Gone(PathBuf),
    /// The name of a future log would be too long (KAFKA-4893).
    #[error("the name of its topic is too long for the name of a future log")]
    NameTooLong,
    /// A directory takes no part, or its files cannot be made, written or renamed.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// The future log cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The future log cannot be written.
    #[error(transparent)]
    Future(Poisoned),
    /// The current log takes no writes: it may have to be opened anew, or lost records.
    #[error(transparent)]
    Current(Poisoned),
    /// The current log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A segment of the current log cannot be read.
    #[error("cannot read a segment of {}: {source}", dir.display())]
    ReadFile {
        /// The current log.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The future log got the partition's name, which may not last, and the note that the current one gives way cannot be taken
    /// back: nothing may be appended to either before the next start has found out.
    #[error("whether the log in {} gave way is not on the disk: {source}", dir.display())]
    InDoubt {
        /// The current log's data directory.
        dir: PathBuf,
        /// Why.
        source: LogsError,
    },
    /// What was read cannot be appended.
    #[error("what is in {} at offset {offset} cannot be copied: {reason}", dir.display())]
    Copy {
        /// The current log.
        dir: PathBuf,
        /// Where.
        offset: i64,
        /// Why.
        reason: String,
    },
}

impl MoveError {
    /// Where a disk failed and what it answered, if that is why.
    pub fn io(&self) -> Option<(&Path, &std::io::Error)> {
        match self {
            Self::Logs(error) => error.io().map(|io| (error.path(), io)),
            Self::Open(OpenError::Io { dir, source, .. }) | Self::ReadFile { dir, source } => {
                Some((dir, source))
            }
            Self::Future(poisoned) => Some((&poisoned.dir, &poisoned.source)),
            Self::Read(ReadError::Io { dir, source }) => Some((dir, source)),
            // Its directory is given up, whatever the disk answered.
            Self::InDoubt { .. }
            | Self::Open(_)
            | Self::Gone(_)
            | Self::NameTooLong
            | Self::Current(_)
            | Self::Read(_)
            | Self::Copy { .. } => None,
        }
    }
}

/// What one step of a move did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes were copied; there may be more.
    Copied(u64),
    /// The future log has all that the current one has.
    CaughtUp,
}

/// What a look at the current log finds behind the future one's end.
enum Next<F> {
    Records(FileRange<F>),
    /// Compaction has left no batch between here and the log's end.
    Hole(i64),
    /// The log changed between two looks.
    Changed,
    Nothing,
}

/// A log on its way to another directory.
pub struct Move<S: Storage> {
    partition: TopicPartition,
    /// The current log's directory.
    from: PathBuf,
    /// The data directory that it moves to.
    target: PathBuf,
    unique: Uuid,
    future: Log<S>,
    buffer: Vec<u8>,
    failures: u32,
}

impl<S: Storage> Move<S> {
    /// How large the future log is. Bytes.
    pub fn size(&self) -> u64 {
        self.future.size()
    }

    /// Where the future log ends.
    pub fn end_offset(&self) -> i64 {
        self.future.log_end_offset()
    }

    /// Copies some records, or follows what became of the current log. Blocks on the disks; the replica is held for looks only.
    ///
    /// # Errors
    /// [`MoveError`] says why the move is over; it is to be [discarded](Self::discard).
    pub fn step<T: Clone>(
        &mut self,
        replica: &Mutex<Partition<S, T>>,
        now_ms: i64,
    ) -> Result<Progress, MoveError> {
        let followed = {
            let mut replica = replica.lock();
            self.check(replica.log())?;
            replica.log_mut().followed()
        };
        self.future.follow(followed, now_ms).map_err(MoveError::Future)?;
        let next = {
            let mut replica = replica.lock();
            self.check(replica.log())?;
            self.next(replica.log_mut())?
        };
        self.take(next, now_ms)
    }

    /// Makes the future log durable, so that little is left to be done under the replica's lock. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Move::step`].
    pub fn settle(&mut self, now_ms: i64) -> Result<(), MoveError> {
        self.future.flush(now_ms).map_err(MoveError::Future)
    }

    /// Removes the future log. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be removed; the next start tries again.
    pub fn discard(self) -> std::io::Result<()> {
        let Self { future, .. } = self;
        let dir = future.dir().to_owned();
        let storage = future.storage().clone();
        drop(future);
        remove_dir(&storage, &dir)
    }

    fn check(&self, current: &Log<S>) -> Result<(), MoveError> {
        if current.dir() != self.from {
            return Err(MoveError::Gone(self.from.clone()));
        }
        match current.poisoned() {
            Some(poisoned) => Err(MoveError::Current(poisoned.clone())),
            None => Ok(()),
        }
    }

    fn next(&self, current: &mut Log<S>) -> Result<Next<S::File>, MoveError> {
        let (from, end) = (self.future.log_end_offset(), current.log_end_offset());
        if !(current.log_start_offset()..=end).contains(&from) {
            return Ok(Next::Changed);
        }
        if from == end {
            return Ok(Next::Nothing);
        }
        let read = current.read(from, STEP_BYTES, true, end)?;
        Ok(read.records.map_or(Next::Hole(end), Next::Records))
    }

    fn take(&mut self, next: Next<S::File>, now_ms: i64) -> Result<Progress, MoveError> {
        match next {
            Next::Records(range) => self.copy(&range, now_ms).map(Progress::Copied),
            Next::Hole(end) => {
                self.future.skip_to(end, now_ms).map_err(MoveError::Future)?;
                Ok(Progress::Copied(0))
            }
            Next::Changed => Ok(Progress::Copied(0)),
            Next::Nothing => Ok(Progress::CaughtUp),
        }
    }

    fn copy(&mut self, range: &FileRange<S::File>, now_ms: i64) -> Result<u64, MoveError> {
        self.buffer.resize(range.len as usize, 0);
        let read = range.file.read_at(&mut self.buffer, range.position);
        let read = read.map_err(|source| MoveError::ReadFile { dir: self.from.clone(), source })?;
        let before = self.future.size();
        let appended = self.future.append_as_follower(&self.buffer[..read], now_ms);
        let reason = match appended {
            Ok(Some(info)) => {
                self.failures = 0;
                if info.rolled {
                    // Not all of it at the end, in one go.
                    self.future.flush(now_ms).map_err(MoveError::Future)?;
                }
                return Ok(self.future.size().saturating_sub(before));
            }
            Err(AppendError::Poisoned(poisoned)) => return Err(MoveError::Future(poisoned)),
            Ok(None) => "a batch is cut off".to_owned(),
            Err(error) => error.to_string(),
        };
        // The segment may have been cut between the look and the read.
        self.failures += 1;
        if self.failures < MOST_FAILURES {
            return Ok(0);
        }
        let offset = self.future.log_end_offset();
        Err(MoveError::Copy { dir: self.from.clone(), offset, reason })
    }

    /// Copies all that is left, while nobody else has the current log.
    fn catch_up(&mut self, current: &mut Log<S>, now_ms: i64) -> Result<(), MoveError> {
        loop {
            self.future.follow(current.followed(), now_ms).map_err(MoveError::Future)?;
            let next = self.next(current)?;
            if self.take(next, now_ms)? == Progress::CaughtUp {
                return Ok(());
            }
        }
    }
}

impl<S: Storage> ReplicaLogs<S> {
    /// Begins to move a replica's log to another of the directories. `unique` keeps the future log apart from others.
    ///
    /// # Errors
    /// [`MoveError`] says why it cannot be.
    pub fn begin_move<T: Clone>(
        &self,
        partition: &TopicPartition,
        replica: &Mutex<Partition<S, T>>,
        target: &Path,
        unique: Uuid,
        now_ms: i64,
    ) -> Result<Move<S>, MoveError> {
        self.served(target)?.check_in_service()?;
        let name = names::future_dir_name(partition, unique).ok_or(MoveError::NameTooLong)?;
        let (from, followed) = {
            let mut replica = replica.lock();
            (replica.log().dir().to_owned(), replica.log_mut().followed())
        };
        self.holding(&from).ok_or_else(|| MoveError::Gone(from.clone()))?.check_in_service()?;
        let future = followed.begin_future(self.storage().clone(), &target.join(name), now_ms)?;
        let (partition, target) = (partition.clone(), target.to_owned());
        Ok(Move { partition, from, target, unique, future, buffer: Vec::new(), failures: 0 })
    }
}
