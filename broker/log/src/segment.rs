//! One segment: a file of batches, its two indexes, and what is known about them
//! (`org.apache.kafka.storage.internals.log.LogSegment`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use taffrail_protocol::record_batch::{BatchHeader, TimestampType};

use crate::cleaner::plan::SegmentState;
use crate::config::LogConfig;
use crate::error::synced;
use crate::names::SegmentFile;
use crate::offset_index::{self, OffsetIndex, OffsetPosition};
use crate::scan::{Check, Damage, Found, Scan};
use crate::storage::{Access, Storage, StorageFile};
use crate::time_index::{self, TimeIndex, TimestampOffset};
use crate::transaction_index;

/// Where a log lives, or what is to become a part of it.
#[derive(Clone)]
pub(crate) struct Home<S: Storage> {
    pub storage: S,
    pub dir: PathBuf,
    /// Ends the names of segments' files that are not the log's yet.
    pub suffix: &'static str,
}

impl<S: Storage> Home<S> {
    pub fn path(&self, kind: SegmentFile, offset: i64) -> PathBuf {
        self.dir.join(kind.name(offset) + self.suffix)
    }
}

/// One segment of a log. Only the last one of a log is written to.
pub(crate) struct Segment<S: Storage> {
    pub base_offset: i64,
    /// Bytes of whole batches in the file; what may lie behind them is never read.
    pub size: u64,
    /// The file, open for writing, once something was written.
    file: Option<Arc<S::File>>,
    pub offsets: OffsetIndex<S>,
    pub times: TimeIndex<S>,
    /// The largest timestamp and the last offset of the batch that has it; timestamp -1 while there is none. `None`
    /// until it was asked for.
    max_timestamp: Option<TimestampOffset>,
    /// The first batch's largest timestamp, which the age of a segment counts from. `None` until it was asked for.
    first_timestamp: Option<i64>,
    /// When this object was made. Milliseconds since 1970.
    created_ms: i64,
    bytes_since_index_entry: u64,
    /// Whether the indexes may have changed since they were last durable.
    pub indexes_changed: bool,
}

impl<S: Storage> Segment<S> {
    /// A segment whose files are there, with so many bytes and index entries.
    pub fn new(base_offset: i64, size: u64, offset_entries: u64, time_entries: u64, now_ms: i64) -> Self {
        let none = TimestampOffset { timestamp: -1, offset: base_offset };
        Self {
            base_offset,
            size,
            file: None,
            offsets: OffsetIndex::new(base_offset, offset_entries),
            times: TimeIndex::new(base_offset, time_entries),
            max_timestamp: (size == 0).then_some(none),
            first_timestamp: None,
            created_ms: now_ms,
            bytes_since_index_entry: 0,
            indexes_changed: false,
        }
    }

    /// Makes an empty segment's files, in place of any that have their names.
    pub fn create(home: &Home<S>, base_offset: i64, now_ms: i64) -> io::Result<Self> {
        for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            home.storage.open(&home.path(kind, base_offset), Access::Replace)?;
        }
        home.storage.remove_file(&home.path(SegmentFile::TransactionIndex, base_offset))?;
        let file = home.storage.open(&home.path(SegmentFile::Log, base_offset), Access::Replace)?;
        let mut segment = Self::new(base_offset, 0, 0, 0, now_ms);
        segment.file = Some(Arc::new(file));
        Ok(segment)
    }

    /// What a compaction is to know of it.
    pub fn state(&self) -> SegmentState {
        SegmentState {
            base_offset: self.base_offset,
            size: self.size,
            offset_entries: self.offsets.len(),
            time_entries: self.times.len(),
        }
    }

    /// The file, for writing.
    pub fn writer(&mut self, home: &Home<S>) -> io::Result<&Arc<S::File>> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                Arc::new(home.storage.open(&home.path(SegmentFile::Log, self.base_offset), Access::Write)?)
            }
        };
        Ok(self.file.insert(file))
    }

    /// The file, for reading.
    pub fn reader(&self, home: &Home<S>) -> io::Result<Arc<S::File>> {
        match &self.file {
            Some(file) => Ok(Arc::clone(file)),
            None => home.storage.open_cached(&home.path(SegmentFile::Log, self.base_offset)),
        }
    }

    /// Appends whole batches, of which these are the headers.
    pub fn append(
        &mut self,
        home: &Home<S>,
        bytes: &[u8],
        headers: impl IntoIterator<Item = BatchHeader>,
        config: &LogConfig,
    ) -> io::Result<()> {
        let position = self.size;
        self.writer(home)?.write_all_at(bytes, position)?;
        headers.into_iter().try_for_each(|header| self.note(home, &header, config))
    }

    /// Takes note of a batch that was written at the end.
    pub fn note(&mut self, home: &Home<S>, header: &BatchHeader, config: &LogConfig) -> io::Result<()> {
        let position = self.size;
        let (last_offset, timestamp) = (header.last_offset(), header.max_timestamp);
        self.indexes_changed = true;
        if position == 0 {
            self.first_timestamp = Some(timestamp);
        }
        let known = self.max_timestamp(home)?;
        // One that compaction has emptied has the time of records that are gone.
        if timestamp > known.timestamp && header.record_count > 0 {
            self.max_timestamp = Some(TimestampOffset { timestamp, offset: last_offset });
        }
        if self.bytes_since_index_entry > u64::from(config.index_interval_bytes) {
            let position = u32::try_from(position).map_err(io::Error::other)?;
            if self.offsets.push(OffsetPosition { offset: last_offset, position }) {
                let path = home.path(SegmentFile::OffsetIndex, self.base_offset);
                self.offsets.file().write(&home.storage, &path)?;
            }
            self.index_time(home)?;
            self.bytes_since_index_entry = 0;
        }
        let size = header.size_in_bytes() as u64;
        self.size += size;
        self.bytes_since_index_entry += size;
        Ok(())
    }

    fn index_time(&mut self, home: &Home<S>) -> io::Result<()> {
        let entry = self.max_timestamp(home)?;
        let path = home.path(SegmentFile::TimeIndex, self.base_offset);
        if self.times.push(&home.storage, &path, entry)? {
            self.times.file().write(&home.storage, &path)?;
        }
        Ok(())
    }

    /// Writes the index entries that have gathered. With `last`, adds the time entry that lets the next reader know
    /// the segment's largest timestamp; it belongs at the end of a segment that is rolled or closed.
    pub fn write_indexes(&mut self, home: &Home<S>, last: bool) -> io::Result<()> {
        if last && self.size > 0 {
            self.index_time(home)?;
        }
        self.offsets.file().write(&home.storage, &home.path(SegmentFile::OffsetIndex, self.base_offset))?;
        self.times.file().write(&home.storage, &home.path(SegmentFile::TimeIndex, self.base_offset))
    }

    /// Ends writing: indexes are written, and what only a writer needs is given back.
    pub fn seal(&mut self, home: &Home<S>) -> io::Result<()> {
        self.write_indexes(home, true)?;
        self.offsets.file().release();
        self.times.file().release();
        self.file = None;
        Ok(())
    }

    /// Unmaps the indexes.
    pub fn unmap(&mut self) {
        self.offsets.file().unmap();
        self.times.file().unmap();
    }

    /// Whether this segment must end before `bytes` more with offsets up to `last_offset` and timestamps up to
    /// `timestamp` are appended (`LogSegment.shouldRoll`).
    pub fn should_roll(
        &mut self,
        home: &Home<S>,
        config: &LogConfig,
        bytes: u64,
        last_offset: i64,
        timestamp: i64,
        now_ms: i64,
    ) -> io::Result<bool> {
        if last_offset - self.base_offset > i64::from(i32::MAX) {
            return Ok(true);
        }
        if self.size == 0 {
            return Ok(false);
        }
        let index_bytes = u64::from(config.segment_index_bytes);
        let full = self.size + bytes > u64::from(config.segment_bytes)
            || self.offsets.len() >= index_bytes / offset_index::ENTRY_BYTES as u64
            || self.times.len() + 1 >= index_bytes / time_index::ENTRY_BYTES as u64;
        if full {
            return Ok(true);
        }
        let age = match self.first_timestamp(home)? {
            first if first >= 0 => timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        };
        let jittered_ms = config.segment_ms.saturating_sub(config.segment_jitter_ms);
        let most_ms =
            if config.compact { jittered_ms.min(config.max_compaction_lag_ms) } else { jittered_ms };
        Ok(age > most_ms)
    }

    /// The largest timestamp of the first batch, or -1.
    pub fn first_timestamp(&mut self, home: &Home<S>) -> io::Result<i64> {
        if let Some(timestamp) = self.first_timestamp {
            return Ok(timestamp);
        }
        let file = self.reader(home)?;
        let first = Scan::new(&*file, 0, self.size, Check::Header).next()?;
        let timestamp = first.ok().flatten().map_or(-1, |found| found.header.max_timestamp);
        Ok(*self.first_timestamp.insert(timestamp))
    }

    /// The largest timestamp, and the last offset of the batch that has it; timestamp -1 when there is none. A sealed
    /// segment's last time entry has it; of one that is written to it is kept in memory.
    pub fn max_timestamp(&mut self, home: &Home<S>) -> io::Result<TimestampOffset> {
        if let Some(known) = self.max_timestamp {
            return Ok(known);
        }
        let path = home.path(SegmentFile::TimeIndex, self.base_offset);
        let last = self.times.last(&home.storage, &path)?;
        let none = TimestampOffset { timestamp: -1, offset: self.base_offset };
        Ok(*self.max_timestamp.insert(last.unwrap_or(none)))
    }

    /// The largest timestamp; where no record has one, when the file was last written to. Milliseconds since 1970.
    pub fn largest_timestamp(&mut self, home: &Home<S>) -> io::Result<i64> {
        let known = self.max_timestamp(home)?.timestamp;
        if known >= 0 {
            return Ok(known);
        }
        let modified = home.storage.modified_ms(&home.path(SegmentFile::Log, self.base_offset))?;
        Ok(modified.unwrap_or(self.created_ms))
    }

    /// Finds the first batch that ends at `offset` or behind it. An index that misleads costs a longer walk, no more.
    pub fn locate(&mut self, home: &Home<S>, offset: i64) -> io::Result<Result<Option<Found>, Damage>> {
        let path = home.path(SegmentFile::OffsetIndex, self.base_offset);
        let entry = self.offsets.lookup(&home.storage, &path, offset)?;
        let hint = entry.map_or(0, |entry| u64::from(entry.position)).min(self.size);
        let file = self.reader(home)?;
        match self.walk(&file, hint, offset)? {
            Ok(found) if found.is_some() || hint < self.size || self.size == 0 => Ok(Ok(found)),
            _ => self.walk(&file, 0, offset),
        }
    }

    fn walk(&self, file: &S::File, from: u64, offset: i64) -> io::Result<Result<Option<Found>, Damage>> {
        let mut scan = Scan::new(file, from, self.size, Check::Header);
        loop {
            match scan.next()? {
                Ok(Some(found)) if found.header.last_offset() < offset => {}
                other => return Ok(other),
            }
        }
    }

    /// Reads the end of a segment that was closed in good order: the offset behind its last batch, and its largest
    /// timestamp, for which the indexes tell where to begin. Index entries that are due are added on the way.
    pub fn read_tail(&mut self, home: &Home<S>, config: &LogConfig) -> io::Result<Result<i64, Damage>> {
        let size = std::mem::take(&mut self.size);
        let path = home.path(SegmentFile::OffsetIndex, self.base_offset);
        let last = self.offsets.last(&home.storage, &path)?;
        let from = last.map_or(0, |entry| u64::from(entry.position));
        let max_timestamp = self.max_timestamp(home)?;
        if from > size {
            let reason = format!("the index names position {from}, behind the end at {size}");
            return Ok(Err(Damage { position: size, reason, cut_short: false, old_format: None }));
        }
        let file = self.reader(home)?;
        let mut scan = Scan::new(&*file, from, size, Check::Header).with_floor(self.base_offset);
        self.size = from;
        self.bytes_since_index_entry = 0;
        let entries = self.offsets.len() + self.times.len();
        let mut next_offset = self.base_offset;
        loop {
            match scan.next()? {
                Ok(Some(found)) => {
                    if found.position == 0 {
                        self.first_timestamp = None;
                    }
                    next_offset = found.header.next_offset();
                    self.note(home, &found.header, config)?;
                }
                Ok(None) => break,
                Err(damage) => return Ok(Err(damage)),
            }
        }
        debug_assert!(self.max_timestamp.is_none_or(|known| known.timestamp >= max_timestamp.timestamp));
        self.indexes_changed = self.offsets.len() + self.times.len() != entries;
        Ok(Ok(next_offset))
    }

    /// Walks the whole segment, checks every batch, and writes both indexes anew. Returns the offset behind the last
    /// sound batch and what stopped the walk; `size` is then where the sound batches end.
    pub fn rebuild(
        &mut self,
        home: &Home<S>,
        config: &LogConfig,
        check: Check,
    ) -> io::Result<(i64, Option<Damage>)> {
        let size = std::mem::take(&mut self.size);
        self.unmap();
        // Entries are written over those that are there: nearly always they are the same, and nothing is to be cut.
        self.offsets = OffsetIndex::new(self.base_offset, 0);
        self.times = TimeIndex::new(self.base_offset, 0);
        self.max_timestamp = Some(TimestampOffset { timestamp: -1, offset: self.base_offset });
        self.bytes_since_index_entry = 0;
        self.indexes_changed = true;
        let walked = self.note_all(home, config, size, check)?;
        self.offsets.file().trim(&home.storage, &home.path(SegmentFile::OffsetIndex, self.base_offset))?;
        self.times.file().trim(&home.storage, &home.path(SegmentFile::TimeIndex, self.base_offset))?;
        Ok(walked)
    }

    fn note_all(
        &mut self,
        home: &Home<S>,
        config: &LogConfig,
        size: u64,
        check: Check,
    ) -> io::Result<(i64, Option<Damage>)> {
        let file = self.reader(home)?;
        let mut scan = Scan::new(&*file, 0, size, check).with_floor(self.base_offset);
        let mut next_offset = self.base_offset;
        loop {
            match scan.next()? {
                Ok(Some(found)) if found.header.last_offset() - self.base_offset > i64::from(i32::MAX) => {
                    let reason = "a batch is too far from its segment's base offset".to_owned();
                    return Ok((
                        next_offset,
                        Some(Damage { position: found.position, reason, cut_short: false, old_format: None }),
                    ));
                }
                Ok(Some(found)) => {
                    next_offset = found.header.next_offset();
                    self.note(home, &found.header, config)?;
                }
                Ok(None) => return Ok((next_offset, None)),
                Err(damage) => return Ok((next_offset, Some(damage))),
            }
        }
    }

    /// Cuts off the batch that has `offset` and all behind it. Returns where the log then ends: at `offset`, or where
    /// the batch began that had it inside.
    pub fn truncate_to(
        &mut self,
        home: &Home<S>,
        offset: i64,
        config: &LogConfig,
        now_ms: i64,
    ) -> io::Result<Result<i64, Damage>> {
        let found = match self.locate(home, offset)? {
            Ok(found) => found,
            Err(damage) => return Ok(Err(damage)),
        };
        let end = found.map_or(offset, |found| found.header.base_offset.min(offset));
        let size = found.map_or(self.size, |found| found.position);
        self.write_indexes(home, false)?;
        // Whatever fails from here on: what is behind may be gone.
        self.size = size;
        self.offsets.truncate_to(
            &home.storage,
            &home.path(SegmentFile::OffsetIndex, self.base_offset),
            end,
        )?;
        self.times.truncate_to(&home.storage, &home.path(SegmentFile::TimeIndex, self.base_offset), end)?;
        transaction_index::truncate_to(&home.storage, &home.dir, self.base_offset, end)?;
        let file = self.writer(home)?;
        file.set_len(size)?;
        synced(file.sync())?;
        if size == 0 {
            self.created_ms = now_ms;
            self.first_timestamp = None;
        }
        self.max_timestamp = None;
        let read = self.read_tail(home, config)?;
        self.indexes_changed = true;
        Ok(read.map(|_| end))
    }

    /// Cuts the file off behind the sound batches.
    pub fn cut(&mut self, home: &Home<S>) -> io::Result<()> {
        let size = self.size;
        self.writer(home)?.set_len(size)
    }

    /// Removes the files, the producer snapshot before the segment included.
    pub fn remove(mut self, home: &Home<S>) -> io::Result<()> {
        self.unmap();
        // The log goes last: as long as it is there, the others are not orphans.
        for kind in SegmentFile::ALL.into_iter().rev() {
            home.storage.remove_file(&home.path(kind, self.base_offset))?;
        }
        Ok(())
    }
}

/// Whether all records of a batch have its largest timestamp.
pub(crate) fn stamped_by_broker(header: &BatchHeader) -> bool {
    header.timestamp_type() == TimestampType::LogAppendTime
}
