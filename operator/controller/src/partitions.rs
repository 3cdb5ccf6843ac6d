//! Decisions on a [`PartitionSlice`]: records made, removed and mended.

use taffrail_protocol::Uuid;

use crate::cell::Verdict;
use crate::election;
use crate::model::{ClusterState, PartitionSlice, Piece, TopicEntry};
use crate::placement;
use crate::policy::Policy;

/// Something to be decided on a partition slice. Each is a wish for a state, not an act: what is already so stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartitionIntent {
    /// The slice shall hold the records of the topic's pieces that name it.
    Add { topic_id: Uuid },
    /// The slice shall hold no record of the topic.
    Remove { topic_id: Uuid },
    /// Each record shall be as [`election::mend`] would have it.
    Mend,
}

/// Makes the records of `entry`'s pieces in slice `number`; whether any was missing.
pub(crate) fn add(
    slice: &mut PartitionSlice,
    number: u32,
    name: &str,
    entry: &TopicEntry,
    cluster: &ClusterState,
    policy: &Policy,
) -> bool {
    let min_isr = min_insync_replicas(entry, policy);
    let pieces: Vec<&Piece> = entry.pieces.iter().filter(|piece| piece.slice == number).collect();
    let mut added = false;
    for piece in pieces {
        let placed =
            placement::place(cluster, entry.creation, piece.first, piece.count, piece.replication_factor);
        let replicas = if piece.assignments.is_empty() { placed } else { piece.assignments.clone() };
        let topic = slice.topic_or_insert(entry.topic_id, name, entry.creation);
        for (partition, replicas) in piece.partitions().zip(replicas) {
            if topic.partition(partition).is_none() {
                added |= topic.insert(election::first_record(partition, replicas, min_isr, cluster));
            }
        }
    }
    added
}

/// `min.insync.replicas` of a topic; rule 23 bounds it by the number of replicas.
fn min_insync_replicas(entry: &TopicEntry, policy: &Policy) -> i32 {
    let own = entry.config.get("min.insync.replicas").and_then(|value| value.trim().parse().ok());
    own.unwrap_or(policy.min_insync_replicas)
}

/// Whether any record of `slice` is not as [`election::mend`] would have it.
pub(crate) fn needs_mending(slice: &PartitionSlice, cluster: &ClusterState) -> bool {
    let mut records = slice.topics.iter().flat_map(|topic| &topic.partitions);
    records.any(|record| election::mend(record, cluster).is_some())
}

/// Mends each record; whether any had to be.
pub(crate) fn mend(slice: &mut PartitionSlice, cluster: &ClusterState) -> bool {
    let mut changed = false;
    for record in slice.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if let Some(mended) = election::mend(record, cluster) {
            *record = mended;
            changed = true;
        }
    }
    changed
}

/// Turns an intent's effect into a verdict.
pub(crate) fn verdict(changed: bool, intent: PartitionIntent) -> Verdict<PartitionIntent, ()> {
    if changed { Verdict::Changed(intent, ()) } else { Verdict::Unchanged(intent, ()) }
}

/// How many of `entry`'s partitions have their records, counting whole rounds only: a topic, and each growth of it,
/// becomes visible at once. `slice_of` finds a committed slice.
pub(crate) fn visible_count<'a>(
    entry: &TopicEntry,
    slice_of: impl Fn(u32) -> Option<&'a PartitionSlice>,
) -> i32 {
    let mut visible = 0;
    for round in entry.pieces.chunk_by(|a, b| a.round == b.round) {
        for piece in round {
            let topic = slice_of(piece.slice).and_then(|slice| slice.topic(entry.topic_id));
            let complete =
                topic.is_some_and(|topic| piece.partitions().all(|p| topic.partition(p).is_some()));
            if !complete {
                return visible;
            }
        }
        visible += round.iter().map(|piece| piece.count).sum::<i32>();
    }
    visible
}
