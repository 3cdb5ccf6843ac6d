//! Indexes made anew from the batches. They are put in place whole, one by one, so that whenever this stops each index is
//! either the old or the new one.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use taffrail_protocol::record_batch::BatchHeader;
use thiserror::Error;

use super::batches::{Part, Parts, checksum};
use super::observation::{Observation, Severity, Symptom};
use super::place::Place;
use crate::config::LogConfig;
use crate::log::marker_of;
use crate::names::{self, PartitionFile, SegmentFile};
use crate::offset_index::{self, OffsetPosition};
use crate::producer_snapshot;
use crate::producer_state::ProducerStates;
use crate::scan::Found;
use crate::storage::{Access, DiskFile, DiskLock, FileStorage, Storage, StorageFile};
use crate::time_index::{self, TimestampOffset};
use crate::transaction_index;

/// No index that is meant is larger; a larger one is replaced unread.
const MAX_INDEX_BYTES: u64 = 256 * 1024 * 1024;
/// Control batches are some hundred bytes.
const CONTROL_BATCH_BYTES: u64 = 64 * 1024;

/// Indexes could not be made anew.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// A broker uses the directory.
    #[error("the data directory {} is in use by another process: stop that one first; nothing was changed", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// Its lock could not be looked at.
    #[error("cannot lock the data directory {}: {source}; nothing was changed", path.display())]
    Lock {
        /// The data directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("cannot make the indexes in {} anew: {source}", dir.display())]
    Io {
        /// The partition's directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was done about one index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "rebuilt")]
pub struct Rebuilt {
    /// The file.
    pub file: PathBuf,
    /// How many entries it had; `None` where there was no such file.
    pub entries_before: Option<u64>,
    /// How many it has now.
    pub entries: u64,
    /// From which entry on, counted from 0, it is another one now; `None` where nothing was changed.
    pub changed_from: Option<u64>,
}

impl std::fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (file, entries) = (self.file.display(), self.entries);
        match (self.entries_before, self.changed_from) {
            (None, _) => write!(f, "{file}: was missing, and has {entries} entries now"),
            (Some(_), None) => write!(f, "{file}: was in order, with {entries} entries"),
            (Some(before), Some(from)) => {
                write!(
                    f,
                    "{file}: had {before} entries, and has {entries} now, the first {from} as they were"
                )
            }
        }
    }
}

/// Takes the lock of the data directory around a log, which is held until it is dropped; `None` where there is none around it,
/// as around a copy.
///
/// # Errors
/// When a process holds it.
pub fn lock(data_dir: Option<&Path>) -> Result<Option<DiskLock>, RebuildError> {
    let Some(path) = data_dir else { return Ok(None) };
    match FileStorage::new(1).lock(&path.join(names::LOCK)) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(RebuildError::InUse { path: path.to_owned() }),
        Err(source) => Err(RebuildError::Lock { path: path.to_owned(), source }),
    }
}

/// Makes the indexes of one log anew, with an entry for every `index_interval_bytes` of batches
/// (`index.interval.bytes` of the topic). The caller holds the [`lock`]. What keeps an index from being made is told, and the
/// index left as it is.
///
/// # Errors
/// When a file cannot be read or written.
pub fn rebuild(
    place: &Place,
    index_interval_bytes: u32,
) -> Result<(Vec<Rebuilt>, Vec<Observation>), RebuildError> {
    let mut rebuild = Rebuild {
        place,
        storage: FileStorage::new(1),
        interval: u64::from(index_interval_bytes),
        config: LogConfig { producer_id_expiration_ms: i64::MAX, ..LogConfig::default() },
        producers: None,
        rebuilt: Vec::new(),
        seen: Vec::new(),
    };
    match rebuild.run() {
        Ok(()) => Ok((rebuild.rebuilt, rebuild.seen)),
        Err(source) => Err(RebuildError::Io { dir: place.dir.clone(), source }),
    }
}

struct Rebuild<'a> {
    place: &'a Place,
    storage: FileStorage,
    interval: u64,
    config: LogConfig,
    /// The producers up to here, as long as all that matters of them is known.
    producers: Option<ProducerStates>,
    rebuilt: Vec<Rebuilt>,
    seen: Vec<Observation>,
}

/// The indexes of one segment as they grow, entry by entry as [`Segment`](crate::segment::Segment) makes them.
struct Indexes {
    base_offset: i64,
    interval: u64,
    offsets: Vec<u8>,
    times: Vec<u8>,
    transactions: Vec<u8>,
    latest: TimestampOffset,
    indexed_timestamp: i64,
    bytes_since_entry: u64,
}

impl Indexes {
    fn new(base_offset: i64, interval: u64) -> Self {
        Self {
            base_offset,
            interval,
            offsets: Vec::new(),
            times: Vec::new(),
            transactions: Vec::new(),
            latest: TimestampOffset { timestamp: -1, offset: base_offset },
            indexed_timestamp: -1,
            bytes_since_entry: 0,
        }
    }

    fn batch(&mut self, found: &Found) -> io::Result<()> {
        let header: &BatchHeader = &found.header;
        let offset = header.last_offset();
        if header.max_timestamp > self.latest.timestamp {
            self.latest = TimestampOffset { timestamp: header.max_timestamp, offset };
        }
        if self.bytes_since_entry > self.interval {
            let position = u32::try_from(found.position).map_err(io::Error::other)?;
            self.offsets.extend(OffsetPosition { offset, position }.encode(self.base_offset));
            self.index_time();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += found.size;
        Ok(())
    }

    fn index_time(&mut self) {
        if self.latest.timestamp > self.indexed_timestamp {
            self.indexed_timestamp = self.latest.timestamp;
            self.times.extend(self.latest.encode(self.base_offset));
        }
    }
}

impl Rebuild<'_> {
    fn run(&mut self) -> io::Result<()> {
        let bases: Vec<i64> = self
            .place
            .files()?
            .iter()
            .filter_map(|name| match PartitionFile::parse(name) {
                PartitionFile::Live(SegmentFile::Log, offset) => Some(offset),
                _ => None,
            })
            .collect();
        self.producers = self.producers_at(bases.first().copied().unwrap_or(0))?;
        let mut changed = false;
        for (index, base_offset) in bases.iter().enumerate() {
            let next_base = bases.get(index + 1).copied().unwrap_or(i64::MAX);
            let Some(indexes) = self.walk(*base_offset, next_base)? else { continue };
            for (kind, entry_bytes, entries) in [
                (SegmentFile::OffsetIndex, offset_index::ENTRY_BYTES, Some(&indexes.offsets)),
                (SegmentFile::TimeIndex, time_index::ENTRY_BYTES, Some(&indexes.times)),
                (
                    SegmentFile::TransactionIndex,
                    transaction_index::ENTRY_BYTES,
                    self.producers.is_some().then_some(&indexes.transactions),
                ),
            ] {
                if let Some(entries) = entries {
                    changed |= self.replace(kind, *base_offset, entry_bytes, entries)?;
                }
            }
        }
        if changed { self.storage.sync_dir(&self.place.dir) } else { Ok(()) }
    }

    /// The producers before the first segment, if that can be known: what compaction took out cannot.
    fn producers_at(&mut self, base_offset: i64) -> io::Result<Option<ProducerStates>> {
        if self.place.around.clean_offset.is_some() {
            self.transactions_stay("what a compaction took out of the log is not known");
            return Ok(None);
        }
        if base_offset == 0 {
            return Ok(Some(ProducerStates::default()));
        }
        let path = SegmentFile::ProducerSnapshot.path(&self.place.dir, base_offset);
        let bytes = self.storage.read_small(&path, producer_snapshot::MAX_BYTES)?;
        match bytes.map(|bytes| producer_snapshot::decode(&bytes)) {
            Some(Ok(entries)) => Ok(Some(ProducerStates::from_snapshot(&entries))),
            _ => {
                self.transactions_stay("which transactions were open where the log begins is not known");
                Ok(None)
            }
        }
    }

    fn transactions_stay(&mut self, why: &str) {
        let text = format!("transaction indexes are left as they are: {why}");
        let (symptom, dir) = (Symptom::NotChecked, self.place.dir.clone());
        self.seen.push(Observation::of(Severity::Note, symptom, dir, text));
    }

    /// What the indexes of a segment should hold; `None` where it has messages of another age.
    fn walk(&mut self, base_offset: i64, next_base: i64) -> io::Result<Option<Indexes>> {
        let path = SegmentFile::Log.path(&self.place.dir, base_offset);
        let file = self.storage.open(&path, Access::Read)?;
        let size = file.size()?;
        let mut parts = Parts::new(&file, size, base_offset..next_base);
        let mut indexes = Indexes::new(base_offset, self.interval);
        let mut buffer = Vec::new();
        while let Some(part) = parts.next()? {
            let damage = match part {
                Part::Batch(found) => {
                    if checksum(&file, found.position, found.size, &mut buffer)? == found.header.crc {
                        indexes.batch(&found)?;
                        self.follow(&file, &found, &mut indexes, &mut buffer)?;
                        continue;
                    }
                    (found.position, "a batch does not match its checksum".to_owned())
                }
                Part::Broken { damage, .. } if damage.old_format.is_some() => {
                    let text = "the segment has messages from before Apache Kafka 0.11; its indexes are left as they are";
                    self.seen.push(Observation::of(Severity::Note, Symptom::OldFormat, path, text));
                    self.producers = None;
                    return Ok(None);
                }
                Part::Broken { damage, .. } => (damage.position, damage.reason),
            };
            let text = format!("{}; no index leads there now, and taffrail log verify says more", damage.1);
            let seen = Observation::of(Severity::Damage, Symptom::CorruptBatch, path.clone(), text);
            self.seen.push(seen.at(damage.0));
            if self.producers.take().is_some() {
                self.transactions_stay("what damaged batches said is not known");
            }
        }
        if size > 0 {
            indexes.index_time();
        }
        Ok(Some(indexes))
    }

    /// Takes in what a batch says of its producer.
    fn follow(
        &mut self,
        file: &DiskFile,
        found: &Found,
        indexes: &mut Indexes,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        let header = &found.header;
        let Some(producers) = self.producers.as_mut().filter(|_| header.has_producer_id()) else {
            return Ok(());
        };
        if !header.is_control() {
            producers.apply(header, &self.config);
        } else if found.size <= CONTROL_BATCH_BYTES {
            buffer.resize(found.size as usize, 0);
            file.read_at(buffer, found.position)?;
            if let Ok(Some(marker)) = marker_of(buffer, header)
                && let Some(aborted) = producers.apply_marker(header, marker, &self.config)
            {
                indexes.transactions.extend(aborted.encode());
            }
        }
        Ok(())
    }

    /// Puts an index in place if it is another one; returns whether it was.
    fn replace(
        &mut self,
        kind: SegmentFile,
        base_offset: i64,
        size: usize,
        wanted: &[u8],
    ) -> io::Result<bool> {
        let path = kind.path(&self.place.dir, base_offset);
        let present = match self.storage.len_of(&path)? {
            Some(len) if len > MAX_INDEX_BYTES => Some(Vec::new()),
            _ => self.storage.read_small(&path, MAX_INDEX_BYTES)?,
        };
        if present.is_none() && kind == SegmentFile::TransactionIndex && wanted.is_empty() {
            return Ok(false);
        }
        let same = present.as_deref().is_some_and(|present| {
            // What Apache Kafka preallocated is no difference.
            let (front, rest) = present.split_at(wanted.len().min(present.len()));
            front == wanted && rest.iter().all(|byte| *byte == 0)
        });
        let entries_before = present.as_deref().map(|present| used(present, size));
        let changed_from = (!same).then(|| {
            let pairs = present.iter().flat_map(|present| present.chunks(size)).zip(wanted.chunks(size));
            pairs.take_while(|(a, b)| a == b).count() as u64
        });
        if !same {
            self.storage.replace_small_unsynced_name(&path, wanted)?;
        }
        let entries = (wanted.len() / size) as u64;
        self.rebuilt.push(Rebuilt { file: path, entries_before, entries, changed_from });
        Ok(!same)
    }
}

/// How many entries an index has before the zeros that end it.
fn used(bytes: &[u8], size: usize) -> u64 {
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    (bytes.len() - zeros).div_ceil(size) as u64
}
