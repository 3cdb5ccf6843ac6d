//! The scalar types: integers, booleans, ids, strings and bytes.

use std::borrow::Cow;

use super::{Decode, DecodeError, DecodeReason, Encode, EncodeError, Form, IntoOwned, Reader, Writer};
use crate::{ErrorCode, Uuid};

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Encode for $type {
            #[inline]
            fn encode(&self, w: &mut Writer, _: Form) -> Result<(), EncodeError> {
                w.put(&self.to_be_bytes());
                Ok(())
            }
        }

        impl<'a> Decode<'a> for $type {
            #[inline]
            fn min_size(_: Form) -> usize {
                size_of::<$type>()
            }

            #[inline]
            fn decode(r: &mut Reader<'a>, _: Form) -> Result<Self, DecodeError> {
                r.take_array().map(<$type>::from_be_bytes)
            }
        }
    )*};
}

numbers!(i8, i16, i32, i64, u16, u32, f64);

macro_rules! already_owned {
    ($($type:ty),*) => {$(
        impl IntoOwned for $type {
            type Owned = Self;

            #[inline]
            fn into_owned(self) -> Self {
                self
            }
        }
    )*};
}

already_owned!(i8, i16, i32, i64, u16, u32, f64, bool, ErrorCode, Uuid);

impl Encode for bool {
    #[inline]
    fn encode(&self, w: &mut Writer, _: Form) -> Result<(), EncodeError> {
        w.put(&[u8::from(*self)]);
        Ok(())
    }
}

impl<'a> Decode<'a> for bool {
    #[inline]
    fn min_size(_: Form) -> usize {
        1
    }

    #[inline]
    fn decode(r: &mut Reader<'a>, _: Form) -> Result<Self, DecodeError> {
        let [byte] = r.take_array()?;
        Ok(byte != 0)
    }
}

impl Encode for ErrorCode {
    #[inline]
    fn encode(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        self.0.encode(w, form)
    }
}

impl<'a> Decode<'a> for ErrorCode {
    #[inline]
    fn min_size(_: Form) -> usize {
        2
    }

    #[inline]
    fn decode(r: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        i16::decode(r, form).map(ErrorCode)
    }
}

impl Encode for Uuid {
    #[inline]
    fn encode(&self, w: &mut Writer, _: Form) -> Result<(), EncodeError> {
        w.put(&self.0);
        Ok(())
    }
}

impl<'a> Decode<'a> for Uuid {
    #[inline]
    fn min_size(_: Form) -> usize {
        16
    }

    #[inline]
    fn decode(r: &mut Reader<'a>, _: Form) -> Result<Self, DecodeError> {
        r.take_array().map(Uuid)
    }
}

impl Encode for Cow<'_, str> {
    #[inline]
    fn encode(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        w.put_string_length(Some(self.len()), form.flexible)?;
        w.put(self.as_bytes());
        Ok(())
    }
}

impl Encode for Option<Cow<'_, str>> {
    #[inline]
    fn encode(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        match self {
            Some(value) => value.encode(w, form),
            None => w.put_string_length(None, form.flexible),
        }
    }
}

impl<'a> Decode<'a> for Option<Cow<'a, str>> {
    #[inline]
    fn min_size(form: Form) -> usize {
        if form.flexible { 1 } else { 2 }
    }

    #[inline]
    fn decode(r: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        let at = r.position();
        let Some(length) = r.read_string_length(form.flexible)? else { return Ok(None) };
        match std::str::from_utf8(r.take(length)?) {
            Ok(text) => Ok(Some(Cow::Borrowed(text))),
            Err(_) => Err(DecodeError { field: None, at, reason: DecodeReason::InvalidUtf8 }),
        }
    }
}

impl Encode for Cow<'_, [u8]> {
    #[inline]
    fn encode(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        w.put_length(Some(self.len()), form.flexible)?;
        w.put(self);
        Ok(())
    }
}

impl Encode for Option<Cow<'_, [u8]>> {
    #[inline]
    fn encode(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        match self {
            Some(value) => value.encode(w, form),
            None => w.put_length(None, form.flexible),
        }
    }
}

impl<'a> Decode<'a> for Option<Cow<'a, [u8]>> {
    #[inline]
    fn min_size(form: Form) -> usize {
        if form.flexible { 1 } else { 4 }
    }

    #[inline]
    fn decode(r: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        let Some(length) = r.read_length(form.flexible)? else { return Ok(None) };
        Ok(Some(Cow::Borrowed(r.take(length)?)))
    }
}

impl<'a, B: ToOwned + ?Sized + 'a> Decode<'a> for Cow<'a, B>
where
    Option<Cow<'a, B>>: Decode<'a>,
{
    #[inline]
    fn min_size(form: Form) -> usize {
        Option::<Cow<'a, B>>::min_size(form)
    }

    #[inline]
    fn decode(r: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        let at = r.position();
        let null = DecodeReason::UnexpectedNull(form.version);
        Option::<Cow<'a, B>>::decode(r, form)?.ok_or(DecodeError { field: None, at, reason: null })
    }
}

impl<B: ToOwned + ?Sized + 'static> IntoOwned for Cow<'_, B>
where
    B::Owned: 'static,
{
    type Owned = Cow<'static, B>;

    #[inline]
    fn into_owned(self) -> Cow<'static, B> {
        Cow::Owned(Cow::into_owned(self))
    }
}
