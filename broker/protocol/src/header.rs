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

    /// Reads a header. Of an API that is not spoken, the fields above are read, and what follows is left alone: its
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

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages as oracle;
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
    use proptest::prelude::*;

    use super::*;
    use crate::codec::DecodeReason;

    proptest! {
        #[test]
        fn request_headers_of_every_version_agree_with_the_oracle_both_ways(
            api in 0..ApiKey::SPOKEN.len(), api_version in 0..20_i16, correlation_id: i32, client_id: Option<String>,
        ) {
            let api = ApiKey::SPOKEN[api].key;
            let client_id = client_id.map(Cow::Owned);
            let ours = RequestHeader { api_key: api.code(), api_version, correlation_id, client_id };
            let mut w = Writer::new();
            ours.write(&mut w).unwrap();

            let mut rest = Bytes::copy_from_slice(&w.buf);
            let header_version = api.request_header_version(api_version);
            let theirs = oracle::RequestHeader::decode(&mut rest, header_version).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(theirs.client_id.as_deref(), ours.client_id.as_deref());
            let mut written = BytesMut::new();
            theirs.encode(&mut written, header_version).unwrap();
            prop_assert_eq!(&w.buf, &written);

            let mut r = Reader::new(&written);
            prop_assert_eq!(RequestHeader::read(&mut r).unwrap(), ours);
            r.finish().unwrap();
        }

        #[test]
        fn response_headers_agree_with_the_oracle_both_ways(correlation_id: i32, header_version in 0..2_i16) {
            let mut w = Writer::new();
            ResponseHeader { correlation_id }.write(&mut w, header_version);
            let theirs = oracle::ResponseHeader::default().with_correlation_id(correlation_id);
            let mut written = BytesMut::new();
            theirs.encode(&mut written, header_version).unwrap();
            prop_assert_eq!(&w.buf, &written);
            let mut r = Reader::new(&written);
            prop_assert_eq!(ResponseHeader::read(&mut r, header_version).unwrap(), ResponseHeader { correlation_id });
            r.finish().unwrap();
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = RequestHeader::read(&mut Reader::new(&bytes));
            let _ = ResponseHeader::read(&mut Reader::new(&bytes), 1);
        }
    }

    #[test]
    fn an_unknown_api_is_read_as_far_as_its_client_id() {
        let theirs = oracle::RequestHeader::default()
            .with_request_api_key(12_345)
            .with_client_id(Some(StrBytes::from_static_str("stranger")));
        let mut bytes = BytesMut::new();
        theirs.encode(&mut bytes, 1).unwrap();
        let header = RequestHeader::read(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(header.api(), None);
        assert_eq!(header.client_id.as_deref(), Some("stranger"));
    }

    #[test]
    fn an_unknown_version_of_api_versions_is_read_as_flexible() {
        let header = RequestHeader { api_key: 18, api_version: 99, ..RequestHeader::default() };
        let mut w = Writer::new();
        header.write(&mut w).unwrap();
        assert_eq!(w.buf.last(), Some(&0), "the tagged fields of header version 2");
        assert_eq!(RequestHeader::read(&mut Reader::new(&w.buf)), Ok(header));
    }

    #[test]
    fn a_broken_header_names_its_field() {
        let error = RequestHeader::read(&mut Reader::new(&[0, 3, 0, 1, 0, 0])).unwrap_err();
        assert_eq!(error.field, Some("RequestHeader.correlation_id"));
        assert_eq!(error.reason, DecodeReason::Truncated { needed: 4, left: 2 });
        assert_eq!(
            error.to_string(),
            "cannot decode RequestHeader.correlation_id at byte 4: it needs 4 more bytes and 2 are left"
        );
    }
}
