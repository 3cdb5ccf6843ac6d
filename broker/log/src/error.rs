//! What can go wrong, named by the action that failed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// A file's content is not what its format allows. Reads as the second half of a sentence about the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct FormatError {
    reason: String,
}

impl FormatError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// A small file of a partition or a data directory could not be read or written.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// Reading failed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content is not what the format allows.
    #[error("{} {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// Writing failed.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl CheckpointError {
    /// What the disk answered, if it is the disk that failed.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::Format { .. } => None,
        }
    }

    /// The file.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::Read { path, .. } | Self::Write { path, .. } | Self::Format { path, .. } => path,
        }
    }
}

/// A log could not be opened or created.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Reading, repairing or making its files failed.
    #[error("cannot open the log in {}: {action} failed: {source}", dir.display())]
    Io {
        /// The partition's directory.
        dir: PathBuf,
        /// What was being done.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The directory has a batch of message format 0 or 1, from before Apache Kafka 0.11.
    #[error(
        "cannot open the log in {}: offset {offset} is in message format {magic}, and only format 2 (since Apache \
         Kafka 0.11) can be read; nothing was changed",
        dir.display()
    )]
    OldFormat {
        /// The partition's directory.
        dir: PathBuf,
        /// Where the first such batch is.
        offset: i64,
        /// Its format.
        magic: i8,
    },
    /// A log is already there.
    #[error("cannot create a log in {}: it holds one already", dir.display())]
    Exists {
        /// The partition's directory.
        dir: PathBuf,
    },
}

/// Why a log refuses writes: the first write, sync or removal that failed. It goes on serving reads.
#[derive(Debug, Clone, Error)]
#[error("the log in {} refuses writes since {action} failed: {source}", dir.display())]
pub struct Poisoned {
    /// The partition's directory.
    pub dir: PathBuf,
    /// What was being done.
    pub action: &'static str,
    /// Why it failed.
    pub source: Arc<io::Error>,
    /// Whether more is in doubt than what was to be written: after a sync that failed, what was written before may be lost as
    /// well.
    pub in_doubt: bool,
}

impl Poisoned {
    /// Whether the disk was full, which heals when space returns.
    pub fn is_out_of_space(&self) -> bool {
        is_out_of_space(&self.source)
    }

    /// Whether everything that was appended before is still there: the disk had no room for what was to be written, and
    /// that alone is missing. Such a log can be [opened anew](crate::Log::heal) in place.
    pub fn lost_nothing(&self) -> bool {
        self.is_out_of_space() && !self.in_doubt
    }
}

/// A sync that failed. Where it found no room, what was written before is in doubt: that is another error than a write
/// that found none.
pub(crate) fn synced(result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| if is_out_of_space(&error) { io::Error::other(error) } else { error })
}

/// Whether a disk or a quota is full.
pub fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error concerns the disk and not one file: whatever else is tried there will fail as well.
pub fn is_of_whole_disk(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const BAD: [Errno; 7] =
        [Errno::IO, Errno::ROFS, Errno::NODEV, Errno::NXIO, Errno::STALE, Errno::UCLEAN, Errno::NOTCONN];
    BAD.iter().any(|bad| error.raw_os_error() == Some(bad.raw_os_error()))
}

/// Whether an error is one of this process's or the machine's moment, and tells nothing of the disk.
pub fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const PASSING: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    PASSING.iter().any(|passing| error.raw_os_error() == Some(passing.raw_os_error()))
}

/// A poisoned log could not be opened anew.
#[derive(Debug, Error)]
pub enum HealError {
    /// More than a write that found no room may have failed: nothing but the next start can tell what is left.
    #[error(transparent)]
    NotHealable(#[from] Poisoned),
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Records are gone that had been appended.
    #[error(
        "the log in {} ended at offset {log_end_offset} when it ran out of space, and only records up to {recovered_end} \
         are found in it now",
        dir.display()
    )]
    Short {
        /// The partition's directory.
        dir: PathBuf,
        /// Where it ended.
        log_end_offset: i64,
        /// Where it ends when it is opened anew.
        recovered_end: i64,
    },
}

/// A batch was not appended. Nothing of it is in the log.
#[derive(Debug, Error)]
pub enum AppendError {
    /// A write failed, now or earlier.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The batch is larger than `max.message.bytes`. (MESSAGE_TOO_LARGE)
    #[error("the batch has {size} bytes, and max.message.bytes allows {limit}")]
    MessageTooLarge {
        /// The batch's size in bytes.
        size: usize,
        /// What is allowed.
        limit: u32,
    },
    /// The batch is larger than `segment.bytes`. (RECORD_LIST_TOO_LARGE)
    #[error("the batch has {size} bytes, and segment.bytes allows {limit}")]
    LargerThanSegment {
        /// The batch's size in bytes.
        size: usize,
        /// What is allowed.
        limit: u32,
    },
    /// The bytes are not whole, sound batches. (CORRUPT_MESSAGE)
    #[error("a batch is corrupt: {reason}")]
    Corrupt {
        /// What is wrong.
        reason: String,
    },
    /// A replicated batch begins before the log's end.
    #[error("a batch begins at offset {base_offset}, before the log's end at {log_end_offset}")]
    UnexpectedOffset {
        /// Where the batch begins.
        base_offset: i64,
        /// Where the log ends.
        log_end_offset: i64,
    },
    /// The batch would take offsets beyond the largest there is.
    #[error("the log's offsets are used up at {log_end_offset}")]
    OffsetsExhausted {
        /// Where the log ends.
        log_end_offset: i64,
    },
    /// The producer may not append this batch.
    #[error(transparent)]
    Producer(#[from] ProducerError),
}

/// A producer may not append a batch (KIP-98; `org.apache.kafka.storage.internals.log.ProducerAppendInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProducerError {
    /// Its sequence number does not follow the last one. (OUT_OF_ORDER_SEQUENCE_NUMBER)
    #[error(
        "producer {producer_id} (epoch {epoch}) sent sequence {sequence} where {last_sequence} was its last, so one \
         batch at least is missing"
    )]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// The epoch it sent.
        epoch: i16,
        /// The first sequence it sent.
        sequence: i32,
        /// The last one that was appended, or -1.
        last_sequence: i32,
    },
    /// Its epoch is lower than one that was seen. (INVALID_PRODUCER_EPOCH)
    #[error("producer {producer_id} sent epoch {epoch}, and {current} was seen of it")]
    InvalidEpoch {
        /// The producer.
        producer_id: i64,
        /// The epoch it sent.
        epoch: i16,
        /// The epoch that was seen.
        current: i16,
    },
    /// It has an open transaction and sent a batch outside of it. (INVALID_TXN_STATE)
    #[error("producer {producer_id} has an open transaction and sent a batch that is not part of it")]
    NotTransactional {
        /// The producer.
        producer_id: i64,
    },
    /// A transaction marker is from a coordinator that was replaced. (TRANSACTION_COORDINATOR_FENCED)
    #[error("a marker for producer {producer_id} is of coordinator epoch {epoch}, and {current} was seen")]
    CoordinatorFenced {
        /// The producer.
        producer_id: i64,
        /// The coordinator's epoch.
        epoch: i32,
        /// The epoch that was seen.
        current: i32,
    },
}

/// A read cannot be answered.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The offset is before the log's start or behind its end. (OFFSET_OUT_OF_RANGE)
    #[error(
        "offset {offset} is outside of the log, which reaches from {log_start_offset} to {log_end_offset}"
    )]
    OutOfRange {
        /// The offset asked for.
        offset: i64,
        /// The first offset there is.
        log_start_offset: i64,
        /// The offset the next record gets.
        log_end_offset: i64,
    },
    /// A file could not be read.
    #[error("cannot read the log in {}: {source}", dir.display())]
    Io {
        /// The partition's directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A batch inside the log cannot be understood.
    #[error(
        "the log in {} has a corrupt batch at position {position} of the segment {base_offset}: {reason}",
        dir.display()
    )]
    Corrupt {
        /// The partition's directory.
        dir: PathBuf,
        /// The segment's base offset.
        base_offset: i64,
        /// Where in its file. Bytes.
        position: u64,
        /// What is wrong.
        reason: String,
    },
}
