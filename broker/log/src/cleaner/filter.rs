//! Which batches and records a compaction keeps (`org.apache.kafka.storage.internals.log.Cleaner.cleanInto`,
//! `org.apache.kafka.common.record.MemoryRecords.filterTo`).
//!
//! A record stays while no later one has its key. One without a value, a tombstone, stays `delete.retention.ms` longer, so
//! that every reader learns of the deletion: the first compaction that meets it writes the time when it may go, the delete
//! horizon, into its batch (KIP-534). The marker of a transaction stays until nothing of the transaction is left, and then
//! as long as a tombstone. Records of aborted transactions go.
//!
//! A batch of which no record stays goes, with two exceptions: it stays empty where it is the last one of a producer, whose
//! sequence number it has (KIP-98), and where it ends what is compacted, whose last offset it has.

use std::collections::HashMap;

use taffrail_protocol::record_batch::{
    BatchError, BatchHeader, BatchRewriter, BatchView, RawRecords, Records, write_empty,
};

use super::offset_map::{KeyHash, OffsetMap};
use super::transactions::Transactions;
use crate::log::marker_of;
use crate::producer_state::LastOfProducer;

/// What a batch may decompress to. Bytes.
const DECOMPRESSED_LIMIT: usize = 128 * 1024 * 1024;

/// What is the same for all batches of a compaction.
pub(super) struct Rules<'a> {
    pub map: &'a OffsetMap,
    /// The last records of the producers that are remembered.
    pub producers: &'a HashMap<i64, LastOfProducer>,
    /// Where that which is compacted ends.
    pub end: i64,
    pub now_ms: i64,
    pub delete_retention_ms: i64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filtered {
    /// The header of what was written; `None` when the batch goes.
    pub written: Option<BatchHeader>,
    /// How many records it had, and how many are left.
    pub records: u64,
    pub kept: u64,
}

/// Memory that is used again for batch after batch.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    rewriter: BatchRewriter,
    hashes: Vec<Option<KeyHash>>,
    keep: Vec<bool>,
}

/// Records that are looked at together, so that the map's memory comes for all of them at a time.
const TOGETHER: usize = 64;

/// Hashes the keys of the next records and has the map's memory come for all of them; false when there are none.
fn look_ahead(
    ahead: &mut RawRecords<'_>,
    map: &OffsetMap,
    hashes: &mut Vec<Option<KeyHash>>,
) -> Result<bool, BatchError> {
    hashes.clear();
    for record in ahead.take(TOGETHER) {
        hashes.push(record?.key.map(|key| map.hash(key)));
    }
    map.bring_near(hashes.iter().flatten().copied());
    Ok(!hashes.is_empty())
}

impl Scratch {
    /// Takes the keys of records from `first_dirty` on into the map. False when that is full.
    pub fn take_in(
        &mut self,
        all: &Records<'_>,
        first_dirty: i64,
        map: &mut OffsetMap,
    ) -> Result<bool, BatchError> {
        let (mut ahead, mut records) = (all.raw(), all.raw());
        while look_ahead(&mut ahead, map, &mut self.hashes)? {
            for (hash, record) in self.hashes.iter().zip(records.by_ref()) {
                let offset = record?.offset;
                if let Some(hash) = hash
                    && offset >= first_dirty
                    && !map.put(*hash, offset)
                {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// The records of a batch, decompressed where need be.
pub(super) fn records_of<'a>(batch: &BatchView<'a>) -> Result<Records<'a>, BatchError> {
    batch.records(DECOMPRESSED_LIMIT)
}

/// Whether a batch is one of records, of which key and value count, and what the walk through the transactions says of it:
/// that it belongs to one that was aborted, or that it is a marker of which nothing is left.
pub(super) fn meet(batch: &BatchView<'_>, transactions: &mut Transactions) -> Result<bool, BatchError> {
    let header = batch.header();
    if !header.is_control() {
        return Ok(transactions.meet_batch(
            header.producer_id,
            header.is_transactional(),
            header.last_offset(),
        ));
    }
    // One that an earlier compaction has emptied says nothing any more.
    if header.record_count == 0 {
        return Ok(true);
    }
    let marker = marker_of(batch.bytes(), header).unwrap_or_default();
    Ok(marker.is_some_and(|marker| {
        transactions.meet_marker(header.producer_id, marker.commit, header.last_offset())
    }))
}

impl Rules<'_> {
    /// Writes what stays of a batch to `out`.
    pub fn filter(
        &self,
        batch: &BatchView<'_>,
        transactions: &mut Transactions,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Filtered, BatchError> {
        let header = batch.header();
        let may_go = meet(batch, transactions)?;
        let horizon_ms = header.delete_horizon_ms();
        let is_past_horizon = horizon_ms.is_some_and(|horizon_ms| horizon_ms <= self.now_ms);
        let records = u64::try_from(header.record_count).unwrap_or(0);
        let mut filtered = Filtered { written: None, records, kept: 0 };
        let goes = may_go && (!header.is_control() || is_past_horizon);
        if !goes && header.is_control() && records > 0 {
            let new_horizon_ms = (may_go && horizon_ms.is_none()).then(|| self.new_horizon_ms());
            filtered.kept = records;
            filtered.written = Some(match new_horizon_ms {
                None => copy(batch, out),
                Some(_) => {
                    let all = records_of(batch)?;
                    let mut rewriting = scratch.rewriter.begin(header, new_horizon_ms);
                    all.raw().try_for_each(|record| record.map(|record| rewriting.keep(&record)))?;
                    rewriting.finish(out)?
                }
            });
        } else if !goes && !header.is_control() {
            self.filter_records(batch, is_past_horizon, scratch, out, &mut filtered)?;
        }
        if filtered.written.is_none() && self.stays_empty(header) {
            filtered.written = Some(write_empty(header, out)?);
        }
        Ok(filtered)
    }

    fn filter_records(
        &self,
        batch: &BatchView<'_>,
        is_past_horizon: bool,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        filtered: &mut Filtered,
    ) -> Result<(), BatchError> {
        let header = batch.header();
        let all = records_of(batch)?;
        let mut keep = std::mem::take(&mut scratch.keep);
        let mut has_tombstones = false;
        keep.clear();
        let (mut ahead, mut records) = (all.raw(), all.raw());
        while look_ahead(&mut ahead, self.map, &mut scratch.hashes)? {
            // The hashes first, as a zip asks its first side once more than its second.
            for (hash, record) in scratch.hashes.iter().zip(records.by_ref()) {
                let record = record?;
                let keeps = self.keeps(record.offset, *hash, record.has_value, is_past_horizon);
                filtered.kept += u64::from(keeps);
                has_tombstones |= keeps && !record.has_value;
                keep.push(keeps);
            }
        }
        let new_horizon_ms =
            (has_tombstones && header.delete_horizon_ms().is_none()).then(|| self.new_horizon_ms());
        if filtered.kept == filtered.records && new_horizon_ms.is_none() && filtered.kept > 0 {
            filtered.written = Some(copy(batch, out));
        } else if filtered.kept > 0 {
            let mut rewriting = scratch.rewriter.begin(header, new_horizon_ms);
            for (record, _) in all.raw().zip(&keep).filter(|(_, keeps)| **keeps) {
                rewriting.keep(&record?);
            }
            filtered.written = Some(rewriting.finish(out)?);
        }
        scratch.keep = keep;
        Ok(())
    }

    fn keeps(&self, offset: i64, key: Option<KeyHash>, has_value: bool, is_past_horizon: bool) -> bool {
        if offset > self.map.latest() {
            return true;
        }
        // Records without a key are from before the topic was compacted, or from elsewhere: nothing could replace them.
        let Some(key) = key else { return false };
        let is_latest = self.map.get(key).is_none_or(|latest| offset >= latest);
        is_latest && (has_value || !is_past_horizon)
    }

    fn stays_empty(&self, header: &BatchHeader) -> bool {
        let is_last_of_producer = || match self.producers.get(&header.producer_id) {
            Some(LastOfProducer { last_offset: Some(offset), .. }) => header.last_offset() == *offset,
            Some(LastOfProducer { last_offset: None, epoch }) => {
                header.is_control() && header.producer_epoch == *epoch
            }
            None => false,
        };
        header.next_offset() == self.end || header.has_producer_id() && is_last_of_producer()
    }

    fn new_horizon_ms(&self) -> i64 {
        self.now_ms.saturating_add(self.delete_retention_ms)
    }
}

fn copy(batch: &BatchView<'_>, out: &mut Vec<u8>) -> BatchHeader {
    out.extend_from_slice(batch.bytes());
    *batch.header()
}
