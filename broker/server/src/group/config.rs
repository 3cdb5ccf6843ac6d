//! The broker configuration that concerns groups.

/// The coordinator's settings, named as Kafka's keys; all defaults are Kafka 4.1's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long a new group waits for more members.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: most members in a group.
    pub max_size: i32,
    /// How long a member that has never had a generation may wait for one (Kafka: five minutes, not configurable).
    pub new_member_join_timeout_ms: i32,
    /// `offset.metadata.max.bytes`: longest metadata beside an offset, in UTF-16 units as Kafka counts.
    pub offset_metadata_max_bytes: i32,
    /// `offsets.retention.minutes`, in ms.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// `offsets.commit.timeout.ms`: how long a request waits for its record to be committed.
    pub offset_commit_timeout_ms: i32,
    /// Most bytes of records that may be on their way to the log and not yet committed; more are refused.
    pub max_uncommitted_bytes: usize,
    /// Largest batch of tombstones written at once, in bytes: below the partition's `max.message.bytes`.
    pub max_tombstone_batch_bytes: usize,
    /// Most bytes that one compressed batch may unfold to while loading.
    pub max_loaded_batch_bytes: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX,
            new_member_join_timeout_ms: 5 * 60 * 1_000,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval_ms: 600_000,
            offset_commit_timeout_ms: 5_000,
            max_uncommitted_bytes: 16 * 1024 * 1024,
            max_tombstone_batch_bytes: 512 * 1024,
            max_loaded_batch_bytes: 64 * 1024 * 1024,
        }
    }
}
