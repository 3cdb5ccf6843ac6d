//! Opening a log: what the files of a partition may look like, and what is done about it
//! (`org.apache.kafka.storage.internals.log.LogLoader`).
//!
//! The table is [`Finding`], a row for each damaged or unfinished state, each with its [`Verdict`]. A log that was
//! closed in good order shows none of them: its sizes are asked for, and the end of its last segment is read.

mod producers;
mod progress;
mod report;
mod segments;

use std::io;

use taffrail_protocol::Uuid;

use crate::checkpoint;
use crate::config::LogConfig;
use crate::error::OpenError;
use crate::leader_epoch::{self, LeaderEpochs};
use crate::log::OpenMode;
use crate::names::{self, PartitionFile};
use crate::partition_metadata;
use crate::producer_state::ProducerStates;
use crate::scan::{Check, Scan};
use crate::segment::{Home, Segment};
use crate::storage::Storage;

pub(crate) use producers::{ReplayBounds, list_snapshots, load_producers};
pub(crate) use progress::workload;
pub use progress::{RecoveryProgress, Workload};
pub use report::{Finding, RecoveryReport, Verdict};

/// What a log starts with.
pub(crate) struct Loaded<S: Storage> {
    pub topic_id: Option<Uuid>,
    pub log_start_offset: i64,
    pub recovery_point: i64,
    pub log_end_offset: i64,
    pub segments: Vec<Segment<S>>,
    pub producers: ProducerStates,
    pub snapshot_offset: i64,
    pub epochs: LeaderEpochs,
    /// Whether the directory or a small file in it is other than it was when it was last synced.
    pub files_changed: bool,
}

/// What is carried from step to step.
struct Recovery<'a, S: Storage> {
    home: &'a Home<S>,
    config: &'a LogConfig,
    mode: OpenMode,
    now_ms: i64,
    report: RecoveryReport,
    files_changed: bool,
    /// Told the bytes of each segment that was checked.
    checked: &'a dyn Fn(u64),
}

/// The first of these base offsets whose segment is checked batch by batch when everything before `recovery_point` was synced.
pub(crate) fn checked_from(bases: &[i64], recovery_point: i64) -> usize {
    // One that ends exactly there may have been rolled since, with indexes that were never synced.
    bases.partition_point(|base_offset| *base_offset < recovery_point).saturating_sub(1)
}

/// Why recovery had to stop.
enum Failure {
    Io(String, io::Error),
    Open(OpenError),
}

/// Says what was being done when an operation failed.
trait Doing<T> {
    fn doing(self, action: &str) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Io(action.to_owned(), error))
    }
}

/// Reads and mends the files of one partition. `checked` hears of each segment that was checked, with its bytes.
pub(crate) fn load<S: Storage>(
    home: &Home<S>,
    config: &LogConfig,
    mode: OpenMode,
    now_ms: i64,
    checked: &dyn Fn(u64),
) -> Result<(Loaded<S>, RecoveryReport), OpenError> {
    let recovery = Recovery {
        home,
        config,
        mode,
        now_ms,
        report: RecoveryReport::default(),
        files_changed: !mode.clean,
        checked,
    };
    recovery.run().map_err(|failure| match failure {
        Failure::Open(error) => error,
        Failure::Io(action, source) => OpenError::Io { dir: home.dir.clone(), action, source },
    })
}

impl<S: Storage> Recovery<'_, S> {
    fn run(mut self) -> Result<(Loaded<S>, RecoveryReport), Failure> {
        let names = self.list()?;
        let names = self.remove_unfinished(names)?;
        let names = self.finish_swaps(names)?;
        let mut segments = self.open_segments(&names)?;
        let log_end_offset = self.check_segments(&mut segments)?;
        let (log_start_offset, log_end_offset) = self.bounds(&mut segments, log_end_offset)?;
        let epochs = self.load_epochs(&segments, log_start_offset, log_end_offset)?;
        self.sort_snapshots(&segments, log_end_offset)?;
        let checked_from = segments.get(self.checked_from(&segments)).map(|segment| segment.base_offset);
        let indexed_from = checked_from.unwrap_or(i64::MAX);
        let bounds = ReplayBounds { log_end_offset, indexed_from };
        let rebuilt = load_producers(self.home, self.config, &mut segments, bounds, self.now_ms)
            .doing("reading the producers' state")?;
        for offset in &rebuilt.unreadable {
            let name = names::SegmentFile::ProducerSnapshot.name(*offset);
            self.report.note(Finding::UnreadableSnapshot, name);
        }
        for offset in &rebuilt.rebuilt_indexes {
            let name = names::SegmentFile::TransactionIndex.name(*offset);
            self.report.note(Finding::CorruptTransactionIndex, name);
        }
        let recovery_point =
            if self.mode.clean { log_end_offset } else { self.mode.recovery_point.clamp(0, log_end_offset) };
        let loaded = Loaded {
            topic_id: self.topic_id()?,
            log_start_offset,
            recovery_point,
            log_end_offset,
            segments,
            producers: rebuilt.producers,
            snapshot_offset: rebuilt.snapshot_offset,
            epochs,
            files_changed: self.files_changed || !self.report.findings.is_empty(),
        };
        Ok((loaded, self.report))
    }

    fn list(&self) -> Result<Vec<String>, Failure> {
        let entries = self.home.storage.list(&self.home.dir).doing("listing the directory")?;
        let mut names: Vec<String> =
            entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect();
        // Disk order is chance; a report should not be.
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&mut self, finding: Finding, name: &str) -> Result<(), Failure> {
        debug_assert_eq!(finding.verdict(), Verdict::Remove);
        self.home.storage.remove_file(&self.home.dir.join(name)).doing(&format!("removing {name}"))?;
        self.report.note(finding, name);
        Ok(())
    }

    /// Removes files that were on their way in or out.
    fn remove_unfinished(&mut self, names: Vec<String>) -> Result<Vec<String>, Failure> {
        let mut kept = Vec::with_capacity(names.len());
        for name in names {
            match PartitionFile::parse(&name) {
                PartitionFile::Temporary => self.remove(Finding::TemporaryFile, &name)?,
                PartitionFile::Deleted(..) => self.remove(Finding::DeletedFile, &name)?,
                // The cleaned files of a compaction that did not come to its end; swaps of the same one follow below.
                _ => kept.push(name),
            }
        }
        Ok(kept)
    }

    /// Where the log begins and ends, once the segments are known.
    fn bounds(&mut self, segments: &mut Vec<Segment<S>>, log_end_offset: i64) -> Result<(i64, i64), Failure> {
        let wanted = self.mode.log_start_offset.max(0);
        if segments.is_empty() || log_end_offset < wanted {
            for segment in segments.drain(..).rev() {
                let name = names::SegmentFile::Log.name(segment.base_offset);
                segment.remove(self.home).doing(&format!("removing {name}"))?;
                self.report.note(Finding::EndsBeforeStart, name);
            }
            let segment = Segment::create(self.home, wanted, self.now_ms).doing("making a segment")?;
            segments.push(segment);
            return Ok((wanted, wanted));
        }
        let first = segments.first().map_or(0, |segment| segment.base_offset);
        Ok((wanted.max(first), log_end_offset))
    }

    fn load_epochs(
        &mut self,
        segments: &[Segment<S>],
        log_start_offset: i64,
        log_end_offset: i64,
    ) -> Result<LeaderEpochs, Failure> {
        let path = self.home.dir.join(names::LEADER_EPOCH_CHECKPOINT);
        let bytes = self.home.storage.read_small(&path, checkpoint::MAX_BYTES);
        let bytes = bytes.doing("reading leader-epoch-checkpoint")?;
        // Apache Kafka makes the file empty; so does a crash.
        let stored = bytes.as_deref().filter(|bytes| !bytes.is_empty()).map(LeaderEpochs::decode);
        let mut changed = false;
        let mut epochs = match stored {
            Some(Ok(epochs)) => epochs,
            None if log_end_offset == log_start_offset => LeaderEpochs::default(),
            None | Some(Err(_)) => {
                let finding =
                    if stored.is_none() { Finding::MissingEpochs } else { Finding::UnreadableEpochs };
                self.report.note(finding, names::LEADER_EPOCH_CHECKPOINT);
                changed = true;
                self.scan_epochs(LeaderEpochs::default(), segments)?
            }
        };
        if epochs.truncate_from_end(log_end_offset.saturating_add(1)) {
            self.report.note(Finding::EpochsAhead, names::LEADER_EPOCH_CHECKPOINT);
            changed = true;
        }
        // An epoch may begin at the very end, without a record; as in Apache Kafka it is forgotten, and in good order.
        epochs.truncate_from_end(log_end_offset);
        if !self.mode.clean {
            // Behind the recovery point the batches alone tell the truth: epochs begun there may not be durable, and
            // others may be that were taken back.
            let before = epochs.clone();
            let first = self.checked_from(segments);
            epochs
                .truncate_from_end(segments.get(first).map_or(log_end_offset, |segment| segment.base_offset));
            epochs = self.scan_epochs(epochs, &segments[first..])?;
            changed |= epochs != before;
        }
        changed |= epochs.truncate_from_start(log_start_offset);
        if changed {
            self.files_changed = true;
            leader_epoch::write(&self.home.storage, &self.home.dir, &epochs)
                .doing("writing leader-epoch-checkpoint")?;
        }
        Ok(epochs)
    }

    /// Takes epochs from the batches of these segments.
    fn scan_epochs(
        &self,
        mut epochs: LeaderEpochs,
        segments: &[Segment<S>],
    ) -> Result<LeaderEpochs, Failure> {
        for segment in segments {
            let file = segment.reader(self.home).doing("reading a segment")?;
            let mut scan = Scan::new(&*file, 0, segment.size, Check::Header);
            while let Ok(Some(found)) = scan.next().doing("reading a segment")? {
                let epoch = found.header.partition_leader_epoch;
                if epochs.latest().is_none_or(|latest| latest.epoch < epoch) {
                    epochs.assign(epoch, found.header.base_offset);
                }
            }
        }
        Ok(epochs)
    }

    fn topic_id(&mut self) -> Result<Option<Uuid>, Failure> {
        let path = self.home.dir.join(names::PARTITION_METADATA);
        let bytes = self.home.storage.read_small(&path, partition_metadata::MAX_BYTES);
        let Some(bytes) = bytes.doing("reading partition.metadata")? else { return Ok(None) };
        match partition_metadata::decode(&bytes) {
            Ok(topic_id) => Ok(Some(topic_id)),
            Err(_) => {
                self.report.note(Finding::UnreadableMetadata, names::PARTITION_METADATA);
                Ok(None)
            }
        }
    }
}
