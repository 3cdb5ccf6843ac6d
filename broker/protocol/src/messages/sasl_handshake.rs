//! Chooses the SASL mechanism of the connection (KIP-43).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "SaslHandshake", versions = "0-1")]
pub struct SaslHandshakeRequest<'a> {
    /// The mechanism that the client chose.
    pub mechanism: Cow<'a, str>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "SaslHandshake", versions = "0-1")]
pub struct SaslHandshakeResponse<'a> {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The mechanisms that the broker offers.
    pub mechanisms: Vec<Cow<'a, str>>,
}
