//! Moves replicas between the data directories of a broker (KIP-113).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "AlterReplicaLogDirs", versions = "1-2", flexible = "2+")]
pub struct AlterReplicaLogDirsRequest<'a> {
    /// The directories and what shall be in them.
    pub dirs: Vec<AlterReplicaLogDir<'a>>,
}

/// A directory and what shall be in it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterReplicaLogDir<'a> {
    /// The absolute path of the directory.
    pub path: Cow<'a, str>,
    /// The topics.
    pub topics: Vec<AlterReplicaLogDirTopic<'a>>,
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterReplicaLogDirTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "AlterReplicaLogDirs", versions = "1-2", flexible = "2+")]
pub struct AlterReplicaLogDirsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// One answer per topic.
    pub results: Vec<AlterReplicaLogDirTopicResult<'a>>,
}

/// How it went for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterReplicaLogDirTopicResult<'a> {
    /// The topic's name.
    pub topic_name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<AlterReplicaLogDirPartitionResult>,
}

/// How it went for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterReplicaLogDirPartitionResult {
    /// The partition's number.
    pub partition_index: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
}
