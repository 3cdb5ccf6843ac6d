//! Writes record batches to partitions (KIP-98, KIP-516).

use std::borrow::Cow;

use crate::{ErrorCode, Message, Uuid};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "Produce", versions = "3-13", flexible = "9+")]
pub struct ProduceRequest<'a> {
    /// The transactional id; null outside of transactions.
    #[kafka(default = "null")]
    pub transactional_id: Option<Cow<'a, str>>,
    /// Whom to wait for: 0 nobody, 1 the leader, -1 all in-sync replicas.
    pub acks: i16,
    /// How long to wait for the in-sync replicas, in milliseconds.
    pub timeout_ms: i32,
    /// The topics.
    pub topic_data: Vec<TopicProduceData<'a>>,
}

/// The records for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TopicProduceData<'a> {
    /// The topic's name.
    #[kafka(versions = "0-12", ignorable)]
    pub name: Cow<'a, str>,
    /// The topic's id (KIP-516).
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partition_data: Vec<PartitionProduceData<'a>>,
}

/// The records for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct PartitionProduceData<'a> {
    /// The partition's number.
    pub index: i32,
    /// The record batches.
    #[kafka(default = "null")]
    pub records: Option<Cow<'a, [u8]>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "Produce", versions = "3-13", flexible = "9+")]
pub struct ProduceResponse<'a> {
    /// One answer per topic.
    pub responses: Vec<TopicProduceResponse<'a>>,
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Where to reach the leaders named in this answer.
    #[kafka(versions = "10+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// The answers for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TopicProduceResponse<'a> {
    /// The topic's name.
    #[kafka(versions = "0-12", ignorable)]
    pub name: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partition_responses: Vec<PartitionProduceResponse<'a>>,
}

/// How it went for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct PartitionProduceResponse<'a> {
    /// The partition's number.
    pub index: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The offset given to the first record.
    pub base_offset: i64,
    /// When the broker appended the records, in milliseconds since 1970, if the topic keeps that time; else -1.
    #[kafka(default = "-1")]
    pub log_append_time_ms: i64,
    /// The first offset of the log; -1 if unknown.
    #[kafka(versions = "5+", default = "-1", ignorable)]
    pub log_start_offset: i64,
    /// The records that caused the batch to be refused (KIP-467).
    #[kafka(versions = "8+", ignorable)]
    pub record_errors: Vec<BatchIndexAndErrorMessage<'a>>,
    /// What went wrong, in words; null if nothing did.
    #[kafka(versions = "8+", default = "null", ignorable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The present leader, where the request went to another broker.
    #[kafka(versions = "10+", tag = 0)]
    pub current_leader: LeaderIdAndEpoch,
}

/// A record that caused its batch to be refused.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct BatchIndexAndErrorMessage<'a> {
    /// The record's index in its batch.
    #[kafka(versions = "8+")]
    pub batch_index: i32,
    /// What is wrong with that record.
    #[kafka(versions = "8+", default = "null")]
    pub batch_index_error_message: Option<Cow<'a, str>>,
}

/// A leader and its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct LeaderIdAndEpoch {
    /// The leader's broker id; -1 if there is none.
    #[kafka(versions = "10+", default = "-1")]
    pub leader_id: i32,
    /// The leader epoch.
    #[kafka(versions = "10+", default = "-1")]
    pub leader_epoch: i32,
}

/// A broker and where to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct NodeEndpoint<'a> {
    /// The broker's id.
    #[kafka(versions = "10+")]
    pub node_id: i32,
    /// The host to connect to.
    #[kafka(versions = "10+")]
    pub host: Cow<'a, str>,
    /// The port to connect to.
    #[kafka(versions = "10+")]
    pub port: i32,
    /// The broker's rack; null if it has none.
    #[kafka(versions = "10+", default = "null")]
    pub rack: Option<Cow<'a, str>>,
}
