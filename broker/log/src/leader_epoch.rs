//! `leader-epoch-checkpoint`: where each leader epoch begins
//! (`org.apache.kafka.storage.internals.epoch.LeaderEpochFileCache`, `LeaderEpochCheckpointFile`).

use std::io;
use std::path::Path;

use crate::error::FormatError;
use crate::storage::{Access, Storage, StorageFile};
use crate::{checkpoint, names};

/// One leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    /// The leader epoch.
    pub epoch: i32,
    /// The first offset that was, or may be, written in it.
    pub start_offset: i64,
}

/// The leader epochs of one log. Epochs grow strictly, start offsets too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The youngest epoch, if any is known.
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` begins at `start_offset`; entries that contradict it go. Returns whether anything changed.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 {
            return false;
        }
        if let Some(latest) = self.latest()
            && latest.epoch == epoch
            && latest.start_offset <= start_offset
        {
            return false;
        }
        self.entries.retain(|entry| entry.epoch < epoch && entry.start_offset < start_offset);
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// The epoch that the answer is for, and the offset where it ends: the largest known epoch that is not above
    /// `epoch`, and where the next one begins. `None` when nothing can be said: no epoch is known, or `epoch` is above
    /// all of them (KIP-101, KIP-279).
    pub fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> Option<EpochEntry> {
        let latest = self.latest()?;
        if epoch == latest.epoch {
            return Some(EpochEntry { epoch, start_offset: log_end_offset });
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let next = self.entries.get(above)?;
        if epoch < 0 {
            return None;
        }
        let floor = above.checked_sub(1).map_or(epoch, |index| self.entries[index].epoch);
        Some(EpochEntry { epoch: floor, start_offset: next.start_offset })
    }

    /// The epoch that the record at `offset` was written in.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let above = self.entries.partition_point(|entry| entry.start_offset <= offset);
        above.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// Forgets epochs that begin at `end_offset` or behind it. Returns whether anything changed.
    pub fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end_offset);
        self.entries.len() != before
    }

    /// Forgets epochs that end at `start_offset` or before it; the one it lies in then begins there. Returns whether
    /// anything changed.
    pub fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let above = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        let Some(index) = above.checked_sub(1) else { return false };
        if index == 0 && self.entries[0].start_offset == start_offset {
            return false;
        }
        self.entries.drain(..index);
        self.entries[0].start_offset = start_offset;
        true
    }

    /// The file's content.
    pub fn encode(&self) -> String {
        checkpoint::encode(self.entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start_offset)))
    }

    /// Reads a file's content; epochs and offsets out of order are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let entries = checkpoint::decode(bytes, |line| {
            let mut words = line.split_whitespace();
            let epoch: i32 = words.next()?.parse().ok()?;
            let start_offset: i64 = words.next()?.parse().ok()?;
            let sound = epoch >= 0 && start_offset >= 0 && words.next().is_none();
            sound.then_some(EpochEntry { epoch, start_offset })
        })?;
        let rising = |pair: &[EpochEntry]| {
            pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset
        };
        if !entries.windows(2).all(rising) {
            return Err(FormatError::new("has epochs or start offsets that do not rise"));
        }
        Ok(Self { entries })
    }
}

/// Puts a partition's checkpoint in place, whole, and returns before it is durable: what a crash takes from it is
/// found in the batches again, which are checked from the recovery point on.
pub(crate) fn write<S: Storage>(storage: &S, dir: &Path, epochs: &LeaderEpochs) -> io::Result<()> {
    let path = dir.join(names::LEADER_EPOCH_CHECKPOINT);
    let temporary = dir.join(format!("{}{}", names::LEADER_EPOCH_CHECKPOINT, names::TEMPORARY_SUFFIX));
    storage.open(&temporary, Access::Replace)?.write_all_at(epochs.encode().as_bytes(), 0)?;
    storage.rename(&temporary, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let entries = entries.iter().map(|&(epoch, start_offset)| EpochEntry { epoch, start_offset });
        LeaderEpochs { entries: entries.collect() }
    }

    fn end(epoch: i32, start_offset: i64) -> Option<EpochEntry> {
        Some(EpochEntry { epoch, start_offset })
    }

    #[test]
    fn an_epochs_end_is_the_next_ones_start() {
        let epochs = epochs(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(epochs.end_offset_for(7, 35), end(7, 35));
        assert_eq!(epochs.end_offset_for(4, 35), end(4, 30));
        assert_eq!(
            epochs.end_offset_for(5, 35),
            end(4, 30),
            "an epoch in between ends where the one before it does"
        );
        assert_eq!(
            epochs.end_offset_for(1, 35),
            end(1, 10),
            "one below all of them ends where the log begins"
        );
        assert_eq!(epochs.end_offset_for(8, 35), None);
        assert_eq!(epochs.end_offset_for(-1, 35), None);
        assert_eq!(LeaderEpochs::default().end_offset_for(0, 0), None);
    }

    #[test]
    fn a_new_epoch_removes_what_contradicts_it() {
        let mut cache = epochs(&[(2, 10), (4, 20), (7, 30)]);
        assert!(!cache.assign(7, 33));
        assert!(cache.assign(5, 25));
        assert_eq!(cache, epochs(&[(2, 10), (4, 20), (5, 25)]));
        assert!(cache.assign(6, 20));
        assert_eq!(cache, epochs(&[(2, 10), (6, 20)]));
        assert!(!cache.assign(-1, 50));
    }

    #[test]
    fn both_ends_are_cut() {
        let mut cache = epochs(&[(2, 10), (4, 20), (7, 30)]);
        assert!(cache.truncate_from_end(30));
        assert_eq!(cache, epochs(&[(2, 10), (4, 20)]));
        assert!(cache.truncate_from_start(25));
        assert_eq!(cache, epochs(&[(4, 25)]));
        assert!(!cache.truncate_from_start(25));
        assert!(!cache.truncate_from_start(3));
        assert_eq!(cache.epoch_for_offset(24), None);
        assert_eq!(cache.epoch_for_offset(26), Some(4));
    }

    #[test]
    fn the_text_is_kafkas_and_disorder_is_refused() {
        let cache = epochs(&[(0, 0), (3, 100)]);
        assert_eq!(cache.encode(), "0\n2\n0 0\n3 100\n");
        assert_eq!(LeaderEpochs::decode(cache.encode().as_bytes()).unwrap(), cache);
        for text in ["0\n2\n1 0\n0 5\n", "0\n2\n0 5\n1 5\n", "0\n1\n-1 0\n", "0\n1\n0\n"] {
            assert!(LeaderEpochs::decode(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
