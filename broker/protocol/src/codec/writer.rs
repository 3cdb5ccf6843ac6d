//! Writing to one growing buffer, with holes for bytes that are sent from elsewhere.

use super::EncodeError;
use super::reader::MAX_STRING_LENGTH;

/// Bytes that are not in the buffer: when the stream reaches `at`, the sender puts `len` bytes of source `id` in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splice {
    /// The offset in [`Writer::buf`] before which the bytes stand.
    pub at: usize,
    /// How many bytes they are.
    pub len: u32,
    /// Whose bytes they are; the number means something to the sender alone.
    pub id: u32,
}

/// An encoded stream: `buf`, with every splice's bytes put in at its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writer {
    /// The bytes written here.
    pub buf: Vec<u8>,
    /// What is sent from elsewhere, in the order of `at`.
    pub splices: Vec<Splice>,
}

/// Where a tagged field's value began; see [`Writer::begin_tag`].
#[derive(Debug)]
pub struct TagMark {
    start: usize,
    splices: usize,
}

impl Writer {
    /// An empty stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty stream with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buf: Vec::with_capacity(capacity), splices: Vec::new() }
    }

    /// Empties the stream and keeps its memory for the next one.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.splices.clear();
    }

    /// The length of the whole stream in bytes, splices included.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        self.len_since(0, 0)
    }

    /// The length in bytes of what was written since the buffer had `start` bytes and there were `splices` splices.
    pub(crate) fn len_since(&self, start: usize, splices: usize) -> u64 {
        (self.buf.len() - start) as u64
            + self.splices[splices..].iter().map(|splice| u64::from(splice.len)).sum::<u64>()
    }

    /// Appends bytes as they are.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Registers `len` bytes of source `id` to be sent at the present end of the stream.
    pub fn splice(&mut self, len: u32, id: u32) {
        self.splices.push(Splice { at: self.buf.len(), len, id });
    }

    /// Appends an unsigned variable-length integer.
    #[inline]
    pub fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buf.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buf.push(value as u8);
    }

    /// Appends the length of a string: compact, or two bytes. `None` is null.
    #[inline]
    pub(crate) fn put_string_length(
        &mut self,
        length: Option<usize>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        let wire = match length {
            None => -1,
            Some(length) => {
                i16::try_from(length).map_err(|_| EncodeError::too_long(length, MAX_STRING_LENGTH))?
            }
        };
        if flexible {
            self.put_uvarint((wire + 1) as u32);
        } else {
            self.put(&wire.to_be_bytes());
        }
        Ok(())
    }

    /// Appends the length of bytes or of an array: compact, or four bytes. `None` is null.
    #[inline]
    pub(crate) fn put_length(&mut self, length: Option<usize>, flexible: bool) -> Result<(), EncodeError> {
        let wire = match length {
            None => -1,
            Some(length) => {
                i32::try_from(length).map_err(|_| EncodeError::too_long(length, i32::MAX as usize))?
            }
        };
        if flexible {
            self.put_uvarint((i64::from(wire) + 1) as u32);
        } else {
            self.put(&wire.to_be_bytes());
        }
        Ok(())
    }

    /// Begins a tagged field: its number, and room for its size, which [`Writer::end_tag`] fills in.
    #[must_use]
    pub fn begin_tag(&mut self, tag: u32) -> TagMark {
        self.put_uvarint(tag);
        self.buf.push(0);
        TagMark { start: self.buf.len(), splices: self.splices.len() }
    }

    /// Ends the tagged field that `mark` began.
    pub fn end_tag(&mut self, mark: TagMark) -> Result<(), EncodeError> {
        let size = self.len_since(mark.start, mark.splices);
        let size = i32::try_from(size).map_err(|_| {
            EncodeError::too_long(usize::try_from(size).unwrap_or(usize::MAX), i32::MAX as usize)
        })? as u32;
        let mut rest = size;
        let mut at = mark.start - 1;
        while rest >= 0x80 {
            self.buf[at] = rest as u8 | 0x80;
            rest >>= 7;
            at += 1;
            // Most fields are short: the value is moved only where its size takes more than one byte.
            self.buf.insert(at, 0);
            for splice in &mut self.splices[mark.splices..] {
                splice.at += 1;
            }
        }
        self.buf[at] = rest as u8;
        Ok(())
    }
}
