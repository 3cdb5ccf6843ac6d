//! Finds the coordinators of groups and transactional ids (KIP-699).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "FindCoordinator", versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorRequest<'a> {
    /// The group or transactional id.
    #[kafka(versions = "0-3")]
    pub key: Cow<'a, str>,
    /// What the keys are: 0 groups, 1 transactional ids, 2 share partitions.
    #[kafka(versions = "1+")]
    pub key_type: i8,
    /// The groups or transactional ids whose coordinators are asked for.
    #[kafka(versions = "4+")]
    pub coordinator_keys: Vec<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "FindCoordinator", versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, or `NONE`.
    #[kafka(versions = "0-3")]
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    #[kafka(versions = "1-3", ignorable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The broker's id.
    #[kafka(versions = "0-3")]
    pub node_id: i32,
    /// The host to connect to.
    #[kafka(versions = "0-3")]
    pub host: Cow<'a, str>,
    /// The port to connect to.
    #[kafka(versions = "0-3")]
    pub port: i32,
    /// One answer per key.
    #[kafka(versions = "4+")]
    pub coordinators: Vec<Coordinator<'a>>,
}

/// The coordinator of one key.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct Coordinator<'a> {
    /// The group or transactional id.
    #[kafka(versions = "4+")]
    pub key: Cow<'a, str>,
    /// The broker's id.
    #[kafka(versions = "4+")]
    pub node_id: i32,
    /// The host to connect to.
    #[kafka(versions = "4+")]
    pub host: Cow<'a, str>,
    /// The port to connect to.
    #[kafka(versions = "4+")]
    pub port: i32,
    /// What went wrong, or `NONE`.
    #[kafka(versions = "4+")]
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    #[kafka(versions = "4+", ignorable)]
    pub error_message: Option<Cow<'a, str>>,
}
