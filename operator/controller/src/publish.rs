//! What brokers have been told: the committed state as they see it, and what changed of it since.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_control::session::{
    BrokerConfigRecord, BrokerRecord, ClusterUpdate, Endpoint, SliceDigest, TopicRecord,
};
use taffrail_control::slices;
use taffrail_protocol::Uuid;

use crate::model::{BrokerConfigState, BrokerState, ClusterState, Member, PartitionState, TopicEntry, Wish};

/// A topic that brokers know of.
#[derive(Debug)]
pub(crate) struct Known {
    topic: TopicRecord,
    wish: Option<Wish>,
    /// The partition_epoch last told, by partition.
    epochs: Vec<i32>,
}

/// All that brokers know of, and the update that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Published {
    version: u64,
    topics: BTreeMap<Uuid, Known>,
    pending: ClusterUpdate,
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
    pub(crate) fn broker(&mut self, broker: &BrokerState, peer_token: Option<Uuid>) {
        self.pending.removed_brokers.retain(|id| *id != broker.broker_id);
        self.pending.brokers.retain(|record| record.broker_id != broker.broker_id);
        self.pending.brokers.push(broker_record(broker, peer_token));
    }

    /// A broker is registered no more.
    pub(crate) fn remove_broker(&mut self, broker_id: i32) {
        self.pending.brokers.retain(|broker| broker.broker_id != broker_id);
        self.pending.removed_brokers.push(broker_id);
    }

    /// All that is set for a broker, or for all of them.
    pub(crate) fn broker_config(&mut self, broker_id: Option<i32>, config: BTreeMap<String, String>) {
        self.pending.broker_configs.retain(|record| record.broker_id != broker_id);
        self.pending.broker_configs.push(BrokerConfigRecord { broker_id, config });
    }

    /// The topic is gone, or going. Answers its name if it was known.
    pub(crate) fn remove(&mut self, topic_id: Uuid) -> Option<Arc<str>> {
        let known = self.topics.remove(&topic_id)?;
        self.pending.topics.retain(|topic| topic.topic_id != topic_id);
        self.pending.partitions.retain(|partition| partition.topic_id != topic_id);
        self.pending.wishes.retain(|(id, _)| *id != topic_id);
        self.pending.removed_topics.push(topic_id);
        Some(known.topic.name)
    }

    /// The topic has its first `count` partitions. Notes what is new of it and of the records of `partitions`, which
    /// `record` finds; brokers must know of all before the first of them.
    pub(crate) fn refresh<'a>(
        &mut self,
        name: &str,
        entry: &TopicEntry,
        count: i32,
        partitions: impl Iterator<Item = i32>,
        record: impl Fn(i32) -> Option<&'a PartitionState>,
    ) {
        let (topic_id, creation) = (entry.topic_id, entry.creation);
        let known = self.topics.entry(topic_id).or_insert_with(|| Known {
            topic: TopicRecord {
                name: name.into(),
                topic_id,
                creation,
                config: BTreeMap::new(),
                partition_count: 0,
            },
            wish: None,
            epochs: Vec::new(),
        });
        if known.wish != entry.wish {
            known.wish.clone_from(&entry.wish);
            self.pending.wishes.retain(|(id, _)| *id != topic_id);
            self.pending.wishes.push((topic_id, known.wish.as_ref().map(Wish::published)));
        }
        if known.topic.partition_count != count || known.topic.config != entry.config {
            assert!(known.topic.partition_count <= count, "a topic's partitions only become more");
            known.topic.partition_count = count;
            known.topic.config.clone_from(&entry.config);
            self.pending.topics.retain(|topic| topic.topic_id != topic_id);
            self.pending.topics.push(known.topic.clone());
        }
        for partition in partitions {
            let Some(state) = record(partition) else { continue };
            match known.epochs.get_mut(partition as usize) {
                Some(told) if *told == state.partition_epoch => continue,
                Some(told) => {
                    assert!(*told < state.partition_epoch, "rule 2: partition_epoch never falls");
                    *told = state.partition_epoch;
                }
                None => known.epochs.push(state.partition_epoch),
            }
            self.pending.partitions.push(state.published(topic_id, creation));
        }
    }

    /// The update with all that was noted; `None` if nothing was.
    pub(crate) fn flush(&mut self) -> Option<Arc<ClusterUpdate>> {
        let pending = std::mem::take(&mut self.pending);
        let empty = pending.brokers.is_empty()
            && pending.removed_brokers.is_empty()
            && pending.broker_configs.is_empty()
            && pending.topics.is_empty()
            && pending.removed_topics.is_empty()
            && pending.partitions.is_empty()
            && pending.wishes.is_empty();
        if empty {
            return None;
        }
        self.version += 1;
        Some(Arc::new(ClusterUpdate { version: self.version, ..pending }))
    }

    /// An update that changes nothing: where brokers are by now.
    pub(crate) fn now(&self) -> Arc<ClusterUpdate> {
        Arc::new(ClusterUpdate { version: self.version, ..ClusterUpdate::default() })
    }

    /// Everything but the topics' slices of which the broker that has just registered holds the same. `record` finds a
    /// partition's record.
    pub(crate) fn snapshot<'a>(
        &self,
        cluster: &ClusterState,
        peer_tokens: &BTreeMap<Member, Uuid>,
        held: &[SliceDigest],
        record: impl Fn(&str, i32) -> Option<&'a PartitionState>,
    ) -> Arc<ClusterUpdate> {
        let with_token =
            |broker: &BrokerState| broker_record(broker, peer_tokens.get(&broker.member()).copied());
        let mut snapshot = ClusterUpdate {
            version: self.version,
            snapshot: true,
            brokers: cluster.brokers.iter().map(with_token).collect(),
            broker_configs: cluster.broker_configs.iter().map(broker_config_record).collect(),
            ..ClusterUpdate::default()
        };
        for Known { topic, wish, .. } in self.topics.values() {
            let states = (0..topic.partition_count).filter_map(|partition| record(&topic.name, partition));
            let published = |state: &PartitionState| state.published(topic.topic_id, topic.creation);
            snapshot.partitions.extend(states.map(published));
            snapshot.topics.push(topic.clone());
            snapshot.wishes.extend(wish.as_ref().map(|wish| (topic.topic_id, Some(wish.published()))));
        }
        // Only now, so that like is compared with like: what is published, and not what is known.
        slices::leave_out_unchanged(&mut snapshot, held);
        Arc::new(snapshot)
    }
}

/// Where clients reach the broker.
pub(crate) fn endpoints(broker: &BrokerState) -> Vec<Endpoint> {
    broker.endpoints.iter().cloned().map(Into::into).collect()
}

fn broker_record(broker: &BrokerState, peer_token: Option<Uuid>) -> BrokerRecord {
    BrokerRecord {
        broker_id: broker.broker_id,
        incarnation: broker.incarnation,
        endpoints: endpoints(broker),
        rack: broker.rack.clone(),
        fenced: broker.fenced,
        peer_address: broker.peer_address,
        peer_token,
    }
}

fn broker_config_record(state: &BrokerConfigState) -> BrokerConfigRecord {
    BrokerConfigRecord { broker_id: state.broker_id, config: state.config.clone() }
}
