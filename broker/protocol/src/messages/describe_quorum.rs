//! Describes who keeps the cluster's metadata (KIP-595, KIP-853).

use std::borrow::Cow;

use crate::{ErrorCode, Message, Uuid};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "DescribeQuorum", versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumRequest<'a> {
    /// The topics: that of the metadata log.
    pub topics: Vec<DescribedTopic<'a>>,
}

/// A topic asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribedTopic<'a> {
    /// The topic's name.
    pub topic_name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<DescribedPartition>,
}

/// A partition asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribedPartition {
    /// The partition's number.
    pub partition_index: i32,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "DescribeQuorum", versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumResponse<'a> {
    /// What went wrong with the whole request, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    #[kafka(versions = "2+", ignorable)]
    pub error_message: Option<Cow<'a, str>>,
    /// One answer per topic.
    pub topics: Vec<TopicData<'a>>,
    /// The controllers and where to reach them.
    #[kafka(versions = "2+")]
    pub nodes: Vec<Node<'a>>,
}

/// The answers for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TopicData<'a> {
    /// The topic's name.
    pub topic_name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<PartitionData<'a>>,
}

/// Who keeps one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct PartitionData<'a> {
    /// The partition's number.
    pub partition_index: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    #[kafka(versions = "2+", ignorable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The id of the leader; -1 if there is none.
    pub leader_id: i32,
    /// The leader epoch.
    pub leader_epoch: i32,
    /// The offset up to which the log is committed.
    pub high_watermark: i64,
    /// The controllers that vote.
    pub current_voters: Vec<ReplicaState>,
    /// Who follows the log without a vote: the brokers.
    pub observers: Vec<ReplicaState>,
}

/// How far one replica has come.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReplicaState {
    /// The id of the controller or broker.
    pub replica_id: i32,
    /// The replica's log directory (KIP-853).
    #[kafka(versions = "2+")]
    pub replica_directory_id: Uuid,
    /// The end of its log; -1 if unknown.
    pub log_end_offset: i64,
    /// When it last fetched, in milliseconds since 1970 by the leader's clock; -1 if unknown (KIP-836).
    #[kafka(versions = "1+", default = "-1", ignorable)]
    pub last_fetch_timestamp: i64,
    /// When it last had all that the leader had, in milliseconds since 1970 by the leader's clock; -1 if unknown.
    #[kafka(versions = "1+", default = "-1", ignorable)]
    pub last_caught_up_timestamp: i64,
}

/// A controller.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct Node<'a> {
    /// The controller's id.
    #[kafka(versions = "2+")]
    pub node_id: i32,
    /// Where to reach it.
    #[kafka(versions = "2+")]
    pub listeners: Vec<Listener<'a>>,
}

/// An address of a controller.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct Listener<'a> {
    /// The listener's name.
    #[kafka(versions = "2+")]
    pub name: Cow<'a, str>,
    /// The host to connect to.
    #[kafka(versions = "2+")]
    pub host: Cow<'a, str>,
    /// The port to connect to.
    #[kafka(versions = "2+")]
    pub port: u16,
}
