//! Creates topics.

use std::borrow::Cow;

use crate::{ErrorCode, Message, Uuid};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "CreateTopics", versions = "2-7", flexible = "5+")]
pub struct CreateTopicsRequest<'a> {
    /// The topics.
    pub topics: Vec<CreatableTopic<'a>>,
    /// How long the client waits, in milliseconds.
    #[kafka(default = "60000")]
    pub timeout_ms: i32,
    /// Whether to check and change nothing.
    pub validate_only: bool,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatableTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The number of partitions; -1 for the broker's default.
    pub num_partitions: i32,
    /// The number of replicas; -1 for the broker's default.
    pub replication_factor: i16,
    /// Where to place the partitions; empty to leave it to the controller.
    pub assignments: Vec<CreatableReplicaAssignment>,
    /// The topic's configuration.
    pub configs: Vec<CreatableTopicConfig<'a>>,
}

/// The replicas of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatableReplicaAssignment {
    /// The partition's number.
    pub partition_index: i32,
    /// The brokers of the replicas, the preferred leader first.
    pub broker_ids: Vec<i32>,
}

/// A key of the topic's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatableTopicConfig<'a> {
    /// The configuration key.
    pub name: Cow<'a, str>,
    /// The value; null for the default.
    pub value: Option<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "CreateTopics", versions = "2-7", flexible = "5+")]
pub struct CreateTopicsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<CreatableTopicResult<'a>>,
}

/// How it went for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatableTopicResult<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "7+", ignorable)]
    pub topic_id: Uuid,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    pub error_message: Option<Cow<'a, str>>,
    /// Why the configuration is left out, or `NONE`.
    #[kafka(versions = "5+", tag = 0, ignorable)]
    pub topic_config_error_code: ErrorCode,
    /// The number of partitions; -1 if unknown.
    #[kafka(versions = "5+", default = "-1", ignorable)]
    pub num_partitions: i32,
    /// The number of replicas; -1 if unknown.
    #[kafka(versions = "5+", default = "-1", ignorable)]
    pub replication_factor: i16,
    /// The topic's configuration, as it came out; null if it is left out.
    #[kafka(versions = "5+", ignorable)]
    pub configs: Option<Vec<CreatableTopicConfigs<'a>>>,
}

/// A key of the new topic's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatableTopicConfigs<'a> {
    /// The configuration key.
    #[kafka(versions = "5+")]
    pub name: Cow<'a, str>,
    /// The value; null if it has none or is a secret.
    #[kafka(versions = "5+")]
    pub value: Option<Cow<'a, str>>,
    /// Whether the value cannot be changed.
    #[kafka(versions = "5+")]
    pub read_only: bool,
    /// Where the value comes from (`DescribeConfigsResponse.ConfigSource`).
    #[kafka(versions = "5+", default = "-1", ignorable)]
    pub config_source: i8,
    /// Whether the value is withheld because it is a secret.
    #[kafka(versions = "5+")]
    pub is_sensitive: bool,
}
