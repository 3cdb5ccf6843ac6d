//! Which topics of the controller's updates are believed (rules 2, 18).
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

use taffrail_control::session::{ClusterUpdate, PartitionRecord};
use taffrail_protocol::Uuid;

/// Deleted topics that are remembered. An outdated controller does not stay so for long.
const REMEMBERED: usize = 100_000;

/// The topics that a broker knows.
#[derive(Debug, Default)]
pub struct TopicLedger {
    /// By name: creation and id.
    known: BTreeMap<Arc<str>, (u64, Uuid)>,
    names: BTreeMap<Uuid, Arc<str>>,
    /// The highest partition epoch that was told of each partition, by topic; of those that a snapshot lacked too.
    partition_epochs: HashMap<Uuid, HashMap<i32, i32>>,
    deleted: BTreeSet<Uuid>,
    /// The same, oldest first.
    deleted_in_order: VecDeque<Uuid>,
}

/// What an update says about topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Known topics that were deleted.
    pub deleted: Vec<Uuid>,
    /// Known topics that a snapshot lacks: deleted, or unknown to that controller.
    pub missing: Vec<Uuid>,
    /// Topics of the update that are not to be believed, their partitions neither.
    pub outdated: BTreeSet<Uuid>,
    /// Partitions of the update whose record is older than one that was told before (rule 2).
    pub older: BTreeSet<(Uuid, i32)>,
}

impl Reading {
    /// The update's records, but for those of outdated topics. Nobody leads by a record that is older than one that was
    /// told before: where the newer one is not held any more, as the topic was gone for a while, the partition waits.
    pub fn records<'a>(&self, update: &'a ClusterUpdate) -> Vec<Cow<'a, PartitionRecord>> {
        let believed = update.partitions.iter().filter(|record| !self.outdated.contains(&record.topic_id));
        let records = believed.map(|record| {
            if self.older.contains(&(record.topic_id, record.partition)) {
                Cow::Owned(PartitionRecord { leader: None, ..record.clone() })
            } else {
                Cow::Borrowed(record)
            }
        });
        records.collect()
    }
}

impl TopicLedger {
    /// Reads an update, and remembers what it tells.
    pub fn read(&mut self, update: &ClusterUpdate) -> Reading {
        let mut reading = Reading::default();
        for topic_id in &update.removed_topics {
            if self.remove(*topic_id) {
                reading.deleted.push(*topic_id);
            }
            self.remember_deleted(*topic_id);
            self.partition_epochs.remove(topic_id);
        }
        reading.older = self.compare_records(update);
        let mut told = BTreeSet::new();
        let mut spared = BTreeSet::new();
        for topic in &update.topics {
            let known = self.known.get(&topic.name).copied();
            if self.deleted.contains(&topic.topic_id) {
                reading.outdated.insert(topic.topic_id);
            } else if let Some((creation, newer)) = known
                && topic.creation < creation
            {
                reading.outdated.insert(topic.topic_id);
                spared.insert(newer);
            } else {
                told.insert(topic.topic_id);
            }
        }
        if update.snapshot {
            let lacks = |id: &&Uuid| !told.contains(id) && !spared.contains(id);
            reading.missing = self.names.keys().filter(lacks).copied().collect();
            for id in &reading.missing {
                self.remove(*id);
            }
        }
        for topic in update.topics.iter().filter(|topic| told.contains(&topic.topic_id)) {
            self.known.insert(Arc::clone(&topic.name), (topic.creation, topic.topic_id));
            self.names.insert(topic.topic_id, Arc::clone(&topic.name));
        }
        if self.partition_epochs.len() > self.names.len() + REMEMBERED {
            // Topics that were deleted while nobody could tell.
            self.partition_epochs.retain(|topic_id, _| self.names.contains_key(topic_id));
        }
        let deleted = update.partitions.iter().map(|record| record.topic_id);
        reading.outdated.extend(deleted.filter(|topic_id| self.deleted.contains(topic_id)));
        reading
    }

    /// Notes the records' partition epochs, and returns whose are lower than before.
    fn compare_records(&mut self, update: &ClusterUpdate) -> BTreeSet<(Uuid, i32)> {
        let mut older = BTreeSet::new();
        for record in update.partitions.iter().filter(|record| !self.deleted.contains(&record.topic_id)) {
            let epochs = self.partition_epochs.entry(record.topic_id).or_default();
            let highest = epochs.entry(record.partition).or_insert(record.partition_epoch);
            if record.partition_epoch < *highest {
                older.insert((record.topic_id, record.partition));
            }
            *highest = record.partition_epoch.max(*highest);
        }
        older
    }

    fn remove(&mut self, topic_id: Uuid) -> bool {
        let Some(name) = self.names.remove(&topic_id) else { return false };
        if self.known.get(&name).is_some_and(|(_, id)| *id == topic_id) {
            self.known.remove(&name);
        }
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
    use taffrail_control::session::{Member, TopicRecord};

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

    #[test]
    fn a_topic_that_was_deleted_does_not_come_back_to_life() {
        let mut ledger = TopicLedger::default();
        ledger.read(&snapshot(&[topic("a", 1, 1)]));
        assert_eq!(ledger.read(&removal(1)).deleted, [Uuid([1; 16])]);
        let reading = ledger.read(&snapshot(&[topic("a", 1, 1)]));
        assert_eq!(reading.outdated, [Uuid([1; 16])].into());
        assert!(reading.missing.is_empty() && reading.deleted.is_empty());
    }

    #[test]
    fn rule_18_a_topic_does_not_give_way_to_an_older_one_of_its_name() {
        let mut ledger = TopicLedger::default();
        ledger.read(&snapshot(&[topic("a", 2, 7), topic("b", 3, 2)]));
        let reading = ledger.read(&snapshot(&[topic("a", 1, 6), topic("b", 3, 2)]));
        assert_eq!(reading.outdated, [Uuid([1; 16])].into());
        assert!(reading.missing.is_empty(), "{reading:?}");
        let reading = ledger.read(&snapshot(&[topic("a", 4, 8)]));
        assert_eq!(reading.missing, [Uuid([2; 16]), Uuid([3; 16])]);
        assert!(reading.outdated.is_empty());
    }

    #[test]
    fn a_topic_that_only_a_snapshot_lacked_is_welcome_again() {
        let mut ledger = TopicLedger::default();
        ledger.read(&snapshot(&[topic("a", 1, 1)]));
        assert_eq!(ledger.read(&snapshot(&[])).missing, [Uuid([1; 16])]);
        let reading = ledger.read(&snapshot(&[topic("a", 1, 1)]));
        assert_eq!(reading, Reading::default());
        assert_eq!(ledger.read(&removal(1)).deleted, [Uuid([1; 16])]);
        assert_eq!(ledger.read(&removal(1)).deleted, []);
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
            reading.records(update).first().is_some_and(|record| record.leader.is_some())
        };
        assert!(leads(&told(8)));
        leads(&snapshot(&[]));
        assert!(!leads(&told(6)));
        assert!(!leads(&told(7)));
        assert!(leads(&told(8)));
        assert!(leads(&told(9)));
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
