//! The states of a classic group (`org.apache.kafka.coordinator.group.classic.ClassicGroupState`).

/// Where a group stands. Legal transitions:
///
/// | from | to | when |
/// |---|---|---|
/// | Empty | PreparingRebalance | a member joins |
/// | PreparingRebalance | CompletingRebalance | all members rejoined, or their time is up |
/// | PreparingRebalance | Empty | nobody rejoined |
/// | CompletingRebalance | Stable | the leader's assignment is committed |
/// | CompletingRebalance, Stable | PreparingRebalance | a member comes, goes, changes or falls silent |
/// | Empty | Dead | deleted, or its offsets have expired |
/// | any | Dead | leadership is lost |
///
/// No group is kept in Dead: it is what a missing group is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// No members; lives as long as its offsets.
    Empty,
    /// Collects the members of the next generation.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Every member has, or may fetch, its assignment.
    Stable,
    /// There is no such group.
    Dead,
}

impl GroupState {
    /// Kafka's name, as it stands in responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}
