//! The broker: everything that requests share.

use std::ops::RangeInclusive;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock;
use crate::cluster::Cluster;
use crate::cluster_view::{ClusterView, Leader};
use crate::config::BrokerConfig;
use crate::config::live::LiveConfig;
use crate::controller_link::ControllerLink;
use crate::fetch_session::{FetchSessionCache, FetchSessionLimits};
use crate::group::GroupConfig;
use crate::groups::Groups;
use crate::lifecycle;
use crate::log_dir_moves::LogDirMoves;
use crate::log_dirs::{LogDirs, ServedLogDir};
use crate::maintenance::SyncQueue;
use crate::metrics::{
    DirSample, LedSample, LogSample, MemorySample, Metrics, MetricsSource, MovesSample, ReplicationSample,
};
use crate::net::listener::Admission;
use crate::net::memory::MemoryBudget;
use crate::producer_ids::ProducerIds;
use crate::random;
use crate::replication::Errands;
use crate::replication::quota::Quota;

/// A fetch session unused for this long may give way to another (Kafka: two minutes, not configurable).
const SESSION_EVICTION_MS: i64 = 120_000;
/// Partitions that all fetch sessions together may remember: some 100 bytes each.
const SESSION_PARTITIONS: usize = 500_000;
/// A frame of three-byte elements decodes to twenty times its size, and finding and encoding the answer takes several
/// times that: one decoded request may take no more than this part of the memory for requests, ...
const DECODED_SHARE: usize = 32;
/// ... but at least and at most so much. The upper end holds a million partitions.
const DECODED: RangeInclusive<usize> = 1024 * 1024..=64 * 1024 * 1024;

/// What every request may use.
pub struct Broker {
    /// The broker's id.
    pub id: i32,
    /// The directories of the logs.
    pub log_dirs: Arc<LogDirs>,
    /// The moves of replicas between them.
    pub log_dir_moves: Arc<LogDirMoves>,
    /// Kafka's broker keys with the values that the broker was started with.
    pub config: BrokerConfig,
    /// The same with what was set while it runs: for keys that can be, and for the defaults of topics.
    pub live: LiveConfig,
    /// Brokers, topics, and the replicas that live here.
    pub cluster: Cluster,
    /// The way to ask the controller.
    pub controller: ControllerLink,
    /// Incremental fetch sessions.
    pub fetch_sessions: Mutex<FetchSessionCache>,
    /// The group coordinators of this broker.
    pub groups: Arc<Groups>,
    /// Ids for idempotent producers.
    pub producer_ids: ProducerIds,
    /// Where replicas that began a new segment wait to be synced.
    pub sync_queue: SyncQueue,
    /// What the replicas that are being filled here have fetched.
    pub follower_quota: Quota,
    /// What was sent to replicas elsewhere that are being filled.
    pub leader_quota: Quota,
    /// What is to be done for the replicas.
    pub errands: Arc<Errands>,
    /// Memory that requests and unsent answers may hold.
    pub request_memory: Arc<MemoryBudget>,
    /// Memory that the arrays of one request may take once they are decoded.
    pub decoded_limit_bytes: usize,
    /// Who may connect.
    pub admission: Arc<Admission>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Broker {
    /// A broker that knows nothing of its cluster yet but the id.
    pub fn new(
        id: i32,
        log_dirs: Arc<LogDirs>,
        config: BrokerConfig,
        cluster_id: &str,
        controller: ControllerLink,
        sync_queue: SyncQueue,
        metrics: Arc<Metrics>,
    ) -> Self {
        let sessions = FetchSessionLimits {
            slots: usize::try_from(config.max_incremental_fetch_session_cache_slots).unwrap_or(0),
            eviction_ms: SESSION_EVICTION_MS,
            partitions: SESSION_PARTITIONS,
        };
        let request_memory = usize::try_from(config.queued_max_request_bytes).unwrap_or(0);
        let seed = random::below(i64::from(i32::MAX));
        Self {
            id,
            log_dirs,
            log_dir_moves: Arc::default(),
            live: LiveConfig::new(id, &config),
            cluster: Cluster::new(cluster_id.into()),
            controller,
            fetch_sessions: Mutex::new(FetchSessionCache::new(sessions, u32::try_from(seed).unwrap_or(0))),
            groups: Groups::new(group_config(&config)),
            producer_ids: ProducerIds::default(),
            sync_queue,
            follower_quota: Quota::default(),
            leader_quota: Quota::default(),
            errands: Arc::default(),
            request_memory: MemoryBudget::new(request_memory),
            decoded_limit_bytes: (request_memory / DECODED_SHARE).clamp(*DECODED.start(), *DECODED.end()),
            admission: lifecycle::admission(&config),
            metrics,
            config,
        }
    }
}

fn group_config(config: &BrokerConfig) -> GroupConfig {
    GroupConfig {
        min_session_timeout_ms: config.group_min_session_timeout_ms,
        max_session_timeout_ms: config.group_max_session_timeout_ms,
        initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
        max_size: config.group_max_size,
        offset_metadata_max_bytes: config.offset_metadata_max_bytes,
        offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
        offset_commit_timeout_ms: config.offsets_commit_timeout_ms,
        ..GroupConfig::default()
    }
}

impl MetricsSource for Broker {
    fn logs(&self) -> Vec<LogSample> {
        let replicas = self.cluster.replicas().into_iter();
        replicas
            .map(|(name, replica)| {
                let replica = replica.lock();
                let log = replica.log();
                LogSample {
                    topic: name.topic.into(),
                    partition: name.partition,
                    size_bytes: log.size(),
                    segments: log.segment_count() as u64,
                    log_start_offset: log.log_start_offset(),
                    log_end_offset: log.log_end_offset(),
                    high_watermark: replica.high_watermark(),
                    leader: replica.check_leader(-1).is_ok(),
                }
            })
            .collect()
    }

    fn log_dirs(&self) -> Vec<DirSample> {
        let sample = |dir: &ServedLogDir| DirSample { path: dir.path.clone(), status: dir.status() };
        self.log_dirs.iter().map(sample).collect()
    }

    fn log_dir_moves(&self) -> MovesSample {
        let moves = &self.log_dir_moves;
        MovesSample { under_way: moves.under_way().len() as u64, copied_bytes: moves.copied_bytes() }
    }

    fn replication(&self) -> ReplicationSample {
        let now_ms = clock::now_ms();
        let mut sample = ReplicationSample::default();
        let view = ClusterView::new(&self.cluster, "");
        for topic in self.cluster.topics() {
            for partition in &topic.partitions {
                sample.offline_partitions += u64::from(view.leader(&partition.record) == Leader::None);
                sample.offline_replicas += u64::from(partition.absence.is_some());
                let Some(replica) = partition.replica.as_ref().map(|replica| replica.lock()) else {
                    continue;
                };
                sample.offline_replicas +=
                    u64::from(replica.log().poisoned().is_some() || replica.held().is_some());
                if replica.led_epoch().is_none() || partition.record.replicas.len() < 2 {
                    continue;
                }
                sample.led.push(LedSample {
                    topic: Arc::clone(&topic.name),
                    partition: partition.record.partition,
                    in_sync: replica.record().isr.len(),
                    under_replicated: replica.is_under_replicated(),
                    under_min_isr: replica.is_under_min_isr(),
                    at_min_isr: replica.is_at_min_isr(),
                    followers: replica.health(now_ms).followers,
                });
            }
        }
        sample
    }

    fn groups(&self) -> Vec<(&'static str, u64)> {
        self.groups.count_by_state()
    }

    fn memory(&self) -> MemorySample {
        MemorySample {
            used_bytes: self.request_memory.used() as u64,
            limit_bytes: self.request_memory.limit() as u64,
        }
    }
}
