//! What must hold whatever happens, a file for each invariant.

pub mod acknowledged;
pub mod committed;
pub mod epochs;
pub mod high_watermark;
pub mod leaders;
pub mod log_start;
pub mod producers;
pub mod progress;
pub mod superseded;

use taffrail_protocol::Uuid;

/// A partition: the topic's id and the partition's number.
pub type Tp = (Uuid, i32);

/// For people: the front of the topic's id, and the partition.
pub fn name(tp: Tp) -> String {
    let id = tp.0.0;
    format!("{:02x}{:02x}{:02x}-{}", id[0], id[1], id[2], tp.1)
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name: that of its file.
    pub invariant: &'static str,
    /// What was seen.
    pub text: String,
}

impl Violation {
    /// Says what was seen.
    pub fn new(invariant: &'static str, text: impl Into<String>) -> Self {
        Self { invariant, text: text.into() }
    }
}

/// Holds, or not.
pub type Check = Result<(), Violation>;

/// All invariants' memories.
#[derive(Debug, Default)]
pub struct Checks {
    /// Acknowledged records are committed, and stay.
    pub acknowledged: acknowledged::Acknowledged,
    /// What is committed once is the same on every replica and for ever.
    pub committed: committed::Committed,
    /// Epochs only grow.
    pub epochs: epochs::Epochs,
    /// The high watermark never falls.
    pub high_watermark: high_watermark::HighWatermarks,
    /// Only what somebody decided to delete is gone.
    pub log_starts: log_start::LogStarts,
    /// One leader in each epoch.
    pub leaders: leaders::Leaders,
}

impl Checks {
    /// Of a cluster whose topics are compacted, or are not.
    pub fn of(compacts: bool) -> Self {
        Self { committed: committed::Committed::of(compacts), ..Self::default() }
    }
}
