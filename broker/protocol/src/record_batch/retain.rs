//! Writing a batch anew with some of its records, as compaction does
//! (`org.apache.kafka.common.record.MemoryRecords.filterTo`).
//!
//! Offsets, sequence numbers, epochs and the producer stay what they were: the batch still reaches from its first offset to
//! its last, also where the records there are gone.

use super::builder::put_batch;
use super::header::{COMPRESSION_MASK, DELETE_HORIZON_MASK};
use super::record::RawRecord;
use super::varint::{put_varint, put_varlong};
use super::{BatchError, BatchHeader, NO_TIMESTAMP, TimestampType};

/// Writes one batch after the other anew; its buffers are used again.
#[derive(Debug, Default)]
pub struct BatchRewriter {
    records: Vec<u8>,
    body: Vec<u8>,
}

/// Some of the records of a batch, on their way into a new one.
#[derive(Debug)]
pub struct Rewriting<'a> {
    rewriter: &'a mut BatchRewriter,
    header: BatchHeader,
    /// Set where the deltas of times have to be written anew.
    new_base_timestamp: Option<i64>,
    max_timestamp: i64,
    count: i32,
}

impl BatchRewriter {
    /// Begins a batch like the one with `header`. With `delete_horizon_ms` it notes that its tombstones, or its marker, may
    /// go at that time (KIP-534); without, it keeps what it says about that.
    pub fn begin(&mut self, header: &BatchHeader, delete_horizon_ms: Option<i64>) -> Rewriting<'_> {
        self.records.clear();
        let mut header = *header;
        if let Some(horizon_ms) = delete_horizon_ms {
            header.attributes |= DELETE_HORIZON_MASK;
            header.base_timestamp = horizon_ms;
        }
        let (new_base_timestamp, max_timestamp) = (delete_horizon_ms, NO_TIMESTAMP);
        Rewriting { rewriter: self, header, new_base_timestamp, max_timestamp, count: 0 }
    }
}

impl Rewriting<'_> {
    /// Keeps a record of the batch. They are to be kept in their order.
    pub fn keep(&mut self, record: &RawRecord<'_>) {
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let records = &mut self.rewriter.records;
        let Some(base_timestamp) = self.new_base_timestamp else {
            records.extend_from_slice(record.bytes);
            return;
        };
        let body = &mut self.rewriter.body;
        body.clear();
        body.push(record.attributes);
        put_varlong(body, record.timestamp.wrapping_sub(base_timestamp));
        body.extend_from_slice(record.behind_timestamp);
        put_varint(records, i32::try_from(body.len()).unwrap_or(i32::MAX));
        records.extend_from_slice(body);
    }

    /// Appends the batch to `out` and returns its header.
    ///
    /// # Errors
    /// [`BatchError::Compression`] when the codec fails, [`BatchError::TooLarge`] when it does not fit into its 31-bit
    /// length field; `out` is then as it was.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<BatchHeader, BatchError> {
        let mut header = self.header;
        header.record_count = self.count;
        if header.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = self.max_timestamp;
        }
        put_batch(out, header, &self.rewriter.records)
    }
}

/// Appends a batch without records to `out`, which keeps the place and the producer of the one with `header`.
///
/// # Errors
/// None that a batch of a header alone could cause.
pub fn write_empty(header: &BatchHeader, out: &mut Vec<u8>) -> Result<BatchHeader, BatchError> {
    let attributes = header.attributes & !(COMPRESSION_MASK | DELETE_HORIZON_MASK);
    let empty = BatchHeader { attributes, base_timestamp: NO_TIMESTAMP, record_count: 0, ..*header };
    put_batch(out, empty, &[])
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, BatchView, Compression, HEADER_SIZE};
    use super::*;

    /// Records of times 100, 103, 106 ...; every other one a tombstone.
    fn batch(compression: Compression, count: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(compression);
        builder.base_offset(40).partition_leader_epoch(3).producer(7, 2, 11).transactional();
        for index in 0..count {
            let value = (index % 2 == 0).then(|| vec![b'v'; index as usize * 50]);
            let key = format!("key-{index}");
            builder.append(100 + 3 * index, Some(key.as_bytes()), value.as_deref(), &[("h", Some(b"x"))]);
        }
        builder.build().unwrap()
    }

    /// Offset, timestamp, key, whether there is a value, number of headers.
    type Record = (i64, i64, Option<Vec<u8>>, Option<usize>, usize);

    fn records(batch: &[u8]) -> Vec<Record> {
        let view = BatchView::new(batch).unwrap();
        view.verify_crc().unwrap();
        let records = view.records(1 << 20).unwrap();
        let record = |record: Result<super::super::RecordView<'_>, _>| {
            let record = record.unwrap();
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::len));
            (record.offset, record.timestamp, key, value, record.headers.len())
        };
        records.iter().map(record).collect()
    }

    fn rewritten(batch: &[u8], horizon_ms: Option<i64>, keep: impl Fn(i64) -> bool) -> Vec<u8> {
        let view = BatchView::new(batch).unwrap();
        let all = view.records(1 << 20).unwrap();
        let mut rewriter = BatchRewriter::default();
        let mut rewriting = rewriter.begin(view.header(), horizon_ms);
        for record in all.raw().map(Result::unwrap).filter(|record| keep(record.offset)) {
            rewriting.keep(&record);
        }
        let mut out = vec![9; 3];
        let header = rewriting.finish(&mut out).unwrap();
        let out = out.split_off(3);
        assert_eq!(*BatchView::new(&out).unwrap().header(), header);
        out
    }

    #[test]
    fn what_is_kept_reads_as_it_did_in_every_codec() {
        for compression in Compression::ALL {
            let batch = batch(compression, 9);
            let before = *BatchView::new(&batch).unwrap().header();
            for horizon_ms in [None, Some(5_000_000), Some(50)] {
                let kept = rewritten(&batch, horizon_ms, |offset| offset % 3 == 2);
                let expected: Vec<Record> =
                    records(&batch).into_iter().filter(|record| record.0 % 3 == 2).collect();
                assert_eq!(records(&kept), expected, "{compression} {horizon_ms:?}");
                let after = *BatchView::new(&kept).unwrap().header();
                assert_eq!(
                    (after.base_offset, after.last_offset()),
                    (before.base_offset, before.last_offset())
                );
                assert_eq!((after.record_count, after.max_timestamp), (3, expected[2].1));
                assert_eq!(after.delete_horizon_ms(), horizon_ms);
                let producer = |header: &BatchHeader| {
                    (header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence())
                };
                assert_eq!(producer(&after), producer(&before));
                assert_eq!(after.compression().unwrap(), compression);
                assert!(after.is_transactional() && after.partition_leader_epoch == 3);
                let again = rewritten(&kept, None, |_| true);
                assert_eq!(again, kept, "a horizon that is set stays");
            }
        }
    }

    #[test]
    fn a_batch_without_records_keeps_its_place_and_its_producer() {
        let batch = batch(Compression::Zstd, 4);
        let before = *BatchView::new(&batch).unwrap().header();
        let mut out = Vec::new();
        let after = write_empty(&before, &mut out).unwrap();
        assert_eq!(out.len(), HEADER_SIZE);
        assert_eq!(records(&out), []);
        assert_eq!((after.base_offset, after.last_offset()), (40, 43));
        assert_eq!((after.last_sequence(), after.producer_id), (14, 7));
        assert_eq!((after.compression().unwrap(), after.max_timestamp), (Compression::None, 109));
    }
}
