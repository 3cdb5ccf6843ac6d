//! Tells how large partitions are, and how full the disks below them (KIP-113, KIP-827).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "DescribeLogDirs", versions = "1-4", flexible = "2+")]
pub struct DescribeLogDirsRequest<'a> {
    /// The topics; null for all.
    pub topics: Option<Vec<DescribableLogDirTopic<'a>>>,
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribableLogDirTopic<'a> {
    /// The topic's name.
    pub topic: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "DescribeLogDirs", versions = "1-4", flexible = "2+")]
pub struct DescribeLogDirsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong with the whole request, or `NONE`.
    #[kafka(versions = "3+", ignorable)]
    pub error_code: ErrorCode,
    /// The log directories.
    pub results: Vec<DescribeLogDirsResult<'a>>,
}

/// A log directory.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeLogDirsResult<'a> {
    /// What is wrong with the directory, or `NONE`.
    pub error_code: ErrorCode,
    /// The absolute path of the directory.
    pub log_dir: Cow<'a, str>,
    /// The topics with partitions in it.
    pub topics: Vec<DescribeLogDirsTopic<'a>>,
    /// The size of the file system that it lies on, in bytes; -1 if unknown (KIP-827).
    #[kafka(versions = "4+", default = "-1", ignorable)]
    pub total_bytes: i64,
    /// How much of that is left, in bytes; -1 if unknown (KIP-827).
    #[kafka(versions = "4+", default = "-1", ignorable)]
    pub usable_bytes: i64,
}

/// The partitions of one topic in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeLogDirsTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<DescribeLogDirsPartition>,
}

/// A partition in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeLogDirsPartition {
    /// The partition's number.
    pub partition_index: i32,
    /// The size of its segments, in bytes.
    pub partition_size: i64,
    /// How far the log is behind: behind the high watermark, or for a future log behind the present one's end.
    pub offset_lag: i64,
    /// Whether it is the log of a move between directories that will take the present one's place.
    pub is_future_key: bool,
}
