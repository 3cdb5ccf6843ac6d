//! A walk along a segment that does not end where a batch is damaged, as recovery's does: it looks for the next sound one.

use std::io;

use taffrail_protocol::record_batch::{
    ATTRIBUTES_OFFSET, BASE_OFFSET_OFFSET, BatchHeader, HEADER_SIZE, MAGIC_OFFSET,
};

use crate::scan::{Check, Damage, Found, Scan};
use crate::storage::StorageFile;

/// Bytes that are read at once to check a batch that is not held in memory, or to look for one.
const PIECE_BYTES: usize = 256 * 1024;
/// The only format in which batches have headers.
const MAGIC: u8 = 2;

/// A part of a segment.
pub(super) enum Part {
    /// A batch whose header is one.
    Batch(Found),
    /// Bytes that are no batch, up to where the next sound one begins or to the end of the file.
    Broken { damage: Damage, next: Option<Next> },
}

/// Where a walk goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub position: u64,
    pub base_offset: i64,
}

/// A walk from a segment's first byte to its last.
pub(super) struct Parts<'a, F> {
    file: &'a F,
    scan: Scan<'a, F>,
    size: u64,
    /// Batches are looked for that have offsets in here.
    offsets: std::ops::Range<i64>,
    ended: bool,
}

impl<'a, F: StorageFile> Parts<'a, F> {
    /// Walks along the first `size` bytes of a file whose batches have these offsets.
    pub fn new(file: &'a F, size: u64, offsets: std::ops::Range<i64>) -> Self {
        Self { file, scan: Scan::new(file, 0, size, Check::Header), size, offsets, ended: false }
    }

    /// The next part; none at the end.
    pub fn next(&mut self) -> io::Result<Option<Part>> {
        if self.ended {
            return Ok(None);
        }
        match self.scan.next()? {
            Ok(Some(found)) => Ok(Some(Part::Batch(found))),
            Ok(None) => Ok(None),
            Err(damage) if damage.old_format.is_some() => {
                self.ended = true;
                Ok(Some(Part::Broken { damage, next: None }))
            }
            Err(damage) => {
                // A batch whose offsets do not follow is one all the same.
                self.scan = Scan::new(self.file, damage.position, self.size, Check::Header);
                if let Ok(Some(found)) = self.scan.next()? {
                    return Ok(Some(Part::Batch(found)));
                }
                let next = self.next_sound(damage.position + 1)?;
                let from = next.map_or(self.size, |next| next.position);
                self.scan = Scan::new(self.file, from, self.size, Check::Header);
                Ok(Some(Part::Broken { damage, next }))
            }
        }
    }

    /// Where from `from` on a batch begins that is sound in all that can be told.
    fn next_sound(&self, from: u64) -> io::Result<Option<Next>> {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut position = from;
        loop {
            let wanted = buffer.len().min(usize::try_from(self.size - position).unwrap_or(usize::MAX));
            let read = self.file.read_at(&mut buffer[..wanted], position)?;
            if read < HEADER_SIZE {
                return Ok(None);
            }
            for start in 0..=read - HEADER_SIZE {
                let at = position + start as u64;
                if buffer[start + MAGIC_OFFSET] == MAGIC
                    && let Some(header) = self.plausible(&buffer[start..start + HEADER_SIZE], at)
                    && checksum(self.file, at, header.size_in_bytes() as u64, &mut Vec::new())? == header.crc
                {
                    return Ok(Some(Next { position: at, base_offset: header.base_offset }));
                }
            }
            position += (read - HEADER_SIZE + 1) as u64;
        }
    }

    /// The header, if these bytes may be that of a batch of the segment.
    fn plausible(&self, bytes: &[u8], position: u64) -> Option<BatchHeader> {
        // Looked at first: of bytes that are none, nearly all fail here.
        let base_offset = i64::from_be_bytes(*bytes[BASE_OFFSET_OFFSET..].first_chunk()?);
        if !self.offsets.contains(&base_offset) {
            return None;
        }
        let header = BatchHeader::parse(bytes).ok()?;
        let fits = position + header.size_in_bytes() as u64 <= self.size;
        (fits && header.last_offset_delta >= 0).then_some(header)
    }
}

/// The CRC-32C of what a batch's own covers, without holding the batch. `buffer` is only room.
pub(super) fn checksum<F: StorageFile>(
    file: &F,
    position: u64,
    size: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<u32> {
    let (mut from, end, mut crc) = (position + ATTRIBUTES_OFFSET as u64, position + size, 0);
    while from < end {
        let wanted = (end - from).min(PIECE_BYTES as u64) as usize;
        buffer.resize(wanted, 0);
        let read = file.read_at(buffer, from)?;
        crc = crc32c::crc32c_append(crc, &buffer[..read]);
        if read < wanted {
            break;
        }
        from += read as u64;
    }
    Ok(crc)
}
