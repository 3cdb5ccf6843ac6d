//! Appending: as a leader, which assigns offsets, and as a follower, which keeps them.

use taffrail_protocol::record_batch::{BatchHeader, BatchMut, BatchView, Batches, TimestampType};

use super::Log;
use crate::error::{AppendError, Poisoned};
use crate::names::SegmentFile;
use crate::producer_state::{AppendOrigin, Marker};
use crate::segment::Segment;
use crate::storage::{Access, Storage, StorageFile};
use crate::transaction_index::AbortedTransaction;

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    /// The first record's offset.
    pub base_offset: i64,
    /// The last record's offset.
    pub last_offset: i64,
    /// The time that was stamped on all records, or -1 where they keep their own.
    pub log_append_time_ms: i64,
    /// The log's start offset.
    pub log_start_offset: i64,
    /// The batch had been appended before: the offsets are those of then, and nothing was written.
    pub duplicate: bool,
    /// A new segment was begun, so the one before it waits to be synced.
    pub rolled: bool,
}

impl<S: Storage> Log<S> {
    /// Appends one batch that [`validate_produced`](taffrail_protocol::record_batch::validate_produced) let pass,
    /// with its `header`. The base offset, `leader_epoch` and, where the topic asks for it, the time are written into
    /// `batch`, which then goes to the file in one write.
    ///
    /// # Errors
    /// Nothing of the batch can be read after an error, nor is an offset used up.
    pub fn append_as_leader(
        &mut self,
        batch: &mut [u8],
        header: &BatchHeader,
        leader_epoch: i32,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        self.check_writable()?;
        let size = batch.len();
        if size > self.config.max_message_bytes as usize && origin == AppendOrigin::Client {
            return Err(AppendError::MessageTooLarge { size, limit: self.config.max_message_bytes });
        }
        if size > self.config.segment_bytes as usize {
            return Err(AppendError::LargerThanSegment { size, limit: self.config.segment_bytes });
        }
        if let Some(appended) = self.producers.check(header, origin)? {
            return Ok(AppendInfo {
                base_offset: appended.base_offset,
                last_offset: appended.last_offset,
                log_append_time_ms: match self.config.timestamp_type {
                    TimestampType::CreateTime => -1,
                    TimestampType::LogAppendTime => appended.timestamp,
                },
                log_start_offset: self.log_start_offset,
                duplicate: true,
                rolled: false,
            });
        }
        let corrupt = |reason: &dyn std::fmt::Display| AppendError::Corrupt { reason: reason.to_string() };
        let mut patch = BatchMut::new(batch).map_err(|error| corrupt(&error))?;
        let log_end_offset = self.log_end_offset;
        if log_end_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
            return Err(AppendError::OffsetsExhausted { log_end_offset });
        }
        if header.last_offset_delta < 0 {
            return Err(corrupt(&"its last offset delta is negative"));
        }
        patch.set_base_offset(log_end_offset);
        patch.set_partition_leader_epoch(leader_epoch);
        let mut log_append_time_ms = -1;
        if self.config.timestamp_type == TimestampType::LogAppendTime {
            patch.set_max_timestamp_and_type(TimestampType::LogAppendTime, now_ms);
            log_append_time_ms = now_ms;
        }
        let header = *patch.header();
        let marker = marker_of(batch, &header)?;
        if let Some(marker) = marker {
            self.producers.check_marker(&header, marker)?;
        }
        let rolled = self.roll_if_due(&header, size as u64, now_ms)?;
        self.assign_epoch(leader_epoch, header.base_offset)?;
        self.write(batch)?;
        self.note(&header, marker)?;
        Ok(AppendInfo {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time_ms,
            log_start_offset: self.log_start_offset,
            duplicate: false,
            rolled,
        })
    }

    /// Appends whole batches as a leader stored them, offsets and epochs included; a batch that is cut off at the end
    /// of `bytes` is left out, and so is everything from a corrupt one on. `None` when there was no whole one. Checksums are
    /// checked.
    ///
    /// # Errors
    /// Nothing of `bytes` can be read after an error. It is one if the first batch is corrupt already.
    pub fn append_as_follower(
        &mut self,
        bytes: &[u8],
        now_ms: i64,
    ) -> Result<Option<AppendInfo>, AppendError> {
        self.check_writable()?;
        let (whole, first, last) = self.check_replicated(bytes)?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
        let bytes = &bytes[..whole];
        if first.base_offset < self.log_end_offset {
            self.begin_with_batch(first.base_offset, now_ms)?;
        }
        // All of them go into one segment, as one write.
        let mut reach = first;
        reach.last_offset_delta = i32::try_from(last.last_offset() - first.base_offset).unwrap_or(i32::MAX);
        let rolled = self.roll_if_due(&reach, whole as u64, now_ms)?;
        for view in Batches::new(bytes).flatten() {
            let header = view.header();
            if self.latest_epoch().is_none_or(|latest| latest < header.partition_leader_epoch) {
                let start_offset = header.base_offset.max(self.log_start_offset);
                self.assign_epoch(header.partition_leader_epoch, start_offset)?;
            }
        }
        self.write(bytes)?;
        for view in Batches::new(bytes).flatten() {
            let marker = marker_of(view.bytes(), view.header())?;
            self.note(view.header(), marker)?;
        }
        Ok(Some(AppendInfo {
            base_offset: first.base_offset,
            last_offset: last.last_offset(),
            log_append_time_ms: -1,
            log_start_offset: self.log_start_offset,
            duplicate: false,
            rolled,
        }))
    }

    /// Whether there is not one batch in it.
    fn is_blank(&self) -> bool {
        matches!(&self.segments[..], [only] if only.size == 0)
    }

    /// A blank log begins with the batch at `base_offset`, which holds the offset that it starts at: records before that were
    /// deleted on the leader, out of the middle of a batch.
    fn begin_with_batch(&mut self, base_offset: i64, now_ms: i64) -> Result<(), Poisoned> {
        let mut removed = self.finish_deletions();
        for blank in self.segments.drain(..) {
            removed = removed.and_then(|()| blank.remove(&self.home));
        }
        let created = removed.and_then(|()| Segment::create(&self.home, base_offset, now_ms));
        self.put_segment(created)?;
        self.lower_recovery_point(base_offset);
        Ok(())
    }

    /// How many bytes are whole batches that may follow here; the first and the last of them.
    fn check_replicated(
        &self,
        bytes: &[u8],
    ) -> Result<(usize, Option<BatchHeader>, Option<BatchHeader>), AppendError> {
        let mut batches = Batches::new(bytes);
        let (mut first, mut last, mut whole) = (None::<BatchHeader>, None, 0);
        let mut log_end_offset = self.log_end_offset;
        while let Some(view) = batches.next() {
            let view = match view.and_then(|view| view.verify_crc().map(|()| view)) {
                Ok(view) => view,
                Err(taffrail_protocol::record_batch::BatchError::Truncated { .. }) => break,
                // What is sound before it is taken, so that the next fetch begins with what is not.
                Err(_) if whole > 0 => break,
                Err(error) => return Err(AppendError::Corrupt { reason: error.to_string() }),
            };
            marker_of(view.bytes(), view.header())?;
            let header = *view.header();
            if header.last_offset_delta < 0 || header.last_offset() == i64::MAX {
                let reason =
                    format!("the batch at offset {} has an impossible last offset", header.base_offset);
                return Err(AppendError::Corrupt { reason });
            }
            let holds_end = first.is_none() && self.is_blank() && header.next_offset() > log_end_offset;
            if header.base_offset < log_end_offset && !holds_end {
                return Err(AppendError::UnexpectedOffset {
                    base_offset: header.base_offset,
                    log_end_offset,
                });
            }
            let reach = header.last_offset() - first.map_or(header.base_offset, |first| first.base_offset);
            if reach > i64::from(i32::MAX) {
                // No segment can hold both; the rest comes with the next fetch.
                break;
            }
            log_end_offset = header.next_offset();
            first = first.or(Some(header));
            last = Some(header);
            whole = batches.position();
        }
        Ok((whole, first, last))
    }

    fn roll_if_due(&mut self, header: &BatchHeader, bytes: u64, now_ms: i64) -> Result<bool, AppendError> {
        let (last_offset, timestamp) = (header.last_offset(), header.max_timestamp);
        let last = self.segments.len() - 1;
        let due =
            self.segments[last].should_roll(&self.home, &self.config, bytes, last_offset, timestamp, now_ms);
        let due = self.guard("reading the segment", due)?;
        if due {
            self.roll(header.base_offset, now_ms)?;
        }
        Ok(due)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let last = self.segments.len() - 1;
        let segment = &mut self.segments[last];
        let position = segment.size;
        let written = segment.writer(&self.home).and_then(|file| file.write_all_at(bytes, position));
        Ok(self.guard("appending to the segment", written)?)
    }

    /// Takes note of a batch that is in the file.
    fn note(&mut self, header: &BatchHeader, marker: Option<Marker>) -> Result<(), AppendError> {
        let last = self.segments.len() - 1;
        let position = self.segments[last].size;
        let noted = self.segments[last].note(&self.home, header, &self.config);
        if noted.is_err() {
            // Reads end before a batch whose append failed.
            self.segments[last].size = position;
        }
        self.guard("writing an index", noted)?;
        self.recent.push(header, position);
        self.advance(header);
        match marker {
            None => self.producers.apply(header, &self.config),
            Some(marker) => {
                if let Some(aborted) = self.producers.apply_marker(header, marker, &self.config) {
                    self.write_aborted(&aborted)?;
                }
            }
        }
        Ok(())
    }

    fn write_aborted(&mut self, aborted: &AbortedTransaction) -> Result<(), AppendError> {
        let base_offset = self.active().base_offset;
        let path = self.home.path(SegmentFile::TransactionIndex, base_offset);
        let file = self.home.storage.open(&path, Access::Write);
        let written = file.and_then(|file| file.write_all_at(&aborted.encode(), file.size()?));
        self.changes += 1;
        Ok(self.guard("writing the transaction index", written)?)
    }
}

/// What a control batch says about the end of a transaction, if that is what it is.
pub(crate) fn marker_of(bytes: &[u8], header: &BatchHeader) -> Result<Option<Marker>, AppendError> {
    if !header.is_control() || !header.has_producer_id() {
        return Ok(None);
    }
    let corrupt = |reason: &dyn std::fmt::Display| AppendError::Corrupt { reason: reason.to_string() };
    let view = BatchView::new(bytes).map_err(|error| corrupt(&error))?;
    let records = view.records(MARKER_BYTES).map_err(|error| corrupt(&error))?;
    // A batch without records is a marker that compaction has emptied.
    let Some(record) = records.iter().next() else { return Ok(None) };
    let record = record.map_err(|error| corrupt(&error))?;
    let (Some(key), Some(value)) = (record.key, record.value) else { return Ok(None) };
    let (Some([_, _, 0, kind]), Some([_, _, a, b, c, d])) = (key.first_chunk(), value.first_chunk()) else {
        return Ok(None);
    };
    let coordinator_epoch = i32::from_be_bytes([*a, *b, *c, *d]);
    let commit = match kind {
        0 => false,
        1 => true,
        _ => return Ok(None),
    };
    Ok(Some(Marker { commit, coordinator_epoch, timestamp: record.timestamp }))
}

/// A marker is some 30 bytes; what a control batch can decompress to is bounded well above it.
const MARKER_BYTES: usize = 64 * 1024;
