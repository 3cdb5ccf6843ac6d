//! Deadlines by name: setting one again moves it.

use std::collections::{BTreeMap, BTreeSet};

/// Deadlines in ms, each under a key.
#[derive(Debug)]
pub(super) struct Timers<K> {
    by_key: BTreeMap<K, i64>,
    by_time: BTreeSet<(i64, K)>,
}

impl<K: Ord + Clone> Timers<K> {
    pub(super) fn new() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// Sets or moves the deadline of `key`.
    pub(super) fn set(&mut self, key: K, at_ms: i64) {
        if let Some(old) = self.by_key.insert(key.clone(), at_ms) {
            if old == at_ms {
                return;
            }
            self.by_time.remove(&(old, key.clone()));
        }
        self.by_time.insert((at_ms, key));
    }

    pub(super) fn cancel(&mut self, key: &K) {
        if let Some((key, at_ms)) = self.by_key.remove_entry(key) {
            self.by_time.remove(&(at_ms, key));
        }
    }

    /// Takes the earliest deadline that has come.
    pub(super) fn pop_due(&mut self, now_ms: i64) -> Option<K> {
        if self.next()? > now_ms {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<i64> {
        self.by_time.first().map(|(at_ms, _)| *at_ms)
    }

    pub(super) fn clear(&mut self) {
        self.by_key.clear();
        self.by_time.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;

    #[test]
    fn deadlines_come_in_order_and_moving_one_leaves_no_trace() {
        let mut timers = Timers::new();
        timers.set("b", 20);
        timers.set("a", 10);
        timers.set("a", 30);
        assert_eq!(timers.next(), Some(20));
        assert_eq!(timers.pop_due(19), None);
        assert_eq!(timers.pop_due(40), Some("b"));
        assert_eq!(timers.pop_due(40), Some("a"));
        assert_eq!(timers.pop_due(40), None);
        timers.set("a", 50);
        timers.cancel(&"a");
        assert_eq!(timers.next(), None);
    }
}
