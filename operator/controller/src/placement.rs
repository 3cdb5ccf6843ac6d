//! Where the replicas of new partitions go.
//!
//! The placement is striped, as in Kafka's `StripedReplicaPlacer` without racks. With n brokers in order of their ids,
//! partition p of a topic gets its leader at position (creation + p) mod n, so that the leaders of one topic, and of many
//! small topics made one after the other, go around all brokers. The followers stand on the brokers after the leader, at
//! a distance that changes after each round of n partitions, so that a lost broker's leaders move to all of the others.
//! The plan depends on its arguments alone: a controller that finishes what another began places as that one would have.

use crate::model::ClusterState;

/// Replicas for `count` partitions from `first` on. Brokers that are fenced are used only where the others are too few.
/// With fewer brokers registered than `replication_factor`, each partition gets all of them.
pub fn place(
    cluster: &ClusterState,
    creation: u64,
    first: i32,
    count: i32,
    replication_factor: i16,
) -> Vec<Vec<i32>> {
    let ids = |fenced: bool| {
        let of_kind = cluster.brokers.iter().filter(move |broker| broker.fenced == fenced);
        of_kind.map(|broker| broker.broker_id)
    };
    let wanted = replication_factor.max(1) as usize;
    let mut brokers: Vec<i32> = ids(false).collect();
    let missing = wanted.saturating_sub(brokers.len());
    brokers.extend(ids(true).take(missing));
    if brokers.is_empty() {
        return Vec::new();
    }
    (first..first.saturating_add(count))
        .map(|partition| stripe(&brokers, creation.wrapping_add(partition as u64), wanted))
        .collect()
}

/// The replicas at one step of the stripe.
fn stripe(brokers: &[i32], step: u64, wanted: usize) -> Vec<i32> {
    let n = brokers.len() as u64;
    let leader = step % n;
    let round = step / n;
    let follower = |k: u64| (leader + 1 + (round + k) % (n - 1)) % n;
    let positions = std::iter::once(leader).chain((0..n.saturating_sub(1)).map(follower));
    positions.take(wanted).map(|position| brokers[position as usize]).collect()
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
        let placed = place(&cluster, 0, 0, 6, 2);
        assert_eq!(placed, [[1, 2], [2, 3], [3, 1], [1, 3], [2, 1], [3, 2]]);
    }

    #[test]
    fn added_partitions_go_on_where_the_first_ended() {
        let cluster = cluster_of(4);
        let mut in_two = place(&cluster, 7, 0, 5, 3);
        in_two.extend(place(&cluster, 7, 5, 6, 3));
        assert_eq!(in_two, place(&cluster, 7, 0, 11, 3));
    }

    #[test]
    fn a_fenced_broker_is_used_only_where_it_must_be() {
        let mut cluster = cluster_of(3);
        cluster.broker_mut(2).unwrap().fenced = true;
        assert!(place(&cluster, 1, 0, 9, 2).iter().flatten().all(|broker| *broker != 2));
        assert!(place(&cluster, 1, 0, 9, 3).iter().all(|replicas| replicas.len() == 3));
    }

    #[test]
    fn without_brokers_nothing_is_placed() {
        assert!(place(&cluster_of(0), 1, 0, 9, 1).is_empty());
    }

    proptest! {
        #[test]
        fn replicas_are_distinct_and_leaders_balanced(
            brokers in 1_i32..12, count in 1_i32..200, factor in 1_i16..6, creation: u64,
        ) {
            let placed = place(&cluster_of(brokers), creation % (1 << 60), 0, count, factor);
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
