//! Classic consumer groups: the coordinator as a step machine, and the records it keeps.
//!
//! One [`GroupShard`] stands for one partition of `__consumer_offsets` that this broker leads. It is fed
//! [`Input`]s and gives [`Output`]s; it performs none of them, and knows no clock, no sockets and no wire
//! versions. It follows `org.apache.kafka.coordinator.group` (`GroupMetadataManager`, `ClassicGroup`,
//! `OffsetMetadataManager`) in what clients see.

mod classic;
mod config;
mod join;
mod load;
mod member;
mod members;
mod offsets;
mod outbox;
mod overview;
mod partition;
mod rebalance;
pub mod records;
mod removal;
mod request;
mod response;
mod shard;
mod state;
mod step;
mod subscription;
mod timers;

pub use config::GroupConfig;
pub use partition::partition_for;
pub use request::{
    Assignment, ClientContext, CommitPartition, CommitTopic, DeleteGroupsRequest, DescribeGroupsRequest,
    FetchGroup, FetchTopic, GroupRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, MemberIdentity, OffsetCommitRequest, OffsetFetchRequest, Protocol, SyncGroupRequest,
};
pub use response::{
    CommittedTopic, DeleteGroupsResponse, DeletedGroup, DescribeGroupsResponse, DescribedGroup,
    DescribedMember, FetchedGroup, FetchedPartition, FetchedTopic, GroupResponse, HeartbeatResponse,
    JoinGroupResponse, JoinedMember, LeaveGroupResponse, LeftMember, ListGroupsResponse, ListedGroup,
    OffsetCommitResponse, OffsetFetchResponse, SyncGroupResponse,
};
pub use shard::{GroupShard, GroupStats, IdSource};
pub use state::GroupState;
pub use step::{Input, Output};

#[cfg(test)]
mod tests;
