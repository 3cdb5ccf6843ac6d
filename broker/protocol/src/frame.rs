//! Frames: four bytes of length, then a header and a message.

use crate::codec::{ApiMessage, DecodeError, DecodeReason, EncodeError, EncodeReason, Writer};
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
