//! Why bytes could not be read or a value could not be written.

use super::VersionRange;

/// Bytes that are no valid message: what was being read, where, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode {} at byte {at}: {reason}", field.unwrap_or("a value"))]
pub struct DecodeError {
    /// The innermost `Struct.field` that was being read, where known.
    pub field: Option<&'static str>,
    /// How far into the reader's bytes the value starts.
    pub at: usize,
    /// What is wrong.
    pub reason: DecodeReason,
}

/// What is wrong with bytes that were read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeReason {
    /// The value goes on past the last byte.
    #[error("it needs {needed} more bytes and {left} are left")]
    Truncated {
        /// How many bytes the value takes from here.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// A length below zero, other than the -1 of a null.
    #[error("its length is {0}")]
    InvalidLength(i64),
    /// An array claims more elements than the bytes left can hold.
    #[error("it claims {claimed} elements, of at least {element} bytes each, and {left} bytes are left")]
    ArrayTooLong {
        /// The claimed number of elements.
        claimed: u64,
        /// The fewest bytes that one element takes.
        element: usize,
        /// How many bytes there are.
        left: usize,
    },
    /// The decoded message would take more memory than the reader was allowed.
    #[error("decoded it would take more than the {limit} bytes of memory allowed for a message")]
    MemoryLimit {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A null where the version has none.
    #[error("it is null, which version {0} does not allow")]
    UnexpectedNull(i16),
    /// A string that is not UTF-8.
    #[error("it is not valid UTF-8")]
    InvalidUtf8,
    /// A variable-length integer of more bytes than its type can have.
    #[error("its variable-length integer does not fit its type")]
    VarintTooLong,
    /// A nullable struct whose marker is neither -1 nor 1.
    #[error("its presence marker is {0}, neither -1 nor 1")]
    InvalidMarker(i8),
    /// Bytes after the end of the message or tagged field.
    #[error("{0} bytes follow its end")]
    TrailingBytes(usize),
    /// A version that the message does not have.
    #[error("version {version} does not exist, only {range}")]
    UnsupportedVersion {
        /// The version asked for.
        version: i16,
        /// The versions there are.
        range: VersionRange,
    },
    /// A frame's length prefix that is negative or above the limit.
    #[error("the frame's length is {length}, which is not within 0 to {limit}")]
    FrameLength {
        /// The length in the prefix.
        length: i32,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A response to another request than the one it was read as the answer to.
    #[error("it answers request {found} where {expected} was to be answered next")]
    OtherRequest {
        /// The correlation id of the request to be answered.
        expected: i32,
        /// The response's.
        found: i32,
    },
}

impl DecodeError {
    /// Names the field that was being read, unless an inner one is named already.
    #[cold]
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        self.field.get_or_insert(field);
        self
    }
}

/// A value that the version asked for cannot express.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode {}: {reason}", field.unwrap_or("a value"))]
pub struct EncodeError {
    /// The innermost `Struct.field` that was being written, where known.
    pub field: Option<&'static str>,
    /// Why it cannot be written.
    pub reason: EncodeReason,
}

/// Why a value cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeReason {
    /// The field is set and the version lacks it.
    #[error("version {0} has no such field and its value is not the default")]
    FieldNotInVersion(i16),
    /// The field is null where the version has no nulls.
    #[error("it is null, which version {0} does not allow")]
    UnexpectedNull(i16),
    /// The value's length does not fit its length prefix.
    #[error("it is {length} long and at most {max} can be expressed")]
    TooLong {
        /// The length, in bytes or elements.
        length: usize,
        /// The longest that can be expressed.
        max: usize,
    },
    /// A version that the message does not have.
    #[error("version {version} does not exist, only {range}")]
    UnsupportedVersion {
        /// The version asked for.
        version: i16,
        /// The versions there are.
        range: VersionRange,
    },
}

impl EncodeError {
    /// Names the field that was being written, unless an inner one is named already.
    #[cold]
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        self.field.get_or_insert(field);
        self
    }

    /// The field is set and `version` lacks it.
    #[cold]
    #[must_use]
    pub fn field_not_in_version(field: &'static str, version: i16) -> Self {
        Self { field: Some(field), reason: EncodeReason::FieldNotInVersion(version) }
    }

    /// The field is null and `version` does not allow that.
    #[cold]
    #[must_use]
    pub fn unexpected_null(field: &'static str, version: i16) -> Self {
        Self { field: Some(field), reason: EncodeReason::UnexpectedNull(version) }
    }

    #[cold]
    pub(crate) fn too_long(length: usize, max: usize) -> Self {
        Self { field: None, reason: EncodeReason::TooLong { length, max } }
    }

    #[cold]
    pub(crate) fn unsupported_version(message: &'static str, version: i16, range: VersionRange) -> Self {
        Self { field: Some(message), reason: EncodeReason::UnsupportedVersion { version, range } }
    }
}
