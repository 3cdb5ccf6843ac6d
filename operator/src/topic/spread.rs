//! Giving a topic's partitions more replicas or fewer, evenly over brokers and racks.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::session::Reassignment;

use crate::fleet::view::{PartitionView, TopicView, View, is_moving};

/// Partitions of one topic that are moved at a time.
const AT_ONCE: usize = 50;

/// Counts replicas once somebody has to know.
#[derive(Debug)]
pub struct Counting<'a> {
    /// What is counted.
    pub view: &'a View,
    /// How many brokers there shall be.
    staying: i32,
    loads: Option<Loads>,
}

impl<'a> Counting<'a> {
    /// In a cluster that shall have brokers with ids below `staying`.
    pub fn new(view: &'a View, staying: i32) -> Self {
        Self { view, staying, loads: None }
    }

    /// See [`Loads`].
    pub fn loads(&mut self) -> &mut Loads {
        self.loads.get_or_insert_with(|| Loads::of(self.view, self.staying))
    }
}

/// How many replicas each broker has that is live and to stay, and its rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loads {
    brokers: BTreeMap<i32, (usize, Option<String>)>,
}

/// The replicas that a partition has or is getting.
fn targets(record: &PartitionView) -> Vec<i32> {
    record.replicas.iter().copied().filter(|id| !record.removing.contains(id)).collect()
}

/// Whether a partition has so many replicas, and is not about to. One that moves from some brokers to as many others has
/// what it shall have.
pub fn settled(record: &PartitionView, factor: usize) -> bool {
    targets(record).len() == factor && record.adding.len() == record.removing.len()
}

impl Loads {
    /// Of all that is published.
    fn of(view: &View, staying: i32) -> Self {
        let brokers = view.brokers.values();
        let live = brokers.filter(|broker| !broker.fenced && broker.broker_id < staying);
        let mut brokers: BTreeMap<i32, (usize, Option<String>)> =
            live.map(|broker| (broker.broker_id, (0, broker.rack.clone()))).collect();
        for record in view.topics.values().flat_map(|topic| &topic.partitions) {
            for id in targets(record) {
                if let Some((load, _)) = brokers.get_mut(&id) {
                    *load += 1;
                }
            }
        }
        Self { brokers }
    }

    fn rack(&self, id: i32) -> Option<&String> {
        self.brokers.get(&id).and_then(|(_, rack)| rack.as_ref())
    }

    fn change(&mut self, id: i32, by: isize) {
        if let Some((load, _)) = self.brokers.get_mut(&id) {
            *load = load.saturating_add_signed(by);
        }
    }

    /// The live broker to have a replica more: one in another rack than the others, of these the one with the least.
    fn to_add(&self, replicas: &[i32]) -> Option<i32> {
        let racks: BTreeSet<_> = replicas.iter().filter_map(|id| self.rack(*id)).collect();
        let candidates = self.brokers.iter().filter(|(id, _)| !replicas.contains(id));
        candidates
            .min_by_key(|(id, (load, rack))| {
                (rack.as_ref().is_some_and(|rack| racks.contains(rack)), *load, **id)
            })
            .map(|(id, _)| *id)
    }

    /// The replica to be given up: one that is gone, else one whose rack has another, else that of the broker with the
    /// most; the preferred leader only if it is gone.
    fn to_remove(&self, record: &PartitionView, replicas: &[i32]) -> Option<usize> {
        let in_sync = |id: i32| record.isr.iter().any(|member| member.broker_id == id);
        let shares_rack = |id: i32| {
            let rack = self.rack(id);
            rack.is_some() && replicas.iter().filter(|other| self.rack(**other) == rack).count() > 1
        };
        let load = |id: i32| self.brokers.get(&id).map_or(usize::MAX, |(load, _)| *load);
        let place = |(at, id): &(usize, &i32)| {
            let id = **id;
            (!in_sync(id), *at != 0, shares_rack(id), load(id), *at)
        };
        replicas.iter().enumerate().max_by_key(place).map(|(at, _)| at)
    }

    /// The replicas that a partition is to have.
    fn replicas(&mut self, record: &PartitionView, factor: usize) -> Option<Vec<i32>> {
        let mut replicas = targets(record);
        while replicas.len() < factor {
            let id = self.to_add(&replicas)?;
            self.change(id, 1);
            replicas.push(id);
        }
        while replicas.len() > factor {
            let at = self.to_remove(record, &replicas)?;
            self.change(replicas.remove(at), -1);
        }
        Some(replicas)
    }

    /// What is asked for next so that each partition of `topic` has `factor` replicas; nothing, while others of it are on
    /// their way.
    ///
    /// # Errors
    ///
    /// A sentence, if there are too few brokers.
    pub fn reassignments(&mut self, topic: &TopicView, factor: usize) -> Result<Vec<Reassignment>, String> {
        if factor > self.brokers.len() {
            return Err(format!(
                "each partition is to have {factor} replicas, and {} brokers are there to have them: lower \
                 spec.replicationFactor, or see that there are more brokers",
                self.brokers.len()
            ));
        }
        let moving = topic.partitions.iter().filter(|record| is_moving(record)).count();
        let room = AT_ONCE.saturating_sub(moving);
        let others = topic.partitions.iter().filter(|record| targets(record).len() != factor);
        let name = &topic.record.name;
        let wished = others.take(room).filter_map(|record| {
            let replicas = Some(self.replicas(record, factor)?);
            Some(Reassignment { topic: name.to_string(), partition: record.partition, replicas })
        });
        Ok(wished.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taffrail_control::session::BrokerRecord;

    use super::super::testing::{view, with_replicas};
    use super::*;

    fn four_in_two_racks(partitions: &[&[i32]]) -> View {
        let mut view = view("t", with_replicas(partitions));
        for (id, rack) in [(0, "a"), (1, "b"), (2, "a"), (3, "b")] {
            let broker = BrokerRecord {
                broker_id: id,
                incarnation: 1,
                endpoints: Vec::new(),
                rack: Some(rack.to_owned()),
                fenced: false,
                peer_address: None,
                peer_token: None,
            };
            view.brokers.insert(id, broker);
        }
        view
    }

    fn asked(view: &View, factor: usize) -> Vec<Vec<i32>> {
        let topic = &view.topics[&Arc::from("t")];
        let asked = Loads::of(view, 4).reassignments(topic, factor).unwrap();
        asked.into_iter().map(|reassignment| reassignment.replicas.unwrap()).collect()
    }

    #[test]
    fn more_replicas_go_to_other_racks_and_to_those_with_the_least() {
        let view = four_in_two_racks(&[&[0], &[0], &[1], &[1]]);
        assert_eq!(asked(&view, 2), [[0, 3], [0, 3], [1, 2], [1, 2]]);
    }

    #[test]
    fn fewer_replicas_leave_each_rack_one_and_the_preferred_leader_where_it_is() {
        let view = four_in_two_racks(&[&[0, 1, 2], &[1, 3, 0]]);
        assert_eq!(asked(&view, 2), [[0, 1], [1, 0]]);
        let mut view = view;
        let topic = view.topics.get_mut("t").unwrap();
        topic.partitions[0].isr = topic.partitions[0].isr[1..].into();
        assert_eq!(asked(&view, 2)[0], [1, 2], "who has fallen behind goes first");
    }

    #[test]
    fn brokers_that_are_to_go_get_nothing_and_are_relieved_first() {
        let view = four_in_two_racks(&[&[0, 3, 1], &[1]]);
        let topic = &view.topics[&Arc::from("t")];
        let asked = Loads::of(&view, 3).reassignments(topic, 2).unwrap();
        let replicas: Vec<_> = asked.into_iter().filter_map(|asked| asked.replicas).collect();
        assert_eq!(replicas, [[0, 1], [1, 2]]);
    }

    #[test]
    fn what_is_on_its_way_is_waited_for_and_what_cannot_be_is_refused() {
        let mut view = four_in_two_racks(&[&[0, 1], &[1, 2]]);
        let topic = view.topics.get_mut("t").unwrap();
        topic.partitions[0].adding = [1].into();
        assert_eq!(asked(&view, 2), Vec::<Vec<i32>>::new());
        assert!(!settled(&view.topics["t"].partitions[0], 2));
        assert!(settled(&view.topics["t"].partitions[1], 2));
        let topic = view.topics.get_mut("t").unwrap();
        topic.partitions[0].replicas = [0, 1, 3].into();
        topic.partitions[0].removing = [3].into();
        assert!(settled(&view.topics["t"].partitions[0], 2), "it moves, and has as many before and after");
        view.brokers.get_mut(&3).unwrap().fenced = true;
        let refused = Loads::of(&view, 4).reassignments(&view.topics["t"], 4).unwrap_err();
        assert!(refused.contains("3 brokers are there"), "{refused}");
    }
}
