//! What is going to happen, in the order of time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Events by the time they are due; those of one time in the order they were put in.
#[derive(Debug)]
pub struct Queue<E> {
    order: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, E>,
    next: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { order: BinaryHeap::new(), events: BTreeMap::new(), next: 0 }
    }
}

impl<E> Queue<E> {
    /// Puts an event in.
    pub fn push(&mut self, at_ms: u64, event: E) {
        self.next += 1;
        self.order.push(Reverse((at_ms, self.next)));
        self.events.insert(self.next, event);
    }

    /// Takes the next event out, with its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse((at_ms, number)) = self.order.pop()?;
        self.events.remove(&number).map(|event| (at_ms, event))
    }
}
