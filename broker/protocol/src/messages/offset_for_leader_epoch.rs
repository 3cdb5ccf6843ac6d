//! Tells where leader epochs end, so that a log that went another way can be cut back (KIP-101, KIP-320).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "OffsetForLeaderEpoch", versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochRequest<'a> {
    /// The follower's broker id; -1 for a consumer, -2 for who reads at any replica to look for faults.
    #[kafka(versions = "3+", default = "-2", ignorable)]
    pub replica_id: i32,
    /// The topics.
    pub topics: Vec<OffsetForLeaderTopic<'a>>,
}

/// A topic whose epochs are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetForLeaderTopic<'a> {
    /// The topic's name.
    pub topic: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<OffsetForLeaderPartition>,
}

/// A partition, and the epoch whose end is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetForLeaderPartition {
    /// The partition's number.
    pub partition: i32,
    /// The leader epoch that the client knows; -1 to skip the check (KIP-320).
    #[kafka(default = "-1", ignorable)]
    pub current_leader_epoch: i32,
    /// The epoch whose end is asked for.
    pub leader_epoch: i32,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "OffsetForLeaderEpoch", versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// One answer per topic.
    pub topics: Vec<OffsetForLeaderTopicResult<'a>>,
}

/// The epochs' ends in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetForLeaderTopicResult<'a> {
    /// The topic's name.
    pub topic: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<EpochEndOffset>,
}

/// Where the epoch ends in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct EpochEndOffset {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The partition's number.
    pub partition: i32,
    /// The largest epoch up to the one asked for that the log has; -1 if there is none.
    #[kafka(default = "-1", ignorable)]
    pub leader_epoch: i32,
    /// The offset at which it ends; -1 if unknown.
    #[kafka(default = "-1")]
    pub end_offset: i64,
}
