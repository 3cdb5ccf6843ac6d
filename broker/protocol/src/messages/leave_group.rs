//! Takes members out of a classic group (KIP-345).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "LeaveGroup", versions = "0-5", flexible = "4+")]
pub struct LeaveGroupRequest<'a> {
    /// The group's id.
    pub group_id: Cow<'a, str>,
    /// The member that leaves.
    #[kafka(versions = "0-2")]
    pub member_id: Cow<'a, str>,
    /// The members that leave.
    #[kafka(versions = "3+")]
    pub members: Vec<MemberIdentity<'a>>,
}

/// A member that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MemberIdentity<'a> {
    /// The member's id.
    #[kafka(versions = "3+")]
    pub member_id: Cow<'a, str>,
    /// The static member's id (KIP-345); null for a dynamic member.
    #[kafka(versions = "3+", default = "null")]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// Why, for the log (KIP-800).
    #[kafka(versions = "5+", default = "null", ignorable)]
    pub reason: Option<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "LeaveGroup", versions = "0-5", flexible = "4+")]
pub struct LeaveGroupResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The members.
    #[kafka(versions = "3+")]
    pub members: Vec<MemberResponse<'a>>,
}

/// How it went for one member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MemberResponse<'a> {
    /// The member's id.
    #[kafka(versions = "3+")]
    pub member_id: Cow<'a, str>,
    /// The static member's id (KIP-345); null for a dynamic member.
    #[kafka(versions = "3+")]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// What went wrong, or `NONE`.
    #[kafka(versions = "3+")]
    pub error_code: ErrorCode,
}
