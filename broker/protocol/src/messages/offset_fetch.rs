//! Reads the offsets that groups have committed.

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "OffsetFetch", versions = "1-9", flexible = "6+")]
pub struct OffsetFetchRequest<'a> {
    /// The group's id.
    #[kafka(versions = "0-7")]
    pub group_id: Cow<'a, str>,
    /// The topics; null for all.
    #[kafka(versions = "0-7", nullable = "2-7")]
    pub topics: Option<Vec<OffsetFetchRequestTopic<'a>>>,
    /// The groups.
    #[kafka(versions = "8+")]
    pub groups: Vec<OffsetFetchRequestGroup<'a>>,
    /// Whether offsets of open transactions are answered with a retriable error (KIP-447).
    #[kafka(versions = "7+")]
    pub require_stable: bool,
}

/// Partitions whose offsets are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchRequestTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "0-7")]
    pub name: Cow<'a, str>,
    /// The partitions' numbers.
    #[kafka(versions = "0-7")]
    pub partition_indexes: Vec<i32>,
}

/// A group whose offsets are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchRequestGroup<'a> {
    /// The group's id.
    #[kafka(versions = "8+")]
    pub group_id: Cow<'a, str>,
    /// The member's id (KIP-848); null for a classic member.
    #[kafka(versions = "9+", default = "null", ignorable)]
    pub member_id: Option<Cow<'a, str>>,
    /// The member's epoch (KIP-848); -1 for a classic member.
    #[kafka(versions = "9+", default = "-1", ignorable)]
    pub member_epoch: i32,
    /// The topics; null for all.
    #[kafka(versions = "8+")]
    pub topics: Option<Vec<OffsetFetchRequestTopics<'a>>>,
}

/// Partitions whose offsets are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchRequestTopics<'a> {
    /// The topic's name.
    #[kafka(versions = "8-9", ignorable)]
    pub name: Cow<'a, str>,
    /// The partitions' numbers.
    #[kafka(versions = "8+")]
    pub partition_indexes: Vec<i32>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "OffsetFetch", versions = "1-9", flexible = "6+")]
pub struct OffsetFetchResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// The topics.
    #[kafka(versions = "0-7")]
    pub topics: Vec<OffsetFetchResponseTopic<'a>>,
    /// What went wrong, or `NONE`.
    #[kafka(versions = "2-7", ignorable)]
    pub error_code: ErrorCode,
    /// The groups.
    #[kafka(versions = "8+")]
    pub groups: Vec<OffsetFetchResponseGroup<'a>>,
}

/// The offsets in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchResponseTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "0-7")]
    pub name: Cow<'a, str>,
    /// The partitions.
    #[kafka(versions = "0-7")]
    pub partitions: Vec<OffsetFetchResponsePartition<'a>>,
}

/// The offset in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchResponsePartition<'a> {
    /// The partition's number.
    #[kafka(versions = "0-7")]
    pub partition_index: i32,
    /// The offset of the next record to consume.
    #[kafka(versions = "0-7")]
    pub committed_offset: i64,
    /// The leader epoch of the last record consumed; -1 if unknown.
    #[kafka(versions = "5-7", default = "-1", ignorable)]
    pub committed_leader_epoch: i32,
    /// The note kept with the offset.
    #[kafka(versions = "0-7")]
    pub metadata: Option<Cow<'a, str>>,
    /// What went wrong, or `NONE`.
    #[kafka(versions = "0-7")]
    pub error_code: ErrorCode,
}

/// The offsets of one group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchResponseGroup<'a> {
    /// The group's id.
    #[kafka(versions = "8+")]
    pub group_id: Cow<'a, str>,
    /// The topics.
    #[kafka(versions = "8+")]
    pub topics: Vec<OffsetFetchResponseTopics<'a>>,
    /// What went wrong, or `NONE`.
    #[kafka(versions = "8+")]
    pub error_code: ErrorCode,
}

/// The offsets in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchResponseTopics<'a> {
    /// The topic's name.
    #[kafka(versions = "8-9", ignorable)]
    pub name: Cow<'a, str>,
    /// The partitions.
    #[kafka(versions = "8+")]
    pub partitions: Vec<OffsetFetchResponsePartitions<'a>>,
}

/// The offset in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchResponsePartitions<'a> {
    /// The partition's number.
    #[kafka(versions = "8+")]
    pub partition_index: i32,
    /// The offset of the next record to consume.
    #[kafka(versions = "8+")]
    pub committed_offset: i64,
    /// The leader epoch of the last record consumed; -1 if unknown.
    #[kafka(versions = "8+", default = "-1", ignorable)]
    pub committed_leader_epoch: i32,
    /// The note kept with the offset.
    #[kafka(versions = "8+")]
    pub metadata: Option<Cow<'a, str>>,
    /// What went wrong, or `NONE`.
    #[kafka(versions = "8+")]
    pub error_code: ErrorCode,
}
