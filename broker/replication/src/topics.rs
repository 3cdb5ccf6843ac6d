//! Which topics of the controller's updates are believed (rules 2, 18).
//!
//! Two controllers may both believe that they are the active one, and the one that is not may know topics that were
//! deleted, and not know those that were made since. A topic that this broker heard to be deleted does not come back to
//! life, and one does not give way to an older one of its name: what is produced to it would be lost with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use taffrail_control::session::ClusterUpdate;
use taffrail_protocol::Uuid;

/// Deleted topics that are remembered. An outdated controller does not stay so for long.
const REMEMBERED: usize = 100_000;

/// The topics that a broker knows.
#[derive(Debug, Default)]
pub struct TopicLedger {
    /// By name: creation and id.
    known: BTreeMap<Arc<str>, (u64, Uuid)>,
    names: BTreeMap<Uuid, Arc<str>>,
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
        }
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
        let deleted = update.partitions.iter().map(|record| record.topic_id);
        reading.outdated.extend(deleted.filter(|topic_id| self.deleted.contains(topic_id)));
        reading
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
    use taffrail_control::session::TopicRecord;

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
    fn no_more_deleted_topics_are_remembered_than_the_bound() {
        let mut ledger = TopicLedger::default();
        for number in 0..REMEMBERED as u128 + 5 {
            let removed_topics = vec![Uuid(number.to_be_bytes())];
            ledger.read(&ClusterUpdate { removed_topics, ..ClusterUpdate::default() });
        }
        assert_eq!((ledger.deleted.len(), ledger.deleted_in_order.len()), (REMEMBERED, REMEMBERED));
    }
}
