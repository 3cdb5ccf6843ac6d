//! What a follower checks and decides (rules 13, 14, 29; KIP-101, 279, 320;
//! `kafka.server.AbstractFetcherThread.truncateOnFetchResponse`).
//!
//! Without a log: what it holds is an argument.

use taffrail_control::session::Member;
use taffrail_log::{AppendError, EpochEntry, Poisoned};
use taffrail_protocol::record_batch::Batches;

/// A follower, from the record that makes it so until the next leader epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FollowerState {
    leader: Member,
    /// Why it fetches no more under this leader epoch.
    stopped: Option<String>,
}

/// What a follower's log is when an answer is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerLog {
    /// The offset that the next record gets.
    pub log_end_offset: i64,
    /// The leader epoch of the last record; -1 if there is none.
    pub last_epoch: i32,
    /// Records below are known to be committed.
    pub high_watermark: i64,
    /// Whether offsets may be missing between batches, as they are after compaction.
    pub compact: bool,
}

/// Why a follower could not use what its leader answered. Reads as the second half of a sentence about the partition.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The follower's own log takes no writes.
    #[error(transparent)]
    Log(#[from] Poisoned),
    /// The bytes are no batches that could follow here.
    #[error("cannot append what its leader sent: {0}")]
    Append(AppendError),
    /// Records are missing in what the leader sent.
    #[error(
        "ends at {log_end_offset} and was sent a batch that begins at {base_offset}, behind what is committed: the \
         leader's log lacks what is between; it follows no more under this leader"
    )]
    Gap {
        /// Where the batch begins.
        base_offset: i64,
        /// Where it had to begin.
        log_end_offset: i64,
    },
    /// A batch's leader epoch cannot be.
    #[error(
        "was sent a batch of leader epoch {epoch} at offset {base_offset}, behind one of epoch {last_epoch} and by the \
         leader of epoch {leader_epoch}: the leader's log is damaged; it follows no more under this leader"
    )]
    Epoch {
        /// Where the batch begins.
        base_offset: i64,
        /// Its epoch.
        epoch: i32,
        /// The epoch of the batch before.
        last_epoch: i32,
        /// The epoch that the leader leads in.
        leader_epoch: i32,
    },
    /// The leader's log lacks records that this follower knows to be committed, and no election is on record that may have
    /// lost them (rule 13).
    #[error(
        "has records up to {high_watermark} that were committed, the last of leader epoch {last_epoch}, and the leader of \
         epoch {leader_epoch} has them only up to {to}, though no unclean election was recorded (last one: \
         {unclean_epoch:?}). Nothing was truncated, and it follows no more under this leader: keep both logs and find out \
         which is right"
    )]
    CommittedLost {
        /// Where it would have been truncated.
        to: i64,
        /// Records below had been committed.
        high_watermark: i64,
        /// The follower's last epoch.
        last_epoch: i32,
        /// The leader's.
        leader_epoch: i32,
        /// The last election that may have lost records.
        unclean_epoch: Option<i32>,
    },
    /// The leader says that the logs part where they do not.
    #[error(
        "was told that it parts from its leader at offset {end_offset} in leader epoch {epoch}, where it ends at \
         {log_end_offset} in epoch {last_epoch}: that makes no sense; it follows no more under this leader"
    )]
    NoDivergence {
        /// The epoch in the leader's answer.
        epoch: i32,
        /// Its end in the leader's answer.
        end_offset: i64,
        /// The follower's end.
        log_end_offset: i64,
        /// The follower's last epoch.
        last_epoch: i32,
    },
}

impl FollowError {
    /// Whether asking again is of no use under this leader epoch. Bytes that were damaged on their way may be whole the
    /// next time, and a log that takes no writes asks for nothing anyway until it
    /// [heals](crate::partition::Partition::heal).
    pub fn stops(&self) -> bool {
        !matches!(self, Self::Append(AppendError::Corrupt { .. }) | Self::Log(_))
    }
}

impl From<AppendError> for FollowError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Poisoned(poisoned) => Self::Log(poisoned),
            error => Self::Append(error),
        }
    }
}

impl FollowerState {
    /// Follows `leader`.
    pub fn new(leader: Member) -> Self {
        Self { leader, stopped: None }
    }

    /// Whom it follows.
    pub fn leader(&self) -> Member {
        self.leader
    }

    /// Why it fetches no more under this leader epoch, if it does not.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Follows no more until the next leader epoch.
    pub fn stop(&mut self, error: &FollowError) {
        self.stopped = Some(error.to_string());
    }
}

/// Where to truncate when the leader says that its `diverging.epoch`, the last that is not above the follower's last, ends
/// at `diverging.start_offset`. `own` is the same question put to the follower's own log: its last epoch that is not above
/// `diverging.epoch`, and where that ends. Where the follower lacks the leader's epoch, it goes back to the end of the one
/// before and asks again with that: each round gets one epoch nearer (KIP-279).
pub fn truncation_point(diverging: EpochEntry, own: Option<EpochEntry>, log_end_offset: i64) -> i64 {
    let to = match own {
        Some(own) if own.epoch == diverging.epoch => own.start_offset.min(diverging.start_offset),
        Some(own) => own.start_offset,
        // No epoch is known: there is no better witness than the leader.
        None => diverging.start_offset,
    };
    to.min(log_end_offset)
}

/// Refuses to give up what is known to be committed, unless an election is on record that may have lost it: one that this
/// log has nothing of (rule 13).
///
/// # Errors
/// [`FollowError::CommittedLost`].
pub fn check_truncation(
    log: &FollowerLog,
    to: i64,
    leader_epoch: i32,
    unclean_epoch: Option<i32>,
) -> Result<(), FollowError> {
    if to >= log.high_watermark || unclean_epoch.is_some_and(|unclean| unclean > log.last_epoch) {
        return Ok(());
    }
    Err(FollowError::CommittedLost {
        to,
        high_watermark: log.high_watermark,
        last_epoch: log.last_epoch,
        leader_epoch,
        unclean_epoch,
    })
}

/// Looks at offsets and epochs of what a leader sent: batches follow one another, without gaps behind what was committed when
/// it was sent (`leader_high_watermark`), and epochs rise up to the leader's. Checksums are the log's to check. A batch that is cut off at the end is left out.
///
/// # Errors
/// [`FollowError::Gap`] and [`FollowError::Epoch`]. A batch that cannot be parsed is left for the log to refuse.
pub fn check_batches(
    log: &FollowerLog,
    records: &[u8],
    leader_epoch: i32,
    leader_high_watermark: i64,
) -> Result<(), FollowError> {
    let (mut log_end_offset, mut last_epoch) = (log.log_end_offset, log.last_epoch);
    for view in Batches::new(records).map_while(Result::ok) {
        let header = view.header();
        let (base_offset, epoch) = (header.base_offset, header.partition_leader_epoch);
        // Compaction leaves holes among what is committed, and they stay when the topic is not compacted any more.
        let may_be_compacted = log.compact || base_offset <= leader_high_watermark;
        if base_offset > log_end_offset && !may_be_compacted {
            return Err(FollowError::Gap { base_offset, log_end_offset });
        }
        if epoch < last_epoch || epoch > leader_epoch {
            return Err(FollowError::Epoch { base_offset, epoch, last_epoch, leader_epoch });
        }
        (log_end_offset, last_epoch) = (header.next_offset(), epoch);
    }
    Ok(())
}
