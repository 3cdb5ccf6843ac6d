//! How the replicas of a partition agree on what is committed: leader and follower, in-sync replicas, high watermark,
//! truncation by leader epoch (REPLICATION.md; KIP-101, 279, 320, 497, 841, 966).
//!
//! Pure: no clock, no tasks, no sockets. Time and bytes are arguments; what is to be told to others is returned. The
//! broker's shell and the simulator drive the same types.

pub mod disk;
pub mod partition;
