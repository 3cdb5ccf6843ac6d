//! Describes classic groups and their members.

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "DescribeGroups", versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsRequest<'a> {
    /// The ids of the groups asked for.
    pub groups: Vec<Cow<'a, str>>,
    /// Whether to say what the client may do to the groups.
    #[kafka(versions = "3+")]
    pub include_authorized_operations: bool,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "DescribeGroups", versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The groups.
    pub groups: Vec<DescribedGroup<'a>>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribedGroup<'a> {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    #[kafka(versions = "6+", default = "null")]
    pub error_message: Option<Cow<'a, str>>,
    /// The group's id.
    pub group_id: Cow<'a, str>,
    /// The group's state, by name.
    pub group_state: Cow<'a, str>,
    /// The class of protocols, such as `consumer`.
    pub protocol_type: Cow<'a, str>,
    /// The name of the chosen protocol; empty if there is none.
    pub protocol_data: Cow<'a, str>,
    /// The members.
    pub members: Vec<DescribedGroupMember<'a>>,
    /// What the client may do to the group, as a bit field; `i32::MIN` if not asked for.
    #[kafka(versions = "3+", default = "i32::MIN")]
    pub authorized_operations: i32,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribedGroupMember<'a> {
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// The static member's id (KIP-345); null for a dynamic member.
    #[kafka(versions = "4+", default = "null", ignorable)]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// The client id the member joined with.
    pub client_id: Cow<'a, str>,
    /// Where the member connects from.
    pub client_host: Cow<'a, str>,
    /// What the member said of itself under the chosen protocol.
    pub member_metadata: Cow<'a, [u8]>,
    /// What is assigned to the member, opaque to the broker.
    pub member_assignment: Cow<'a, [u8]>,
}
