//! What a follower asks its leader, and what it is answered: the part of Fetch that replication is made of.

use taffrail_control::session::Member;
use taffrail_log::{EpochEntry, FileRange, ReadError};
use taffrail_protocol::ErrorCode;

/// A follower's fetch of one partition, as it reaches the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaFetch {
    /// Who asks. The caller has made sure that it is true.
    pub replica: Member,
    /// The incarnation that is registered for that broker as far as the caller knows (rule 15).
    pub registered: Option<u64>,
    /// Whether the caller knows the broker as fenced: it may fetch, and is not proposed as in-sync.
    pub fenced: bool,
    /// The leader epoch that the follower acts under.
    pub current_leader_epoch: i32,
    /// The follower's log end offset. Its fetch *is* its acknowledgement of everything below.
    pub fetch_offset: i64,
    /// The leader epoch of the follower's last record; -1 if it has none.
    pub last_fetched_epoch: i32,
    /// Where the follower's log starts, as it wrote down.
    pub log_start_offset: i64,
    /// The most that may be answered. Bytes.
    pub max_bytes: u32,
    /// The first batch goes out even where it is larger than that (KIP-74).
    pub at_least_one_batch: bool,
}

/// A leader's answer to a [`ReplicaFetch`] that it counted, or would have if the logs had agreed.
#[derive(Debug)]
pub struct ReplicaRead<F> {
    /// `NONE`, or `OFFSET_OUT_OF_RANGE`: the follower's log ends before the leader's starts, or behind its end. It goes
    /// out with `log_start_offset`, which is where the follower goes on.
    pub error: ErrorCode,
    /// The records from the fetch offset on, whole batches at the beginning; committed or not.
    pub records: Option<FileRange<F>>,
    /// The logs differ before the fetch offset: this is the leader's last epoch that is not above the follower's, and where
    /// it ends. The follower truncates and asks again; the fetch counted for nothing (rule 27).
    pub diverging: Option<EpochEntry>,
    /// The leader's high watermark.
    pub high_watermark: i64,
    /// Where the leader's log starts.
    pub log_start_offset: i64,
    /// The leader's last stable offset.
    pub last_stable_offset: i64,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The partition refused before it looked into the log.
    #[error("the partition refused the fetch: {0}")]
    Refused(ErrorCode),
    /// The log has no such offset, or cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl From<ErrorCode> for FetchError {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

impl FetchError {
    /// The code that the reader is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(code) => *code,
            Self::Log(ReadError::OutOfRange { .. }) => ErrorCode::OFFSET_OUT_OF_RANGE,
            Self::Log(ReadError::Io { .. }) => ErrorCode::KAFKA_STORAGE_ERROR,
            Self::Log(ReadError::Corrupt { .. }) => ErrorCode::CORRUPT_MESSAGE,
        }
    }
}

/// What a follower shall ask its leader next. It goes into the fetch, and comes back with the answer, so that an answer to
/// another question is told from one to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPosition {
    /// Whom to ask.
    pub leader: Member,
    /// The epoch it leads in.
    pub leader_epoch: i32,
    /// The follower's log end offset.
    pub fetch_offset: i64,
    /// The leader epoch of the follower's last record; -1 if it has none.
    pub last_fetched_epoch: i32,
    /// Where the follower's log starts, as it was last written down: a start that a crash could take back is told nobody.
    pub log_start_offset: i64,
}

impl FetchPosition {
    /// Whether an answer to `asked` answers this too. Under one leader epoch two logs that agree on their last epoch and
    /// end are the same up to there, so nothing else needs to be equal.
    pub fn is_answered_by(&self, asked: &Self) -> bool {
        let key =
            |position: &Self| (position.leader_epoch, position.fetch_offset, position.last_fetched_epoch);
        key(self) == key(asked)
    }
}

/// A leader's answer for one partition, as it reaches the follower.
#[derive(Debug, Clone, Copy)]
pub struct Fetched<'a> {
    /// How it ended.
    pub error: ErrorCode,
    /// Where the logs part.
    pub diverging: Option<EpochEntry>,
    /// The leader's high watermark; counts only without divergence and error.
    pub high_watermark: i64,
    /// Where the leader's log starts.
    pub log_start_offset: i64,
    /// Batches; the last may be cut off.
    pub records: &'a [u8],
}

/// What a follower made of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchedOutcome {
    /// It answers nothing that is asked now: the epoch, the role or the log's end is another one by now (rule 13).
    Ignored,
    /// The leader refused for this reason. Ask again in a while, or once the record has changed.
    Refused(ErrorCode),
    /// The log was cut back to where it agrees with the leader's, as far as is known yet. Ask again.
    Truncated(Truncation),
    /// The log ended before the leader's starts (or behind an end that was elected uncleanly), and begins anew.
    StartedAnew(Truncation),
    /// What was new is in the log. There may have been nothing.
    Appended {
        /// Bytes appended.
        bytes: u64,
        /// A new segment was begun, so the one before it waits to be synced.
        rolled: bool,
    },
}

/// Records that a follower gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// The log end offset before.
    pub from: i64,
    /// The log end offset after.
    pub to: i64,
    /// The leader epoch of the last record before; -1 if there was none.
    pub last_epoch: i32,
    /// Where the high watermark fell from: records from `to` on up to here had been committed and were lost in the unclean
    /// election of this epoch. To be logged as an error, with the range (rule 13), and the checkpoints to be written: they
    /// tell a higher high watermark.
    pub lost_below: Option<(i64, i32)>,
}
