//! Describes the partitions of topics, a page at a time (KIP-966).

use std::borrow::Cow;

use crate::{ErrorCode, Message, Uuid};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "DescribeTopicPartitions", versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsRequest<'a> {
    /// The topics.
    pub topics: Vec<TopicRequest<'a>>,
    /// The most partitions that the answer may have.
    #[kafka(default = "2000")]
    pub response_partition_limit: i32,
    /// Where to go on; null to start at the beginning.
    #[kafka(default = "null")]
    pub cursor: Option<Cursor<'a>>,
}

/// A topic asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TopicRequest<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
}

/// A place in the list of all partitions, which is sorted by topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct Cursor<'a> {
    /// The topic to go on with.
    pub topic_name: Cow<'a, str>,
    /// The partition to go on with.
    pub partition_index: i32,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "DescribeTopicPartitions", versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>,
    /// Where to go on for what did not fit; null if all did.
    #[kafka(default = "null")]
    pub next_cursor: Option<Cursor<'a>>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeTopicPartitionsResponseTopic<'a> {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The topic's name.
    pub name: Option<Cow<'a, str>>,
    /// The topic's id.
    pub topic_id: Uuid,
    /// Whether it is one of the broker's own topics.
    pub is_internal: bool,
    /// The partitions.
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    /// What the client may do to the topic, as a bit field; `i32::MIN` if not asked for.
    #[kafka(default = "i32::MIN")]
    pub topic_authorized_operations: i32,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeTopicPartitionsResponsePartition {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The partition's number.
    pub partition_index: i32,
    /// The leader's broker id; -1 if there is none.
    pub leader_id: i32,
    /// The leader epoch.
    #[kafka(default = "-1")]
    pub leader_epoch: i32,
    /// All replicas, the preferred leader first.
    pub replica_nodes: Vec<i32>,
    /// The in-sync replicas.
    pub isr_nodes: Vec<i32>,
    /// The replicas outside the ISR that may still be elected (KIP-966).
    #[kafka(default = "null")]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// The eligible leader replicas last known.
    #[kafka(default = "null")]
    pub last_known_elr: Option<Vec<i32>>,
    /// The replicas that are not available.
    pub offline_replicas: Vec<i32>,
}
