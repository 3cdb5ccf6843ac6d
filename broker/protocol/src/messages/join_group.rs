//! Makes a client a member of a classic group and starts a generation.

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "JoinGroup", versions = "0-9", flexible = "6+")]
pub struct JoinGroupRequest<'a> {
    /// The group's id.
    pub group_id: Cow<'a, str>,
    /// How long the member may be silent before it is taken for dead, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for the member to join again, in milliseconds; -1 for the session timeout.
    #[kafka(versions = "1+", default = "-1", ignorable)]
    pub rebalance_timeout_ms: i32,
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// The static member's id (KIP-345); null for a dynamic member.
    #[kafka(versions = "5+", default = "null")]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// The class of protocols, such as `consumer`.
    pub protocol_type: Cow<'a, str>,
    /// The protocols that the member supports, the most preferred first.
    pub protocols: Vec<JoinGroupRequestProtocol<'a>>,
    /// Why, for the log (KIP-800).
    #[kafka(versions = "8+", default = "null", ignorable)]
    pub reason: Option<Cow<'a, str>>,
}

/// A protocol that the member supports.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct JoinGroupRequestProtocol<'a> {
    /// The protocol's name.
    pub name: Cow<'a, str>,
    /// What the member says of itself under this protocol, opaque to the broker.
    pub metadata: Cow<'a, [u8]>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "JoinGroup", versions = "0-9", flexible = "6+")]
pub struct JoinGroupResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The group's generation; -1 if there is none.
    #[kafka(default = "-1")]
    pub generation_id: i32,
    /// The class of protocols, such as `consumer`.
    #[kafka(versions = "7+", default = "null", ignorable)]
    pub protocol_type: Option<Cow<'a, str>>,
    /// The protocol that all members share.
    #[kafka(nullable = "7+")]
    pub protocol_name: Option<Cow<'a, str>>,
    /// The member id of the group's leader.
    pub leader: Cow<'a, str>,
    /// Whether the leader keeps the assignment as it is (KIP-814).
    #[kafka(versions = "9+")]
    pub skip_assignment: bool,
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// The members, told to the leader alone.
    pub members: Vec<JoinGroupResponseMember<'a>>,
}

/// A member of the group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct JoinGroupResponseMember<'a> {
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// The static member's id (KIP-345); null for a dynamic member.
    #[kafka(versions = "5+", default = "null", ignorable)]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// What the member said of itself under the chosen protocol.
    pub metadata: Cow<'a, [u8]>,
}
