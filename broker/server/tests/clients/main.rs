//! The real binary, served to librdkafka and to bare sockets. Every test has a broker of its own, on a free port, over a
//! directory of its own.
#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod broker;
mod client;
mod wire;

mod admin;
mod apart;
mod cluster;
mod crash;
mod groups;
mod hostile;
mod log_tools;
mod produce_fetch;
mod usage;
