//! Moving partitions onto brokers that were added.
//!
//! Only a broker that holds next to nothing is filled: what people have placed as they like it stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::session::{BrokerRecord, Reassignment};

use super::facts::BrokerFacts;
use super::holdings::{Holdings, to};
use crate::fleet::view::PartitionView;

/// A broker with less than this part of what brokers hold on average is new.
const NEXT_TO_NOTHING: i32 = 4;

/// The brokers that are new among those with ids below `replicas`, besides those of `filling` that are not full yet.
pub fn to_fill(
    filling: &BTreeSet<i32>,
    replicas: i32,
    brokers: &BTreeMap<i32, BrokerFacts>,
) -> BTreeSet<i32> {
    let there = || brokers.iter().filter(|(id, broker)| **id < replicas && !broker.fenced);
    let held: i32 = brokers.values().map(|broker| broker.replicas).sum();
    let average = held / i32::try_from(there().count()).unwrap_or(i32::MAX).max(1);
    let is_due = |(id, broker): &(&i32, &BrokerFacts)| {
        broker.replicas * NEXT_TO_NOTHING < average || filling.contains(id) && broker.replicas < average
    };
    there().filter(is_due).map(|(id, _)| *id).collect()
}

/// The next moves that bring replicas onto the brokers of `filling`, their share of leaders first, from brokers that have more
/// than the average. A partition moves only where it is spread over racks no worse than before; the order of replicas stays.
pub fn moves<'a>(
    filling: &BTreeSet<i32>,
    replicas: i32,
    brokers: &BTreeMap<i32, BrokerRecord>,
    topics: impl IntoIterator<Item = (&'a str, &'a [PartitionView])>,
) -> Vec<Reassignment> {
    let mut holdings = Holdings::of(topics);
    let there =
        brokers.values().filter(|broker| broker.broker_id < replicas && !broker.fenced).count().max(1);
    let (average, share) = (holdings.replicas() / there, holdings.partitions() / there);
    let rack = |id: i32| brokers.get(&id).and_then(|broker| broker.rack.as_deref());
    let spread = |replicas: &[i32]| replicas.iter().map(|id| rack(*id)).collect::<BTreeSet<_>>().len();
    let mut moves = Vec::new();
    for (topic, record) in std::mem::take(&mut holdings.still) {
        if moves.len() >= holdings.room() {
            break;
        }
        let Some(target) = filling.iter().copied().min_by_key(|id| holdings.has(*id)) else { break };
        if holdings.has(target) >= average || record.replicas.contains(&target) {
            continue;
        }
        let moved = |at: usize| {
            let mut replicas = record.replicas.to_vec();
            replicas[at] = target;
            replicas
        };
        let gives = |at: &usize| {
            holdings.has(record.replicas[*at]) > average && spread(&moved(*at)) >= spread(&record.replicas)
        };
        // Who is first among the replicas leads.
        let is_to_lead = holdings.is_first(target) < share;
        let order = |at: &usize| (is_to_lead == (*at == 0), holdings.has(record.replicas[*at]));
        let Some(at) = (0..record.replicas.len()).filter(gives).max_by_key(order) else { continue };
        let replicas = moved(at);
        holdings.replace(&record.replicas, &replicas);
        moves.push(to(topic, record, replicas));
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::super::drain::testing::{brokers, partition};
    use super::super::facts::Facts;
    use super::super::holdings::AT_ONCE;
    use super::*;

    fn due(
        filling: &BTreeSet<i32>,
        brokers: &BTreeMap<i32, BrokerRecord>,
        partitions: &[PartitionView],
    ) -> BTreeSet<i32> {
        to_fill(filling, 3, &Facts::gather(brokers, [("t", partitions)]).brokers)
    }

    fn moved(
        filling: &BTreeSet<i32>,
        brokers: &BTreeMap<i32, BrokerRecord>,
        partitions: &[PartitionView],
    ) -> Vec<(i32, Vec<i32>)> {
        let moves = moves(filling, 3, brokers, [("t", partitions)]);
        moves.into_iter().filter_map(|one| Some((one.partition, one.replicas?))).collect()
    }

    #[test]
    fn a_broker_that_holds_next_to_nothing_is_filled_until_it_has_its_share() {
        let three = brokers(&[None; 3]);
        let before: Vec<_> = (0..12).map(|number| partition(number, &[0, 1])).collect();
        let filling = due(&BTreeSet::new(), &three, &before);
        assert_eq!(filling, BTreeSet::from([2]));
        let mut after = before.clone();
        for (number, replicas) in moved(&filling, &three, &before) {
            after[number as usize].replicas = replicas.into();
        }
        let held = Holdings::of([("t", &after[..])]);
        assert_eq!([0, 1, 2].map(|id| held.has(id)), [8, 8, 8]);
        assert_eq!(held.is_first(2), 4, "it leads its share");
        assert_eq!(due(&filling, &three, &after), BTreeSet::new());
        assert_eq!(moved(&filling, &three, &after), []);
    }

    #[test]
    fn what_people_have_placed_stays_and_who_is_half_filled_is_gone_on_with() {
        let three = brokers(&[None; 3]);
        let mut some: Vec<_> = (0..10).map(|number| partition(number, &[0, 1])).collect();
        some.extend((10..13).map(|number| partition(number, &[2, 1])));
        assert_eq!(due(&BTreeSet::new(), &three, &some), BTreeSet::new());
        assert_eq!(due(&BTreeSet::from([2]), &three, &some), BTreeSet::from([2]));
    }

    #[test]
    fn a_partition_is_in_as_many_racks_as_before_and_few_move_at_a_time() {
        let three = brokers(&[Some("a"), Some("b"), Some("b")]);
        let before: Vec<_> = (0..100).map(|number| partition(number, &[0, 1])).collect();
        let first = moved(&BTreeSet::from([2]), &three, &before);
        assert_eq!(first.len(), AT_ONCE);
        assert!(first.iter().all(|(_, replicas)| replicas == &[0, 2]), "{first:?}");
        let mut moving = before;
        moving.iter_mut().take(15).for_each(|record| record.adding = [2].into());
        assert_eq!(moved(&BTreeSet::from([2]), &three, &moving).len(), AT_ONCE - 15);
    }

    #[test]
    fn who_is_down_has_no_share() {
        let mut three = brokers(&[None; 3]);
        three.get_mut(&1).unwrap().fenced = true;
        let before: Vec<_> = (0..12).map(|number| partition(number, &[0])).collect();
        assert_eq!(due(&BTreeSet::new(), &three, &before), BTreeSet::from([2]));
        assert_eq!(moved(&BTreeSet::from([2]), &three, &before).len(), 6);
    }
}
