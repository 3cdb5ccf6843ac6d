//! Moves partitions to other brokers, or calls such a move off (KIP-455).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "AlterPartitionReassignments", versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsRequest<'a> {
    /// How long the client waits, in milliseconds.
    #[kafka(default = "60_000")]
    pub timeout_ms: i32,
    /// Whether a partition may get more or fewer replicas than it has (KIP-860).
    #[kafka(versions = "1+", default = "true")]
    pub allow_replication_factor_change: bool,
    /// The topics.
    pub topics: Vec<ReassignableTopic<'a>>,
}

/// A topic whose partitions shall move.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReassignableTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<ReassignablePartition>,
}

/// A partition and where it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReassignablePartition {
    /// The partition's number.
    pub partition_index: i32,
    /// The brokers of the replicas, the preferred leader first; null to call the move under way off.
    #[kafka(default = "null")]
    pub replicas: Option<Vec<i32>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "AlterPartitionReassignments", versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What the request said of it (KIP-860).
    #[kafka(versions = "1+", default = "true", ignorable)]
    pub allow_replication_factor_change: bool,
    /// What went wrong with the whole request, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    pub error_message: Option<Cow<'a, str>>,
    /// One answer per topic.
    pub responses: Vec<ReassignableTopicResponse<'a>>,
}

/// How it went for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReassignableTopicResponse<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<ReassignablePartitionResponse<'a>>,
}

/// How it went for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReassignablePartitionResponse<'a> {
    /// The partition's number.
    pub partition_index: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    pub error_message: Option<Cow<'a, str>>,
}
