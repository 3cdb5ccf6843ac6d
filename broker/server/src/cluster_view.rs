//! The cluster as the clients of one listener see it: brokers by the addresses of that listener, and of each partition
//! who leads it and which replicas can be reached (`org.apache.kafka.metadata.MetadataCache`).

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use taffrail_control::session::{BrokerRecord, Member, PartitionRecord};
use taffrail_protocol::ErrorCode;

use crate::cluster::Cluster;

/// Stands for "no broker".
pub const NO_BROKER: i32 = -1;

/// The brokers at one moment, as a listener shows them.
pub struct ClusterView<'a> {
    cluster: &'a Cluster,
    listener: &'a str,
    /// Fenced ones too, by id.
    brokers: Vec<Arc<BrokerRecord>>,
    /// Those whose process has ended, as far as can be seen from here; asked for by the first who wants a leader.
    lost: OnceCell<BTreeSet<Member>>,
}

/// A broker and where the listener's clients reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    /// The broker's id.
    pub id: i32,
    /// The host that clients are told.
    pub host: &'a str,
    /// The port that clients are told.
    pub port: i32,
    /// The failure domain.
    pub rack: Option<&'a str>,
    /// Whether the broker is fenced: it leads nothing.
    pub fenced: bool,
}

/// Who leads a partition, for a listener's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    /// This broker.
    Broker(i32),
    /// Nobody who is alive.
    None,
    /// A broker that does not have this listener.
    WithoutListener,
}

impl Leader {
    /// The broker's id, or [`NO_BROKER`].
    pub fn id(self) -> i32 {
        match self {
            Self::Broker(id) => id,
            Self::None | Self::WithoutListener => NO_BROKER,
        }
    }

    /// The error to put beside the partition in an answer that can tell a missing listener from a missing leader.
    pub fn error(self) -> ErrorCode {
        match self {
            Self::Broker(_) => ErrorCode::NONE,
            Self::None => ErrorCode::LEADER_NOT_AVAILABLE,
            Self::WithoutListener => ErrorCode::LISTENER_NOT_FOUND,
        }
    }
}

impl<'a> ClusterView<'a> {
    /// The brokers of `cluster` as they are now.
    pub fn new(cluster: &'a Cluster, listener: &'a str) -> Self {
        Self { cluster, listener, brokers: cluster.brokers(), lost: OnceCell::new() }
    }

    /// The brokers that have this listener, fenced ones too, by id.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.brokers.iter().filter_map(|broker| self.node_of(broker))
    }

    /// The brokers that clients are told of: those that are alive, or were a moment ago.
    pub fn listed(&self) -> impl Iterator<Item = Node<'_>> {
        let just_fenced = self.cluster.just_fenced(Instant::now());
        self.nodes().filter(move |node| !node.fenced || just_fenced.contains(&node.id))
    }

    /// The broker of this id, if it is alive and has this listener.
    pub fn live_node(&self, id: i32) -> Option<Node<'_>> {
        self.node_of(self.broker(id)?).filter(|node| !node.fenced)
    }

    fn broker(&self, id: i32) -> Option<&BrokerRecord> {
        let index = self.brokers.binary_search_by_key(&id, |broker| broker.broker_id).ok()?;
        Some(&self.brokers[index])
    }

    fn node_of<'b>(&self, broker: &'b BrokerRecord) -> Option<Node<'b>> {
        let endpoint = broker.endpoints.iter().find(|endpoint| endpoint.listener == self.listener)?;
        Some(Node {
            id: broker.broker_id,
            host: &endpoint.host,
            port: endpoint.port.into(),
            rack: broker.rack.as_deref(),
            fenced: broker.fenced,
        })
    }

    /// Who leads the partition. A leader that was registered anew since it was elected leads no more, and one that was
    /// lost a moment ago is not worth asking.
    pub fn leader(&self, partition: &PartitionRecord) -> Leader {
        let lost = self.lost.get_or_init(|| self.cluster.lost(Instant::now()));
        let Some(leader) = partition.leader.filter(|leader| !lost.contains(leader)) else {
            return Leader::None;
        };
        match self.broker(leader.broker_id) {
            Some(broker) if !broker.fenced && broker.incarnation == leader.incarnation => {
                match self.node_of(broker) {
                    Some(node) => Leader::Broker(node.id),
                    None => Leader::WithoutListener,
                }
            }
            _ => Leader::None,
        }
    }

    /// Whether nobody leads the partition only for as long as the controller, or its word, takes: the leader that was
    /// elected is gone.
    pub fn awaits_leader(&self, partition: &PartitionRecord) -> bool {
        partition.leader.is_some() && self.leader(partition) == Leader::None
    }

    /// Those of the partition's replicas that the listener's clients cannot reach.
    pub fn offline_replicas(&self, partition: &PartitionRecord) -> Vec<i32> {
        let offline = |id: &&i32| self.live_node(**id).is_none();
        partition.replicas.iter().filter(offline).copied().collect()
    }
}

/// The broker ids of some members.
pub fn ids(members: &[Member]) -> Vec<i32> {
    members.iter().map(|member| member.broker_id).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use taffrail_control::session::{ClusterUpdate, Endpoint};
    use taffrail_protocol::Uuid;

    use super::*;

    fn broker(broker_id: i32, fenced: bool, listeners: &[&str]) -> BrokerRecord {
        let endpoint = |listener: &&str| Endpoint {
            listener: (*listener).to_owned(),
            host: format!("broker-{broker_id}"),
            port: 9092,
        };
        let endpoints = listeners.iter().map(endpoint).collect();
        BrokerRecord {
            broker_id,
            incarnation: 7,
            endpoints,
            rack: None,
            fenced,
            peer_address: None,
            peer_token: None,
        }
    }

    fn led_by(broker_id: i32, incarnation: u64) -> PartitionRecord {
        PartitionRecord {
            topic_id: Uuid::ZERO,
            partition: 0,
            creation: 1,
            replicas: vec![1, 2, 3, 4],
            leader: Some(Member { broker_id, incarnation }),
            leader_epoch: 0,
            partition_epoch: 0,
            isr: vec![],
            elr: vec![],
            min_isr: 1,
            adding: vec![],
            removing: vec![],
            unclean_epoch: None,
        }
    }

    fn put(cluster: &Cluster, broker: BrokerRecord) {
        cluster.apply_brokers(&ClusterUpdate { brokers: vec![broker], ..ClusterUpdate::default() });
    }

    fn cluster() -> Cluster {
        let cluster = Cluster::new("cluster".into());
        put(&cluster, broker(1, false, &["CLIENTS", "BROKERS"]));
        put(&cluster, broker(2, true, &["CLIENTS"]));
        put(&cluster, broker(3, false, &["BROKERS"]));
        cluster
    }

    #[test]
    fn only_a_live_broker_in_the_incarnation_of_the_record_leads() {
        let cluster = cluster();
        let view = ClusterView::new(&cluster, "CLIENTS");
        assert_eq!(view.leader(&led_by(1, 7)), Leader::Broker(1));
        assert_eq!(view.leader(&led_by(1, 6)), Leader::None);
        assert_eq!(view.leader(&led_by(2, 7)), Leader::None);
        assert_eq!(view.leader(&led_by(3, 7)), Leader::WithoutListener);
        assert_eq!(view.leader(&led_by(4, 7)), Leader::None);
        assert_eq!(view.leader(&PartitionRecord { leader: None, ..led_by(1, 7) }), Leader::None);
        let awaited = [led_by(1, 6), led_by(2, 7), led_by(4, 7)];
        assert!(awaited.iter().all(|record| view.awaits_leader(record)));
        let settled = [led_by(1, 7), led_by(3, 7), PartitionRecord { leader: None, ..led_by(1, 7) }];
        assert!(!settled.iter().any(|record| view.awaits_leader(record)));
    }

    #[test]
    fn a_broker_that_was_lost_leads_nothing_until_it_is_found_or_lives_again() {
        let cluster = cluster();
        let leader = |epoch| ClusterView::new(&cluster, "CLIENTS").leader(&led_by(1, epoch));
        cluster.note_lost(1);
        assert_eq!(leader(7), Leader::None);
        cluster.note_found(1);
        assert_eq!(leader(7), Leader::Broker(1));
        cluster.note_lost(1);
        let again = BrokerRecord { incarnation: 8, ..broker(1, false, &["CLIENTS"]) };
        put(&cluster, again);
        assert_eq!(leader(8), Leader::Broker(1));
        cluster.note_lost(1);
        assert!(cluster.lost(Instant::now() + Duration::from_secs(60)).is_empty(), "not believed for ever");
    }

    #[test]
    fn a_broker_that_was_just_fenced_is_still_listed_and_leads_nothing() {
        let cluster = cluster();
        let listed =
            || ClusterView::new(&cluster, "CLIENTS").listed().map(|node| node.id).collect::<Vec<_>>();
        let before = listed();
        assert!(before.contains(&1) && !before.contains(&2), "{before:?}: 2 was fenced before it was known");
        put(&cluster, broker(1, true, &["CLIENTS"]));
        assert_eq!(listed(), before);
        assert_eq!(ClusterView::new(&cluster, "CLIENTS").leader(&led_by(1, 7)), Leader::None);
        assert!(cluster.just_fenced(Instant::now() + Duration::from_secs(60)).is_empty(), "not for long");
        put(&cluster, broker(1, false, &["CLIENTS"]));
        assert!(cluster.just_fenced(Instant::now()).is_empty(), "it lives again");
        put(&cluster, broker(1, true, &["CLIENTS"]));
        let unregistered = ClusterUpdate { removed_brokers: vec![1], ..ClusterUpdate::default() };
        cluster.apply_brokers(&unregistered);
        assert!(cluster.just_fenced(Instant::now()).is_empty(), "it is none of the cluster's any more");
    }

    #[test]
    fn replicas_on_fenced_missing_or_unreachable_brokers_are_offline() {
        let cluster = cluster();
        assert_eq!(ClusterView::new(&cluster, "CLIENTS").offline_replicas(&led_by(1, 7)), [2, 3, 4]);
        assert_eq!(ClusterView::new(&cluster, "BROKERS").offline_replicas(&led_by(1, 7)), [2, 4]);
    }

    #[test]
    fn nodes_have_the_address_of_the_listener() {
        let cluster = cluster();
        let view = ClusterView::new(&cluster, "CLIENTS");
        let ids: Vec<_> = view.nodes().map(|node| (node.id, node.host.to_owned(), node.fenced)).collect();
        assert_eq!(ids, [(1, "broker-1".to_owned(), false), (2, "broker-2".to_owned(), true)]);
        assert_eq!(view.live_node(2), None);
    }
}
