//! What the coordinator answers, without the wire.

use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::{GroupState, MemberIdentity};

/// The answer to a [`GroupRequest`](super::GroupRequest) of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupResponse {
    /// To JoinGroup.
    JoinGroup(JoinGroupResponse),
    /// To SyncGroup.
    SyncGroup(SyncGroupResponse),
    /// To Heartbeat.
    Heartbeat(HeartbeatResponse),
    /// To LeaveGroup.
    LeaveGroup(LeaveGroupResponse),
    /// To OffsetCommit.
    OffsetCommit(OffsetCommitResponse),
    /// To OffsetFetch.
    OffsetFetch(OffsetFetchResponse),
    /// To DescribeGroups.
    DescribeGroups(DescribeGroupsResponse),
    /// To ListGroups.
    ListGroups(ListGroupsResponse),
    /// To DeleteGroups.
    DeleteGroups(DeleteGroupsResponse),
}

/// A member as the leader is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member.
    pub member_id: Arc<str>,
    /// The static member's own name.
    pub group_instance_id: Option<Arc<str>>,
    /// Its metadata in the chosen protocol.
    pub metadata: Arc<[u8]>,
}

/// The member's place in the new generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinGroupResponse {
    /// What went wrong; 0 for nothing.
    pub error: ErrorCode,
    /// The generation, or -1.
    pub generation_id: i32,
    /// The group's protocol type (JoinGroup 7 and above).
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol; null is written as empty before JoinGroup 7.
    pub protocol_name: Option<Arc<str>>,
    /// The leader's member id, or empty.
    pub leader: Arc<str>,
    /// Whether the leader shall leave the assignment as it is (KIP-814).
    pub skip_assignment: bool,
    /// The member's id.
    pub member_id: Arc<str>,
    /// All members, told to the leader only.
    pub members: Vec<JoinedMember>,
}

/// The member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncGroupResponse {
    /// What went wrong; 0 for nothing.
    pub error: ErrorCode,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol.
    pub protocol_name: Option<Arc<str>>,
    /// What the leader assigned.
    pub assignment: Arc<[u8]>,
}

/// Whether the member may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatResponse {
    /// What went wrong; 0 for nothing.
    pub error: ErrorCode,
}

/// How it went for one leaving member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftMember {
    /// The member as it was named.
    pub member: MemberIdentity,
    /// What went wrong; 0 for nothing.
    pub error: ErrorCode,
}

/// How leaving went. Before LeaveGroup 3 the only member's error is the request's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveGroupResponse {
    /// What went wrong for all; 0 for nothing.
    pub error: ErrorCode,
    /// The members, in the order of the request.
    pub members: Vec<LeftMember>,
}

/// How a commit went, per partition in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedTopic {
    /// The topic.
    pub topic: Arc<str>,
    /// Partition and error (0 for nothing).
    pub partitions: Vec<(i32, ErrorCode)>,
}

/// How a commit went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommitResponse {
    /// The topics in the order of the request.
    pub topics: Vec<CommittedTopic>,
}

/// A partition's committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to consume, or -1 where none is committed.
    pub offset: i64,
    /// The leader epoch of the last consumed record, or -1.
    pub leader_epoch: i32,
    /// What the client committed beside the offset.
    pub metadata: Arc<str>,
}

/// A topic's committed offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTopic {
    /// The topic.
    pub topic: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// A group's committed offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// What went wrong; 0 for nothing.
    pub error: ErrorCode,
    /// Its topics.
    pub topics: Vec<FetchedTopic>,
}

/// Committed offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFetchResponse {
    /// The groups in the order of the request.
    pub groups: Vec<FetchedGroup>,
}

/// A member as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// The member.
    pub member_id: Arc<str>,
    /// The static member's own name.
    pub group_instance_id: Option<Arc<str>>,
    /// The client id it joined with.
    pub client_id: Arc<str>,
    /// The address it joined from.
    pub client_host: Arc<str>,
    /// Its metadata in the chosen protocol, where the group is stable; else empty.
    pub metadata: Arc<[u8]>,
    /// Its assignment.
    pub assignment: Arc<[u8]>,
}

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedGroup {
    /// What went wrong; 0 for nothing.
    pub error: ErrorCode,
    /// The group.
    pub group_id: Arc<str>,
    /// Its state.
    pub state: GroupState,
    /// Its protocol type, or empty.
    pub protocol_type: Arc<str>,
    /// The chosen protocol where the group is stable, else empty.
    pub protocol_data: Arc<str>,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// Groups in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeGroupsResponse {
    /// The groups in the order of the request.
    pub groups: Vec<DescribedGroup>,
}

/// A group as ListGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// Its protocol type, or empty.
    pub protocol_type: Arc<str>,
    /// Its state (ListGroups 4 and above).
    pub state: GroupState,
    /// Its type in Kafka's words, `classic` (ListGroups 5 and above).
    pub group_type: &'static str,
}

/// The groups of this shard's partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListGroupsResponse {
    /// What went wrong; 0 for nothing.
    pub error: ErrorCode,
    /// The groups.
    pub groups: Vec<ListedGroup>,
}

/// How deleting one group went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// What went wrong; 0 for nothing.
    pub error: ErrorCode,
}

/// How deleting went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteGroupsResponse {
    /// The groups in the order of the request.
    pub groups: Vec<DeletedGroup>,
}

impl JoinGroupResponse {
    /// An answer that only carries an error and the member's id.
    #[must_use]
    pub fn error(member_id: Arc<str>, error: ErrorCode) -> Self {
        Self {
            error,
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: Arc::from(""),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

impl SyncGroupResponse {
    /// An answer that only carries an error.
    #[must_use]
    pub fn error(error: ErrorCode) -> Self {
        Self { error, protocol_type: None, protocol_name: None, assignment: Arc::from([]) }
    }
}

impl DescribedGroup {
    /// A group of which nothing but its state is told.
    #[must_use]
    pub fn without_members(group_id: Arc<str>, error: ErrorCode, state: GroupState) -> Self {
        Self {
            error,
            group_id,
            state,
            protocol_type: Arc::from(""),
            protocol_data: Arc::from(""),
            members: Vec::new(),
        }
    }
}
impl GroupResponse {
    /// The same answer after its record could not be committed: everything in it that had succeeded has failed.
    pub(super) fn failed(self, error: ErrorCode) -> Self {
        match self {
            Self::JoinGroup(response) => Self::JoinGroup(JoinGroupResponse::error(response.member_id, error)),
            Self::SyncGroup(_) => Self::SyncGroup(SyncGroupResponse::error(error)),
            Self::Heartbeat(_) => Self::Heartbeat(HeartbeatResponse { error }),
            Self::LeaveGroup(_) => Self::LeaveGroup(LeaveGroupResponse { error, members: Vec::new() }),
            Self::OffsetCommit(mut response) => {
                for (_, code) in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    replace_success(code, error);
                }
                Self::OffsetCommit(response)
            }
            Self::DeleteGroups(mut response) => {
                for group in &mut response.groups {
                    replace_success(&mut group.error, error);
                }
                Self::DeleteGroups(response)
            }
            // These never wait for a record of their own.
            other @ (Self::OffsetFetch(_) | Self::DescribeGroups(_) | Self::ListGroups(_)) => other,
        }
    }
}

fn replace_success(code: &mut ErrorCode, error: ErrorCode) {
    if code.0 == 0 {
        *code = error;
    }
}
