//! What brokers have been told: the committed state as they see it, and what changed of it since.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_protocol::Uuid;

use crate::message::{PublishedPartition, PublishedTopic, Update};
use crate::model::{PartitionState, TopicEntry};

/// A topic that brokers know of.
#[derive(Debug)]
pub(crate) struct Known {
    topic: PublishedTopic,
    /// The partition_epoch last told, by partition.
    epochs: Vec<i32>,
}

/// All that brokers know of, and the update that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Published {
    version: u64,
    topics: BTreeMap<Uuid, Known>,
    pending: Update,
}

impl Published {
    /// How many partitions of the topic brokers know of; 0 for a topic that they do not know.
    pub(crate) fn count(&self, topic_id: Uuid) -> i32 {
        self.topics.get(&topic_id).map_or(0, |known| known.topic.partition_count)
    }

    /// The number of topics and of partitions.
    pub(crate) fn totals(&self) -> (usize, usize) {
        (self.topics.len(), self.topics.values().map(|known| known.epochs.len()).sum())
    }

    /// A broker appeared or changed.
    pub(crate) fn broker(&mut self, broker: crate::model::BrokerState) {
        self.pending.brokers.push(broker);
    }

    /// The topic is gone, or going. Answers its name if it was known.
    pub(crate) fn remove(&mut self, topic_id: Uuid) -> Option<Arc<str>> {
        let known = self.topics.remove(&topic_id)?;
        self.pending.topics.retain(|topic| topic.topic_id != topic_id);
        self.pending.partitions.retain(|partition| partition.topic_id != topic_id);
        self.pending.removed_topics.push(topic_id);
        Some(known.topic.name)
    }

    /// The topic has its first `count` partitions, whose records `record` finds. Notes what is new of it.
    pub(crate) fn refresh<'a>(
        &mut self,
        name: &str,
        entry: &TopicEntry,
        count: i32,
        record: impl Fn(i32) -> Option<&'a PartitionState>,
    ) {
        let (topic_id, creation) = (entry.topic_id, entry.creation);
        let known = self.topics.entry(topic_id).or_insert_with(|| Known {
            topic: PublishedTopic {
                name: name.into(),
                topic_id,
                creation,
                config: BTreeMap::new(),
                partition_count: 0,
            },
            epochs: Vec::new(),
        });
        if known.topic.partition_count != count || known.topic.config != entry.config {
            assert!(known.topic.partition_count <= count, "a topic's partitions only become more");
            known.topic.partition_count = count;
            known.topic.config.clone_from(&entry.config);
            self.pending.topics.retain(|topic| topic.topic_id != topic_id);
            self.pending.topics.push(known.topic.clone());
        }
        for partition in 0..count {
            let Some(state) = record(partition) else { continue };
            match known.epochs.get_mut(partition as usize) {
                Some(told) if *told == state.partition_epoch => continue,
                Some(told) => {
                    assert!(*told < state.partition_epoch, "rule 2: partition_epoch never falls");
                    *told = state.partition_epoch;
                }
                None => known.epochs.push(state.partition_epoch),
            }
            self.pending.partitions.push(PublishedPartition { topic_id, creation, state: state.clone() });
        }
    }

    /// The update with all that was noted; `None` if nothing was.
    pub(crate) fn flush(&mut self) -> Option<Arc<Update>> {
        let pending = std::mem::take(&mut self.pending);
        let empty = pending.brokers.is_empty()
            && pending.topics.is_empty()
            && pending.removed_topics.is_empty()
            && pending.partitions.is_empty();
        if empty {
            return None;
        }
        self.version += 1;
        Some(Arc::new(Update { version: self.version, ..pending }))
    }

    /// Everything, for a broker that has just registered. `record` finds a partition's record.
    pub(crate) fn snapshot<'a>(
        &self,
        brokers: Vec<crate::model::BrokerState>,
        record: impl Fn(&str, i32) -> Option<&'a PartitionState>,
    ) -> Arc<Update> {
        let mut snapshot = Update { version: self.version, snapshot: true, brokers, ..Update::default() };
        for Known { topic, .. } in self.topics.values() {
            let states = (0..topic.partition_count).filter_map(|partition| record(&topic.name, partition));
            let published = |state: &PartitionState| PublishedPartition {
                topic_id: topic.topic_id,
                creation: topic.creation,
                state: state.clone(),
            };
            snapshot.partitions.extend(states.map(published));
            snapshot.topics.push(topic.clone());
        }
        Arc::new(snapshot)
    }
}
