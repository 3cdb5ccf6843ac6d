//! Reads record batches, for consumers and followers alike (KIP-227, KIP-320, KIP-516).

use std::borrow::Cow;

use crate::codec::RecordSet;
use crate::{ErrorCode, Message, Uuid};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "Fetch", versions = "4-18", flexible = "12+")]
pub struct FetchRequest<'a> {
    /// The cluster's id, where the follower of a metadata log knows it; null if not told.
    #[kafka(versions = "12+", tag = 0, default = "null", ignorable)]
    pub cluster_id: Option<Cow<'a, str>>,
    /// The follower's broker id; -1 for a consumer.
    #[kafka(versions = "0-14", default = "-1")]
    pub replica_id: i32,
    /// Which follower fetches (KIP-903).
    #[kafka(versions = "15+", tag = 1)]
    pub replica_state: ReplicaState,
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// How many bytes of records are worth answering before the wait is over.
    pub min_bytes: i32,
    /// How many bytes of records the answer may have; exceeded only by a first batch that is larger (KIP-74).
    #[kafka(default = "i32::MAX")]
    pub max_bytes: i32,
    /// 0 for all records up to the high watermark, 1 for committed transactions only.
    pub isolation_level: i8,
    /// The fetch session; 0 for none (KIP-227).
    #[kafka(versions = "7+", ignorable)]
    pub session_id: i32,
    /// The request's place in the fetch session: 0 opens one, -1 does without (KIP-227).
    #[kafka(versions = "7+", default = "-1", ignorable)]
    pub session_epoch: i32,
    /// The topics.
    pub topics: Vec<FetchTopic<'a>>,
    /// What to drop from the incremental session (KIP-227).
    #[kafka(versions = "7+")]
    pub forgotten_topics_data: Vec<ForgottenTopic<'a>>,
    /// The consumer's rack (KIP-392); empty if it has none.
    #[kafka(versions = "11+", ignorable)]
    pub rack_id: Cow<'a, str>,
}

/// A follower.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReplicaState {
    /// The follower's broker id; -1 for a consumer.
    #[kafka(versions = "15+", default = "-1")]
    pub replica_id: i32,
    /// The follower's broker epoch; -1 if it has none.
    #[kafka(versions = "15+", default = "-1")]
    pub replica_epoch: i64,
}

/// A topic to read.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct FetchTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "0-12", ignorable)]
    pub topic: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<FetchPartition>,
}

/// A partition to read.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct FetchPartition {
    /// The partition's number.
    pub partition: i32,
    /// The leader epoch that the client knows; -1 to skip the check (KIP-320).
    #[kafka(versions = "9+", default = "-1", ignorable)]
    pub current_leader_epoch: i32,
    /// The offset to read from.
    pub fetch_offset: i64,
    /// The leader epoch of the last record fetched; -1 if there is none.
    #[kafka(versions = "12+", default = "-1")]
    pub last_fetched_epoch: i32,
    /// The first offset of the follower's log; -1 for a consumer.
    #[kafka(versions = "5+", default = "-1", ignorable)]
    pub log_start_offset: i64,
    /// How many bytes of this partition the answer may have; exceeded as `max_bytes` is.
    pub partition_max_bytes: i32,
    /// The follower's log directory (KIP-853).
    #[kafka(versions = "17+", tag = 0, ignorable)]
    pub replica_directory_id: Uuid,
    /// The high watermark that the follower knows; -1 if none, `i64::MAX` if it does not tell (KIP-1166).
    #[kafka(versions = "18+", tag = 1, default = "i64::MAX", ignorable)]
    pub high_watermark: i64,
}

/// Partitions to drop from the session.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ForgottenTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "7-12", ignorable)]
    pub topic: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    #[kafka(versions = "7+")]
    pub partitions: Vec<i32>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "Fetch", versions = "4-18", flexible = "12+")]
pub struct FetchResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong with the session or the whole request, or `NONE`.
    #[kafka(versions = "7+", ignorable)]
    pub error_code: ErrorCode,
    /// The fetch session; 0 for none (KIP-227).
    #[kafka(versions = "7+")]
    pub session_id: i32,
    /// One answer per topic.
    pub responses: Vec<FetchableTopicResponse<'a>>,
    /// Where to reach the leaders named in this answer.
    #[kafka(versions = "16+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// What was read of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct FetchableTopicResponse<'a> {
    /// The topic's name.
    #[kafka(versions = "0-12", ignorable)]
    pub topic: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<PartitionData<'a>>,
}

/// What was read of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct PartitionData<'a> {
    /// The partition's number.
    pub partition_index: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The offset up to which records are committed.
    pub high_watermark: i64,
    /// The offset below which every transaction is decided.
    #[kafka(default = "-1")]
    pub last_stable_offset: i64,
    /// The first offset of the log; -1 if unknown.
    #[kafka(versions = "5+", default = "-1", ignorable)]
    pub log_start_offset: i64,
    /// Where the follower's log departs from the leader's, if it does (KIP-595).
    #[kafka(versions = "12+", tag = 0)]
    pub diverging_epoch: EpochEndOffset,
    /// The present leader, where the request went to another broker.
    #[kafka(versions = "12+", tag = 1)]
    pub current_leader: LeaderIdAndEpoch,
    /// The snapshot to fetch instead of the log (KIP-630).
    #[kafka(versions = "12+", tag = 2)]
    pub snapshot_id: SnapshotId,
    /// The aborted transactions among the records; null under read-uncommitted.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The replica that the consumer had better read from (KIP-392); -1 for the leader.
    #[kafka(versions = "11+", default = "-1")]
    pub preferred_read_replica: i32,
    /// The record batches.
    pub records: RecordSet<'a>,
}

/// A leader epoch and where it ends.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct EpochEndOffset {
    /// The largest epoch that both logs may share; -1 if there is no divergence.
    #[kafka(versions = "12+", default = "-1")]
    pub epoch: i32,
    /// The offset at which the epoch ends.
    #[kafka(versions = "12+", default = "-1")]
    pub end_offset: i64,
}

/// A leader and its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct LeaderIdAndEpoch {
    /// The leader's broker id; -1 if there is none.
    #[kafka(versions = "12+", default = "-1")]
    pub leader_id: i32,
    /// The leader epoch.
    #[kafka(versions = "12+", default = "-1")]
    pub leader_epoch: i32,
}

/// A snapshot of a metadata log.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct SnapshotId {
    /// The offset at which the epoch ends.
    #[kafka(default = "-1")]
    pub end_offset: i64,
    /// The leader epoch.
    #[kafka(default = "-1")]
    pub epoch: i32,
}

/// A transaction whose records the consumer drops.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AbortedTransaction {
    /// The producer's id.
    pub producer_id: i64,
    /// The transaction's first offset.
    pub first_offset: i64,
}

/// A broker and where to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct NodeEndpoint<'a> {
    /// The broker's id.
    #[kafka(versions = "16+")]
    pub node_id: i32,
    /// The host to connect to.
    #[kafka(versions = "16+")]
    pub host: Cow<'a, str>,
    /// The port to connect to.
    #[kafka(versions = "16+")]
    pub port: i32,
    /// The broker's rack; null if it has none.
    #[kafka(versions = "16+", default = "null")]
    pub rack: Option<Cow<'a, str>>,
}
