//! Takes a broker that will not come back out of the cluster (KIP-631).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "UnregisterBroker", versions = "0", flexible = "0+")]
pub struct UnregisterBrokerRequest {
    /// The broker's id.
    pub broker_id: i32,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "UnregisterBroker", versions = "0", flexible = "0+")]
pub struct UnregisterBrokerResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    pub error_message: Option<Cow<'a, str>>,
}
