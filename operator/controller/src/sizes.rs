//! How large partitions are, as their leaders last said: a summary for people. Nothing of it is stored, and nothing is
//! decided from it.

use std::collections::BTreeMap;

use taffrail_control::session::PartitionSize;
use taffrail_protocol::Uuid;

use crate::controller::Controller;
use crate::message::SessionId;

/// In bytes, by topic and partition. Bounded by the partitions that there are: what is told of others is dropped. A leader
/// that is gone leaves what it said last.
#[derive(Debug, Default)]
pub(crate) struct Sizes(BTreeMap<Uuid, BTreeMap<i32, u64>>);

impl Sizes {
    /// Of one copy of each topic; without those of which a partition's size is not known.
    fn by_topic(&self, partition_count: impl Fn(Uuid) -> i32) -> BTreeMap<Uuid, u64> {
        let whole = self.0.iter().filter(|(id, told)| i32::try_from(told.len()) == Ok(partition_count(**id)));
        let total =
            |told: &BTreeMap<i32, u64>| told.values().fold(0, |sum: u64, size| sum.saturating_add(*size));
        whole.map(|(id, told)| (*id, total(told))).collect()
    }

    /// The topic is gone.
    pub(crate) fn forget_topic(&mut self, topic_id: Uuid) {
        self.0.remove(&topic_id);
    }
}

impl Controller {
    /// The bytes of one copy of each topic, those of which a partition's leader has said nothing left out.
    pub fn topic_sizes(&self) -> BTreeMap<Uuid, u64> {
        self.sizes.by_topic(|topic_id| self.published.count(topic_id))
    }

    pub(crate) fn on_partition_sizes(
        &mut self,
        session: SessionId,
        incarnation: u64,
        partitions: Vec<PartitionSize>,
    ) {
        let Some(member) = self.speaker(session, incarnation) else { return };
        for PartitionSize { topic_id, partition, size_bytes } in partitions {
            let known = self.entry(topic_id).and_then(|(_, entry)| self.record(entry, partition));
            // Who has led before may know less than who leads now.
            if known.is_some_and(|record| record.leader == Some(member)) {
                self.sizes.0.entry(topic_id).or_default().insert(partition, size_bytes);
            }
        }
    }
}
