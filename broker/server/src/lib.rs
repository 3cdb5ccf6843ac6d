//! The Taffrail broker: what stands between sockets, logs, groups and the controller.

pub mod admin;
pub mod config;
pub mod group;
pub mod logging;
pub mod metrics;
