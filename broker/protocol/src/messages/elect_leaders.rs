//! Asks for elections: of preferred leaders, or of replicas out of sync where no other is left (KIP-183, KIP-460).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "ElectLeaders", versions = "0-2", flexible = "2+")]
pub struct ElectLeadersRequest<'a> {
    /// Whom to elect (`ElectionType`): 0 the preferred leader, 1 any replica that is alive if none in sync is.
    #[kafka(versions = "1+")]
    pub election_type: i8,
    /// The partitions; null for all.
    pub topic_partitions: Option<Vec<TopicPartitions<'a>>>,
    /// How long the client waits, in milliseconds.
    #[kafka(default = "60_000")]
    pub timeout_ms: i32,
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TopicPartitions<'a> {
    /// The topic's name.
    pub topic: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "ElectLeaders", versions = "0-2", flexible = "2+")]
pub struct ElectLeadersResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong with the whole request, or `NONE`.
    #[kafka(versions = "1+")]
    pub error_code: ErrorCode,
    /// One answer per topic. Where all partitions were asked for, those that needed no election are left out.
    pub replica_election_results: Vec<ReplicaElectionResult<'a>>,
}

/// The elections in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReplicaElectionResult<'a> {
    /// The topic's name.
    pub topic: Cow<'a, str>,
    /// The partitions.
    pub partition_result: Vec<PartitionResult<'a>>,
}

/// How the election went in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct PartitionResult<'a> {
    /// The partition's number.
    pub partition_id: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    pub error_message: Option<Cow<'a, str>>,
}
