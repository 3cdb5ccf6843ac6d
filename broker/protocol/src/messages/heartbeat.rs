//! Shows that a member of a classic group is alive.

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "Heartbeat", versions = "0-4", flexible = "4+")]
pub struct HeartbeatRequest<'a> {
    /// The group's id.
    pub group_id: Cow<'a, str>,
    /// The group's generation.
    pub generation_id: i32,
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// The static member's id (KIP-345); null for a dynamic member.
    #[kafka(versions = "3+", default = "null")]
    pub group_instance_id: Option<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "Heartbeat", versions = "0-4", flexible = "4+")]
pub struct HeartbeatResponse {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
}
