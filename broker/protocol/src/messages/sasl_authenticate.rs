//! Carries the SASL exchange of the mechanism that was chosen before (KIP-152).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "SaslAuthenticate", versions = "0-2", flexible = "2+")]
pub struct SaslAuthenticateRequest<'a> {
    /// The client's message, as the mechanism defines it.
    pub auth_bytes: Cow<'a, [u8]>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "SaslAuthenticate", versions = "0-2", flexible = "2+")]
pub struct SaslAuthenticateResponse<'a> {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    pub error_message: Option<Cow<'a, str>>,
    /// The broker's message, as the mechanism defines it.
    pub auth_bytes: Cow<'a, [u8]>,
    /// After how many milliseconds the client has to authenticate again; 0 for never (KIP-368).
    #[kafka(versions = "1+", ignorable)]
    pub session_lifetime_ms: i64,
}
