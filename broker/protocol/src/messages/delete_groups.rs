//! Deletes groups that have no members (KIP-229).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "DeleteGroups", versions = "0-2", flexible = "2+")]
pub struct DeleteGroupsRequest<'a> {
    /// The groups to delete.
    pub groups_names: Vec<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "DeleteGroups", versions = "0-2", flexible = "2+")]
pub struct DeleteGroupsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The answers.
    pub results: Vec<DeletableGroupResult<'a>>,
}

/// How it went for one group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeletableGroupResult<'a> {
    /// The group's id.
    pub group_id: Cow<'a, str>,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
}
