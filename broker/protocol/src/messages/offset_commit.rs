//! Stores the offsets that a group has consumed up to.

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "OffsetCommit", versions = "2-9", flexible = "8+")]
pub struct OffsetCommitRequest<'a> {
    /// The group's id.
    pub group_id: Cow<'a, str>,
    /// The generation of a classic group, or the member's epoch (KIP-848).
    #[kafka(default = "-1")]
    pub generation_id_or_member_epoch: i32,
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// The static member's id (KIP-345); null for a dynamic member.
    #[kafka(versions = "7+", default = "null")]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// How long to keep the offsets, in milliseconds; -1 for the broker's setting.
    #[kafka(versions = "2-4", default = "-1", ignorable)]
    pub retention_time_ms: i64,
    /// The topics.
    pub topics: Vec<OffsetCommitRequestTopic<'a>>,
}

/// A topic whose offsets are committed.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetCommitRequestTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<OffsetCommitRequestPartition<'a>>,
}

/// An offset to commit.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetCommitRequestPartition<'a> {
    /// The partition's number.
    pub partition_index: i32,
    /// The offset of the next record to consume.
    pub committed_offset: i64,
    /// The leader epoch of the last record consumed; -1 if unknown.
    #[kafka(versions = "6+", default = "-1", ignorable)]
    pub committed_leader_epoch: i32,
    /// A note that the client wants kept with the offset.
    pub committed_metadata: Option<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "OffsetCommit", versions = "2-9", flexible = "8+")]
pub struct OffsetCommitResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<OffsetCommitResponseTopic<'a>>,
}

/// The answers for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetCommitResponseTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

/// How it went for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetCommitResponsePartition {
    /// The partition's number.
    pub partition_index: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
}
