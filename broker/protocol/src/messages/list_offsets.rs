//! Finds offsets by time (KIP-79).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "ListOffsets", versions = "1-10", flexible = "6+")]
pub struct ListOffsetsRequest<'a> {
    /// The follower's broker id; -1 for a consumer.
    pub replica_id: i32,
    /// 0 for all records up to the high watermark, 1 for committed transactions only.
    #[kafka(versions = "2+")]
    pub isolation_level: i8,
    /// The topics.
    pub topics: Vec<ListOffsetsTopic<'a>>,
    /// How long to wait for tiered storage, in milliseconds.
    #[kafka(versions = "10+", ignorable)]
    pub timeout_ms: i32,
}

/// A topic asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListOffsetsTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// A partition asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListOffsetsPartition {
    /// The partition's number.
    pub partition_index: i32,
    /// The leader epoch that the client knows; -1 to skip the check (KIP-320).
    #[kafka(versions = "4+", default = "-1", ignorable)]
    pub current_leader_epoch: i32,
    /// The time searched for, in milliseconds since 1970, or a negative number: -1 latest, -2 earliest, -3 of the
    /// largest timestamp, -4 earliest local, -5 latest tiered.
    pub timestamp: i64,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "ListOffsets", versions = "1-10", flexible = "6+")]
pub struct ListOffsetsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<ListOffsetsTopicResponse<'a>>,
}

/// The answers for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListOffsetsTopicResponse<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

/// The answer for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListOffsetsPartitionResponse {
    /// The partition's number.
    pub partition_index: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The timestamp of the record found, in milliseconds since 1970; -1 if there is none.
    #[kafka(default = "-1")]
    pub timestamp: i64,
    /// The offset found; -1 if there is none.
    #[kafka(default = "-1")]
    pub offset: i64,
    /// The leader epoch of the record found; -1 if unknown.
    #[kafka(versions = "4+", default = "-1")]
    pub leader_epoch: i32,
}
