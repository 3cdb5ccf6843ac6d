//! Hands the leader's assignment to the members of a classic group.

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "SyncGroup", versions = "0-5", flexible = "4+")]
pub struct SyncGroupRequest<'a> {
    /// The group's id.
    pub group_id: Cow<'a, str>,
    /// The group's generation.
    pub generation_id: i32,
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// The static member's id (KIP-345); null for a dynamic member.
    #[kafka(versions = "3+", default = "null")]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// The class of protocols, such as `consumer`.
    #[kafka(versions = "5+", default = "null", ignorable)]
    pub protocol_type: Option<Cow<'a, str>>,
    /// The protocol that all members share.
    #[kafka(versions = "5+", default = "null", ignorable)]
    pub protocol_name: Option<Cow<'a, str>>,
    /// The assignment of each member, sent by the leader alone.
    pub assignments: Vec<SyncGroupRequestAssignment<'a>>,
}

/// The assignment of one member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct SyncGroupRequestAssignment<'a> {
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// What the leader assigned to the member, opaque to the broker.
    pub assignment: Cow<'a, [u8]>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "SyncGroup", versions = "0-5", flexible = "4+")]
pub struct SyncGroupResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The class of protocols, such as `consumer`.
    #[kafka(versions = "5+", default = "null", ignorable)]
    pub protocol_type: Option<Cow<'a, str>>,
    /// The protocol that all members share.
    #[kafka(versions = "5+", default = "null", ignorable)]
    pub protocol_name: Option<Cow<'a, str>>,
    /// What the leader assigned to the member, opaque to the broker.
    pub assignment: Cow<'a, [u8]>,
}
