//! What batches tell of their producers, held against producer snapshots and transaction indexes.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use taffrail_protocol::record_batch::BatchHeader;

use super::observation::{Observation, Observations, Severity, Symptom};
use super::place::Place;
use crate::config::LogConfig;
use crate::log::marker_of;
use crate::names::SegmentFile;
use crate::producer_snapshot::{self, SnapshotEntry};
use crate::producer_state::ProducerStates;
use crate::storage::{FileStorage, Storage};
use crate::transaction_index::{self, AbortedTransaction};

/// No transaction index that is meant is larger.
const MAX_TRANSACTION_INDEX_BYTES: u64 = 64 * 1024 * 1024;

/// The producers of one log, as its batches are walked.
pub(super) struct Producers<'a> {
    place: &'a Place,
    config: LogConfig,
    states: ProducerStates,
    /// The offsets of the snapshots that were not reached yet.
    snapshots: VecDeque<i64>,
    /// From this offset on every batch was seen, or what was before it is known from a snapshot; `None` once that is not so
    /// any more, as a batch was damaged.
    known_from: Option<i64>,
    /// Transactions that were aborted in the present segment.
    aborted: Vec<AbortedTransaction>,
}

impl<'a> Producers<'a> {
    /// Before the first batch of a log whose first segment begins at `base_offset`. Compaction takes batches out, so that
    /// those of a compacted log tell little of what producers were.
    pub fn new(place: &'a Place, snapshots: Vec<i64>, base_offset: i64) -> Self {
        let states = match read_snapshot(place, base_offset) {
            Ok(Some(Ok(entries))) => ProducerStates::from_snapshot(&entries),
            _ => ProducerStates::default(),
        };
        Self {
            place,
            config: LogConfig { producer_id_expiration_ms: i64::MAX, ..LogConfig::default() },
            states,
            snapshots: snapshots.into(),
            known_from: Some(base_offset).filter(|_| place.around.clean_offset.is_none()),
            aborted: Vec::new(),
        }
    }

    /// A batch was damaged or is missing.
    pub fn lost(&mut self) {
        self.known_from = None;
    }

    /// Takes in a sound batch; of a control batch the `bytes`, as far as they are wanted.
    pub fn batch(&mut self, header: &BatchHeader, bytes: &[u8], seen: &mut Observations) {
        self.reach(header.base_offset, seen);
        if !header.has_producer_id() {
            return;
        }
        if !header.is_control() {
            self.states.apply(header, &self.config);
        } else if let Ok(Some(marker)) = marker_of(bytes, header) {
            self.aborted.extend(self.states.apply_marker(header, marker, &self.config));
        }
        if self.states.len() >= self.config.max_producers {
            // Some are forgotten from here on.
            self.known_from = None;
        }
    }

    /// Checks the snapshots up to an offset.
    pub fn reach(&mut self, offset: i64, seen: &mut Observations) {
        while let Some(snapshot) = self.snapshots.pop_front_if(|snapshot| *snapshot <= offset) {
            self.check_snapshot(snapshot, seen);
        }
    }

    /// The log has ended; snapshots that are left are ahead of it.
    pub fn end(&mut self, log_end_offset: i64, seen: &mut Observations) {
        self.reach(log_end_offset, seen);
        let around = &self.place.around;
        for snapshot in self.snapshots.drain(..) {
            let path = SegmentFile::ProducerSnapshot.path(&self.place.dir, snapshot);
            let text = format!("the snapshot is of offset {snapshot}, and the log ends at {log_end_offset}");
            if around.in_use {
                continue;
            } else if around.is_checked_at_start(snapshot) {
                seen.note(Symptom::SnapshotAhead, &path, text + "; the next start removes it");
            } else {
                seen.damage(Symptom::SnapshotAhead, &path, text);
            }
        }
    }

    fn check_snapshot(&self, offset: i64, seen: &mut Observations) {
        let path = SegmentFile::ProducerSnapshot.path(&self.place.dir, offset);
        let entries = match read_snapshot(self.place, offset) {
            Ok(Some(Ok(entries))) => entries,
            // Gone meanwhile.
            Ok(None) => return,
            Ok(Some(Err(error))) if self.place.around.is_checked_at_start(offset) => {
                let text = format!("the file {error}; the next start does without it");
                return seen.note(Symptom::CorruptSnapshot, &path, text);
            }
            Ok(Some(Err(error))) => {
                return seen.damage(Symptom::CorruptSnapshot, &path, format!("the file {error}"));
            }
            Err(error) => return seen.damage(Symptom::Unreadable, &path, error.to_string()),
        };
        let known = self.known_from.map(|from| (from, self.entries()));
        for entry in &entries {
            let id = entry.producer_id;
            if entry.last_offset >= offset || entry.current_txn_first_offset >= offset {
                let last = entry.last_offset.max(entry.current_txn_first_offset);
                let text =
                    format!("it says that producer {id} wrote offset {last}, behind the snapshot's own");
                seen.damage(Symptom::CorruptSnapshot, &path, text);
            } else if let Some((from, known)) = &known
                && entry.last_offset >= *from
                && let Some(text) = difference(entry, known)
            {
                seen.damage(Symptom::CorruptSnapshot, &path, text);
            }
        }
    }

    fn entries(&self) -> Vec<SnapshotEntry> {
        let mut entries = producer_snapshot::decode(&self.states.to_snapshot()).unwrap_or_default();
        entries.sort_by_key(|entry| entry.producer_id);
        entries
    }

    /// Checks the transaction index of the segment that has just ended, of which batches up to `end` were seen.
    pub fn check_transactions(
        &mut self,
        base_offset: i64,
        end: i64,
        in_motion: bool,
        seen: &mut Observations,
    ) {
        let aborted = std::mem::take(&mut self.aborted);
        let path = SegmentFile::TransactionIndex.path(&self.place.dir, base_offset);
        let bytes = match FileStorage::new(1).read_small(&path, MAX_TRANSACTION_INDEX_BYTES) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => return seen.damage(Symptom::Unreadable, &path, error.to_string()),
        };
        let mut wrong = Vec::new();
        match transaction_index::decode(&bytes, base_offset) {
            Err(error) => wrong.push((None, format!("the file {error}"))),
            Ok(entries) => {
                // The last of them may have come since.
                let entries: Vec<_> =
                    entries.into_iter().filter(|entry| entry.last_offset < end || !in_motion).collect();
                self.compare(&aborted, &entries, in_motion, &mut wrong);
            }
        }
        let severity = match self.place.around.is_checked_at_start(end) {
            true => Severity::Note,
            false => Severity::Damage,
        };
        for (position, text) in wrong {
            let observation =
                Observation::of(severity, Symptom::CorruptTransactionIndex, PathBuf::from(&path), text);
            seen.push(Observation { position, ..observation });
        }
    }

    fn compare(
        &self,
        aborted: &[AbortedTransaction],
        entries: &[AbortedTransaction],
        in_motion: bool,
        wrong: &mut Vec<(Option<u64>, String)>,
    ) {
        let Some(from) = self.known_from else { return };
        let told = |entry: &AbortedTransaction| {
            let AbortedTransaction { producer_id, first_offset, last_offset, .. } = entry;
            format!("producer {producer_id} aborted a transaction of offsets {first_offset}..{last_offset}")
        };
        // Both rise by their last offsets.
        let has = |entries: &[AbortedTransaction], wanted: &AbortedTransaction| {
            let found = entries.binary_search_by_key(&wanted.last_offset, |entry| entry.last_offset);
            found.is_ok_and(|index| {
                let entry = &entries[index];
                (entry.producer_id, entry.first_offset) == (wanted.producer_id, wanted.first_offset)
            })
        };
        for (entry, index) in entries.iter().zip(0..) {
            if entry.first_offset >= from && !has(aborted, entry) {
                let text = format!("it says that {}, and the batches do not", told(entry));
                wrong.push((Some(index * transaction_index::ENTRY_BYTES as u64), text));
            }
        }
        // An entry is written after the batch.
        for aborted in aborted.iter().filter(|_| !in_motion) {
            if aborted.first_offset >= from && !has(entries, aborted) {
                wrong.push((None, format!("it does not say that {}", told(aborted))));
            }
        }
    }
}

/// What a snapshot says otherwise than the batches.
fn difference(entry: &SnapshotEntry, known: &[SnapshotEntry]) -> Option<String> {
    let id = entry.producer_id;
    let Ok(index) = known.binary_search_by_key(&id, |known| known.producer_id) else {
        return Some(format!("it knows producer {id}, of which the log has no batch"));
    };
    let batch = &known[index];
    let place = |entry: &SnapshotEntry| (entry.last_offset, entry.producer_epoch, entry.last_sequence);
    if place(entry) != place(batch) {
        let told = |(offset, epoch, sequence): (i64, i16, i32)| {
            format!("offset {offset} in epoch {epoch} with sequence {sequence}")
        };
        let (says, is) = (told(place(entry)), told(place(batch)));
        return Some(format!("it says that producer {id} ended at {says}, and its last batch is at {is}"));
    }
    let open = |entry: &SnapshotEntry| match entry.current_txn_first_offset {
        -1 => "no open transaction".to_owned(),
        first => format!("a transaction open since offset {first}"),
    };
    (entry.current_txn_first_offset != batch.current_txn_first_offset)
        .then(|| format!("it says that producer {id} has {}, and it has {}", open(entry), open(batch)))
}

type Decoded = Result<Vec<SnapshotEntry>, crate::error::FormatError>;

fn read_snapshot(place: &Place, offset: i64) -> io::Result<Option<Decoded>> {
    let path = SegmentFile::ProducerSnapshot.path(&place.dir, offset);
    let bytes = FileStorage::new(1).read_small(&path, producer_snapshot::MAX_BYTES)?;
    Ok(bytes.map(|bytes| producer_snapshot::decode(&bytes)))
}
