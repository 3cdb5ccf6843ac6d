//! `.timeindex`: timestamps and offsets, checked against the segment.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::output::Output;
use super::when::When;
use super::{Failure, entries, open, segment_of};
use crate::names::SegmentFile;
use crate::scan::{Check, Found, Scan};
use crate::storage::{DiskFile, StorageFile};
use crate::time_index::{ENTRY_BYTES, TimestampOffset};

#[derive(Serialize)]
#[serde(tag = "type", rename = "time_index_entry")]
struct Entry {
    timestamp: i64,
    offset: i64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timestamp={} ({}) offset={}", self.timestamp, When(self.timestamp), self.offset)
    }
}

pub(super) fn print(path: &Path, base_offset: i64, output: &mut Output<'_>) -> Result<(), Failure> {
    let file = open(path)?;
    let segment = segment_of(path, SegmentFile::TimeIndex)?;
    let mut walk = match &segment {
        Some(segment) => Some(Walk::new(segment)?),
        None => {
            output.note("there is no segment beside this index to check it against")?;
            None
        }
    };
    let mut last: Option<TimestampOffset> = None;
    entries::for_each(&file, output, |output, index, bytes: &[u8; ENTRY_BYTES]| {
        let at = index * ENTRY_BYTES as u64;
        if *bytes == [0; ENTRY_BYTES] {
            return entries::end_at_zeros(&file, output, at).map(|()| false);
        }
        let entry = TimestampOffset::decode(*bytes, base_offset);
        output.entry(&Entry { timestamp: entry.timestamp, offset: entry.offset })?;
        if entry.offset < base_offset {
            output.damage(Some(at), "the offset is from before the segment")?;
        } else if last.is_some_and(|last| entry.timestamp <= last.timestamp || entry.offset < last.offset) {
            output.damage(Some(at), "timestamp or offset does not rise")?;
        } else if let Some(walk) = &mut walk
            && let Some(reason) = walk.mismatch(entry)?
        {
            output.damage(Some(at), &reason)?;
        }
        last = Some(entry);
        Ok(true)
    })
}

/// A walk along the segment, in step with the rising offsets of the index.
struct Walk<'a> {
    scan: Scan<'a, DiskFile>,
    batch: Option<Found>,
}

impl<'a> Walk<'a> {
    fn new(segment: &'a DiskFile) -> Result<Self, Failure> {
        let end = segment.size().map_err(Failure::Read)?;
        Ok(Self { scan: Scan::new(segment, 0, end, Check::Header), batch: None })
    }

    /// Why an entry does not fit the segment; nothing if the batch with its offset has its timestamp.
    fn mismatch(&mut self, entry: TimestampOffset) -> Result<Option<String>, Failure> {
        while self.batch.is_none_or(|batch| batch.header.last_offset() < entry.offset) {
            match self.scan.next().map_err(Failure::Read)? {
                Ok(Some(batch)) => self.batch = Some(batch),
                Ok(None) => return Ok(Some("the segment has no batch with this offset".to_owned())),
                Err(damage) => {
                    let (position, reason) = (damage.position, damage.reason);
                    return Ok(Some(format!("the segment is damaged at position {position}: {reason}")));
                }
            }
        }
        let Some(batch) = self.batch else { return Ok(None) };
        let max_timestamp = batch.header.max_timestamp;
        Ok((max_timestamp != entry.timestamp)
            .then(|| format!("the batch with this offset has the maximum timestamp {max_timestamp}")))
    }
}
