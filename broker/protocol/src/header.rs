//! What stands before a request's or a response's body.

use std::borrow::Cow;

use crate::ApiKey;
use crate::codec::{Decode, DecodeError, Encode, EncodeError, Form, Reader, Writer};

/// The header of a request. Its version follows from the API and version that it names itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The API's code, which may be one that Kafka does not have.
    pub api_key: i16,
    /// The version of the body.
    pub api_version: i16,
    /// Chosen by the client; the response repeats it.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Cow<'a, str>>,
}

impl<'a> RequestHeader<'a> {
    /// The API, or `None` if Kafka has none of this code.
    #[must_use]
    pub fn api(&self) -> Option<ApiKey> {
        ApiKey::from_code(self.api_key)
    }

    /// Reads a header. Of an API that is not served, the fields above are read, and what follows is left alone: its
    /// form is not known.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // Even in flexible versions the client id has its old form, so that any broker can read as far as there.
        let form = Form { version: 1, flexible: false };
        let api_key = i16::decode(r, form).map_err(|error| error.in_field("RequestHeader.api_key"))?;
        let api_version =
            i16::decode(r, form).map_err(|error| error.in_field("RequestHeader.api_version"))?;
        let correlation_id =
            i32::decode(r, form).map_err(|error| error.in_field("RequestHeader.correlation_id"))?;
        let client_id = Option::decode(r, form).map_err(|error| error.in_field("RequestHeader.client_id"))?;
        let header = Self { api_key, api_version, correlation_id, client_id };
        if header.is_flexible() {
            r.skip_tags().map_err(|error| error.in_field("RequestHeader"))?;
        }
        Ok(header)
    }

    /// Appends the header.
    pub fn write(&self, w: &mut Writer) -> Result<(), EncodeError> {
        let form = Form { version: 1, flexible: false };
        self.api_key.encode(w, form)?;
        self.api_version.encode(w, form)?;
        self.correlation_id.encode(w, form)?;
        self.client_id.encode(w, form).map_err(|error| error.in_field("RequestHeader.client_id"))?;
        if self.is_flexible() {
            w.put_uvarint(0);
        }
        Ok(())
    }

    /// The same header, independent of the bytes it was read from.
    #[must_use]
    pub fn into_owned(self) -> RequestHeader<'static> {
        RequestHeader {
            api_key: self.api_key,
            api_version: self.api_version,
            correlation_id: self.correlation_id,
            client_id: self.client_id.map(|id| Cow::Owned(id.into_owned())),
        }
    }

    fn is_flexible(&self) -> bool {
        self.api().is_some_and(|api| api.is_flexible(self.api_version))
    }
}

/// The header of a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResponseHeader {
    /// That of the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads a header of `header_version` (see [`ApiKey::response_header_version`]).
    pub fn read(r: &mut Reader<'_>, header_version: i16) -> Result<Self, DecodeError> {
        let form = Form { version: header_version, flexible: header_version >= 1 };
        let correlation_id =
            i32::decode(r, form).map_err(|error| error.in_field("ResponseHeader.correlation_id"))?;
        if form.flexible {
            r.skip_tags().map_err(|error| error.in_field("ResponseHeader"))?;
        }
        Ok(Self { correlation_id })
    }

    /// Appends a header of `header_version`.
    pub fn write(&self, w: &mut Writer, header_version: i16) {
        w.put(&self.correlation_id.to_be_bytes());
        if header_version >= 1 {
            w.put_uvarint(0);
        }
    }
}
