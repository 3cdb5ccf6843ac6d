//! How much of a data directory is still to be recovered, for those who wait for it
//! (`remainingLogsToRecover` and `remainingSegmentsToRecover` of `kafka.log.LogManager`).

use std::collections::HashMap;
use std::io;
use std::path::Path;

use parking_lot::Mutex;

use crate::log::OpenMode;
use crate::names::{PartitionFile, SegmentFile, TopicPartition};
use crate::storage::Storage;

/// So much is to be looked at, or was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Workload {
    /// Logs that are opened.
    pub logs: u64,
    /// Segments whose batches are checked.
    pub segments: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl Workload {
    fn add(&mut self, other: Self) {
        self.logs += other.logs;
        self.segments += other.segments;
        self.bytes += other.bytes;
    }

    fn take(&mut self, other: Self) {
        self.logs = self.logs.saturating_sub(other.logs);
        self.segments = self.segments.saturating_sub(other.segments);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// What there was to recover in a data directory, and what is left of it. It is told by those who open the logs and read by
/// anyone.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: Workload,
    left: Workload,
    /// What is left of each log that was not opened yet.
    by_log: HashMap<TopicPartition, Workload>,
}

impl RecoveryProgress {
    /// All there was, as far as it was counted before it began.
    pub fn total(&self) -> Workload {
        self.state.lock().total
    }

    /// What is left.
    pub fn left(&self) -> Workload {
        self.state.lock().left
    }

    /// A log is to be opened with so much to check.
    pub(crate) fn expect(&self, partition: &TopicPartition, workload: Workload) {
        let mut state = self.state.lock();
        if state.by_log.insert(partition.clone(), workload).is_none() {
            state.total.add(workload);
            state.left.add(workload);
        }
    }

    /// One more segment of a log was checked.
    pub(crate) fn checked(&self, partition: &TopicPartition, bytes: u64) {
        let mut state = self.state.lock();
        let Some(of_log) = state.by_log.get_mut(partition) else { return };
        let checked = Workload { logs: 0, segments: of_log.segments.min(1), bytes: bytes.min(of_log.bytes) };
        of_log.take(checked);
        state.left.take(checked);
    }

    /// A log was opened, or cannot be.
    pub(crate) fn opened(&self, partition: &TopicPartition) {
        let mut state = self.state.lock();
        if let Some(of_log) = state.by_log.remove(partition) {
            state.left.take(of_log);
        }
        if state.by_log.is_empty() {
            state.by_log.shrink_to_fit();
        }
    }
}

/// What opening a log will have to check: the segments that [`Recovery`](super::Recovery) checks.
pub(crate) fn workload<S: Storage>(storage: &S, dir: &Path, mode: &OpenMode) -> io::Result<Workload> {
    let mut workload = Workload { logs: 1, ..Workload::default() };
    if mode.clean {
        return Ok(workload);
    }
    let mut bases: Vec<i64> = storage
        .list(dir)?
        .iter()
        .filter_map(|entry| match PartitionFile::parse(&entry.name) {
            PartitionFile::Live(SegmentFile::Log, offset) => Some(offset),
            _ => None,
        })
        .collect();
    bases.sort_unstable();
    let first = super::checked_from(&bases, mode.recovery_point);
    for base_offset in &bases[first..] {
        workload.segments += 1;
        workload.bytes += storage.len_of(&SegmentFile::Log.path(dir, *base_offset))?.unwrap_or(0);
    }
    Ok(workload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(logs: u64, segments: u64, bytes: u64) -> Workload {
        Workload { logs, segments, bytes }
    }

    #[test]
    fn what_is_left_falls_to_nothing_whatever_was_counted() {
        let progress = RecoveryProgress::default();
        let t = |partition| TopicPartition::new("t", partition);
        progress.expect(&t(0), load(1, 2, 100));
        progress.expect(&t(1), load(1, 0, 0));
        assert_eq!((progress.total(), progress.left()), (load(2, 2, 100), load(2, 2, 100)));
        progress.checked(&t(0), 70);
        assert_eq!(progress.left(), load(2, 1, 30));
        // It grew since it was counted.
        progress.checked(&t(0), 70);
        progress.checked(&t(0), 70);
        assert_eq!(progress.left(), load(2, 0, 0));
        progress.opened(&t(0));
        progress.opened(&t(0));
        progress.opened(&t(7));
        assert_eq!(progress.left(), load(1, 0, 0));
        progress.opened(&t(1));
        assert_eq!((progress.total(), progress.left()), (load(2, 2, 100), load(0, 0, 0)));
    }
}
