//! Moves of replicas between the data directories of this broker (KIP-113; `kafka.server.ReplicaAlterLogDirsManager`).
//!
//! [`LogDirMoves`] is what was asked for and how far it is. One thread of the lowest priority works on all of it, a step of
//! each move in turn, so that a large log does not hold up the small ones, and within
//! `replica.alter.log.dirs.io.max.bytes.per.second`. What a step does, and what a crash leaves, is in
//! [`taffrail_replication::disk::moving`].

mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use taffrail_log::TopicPartition;

use crate::cluster::PartitionKey;

pub use worker::run;

/// How long the thread waits for something to do without a look at whether to stop.
const PATIENCE: Duration = Duration::from_millis(500);

/// A move that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedMove {
    /// Tells it from an earlier one of the partition.
    serial: u64,
    /// Whose replica.
    pub partition: TopicPartition,
    /// The data directory that it moves to.
    pub target: PathBuf,
    /// How large its future log is by now. Bytes.
    pub size: u64,
    /// Where its future log ends by now.
    pub end_offset: i64,
}

#[derive(Default)]
struct Moves {
    /// One for each replica at most.
    asked: BTreeMap<PartitionKey, AskedMove>,
    next_serial: u64,
    copied_bytes: u64,
}

/// All moves of a broker.
#[derive(Default)]
pub struct LogDirMoves {
    moves: Mutex<Moves>,
    news: Condvar,
}

impl LogDirMoves {
    /// A replica shall move to `target`. One that is on its way there goes on, one that is on its way elsewhere begins anew.
    pub fn ask(&self, key: PartitionKey, partition: TopicPartition, target: &Path) {
        let mut moves = self.moves.lock();
        if moves.asked.get(&key).is_some_and(|asked| asked.target == target) {
            return;
        }
        let serial = moves.next_serial;
        moves.next_serial += 1;
        let asked = AskedMove { serial, partition, target: target.to_owned(), size: 0, end_offset: 0 };
        moves.asked.insert(key, asked);
        self.news.notify_all();
    }

    /// A replica shall stay where it is.
    pub fn call_off(&self, key: PartitionKey) {
        self.moves.lock().asked.remove(&key);
        self.news.notify_all();
    }

    /// The moves that are under way, or wait for their turn.
    pub fn under_way(&self) -> BTreeMap<PartitionKey, AskedMove> {
        self.moves.lock().asked.clone()
    }

    /// How much was copied since the start, by moves that came to an end and by others. Bytes.
    pub fn copied_bytes(&self) -> u64 {
        self.moves.lock().copied_bytes
    }

    /// As [`under_way`](Self::under_way), after the `pause` or as soon as something has changed. Without a move it waits.
    fn wait(&self, pause: Option<Duration>) -> BTreeMap<PartitionKey, AskedMove> {
        let mut moves = self.moves.lock();
        let pause = if moves.asked.is_empty() { Some(PATIENCE) } else { pause };
        if let Some(pause) = pause {
            self.news.wait_for(&mut moves, pause);
        }
        moves.asked.clone()
    }

    /// Whether a move has not been replaced or called off.
    fn is_asked(&self, key: PartitionKey, serial: u64) -> bool {
        self.moves.lock().asked.get(&key).is_some_and(|asked| asked.serial == serial)
    }

    /// Takes note of what one step of a move has done.
    fn progress(&self, key: PartitionKey, serial: u64, size: u64, end_offset: i64, copied: u64) {
        let mut moves = self.moves.lock();
        moves.copied_bytes += copied;
        if let Some(asked) = moves.asked.get_mut(&key).filter(|asked| asked.serial == serial) {
            (asked.size, asked.end_offset) = (size, end_offset);
        }
    }

    /// A move has come to its end, one way or the other.
    fn ended(&self, key: PartitionKey, serial: u64) {
        let mut moves = self.moves.lock();
        if moves.asked.get(&key).is_some_and(|asked| asked.serial == serial) {
            moves.asked.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_protocol::Uuid;

    use super::*;

    #[test]
    fn a_move_is_replaced_by_one_to_another_place_and_by_no_other() {
        let moves = LogDirMoves::default();
        let key = (Uuid([1; 16]), 0);
        let ask = |target: &str| {
            moves.ask(key, TopicPartition::new("t", 0), Path::new(target));
            moves.under_way()[&key].clone()
        };
        let first = ask("/a");
        moves.progress(key, first.serial, 7, 3, 7);
        assert!(moves.is_asked(key, first.serial));
        assert_eq!((ask("/a").serial, ask("/a").size), (first.serial, 7));
        let second = ask("/b");
        assert_eq!((second.serial == first.serial, second.size), (false, 0));
        moves.progress(key, first.serial, 8, 4, 1);
        assert!(!moves.is_asked(key, first.serial) && moves.under_way()[&key] == second);
        moves.ended(key, first.serial);
        assert_eq!(moves.under_way().len(), 1);
        moves.call_off(key);
        assert!(moves.under_way().is_empty());
        assert_eq!(moves.copied_bytes(), 8);
    }
}
