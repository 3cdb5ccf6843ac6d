//! Sessions over the network: the contract in gRPC (`proto/taffrail/control/v1/control.proto`).
//!
//! The messages of [`crate::session`] are translated to those of the contract ([`to`]) and back ([`from`]), long ones in
//! pieces ([`pieces`]). [`client`] is the broker's side; the controller's is in its service crate.

pub mod client;
pub mod from;
pub mod pieces;
pub mod sentence;
pub mod stream;
pub mod to;
pub mod token;

use std::time::Duration;

/// Messages and service, generated from the contract.
#[allow(missing_docs, rust_2018_idioms, clippy::all, clippy::unwrap_used, reason = "generated code")]
pub mod proto {
    tonic::include_proto!("taffrail.control.v1");
}

/// A list that encodes to more than this is sent in pieces.
pub const PIECE_BYTES: usize = 64 * 1024;
/// A request or an answer that encodes to more than this is not sent; lists are cut long before.
pub const LONGEST_REQUEST_BYTES: usize = 16 * 1024 * 1024;
/// The longest message that is read: one element may be longer than a piece.
pub const LONGEST_MESSAGE_BYTES: usize = 2 * LONGEST_REQUEST_BYTES;
/// How often a side that hears nothing asks whether the other is there ...
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// ... and how long the other may take to answer before the session is over.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The name in the certificate of a controller that speaks TLS.
pub const CONTROLLER_NAME: &str = "controller.taffrail.dev";
/// The metadata key that the token goes under, after the scheme [`BEARER`].
pub const AUTHORIZATION: &str = "authorization";
/// The scheme of the token.
pub const BEARER: &str = "Bearer ";

/// A message that is not one of the contract, as far as this release knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidMessageError {
    /// Which part of the message.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl InvalidMessageError {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

#[cfg(test)]
mod tests;
