//! What is known of brokers better than by themselves: in Kubernetes, the racks of the nodes that they run on, the
//! addresses at which clients outside reach them, and who is about to go.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{BrokerState, ClusterState, Endpoint};

/// What is known of one broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its failure domain; where there is none, the broker's own word holds.
    pub rack: Option<String>,
    /// Where clients reach listeners; for those that are not here, the broker's own word holds.
    pub endpoints: Vec<Endpoint>,
}

/// What is known of brokers, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// The brokers.
    pub brokers: BTreeMap<i32, Listing>,
    /// Brokers that are to go: they get new partitions only where there are too few others.
    pub leaving: BTreeSet<i32>,
    /// Brokers that lead only what no other in-sync replica can.
    pub yielding: BTreeSet<i32>,
    /// For how long clients may remember where a broker's name led before it restarted; the balance gives leadership back to
    /// it no sooner.
    pub name_ttl_ms: u64,
}

impl Directory {
    /// Puts what is known in the place of what the broker says.
    pub(crate) fn correct(&self, broker: &mut BrokerState) {
        let Some(listing) = self.brokers.get(&broker.broker_id) else { return };
        if listing.rack.is_some() {
            broker.rack.clone_from(&listing.rack);
        }
        for known in &listing.endpoints {
            let said = broker.endpoints.iter_mut().find(|said| said.listener == known.listener);
            // A listener that the broker does not have is of no use to anybody.
            if let Some(said) = said {
                said.clone_from(known);
            }
        }
    }

    /// Corrects all brokers; whether any was wrong.
    pub(crate) fn correct_all(&self, state: &mut ClusterState) -> bool {
        let mut changed = false;
        for broker in &mut state.brokers {
            let before = broker.clone();
            self.correct(broker);
            changed |= *broker != before;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::cluster_of;

    fn endpoint(listener: &str, host: &str) -> Endpoint {
        Endpoint { listener: listener.into(), host: host.into(), port: 9092 }
    }

    #[test]
    fn what_is_known_takes_the_place_of_what_is_said_and_the_rest_stays() {
        let mut state = cluster_of(2);
        for broker in &mut state.brokers {
            broker.rack = Some("said".into());
            broker.endpoints = vec![endpoint("INSIDE", "pod"), endpoint("OUTSIDE", "pod")];
        }
        let listing = Listing {
            rack: Some("zone-a".into()),
            endpoints: vec![endpoint("OUTSIDE", "node"), endpoint("NONE", "x")],
        };
        let brokers = BTreeMap::from([(1, listing), (9, Listing::default())]);
        let directory = Directory { brokers, ..Directory::default() };
        assert!(directory.correct_all(&mut state));
        assert_eq!(state.brokers[0].rack.as_deref(), Some("zone-a"));
        assert_eq!(state.brokers[0].endpoints, [endpoint("INSIDE", "pod"), endpoint("OUTSIDE", "node")]);
        assert_eq!(state.brokers[1].rack.as_deref(), Some("said"));
        assert!(!directory.correct_all(&mut state), "nothing is wrong any more");
    }
}
