//! Where replicas are, while it is decided which of them are to move.

use std::collections::BTreeMap;

use taffrail_control::session::Reassignment;

use crate::fleet::view::{PartitionView, is_moving};

/// Partitions that move at the same time: copying them must not take the network from clients.
pub const AT_ONCE: usize = 20;

/// See the module.
#[derive(Debug)]
pub struct Holdings<'a> {
    /// Partitions that stay where they are, with the names of their topics.
    pub still: Vec<(&'a str, &'a PartitionView)>,
    /// How many replicas of which broker there are, and how many of them are the first of their partitions.
    held: BTreeMap<i32, (usize, usize)>,
    moving: usize,
}

impl<'a> Holdings<'a> {
    /// Of the partitions of each topic.
    pub fn of(topics: impl IntoIterator<Item = (&'a str, &'a [PartitionView])>) -> Self {
        let mut holdings = Self { still: Vec::new(), held: BTreeMap::new(), moving: 0 };
        for (topic, partitions) in topics {
            for record in partitions {
                holdings.replace(&[], &record.replicas);
                if is_moving(record) {
                    holdings.moving += 1;
                } else {
                    holdings.still.push((topic, record));
                }
            }
        }
        holdings
    }

    /// How many replicas a broker has.
    pub fn has(&self, id: i32) -> usize {
        self.held.get(&id).copied().unwrap_or_default().0
    }

    /// Of how many partitions a broker has the replica that is named first, and so leads.
    pub fn is_first(&self, id: i32) -> usize {
        self.held.get(&id).copied().unwrap_or_default().1
    }

    /// How many replicas there are.
    pub fn replicas(&self) -> usize {
        self.held.values().map(|(replicas, _)| replicas).sum()
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.held.values().map(|(_, first)| first).sum()
    }

    /// A partition is to have other replicas.
    pub fn replace(&mut self, before: &[i32], after: &[i32]) {
        for (at, id) in before.iter().enumerate() {
            let held = self.held.entry(*id).or_default();
            held.0 -= 1;
            held.1 -= usize::from(at == 0);
        }
        for (at, id) in after.iter().enumerate() {
            let held = self.held.entry(*id).or_default();
            held.0 += 1;
            held.1 += usize::from(at == 0);
        }
    }

    /// How many more partitions may be on their way.
    pub fn room(&self) -> usize {
        AT_ONCE.saturating_sub(self.moving)
    }
}

/// The partition is to have these replicas.
pub fn to(topic: &str, record: &PartitionView, replicas: Vec<i32>) -> Reassignment {
    Reassignment { topic: topic.to_owned(), partition: record.partition, replicas: Some(replicas) }
}
