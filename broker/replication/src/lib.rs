//! How the replicas of a partition agree on what is committed: leader and follower, in-sync replicas, high watermark,
//! truncation by leader epoch (REPLICATION.md; KIP-101, 279, 320, 497, 841, 966).
//!
//! Pure: no clock, no tasks, no sockets. Time and bytes are arguments; what is to be told to others is returned. The
//! broker's shell and the simulator drive the same types.
//!
//! - [`partition`]: one replica with its log, its role and the requests that wait on it. What a broker uses.
//! - [`leader`]: what a leader knows and decides, without a log; [`isr`] and [`progress`] are its parts.
//! - [`follower`]: what a follower checks and decides, without a log.
//! - [`replica_fetch`]: what leader and follower say to one another.
//! - [`topics`], [`brokers`]: what the controller's updates mean, given what is known.
//! - [`disk`]: what a broker keeps beside its logs, and what it concludes from it when it starts.
//! - [`positions`]: which offset counts as a log's end where records must be on the disk first.

pub mod brokers;
pub mod disk;
pub mod follower;
pub mod isr;
pub mod leader;
pub mod partition;
pub mod positions;
pub mod progress;
pub mod replica_fetch;
pub mod topics;
