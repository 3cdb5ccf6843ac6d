//! Names the brokers, topics and partition leaders of the cluster.

use std::borrow::Cow;

use crate::{ErrorCode, Message, Uuid};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "Metadata", versions = "0-13", flexible = "9+")]
pub struct MetadataRequest<'a> {
    /// The topics asked for; null for all (in version 0, empty for all).
    #[kafka(nullable = "1+")]
    pub topics: Option<Vec<MetadataRequestTopic<'a>>>,
    /// Whether unknown topics may be created, where the broker is configured to.
    #[kafka(versions = "4+", default = "true")]
    pub allow_auto_topic_creation: bool,
    /// Whether to say what the client may do to the cluster.
    #[kafka(versions = "8-10")]
    pub include_cluster_authorized_operations: bool,
    /// Whether to say what the client may do to the topics.
    #[kafka(versions = "8+")]
    pub include_topic_authorized_operations: bool,
}

/// A topic asked for, by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MetadataRequestTopic<'a> {
    /// The topic's id.
    #[kafka(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// The topic's name; null if it is asked for by id.
    #[kafka(nullable = "10+")]
    pub name: Option<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "Metadata", versions = "0-13", flexible = "9+")]
pub struct MetadataResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// The brokers of the cluster.
    pub brokers: Vec<MetadataResponseBroker<'a>>,
    /// The cluster's id; null if not told.
    #[kafka(versions = "2+", default = "null", ignorable)]
    pub cluster_id: Option<Cow<'a, str>>,
    /// The broker to send administrative requests to; -1 if unknown.
    #[kafka(versions = "1+", default = "-1", ignorable)]
    pub controller_id: i32,
    /// The topics.
    pub topics: Vec<MetadataResponseTopic<'a>>,
    /// What the client may do to the cluster, as a bit field; `i32::MIN` if not asked for.
    #[kafka(versions = "8-10", default = "i32::MIN")]
    pub cluster_authorized_operations: i32,
    /// What went wrong, or `NONE`.
    #[kafka(versions = "13+", ignorable)]
    pub error_code: ErrorCode,
}

/// A broker and where to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MetadataResponseBroker<'a> {
    /// The broker's id.
    pub node_id: i32,
    /// The host to connect to.
    pub host: Cow<'a, str>,
    /// The port to connect to.
    pub port: i32,
    /// The broker's rack; null if it has none.
    #[kafka(versions = "1+", default = "null", ignorable)]
    pub rack: Option<Cow<'a, str>>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MetadataResponseTopic<'a> {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The topic's name.
    #[kafka(nullable = "12+")]
    pub name: Option<Cow<'a, str>>,
    /// The topic's id.
    #[kafka(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// Whether it is one of the broker's own topics.
    #[kafka(versions = "1+", ignorable)]
    pub is_internal: bool,
    /// The partitions.
    pub partitions: Vec<MetadataResponsePartition>,
    /// What the client may do to the topic, as a bit field; `i32::MIN` if not asked for.
    #[kafka(versions = "8+", default = "i32::MIN")]
    pub topic_authorized_operations: i32,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MetadataResponsePartition {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The partition's number.
    pub partition_index: i32,
    /// The leader's broker id; -1 if there is none.
    pub leader_id: i32,
    /// The leader epoch; -1 if unknown.
    #[kafka(versions = "7+", default = "-1", ignorable)]
    pub leader_epoch: i32,
    /// All replicas, the preferred leader first.
    pub replica_nodes: Vec<i32>,
    /// The in-sync replicas.
    pub isr_nodes: Vec<i32>,
    /// The replicas that are not available.
    #[kafka(versions = "5+", ignorable)]
    pub offline_replicas: Vec<i32>,
}
