//! What a cluster's controller has published, in the few numbers that its pods and its status are decided by.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_control::session::BrokerRecord;
use taffrail_control::topic_config::INTERNAL_TOPICS;

use crate::fleet::view::{
    Brokers, PartitionView, View, in_sync, is_offline, is_under_min_isr, is_under_replicated,
};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Registered brokers.
    pub brokers: BTreeMap<i32, BrokerFacts>,
    /// Topics, internal ones left out.
    pub topics: i32,
    /// Partitions of all topics.
    pub partitions: i32,
    /// Partitions with fewer replicas in sync than they have.
    pub under_replicated: i32,
    /// Partitions with fewer replicas in sync than they need.
    pub under_min_isr: i32,
    /// Partitions without a leader.
    pub offline: i32,
    /// Partitions that need each of their members, and have replicas that could be members too.
    pub without_spare: i32,
    /// Topics that are kept although their objects are gone: see [`View::held`].
    pub held: Vec<Arc<str>>,
}

/// A registered broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerFacts {
    /// It leads nothing, as it is thought to be gone.
    pub fenced: bool,
    /// Its rack.
    pub rack: Option<String>,
    /// Where clients reach it, by listener.
    pub endpoints: BTreeMap<String, String>,
    /// Partitions that it leads.
    pub leaders: i32,
    /// Partitions that it has a replica of.
    pub replicas: i32,
    /// Partitions that it has a replica of, and is not in sync with. Replicas that are only being added do not count.
    pub lagging: i32,
    /// Partitions that would fall below min ISR without it, though they have more replicas than that.
    pub needed: i32,
}

impl Facts {
    /// From what is published.
    pub fn of(view: &View) -> Self {
        let held = view.held().cloned().collect();
        Self { held, ..Self::gather(&view.brokers, view.partitions()) }
    }

    /// From brokers, and the partitions of each topic.
    pub fn gather<'a>(
        brokers: &Brokers,
        topics: impl IntoIterator<Item = (&'a str, &'a [PartitionView])>,
    ) -> Self {
        let mut facts = Self {
            brokers: brokers.iter().map(|(id, broker)| (*id, BrokerFacts::of(broker))).collect(),
            ..Self::default()
        };
        for (name, partitions) in topics {
            facts.topics += i32::from(!INTERNAL_TOPICS.contains(&name));
            partitions.iter().for_each(|partition| facts.add(partition, brokers));
        }
        facts
    }

    fn add(&mut self, partition: &PartitionView, brokers: &Brokers) {
        let PartitionView { replicas, leader, min_isr, adding, .. } = partition;
        let size = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let in_sync: Vec<i32> = in_sync(partition, brokers).collect();
        self.partitions += 1;
        self.offline += i32::from(is_offline(partition));
        self.under_replicated += i32::from(is_under_replicated(partition, brokers));
        self.under_min_isr += i32::from(is_under_min_isr(partition, brokers));
        // Where there are no more replicas than are needed, no order of restarts would help.
        let without_spare = size(replicas.len()) > *min_isr && size(in_sync.len()) <= *min_isr;
        self.without_spare += i32::from(without_spare);
        for replica in replicas {
            let Some(broker) = self.brokers.get_mut(replica) else { continue };
            let member = in_sync.contains(replica);
            broker.replicas += 1;
            broker.lagging += i32::from(!member && !adding.contains(replica));
            broker.needed += i32::from(member && without_spare);
            broker.leaders += i32::from(*leader == Some(*replica));
        }
    }
}

impl BrokerFacts {
    fn of(record: &BrokerRecord) -> Self {
        let endpoints = record.endpoints.iter();
        Self {
            fenced: record.fenced,
            rack: record.rack.clone(),
            endpoints: endpoints
                .map(|at| (at.listener.clone(), format!("{}:{}", at.host, at.port)))
                .collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_control::session::Member;

    use super::*;

    fn broker(broker_id: i32) -> BrokerRecord {
        BrokerRecord {
            broker_id,
            incarnation: 7,
            endpoints: Vec::new(),
            rack: None,
            fenced: false,
            peer_address: None,
            peer_token: None,
        }
    }

    fn partition(replicas: &[i32], isr: &[(i32, u64)], min_isr: i32) -> PartitionView {
        let member = |(broker_id, incarnation): &(i32, u64)| Member {
            broker_id: *broker_id,
            incarnation: *incarnation,
        };
        PartitionView {
            partition: 0,
            min_isr,
            leader: isr.first().map(|(id, _)| *id),
            replicas: replicas.into(),
            isr: isr.iter().map(member).collect(),
            adding: [].into(),
            removing: [].into(),
        }
    }

    fn brokers() -> Brokers {
        (0..3).map(|id| (id, broker(id))).collect()
    }

    fn gather(partitions: &[PartitionView]) -> Facts {
        Facts::gather(&brokers(), [("t", partitions)])
    }

    #[test]
    fn a_whole_partition_needs_nobody_in_particular() {
        let facts = gather(&[partition(&[0, 1, 2], &[(0, 7), (1, 7), (2, 7)], 2)]);
        let (leader, follower) = (&facts.brokers[&0], &facts.brokers[&1]);
        assert_eq!((leader.leaders, leader.replicas, leader.lagging, leader.needed), (1, 1, 0, 0));
        assert_eq!((follower.leaders, follower.replicas, follower.lagging, follower.needed), (0, 1, 0, 0));
        assert_eq!(
            (facts.topics, facts.partitions, facts.under_replicated, facts.without_spare),
            (1, 1, 0, 0)
        );
    }

    #[test]
    fn with_one_away_the_others_are_needed() {
        let facts = gather(&[partition(&[0, 1, 2], &[(0, 7), (1, 7)], 2)]);
        assert_eq!([0, 1, 2].map(|id| facts.brokers[&id].needed), [1, 1, 0]);
        assert_eq!([0, 1, 2].map(|id| facts.brokers[&id].lagging), [0, 0, 1]);
        assert_eq!((facts.under_replicated, facts.under_min_isr, facts.without_spare), (1, 0, 1));
    }

    #[test]
    fn a_member_in_an_earlier_life_is_not_in_sync() {
        let facts = gather(&[partition(&[0, 1, 2], &[(0, 7), (1, 6), (2, 7)], 2)]);
        assert_eq!([0, 1, 2].map(|id| facts.brokers[&id].lagging), [0, 1, 0]);
        assert_eq!((facts.under_replicated, facts.without_spare), (1, 1));
    }

    #[test]
    fn a_partition_without_more_replicas_than_it_needs_stops_no_restart() {
        let facts = gather(&[partition(&[0], &[(0, 7)], 1), partition(&[0, 1], &[(0, 7), (1, 7)], 2)]);
        assert_eq!(facts.brokers[&0].needed, 0);
        assert_eq!(facts.without_spare, 0);
    }

    #[test]
    fn a_replica_that_is_being_added_lags_by_right_and_internal_topics_are_not_counted() {
        let adding = PartitionView { adding: [2].into(), ..partition(&[0, 1, 2], &[(0, 7), (1, 7)], 1) };
        let offline = PartitionView { leader: None, ..partition(&[0], &[], 1) };
        let facts = Facts::gather(
            &brokers(),
            [("t", [adding].as_slice()), ("__consumer_offsets", [offline].as_slice())],
        );
        assert_eq!((facts.brokers[&2].lagging, facts.under_replicated), (0, 1), "the other is missed");
        assert_eq!((facts.topics, facts.partitions, facts.offline, facts.under_min_isr), (1, 2, 1, 1));
    }
}
