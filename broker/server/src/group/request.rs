//! What the coordinator is asked, without the wire: the handlers map each API's versions to these and back.

use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::response::{
    CommittedTopic, DeletedGroup, DescribedGroup, FetchedGroup, GroupResponse, JoinGroupResponse, LeftMember,
};
use super::{
    DeleteGroupsResponse, DescribeGroupsResponse, GroupState, HeartbeatResponse, LeaveGroupResponse,
    ListGroupsResponse, OffsetCommitResponse, OffsetFetchResponse, SyncGroupResponse,
};

/// Who asks: noted on each member and shown by DescribeGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientContext {
    /// The request header's client id, empty where it is null; it begins the member ids made for this client.
    pub client_id: Arc<str>,
    /// The client's address as Kafka prints it (`/127.0.0.1`).
    pub client_host: Arc<str>,
}

/// One request to the coordinator. Requests that name several groups hold only groups of this shard's partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRequest {
    /// JoinGroup (11).
    JoinGroup(JoinGroupRequest),
    /// SyncGroup (14).
    SyncGroup(SyncGroupRequest),
    /// Heartbeat (12).
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup (13).
    LeaveGroup(LeaveGroupRequest),
    /// OffsetCommit (8).
    OffsetCommit(OffsetCommitRequest),
    /// OffsetFetch (9).
    OffsetFetch(OffsetFetchRequest),
    /// DescribeGroups (15).
    DescribeGroups(DescribeGroupsRequest),
    /// ListGroups (16).
    ListGroups(ListGroupsRequest),
    /// DeleteGroups (42).
    DeleteGroups(DeleteGroupsRequest),
}

/// A way of assigning partitions that a member can take part in, with what the member says about itself in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// The assignor's name, such as `range`.
    pub name: Arc<str>,
    /// The member's subscription, opaque to the coordinator.
    pub metadata: Arc<[u8]>,
}

/// Asks to become, or to stay, a member in the group's next generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinGroupRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member's id, or empty where it has none yet.
    pub member_id: Arc<str>,
    /// The static member's own name (KIP-345).
    pub group_instance_id: Option<Arc<str>>,
    /// How long the member may be silent, in ms.
    pub session_timeout_ms: i32,
    /// How long the member may take to rejoin, in ms; negative (JoinGroup 0 has no such field) means the session timeout.
    pub rebalance_timeout_ms: i32,
    /// The family of protocols: `consumer`, `connect`.
    pub protocol_type: Arc<str>,
    /// The member's protocols, the preferred one first.
    pub protocols: Vec<Protocol>,
    /// Whether a new dynamic member is first given an id to join with (KIP-394; JoinGroup 4 and above).
    pub require_known_member_id: bool,
    /// Whether the client understands `skip_assignment` (KIP-814; JoinGroup 9 and above).
    pub supports_skipping_assignment: bool,
}

/// One member's assignment, made by the group's leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The member.
    pub member_id: Arc<str>,
    /// What it is assigned, opaque to the coordinator.
    pub assignment: Arc<[u8]>,
}

/// Asks for the member's assignment; the leader brings all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncGroupRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The generation that the member joined.
    pub generation_id: i32,
    /// The member.
    pub member_id: Arc<str>,
    /// The static member's own name.
    pub group_instance_id: Option<Arc<str>>,
    /// The protocol type that the member believes in (SyncGroup 5 and above).
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that the member believes in (SyncGroup 5 and above).
    pub protocol_name: Option<Arc<str>>,
    /// The assignments, from the leader only.
    pub assignments: Vec<Assignment>,
}

/// Says that the member lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member's generation.
    pub generation_id: i32,
    /// The member.
    pub member_id: Arc<str>,
    /// The static member's own name.
    pub group_instance_id: Option<Arc<str>>,
}

/// A member as LeaveGroup names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberIdentity {
    /// The member's id; empty where an administrator removes a static member by its name.
    pub member_id: Arc<str>,
    /// The static member's own name.
    pub group_instance_id: Option<Arc<str>>,
}

/// Takes members out of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveGroupRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The members; exactly one before LeaveGroup 3.
    pub members: Vec<MemberIdentity>,
}

/// One partition's offset to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPartition {
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to consume.
    pub offset: i64,
    /// The leader epoch of the last consumed record, or -1.
    pub leader_epoch: i32,
    /// What the client wants to find beside the offset.
    pub metadata: Option<Arc<str>>,
}

/// One topic's offsets to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitTopic {
    /// The topic.
    pub topic: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// Commits offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member's generation, or -1 from a consumer without group management and from administrators.
    pub generation_id: i32,
    /// The member, or empty.
    pub member_id: Arc<str>,
    /// The static member's own name.
    pub group_instance_id: Option<Arc<str>>,
    /// How long the offsets are to be kept, in ms (OffsetCommit 2 to 4, where not -1).
    pub retention_time_ms: Option<i64>,
    /// Whether a missing group is GROUP_ID_NOT_FOUND (OffsetCommit 9 and above) or ILLEGAL_GENERATION.
    pub reports_missing_group: bool,
    /// The offsets.
    pub topics: Vec<CommitTopic>,
}

/// The partitions of one topic whose offsets are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    /// The topic.
    pub topic: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// One group whose offsets are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// The partitions, or `None` for all that have an offset.
    pub topics: Option<Vec<FetchTopic>>,
}

/// Asks for committed offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    /// The groups; exactly one before OffsetFetch 8.
    pub groups: Vec<FetchGroup>,
    /// Whether the answer waits for the commits that are on their way (KIP-447).
    pub require_stable: bool,
}

/// Asks for groups in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeGroupsRequest {
    /// The groups.
    pub group_ids: Vec<Arc<str>>,
    /// Whether a missing group is GROUP_ID_NOT_FOUND (DescribeGroups 6 and above) or merely in state Dead.
    pub reports_missing_group: bool,
}

/// Asks for the groups that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListGroupsRequest {
    /// States to list, in any case; empty for all (KIP-518).
    pub states: Vec<Arc<str>>,
    /// Types to list, in any case; empty for all (KIP-848).
    pub types: Vec<Arc<str>>,
}

/// Deletes groups that have no members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteGroupsRequest {
    /// The groups.
    pub group_ids: Vec<Arc<str>>,
}

impl GroupRequest {
    /// The answer that refuses the whole request with `error`, in the form that each API has for it.
    #[must_use]
    pub fn error_response(&self, error: ErrorCode) -> GroupResponse {
        match self {
            Self::JoinGroup(request) => {
                GroupResponse::JoinGroup(JoinGroupResponse::error(request.member_id.clone(), error))
            }
            Self::SyncGroup(_) => GroupResponse::SyncGroup(SyncGroupResponse::error(error)),
            Self::Heartbeat(_) => GroupResponse::Heartbeat(HeartbeatResponse { error }),
            Self::LeaveGroup(_) => {
                GroupResponse::LeaveGroup(LeaveGroupResponse { error, members: Vec::new() })
            }
            Self::OffsetCommit(request) => GroupResponse::OffsetCommit(request.error_response(error)),
            Self::OffsetFetch(request) => GroupResponse::OffsetFetch(OffsetFetchResponse {
                groups: request
                    .groups
                    .iter()
                    .map(|group| FetchedGroup { group_id: group.group_id.clone(), error, topics: Vec::new() })
                    .collect(),
            }),
            Self::DescribeGroups(request) => GroupResponse::DescribeGroups(DescribeGroupsResponse {
                groups: request
                    .group_ids
                    .iter()
                    .map(|id| DescribedGroup::without_members(id.clone(), error, GroupState::Dead))
                    .collect(),
            }),
            Self::ListGroups(_) => {
                GroupResponse::ListGroups(ListGroupsResponse { error, groups: Vec::new() })
            }
            Self::DeleteGroups(request) => GroupResponse::DeleteGroups(DeleteGroupsResponse {
                groups: request
                    .group_ids
                    .iter()
                    .map(|id| DeletedGroup { group_id: id.clone(), error })
                    .collect(),
            }),
        }
    }
}

impl OffsetCommitRequest {
    /// The answer with `error` on every partition.
    #[must_use]
    pub fn error_response(&self, error: ErrorCode) -> OffsetCommitResponse {
        let topics = self.topics.iter().map(|topic| CommittedTopic {
            topic: topic.topic.clone(),
            partitions: topic.partitions.iter().map(|partition| (partition.partition, error)).collect(),
        });
        OffsetCommitResponse { topics: topics.collect() }
    }
}

impl LeaveGroupRequest {
    /// The answer with `error` on every member.
    #[must_use]
    pub fn error_per_member(&self, error: ErrorCode) -> LeaveGroupResponse {
        let members = self.members.iter().map(|member| LeftMember { member: member.clone(), error });
        LeaveGroupResponse { error: ErrorCode::NONE, members: members.collect() }
    }
}
