//! What the controller is configured with.

use std::collections::BTreeMap;

/// Whether a topic of that name may be made with that configuration: what is to be kept of it, or a sentence that says
/// why not.
pub type CheckTopicConfig =
    fn(name: &str, config: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String>;

/// What the controller is configured with.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Kafka's `num.partitions`: for a topic that does not say.
    pub default_partitions: i32,
    /// Kafka's `default.replication.factor`.
    pub default_replication_factor: i16,
    /// Kafka's `min.insync.replicas`, for a topic that does not set its own.
    pub min_insync_replicas: i32,
    /// Kafka's `unclean.leader.election.enable`, for a topic that does not set its own.
    pub unclean_leader_election: bool,
    /// Partitions that one topic may have.
    pub max_partitions_per_topic: i32,
    /// Partitions that all topics together may have.
    pub max_partitions: i32,
    /// Topics, partitions and configurations that may be waiting for what requests want of them; more are refused until
    /// these are through.
    pub max_waiting_parts: usize,
    /// Kafka's `broker.session.timeout.ms`: a broker not heard of for so long is fenced (rule 6).
    pub session_timeout_ms: u64,
    /// A broker whose session broke and that is not back after so long is fenced (rule 6). Long enough for a broker that
    /// lives to open the next one; failover waits for it.
    pub session_grace_ms: u64,
    /// How long a broker that asks to stop may have to wait until another replica has caught up that would be missed.
    pub shutdown_patience_ms: u64,
    /// How long replicas have to answer how far their logs reach, before an election that may lose records.
    pub log_ends_timeout_ms: u64,
    /// How long proposals of in-sync replicas may wait so that those of one slice share a write; 0 where a write costs
    /// little.
    pub isr_coalesce_ms: u64,
    /// Kafka's `auto.leader.rebalance.enable`.
    pub auto_leader_rebalance: bool,
    /// Kafka's `leader.imbalance.check.interval.seconds`, in milliseconds.
    pub leader_imbalance_check_ms: u64,
    /// Kafka's `leader.imbalance.per.broker.percentage`.
    pub leader_imbalance_percentage: usize,
    /// Checks the configuration that a topic shall have.
    pub check_config: CheckTopicConfig,
}

impl Default for Policy {
    /// Kafka's defaults but for the session time, which is what a silent death costs, and any topic configuration accepted.
    fn default() -> Self {
        Self {
            default_partitions: 1,
            default_replication_factor: 1,
            min_insync_replicas: 1,
            unclean_leader_election: false,
            max_partitions_per_topic: 100_000,
            max_partitions: 1_000_000,
            max_waiting_parts: 20_000,
            session_timeout_ms: 3_000,
            session_grace_ms: 30,
            shutdown_patience_ms: 3_000,
            log_ends_timeout_ms: 2_000,
            isr_coalesce_ms: 0,
            auto_leader_rebalance: true,
            leader_imbalance_check_ms: 300_000,
            leader_imbalance_percentage: 10,
            check_config: |_, config| Ok(config.clone()),
        }
    }
}
