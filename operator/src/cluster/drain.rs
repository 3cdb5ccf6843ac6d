//! Moving partitions away from brokers that are to go.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::session::{BrokerRecord, Reassignment};

use super::holdings::{Holdings, to};
use crate::fleet::view::PartitionView;

/// The next moves that empty the brokers from id `first_to_go` on. Each replica there goes to the broker that stays and has
/// the fewest, in a rack that the partition is not in if there is one; the order of replicas stays.
///
/// # Errors
///
/// A sentence, if a partition would be left with fewer replicas.
pub fn moves<'a>(
    first_to_go: i32,
    brokers: &BTreeMap<i32, BrokerRecord>,
    topics: impl IntoIterator<Item = (&'a str, &'a [PartitionView])>,
) -> Result<Vec<Reassignment>, String> {
    let staying: BTreeMap<i32, &BrokerRecord> =
        brokers.iter().map(|(id, broker)| (*id, broker)).filter(|(id, _)| *id < first_to_go).collect();
    let mut holdings = Holdings::of(topics);
    let mut moves = Vec::new();
    for (topic, record) in std::mem::take(&mut holdings.still) {
        let mut replicas = record.replicas.to_vec();
        for at in 0..replicas.len() {
            if replicas[at] < first_to_go {
                continue;
            }
            let Some(target) = target(&replicas, first_to_go, &staying, &holdings) else {
                return Err(format!(
                    "partition {} of topic {topic} has {} replicas, and {} brokers would stay: lower the number of its \
                     replicas, or keep more brokers",
                    record.partition,
                    replicas.len(),
                    staying.len(),
                ));
            };
            replicas[at] = target;
        }
        if replicas != *record.replicas {
            holdings.replace(&record.replicas, &replicas);
            moves.push(to(topic, record, replicas));
        }
    }
    // All are looked at first: nothing is begun that could not be brought to its end.
    moves.truncate(holdings.room());
    Ok(moves)
}

/// Who takes a replica of a partition that is on `replicas`.
fn target(
    replicas: &[i32],
    first_to_go: i32,
    staying: &BTreeMap<i32, &BrokerRecord>,
    holdings: &Holdings<'_>,
) -> Option<i32> {
    let rack = |id: &i32| staying.get(id).and_then(|broker| broker.rack.as_deref());
    let kept = replicas.iter().filter(|id| **id < first_to_go);
    let racks: BTreeSet<&str> = kept.filter_map(rack).collect();
    let candidates = staying.iter().filter(|(id, broker)| !replicas.contains(id) && !broker.fenced);
    let order = |id: &i32| (rack(id).is_some_and(|rack| racks.contains(rack)), holdings.has(*id), *id);
    candidates.map(|(id, _)| *id).min_by_key(order)
}

/// Clusters for tests.
#[cfg(test)]
pub mod testing {
    use super::*;

    /// Brokers in these racks, from id 0 on.
    pub fn brokers(racks: &[Option<&str>]) -> BTreeMap<i32, BrokerRecord> {
        let broker = |(id, rack): (usize, &Option<&str>)| {
            let broker_id = i32::try_from(id).unwrap();
            let record = BrokerRecord {
                broker_id,
                incarnation: 1,
                endpoints: Vec::new(),
                rack: rack.map(str::to_owned),
                fenced: false,
                peer_address: None,
                peer_token: None,
            };
            (broker_id, record)
        };
        racks.iter().enumerate().map(broker).collect()
    }

    /// A partition with these replicas.
    pub fn partition(number: i32, replicas: &[i32]) -> PartitionView {
        PartitionView {
            partition: number,
            min_isr: 1,
            leader: None,
            replicas: replicas.into(),
            isr: [].into(),
            adding: [].into(),
            removing: [].into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::holdings::AT_ONCE;
    use super::testing::{brokers, partition};
    use super::*;

    fn targets(racks: &[Option<&str>], partitions: &[PartitionView]) -> Result<Vec<Vec<i32>>, String> {
        let moves = moves(3, &brokers(racks), [("t", partitions)])?;
        Ok(moves.into_iter().filter_map(|one| one.replicas).collect())
    }

    #[test]
    fn replicas_go_to_the_brokers_that_have_the_fewest() {
        let partitions = [partition(0, &[4, 0]), partition(1, &[0, 1]), partition(2, &[1, 3])];
        assert_eq!(targets(&[None; 5], &partitions), Ok(vec![vec![2, 0], vec![1, 2]]));
        assert_eq!(targets(&[None; 5], &[partition(0, &[3, 4])]), Ok(vec![vec![0, 1]]));
        assert_eq!(targets(&[None; 5], &[partition(0, &[0, 1, 2])]), Ok(vec![]));
    }

    #[test]
    fn racks_are_kept_apart_where_that_can_be() {
        let racks = [Some("a"), Some("b"), Some("a"), Some("b"), Some("b")];
        let busy = partition(1, &[1]);
        assert_eq!(targets(&racks, &[partition(0, &[0, 3]), busy]), Ok(vec![vec![0, 1]]));
    }

    #[test]
    fn what_could_not_keep_its_replicas_is_not_begun() {
        let partitions = [partition(0, &[4]), partition(1, &[0, 1, 2, 3])];
        let refusal = targets(&[None; 5], &partitions).unwrap_err();
        assert!(
            refusal.contains("partition 1 of topic t has 4 replicas, and 3 brokers would stay"),
            "{refusal}"
        );
        let mut all = brokers(&[None; 5]);
        all.get_mut(&2).unwrap().fenced = true;
        assert!(
            moves(3, &all, [("t", [partition(0, &[0, 1, 4])].as_slice())]).is_err(),
            "nobody who serves is left"
        );
    }

    #[test]
    fn few_move_at_a_time() {
        let many: Vec<_> = (0..50).map(|number| partition(number, &[4])).collect();
        assert_eq!(targets(&[None; 5], &many).unwrap().len(), AT_ONCE);
        let mut some = many;
        some[..15].iter_mut().for_each(|record| record.adding = [0].into());
        assert_eq!(targets(&[None; 5], &some).unwrap().len(), AT_ONCE - 15);
    }
}
