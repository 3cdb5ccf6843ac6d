//! The controller's shell: its memory in one local file ([`FileStore`]), its sessions with brokers
//! ([`LocalController`]), and the port at which they are served over the network ([`GrpcServer`]).
//!
//! What is decided here is nothing: [`taffrail_controller::Controller`] decides.

mod doorkeeper;
mod file_store;
mod grpc_server;
mod incoming;
mod local;

pub use file_store::{FileStore, OpenStoreError};
pub use taffrail_controller::Summary;

pub use doorkeeper::{Caller, Doorkeeper, SharedToken};
pub use grpc_server::{Controllers, Decider, GrpcServer};
pub use local::{ClusterDefaults, ControllerHandle, LocalController, LogDirs, StartControllerError};
