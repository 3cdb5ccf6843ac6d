//! Where the replicas of new partitions go.
//!
//! The placement is striped, to the ends of Kafka's `StripedReplicaPlacer`: replicas over racks first, then over
//! brokers; leaders balanced; fenced brokers last. Brokers without a rack are a rack of their own.
//!
//! Brokers stand in one row, in which racks take turns. With n of them, partition p of a topic gets its leader at position
//! (creation + p) mod n, so that the leaders of one topic, and of many small topics made one after the other, go around
//! all brokers. The followers are looked for after the leader, at a distance that changes after each round of n
//! partitions, so that a lost broker's leaders move to all of the others; of those in racks with the fewest replicas so
//! far the nearest is taken. The plan depends on its arguments alone: a controller that finishes what another began
//! places as that one would have.

use std::collections::BTreeSet;

use crate::model::{BrokerState, ClusterState};

/// A broker that may get replicas.
struct Candidate {
    broker_id: i32,
    /// Numbers its rack.
    rack: usize,
}

/// Replicas for `count` partitions from `first` on. Brokers that are fenced or in `leaving` are used only where the others are too few,
/// and lead only where all are. With fewer brokers registered than `replication_factor`, each partition gets all of them.
pub fn place(
    cluster: &ClusterState,
    leaving: &BTreeSet<i32>,
    creation: u64,
    first: i32,
    count: i32,
    replication_factor: i16,
) -> Vec<Vec<i32>> {
    let wanted = replication_factor.max(1) as usize;
    let (mut row, mut fenced) = (row(cluster, leaving, false), row(cluster, leaving, true));
    if row.is_empty() {
        std::mem::swap(&mut row, &mut fenced);
    }
    if row.is_empty() {
        return Vec::new();
    }
    (first..first.saturating_add(count))
        .map(|partition| stripe(&row, &fenced, creation.wrapping_add(partition as u64), wanted))
        .collect()
}

/// The brokers that are fenced or leaving, or those that are not, racks taking turns.
fn row(cluster: &ClusterState, leaving: &BTreeSet<i32>, last: bool) -> Vec<Candidate> {
    let racks: BTreeSet<Option<&str>> = cluster.brokers.iter().map(|broker| broker.rack.as_deref()).collect();
    let mut by_rack: Vec<Vec<Candidate>> = Vec::new();
    for (rack, name) in racks.iter().enumerate() {
        let is_last = |b: &BrokerState| b.fenced || leaving.contains(&b.broker_id);
        let of_rack = cluster.brokers.iter().filter(|b| is_last(b) == last && b.rack.as_deref() == *name);
        by_rack.push(of_rack.map(|broker| Candidate { broker_id: broker.broker_id, rack }).collect());
    }
    let rounds = by_rack.iter().map(Vec::len).max().unwrap_or(0);
    let mut by_rack: Vec<_> = by_rack.into_iter().map(Vec::into_iter).collect();
    (0..rounds).flat_map(|_| by_rack.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect()
}

/// The replicas at one step of the stripe.
fn stripe(row: &[Candidate], fenced: &[Candidate], step: u64, wanted: usize) -> Vec<i32> {
    let n = row.len() as u64;
    let leader = step % n;
    let round = step / n;
    let follower = |k: u64| (leader + 1 + (round + k) % (n - 1)) % n;
    let mut nearest: Vec<&Candidate> = (0..n.saturating_sub(1)).map(|k| &row[follower(k) as usize]).collect();
    let mut last: Vec<&Candidate> = fenced.iter().collect();
    let mut chosen = vec![&row[leader as usize]];
    while chosen.len() < wanted {
        let from = if nearest.is_empty() { &mut last } else { &mut nearest };
        let in_rack = |rack: usize| chosen.iter().filter(|candidate| candidate.rack == rack).count();
        // The first of the least.
        let Some(at) = (0..from.len()).min_by_key(|at| in_rack(from[*at].rack)) else { break };
        chosen.push(from.remove(at));
    }
    chosen.into_iter().map(|candidate| candidate.broker_id).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::test_support::cluster_of;
    use proptest::prelude::*;

    #[test]
    fn leaders_go_around_and_followers_change_with_the_round() {
        let cluster = cluster_of(3);
        let placed = place(&cluster, &BTreeSet::new(), 0, 0, 6, 2);
        assert_eq!(placed, [[1, 2], [2, 3], [3, 1], [1, 3], [2, 1], [3, 2]]);
    }

    #[test]
    fn added_partitions_go_on_where_the_first_ended() {
        let cluster = cluster_of(4);
        let mut in_two = place(&cluster, &BTreeSet::new(), 7, 0, 5, 3);
        in_two.extend(place(&cluster, &BTreeSet::new(), 7, 5, 6, 3));
        assert_eq!(in_two, place(&cluster, &BTreeSet::new(), 7, 0, 11, 3));
    }

    #[test]
    fn a_fenced_broker_is_used_only_where_it_must_be() {
        let mut cluster = cluster_of(3);
        cluster.broker_mut(2).unwrap().fenced = true;
        assert!(place(&cluster, &BTreeSet::new(), 1, 0, 9, 2).iter().flatten().all(|broker| *broker != 2));
        assert!(place(&cluster, &BTreeSet::new(), 1, 0, 9, 3).iter().all(|replicas| replicas.len() == 3));
    }

    #[test]
    fn a_broker_that_is_to_go_is_used_only_where_it_must_be() {
        let (cluster, leaving) = (cluster_of(3), BTreeSet::from([2]));
        assert!(place(&cluster, &leaving, 1, 0, 9, 2).iter().flatten().all(|broker| *broker != 2));
        assert!(place(&cluster, &leaving, 1, 0, 9, 3).iter().all(|replicas| replicas.len() == 3));
    }

    #[test]
    fn without_brokers_nothing_is_placed() {
        assert!(place(&cluster_of(0), &BTreeSet::new(), 1, 0, 9, 1).is_empty());
    }

    /// Brokers 1..=n, one after the other in the racks named.
    fn racked(racks: &[&str]) -> ClusterState {
        let mut cluster = cluster_of(racks.len() as i32);
        for (broker, rack) in cluster.brokers.iter_mut().zip(racks) {
            broker.rack = (!rack.is_empty()).then(|| (*rack).to_owned());
        }
        cluster
    }

    fn racks_of<'a>(cluster: &'a ClusterState, replicas: &[i32]) -> Vec<Option<&'a str>> {
        replicas.iter().map(|id| cluster.broker(*id).unwrap().rack.as_deref()).collect()
    }

    #[test]
    fn replicas_stand_in_different_racks_and_all_brokers_are_used_alike() {
        let cluster = racked(&["a", "a", "b", "b", "c", "c"]);
        let placed = place(&cluster, &BTreeSet::new(), 3, 0, 60, 3);
        let mut held = [0; 7];
        for replicas in &placed {
            let racks: BTreeSet<_> = racks_of(&cluster, replicas).into_iter().collect();
            assert_eq!(racks.len(), 3, "{replicas:?}");
            replicas.iter().for_each(|id| held[*id as usize] += 1);
        }
        assert_eq!(held, [0, 30, 30, 30, 30, 30, 30]);
    }

    #[test]
    fn more_replicas_than_racks_are_shared_out_evenly() {
        let cluster = racked(&["a", "a", "a", "a", "b", "b"]);
        for replicas in place(&cluster, &BTreeSet::new(), 0, 0, 30, 4) {
            let in_a = racks_of(&cluster, &replicas).iter().filter(|rack| **rack == Some("a")).count();
            assert_eq!(in_a, 2, "{replicas:?}");
        }
    }

    #[test]
    fn brokers_without_a_rack_are_a_rack_of_their_own() {
        let cluster = racked(&["", "", "a"]);
        assert!(place(&cluster, &BTreeSet::new(), 0, 0, 12, 2).iter().all(|replicas| replicas.contains(&3)));
    }

    #[test]
    fn a_fenced_broker_never_leads_while_another_can() {
        let mut cluster = racked(&["a", "b", "c"]);
        cluster.broker_mut(2).unwrap().fenced = true;
        let placed = place(&cluster, &BTreeSet::new(), 1, 0, 9, 3);
        assert!(placed.iter().all(|replicas| replicas[2] == 2), "{placed:?}");
        cluster.brokers.iter_mut().for_each(|broker| broker.fenced = true);
        assert_eq!(place(&cluster, &BTreeSet::new(), 0, 0, 1, 3), [[1, 2, 3]]);
    }

    proptest! {
        #[test]
        fn replicas_are_distinct_and_leaders_balanced(
            brokers in 1_i32..12, count in 1_i32..200, factor in 1_i16..6, creation: u64,
        ) {
            let placed = place(&cluster_of(brokers), &BTreeSet::new(), creation % (1 << 60), 0, count, factor);
            let mut led = vec![0_i32; brokers as usize + 1];
            for replicas in &placed {
                prop_assert_eq!(replicas.len(), (factor as usize).min(brokers as usize));
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), replicas.len());
                led[replicas[0] as usize] += 1;
            }
            let (least, most) = (led[1..].iter().min().unwrap(), led[1..].iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", led);
        }
    }
}
