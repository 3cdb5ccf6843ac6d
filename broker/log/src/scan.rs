//! Walks the batches of a segment file by their headers, with bounded memory whatever the file holds.

use std::io;

use taffrail_protocol::record_batch::{
    ATTRIBUTES_OFFSET, BatchError, BatchHeader, HEADER_SIZE, LOG_OVERHEAD, MAGIC_OFFSET,
};

use crate::storage::StorageFile;

const BUFFER_BYTES: usize = 16 * 1024;

/// A batch that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub header: BatchHeader,
    /// Where it begins in the file.
    pub position: u64,
    /// Bytes of the whole batch.
    pub size: u64,
}

impl Found {
    pub fn end(&self) -> u64 {
        self.position + self.size
    }
}

/// Why a scan cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where the batch that is damaged begins; all before it is sound.
    pub position: u64,
    pub reason: String,
    /// The file ends in the middle of it, as a write leaves it that was interrupted.
    pub cut_short: bool,
    /// The message is whole, and of format 0 or 1: no damage but age.
    pub old_format: Option<i8>,
}

/// What a step came to.
pub(crate) type Step = Result<Option<Found>, Damage>;

/// How much of each batch is checked. The header always is: lengths, deltas, and that offsets rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Header,
    Checksum,
}

/// A walk from one position of a file to another.
pub(crate) struct Scan<'a, F> {
    file: &'a F,
    position: u64,
    end: u64,
    check: Check,
    /// No batch may begin before this offset.
    floor: i64,
    buffer: Vec<u8>,
    /// Where the buffer's first byte is in the file.
    buffered_from: u64,
}

impl<'a, F: StorageFile> Scan<'a, F> {
    /// Walks from `position`, where a batch begins, to `end`, which must not be beyond the file's end.
    pub fn new(file: &'a F, position: u64, end: u64, check: Check) -> Self {
        Self { file, position, end, check, floor: 0, buffer: Vec::new(), buffered_from: 0 }
    }

    /// From here on a batch that begins before `offset` is damaged.
    pub fn with_floor(mut self, offset: i64) -> Self {
        self.floor = offset;
        self
    }

    /// The next batch; none at the end.
    pub fn next(&mut self) -> io::Result<Step> {
        let left = self.end - self.position;
        if left == 0 {
            return Ok(Ok(None));
        }
        let bytes = self.fill()?;
        let header = match BatchHeader::parse(bytes) {
            Ok(header) => header,
            Err(error) => return self.damage_of(&error, left).map(Err),
        };
        let size = header.size_in_bytes() as u64;
        let next_offset = header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1);
        let reason = if size > left {
            format!("a batch of {size} bytes begins {left} bytes before the end")
        } else if header.last_offset_delta < 0 || next_offset.is_none() {
            format!("a batch has the last offset delta {}", header.last_offset_delta)
        } else if header.base_offset < self.floor {
            format!(
                "a batch begins at offset {}, below {} where the one before it ends",
                header.base_offset, self.floor
            )
        } else if self.check == Check::Checksum && self.checksum(size)? != header.crc {
            "a batch does not match its checksum".to_owned()
        } else {
            let found = Found { header, position: self.position, size };
            self.position += size;
            self.floor = next_offset.unwrap_or(i64::MAX);
            return Ok(Ok(Some(found)));
        };
        Ok(Err(Damage { position: self.position, reason, cut_short: size > left, old_format: None }))
    }

    /// Makes sure that the header at `position`, as far as the file has it, is in the buffer.
    fn fill(&mut self) -> io::Result<&[u8]> {
        let wanted = (HEADER_SIZE as u64).min(self.end - self.position);
        let inside = self.position >= self.buffered_from
            && self.position + wanted <= self.buffered_from + self.buffer.len() as u64;
        if !inside {
            self.read(self.position, BUFFER_BYTES as u64)?;
        }
        let start = (self.position - self.buffered_from) as usize;
        Ok(&self.buffer[start.min(self.buffer.len())..])
    }

    fn read(&mut self, position: u64, most: u64) -> io::Result<()> {
        let len = most.min(self.end - position) as usize;
        self.buffer.resize(len, 0);
        self.buffered_from = position;
        let read = self.file.read_at(&mut self.buffer, position)?;
        self.buffer.truncate(read);
        if read < len {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the segment is shorter than it was"));
        }
        Ok(())
    }

    /// The CRC-32C of what a batch's checksum covers, read piece by piece.
    fn checksum(&mut self, size: u64) -> io::Result<u32> {
        self.crc_over(
            self.position + ATTRIBUTES_OFFSET as u64,
            self.position + size,
            0,
            crc32c::crc32c_append,
        )
    }

    fn crc_over(&mut self, from: u64, to: u64, seed: u32, append: fn(u32, &[u8]) -> u32) -> io::Result<u32> {
        let (mut from, mut crc) = (from, seed);
        while from < to {
            let buffered_to = self.buffered_from + self.buffer.len() as u64;
            if from < self.buffered_from || from >= buffered_to {
                self.read(from, 4 * BUFFER_BYTES as u64)?;
            }
            let start = (from - self.buffered_from) as usize;
            let end = (to - self.buffered_from).min(self.buffer.len() as u64) as usize;
            crc = append(crc, &self.buffer[start..end]);
            from += (end - start) as u64;
        }
        Ok(crc)
    }

    /// Tells a whole message of an older format from damage: refusing to open is right for the one, cutting for the
    /// other.
    fn damage_of(&mut self, error: &BatchError, left: u64) -> io::Result<Damage> {
        let cut_short = matches!(error, BatchError::Truncated { .. });
        let reason = error.to_string();
        let mut damage = Damage { position: self.position, reason, cut_short, old_format: None };
        let BatchError::UnsupportedMagic { magic: magic @ (0 | 1) } = *error else { return Ok(damage) };
        let mut front = [0; MAGIC_OFFSET];
        let bytes = self.fill()?;
        if let Some(bytes) = bytes.get(..MAGIC_OFFSET) {
            front.copy_from_slice(bytes);
        }
        let length = u64::from(u32::from_be_bytes([front[8], front[9], front[10], front[11]]));
        let stored = u32::from_be_bytes([front[12], front[13], front[14], front[15]]);
        let size = LOG_OVERHEAD as u64 + length;
        if size <= left {
            let from = self.position + MAGIC_OFFSET as u64;
            let crc = !self.crc_over(from, self.position + size, !0, crc32_append)?;
            if crc == stored {
                damage.old_format = Some(magic);
            }
        }
        Ok(damage)
    }
}

/// The CRC-32 of the older formats, bit by bit: it runs once at most in a log's life.
fn crc32_append(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}
