//! Deletes the oldest records of partitions, up to an offset (KIP-107).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "DeleteRecords", versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsRequest<'a> {
    /// The topics.
    pub topics: Vec<DeleteRecordsTopic<'a>>,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: i32,
}

/// A topic of whose records some are to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteRecordsTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<DeleteRecordsPartition>,
}

/// A partition, and up to where its records are to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteRecordsPartition {
    /// The partition's number.
    pub partition_index: i32,
    /// The first offset that stays; -1 for the high watermark.
    pub offset: i64,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "DeleteRecords", versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// One answer per topic.
    pub topics: Vec<DeleteRecordsTopicResult<'a>>,
}

/// What became of the partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteRecordsTopicResult<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<DeleteRecordsPartitionResult>,
}

/// What became of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteRecordsPartitionResult {
    /// The partition's number.
    pub partition_index: i32,
    /// The smallest log start offset of all replicas that live; -1 where it is not known.
    pub low_watermark: i64,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
}
