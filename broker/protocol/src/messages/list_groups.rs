//! Lists the groups that a broker coordinates.

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "ListGroups", versions = "0-5", flexible = "3+")]
pub struct ListGroupsRequest<'a> {
    /// The states to list; empty for all.
    #[kafka(versions = "4+")]
    pub states_filter: Vec<Cow<'a, str>>,
    /// The types to list; empty for all.
    #[kafka(versions = "5+")]
    pub types_filter: Vec<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "ListGroups", versions = "0-5", flexible = "3+")]
pub struct ListGroupsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The groups.
    pub groups: Vec<ListedGroup<'a>>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListedGroup<'a> {
    /// The group's id.
    pub group_id: Cow<'a, str>,
    /// The class of protocols, such as `consumer`.
    pub protocol_type: Cow<'a, str>,
    /// The group's state, by name.
    #[kafka(versions = "4+", ignorable)]
    pub group_state: Cow<'a, str>,
    /// The group's type, by name.
    #[kafka(versions = "5+", ignorable)]
    pub group_type: Cow<'a, str>,
}
