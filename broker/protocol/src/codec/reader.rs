//! Reading from a slice, with every length checked before it is believed.

use super::{DecodeError, DecodeReason, VersionRange};

/// The longest string in bytes, in either form: Kafka refuses longer ones even where the length is compact.
pub(crate) const MAX_STRING_LENGTH: usize = i16::MAX as usize;

/// A position in received bytes. No method panics, whatever the bytes are.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The offset of the end of `rest` in the bytes that the outermost reader began with.
    end: usize,
    memory: usize,
    memory_limit: usize,
}

/// The number of a tagged field and a reader over just its value.
#[derive(Debug)]
pub struct Tag<'a> {
    /// The field's number.
    pub tag: u32,
    /// The field's value.
    pub value: Reader<'a>,
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, end: bytes.len(), memory: 0, memory_limit: usize::MAX }
    }

    /// Starts at the first of `bytes`, and fails once the arrays decoded would take more than `limit` bytes of memory.
    /// Strings and byte fields are borrowed and not counted.
    #[inline]
    #[must_use]
    pub fn with_memory_limit(bytes: &'a [u8], limit: usize) -> Self {
        Self { memory_limit: limit, ..Self::new(bytes) }
    }

    /// How many bytes of memory the arrays decoded so far take.
    #[inline]
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The bytes not yet read.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes have not been read.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// How many bytes have been read.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Fails if bytes are left: a message must take up all of its frame.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(DecodeReason::TrailingBytes(left))),
        }
    }

    /// An error at the present position.
    #[cold]
    #[must_use]
    pub fn error(&self, reason: DecodeReason) -> DecodeError {
        DecodeError { field: None, at: self.position(), reason }
    }

    /// The error of a field that is null where its version has no nulls.
    #[cold]
    #[must_use]
    pub fn unexpected_null(&self, field: &'static str, version: i16) -> DecodeError {
        self.error(DecodeReason::UnexpectedNull(version)).in_field(field)
    }

    #[cold]
    pub(crate) fn unsupported_version(
        &self,
        message: &'static str,
        version: i16,
        range: VersionRange,
    ) -> DecodeError {
        self.error(DecodeReason::UnsupportedVersion { version, range }).in_field(message)
    }

    /// Takes the next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(self.truncated(len)),
        }
    }

    /// Takes the next `N` bytes.
    #[inline]
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(self.truncated(N)),
        }
    }

    #[cold]
    fn truncated(&self, needed: usize) -> DecodeError {
        self.error(DecodeReason::Truncated { needed, left: self.remaining() })
    }

    /// Reads an unsigned variable-length integer of at most 32 bits.
    #[inline]
    pub fn read_uvarint(&mut self) -> Result<u32, DecodeError> {
        match self.rest.split_first() {
            Some((&byte, tail)) if byte < 0x80 => {
                self.rest = tail;
                Ok(u32::from(byte))
            }
            _ => self.read_long_uvarint(),
        }
    }

    fn read_long_uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u64;
        for (index, &byte) in self.rest.iter().take(5).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                let Ok(value) = u32::try_from(value) else { break };
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        if self.remaining() < 5 && self.rest.iter().all(|byte| *byte >= 0x80) {
            return Err(self.truncated(self.remaining() + 1));
        }
        Err(self.error(DecodeReason::VarintTooLong))
    }

    /// Reads the length of a string: compact, or two bytes. `None` is null.
    #[inline]
    pub(crate) fn read_string_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let at = self.position();
        if flexible {
            return match self.read_compact_length()? {
                Some(length) if length > MAX_STRING_LENGTH => Err(invalid_length(at, length as i64)),
                length => Ok(length),
            };
        }
        match i16::from_be_bytes(self.take_array()?) {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| invalid_length(at, i64::from(length))),
        }
    }

    /// Reads the length of bytes or of an array: compact, or four bytes. `None` is null.
    #[inline]
    pub(crate) fn read_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.read_compact_length();
        }
        let at = self.position();
        match i32::from_be_bytes(self.take_array()?) {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| invalid_length(at, i64::from(length))),
        }
    }

    #[inline]
    fn read_compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        // Zero is null, and any other number is the length plus one.
        Ok((self.read_uvarint()? as usize).checked_sub(1))
    }

    /// Checks an array's claimed length against the bytes left and the memory allowed, before anything is reserved.
    #[inline]
    pub(crate) fn claim_array(
        &mut self,
        claimed: usize,
        element: usize,
        in_memory: usize,
    ) -> Result<(), DecodeError> {
        let element = element.max(1);
        let left = self.remaining();
        if claimed > left / element {
            let claimed = claimed as u64;
            return Err(self.error(DecodeReason::ArrayTooLong { claimed, element, left }));
        }
        self.memory = self.memory.saturating_add(claimed.saturating_mul(in_memory));
        if self.memory > self.memory_limit {
            return Err(self.error(DecodeReason::MemoryLimit { limit: self.memory_limit }));
        }
        Ok(())
    }

    /// Reads how many tagged fields end the struct.
    #[inline]
    pub fn read_tag_count(&mut self) -> Result<u32, DecodeError> {
        self.read_uvarint()
    }

    /// Reads one tagged field's number and takes its value's bytes.
    pub fn read_tag(&mut self) -> Result<Tag<'a>, DecodeError> {
        let tag = self.read_uvarint()?;
        let size = self.read_uvarint()? as usize;
        let rest = self.take(size)?;
        let value = Self { rest, end: self.position(), memory: self.memory, memory_limit: self.memory_limit };
        Ok(Tag { tag, value })
    }

    /// Ends the reading of a known tagged field: its value must have taken up all of its bytes.
    pub fn end_tag(&mut self, tag: &Tag<'a>) -> Result<(), DecodeError> {
        tag.value.finish()?;
        self.memory = tag.value.memory;
        Ok(())
    }

    /// Skips all tagged fields, none of which is known.
    #[inline]
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.read_tag_count()? {
            self.read_tag()?;
        }
        Ok(())
    }
}

#[cold]
fn invalid_length(at: usize, length: i64) -> DecodeError {
    DecodeError { field: None, at, reason: DecodeReason::InvalidLength(length) }
}
