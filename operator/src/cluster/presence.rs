//! What is kept of each LogCluster between two looks at it, as long as it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::ResourceExt;
use taffrail_crds::LogCluster;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::defaults::cluster_defaults;
use super::memory::memory_owner;
use crate::fleet::{ClusterKey, Fleet, RunError};

/// How long is waited after the first failure in a row, and at the most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// See the module.
#[derive(Debug, Default)]
pub struct Presence {
    /// The LogClusters whose controllers were begun, by their uids: one that is made again under a name is another.
    running: Mutex<BTreeMap<ClusterKey, String>>,
    notes: parking_lot::Mutex<BTreeMap<ClusterKey, Notes>>,
}

#[derive(Debug)]
struct Notes {
    since: Instant,
    failures: u32,
    written: Option<Written>,
    memory: Option<MemoryOf>,
    filling: BTreeSet<i32>,
    missing: BTreeMap<i32, Instant>,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            failures: 0,
            written: None,
            memory: None,
            filling: BTreeSet::new(),
            missing: BTreeMap::new(),
        }
    }
}

/// The LogCluster's uid, and whether its volumes go with it.
type MemoryOf = (String, bool);

fn memory_of(cluster: &LogCluster) -> MemoryOf {
    (cluster.uid().unwrap_or_default(), cluster.spec.brokers.storage.delete_claim)
}

/// A status that was written.
#[derive(Debug)]
struct Written {
    cluster: LogCluster,
    at: Instant,
}

impl Presence {
    /// Sees to it that the cluster's controller runs.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn run(&self, key: &ClusterKey, cluster: &LogCluster, fleet: &Fleet) -> Result<(), RunError> {
        let uid = cluster.uid().unwrap_or_default();
        let mut running = self.running.lock().await;
        if running.get(key).is_some_and(|other| *other != uid) {
            fleet.remove(key).await;
        }
        running.insert(key.clone(), uid);
        fleet.run(key, memory_owner(cluster), cluster_defaults(&cluster.spec.resolved_config())).await
    }

    /// The LogCluster with this uid is gone: its controller stops, unless there is another of its name by now.
    pub async fn gone(&self, key: &ClusterKey, uid: &str, fleet: &Fleet) -> bool {
        let mut running = self.running.lock().await;
        if running.get(key).is_none_or(|running| running != uid) {
            return false;
        }
        running.remove(key);
        self.notes().remove(key);
        fleet.remove(key).await;
        true
    }

    /// All whose controllers were begun, with their uids.
    pub async fn all(&self) -> BTreeMap<ClusterKey, String> {
        self.running.lock().await.clone()
    }

    /// For how long the cluster is known here.
    pub fn since(&self, key: &ClusterKey) -> Duration {
        self.notes().entry(key.clone()).or_default().since.elapsed()
    }

    /// Whether it is known that what is remembered of `cluster` goes with whom it should.
    pub fn is_memory_settled(&self, key: &ClusterKey, cluster: &LogCluster) -> bool {
        self.notes().get(key).is_some_and(|notes| notes.memory == Some(memory_of(cluster)))
    }

    /// It does, as long as `cluster` is the one that it is.
    pub fn memory_settled(&self, key: &ClusterKey, cluster: &LogCluster) {
        self.notes().entry(key.clone()).or_default().memory = Some(memory_of(cluster));
    }

    /// The brokers that partitions are being moved onto.
    pub fn filling(&self, key: &ClusterKey) -> BTreeSet<i32> {
        self.notes().get(key).map(|notes| notes.filling.clone()).unwrap_or_default()
    }

    /// Partitions are being moved onto these brokers from now on.
    pub fn fill(&self, key: &ClusterKey, brokers: BTreeSet<i32>) {
        self.notes().entry(key.clone()).or_default().filling = brokers;
    }

    /// These brokers have no pods now; for how long each of them has had none.
    pub fn missing(&self, key: &ClusterKey, brokers: BTreeSet<i32>, now: Instant) -> BTreeMap<i32, Duration> {
        let mut notes = self.notes();
        let missing = &mut notes.entry(key.clone()).or_default().missing;
        missing.retain(|id, _| brokers.contains(id));
        let since = |id| (id, now - *missing.entry(id).or_insert(now));
        brokers.into_iter().map(since).collect()
    }

    /// A look came to its end.
    pub fn succeeded(&self, key: &ClusterKey) {
        self.notes().entry(key.clone()).or_default().failures = 0;
    }

    /// A look failed; after how long to look again.
    pub fn failed(&self, key: &ClusterKey) -> Duration {
        let mut notes = self.notes();
        let notes = notes.entry(key.clone()).or_default();
        let (first, most) = BACKOFF;
        let wait = first.saturating_mul(1 << notes.failures.min(16)).min(most);
        notes.failures = notes.failures.saturating_add(1);
        wait
    }

    /// How long to wait until the status may be written again, if it is too soon.
    pub fn status_rest(&self, key: &ClusterKey, between: Duration) -> Option<Duration> {
        let at = self.notes().get(key)?.written.as_ref()?.at;
        Some(between.saturating_sub(at.elapsed())).filter(|rest| !rest.is_zero())
    }

    /// The status was written, which made `cluster` of it.
    pub fn status_written(&self, key: &ClusterKey, cluster: LogCluster, at: Instant) {
        self.notes().entry(key.clone()).or_default().written = Some(Written { cluster, at });
    }

    /// `cluster` with the status that was last written, where a watch has not told of that yet.
    pub fn newest(&self, cluster: &LogCluster) -> LogCluster {
        let version =
            |cluster: &LogCluster| cluster.resource_version().and_then(|version| version.parse::<u64>().ok());
        let key = ClusterKey::new(cluster.namespace().unwrap_or_default(), cluster.name_any());
        let notes = self.notes();
        let written =
            notes.get(&key).and_then(|notes| notes.written.as_ref()).map(|written| &written.cluster);
        let newer =
            written.filter(|written| written.uid() == cluster.uid() && version(written) > version(cluster));
        let status = newer.map_or_else(|| cluster.status.clone(), |newer| newer.status.clone());
        LogCluster { status, ..cluster.clone() }
    }

    fn notes(&self) -> parking_lot::MutexGuard<'_, BTreeMap<ClusterKey, Notes>> {
        self.notes.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_came_and_went_again_is_missing_only_since_then() {
        let (presence, key) = (Presence::default(), ClusterKey::new("shop", "orders"));
        let (begun, minute) = (Instant::now(), Duration::from_secs(60));
        let missing = |brokers: &[i32], minutes| {
            presence.missing(&key, brokers.iter().copied().collect(), begun + minute * minutes)
        };
        assert_eq!(missing(&[1, 2], 0), [(1, Duration::ZERO), (2, Duration::ZERO)].into());
        assert_eq!(missing(&[2], 1), [(2, minute)].into());
        assert_eq!(missing(&[1, 2], 2), [(1, Duration::ZERO), (2, 2 * minute)].into());
    }

    #[test]
    fn failures_in_a_row_are_waited_for_longer_and_longer_each_cluster_by_itself() {
        let (presence, key, other) =
            (Presence::default(), ClusterKey::new("shop", "orders"), ClusterKey::new("shop", "other"));
        let waits: Vec<_> = (0..8).map(|_| presence.failed(&key).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(presence.failed(&other).as_secs(), 1);
        presence.succeeded(&key);
        assert_eq!(presence.failed(&key).as_secs(), 1);
        (0..100).for_each(|_| assert!(presence.failed(&key).as_secs() <= 60));
    }
}
