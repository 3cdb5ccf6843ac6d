//! Adds partitions to topics (KIP-195).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "CreatePartitions", versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsRequest<'a> {
    /// The topics.
    pub topics: Vec<CreatePartitionsTopic<'a>>,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: i32,
    /// Whether to check and change nothing.
    pub validate_only: bool,
}

/// A topic that shall grow.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatePartitionsTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The number of partitions that the topic shall have.
    pub count: i32,
    /// Where to place the new partitions; null to leave it to the controller.
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
}

/// The replicas of one new partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatePartitionsAssignment {
    /// The brokers of the replicas, the preferred leader first.
    pub broker_ids: Vec<i32>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "CreatePartitions", versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The answers.
    pub results: Vec<CreatePartitionsTopicResult<'a>>,
}

/// How it went for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatePartitionsTopicResult<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    #[kafka(default = "null")]
    pub error_message: Option<Cow<'a, str>>,
}
