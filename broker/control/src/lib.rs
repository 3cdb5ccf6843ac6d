//! The contract between a broker and its cluster controller.
//!
//! A broker holds one bidirectional [`session`] with the active controller: registration, heartbeats and
//! administrative requests go up; assignments, configuration and answers come down. The same messages travel in
//! process (`taffrail dev`) and over the network. The crate also owns what both sides must agree on without asking
//! each other: the tables of configuration keys of topics ([`topic_config`]) and brokers ([`broker_config`]), how a
//! configuration value is read and checked ([`config_value`]), and which slice a topic is in ([`slices`]).

pub mod broker_config;
pub mod config_value;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod session;
pub mod slices;
pub mod topic_config;
