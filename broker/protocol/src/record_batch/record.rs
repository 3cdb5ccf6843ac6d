//! The records of a batch, borrowed from its (decompressed) bytes.

use std::borrow::Cow;

use super::varint::{take_varint, take_varlong};
use super::{BatchError, BatchHeader, NO_TIMESTAMP, TimestampType};

/// A batch's records, decompressed where they were compressed.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    header: BatchHeader,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Records<'a> {
    pub(super) fn new(header: BatchHeader, bytes: Cow<'a, [u8]>) -> Self {
        Self { header, bytes }
    }

    /// The uncompressed records as the format writes them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Iterates over the records.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            rest: &self.bytes,
            remaining: self.header.record_count,
            index: 0,
            base_offset: self.header.base_offset,
            base_timestamp: self.header.base_timestamp,
            append_time: match self.header.timestamp_type() {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(self.header.max_timestamp),
            },
        }
    }

    /// Iterates over the records as they are written, without a look at their headers.
    pub fn raw(&self) -> RawRecords<'_> {
        RawRecords {
            rest: &self.bytes,
            remaining: self.header.record_count,
            index: 0,
            base_offset: self.header.base_offset,
            base_timestamp: self.header.base_timestamp,
        }
    }

    /// Walks all records of a produced batch without touching keys or values: each record is well formed, offset
    /// deltas go 0, 1, 2 …, and exactly as many records as the header says fill the bytes. It is Kafka's
    /// `LogValidator` as far as it concerns records; the summary is what the rest of that check needs.
    ///
    /// # Errors
    /// [`BatchError::InvalidRecord`] for the first record that is wrong.
    pub fn check(&self) -> Result<RecordsSummary, BatchError> {
        let mut summary = RecordsSummary {
            min_timestamp: i64::MAX,
            max_timestamp: NO_TIMESTAMP,
            offset_of_max_timestamp: self.header.base_offset,
            first_without_key: None,
        };
        let mut records = self.iter();
        let mut index = 0;
        while let Some(record) = records.next_fields() {
            let record = record?;
            if record.offset_delta != index {
                return Err(BatchError::InvalidRecord { index, reason: "its offset delta is not its place" });
            }
            let timestamp = records.timestamp(record.timestamp_delta);
            summary.min_timestamp = summary.min_timestamp.min(timestamp);
            if timestamp > summary.max_timestamp {
                summary.max_timestamp = timestamp;
                summary.offset_of_max_timestamp = records.offset(record.offset_delta);
            }
            if record.key.is_none() && summary.first_without_key.is_none() {
                summary.first_without_key = Some(index);
            }
            index += 1;
        }
        Ok(summary)
    }
}

/// What [`Records::check`] found out on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordsSummary {
    /// Smallest timestamp (ms since the epoch), for `message.timestamp.before.max.ms`.
    pub min_timestamp: i64,
    /// Largest timestamp (ms since the epoch), or -1 when no record has one.
    pub max_timestamp: i64,
    /// Offset of the first record that has the largest timestamp.
    pub offset_of_max_timestamp: i64,
    /// Place in the batch of the first record without a key, which a compacted topic refuses.
    pub first_without_key: Option<i32>,
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// The record's offset in its partition.
    pub offset: i64,
    /// Timestamp in ms since the epoch, or -1: the creation time, or the batch's append time.
    pub timestamp: i64,
    /// The key; null is not empty.
    pub key: Option<&'a [u8]>,
    /// The value; null (a tombstone on a compacted topic) is not empty.
    pub value: Option<&'a [u8]>,
    /// The headers, in the producer's order.
    pub headers: RecordHeaders<'a>,
}

/// A record's headers (KIP-82): an iterator that has been checked in full when it was made.
#[derive(Debug, Clone, Copy)]
pub struct RecordHeaders<'a> {
    rest: &'a [u8],
    remaining: i32,
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// The key: UTF-8 by convention, which brokers do not check; several headers may have the same.
    pub key: &'a [u8],
    /// The value; null is not empty.
    pub value: Option<&'a [u8]>,
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining <= 0 {
            return None;
        }
        self.remaining -= 1;
        take_header(&mut self.rest).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let remaining = usize::try_from(self.remaining).unwrap_or(0);
        (remaining, Some(remaining))
    }
}

impl ExactSizeIterator for RecordHeaders<'_> {}

/// Iterates over a batch's records. It yields as many as the header counts, then an error should bytes remain; after
/// an error it ends.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    remaining: i32,
    index: i32,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
}

/// A record as it is written, relative to its batch.
struct RecordFields<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: RecordHeaders<'a>,
}

impl<'a> RecordIter<'a> {
    fn next_fields(&mut self) -> Option<Result<RecordFields<'a>, BatchError>> {
        if self.remaining <= 0 {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            let reason = "bytes follow the last record that the header counts";
            return Some(Err(BatchError::InvalidRecord { index: self.index, reason }));
        }
        let fields = take_record(&mut self.rest);
        match fields {
            Ok(fields) => {
                self.remaining -= 1;
                self.index += 1;
                Some(Ok(fields))
            }
            Err(reason) => {
                self.remaining = 0;
                self.rest = &[];
                Some(Err(BatchError::InvalidRecord { index: self.index, reason }))
            }
        }
    }

    // Deltas come from outside and may overflow; Kafka's arithmetic wraps.
    fn timestamp(&self, delta: i64) -> i64 {
        self.append_time.unwrap_or_else(|| self.base_timestamp.wrapping_add(delta))
    }

    fn offset(&self, delta: i32) -> i64 {
        self.base_offset.wrapping_add(i64::from(delta))
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let fields = match self.next_fields()? {
            Ok(fields) => fields,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(RecordView {
            offset: self.offset(fields.offset_delta),
            timestamp: self.timestamp(fields.timestamp_delta),
            key: fields.key,
            value: fields.value,
            headers: fields.headers,
        }))
    }
}

impl std::iter::FusedIterator for RecordIter<'_> {}

/// A record as it stands in its batch, for whoever keeps or drops whole records.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// The record's offset in its partition.
    pub offset: i64,
    /// Its own timestamp in ms since the epoch, or -1, whatever the batch says of the append time.
    pub timestamp: i64,
    /// The key; null is not empty.
    pub key: Option<&'a [u8]>,
    /// Whether it has a value; on a compacted topic one without is a tombstone.
    pub has_value: bool,
    /// All of it, its length included.
    pub(super) bytes: &'a [u8],
    pub(super) attributes: u8,
    /// What follows its timestamp.
    pub(super) behind_timestamp: &'a [u8],
}

/// Iterates over a batch's records as they are written. It yields as many as the header counts; after an error it ends.
#[derive(Debug, Clone)]
pub struct RawRecords<'a> {
    rest: &'a [u8],
    remaining: i32,
    index: i32,
    base_offset: i64,
    base_timestamp: i64,
}

impl<'a> RawRecords<'a> {
    fn take(&mut self) -> Option<RawRecord<'a>> {
        let start = self.rest;
        let length = usize::try_from(take_varint(&mut self.rest)?).ok()?;
        let (body, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let bytes = &start[..start.len() - rest.len()];
        let (&attributes, mut body) = body.split_first()?;
        let timestamp_delta = take_varlong(&mut body)?;
        let behind_timestamp = body;
        let offset_delta = take_varint(&mut body)?;
        let key = take_nullable(&mut body)?;
        let has_value = take_nullable(&mut body)?.is_some();
        Some(RawRecord {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: self.base_timestamp.wrapping_add(timestamp_delta),
            key,
            has_value,
            bytes,
            attributes,
            behind_timestamp,
        })
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining <= 0 {
            return None;
        }
        let index = self.index;
        self.remaining -= 1;
        self.index += 1;
        let record = self.take();
        if record.is_none() {
            self.remaining = 0;
        }
        Some(record.ok_or(BatchError::InvalidRecord { index, reason: "its fields do not fit into it" }))
    }
}

impl std::iter::FusedIterator for RawRecords<'_> {}

fn take_record<'a>(bytes: &mut &'a [u8]) -> Result<RecordFields<'a>, &'static str> {
    let length = take_varint(bytes).ok_or("its length is cut off or not a varint")?;
    let length = usize::try_from(length).map_err(|_| "its length is negative")?;
    let (mut body, rest) = bytes.split_at_checked(length).ok_or("it is longer than the batch")?;
    *bytes = rest;
    // The attributes byte has no meaning yet and is not checked, as in Kafka.
    let (_, fields) = body.split_first().ok_or("its attributes are missing")?;
    body = fields;
    let timestamp_delta = take_varlong(&mut body).ok_or("its timestamp delta is not a varint")?;
    let offset_delta = take_varint(&mut body).ok_or("its offset delta is not a varint")?;
    let key = take_nullable(&mut body).ok_or("its key does not fit into it")?;
    let value = take_nullable(&mut body).ok_or("its value does not fit into it")?;
    let header_count = take_varint(&mut body).ok_or("its header count is not a varint")?;
    let headers = take_headers(body, header_count)?;
    Ok(RecordFields { timestamp_delta, offset_delta, key, value, headers })
}

/// Checks that `count` headers fill `bytes`.
fn take_headers(bytes: &[u8], count: i32) -> Result<RecordHeaders<'_>, &'static str> {
    if count < 0 {
        return Err("its header count is negative");
    }
    let mut rest = bytes;
    for _ in 0..count {
        take_header(&mut rest)?;
    }
    if !rest.is_empty() {
        return Err("it is longer than its fields");
    }
    Ok(RecordHeaders { rest: bytes, remaining: count })
}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Result<RecordHeader<'a>, &'static str> {
    let key =
        take_nullable(bytes).ok_or("a header key does not fit into it")?.ok_or("a header key is null")?;
    let value = take_nullable(bytes).ok_or("a header value does not fit into it")?;
    Ok(RecordHeader { key, value })
}

/// Takes a length and as many bytes; a negative length is null, as in Kafka.
#[inline]
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = take_varint(bytes)?;
    let Ok(length) = usize::try_from(length) else {
        return Some(None);
    };
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(value))
}

#[cfg(test)]
mod tests {
    use super::super::varint::{put_varint, put_varlong};
    use super::super::{BatchBuilder, BatchView, Compression, HEADER_SIZE};
    use super::*;

    /// A record with the given body after its length.
    fn record(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, body.len() as i32);
        bytes.extend_from_slice(body);
        bytes
    }

    fn varints(values: &[i32]) -> Vec<u8> {
        let mut bytes = vec![0];
        values.iter().for_each(|value| put_varint(&mut bytes, *value));
        bytes
    }

    /// Walks `bytes` as the records of a batch that claims `count` of them.
    fn walk(bytes: &[u8], count: i32) -> Result<RecordsSummary, BatchError> {
        let batch = BatchBuilder::new(Compression::None).append(0, None, None, &[]).build().unwrap();
        let header = BatchHeader { record_count: count, ..*BatchView::new(&batch).unwrap().header() };
        let records = Records::new(header, Cow::Borrowed(bytes));
        let by_iter = records.iter().collect::<Result<Vec<_>, _>>();
        let checked = records.check();
        // Both walks agree but for the offset deltas, which only the check looks at.
        assert!(checked.is_err() || by_iter.is_ok());
        checked
    }

    fn reason(bytes: &[u8], count: i32) -> (i32, &'static str) {
        match walk(bytes, count) {
            Err(BatchError::InvalidRecord { index, reason }) => (index, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn null_and_empty_are_told_apart() {
        let batch = BatchBuilder::new(Compression::None)
            .append(1, None, Some(b""), &[("k", None), ("k", Some(b""))])
            .append(2, Some(b""), None, &[])
            .build()
            .unwrap();
        assert!(batch.len() > HEADER_SIZE);
        let records = BatchView::new(&batch).unwrap().records(0).unwrap();
        let records: Vec<_> = records.iter().map(Result::unwrap).collect();
        assert_eq!((records[0].key, records[0].value), (None, Some(&b""[..])));
        assert_eq!((records[1].key, records[1].value), (Some(&b""[..]), None));
        let values: Vec<_> = records[0].headers.map(|header| header.value).collect();
        assert_eq!(values, [None, Some(&b""[..])]);
    }

    #[test]
    fn each_way_to_be_malformed_is_named() {
        let sound = record(&varints(&[0, 0, -1, -1, 0]));
        assert!(walk(&sound, 1).is_ok());
        let cases: [(&[u8], &str); 7] = [
            (&[], "its length is cut off or not a varint"),
            (&[0x80; 6], "its length is cut off or not a varint"),
            (&[0x01], "its length is negative"),
            (&[0x7e, 0], "it is longer than the batch"),
            (&[0x00], "its attributes are missing"),
            (&record(&[0]), "its timestamp delta is not a varint"),
            (&record(&[0, 0]), "its offset delta is not a varint"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(reason(bytes, 1), (0, expected));
        }
        let cases: [(&[i32], &str); 9] = [
            (&[0, 0], "its key does not fit into it"),
            (&[0, 0, 5], "its key does not fit into it"),
            (&[0, 0, -1, i32::MAX], "its value does not fit into it"),
            (&[0, 0, -1, -1], "its header count is not a varint"),
            (&[0, 0, -1, -1, -1], "its header count is negative"),
            (&[0, 0, -1, -1, i32::MAX], "a header key does not fit into it"),
            (&[0, 0, -1, -1, 1, -1, -1], "a header key is null"),
            (&[0, 0, -1, -1, 1, 0, 3], "a header value does not fit into it"),
            (&[0, 0, -1, -1, 0, 0], "it is longer than its fields"),
        ];
        for (fields, expected) in cases {
            assert_eq!(reason(&record(&varints(fields)), 1), (0, expected));
        }
    }

    #[test]
    fn records_fill_the_batch_and_are_numbered_in_order() {
        let records = [record(&varints(&[0, 0, -1, -1, 0])), record(&varints(&[0, 1, -1, -1, 0]))].concat();
        assert!(walk(&records, 2).is_ok());
        assert_eq!(reason(&records, 1), (1, "bytes follow the last record that the header counts"));
        assert_eq!(reason(&records, 3), (2, "its length is cut off or not a varint"));
        let swapped = [record(&varints(&[0, 1, -1, -1, 0])), record(&varints(&[0, 0, -1, -1, 0]))].concat();
        assert_eq!(reason(&swapped, 2), (0, "its offset delta is not its place"));
        assert_eq!(reason(&records, -1), (0, "bytes follow the last record that the header counts"));
    }

    #[test]
    fn deltas_that_overflow_wrap() {
        let mut body = vec![0];
        put_varlong(&mut body, i64::MAX);
        body.extend_from_slice(&varints(&[0, -1, -1, 0])[1..]);
        let header = BatchHeader {
            base_timestamp: 2,
            ..BatchHeader::parse(
                &BatchBuilder::new(Compression::None).append(0, None, None, &[]).build().unwrap(),
            )
            .unwrap()
        };
        let bytes = record(&body);
        let records = Records::new(header, Cow::Borrowed(&bytes));
        assert_eq!(records.iter().next().unwrap().unwrap().timestamp, i64::MIN + 1);
    }
}
