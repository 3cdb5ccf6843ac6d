//! Splits frames off a stream and decodes the request header of each, and the response header, as both sides would.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taffrail_protocol::frame::{PREFIX_LEN, split_frame};
use taffrail_protocol::header::{RequestHeader, ResponseHeader};
use taffrail_protocol::{Reader, Writer};

const LIMIT: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some(frame)) = split_frame(rest, LIMIT) {
        assert!(frame.content.len() <= LIMIT);
        assert_eq!(PREFIX_LEN + frame.content.len() + frame.rest.len(), rest.len());
        request_header(frame.content);
        for version in [0, 1] {
            let _ = ResponseHeader::read(&mut Reader::new(frame.content), version);
        }
        rest = frame.rest;
    }
    request_header(data);
});

fn request_header(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    let Ok(header) = RequestHeader::read(&mut r) else { return };
    assert_eq!(r.position() + r.remaining(), bytes.len());
    let mut w = Writer::new();
    header.write(&mut w).expect("a decoded header can be encoded");
    assert_eq!(RequestHeader::read(&mut Reader::new(&w.buf)).as_ref(), Ok(&header));
}
