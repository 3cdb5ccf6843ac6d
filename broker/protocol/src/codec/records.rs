//! The records of a fetch response: in memory, or sent from elsewhere.

use std::borrow::Cow;

use super::{Decode, DecodeError, Encode, EncodeError, Form, IntoOwned, Reader, Writer};

/// Record batches as they stand on the wire, opaque here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RecordSet<'a> {
    /// No records at all, which is not the same as none of them.
    #[default]
    Null,
    /// Records in memory.
    Bytes(Cow<'a, [u8]>),
    /// Records that the sender splices in: only their length is written here. Never the result of decoding.
    Splice {
        /// How many bytes they are.
        len: u32,
        /// Whose bytes they are, as in [`Splice::id`](super::Splice::id).
        id: u32,
    },
}

impl RecordSet<'_> {
    /// The length in bytes; zero for null.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::Splice { len, .. } => *len as usize,
        }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Encode for RecordSet<'_> {
    fn encode(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        match self {
            Self::Null => w.put_length(None, form.flexible),
            Self::Bytes(bytes) => bytes.encode(w, form),
            Self::Splice { len, id } => {
                w.put_length(Some(*len as usize), form.flexible)?;
                if *len > 0 {
                    w.splice(*len, *id);
                }
                Ok(())
            }
        }
    }
}

impl<'a> Decode<'a> for RecordSet<'a> {
    fn min_size(form: Form) -> usize {
        Option::<Cow<'a, [u8]>>::min_size(form)
    }

    fn decode(r: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        Ok(Option::<Cow<'a, [u8]>>::decode(r, form)?.map_or(Self::Null, Self::Bytes))
    }
}

impl IntoOwned for RecordSet<'_> {
    type Owned = RecordSet<'static>;

    fn into_owned(self) -> Self::Owned {
        match self {
            Self::Null => RecordSet::Null,
            Self::Bytes(bytes) => RecordSet::Bytes(Cow::Owned(bytes.into_owned())),
            Self::Splice { len, id } => RecordSet::Splice { len, id },
        }
    }
}
