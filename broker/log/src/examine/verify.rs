//! Whether a log is sound: every batch and record, and whether everything that is kept beside the batches is true of them.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::observation::{Observation, Observations, Severity, Symptom};
use super::place::Place;
use super::producers::Producers;
use super::segment::SegmentWalk;
use crate::checkpoint;
use crate::leader_epoch::LeaderEpochs;
use crate::names::{self, PartitionFile, SegmentFile};
use crate::storage::{FileStorage, Storage};

/// How a log is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Walk the records of each batch too, and decompress them for it.
    pub deep: bool,
    /// The records of batches up to this size are walked, as they are and decompressed. Bytes.
    pub max_batch_bytes: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { deep: false, max_batch_bytes: 256 * 1024 * 1024 }
    }
}

/// What was found of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What was seen, in the order of the log.
    pub observations: Vec<Observation>,
    /// How many places are damaged; more than are told where it is the same again and again.
    pub damaged: u64,
    /// How many segments there are.
    pub segments: u64,
    /// How many batches were sound.
    pub batches: u64,
    /// How many records these have, as their headers say.
    pub records: u64,
    /// How many bytes were read as batches.
    pub bytes: u64,
    /// The base offset of the first segment.
    pub base_offset: i64,
    /// The offset behind the last batch.
    pub log_end_offset: i64,
}

/// Verifies one log. It is only read; its broker may be running.
pub fn verify(place: &Place, options: &VerifyOptions) -> Verified {
    let mut verify = Verify {
        place,
        options: *options,
        seen: Observations::default(),
        epochs: Epochs::Unknown,
        totals: Totals::default(),
        end: None,
        base_offset: 0,
    };
    if let Err(error) = verify.run() {
        verify.cannot_read(place.dir.clone(), &error);
    }
    let Totals { segments, batches, records, bytes } = verify.totals;
    Verified {
        damaged: verify.seen.damaged(),
        observations: verify.seen.into_told(),
        segments,
        batches,
        records,
        bytes,
        base_offset: verify.base_offset,
        log_end_offset: verify.end.unwrap_or(verify.base_offset),
    }
}

#[derive(Debug, Default)]
pub(super) struct Totals {
    pub segments: u64,
    pub batches: u64,
    pub records: u64,
    pub bytes: u64,
}

/// What `leader-epoch-checkpoint` says.
pub(super) enum Epochs {
    /// Nothing that batches can be held against.
    Unknown,
    /// There is no such file, or nothing in it.
    Missing,
    Known(LeaderEpochs),
}

pub(super) struct Verify<'a> {
    pub place: &'a Place,
    pub options: VerifyOptions,
    pub seen: Observations,
    pub epochs: Epochs,
    pub totals: Totals,
    /// The offset behind the last batch so far; `None` before the first segment, and where damage leaves it open.
    pub end: Option<i64>,
    base_offset: i64,
}

impl Verify<'_> {
    fn run(&mut self) -> io::Result<()> {
        let names = match self.place.files() {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.place.around.in_use => {
                let text = "the directory was removed meanwhile, as when a topic is deleted";
                self.seen.note(Symptom::NotChecked, &self.place.dir, text);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let live: BTreeSet<(SegmentFile, i64)> = names
            .iter()
            .filter_map(|name| match PartitionFile::parse(name) {
                PartitionFile::Live(kind, offset) => Some((kind, offset)),
                _ => None,
            })
            .collect();
        let of_kind =
            |wanted| live.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, offset)| *offset);
        let bases: Vec<i64> = of_kind(SegmentFile::Log).collect();
        let snapshots: Vec<i64> = of_kind(SegmentFile::ProducerSnapshot).collect();
        self.tell_unfinished(&names);
        self.place.check_topic_id(&mut self.seen);
        self.read_epochs()?;
        self.tell_orphans(&live, &names);
        let Some(first) = bases.first().copied() else {
            self.tell_empty();
            return Ok(());
        };
        self.base_offset = first;
        let mut producers = Producers::new(self.place, snapshots, first);
        for (index, base_offset) in bases.iter().enumerate() {
            let next_base = bases.get(index + 1).copied();
            let walk = SegmentWalk::new(*base_offset, next_base, &self.place.around);
            let path = SegmentFile::Log.path(&self.place.dir, *base_offset);
            match walk.run(self, &mut producers, &live) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.place.around.in_use => {
                    self.end = None;
                    producers.lost();
                    let text = "a file of the segment was removed meanwhile, so it was not checked";
                    self.seen.note(Symptom::NotChecked, &path, text);
                }
                Err(error) => {
                    self.end = None;
                    producers.lost();
                    self.cannot_read(path, &error);
                }
                Ok(()) => {}
            }
        }
        if let Some(end) = self.end {
            producers.end(end, &mut self.seen);
            self.check_end(end);
        }
        Ok(())
    }

    pub(super) fn cannot_read(&mut self, path: PathBuf, error: &io::Error) {
        self.seen.damage(Symptom::Unreadable, &path, format!("it cannot be read: {error}"));
    }

    fn tell_unfinished(&mut self, names: &[String]) {
        for name in names {
            let text = match PartitionFile::parse(name) {
                PartitionFile::Temporary => {
                    "a file that was to take another's place and did not; it stands for nothing"
                }
                PartitionFile::Deleted(..) => {
                    "a file that is to be removed; its records are no part of the log any more"
                }
                PartitionFile::Cleaned(..) => {
                    "written by a compaction that is under way or was cut short; no part of the log"
                }
                PartitionFile::Swap(..) => {
                    "the result of a compaction that is being put in place; the next start ends that or takes it back"
                }
                PartitionFile::Live(..) | PartitionFile::Other => continue,
            };
            self.seen.note(Symptom::UnfinishedFile, &self.place.dir.join(name), text);
        }
    }

    fn tell_orphans(&mut self, live: &BTreeSet<(SegmentFile, i64)>, names: &[String]) {
        // The log file of a segment leaves first.
        let leaving = |offset| {
            names
                .iter()
                .any(|name| PartitionFile::parse(name) == PartitionFile::Deleted(SegmentFile::Log, offset))
        };
        for &(kind, offset) in live {
            let index = matches!(
                kind,
                SegmentFile::OffsetIndex | SegmentFile::TimeIndex | SegmentFile::TransactionIndex
            );
            if index && !live.contains(&(SegmentFile::Log, offset)) && !self.place.around.in_use {
                let path = kind.path(&self.place.dir, offset);
                if leaving(offset) {
                    self.seen.note(Symptom::UnfinishedFile, &path, "to be removed with its segment");
                    continue;
                }
                let text = "an index without its segment: the .log file of that name is gone, or the index was left over";
                self.seen.damage(Symptom::OrphanIndex, &path, text);
            }
        }
    }

    /// A directory without a segment: made, and not written to, or emptied.
    fn tell_empty(&mut self) {
        let around = &self.place.around;
        let had = around.recovery_point.max(around.high_watermark).unwrap_or(0);
        if had > 0 && !around.in_use {
            let text =
                format!("there is no segment, and the log is known to have had records up to offset {had}");
            self.seen.damage(Symptom::NoSegment, &self.place.dir, text);
        } else {
            self.seen.note(Symptom::NoSegment, &self.place.dir, "there is no segment yet");
        }
    }

    fn read_epochs(&mut self) -> io::Result<()> {
        let path = self.place.dir.join(names::LEADER_EPOCH_CHECKPOINT);
        let bytes = FileStorage::new(1).read_small(&path, checkpoint::MAX_BYTES)?;
        self.epochs = match bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| LeaderEpochs::decode(&bytes))
        {
            None => Epochs::Missing,
            Some(Ok(epochs)) => Epochs::Known(epochs),
            Some(Err(error)) => {
                self.seen.damage(Symptom::CorruptEpochs, &path, format!("the file {error}"));
                Epochs::Unknown
            }
        };
        Ok(())
    }

    /// There are batches with leader epochs, and nothing that says where these begin.
    pub(super) fn miss_epochs(&mut self) {
        self.epochs = Epochs::Unknown;
        if !self.place.around.in_use {
            let path = self.place.dir.join(names::LEADER_EPOCH_CHECKPOINT);
            let text = "there are batches, and the file that says where leader epochs begin is missing or empty; a start of \
                        the broker makes it anew";
            self.seen.damage(Symptom::CorruptEpochs, &path, text);
        }
    }

    /// Whether what is kept beside the log lies within it.
    fn check_end(&mut self, end: i64) {
        let around = self.place.around;
        let mut ahead = |told: Option<i64>, damage: bool, symptom, text: &str| {
            if let Some(told) = told.filter(|told| *told > end) {
                let severity = if damage { Severity::Damage } else { Severity::Note };
                let text = format!("the log ends at offset {end}, and {text} {told}");
                let seen = Observation::of(severity, symptom, self.place.dir.clone(), text);
                self.seen.push(seen.offsets(end, told - 1));
            }
        };
        // One that a running broker or a crash left behind may be from before a truncation.
        let text = "recovery-point-offset-checkpoint says that it was synced up to";
        ahead(around.recovery_point, around.clean, Symptom::CheckpointAhead, text);
        let text = "replication-offset-checkpoint says that everything was committed before";
        ahead(around.high_watermark, !around.in_use, Symptom::CheckpointAhead, text);
        let text = "log-start-offset-checkpoint says that it begins at";
        ahead(around.log_start_offset, !around.in_use, Symptom::CheckpointAhead, text);
        let text = "cleaner-offset-checkpoint says that it was compacted up to";
        ahead(around.clean_offset, around.clean, Symptom::CheckpointAhead, text);
        if let Epochs::Known(epochs) = &self.epochs {
            let latest = epochs.latest().map(|latest| latest.start_offset);
            let text = "leader-epoch-checkpoint has an epoch that begins at";
            let damage = !around.in_use && !around.is_checked_at_start(end);
            ahead(latest, damage, Symptom::CorruptEpochs, text);
        }
    }
}
