//! The controller's shell: its memory in one local file ([`FileStore`]) and its sessions with brokers
//! ([`LocalController`]).
//!
//! What is decided here is nothing: [`taffrail_controller::Controller`] decides.

mod file_store;
mod local;

pub use file_store::{FileStore, OpenStoreError};
pub use local::{ClusterDefaults, ControllerHandle, LocalController, StartControllerError};
