//! What the segments of a log hold, a row for each.

use std::collections::BTreeSet;
use std::io;

use serde::Serialize;
use taffrail_protocol::record_batch::Compression;

use super::place::Place;
use crate::names::{PartitionFile, SegmentFile};
use crate::retention::{self, Retention, SegmentAge};
use crate::scan::{Check, Scan};
use crate::storage::{Access, FileStorage, Storage, StorageFile};

/// One segment as its batches' headers tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentRow {
    /// The first offset that it may have.
    pub base_offset: i64,
    /// The offset behind its last batch.
    pub end_offset: i64,
    /// Bytes of its file.
    pub bytes: u64,
    /// How many batches it has.
    pub batches: u64,
    /// How many records these have.
    pub records: u64,
    /// The largest timestamp of its first batch; -1 where there is none. Milliseconds since 1970.
    pub first_timestamp: i64,
    /// The largest timestamp; -1 where there is none. Milliseconds since 1970.
    pub max_timestamp: i64,
    /// The codecs of its batches.
    pub compression: BTreeSet<&'static str>,
    /// Whether it is the one that is written to.
    pub active: bool,
    /// Whether compaction went over it; `None` where the log is not known to be compacted.
    pub cleaned: Option<Cleaned>,
    /// Why retention would delete it, if it would.
    pub retention_deletes: Option<DeletedBy>,
    /// Why its batches were read no further, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// How far compaction went over a segment, as `cleaner-offset-checkpoint` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleaned {
    /// All of it was.
    Clean,
    /// It was not, or not all of it.
    Dirty,
}

impl Cleaned {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Dirty => "dirty",
        }
    }
}

/// Why retention deletes a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletedBy {
    /// There is enough without it (`retention.bytes`).
    Size,
    /// All its records are old enough (`retention.ms`).
    Age,
}

impl DeletedBy {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Age => "age",
        }
    }
}

/// Lists the segments of a log by walking the headers of their batches, and which of them `retention` would delete at `now_ms`.
/// It is only read.
///
/// # Errors
/// When a directory or file cannot be read.
pub fn list(place: &Place, retention: Retention, now_ms: i64) -> io::Result<Vec<SegmentRow>> {
    let bases: Vec<i64> = place
        .files()?
        .iter()
        .filter_map(|name| match PartitionFile::parse(name) {
            PartitionFile::Live(SegmentFile::Log, offset) => Some(offset),
            _ => None,
        })
        .collect();
    let mut rows = Vec::new();
    for (index, base_offset) in bases.iter().enumerate() {
        match row(place, *base_offset, index + 1 == bases.len()) {
            Ok(row) => rows.push(row),
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.around.in_use => {}
            Err(error) => return Err(error),
        }
    }
    judge(place, &mut rows, retention, now_ms)?;
    Ok(rows)
}

fn judge(place: &Place, rows: &mut [SegmentRow], retention: Retention, now_ms: i64) -> io::Result<()> {
    let mut ages = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let largest_timestamp_ms = match row.max_timestamp {
            -1 => {
                let path = SegmentFile::Log.path(&place.dir, row.base_offset);
                FileStorage::new(1).modified_ms(&path)?.unwrap_or(now_ms)
            }
            latest => latest,
        };
        ages.push(SegmentAge { end_offset: row.end_offset, size: row.bytes, largest_timestamp_ms });
    }
    let end = rows.last().map_or(0, |row| row.end_offset);
    let due = retention::due(&ages, retention, place.around.high_watermark.unwrap_or(end), now_ms);
    for (index, row) in rows.iter_mut().enumerate().take(due.segments()) {
        row.retention_deletes = Some(if index < due.by_size { DeletedBy::Size } else { DeletedBy::Age });
    }
    Ok(())
}

fn row(place: &Place, base_offset: i64, active: bool) -> io::Result<SegmentRow> {
    let file = FileStorage::new(1).open(&SegmentFile::Log.path(&place.dir, base_offset), Access::Read)?;
    let bytes = file.size()?;
    let mut row = SegmentRow {
        base_offset,
        end_offset: base_offset,
        bytes,
        batches: 0,
        records: 0,
        first_timestamp: -1,
        max_timestamp: -1,
        compression: BTreeSet::new(),
        active,
        cleaned: None,
        retention_deletes: None,
        unreadable: None,
    };
    let mut scan = Scan::new(&file, 0, bytes, Check::Header).with_floor(base_offset);
    loop {
        match scan.next()? {
            Ok(Some(found)) => {
                let header = &found.header;
                if row.batches == 0 {
                    row.first_timestamp = header.max_timestamp;
                }
                row.batches += 1;
                row.records += u64::try_from(header.record_count).unwrap_or(0);
                row.max_timestamp = row.max_timestamp.max(header.max_timestamp);
                row.end_offset = header.next_offset();
                row.compression.insert(header.compression().map_or("unknown", Compression::name));
            }
            Ok(None) => break,
            Err(damage) => {
                row.unreadable = Some(match damage.old_format {
                    Some(magic) => format!("message format {magic}, from before Apache Kafka 0.11"),
                    None => format!("from position {} on: {}", damage.position, damage.reason),
                });
                break;
            }
        }
    }
    row.cleaned = place.around.clean_offset.map(|clean| match row.end_offset <= clean {
        true => Cleaned::Clean,
        false => Cleaned::Dirty,
    });
    Ok(row)
}
