//! Lists the partitions that are on their way to other brokers (KIP-455).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "ListPartitionReassignments", versions = "0", flexible = "0+")]
pub struct ListPartitionReassignmentsRequest<'a> {
    /// How long the client waits, in milliseconds.
    #[kafka(default = "60_000")]
    pub timeout_ms: i32,
    /// The topics; null for all.
    #[kafka(default = "null")]
    pub topics: Option<Vec<ListPartitionReassignmentsTopics<'a>>>,
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListPartitionReassignmentsTopics<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partition_indexes: Vec<i32>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "ListPartitionReassignments", versions = "0", flexible = "0+")]
pub struct ListPartitionReassignmentsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong with the whole request, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    pub error_message: Option<Cow<'a, str>>,
    /// The topics with partitions on their way.
    pub topics: Vec<OngoingTopicReassignment<'a>>,
}

/// The partitions of one topic that are on their way.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OngoingTopicReassignment<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<OngoingPartitionReassignment>,
}

/// A partition on its way.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OngoingPartitionReassignment {
    /// The partition's number.
    pub partition_index: i32,
    /// The present replicas, those to come and those to go among them.
    pub replicas: Vec<i32>,
    /// The replicas that come.
    pub adding_replicas: Vec<i32>,
    /// The replicas that go.
    pub removing_replicas: Vec<i32>,
}
