//! The broker's answers on the wire: every API in every version, decoded strictly, and what only shows between requests.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod admin;
mod deletion;
mod every_version;
mod fetch;
mod harness;
mod log_dirs;
mod produce;
mod topics;
