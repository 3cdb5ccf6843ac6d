//! What an update of the controller means for the brokers that are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use taffrail_control::session::{BrokerRecord, ClusterUpdate};

/// Brokers by id.
pub type KnownBrokers = BTreeMap<i32, Arc<BrokerRecord>>;

/// Takes over what an update says. Who is not in a snapshot is registered no more: it may have been unregistered while
/// this broker had no session. A record without a token, of a controller that has not heard it yet, leaves the token that
/// is known for the same incarnation as it is.
pub fn apply(known: &mut KnownBrokers, update: &ClusterUpdate) {
    if update.snapshot {
        let told: BTreeSet<i32> = update.brokers.iter().map(|broker| broker.broker_id).collect();
        known.retain(|broker_id, _| told.contains(broker_id));
    }
    for broker in &update.brokers {
        let mut broker = broker.clone();
        let before = known.get(&broker.broker_id).filter(|before| before.incarnation == broker.incarnation);
        broker.peer_token = broker.peer_token.or(before.and_then(|before| before.peer_token));
        known.insert(broker.broker_id, Arc::new(broker));
    }
    for broker_id in &update.removed_brokers {
        known.remove(broker_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_protocol::Uuid;

    fn broker(broker_id: i32, incarnation: u64, token: Option<u8>) -> BrokerRecord {
        BrokerRecord {
            broker_id,
            incarnation,
            endpoints: Vec::new(),
            rack: None,
            fenced: false,
            peer_address: None,
            peer_token: token.map(|byte| Uuid([byte; 16])),
        }
    }

    fn told(snapshot: bool, brokers: Vec<BrokerRecord>, removed_brokers: Vec<i32>) -> ClusterUpdate {
        ClusterUpdate { snapshot, brokers, removed_brokers, ..ClusterUpdate::default() }
    }

    #[test]
    fn whoever_is_not_in_a_snapshot_is_gone_and_a_change_leaves_the_others() {
        let mut known = KnownBrokers::new();
        apply(&mut known, &told(true, vec![broker(1, 1, None), broker(2, 2, None)], vec![]));
        apply(&mut known, &told(false, vec![broker(3, 3, None)], vec![1]));
        assert_eq!(known.keys().copied().collect::<Vec<_>>(), [2, 3]);
        apply(&mut known, &told(true, vec![broker(3, 3, None)], vec![]));
        assert_eq!(known.keys().copied().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_token_is_kept_for_the_same_incarnation_only() {
        let mut known = KnownBrokers::new();
        let mut token = |snapshot, broker| {
            apply(&mut known, &told(snapshot, vec![broker], vec![]));
            known[&1].peer_token
        };
        assert_eq!(token(true, broker(1, 1, Some(7))), Some(Uuid([7; 16])));
        assert_eq!(token(true, broker(1, 1, None)), Some(Uuid([7; 16])));
        assert_eq!(token(false, broker(1, 1, Some(8))), Some(Uuid([8; 16])));
        assert_eq!(token(false, broker(1, 2, None)), None);
    }
}
