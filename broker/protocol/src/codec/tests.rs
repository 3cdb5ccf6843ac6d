use std::borrow::Cow;

use proptest::prelude::*;

use super::sample::{Sample, Sampler};
use super::*;
use crate::messages::fetch::PartitionData;
use crate::messages::join_group::JoinGroupRequestProtocol;
use crate::messages::{
    DescribeTopicPartitionsRequest, FetchRequest, JoinGroupRequest, MetadataRequest, OffsetFetchRequest,
    ProduceRequest,
};
use crate::testing::allocated_by;

/// What no API of those served has: a message of no API, and fields that are tagged in some of their versions only.
#[derive(Debug, Clone, PartialEq, crate::Message)]
#[kafka(versions = "0-3", flexible = "1+")]
struct Stored<'a> {
    always: f64,
    #[kafka(versions = "1+", tag = 0, tagged = "2+", default = "7")]
    later_tagged: i32,
    #[kafka(versions = "0-2", tag = 1, tagged = "2", default = "null")]
    inner: Option<Inner<'a>>,
    #[kafka(default = "\"none\".into()")]
    named: Cow<'a, str>,
}

#[derive(Debug, Clone, PartialEq, crate::Message)]
struct Inner<'a> {
    #[kafka(versions = "2+", nullable = "2")]
    names: Option<Vec<Cow<'a, str>>>,
}

const OLD: Form = Form { version: 0, flexible: false };
const FLEXIBLE: Form = Form { version: 9, flexible: true };

fn encoded(value: &impl Encode, form: Form) -> Vec<u8> {
    let mut w = Writer::new();
    value.encode(&mut w, form).unwrap();
    w.buf
}

fn encode_error(message: &impl Message, version: i16) -> EncodeError {
    message.write(&mut Writer::new(), version).unwrap_err()
}

proptest! {
    #[test]
    fn varints_read_back(value: u32) {
        let mut w = Writer::new();
        w.put_uvarint(value);
        let mut r = Reader::new(&w.buf);
        prop_assert_eq!(r.read_uvarint(), Ok(value));
        prop_assert_eq!(r.remaining(), 0);
    }

    #[test]
    fn floats_and_unsigned_numbers_read_back(float: f64, short: u16, int: u32) {
        let bytes = [encoded(&float, OLD), encoded(&short, OLD), encoded(&int, OLD)].concat();
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(f64::decode(&mut r, OLD).unwrap().to_bits(), float.to_bits());
        prop_assert_eq!(u16::decode(&mut r, OLD), Ok(short));
        prop_assert_eq!(u32::decode(&mut r, OLD), Ok(int));
    }

    #[test]
    fn tagged_fields_of_any_length_read_back_around_splices(length in 0..40_000_usize, spliced in 0..20_000_u32) {
        let mut w = Writer::new();
        w.splice(7, 1);
        let mark = w.begin_tag(3);
        w.splice(spliced, 2);
        w.put(&vec![5; length]);
        w.splice(spliced, 3);
        w.end_tag(mark).unwrap();

        let mut r = Reader::new(&w.buf);
        prop_assert_eq!(r.read_uvarint(), Ok(3));
        prop_assert_eq!(r.read_uvarint(), Ok(length as u32 + 2 * spliced));
        let value = r.position();
        prop_assert_eq!(r.rest(), &vec![5; length]);
        let at = w.splices.iter().map(|splice| splice.at).collect::<Vec<_>>();
        prop_assert_eq!(at, [0, value, value + length]);
    }
}

#[test]
fn varints_that_are_cut_off_or_too_long_are_refused() {
    for bytes in [&[][..], &[0x80], &[0xff, 0xff, 0xff, 0xff]] {
        let error = Reader::new(bytes).read_uvarint().unwrap_err();
        assert!(matches!(error.reason, DecodeReason::Truncated { .. }), "{bytes:?}: {error}");
    }
    for bytes in [[0xff, 0xff, 0xff, 0xff, 0x10], [0xff; 5]] {
        let error = Reader::new(&bytes).read_uvarint().unwrap_err();
        assert_eq!(error.reason, DecodeReason::VarintTooLong);
    }
    assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).read_uvarint(), Ok(u32::MAX));
}

#[test]
fn negative_lengths_are_refused_but_for_null() {
    let decode = |bytes: &'static [u8]| Option::<Cow<'_, str>>::decode(&mut Reader::new(bytes), OLD);
    assert_eq!(decode(&[0xff, 0xff]), Ok(None));
    assert_eq!(decode(&[0xff, 0xfe]).unwrap_err().reason, DecodeReason::InvalidLength(-2));
    let decode = |bytes: &'static [u8]| Option::<Vec<i32>>::decode(&mut Reader::new(bytes), OLD);
    assert_eq!(decode(&[0xff; 4]), Ok(None));
    assert_eq!(
        decode(&[0x80, 0, 0, 0]).unwrap_err().reason,
        DecodeReason::InvalidLength(i64::from(i32::MIN))
    );
}

#[test]
fn strings_must_be_utf8_and_no_longer_than_kafka_allows() {
    let error = Cow::<str>::decode(&mut Reader::new(&[0, 1, 0xff]), OLD).unwrap_err();
    assert_eq!((error.at, error.reason), (0, DecodeReason::InvalidUtf8));

    let text = Cow::<str>::Owned("x".repeat(32_768));
    for form in [OLD, FLEXIBLE] {
        let error = text.encode(&mut Writer::new(), form).unwrap_err();
        assert_eq!(error.reason, EncodeReason::TooLong { length: 32_768, max: 32_767 });
    }
    let mut w = Writer::new();
    w.put_uvarint(32_769);
    w.put(text.as_bytes());
    let error = Cow::<str>::decode(&mut Reader::new(&w.buf), FLEXIBLE).unwrap_err();
    assert_eq!(error.reason, DecodeReason::InvalidLength(32_768));
}

#[test]
fn a_tagged_field_that_is_longer_than_its_value_is_refused() {
    let mut bytes = Vec::new();
    let request = FetchRequest { cluster_id: Some("id".into()), ..Default::default() };
    let mut w = Writer::new();
    request.write(&mut w, 12).unwrap();
    bytes.extend_from_slice(&w.buf);
    // The message ends in: one tag, its number, its size, then the compact string.
    let size = bytes.len() - 4;
    assert_eq!(bytes[size - 2..], [1, 0, 3, 3, b'i', b'd']);
    bytes[size] = 4;
    bytes.push(0);
    let error = FetchRequest::from_bytes(&bytes, 12).unwrap_err();
    assert_eq!(error.field, Some("FetchRequest.cluster_id"));
    assert_eq!(error.reason, DecodeReason::TrailingBytes(1));
}

#[test]
fn a_field_that_the_version_lacks_is_refused_unless_it_can_be_ignored() {
    let error = encode_error(&OffsetFetchRequest { require_stable: true, ..Default::default() }, 6);
    assert_eq!(error.field, Some("OffsetFetchRequest.require_stable"));
    assert_eq!(error.reason, EncodeReason::FieldNotInVersion(6));

    let ignorable = JoinGroupRequest { reason: Some("why".into()), ..Default::default() };
    let mut w = Writer::new();
    ignorable.write(&mut w, 7).unwrap();
    assert_eq!(JoinGroupRequest::from_bytes(&w.buf, 7).unwrap().reason, None);
}

#[test]
fn a_null_is_refused_in_versions_without() {
    let error = encode_error(&MetadataRequest { topics: None, ..Default::default() }, 0);
    assert_eq!(
        (error.field, error.reason),
        (Some("MetadataRequest.topics"), EncodeReason::UnexpectedNull(0))
    );
    let error = MetadataRequest::from_bytes(&[0xff; 4], 0).unwrap_err();
    assert_eq!(
        (error.field, error.reason),
        (Some("MetadataRequest.topics"), DecodeReason::UnexpectedNull(0))
    );
    assert_eq!(MetadataRequest::from_bytes(&[0xff; 4], 1).unwrap().topics, None);
}

#[test]
fn a_nullable_struct_has_a_marker_of_minus_one_or_one() {
    let mut w = Writer::new();
    DescribeTopicPartitionsRequest::default().write(&mut w, 0).unwrap();
    let marker = w.buf.len() - 2;
    assert_eq!(w.buf[marker], 0xff);
    w.buf[marker] = 2;
    let error = DescribeTopicPartitionsRequest::from_bytes(&w.buf, 0).unwrap_err();
    assert_eq!(error.field, Some("DescribeTopicPartitionsRequest.cursor"));
    assert_eq!(error.reason, DecodeReason::InvalidMarker(2));
}

#[test]
fn unknown_versions_are_refused_both_ways() {
    let range = VersionRange { min: 3, max: 13 };
    for version in [-1, 2, 14] {
        let error = ProduceRequest::from_bytes(&[], version).unwrap_err();
        assert_eq!(error.reason, DecodeReason::UnsupportedVersion { version, range });
        let error = encode_error(&ProduceRequest::default(), version);
        assert_eq!(error.reason, EncodeReason::UnsupportedVersion { version, range });
    }
}

#[test]
fn records_are_borrowed_from_the_frame() {
    let bytes = encoded(&Some(Cow::Borrowed(&b"records"[..])), FLEXIBLE);
    let mut r = Reader::new(&bytes);
    let Some(Cow::Borrowed(records)) = Option::<Cow<'_, [u8]>>::decode(&mut r, FLEXIBLE).unwrap() else {
        panic!("not borrowed");
    };
    assert_eq!(records.as_ptr(), bytes[1..].as_ptr());
}

#[test]
fn empty_and_null_records_splice_nothing() {
    for (records, length) in [(RecordSet::Null, [0xff; 4]), (RecordSet::Splice { len: 0, id: 1 }, [0; 4])] {
        let mut w = Writer::new();
        let data = PartitionData { records, ..Default::default() };
        data.encode(&mut w, Form { version: 4, flexible: false }).unwrap();
        assert!(w.splices.is_empty());
        assert!(w.buf.ends_with(&length));
    }
}

#[test]
fn decoding_stops_at_the_memory_limit_before_it_allocates() {
    let protocols = vec![JoinGroupRequestProtocol::default(); 1000];
    let mut w = Writer::new();
    JoinGroupRequest { protocols, ..Default::default() }.write(&mut w, 9).unwrap();

    let needed = 1000 * size_of::<JoinGroupRequestProtocol<'_>>();
    let mut r = Reader::with_memory_limit(&w.buf, needed);
    assert!(JoinGroupRequest::read(&mut r, 9).is_ok());
    assert_eq!(r.memory(), needed);

    let mut r = Reader::with_memory_limit(&w.buf, needed - 1);
    let (result, peak) = allocated_by(|| JoinGroupRequest::read(&mut r, 9));
    assert_eq!(result.unwrap_err().reason, DecodeReason::MemoryLimit { limit: needed - 1 });
    assert_eq!(peak, 0);
}

#[test]
fn a_field_may_become_tagged_in_a_later_version() {
    let stored = Stored { always: 1.5, later_tagged: 8, inner: None, named: "x".into() };
    let write = |version| {
        let mut w = Writer::new();
        stored.write(&mut w, version).unwrap();
        w.buf[8..].to_vec()
    };
    assert_eq!(write(1), [0, 0, 0, 8, 0xff, 2, b'x', 0]);
    assert_eq!(write(2), [2, b'x', 1, 0, 4, 0, 0, 0, 8]);
    assert_eq!(write(3), write(2));
    assert_eq!(encode_error(&stored, 0).field, Some("Stored.later_tagged"));
}

proptest! {
    #[test]
    fn a_message_of_no_api_reads_back_in_every_version(seed: u64) {
        for version in 0..=3 {
            let value = Stored::sample(&mut Sampler::new(seed), Stored::form(version));
            let mut w = Writer::new();
            value.write(&mut w, version).unwrap();
            let read = Stored::from_bytes(&w.buf, version).unwrap();
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(read.into_owned(), value);
        }
    }
}

#[test]
fn defaults_are_those_of_the_attributes() {
    let default = Stored { always: 0.0, later_tagged: 7, inner: None, named: "none".into() };
    assert_eq!(Stored::default(), default);
    assert_eq!(Inner::default().names, Some(vec![]));
}
