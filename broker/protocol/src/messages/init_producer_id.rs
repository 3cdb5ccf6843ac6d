//! Gives a producer its id and epoch (KIP-98).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "InitProducerId", versions = "0-5", flexible = "2+")]
pub struct InitProducerIdRequest<'a> {
    /// The transactional id; null outside of transactions.
    pub transactional_id: Option<Cow<'a, str>>,
    /// How long a transaction may idle before it is aborted, in milliseconds.
    pub transaction_timeout_ms: i32,
    /// The producer's id; -1 if it has none.
    #[kafka(versions = "3+", default = "-1")]
    pub producer_id: i64,
    /// The producer's epoch; -1 if it has none.
    #[kafka(versions = "3+", default = "-1")]
    pub producer_epoch: i16,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "InitProducerId", versions = "0-5", flexible = "2+")]
pub struct InitProducerIdResponse {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The producer's id; -1 if it has none.
    #[kafka(default = "-1")]
    pub producer_id: i64,
    /// The producer's epoch; -1 if it has none.
    pub producer_epoch: i16,
}
