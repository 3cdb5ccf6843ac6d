//! Looking up offsets by time.

use taffrail_protocol::record_batch::BatchView;

use super::Log;
use crate::error::ReadError;
use crate::names::SegmentFile;
use crate::scan::{Check, Found, Scan};
use crate::segment::stamped_by_broker;
use crate::storage::{Storage, StorageFile};
use crate::time_index::TimestampOffset;

/// What a batch may decompress to while a timestamp is looked for in it. Bytes.
const DECOMPRESSED_LIMIT: usize = 128 * 1024 * 1024;

impl<S: Storage> Log<S> {
    /// The first record from the log's start on whose timestamp is not before `timestamp`, and its own timestamp;
    /// `None` when all are earlier (ListOffsets).
    ///
    /// # Errors
    /// When a file cannot be read or a batch not be understood.
    pub fn offset_for_timestamp(&mut self, timestamp: i64) -> Result<Option<TimestampOffset>, ReadError> {
        let from = self.log_start_offset;
        for index in self.segment_of(from)..self.segments.len() {
            let latest =
                self.segments[index].max_timestamp(&self.home).map_err(|error| self.cannot_read(error))?;
            self.used_indexes_of(index);
            if latest.timestamp < timestamp {
                continue;
            }
            let mut position = self.position_before(index, timestamp)?;
            while let Some(found) = self.next_batch(index, position)? {
                position = found.end();
                if found.header.max_timestamp < timestamp || found.header.last_offset() < from {
                    continue;
                }
                let wanted = |record: TimestampOffset| record.timestamp >= timestamp && record.offset >= from;
                if let Some(record) = self.first_record(index, &found, wanted)? {
                    return Ok(Some(record));
                }
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp, the first where several have it; `None` in an empty log (KIP-734).
    ///
    /// # Errors
    /// When a file cannot be read or a batch not be understood.
    pub fn max_timestamp(&mut self) -> Result<Option<TimestampOffset>, ReadError> {
        let mut best: Option<(usize, TimestampOffset)> = None;
        for index in 0..self.segments.len() {
            let latest =
                self.segments[index].max_timestamp(&self.home).map_err(|error| self.cannot_read(error))?;
            self.used_indexes_of(index);
            if latest.timestamp >= 0 && best.is_none_or(|(_, best)| latest.timestamp > best.timestamp) {
                best = Some((index, latest));
            }
        }
        let Some((index, latest)) = best else { return Ok(None) };
        let Some(found) = self.locate(index, latest.offset)? else { return Ok(None) };
        self.first_record(index, &found, |record| record.timestamp == latest.timestamp)
    }

    /// Where to begin to look in a segment: no record before it is as late as `timestamp`.
    fn position_before(&mut self, index: usize, timestamp: i64) -> Result<u64, ReadError> {
        let segment = &mut self.segments[index];
        let base_offset = segment.base_offset;
        let path = self.home.path(SegmentFile::TimeIndex, base_offset);
        let entry = segment.times.lookup(&self.home.storage, &path, timestamp.saturating_sub(1));
        let entry = entry.map_err(|error| self.cannot_read(error))?;
        let offset = entry.map_or(base_offset, |entry| entry.offset).max(self.log_start_offset);
        let path = self.home.path(SegmentFile::OffsetIndex, base_offset);
        let entry = self.segments[index].offsets.lookup(&self.home.storage, &path, offset);
        let entry = entry.map_err(|error| self.cannot_read(error))?;
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    fn next_batch(&self, index: usize, position: u64) -> Result<Option<Found>, ReadError> {
        let segment = &self.segments[index];
        let file = segment.reader(&self.home).map_err(|error| self.cannot_read(error))?;
        let next = Scan::new(&*file, position, segment.size, Check::Header).next();
        next.map_err(|error| self.cannot_read(error))?
            .map_err(|damage| self.damaged(segment.base_offset, damage))
    }

    /// The first record of a batch that is wanted.
    fn first_record(
        &self,
        index: usize,
        found: &Found,
        wanted: impl Fn(TimestampOffset) -> bool,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let header = &found.header;
        if stamped_by_broker(header) {
            let from = header.base_offset.max(self.log_start_offset);
            let record = TimestampOffset { timestamp: header.max_timestamp, offset: from };
            return Ok(Some(record).filter(|record| wanted(*record)));
        }
        let segment = &self.segments[index];
        let file = segment.reader(&self.home).map_err(|error| self.cannot_read(error))?;
        // The size was checked against the file's, so no more is allocated than is there.
        let mut bytes = vec![0; found.size as usize];
        let read = file.read_at(&mut bytes, found.position).map_err(|error| self.cannot_read(error))?;
        bytes.truncate(read);
        let damaged = |reason: String| {
            let damage =
                crate::scan::Damage { position: found.position, reason, cut_short: false, old_format: None };
            self.damaged(segment.base_offset, damage)
        };
        let view = BatchView::new(&bytes).map_err(|error| damaged(error.to_string()))?;
        let records = view.records(DECOMPRESSED_LIMIT).map_err(|error| damaged(error.to_string()))?;
        for record in records.iter() {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let record = TimestampOffset { timestamp: record.timestamp, offset: record.offset };
            if wanted(record) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}
