//! What an update of the controller means, given what is known of topics (rules 2, 18). The broker's shell and the
//! simulator only carry it out.
//!
//! Two controllers may both believe that they are the active one, and the one that is not may know topics that were
//! deleted, and not know those that were made since. A topic that this broker heard to be deleted does not come back to
//! life, and one does not give way to an older one of its name: what is produced to it would be lost with it.
//!
//! A topic that a snapshot lacks goes, and may come back. What this broker knew of its partitions must not go with it: a
//! record from before would otherwise pass for news, and make this broker the leader of an epoch in which it had led with
//! other in-sync replicas already.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use taffrail_control::session::{ClusterUpdate, HeldPartition, PartitionRecord, SliceDigest, TopicRecord};
use taffrail_control::slices::{self, topic_slice};
use taffrail_protocol::Uuid;

/// Deleted topics that are remembered. An outdated controller does not stay so for long.
const REMEMBERED: usize = 100_000;

/// The topics that a broker knows.
#[derive(Debug, Default)]
pub struct TopicLedger {
    /// By name: creation and id.
    known: BTreeMap<Arc<str>, (u64, Uuid)>,
    names: BTreeMap<Uuid, Arc<str>>,
    /// What was told of each partition, by topic; of those that a snapshot lacked too.
    partitions: HashMap<Uuid, HashMap<i32, PartitionEpochs>>,
    deleted: BTreeSet<Uuid>,
    /// The same, oldest first.
    deleted_in_order: VecDeque<Uuid>,
}

/// `held` <= `highest`.
#[derive(Debug)]
struct PartitionEpochs {
    /// The partition epoch of the record that was believed last; `None` since the topic went.
    held: Option<i32>,
    /// The highest that was ever told.
    highest: i32,
    /// The broker acts by the record that it holds.
    acted_on: bool,
}

/// What an update says about topics.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading<'a> {
    /// Known topics that go, before anything else of the update is acted on.
    pub gone: Vec<(Uuid, Gone)>,
    /// Topics of the update that are not believed, their partitions neither.
    pub outdated: BTreeSet<Uuid>,
    /// What is believed and is to be acted on.
    pub topics: Vec<TopicChange<'a>>,
}

/// How a topic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// It was deleted, and its logs go with it.
    Deleted,
    /// A snapshot lacks it, or another one has its name by now: deleted, or unknown to that controller. Its logs are kept
    /// aside (rule 18).
    Missing,
}

/// What is new of a topic.
#[derive(Debug, PartialEq, Eq)]
pub struct TopicChange<'a> {
    /// The topic's id.
    pub topic_id: Uuid,
    /// Its record; `None` if that is the one which is known.
    pub record: Option<&'a TopicRecord>,
    /// The partitions' records. None is older than the one held (rule 2). Nobody leads by one that is older than another
    /// that was told before: where the newer one is not held any more, as the topic was gone for a while, the partition
    /// waits.
    pub partitions: Vec<Cow<'a, PartitionRecord>>,
}

/// What the controller has to be told of a record that is held, where a snapshot tells of an older one: its store may have
/// been restored from a backup (rule 25). Nobody needs to have acted on the one that is held, but clients were told of it,
/// and believe no older one.
pub fn newer(held: &PartitionRecord, told: &PartitionRecord) -> Option<HeldPartition> {
    let is_newer = told.leader_epoch < held.leader_epoch || told.partition_epoch < held.partition_epoch;
    is_newer.then(|| HeldPartition {
        topic_id: held.topic_id,
        partition: held.partition,
        creation: held.creation,
        leader_epoch: held.leader_epoch,
        partition_epoch: held.partition_epoch,
        replicas: held.replicas.clone(),
    })
}

impl TopicLedger {
    /// Reads an update, and remembers what it tells.
    pub fn read<'a>(&mut self, update: &'a ClusterUpdate) -> Reading<'a> {
        let mut reading = Reading::default();
        for topic_id in &update.removed_topics {
            if self.remove(*topic_id) {
                reading.gone.push((*topic_id, Gone::Deleted));
            }
            self.remember_deleted(*topic_id);
            self.partitions.remove(topic_id);
        }
        let mut told = BTreeMap::new();
        let mut spared = BTreeSet::new();
        let mut replaced = Vec::new();
        for topic in &update.topics {
            let known = self.known.get(&topic.name).copied();
            if self.deleted.contains(&topic.topic_id) {
                reading.outdated.insert(topic.topic_id);
            } else if let Some((_, newer)) = known.filter(|(creation, _)| topic.creation < *creation) {
                reading.outdated.insert(topic.topic_id);
                spared.insert(newer);
            } else {
                told.insert(topic.topic_id, topic);
                replaced.extend(known.map(|(_, older)| older).filter(|older| *older != topic.topic_id));
            }
        }
        let missing = match update.snapshot {
            true => self.missing(update, |topic_id| told.contains_key(topic_id) || spared.contains(topic_id)),
            false => replaced,
        };
        for topic_id in missing {
            self.remove(topic_id);
            reading.gone.push((topic_id, Gone::Missing));
        }
        for topic in told.values() {
            self.known.insert(Arc::clone(&topic.name), (topic.creation, topic.topic_id));
            self.names.insert(topic.topic_id, Arc::clone(&topic.name));
        }
        if self.partitions.len() > self.names.len() + REMEMBERED {
            // Topics that were deleted while nobody could tell.
            self.partitions.retain(|topic_id, _| self.names.contains_key(topic_id));
        }
        self.read_partitions(update, told, &mut reading);
        reading
    }

    /// Known topics that a snapshot lacks. What a slice holds that is left out of it counts as told.
    fn missing(&self, snapshot: &ClusterUpdate, told: impl Fn(&Uuid) -> bool) -> Vec<Uuid> {
        let is_missing = |(topic_id, name): &(&Uuid, &Arc<str>)| {
            !told(topic_id) && !snapshot.unchanged_slices.contains(&topic_slice(name))
        };
        self.names.iter().filter(is_missing).map(|(topic_id, _)| *topic_id).collect()
    }

    fn read_partitions<'a>(
        &mut self,
        update: &'a ClusterUpdate,
        told: BTreeMap<Uuid, &'a TopicRecord>,
        reading: &mut Reading<'a>,
    ) {
        let change =
            |(topic_id, record)| (topic_id, TopicChange { topic_id, record, partitions: Vec::new() });
        let mut changes: BTreeMap<Uuid, TopicChange<'a>> =
            told.into_iter().map(|(topic_id, record)| change((topic_id, Some(record)))).collect();
        for record in &update.partitions {
            let (topic_id, epoch) = (record.topic_id, record.partition_epoch);
            if self.deleted.contains(&topic_id) {
                reading.outdated.insert(topic_id);
                continue;
            }
            let epochs = self.partitions.entry(topic_id).or_default();
            let first = PartitionEpochs { held: None, highest: epoch, acted_on: true };
            let epochs = epochs.entry(record.partition).or_insert(first);
            epochs.highest = epochs.highest.max(epoch);
            let is_believed = !reading.outdated.contains(&topic_id) && self.names.contains_key(&topic_id);
            if !is_believed || epochs.held.is_some_and(|held| epoch < held) {
                continue;
            }
            (epochs.held, epochs.acted_on) = (Some(epoch), true);
            let record = match epoch < epochs.highest {
                true => Cow::Owned(PartitionRecord { leader: None, ..record.clone() }),
                false => Cow::Borrowed(record),
            };
            changes.entry(topic_id).or_insert_with(|| change((topic_id, None)).1).partitions.push(record);
        }
        reading.topics = changes.into_values().collect();
    }

    /// The broker could not act by the record of a partition that it was told last.
    pub fn not_acted_on(&mut self, topic_id: Uuid, partition: i32) {
        let partitions = self.partitions.get_mut(&topic_id);
        if let Some(epochs) = partitions.and_then(|partitions| partitions.get_mut(&partition)) {
            epochs.acted_on = false;
        }
    }

    /// What the broker names when it opens another session, from the records that it holds. A slice with a record that
    /// it could not act by is not named: it is told again, and tried again.
    pub fn digests<'a>(
        &self,
        topics: impl IntoIterator<Item = &'a TopicRecord>,
        partitions: impl IntoIterator<Item = &'a PartitionRecord>,
    ) -> Vec<SliceDigest> {
        let has_failed = |topic_id: &Uuid| {
            let partitions = self.partitions.get(topic_id);
            partitions.is_some_and(|partitions| partitions.values().any(|epochs| !epochs.acted_on))
        };
        let failed = self.names.iter().filter(|(topic_id, _)| has_failed(topic_id));
        let failed: BTreeSet<u32> = failed.map(|(_, name)| topic_slice(name)).collect();
        let mut digests = slices::digests(topics, partitions);
        digests.retain(|held| !failed.contains(&held.slice));
        digests
    }

    fn remove(&mut self, topic_id: Uuid) -> bool {
        let Some(name) = self.names.remove(&topic_id) else { return false };
        if self.known.get(&name).is_some_and(|(_, id)| *id == topic_id) {
            self.known.remove(&name);
        }
        let partitions = self.partitions.get_mut(&topic_id).into_iter().flat_map(HashMap::values_mut);
        partitions.for_each(|epochs| epochs.held = None);
        true
    }

    fn remember_deleted(&mut self, topic_id: Uuid) {
        if self.deleted.insert(topic_id) {
            self.deleted_in_order.push_back(topic_id);
        }
        if self.deleted_in_order.len() > REMEMBERED
            && let Some(oldest) = self.deleted_in_order.pop_front()
        {
            self.deleted.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_control::session::Member;

    fn record_of(topic: u8, partition_epoch: i32) -> PartitionRecord {
        PartitionRecord {
            topic_id: Uuid([topic; 16]),
            partition: 0,
            creation: 1,
            replicas: vec![3],
            leader: None,
            leader_epoch: 4,
            partition_epoch,
            isr: vec![Member { broker_id: 3, incarnation: 6 }],
            elr: Vec::new(),
            min_isr: 1,
            adding: Vec::new(),
            removing: Vec::new(),
            unclean_epoch: None,
        }
    }

    fn topic(name: &str, id: u8, creation: u64) -> TopicRecord {
        let topic_id = Uuid([id; 16]);
        TopicRecord { name: name.into(), topic_id, creation, config: BTreeMap::new(), partition_count: 1 }
    }

    fn snapshot(topics: &[TopicRecord]) -> ClusterUpdate {
        ClusterUpdate { snapshot: true, topics: topics.to_vec(), ..ClusterUpdate::default() }
    }

    fn removal(id: u8) -> ClusterUpdate {
        ClusterUpdate { removed_topics: vec![Uuid([id; 16])], ..ClusterUpdate::default() }
    }

    fn id(topic: u8) -> Uuid {
        Uuid([topic; 16])
    }

    fn changed(reading: &Reading<'_>) -> Vec<Uuid> {
        reading.topics.iter().map(|change| change.topic_id).collect()
    }

    #[test]
    fn a_topic_that_was_deleted_does_not_come_back_to_life() {
        let mut ledger = TopicLedger::default();
        ledger.read(&snapshot(&[topic("a", 1, 1)]));
        assert_eq!(ledger.read(&removal(1)).gone, [(id(1), Gone::Deleted)]);
        let again = ClusterUpdate { partitions: vec![record_of(1, 9)], ..snapshot(&[topic("a", 1, 1)]) };
        let reading = ledger.read(&again);
        assert_eq!(reading, Reading { outdated: [id(1)].into(), ..Reading::default() });
    }

    #[test]
    fn rule_18_a_topic_does_not_give_way_to_an_older_one_of_its_name() {
        let mut ledger = TopicLedger::default();
        ledger.read(&snapshot(&[topic("a", 2, 7), topic("b", 3, 2)]));
        let older = [topic("a", 1, 6), topic("b", 3, 2)];
        let older = ClusterUpdate { partitions: vec![record_of(1, 9)], ..snapshot(&older) };
        let reading = ledger.read(&older);
        assert_eq!((&reading.outdated, changed(&reading)), (&[id(1)].into(), vec![id(3)]));
        assert!(reading.gone.is_empty(), "{reading:?}");
        let newer = snapshot(&[topic("a", 4, 8)]);
        let reading = ledger.read(&newer);
        assert_eq!(reading.gone, [(id(2), Gone::Missing), (id(3), Gone::Missing)]);
        assert_eq!((reading.outdated.len(), changed(&reading)), (0, vec![id(4)]));
    }

    #[test]
    fn a_topic_gives_way_to_a_newer_one_of_its_name_also_without_a_snapshot() {
        let mut ledger = TopicLedger::default();
        ledger.read(&snapshot(&[topic("a", 1, 1), topic("b", 2, 2)]));
        let update = ClusterUpdate { snapshot: false, ..snapshot(&[topic("a", 3, 3)]) };
        assert_eq!(ledger.read(&update).gone, [(id(1), Gone::Missing)]);
        assert_eq!(ledger.read(&update).gone, []);
    }

    #[test]
    fn a_topic_that_only_a_snapshot_lacked_is_welcome_again() {
        let mut ledger = TopicLedger::default();
        ledger.read(&snapshot(&[topic("a", 1, 1)]));
        assert_eq!(ledger.read(&snapshot(&[])).gone, [(id(1), Gone::Missing)]);
        let again = snapshot(&[topic("a", 1, 1)]);
        let reading = ledger.read(&again);
        assert_eq!((reading.outdated.len(), changed(&reading)), (0, vec![id(1)]));
        assert_eq!(ledger.read(&removal(1)).gone, [(id(1), Gone::Deleted)]);
        assert_eq!(ledger.read(&removal(1)).gone, []);
    }

    #[test]
    fn rule_2_a_record_that_is_older_than_the_one_held_is_passed_over() {
        let told = |partition_epoch| ClusterUpdate {
            partitions: vec![record_of(1, partition_epoch)],
            ..ClusterUpdate::default()
        };
        let mut ledger = TopicLedger::default();
        let mut acted_on = |update: &ClusterUpdate| ledger.read(update).topics.len();
        assert_eq!(acted_on(&told(8)), 0, "its topic is not known");
        acted_on(&snapshot(&[topic("a", 1, 1)]));
        assert_eq!(acted_on(&told(8)), 1);
        assert_eq!(acted_on(&told(7)), 0);
        assert_eq!(acted_on(&told(8)), 1);
    }

    #[test]
    fn rule_2_nobody_leads_by_an_older_record_of_a_topic_that_was_gone_for_a_while() {
        let told = |partition_epoch| {
            let leader = Some(Member { broker_id: 3, incarnation: 6 });
            let record = record_of(1, partition_epoch);
            ClusterUpdate {
                partitions: vec![PartitionRecord { leader, ..record }],
                ..snapshot(&[topic("a", 1, 1)])
            }
        };
        let mut ledger = TopicLedger::default();
        let mut leads = |update: &ClusterUpdate| {
            let reading = ledger.read(update);
            let partitions = reading.topics.first().map(|change| &change.partitions);
            Some(partitions?.first()?.leader.is_some())
        };
        assert_eq!(leads(&told(8)), Some(true));
        leads(&snapshot(&[]));
        assert_eq!(leads(&told(6)), Some(false));
        assert_eq!(leads(&told(7)), Some(false));
        assert_eq!(leads(&told(6)), None);
        assert_eq!(leads(&told(8)), Some(true));
        assert_eq!(leads(&told(9)), Some(true));
    }

    #[test]
    fn what_is_left_out_of_a_snapshot_stays_and_what_it_lacks_goes() {
        let mut ledger = TopicLedger::default();
        let topics = [topic("a", 1, 1), topic("b", 2, 2), topic("c", 3, 3)];
        ledger.read(&snapshot(&topics));
        let unchanged_slices = vec![topic_slice("a")];
        let update = ClusterUpdate { unchanged_slices, ..snapshot(&topics[1..2]) };
        let reading = ledger.read(&update);
        assert_eq!((changed(&reading), reading.gone), (vec![id(2)], vec![(id(3), Gone::Missing)]));
        // As it stayed, an older one does not take its place, and it can be deleted.
        let older = ClusterUpdate { snapshot: false, ..snapshot(&[topic("a", 4, 0)]) };
        assert_eq!(ledger.read(&older).outdated, [id(4)].into());
        assert_eq!(ledger.read(&removal(1)).gone, [(id(1), Gone::Deleted)]);
    }

    #[test]
    fn a_slice_with_a_record_that_was_not_acted_on_is_not_named() {
        let mut ledger = TopicLedger::default();
        let topics = [topic("a", 1, 1), topic("b", 2, 2)];
        let told = ClusterUpdate { partitions: vec![record_of(1, 3), record_of(2, 3)], ..snapshot(&topics) };
        ledger.read(&told);
        let slices = |ledger: &TopicLedger| {
            let digests = ledger.digests(&told.topics, &told.partitions);
            digests.iter().map(|held| held.slice).collect::<BTreeSet<_>>()
        };
        let both = BTreeSet::from([topic_slice("a"), topic_slice("b")]);
        assert_eq!((slices(&ledger), both.len()), (both.clone(), 2));
        ledger.not_acted_on(id(1), 0);
        assert_eq!(slices(&ledger), [topic_slice("b")].into());
        // Told again, it was tried again.
        ledger.read(&told);
        assert_eq!(slices(&ledger), both);
    }

    #[test]
    fn no_more_deleted_topics_are_remembered_than_the_bound() {
        let mut ledger = TopicLedger::default();
        for number in 0..REMEMBERED as u128 + 5 {
            let removed_topics = vec![Uuid(number.to_be_bytes())];
            ledger.read(&ClusterUpdate { removed_topics, ..ClusterUpdate::default() });
        }
        assert_eq!((ledger.deleted.len(), ledger.deleted_in_order.len()), (REMEMBERED, REMEMBERED));
    }
}
