//! Several brokers and a controller in this process, over real sockets and files: what clients see of replication.
#![allow(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod clients;
mod compaction;
mod harness;
mod scripted;
#[path = "../wire/harness.rs"]
#[allow(dead_code, reason = "the tests of one broker use more of it")]
mod wire;

mod bit_rot;
mod deletion;
mod disks;
mod failover;
mod followers;
mod log_dir_moves;
mod peers;
mod reassignment;
mod resumption;
mod session;
