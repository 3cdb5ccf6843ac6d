//! Moving partitions onto brokers that were added.
//!
//! Only a broker that holds next to nothing is filled: what people have placed as they like it stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::session::{BrokerRecord, PartitionRecord, Reassignment};

use super::drain::AT_ONCE;

/// A broker with less than this part of what brokers hold on average is new.
const NEXT_TO_NOTHING: usize = 4;

/// The brokers that are new among those with ids below `replicas`, besides those of `filling` that are not full yet.
pub fn to_fill<'a>(
    filling: &BTreeSet<i32>,
    replicas: i32,
    brokers: &BTreeMap<i32, BrokerRecord>,
    topics: impl IntoIterator<Item = (&'a str, &'a [PartitionRecord])>,
) -> BTreeSet<i32> {
    let held = held(topics);
    let there = || brokers.values().filter(|broker| broker.broker_id < replicas && !broker.fenced);
    let average = held.values().sum::<usize>() / there().count().max(1);
    let has = |id: &i32| held.get(id).copied().unwrap_or_default();
    let ids = there().map(|broker| broker.broker_id);
    ids.filter(|id| has(id) * NEXT_TO_NOTHING < average || filling.contains(id) && has(id) < average)
        .collect()
}

/// The next moves that bring replicas onto the brokers of `filling`, their share of leaders first, from brokers that have more
/// than the average. A partition moves only where it is spread over racks no worse than before; the order of replicas stays.
pub fn moves<'a>(
    filling: &BTreeSet<i32>,
    brokers: &BTreeMap<i32, BrokerRecord>,
    topics: impl IntoIterator<Item = (&'a str, &'a [PartitionRecord])> + Clone,
) -> Vec<Reassignment> {
    let mut held = held(topics.clone());
    let average = held.values().sum::<usize>() / brokers.len().max(1);
    let rack = |id: i32| brokers.get(&id).and_then(|broker| broker.rack.as_deref());
    let (mut moving, mut still, mut leads) = (0, Vec::new(), BTreeMap::<i32, usize>::new());
    for (topic, partitions) in topics {
        for record in partitions {
            if let Some(first) = record.replicas.first() {
                *leads.entry(*first).or_default() += 1;
            }
            if record.adding.is_empty() && record.removing.is_empty() {
                still.push((topic, record));
            } else {
                moving += 1;
            }
        }
    }
    let share = leads.values().sum::<usize>() / brokers.len().max(1);
    let mut moves = Vec::new();
    for (topic, record) in still {
        if moving + moves.len() >= AT_ONCE {
            break;
        }
        let has = |id: i32| held.get(&id).copied().unwrap_or_default();
        let Some(target) = filling.iter().copied().min_by_key(|id| has(*id)) else { break };
        if has(target) >= average || record.replicas.contains(&target) {
            continue;
        }
        let spread = |replicas: &[i32]| replicas.iter().map(|id| rack(*id)).collect::<BTreeSet<_>>().len();
        let moved = |at: usize| {
            let mut replicas = record.replicas.clone();
            replicas[at] = target;
            replicas
        };
        let gives = |at: &usize| {
            has(record.replicas[*at]) > average && spread(&moved(*at)) >= spread(&record.replicas)
        };
        // Who is first among the replicas leads.
        let is_to_lead = leads.get(&target).is_none_or(|leads| *leads < share);
        let order = |at: &usize| (is_to_lead == (*at == 0), has(record.replicas[*at]));
        let Some(at) = (0..record.replicas.len()).filter(gives).max_by_key(order) else { continue };
        if at == 0 {
            *leads.entry(record.replicas[0]).or_default() -= 1;
            *leads.entry(target).or_default() += 1;
        }
        *held.entry(record.replicas[at]).or_default() -= 1;
        *held.entry(target).or_default() += 1;
        let topic = topic.to_owned();
        moves.push(Reassignment { topic, partition: record.partition, replicas: Some(moved(at)) });
    }
    moves
}

/// How many replicas each broker holds.
fn held<'a>(topics: impl IntoIterator<Item = (&'a str, &'a [PartitionRecord])>) -> BTreeMap<i32, usize> {
    let mut held = BTreeMap::new();
    let replicas =
        topics.into_iter().flat_map(|(_, partitions)| partitions).flat_map(|record| &record.replicas);
    replicas.for_each(|id| *held.entry(*id).or_default() += 1);
    held
}

#[cfg(test)]
mod tests {
    use super::super::drain::testing::{brokers, partition};
    use super::*;

    fn replicas(moves: Vec<Reassignment>) -> Vec<(i32, Vec<i32>)> {
        moves.into_iter().filter_map(|one| Some((one.partition, one.replicas?))).collect()
    }

    #[test]
    fn a_broker_that_holds_next_to_nothing_is_filled_until_it_has_its_share() {
        let three = brokers(&[None; 3]);
        let before: Vec<_> = (0..12).map(|number| partition(number, &[0, 1])).collect();
        let filling = to_fill(&BTreeSet::new(), 3, &three, [("t", &before[..])]);
        assert_eq!(filling, BTreeSet::from([2]));
        let first = replicas(moves(&filling, &three, [("t", &before[..])]));
        let mut after = before.clone();
        for (number, replicas) in first {
            after[number as usize].replicas = replicas;
        }
        let held = held([("t", &after[..])]);
        assert_eq!(held, BTreeMap::from([(0, 8), (1, 8), (2, 8)]));
        assert_eq!(after.iter().filter(|record| record.replicas[0] == 2).count(), 4, "it leads its share");
        assert_eq!(to_fill(&filling, 3, &three, [("t", &after[..])]), BTreeSet::new());
        assert!(moves(&filling, &three, [("t", &after[..])]).is_empty());
    }

    #[test]
    fn what_people_have_placed_stays_and_who_is_half_filled_is_gone_on_with() {
        let three = brokers(&[None; 3]);
        let mut some: Vec<_> = (0..10).map(|number| partition(number, &[0, 1])).collect();
        some.extend((10..13).map(|number| partition(number, &[2, 1])));
        let topics = || [("t", &some[..])];
        assert_eq!(to_fill(&BTreeSet::new(), 3, &three, topics()), BTreeSet::new());
        assert_eq!(to_fill(&BTreeSet::from([2]), 3, &three, topics()), BTreeSet::from([2]));
    }

    #[test]
    fn a_partition_is_in_as_many_racks_as_before_and_few_move_at_a_time() {
        let three = brokers(&[Some("a"), Some("b"), Some("b")]);
        let before: Vec<_> = (0..100).map(|number| partition(number, &[0, 1])).collect();
        let moved = replicas(moves(&BTreeSet::from([2]), &three, [("t", &before[..])]));
        assert_eq!(moved.len(), AT_ONCE);
        assert!(moved.iter().all(|(_, replicas)| replicas == &[0, 2]), "{moved:?}");
        let mut moving = before;
        moving.iter_mut().take(15).for_each(|record| record.adding = vec![2]);
        let moved = moves(&BTreeSet::from([2]), &three, [("t", &moving[..])]);
        assert_eq!(moved.len(), AT_ONCE - 15);
    }
}
