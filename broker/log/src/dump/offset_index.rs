//! `.index`: offsets and positions, checked against the segment.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use taffrail_protocol::record_batch::{BatchHeader, HEADER_SIZE};

use super::output::Output;
use super::{Failure, entries, open, segment_of};
use crate::names::SegmentFile;
use crate::offset_index::{ENTRY_BYTES, OffsetPosition};
use crate::storage::{DiskFile, StorageFile};

#[derive(Serialize)]
#[serde(tag = "type", rename = "offset_index_entry")]
struct Entry {
    offset: i64,
    position: u32,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset={} position={}", self.offset, self.position)
    }
}

pub(super) fn print(path: &Path, base_offset: i64, output: &mut Output<'_>) -> Result<(), Failure> {
    let file = open(path)?;
    let segment = segment_of(path, SegmentFile::OffsetIndex)?;
    if segment.is_none() {
        output.note("there is no segment beside this index to check it against")?;
    }
    let mut last: Option<OffsetPosition> = None;
    entries::for_each(&file, output, |output, index, bytes: &[u8; ENTRY_BYTES]| {
        let at = index * ENTRY_BYTES as u64;
        if *bytes == [0; ENTRY_BYTES] {
            return entries::end_at_zeros(&file, output, at).map(|()| false);
        }
        let entry = OffsetPosition::decode(*bytes, base_offset);
        output.entry(&Entry { offset: entry.offset, position: entry.position })?;
        if entry.offset < base_offset {
            output.damage(Some(at), "the offset is from before the segment")?;
        } else if last.is_some_and(|last| entry.offset <= last.offset || entry.position <= last.position) {
            output.damage(Some(at), "offset or position does not rise")?;
        }
        if let Some(segment) = &segment
            && let Some(reason) = mismatch(segment, entry)?
        {
            output.damage(Some(at), &reason)?;
        }
        last = Some(entry);
        Ok(true)
    })
}

/// Why an entry does not fit the segment; nothing if the batch at its position ends with its offset.
fn mismatch(segment: &DiskFile, entry: OffsetPosition) -> Result<Option<String>, Failure> {
    let mut bytes = [0; HEADER_SIZE];
    let read = segment.read_at(&mut bytes, u64::from(entry.position)).map_err(Failure::Read)?;
    Ok(match BatchHeader::parse(&bytes[..read]) {
        Err(error) => Some(format!("no batch begins at position {} of the segment: {error}", entry.position)),
        Ok(header) if header.last_offset() != entry.offset => {
            let (position, last_offset) = (entry.position, header.last_offset());
            Some(format!("the batch at position {position} of the segment ends with offset {last_offset}"))
        }
        Ok(_) => None,
    })
}
