//! Compaction: of records with the same key only the latest stays (`org.apache.kafka.storage.internals.log.Cleaner`).
//!
//! ```text
//! log.begin_cleaning()        under the log's lock: a snapshot of its segments, a [`Plan`]
//! cleaner.begin(plan)         reads what is new, into a map of the latest offset of each key
//! cleaner.clean_next()        writes some neighbouring segments anew as one, .cleaned, synced, and then .swap
//! log.replace_segments()      under the lock: renames, if the segments are still what they were
//!   … again for the next ones, from the oldest on
//! cleaning.sync()             makes the last of the new names durable
//! log.note_cleaned()          under the lock: how far the log is compacted now
//! ```
//!
//! Nothing but the renames happens while the log waits. What a crash leaves at any point is in the table of
//! [`Finding`](crate::Finding): before `.swap` nothing has happened, from then on it is brought to its end.

mod filter;
mod offset_map;
pub mod plan;
mod read;
mod transactions;
mod write;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use taffrail_protocol::record_batch::{BatchError, BatchView, write_empty};

use crate::config::LogConfig;
use crate::log::{Replacement, Rewrite};
use crate::names::{CLEANED_SUFFIX, SegmentFile};
use crate::producer_state::LastOfProducer;
use crate::segment::{Home, Segment};
use crate::storage::Storage;
use crate::transaction_index::{self, AbortedTransaction};
use crate::{offset_index, rewritten, time_index};
use filter::{Rules, Scratch};
use offset_map::OffsetMap;
use plan::{Cleanable, SegmentLimits, SegmentState};
use read::SegmentReader;
use transactions::Transactions;
use write::{Output, WriteError};

/// Told of the bytes that a compaction is about to read or write, it takes its time, or ends the compaction.
pub trait Pace {
    /// Returns when so many bytes may be read or written.
    ///
    /// # Errors
    /// [`Stopped`] when the compaction shall end.
    fn spend(&mut self, bytes: u64) -> Result<(), Stopped>;
}

/// A compaction shall end before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// Why a compaction ended before it was done. The log is as it was, but for what was replaced before.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// Its [`Pace`] stopped it.
    #[error("it was stopped")]
    Stopped,
    /// A file cannot be read or written.
    #[error("{action} {} failed: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A batch is damaged.
    #[error("{} has a corrupt batch at position {position}, where offset {offset} is due: {source}", path.display())]
    Corrupt {
        /// The segment's file.
        path: PathBuf,
        /// Where in it. Bytes.
        position: u64,
        /// The offset behind the batch before it.
        offset: i64,
        /// What is wrong.
        source: BatchError,
    },
    /// The records of a batch cannot be understood, or not be written anew.
    #[error("the batch at offset {offset} of {} cannot be compacted: {source}", path.display())]
    Batch {
        /// The segment's file.
        path: PathBuf,
        /// The batch's first offset.
        offset: i64,
        /// Why.
        source: BatchError,
    },
}

impl CleanError {
    /// Whether the disk was full.
    pub fn is_out_of_space(&self) -> bool {
        let kind = |source: &io::Error| source.kind();
        matches!(self, Self::Io { source, .. } if matches!(kind(source), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl From<Stopped> for CleanError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What a compaction has to know of a log; a snapshot.
pub struct Plan<S: Storage> {
    pub(crate) home: Home<S>,
    pub(crate) config: LogConfig,
    pub(crate) cleanable: Cleanable,
    /// The segments that begin before `cleanable.first_uncleanable`.
    pub(crate) segments: Vec<SegmentState>,
    /// All segments, up to the log's end.
    pub(crate) bases: Vec<i64>,
    pub(crate) producers: HashMap<i64, LastOfProducer>,
    pub(crate) rewrite: Rewrite,
    pub(crate) now_ms: i64,
}

impl<S: Storage> Plan<S> {
    /// What can be compacted.
    pub fn cleanable(&self) -> &Cleanable {
        &self.cleanable
    }

    /// The aborted transactions with records in these segments: they end there or behind.
    fn aborted_transactions(&self) -> Result<Vec<AbortedTransaction>, CleanError> {
        let mut aborted = Vec::new();
        for &base_offset in &self.bases {
            let path = self.home.path(SegmentFile::TransactionIndex, base_offset);
            let read = |source| CleanError::Io { path: path.clone(), action: "reading", source };
            let bytes = self.home.storage.read_small(&path, transaction_index::MAX_BYTES).map_err(read)?;
            let entries = transaction_index::decode(&bytes.unwrap_or_default(), base_offset);
            aborted.extend(entries.map_err(|error| read(io::Error::new(io::ErrorKind::InvalidData, error)))?);
        }
        Ok(aborted)
    }

    fn limits(&self) -> SegmentLimits {
        let index_bytes = u64::from(self.config.segment_index_bytes);
        SegmentLimits {
            bytes: u64::from(self.config.segment_bytes),
            offset_entries: index_bytes / offset_index::ENTRY_BYTES as u64,
            time_entries: index_bytes / time_index::ENTRY_BYTES as u64,
        }
    }

    fn end_of(&self, index: usize) -> i64 {
        self.segments.get(index + 1).map_or(self.cleanable.first_uncleanable, |next| next.base_offset)
    }
}

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanStats {
    /// Bytes of the segments that were new.
    pub mapped_bytes: u64,
    /// Bytes of the segments that were written anew.
    pub bytes_before: u64,
    /// What is left of them.
    pub bytes_after: u64,
    /// Records in them.
    pub records_before: u64,
    /// What is left of those.
    pub records_after: u64,
    /// How full the map of keys was, of 100.
    pub map_percent: u64,
}

/// A compaction under way.
pub struct Cleaning<S: Storage> {
    plan: Plan<S>,
    map: OffsetMap,
    transactions: Transactions,
    /// How many segments become one, group by group.
    groups: std::vec::IntoIter<usize>,
    next_segment: usize,
    stats: CleanStats,
}

impl<S: Storage> Cleaning<S> {
    /// Records before this offset are compacted when all is done.
    pub fn end_offset(&self) -> i64 {
        self.map.latest() + 1
    }

    /// The directory of the log that is compacted.
    pub fn dir(&self) -> &Path {
        &self.plan.home.dir
    }

    /// Makes durable what is in place. Blocks.
    ///
    /// # Errors
    /// When the directory cannot be synced.
    pub fn sync(&self) -> io::Result<()> {
        self.plan.home.storage.sync_dir(&self.plan.home.dir)
    }

    /// What was done so far.
    pub fn stats(&self) -> &CleanStats {
        &self.stats
    }
}

/// What a [`Cleaner`] may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CleanerLimits {
    /// Bytes for the map of keys: its share of `log.cleaner.dedupe.buffer.size`.
    pub map_bytes: usize,
    /// How full that may get (`log.cleaner.io.buffer.load.factor`).
    pub load_factor: f64,
    /// Bytes for each of two buffers, which grow with the batches: its share of `log.cleaner.io.buffer.size`.
    pub io_bytes: usize,
}

/// Compacts one log after the other. Its buffers are used again.
pub struct Cleaner {
    limits: CleanerLimits,
    seed: u64,
    reader: SegmentReader,
    output: Output,
}

impl Cleaner {
    /// A cleaner within these limits. `seed` is not to be guessed by those who choose the keys.
    pub fn new(limits: CleanerLimits, seed: u64) -> Self {
        let io_bytes = limits.io_bytes;
        Self { limits, seed, reader: SegmentReader::new(io_bytes), output: Output::new(io_bytes) }
    }

    /// What it may use.
    pub fn limits(&self) -> CleanerLimits {
        self.limits
    }

    /// Reads what is new in a log. Blocks on the disk.
    ///
    /// # Errors
    /// [`CleanError`] says why it came to no end.
    pub fn begin<S: Storage>(
        &mut self,
        plan: Plan<S>,
        pace: &mut impl Pace,
    ) -> Result<Cleaning<S>, CleanError> {
        let Cleanable { first_dirty, first_uncleanable, .. } = plan.cleanable;
        let records = u64::try_from(first_uncleanable - first_dirty).unwrap_or(0);
        let mut map = OffsetMap::new(records, self.limits.map_bytes, self.limits.load_factor, self.seed);
        let aborted = plan.aborted_transactions()?;
        let mut stats = CleanStats::default();
        let first = plan.segments.partition_point(|segment| segment.base_offset <= first_dirty);
        let first = first.saturating_sub(1);
        let from = plan.segments.get(first).map_or(first_dirty, |segment| segment.base_offset);
        // Those that ended before are not met: their producers' next transactions must not be taken for them.
        let met = aborted.iter().filter(|transaction| transaction.last_offset >= from);
        let mut transactions = Transactions::new(met.copied().collect());
        let mut is_full = false;
        let scratch = &mut self.output.scratch;
        for (index, segment) in plan.segments.iter().enumerate().skip(first) {
            let path = plan.home.path(SegmentFile::Log, segment.base_offset);
            self.reader.for_each_batch(&plan.home, segment, pace, |_, batch| {
                let taken = take_in(batch, first_dirty, &mut map, &mut transactions, scratch);
                is_full = !taken.map_err(|source| batch_failed(&path, batch, source))?;
                Ok(!is_full)
            })?;
            if is_full {
                break;
            }
            // Offsets without a record count too.
            map.note_latest(plan.end_of(index) - 1);
            stats.mapped_bytes += segment.size;
        }
        stats.map_percent = (100 * map.len() / map.capacity()) as u64;
        let end = map.latest() + 1;
        let count = plan.segments.partition_point(|segment| segment.base_offset < end);
        let groups = plan::groups(&plan.segments[..count], plan.limits(), first_uncleanable).into_iter();
        let transactions = Transactions::new(aborted);
        self.reader.shrink();
        Ok(Cleaning { plan, map, transactions, groups, next_segment: 0, stats })
    }

    /// Writes the next segments anew; `None` when all are done. Blocks on the disk.
    ///
    /// # Errors
    /// [`CleanError`] says why it came to no end. What it had written of these segments is removed.
    pub fn clean_next<S: Storage>(
        &mut self,
        cleaning: &mut Cleaning<S>,
        pace: &mut impl Pace,
    ) -> Result<Option<Replacement<S>>, CleanError> {
        let Some(count) = cleaning.groups.next() else { return Ok(None) };
        let sources = cleaning.plan.segments[cleaning.next_segment..cleaning.next_segment + count].to_vec();
        let base_offset = sources[0].base_offset;
        cleaning.next_segment += count;
        let written = self.write_group(cleaning, &sources, pace);
        self.reader.shrink();
        self.output.reset();
        let Home { storage, dir, .. } = &cleaning.plan.home;
        let written = written.and_then(|segment| {
            if segment.size == 0 {
                rewritten::discard(storage, dir, base_offset);
                return Ok(None);
            }
            let beside = rewritten::put_beside(storage, dir, base_offset);
            beside.map(|()| Some(segment)).map_err(|source| CleanError::Io {
                path: SegmentFile::Log.path(dir, base_offset),
                action: "renaming what takes the place of",
                source,
            })
        });
        if written.is_err() {
            rewritten::discard(storage, dir, base_offset);
        }
        let segment = written?;
        Ok(Some(Replacement { sources, segment, rewrite: cleaning.plan.rewrite.clone() }))
    }

    fn write_group<S: Storage>(
        &mut self,
        cleaning: &mut Cleaning<S>,
        sources: &[SegmentState],
        pace: &mut impl Pace,
    ) -> Result<Segment<S>, CleanError> {
        let Cleaning { plan, map, transactions, stats, .. } = cleaning;
        let home = Home { suffix: CLEANED_SUFFIX, ..plan.home.clone() };
        let path = home.path(SegmentFile::Log, sources[0].base_offset);
        let failed = |error: WriteError| match error {
            WriteError::Stopped => CleanError::Stopped,
            WriteError::Io(source) => CleanError::Io { path: path.clone(), action: "writing", source },
        };
        let cleaned = Segment::create(&home, sources[0].base_offset, plan.now_ms);
        let mut cleaned = cleaned.map_err(|error| failed(error.into()))?;
        let rules = Rules {
            map,
            producers: &plan.producers,
            end: plan.cleanable.first_uncleanable,
            now_ms: plan.now_ms,
            delete_retention_ms: plan.config.delete_retention_ms,
        };
        let output = &mut self.output;
        let mut last = None;
        for source in sources {
            let source_path = plan.home.path(SegmentFile::Log, source.base_offset);
            self.reader.for_each_batch(&plan.home, source, pace, |pace, batch| {
                let filtered = rules.filter(batch, transactions, &mut output.scratch, &mut output.bytes);
                let filtered = filtered.map_err(|source| batch_failed(&source_path, batch, source))?;
                stats.records_before += filtered.records;
                stats.records_after += filtered.kept;
                output.headers.extend(filtered.written);
                last = Some(*batch.header());
                if output.is_full() {
                    output.write(&mut cleaned, &home, &plan.config, pace).map_err(failed)?;
                }
                Ok(true)
            })?;
            stats.bytes_before += source.size;
        }
        // A log does not begin behind its start.
        let is_first = plan.bases.first() == Some(&cleaned.base_offset);
        if let Some(last) = last.filter(|_| is_first && cleaned.size == 0 && output.headers.is_empty()) {
            let written = write_empty(&last, &mut output.bytes);
            let failed = |source| CleanError::Batch { path: path.clone(), offset: last.base_offset, source };
            output.headers.push(written.map_err(failed)?);
        }
        output.write(&mut cleaned, &home, &plan.config, pace).map_err(failed)?;
        stats.bytes_after += cleaned.size;
        let modified_ms = sources.last().map(|last| plan.home.path(SegmentFile::Log, last.base_offset));
        let modified_ms = modified_ms.and_then(|path| plan.home.storage.modified_ms(&path).ok().flatten());
        let completed = rewritten::complete(&home, &mut cleaned, &transactions.take_kept(), modified_ms);
        completed.map_err(|error| failed(error.into()))?;
        Ok(cleaned)
    }
}

/// Takes the keys of a batch into the map. False when that is full.
fn take_in(
    batch: &BatchView<'_>,
    first_dirty: i64,
    map: &mut OffsetMap,
    transactions: &mut Transactions,
    scratch: &mut Scratch,
) -> Result<bool, BatchError> {
    let header = batch.header();
    let is_aborted = filter::meet(batch, transactions)?;
    if !header.is_control()
        && !is_aborted
        && !scratch.take_in(&filter::records_of(batch)?, first_dirty, map)?
    {
        return Ok(false);
    }
    if header.last_offset() >= first_dirty {
        map.note_latest(header.last_offset());
    }
    Ok(true)
}

fn batch_failed(path: &Path, batch: &BatchView<'_>, source: BatchError) -> CleanError {
    CleanError::Batch { path: path.to_owned(), offset: batch.header().base_offset, source }
}
