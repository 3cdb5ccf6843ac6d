//! Frames: four bytes of length, then a header and a message.

use crate::codec::{
    ApiMessage, Decode, DecodeError, DecodeReason, EncodeError, EncodeReason, Reader, Writer,
};
use crate::header::{RequestHeader, ResponseHeader};

/// How many bytes the length prefix takes.
pub const PREFIX_LEN: usize = 4;

/// The length of the frame that `prefix` announces, not counting the prefix. Negative lengths and those above `limit`
/// are errors: whoever sent them does not speak the protocol, or sends more than is allowed, and nothing that follows
/// can be made sense of.
pub fn frame_length(prefix: [u8; PREFIX_LEN], limit: usize) -> Result<usize, DecodeError> {
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(DecodeError { field: None, at: 0, reason: DecodeReason::FrameLength { length, limit } }),
    }
}

/// The first frame of some bytes, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Header and message.
    pub content: &'a [u8],
    /// The bytes after the frame.
    pub rest: &'a [u8],
}

/// Splits the first frame off `bytes`; `None` while it has not all arrived.
pub fn split_frame(bytes: &[u8], limit: usize) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some((prefix, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let split = rest.split_at_checked(frame_length(*prefix, limit)?);
    Ok(split.map(|(content, rest)| Frame { content, rest }))
}

/// Appends a response frame: length, header and body in the form of `version`.
pub fn write_response<M: ApiMessage>(
    w: &mut Writer,
    correlation_id: i32,
    message: &M,
    version: i16,
) -> Result<(), EncodeError> {
    let mark = begin(w);
    ResponseHeader { correlation_id }.write(w, M::header_version(version));
    message.write(w, version)?;
    end(w, mark)
}

/// Appends a request frame: length, header and body. The API and version in `header` are those of `M` and `version`.
pub fn write_request<M: ApiMessage>(
    w: &mut Writer,
    header: &RequestHeader<'_>,
    message: &M,
    version: i16,
) -> Result<(), EncodeError> {
    let mark = begin(w);
    let client_id = header.client_id.as_deref().map(Into::into);
    RequestHeader { api_key: M::API_KEY.code(), api_version: version, client_id, ..*header }.write(w)?;
    message.write(w, version)?;
    end(w, mark)
}

/// Reads the content of a response frame, as the answer to the request of `correlation_id` in `version`; the message
/// borrows from it. Fails if it answers another request, or if its arrays would take more than `memory_limit` bytes.
pub fn read_response<'a, M: ApiMessage + Decode<'a>>(
    content: &'a [u8],
    correlation_id: i32,
    version: i16,
    memory_limit: usize,
) -> Result<M, DecodeError> {
    let mut r = Reader::with_memory_limit(content, memory_limit);
    let found = ResponseHeader::read(&mut r, M::header_version(version))?.correlation_id;
    if found != correlation_id {
        let reason = DecodeReason::OtherRequest { expected: correlation_id, found };
        return Err(DecodeError { field: Some(M::NAME), at: 0, reason });
    }
    let message = M::read(&mut r, version)?;
    r.finish()?;
    Ok(message)
}

/// Where a frame's content began.
struct FrameMark {
    start: usize,
    splices: usize,
}

fn begin(w: &mut Writer) -> FrameMark {
    w.put(&[0; PREFIX_LEN]);
    FrameMark { start: w.buf.len(), splices: w.splices.len() }
}

fn end(w: &mut Writer, mark: FrameMark) -> Result<(), EncodeError> {
    let length = w.len_since(mark.start, mark.splices);
    let Ok(wire) = i32::try_from(length) else {
        let reason = EncodeReason::TooLong {
            length: usize::try_from(length).unwrap_or(usize::MAX),
            max: i32::MAX as usize,
        };
        return Err(EncodeError { field: Some("the frame"), reason });
    };
    w.buf[mark.start - PREFIX_LEN..mark.start].copy_from_slice(&wire.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::codec::{Message, RecordSet, Splice};
    use crate::messages::fetch::{FetchableTopicResponse, PartitionData};
    use crate::messages::{ApiVersionsRequest, ApiVersionsResponse, FetchResponse};

    #[test]
    fn lengths_below_zero_and_above_the_limit_are_refused() {
        assert_eq!(frame_length([0, 0, 0, 9], 9), Ok(9));
        for prefix in [[0, 0, 0, 10], [0xff; 4], [0x80, 0, 0, 0], *b"GET "] {
            let error = frame_length(prefix, 9).unwrap_err();
            assert!(matches!(error.reason, DecodeReason::FrameLength { limit: 9, .. }), "{error}");
        }
    }

    #[test]
    fn a_frame_is_split_off_once_it_has_all_arrived() {
        let bytes = [0, 0, 0, 2, 7, 8, 0, 0];
        for end in 0..6 {
            assert_eq!(split_frame(&bytes[..end], 100), Ok(None), "{end}");
        }
        assert_eq!(split_frame(&bytes, 100), Ok(Some(Frame { content: &[7, 8], rest: &[0, 0] })));
    }

    #[test]
    fn a_request_reads_back_through_its_frame() {
        let header =
            RequestHeader { correlation_id: 5, client_id: Some("me".into()), ..RequestHeader::default() };
        let request = ApiVersionsRequest { client_software_name: "test".into(), ..Default::default() };
        let mut w = Writer::new();
        write_request(&mut w, &header, &request, 3).unwrap();

        let frame = split_frame(&w.buf, 1000).unwrap().unwrap();
        let mut r = Reader::new(frame.content);
        let read = RequestHeader::read(&mut r).unwrap();
        assert_eq!((read.api_key, read.api_version, read.correlation_id), (18, 3, 5));
        assert_eq!(ApiVersionsRequest::read(&mut r, 3).unwrap(), request);
        r.finish().unwrap();
    }

    #[test]
    fn the_header_before_api_versions_is_never_flexible() {
        let mut w = Writer::new();
        write_response(&mut w, 1, &ApiVersionsResponse::default(), 3).unwrap();
        let body = split_frame(&w.buf, 1000).unwrap().unwrap().content;
        assert!(ApiVersionsResponse::from_bytes(&body[4..], 3).is_ok());
    }

    #[test]
    fn a_response_reads_back_through_its_frame_and_borrows_from_it() {
        let records = vec![7; 5_000];
        let response = fetched([RecordSet::Bytes((&*records).into()), RecordSet::Null]);
        for version in FetchResponse::VERSIONS.min..=FetchResponse::VERSIONS.max {
            let mut w = Writer::new();
            write_response(&mut w, 5, &response, version).unwrap();
            let content = split_frame(&w.buf, 10_000).unwrap().unwrap().content;
            let read: FetchResponse<'_> = read_response(content, 5, version, 10_000).unwrap();
            assert_eq!(read, response, "version {version}");
            let RecordSet::Bytes(Cow::Borrowed(read)) = read.responses[0].partitions[0].records else {
                panic!("the records were copied")
            };
            assert!(content.as_ptr_range().contains(&read.as_ptr()));
        }
    }

    #[test]
    fn a_response_that_is_not_the_one_awaited_is_refused() {
        let response = |content: &[u8], id, limit| {
            let read = read_response::<FetchResponse<'_>>(content, id, 12, limit);
            read.map(|_| ()).map_err(|error| error.reason)
        };
        let mut w = Writer::new();
        write_response(&mut w, 5, &fetched([RecordSet::Null, RecordSet::Null]), 12).unwrap();
        let content = &w.buf[PREFIX_LEN..];
        assert_eq!(response(content, 5, 10_000), Ok(()));
        let reason = DecodeReason::OtherRequest { expected: 6, found: 5 };
        assert_eq!(response(content, 6, 10_000), Err(reason));
        assert_eq!(response(content, 5, 100), Err(DecodeReason::MemoryLimit { limit: 100 }));
        assert_eq!(response(&[content, &[0]].concat(), 5, 10_000), Err(DecodeReason::TrailingBytes(1)));
    }

    fn fetched(records: [RecordSet<'_>; 2]) -> FetchResponse<'_> {
        let partitions = records.map(|records| PartitionData { records, ..Default::default() }).into();
        let topic = FetchableTopicResponse { partitions, ..Default::default() };
        FetchResponse { responses: vec![topic], ..Default::default() }
    }

    #[test]
    fn a_spliced_frame_is_the_frame_that_holds_the_records_itself() {
        let records = [vec![1; 300], vec![2; 70_000]];
        let inline = fetched(records.clone().map(|records| RecordSet::Bytes(records.into())));
        let spliced =
            fetched([RecordSet::Splice { len: 300, id: 0 }, RecordSet::Splice { len: 70_000, id: 1 }]);
        for version in FetchResponse::VERSIONS.min..=FetchResponse::VERSIONS.max {
            let (mut whole, mut holes) = (Writer::new(), Writer::new());
            // Something stands before: offsets are those of the stream, not of the frame.
            holes.put(b"before");
            whole.put(b"before");
            write_response(&mut whole, 9, &inline, version).unwrap();
            write_response(&mut holes, 9, &spliced, version).unwrap();

            assert_eq!(holes.total_len(), whole.buf.len() as u64);
            let mut sent = Vec::new();
            let mut from = 0;
            for Splice { at, len, id } in &holes.splices {
                sent.extend_from_slice(&holes.buf[from..*at]);
                assert_eq!(records[*id as usize].len(), *len as usize);
                sent.extend_from_slice(&records[*id as usize]);
                from = *at;
            }
            sent.extend_from_slice(&holes.buf[from..]);
            assert!(sent == whole.buf, "version {version}");
        }
    }
}
