//! The cluster controller of Taffrail on Kubernetes.

pub mod access;
pub mod admin;
pub mod calls;
pub mod cluster;
mod connection;
pub mod context;
pub mod counting;
pub mod events;
pub mod fleet;
pub mod lease;
pub mod metrics;
pub mod options;
pub mod run;
pub mod store;
pub mod topic;
