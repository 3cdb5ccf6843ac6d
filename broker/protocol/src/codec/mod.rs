//! How values stand on the wire: the traits, the reader, the writer, and the primitive types.

mod collections;
mod error;
mod primitives;
mod reader;
mod records;
#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;
mod writer;

pub use collections::{decode_nullable_struct, encode_nullable_struct};
pub use error::{DecodeError, DecodeReason, EncodeError, EncodeReason};
pub use reader::{Reader, Tag};
pub use records::RecordSet;
pub use writer::{Splice, TagMark, Writer};

use crate::ApiKey;

/// Passes the derive's sample generator through where this crate is built for its own tests, and drops it elsewhere.
#[doc(hidden)]
#[macro_export]
#[cfg(test)]
macro_rules! __sample {
    ($($item:tt)*) => { $($item)* };
}

/// Passes the derive's sample generator through where this crate is built for its own tests, and drops it elsewhere.
#[doc(hidden)]
#[macro_export]
#[cfg(not(test))]
macro_rules! __sample {
    ($($item:tt)*) => {};
}

/// How a value is laid out: the version of the message it belongs to, and whether that version is flexible
/// (KIP-482: compact lengths and tagged fields).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The message's version.
    pub version: i16,
    /// Whether lengths are compact and structs end in tagged fields.
    pub flexible: bool,
}

/// A value that can be written.
pub trait Encode {
    /// Appends the value. After an error the writer holds a part of it and is of no further use.
    fn encode(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError>;
}

/// A value that can be read; what it borrows, it borrows from the bytes read.
pub trait Decode<'a>: Sized {
    /// The fewest bytes that such a value can take. An array that claims more elements than the bytes left can hold is
    /// refused by it before anything is reserved.
    fn min_size(form: Form) -> usize;

    /// Reads the value.
    fn decode(r: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError>;
}

/// A value that can be made independent of the bytes it was read from.
pub trait IntoOwned {
    /// The same value, borrowing nothing.
    type Owned: 'static;

    /// Copies what is borrowed and keeps what is owned.
    fn into_owned(self) -> Self::Owned;
}

/// Whether a field's value is another one than its default.
#[doc(hidden)]
#[inline]
pub fn differs<T: PartialEq>(value: &T, default: &T) -> bool {
    value != default
}

/// The versions that a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// The lowest version.
    pub min: i16,
    /// The highest version.
    pub max: i16,
}

impl VersionRange {
    /// Whether `version` is one of them.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// A whole versioned message: what a request, a response or a stored record consists of.
pub trait Message: Encode {
    /// Kafka's name for it, such as `ProduceRequest`.
    const NAME: &'static str;
    /// The versions it can be written and read in.
    const VERSIONS: VersionRange;
    /// The first flexible version; `i16::MAX` where there is none.
    const FLEXIBLE_FROM: i16;

    /// The layout of `version`.
    #[must_use]
    fn form(version: i16) -> Form {
        Form { version, flexible: version >= Self::FLEXIBLE_FROM }
    }

    /// Appends the message in `version`.
    fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(EncodeError::unsupported_version(Self::NAME, version, Self::VERSIONS));
        }
        self.encode(w, Self::form(version))
    }

    /// Reads a message of `version`; what follows it stays in the reader (see [`Reader::finish`]).
    fn read<'a>(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError>
    where
        Self: Decode<'a>,
    {
        if !Self::VERSIONS.contains(version) {
            return Err(r.unsupported_version(Self::NAME, version, Self::VERSIONS));
        }
        Self::decode(r, Self::form(version))
    }

    /// Reads a message of `version` that takes up all of `bytes`; bytes after it are an error.
    fn from_bytes<'a>(bytes: &'a [u8], version: i16) -> Result<Self, DecodeError>
    where
        Self: Decode<'a>,
    {
        let mut r = Reader::new(bytes);
        let message = Self::read(&mut r, version)?;
        r.finish()?;
        Ok(message)
    }
}

/// The request or response of an API.
pub trait ApiMessage: Message {
    /// The API.
    const API_KEY: ApiKey;

    /// The version of the header that stands before it.
    #[must_use]
    fn header_version(version: i16) -> i16;
}
