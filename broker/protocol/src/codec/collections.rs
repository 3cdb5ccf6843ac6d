//! Arrays and nullable structs.

use super::{Decode, DecodeError, DecodeReason, Encode, EncodeError, Form, IntoOwned, Reader, Writer};

/// How many elements are reserved on an array's word; more room is made as elements really arrive.
const RESERVED_AT_ONCE: usize = 1024;

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        w.put_length(Some(self.len()), form.flexible)?;
        self.iter().try_for_each(|element| element.encode(w, form))
    }
}

impl<T: Encode> Encode for Option<Vec<T>> {
    #[inline]
    fn encode(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        match self {
            Some(elements) => elements.encode(w, form),
            None => w.put_length(None, form.flexible),
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Option<Vec<T>> {
    #[inline]
    fn min_size(form: Form) -> usize {
        if form.flexible { 1 } else { 4 }
    }

    fn decode(r: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        let Some(length) = r.read_length(form.flexible)? else { return Ok(None) };
        r.claim_array(length, T::min_size(form), size_of::<T>())?;
        let mut elements = Vec::with_capacity(length.min(RESERVED_AT_ONCE));
        for _ in 0..length {
            elements.push(T::decode(r, form)?);
        }
        Ok(Some(elements))
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    #[inline]
    fn min_size(form: Form) -> usize {
        Option::<Self>::min_size(form)
    }

    #[inline]
    fn decode(r: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        let at = r.position();
        let null = DecodeReason::UnexpectedNull(form.version);
        Option::<Self>::decode(r, form)?.ok_or(DecodeError { field: None, at, reason: null })
    }
}

impl<T: IntoOwned> IntoOwned for Vec<T> {
    type Owned = Vec<T::Owned>;

    fn into_owned(self) -> Self::Owned {
        self.into_iter().map(T::into_owned).collect()
    }
}

impl<T: IntoOwned> IntoOwned for Option<T> {
    type Owned = Option<T::Owned>;

    fn into_owned(self) -> Self::Owned {
        self.map(T::into_owned)
    }
}

/// Appends a struct that may be null: -1, or 1 and the struct.
pub fn encode_nullable_struct<T: Encode>(
    value: &Option<T>,
    w: &mut Writer,
    form: Form,
) -> Result<(), EncodeError> {
    match value {
        None => (-1_i8).encode(w, form),
        Some(value) => {
            1_i8.encode(w, form)?;
            value.encode(w, form)
        }
    }
}

/// Reads a struct that may be null: -1, or 1 and the struct.
pub fn decode_nullable_struct<'a, T: Decode<'a>>(
    r: &mut Reader<'a>,
    form: Form,
) -> Result<Option<T>, DecodeError> {
    let at = r.position();
    match i8::decode(r, form)? {
        -1 => Ok(None),
        1 => T::decode(r, form).map(Some),
        marker => Err(DecodeError { field: None, at, reason: DecodeReason::InvalidMarker(marker) }),
    }
}
