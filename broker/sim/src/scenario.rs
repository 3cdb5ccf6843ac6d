//! What one seed plays: the cluster's shape, and which faults are within what a user is promised.

use clap::ValueEnum;

use crate::rng::Rng;

/// What the disks may do, and so what must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Promise {
    /// Processes die as often as they like; no disk loses anything. Any `min.insync.replicas` will do.
    ProcessCrashes,
    /// One broker may lose its disk or its power at any time, again and again; min.insync.replicas is 2.
    OneDisk,
    /// `flush.messages=1`: every machine may lose power at any time, all of them at once too.
    Flushed,
    /// As [`Promise::ProcessCrashes`], and the controllers' store is restored from a backup (rule 25). Nothing that was
    /// acknowledged is lost by that as long as all brokers live when the controller begins with the restored store, and
    /// until it has heard them: only they know what was decided since the backup. Topics made since are gone, and people's
    /// other wishes (settings, deletions, moves that have not ended) are those of the backup.
    Restored,
}

/// What one seed plays.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// What must survive.
    pub promise: Promise,
    /// Brokers, with ids from 1.
    pub brokers: i32,
    /// Partitions of each topic.
    pub partitions: i32,
    /// Names of the topics that there are from the start.
    pub topics: Vec<&'static str>,
    /// Replicas of each partition.
    pub replication_factor: i16,
    /// `min.insync.replicas`.
    pub min_isr: i32,
    /// `flush.messages`.
    pub flush_messages: i64,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `retention.ms`; -1 for ever.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 for all.
    pub retention_bytes: i64,
    /// Whether old records are deleted, by retention and by clients.
    pub deletes: bool,
    /// Whether all topics are compacted. Nothing else is deleted then.
    pub compacts: bool,
    /// `replica.lag.time.max.ms`.
    pub lag_time_max_ms: i64,
    /// For so long clients work and faults strike. Milliseconds.
    pub trouble_ms: u64,
    /// How many faults strike.
    pub faults: u64,
    /// The only broker whose disk may lose or fail anything, under [`Promise::OneDisk`].
    pub victim: i32,
    /// Of a thousand messages between brokers and clients, so many are lost.
    pub loss_permille: u64,
    /// So many arrive twice.
    pub twice_permille: u64,
    /// Of a thousand requests to the store, so many are not simply answered.
    pub store_trouble_permille: u64,
    /// How long proposals of in-sync replicas wait for one another at the controller. Milliseconds.
    pub isr_coalesce_ms: u64,
}

impl Scenario {
    /// Draws it; with `promise`, under that one.
    pub fn draw(seed: u64, promise: Option<Promise>) -> Self {
        let mut rng = Rng::new(seed ^ 0x7461_6666_7261_696c);
        let drawn = match rng.below(10) {
            0..4 => Promise::ProcessCrashes,
            4..7 => Promise::OneDisk,
            7..9 => Promise::Flushed,
            _ => Promise::Restored,
        };
        let promise = promise.unwrap_or(drawn);
        let brokers = if rng.percent(70) { 3 } else { rng.between(4, 5) as i32 };
        let min_isr = match promise {
            Promise::OneDisk => 2,
            _ => rng.between(1, 2) as i32,
        };
        let replication_factor = if min_isr == 1 && rng.percent(30) { 2 } else { 3 };
        // Drawn apart, so that the rest of a seed is what it was.
        let mut of_deletion = Rng::new(seed ^ 0x6465_6c65_7465_7300);
        let deletes = of_deletion.percent(40);
        let retention_ms = of_deletion.pick(&[-1, 1_000, 5_000]).filter(|_| deletes).unwrap_or(-1);
        let retention_bytes = of_deletion.pick(&[-1, 0, 1_500]).filter(|_| deletes).unwrap_or(-1);
        let mut of_compaction = Rng::new(seed ^ 0x636f_6d70_6163_7400);
        let compacts = !deletes && of_compaction.percent(50);
        Self {
            seed,
            promise,
            brokers,
            partitions: rng.between(1, 2) as i32,
            topics: if rng.percent(70) { vec!["a"] } else { vec!["a", "b"] },
            replication_factor,
            min_isr,
            flush_messages: if promise == Promise::Flushed { 1 } else { i64::MAX },
            segment_bytes: match rng.percent(50) {
                _ if deletes => of_deletion.pick(&[300, 1_000]).unwrap_or(300),
                _ if compacts => of_compaction.pick(&[300, 1_000]).unwrap_or(300),
                true => 2_000,
                false => 1 << 20,
            },
            retention_ms,
            retention_bytes,
            deletes,
            compacts,
            lag_time_max_ms: rng.between(800, 4_000) as i64,
            trouble_ms: rng.between(15_000, 40_000),
            faults: rng.between(4, 25),
            victim: rng.between(1, brokers as u64) as i32,
            loss_permille: rng.pick(&[0, 5, 30]).unwrap_or(0),
            twice_permille: rng.pick(&[0, 5, 30]).unwrap_or(0),
            store_trouble_permille: rng.pick(&[0, 20, 100]).unwrap_or(0),
            isr_coalesce_ms: rng.pick(&[0, 150]).unwrap_or(0),
        }
    }
}
