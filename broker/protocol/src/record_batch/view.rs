//! Whole batches in memory: one ([`BatchView`]) or many back to back ([`Batches`]).

use std::borrow::Cow;

use super::{ATTRIBUTES_OFFSET, BatchError, BatchHeader, Compression, HEADER_SIZE, Records};

/// Exactly one whole batch. The header has been read and the size checked; the CRC and the records have not.
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
    header: BatchHeader,
}

impl<'a> BatchView<'a> {
    /// Views `bytes` as one batch that fills them.
    ///
    /// # Errors
    /// Those of [`BatchHeader::parse`], and [`BatchError::Truncated`] or [`BatchError::TrailingBytes`] when the batch
    /// is longer or shorter than `bytes`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let view = Self::first_in(bytes)?;
        if view.bytes.len() < bytes.len() {
            return Err(BatchError::TrailingBytes { size: view.bytes.len(), available: bytes.len() });
        }
        Ok(view)
    }

    /// Views the batch at the start of `bytes`; more may follow it.
    ///
    /// # Errors
    /// Those of [`BatchHeader::parse`], and [`BatchError::Truncated`] when the batch is longer than `bytes`.
    pub fn first_in(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let needed = header.size_in_bytes();
        let bytes = bytes.get(..needed).ok_or(BatchError::Truncated { needed, available: bytes.len() })?;
        Ok(Self { bytes, header })
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes after the header: the records, compressed as the header says.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_SIZE..]
    }

    /// Checks the CRC-32C, which covers everything from the attributes on.
    ///
    /// # Errors
    /// [`BatchError::CrcMismatch`].
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = batch_crc(self.bytes);
        if computed != self.header.crc {
            return Err(BatchError::CrcMismatch { stored: self.header.crc, computed });
        }
        Ok(())
    }

    /// The records, borrowed from the batch where it is not compressed, else decompressed to at most `limit` bytes.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`], [`BatchError::Decompression`] and [`BatchError::DecompressedTooLarge`].
    /// The records themselves are checked as they are walked.
    pub fn records(&self, limit: usize) -> Result<Records<'a>, BatchError> {
        let bytes = match self.header.compression()? {
            Compression::None => Cow::Borrowed(self.payload()),
            compression => Cow::Owned(compression.decompress(self.payload(), limit)?),
        };
        Ok(Records::new(self.header, bytes))
    }
}

/// The CRC-32C of a whole batch's covered bytes; `bytes` must hold a whole header.
pub(super) fn batch_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(&bytes[ATTRIBUTES_OFFSET..])
}

/// Iterates over batches that stand back to back, as in a segment file or a fetch response.
///
/// It ends after the last byte, or after the first error. [`BatchError::Truncated`] says that the bytes end within a
/// batch (a fetch cut at its byte limit, a torn write); any other error is damage. [`Batches::position`] then tells
/// where the bad batch starts.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// Iterates over the batches in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, failed: false }
    }

    /// Where the next batch starts, in bytes from the start of the slice: the end of the last whole one.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.position..];
        if self.failed || rest.is_empty() {
            return None;
        }
        let view = BatchView::first_in(rest);
        match &view {
            Ok(view) => self.position += view.bytes.len(),
            Err(_) => self.failed = true,
        }
        Some(view)
    }
}

impl std::iter::FusedIterator for Batches<'_> {}
