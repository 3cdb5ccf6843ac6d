//! What each idempotent producer has sent last, so that a batch sent again is recognised and one that is missing is
//! noticed (KIP-98; `org.apache.kafka.storage.internals.log.ProducerStateManager`, `ProducerAppendInfo`).

use std::collections::HashMap;

use taffrail_protocol::record_batch::{
    BatchHeader, NO_PRODUCER_EPOCH, NO_SEQUENCE, NO_TIMESTAMP, decrement_sequence,
};

use crate::config::LogConfig;
use crate::error::ProducerError;
use crate::producer_snapshot::SnapshotEntry;
use crate::transaction_index::AbortedTransaction;

/// Batches remembered of each producer; a client may have so many under way (`max.in.flight.requests`).
const REMEMBERED: usize = 5;

/// Who asks for an append, which decides what is checked (`org.apache.kafka.storage.internals.log.AppendOrigin`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: epoch and sequence numbers are checked.
    Client,
    /// A group or transaction coordinator of this broker: only the epoch is checked.
    Coordinator,
}

/// A batch that was appended before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendedBatch {
    /// Its first offset.
    pub base_offset: i64,
    /// Its last offset.
    pub last_offset: i64,
    /// Its largest timestamp. Milliseconds since 1970.
    pub timestamp: i64,
}

/// The end of a transaction, as its marker says it (`org.apache.kafka.common.record.EndTransactionMarker`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    pub commit: bool,
    pub coordinator_epoch: i32,
    pub timestamp: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    last_sequence: i32,
    offset_delta: i32,
    last_offset: i64,
    timestamp: i64,
}

impl Batch {
    fn first_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }
}

#[derive(Debug, Clone)]
struct Producer {
    epoch: i16,
    coordinator_epoch: i32,
    last_timestamp: i64,
    current_txn_first_offset: Option<i64>,
    /// Oldest first; `count` of them count.
    batches: [Batch; REMEMBERED],
    count: u8,
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            epoch: NO_PRODUCER_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: NO_TIMESTAMP,
            current_txn_first_offset: None,
            batches: [Batch::default(); REMEMBERED],
            count: 0,
        }
    }
}

impl Producer {
    fn batches(&self) -> &[Batch] {
        &self.batches[..usize::from(self.count)]
    }

    fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.count = 0;
        }
    }

    fn push(&mut self, batch: Batch) {
        if usize::from(self.count) == REMEMBERED {
            self.batches.rotate_left(1);
        } else {
            self.count += 1;
        }
        self.batches[usize::from(self.count) - 1] = batch;
    }
}

/// What a compaction must leave of a producer: the batch with its last sequence number, or where it has none, the marker
/// with its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastOfProducer {
    pub last_offset: Option<i64>,
    pub epoch: i16,
}

/// The state of all producers of one log.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProducerStates {
    producers: HashMap<i64, Producer>,
}

impl ProducerStates {
    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Where a producer's last record is, or -1; `None` if the producer is not known.
    pub fn last_offset(&self, producer_id: i64) -> Option<i64> {
        let producer = self.producers.get(&producer_id)?;
        Some(producer.batches().last().map_or(-1, |batch| batch.last_offset))
    }

    /// What a compaction must leave of each producer.
    pub fn last_of_each(&self) -> impl Iterator<Item = (i64, LastOfProducer)> {
        self.producers.iter().map(|(id, producer)| {
            let last_offset = producer.batches().last().map(|batch| batch.last_offset);
            (*id, LastOfProducer { last_offset, epoch: producer.epoch })
        })
    }

    /// Whether a batch may be appended; the batch it repeats if it was appended already.
    pub fn check(
        &self,
        header: &BatchHeader,
        origin: AppendOrigin,
    ) -> Result<Option<AppendedBatch>, ProducerError> {
        if !header.has_producer_id() {
            return Ok(None);
        }
        // A producer that nothing is known of may start anywhere: its state may have expired.
        let Some(producer) = self.producers.get(&header.producer_id) else { return Ok(None) };
        let (producer_id, epoch, sequence) =
            (header.producer_id, header.producer_epoch, header.base_sequence);
        if origin == AppendOrigin::Client && epoch == producer.epoch {
            let last = header.last_sequence();
            let same = |batch: &&Batch| batch.last_sequence == last && batch.first_sequence() == sequence;
            if let Some(batch) = producer.batches().iter().find(same) {
                return Ok(Some(AppendedBatch {
                    base_offset: batch.last_offset - i64::from(batch.offset_delta),
                    last_offset: batch.last_offset,
                    timestamp: batch.timestamp,
                }));
            }
        }
        if epoch < producer.epoch {
            return Err(ProducerError::InvalidEpoch { producer_id, epoch, current: producer.epoch });
        }
        if origin == AppendOrigin::Client && !header.is_control() {
            let last_sequence = match producer.batches().last() {
                Some(last) if epoch == producer.epoch => last.last_sequence,
                _ => NO_SEQUENCE,
            };
            let follows =
                sequence == last_sequence.wrapping_add(1) || (sequence == 0 && last_sequence == i32::MAX);
            if !follows && producer.epoch != NO_PRODUCER_EPOCH {
                return Err(ProducerError::OutOfOrderSequence {
                    producer_id,
                    epoch,
                    sequence,
                    last_sequence,
                });
            }
        }
        if producer.current_txn_first_offset.is_some() && !header.is_transactional() {
            return Err(ProducerError::NotTransactional { producer_id });
        }
        Ok(None)
    }

    /// Takes in a batch that was appended, whatever its producer should have sent.
    pub fn apply(&mut self, header: &BatchHeader, config: &LogConfig) {
        if !header.has_producer_id() || header.is_control() {
            return;
        }
        let producer = self.entry(header.producer_id, config);
        producer.set_epoch(header.producer_epoch);
        producer.push(Batch {
            last_sequence: header.last_sequence(),
            offset_delta: header.last_offset_delta,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
        });
        producer.last_timestamp = header.max_timestamp;
        if header.is_transactional() && producer.current_txn_first_offset.is_none() {
            producer.current_txn_first_offset = Some(header.base_offset);
        }
    }

    /// Whether a transaction marker may be appended.
    pub fn check_marker(&self, header: &BatchHeader, marker: Marker) -> Result<(), ProducerError> {
        let producer_id = header.producer_id;
        let Some(producer) = self.producers.get(&producer_id) else { return Ok(()) };
        if header.producer_epoch < producer.epoch {
            let (epoch, current) = (header.producer_epoch, producer.epoch);
            return Err(ProducerError::InvalidEpoch { producer_id, epoch, current });
        }
        if marker.coordinator_epoch < producer.coordinator_epoch {
            let (epoch, current) = (marker.coordinator_epoch, producer.coordinator_epoch);
            return Err(ProducerError::CoordinatorFenced { producer_id, epoch, current });
        }
        Ok(())
    }

    /// Takes in a transaction marker that was appended; the transaction it aborts, if it does, with the last stable
    /// offset as it is now.
    pub fn apply_marker(
        &mut self,
        header: &BatchHeader,
        marker: Marker,
        config: &LogConfig,
    ) -> Option<AbortedTransaction> {
        let producer = self.entry(header.producer_id, config);
        producer.set_epoch(header.producer_epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = marker.timestamp;
        let first_offset = producer.current_txn_first_offset.take()?;
        let last_offset = header.base_offset;
        let last_stable_offset = self.first_unstable_offset().unwrap_or(last_offset + 1);
        let producer_id = header.producer_id;
        let aborted = AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset };
        (!marker.commit).then_some(aborted)
    }

    /// The first offset of the oldest open transaction.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        self.producers.values().filter_map(|producer| producer.current_txn_first_offset).min()
    }

    /// Forgets producers that were silent for too long and have no open transaction; returns how many.
    pub fn expire(&mut self, now_ms: i64, config: &LogConfig) -> usize {
        let before = self.producers.len();
        let oldest = now_ms.saturating_sub(config.producer_id_expiration_ms);
        self.producers.retain(|_, producer| {
            producer.current_txn_first_offset.is_some() || producer.last_timestamp > oldest
        });
        before - self.producers.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.producers.clear();
    }

    /// What a snapshot holds.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let entries = self.producers.iter().map(|(&producer_id, producer)| {
            let last = producer.batches().last();
            SnapshotEntry {
                producer_id,
                producer_epoch: producer.epoch,
                last_sequence: last.map_or(NO_SEQUENCE, |batch| batch.last_sequence),
                last_offset: last.map_or(-1, |batch| batch.last_offset),
                offset_delta: last.map_or(0, |batch| batch.offset_delta),
                timestamp: producer.last_timestamp,
                coordinator_epoch: producer.coordinator_epoch,
                current_txn_first_offset: producer.current_txn_first_offset.unwrap_or(-1),
            }
        });
        crate::producer_snapshot::encode(entries)
    }

    /// Starts from what a snapshot holds.
    pub fn from_snapshot(entries: &[SnapshotEntry]) -> Self {
        let producers = entries.iter().map(|entry| {
            let mut producer = Producer {
                epoch: entry.producer_epoch,
                coordinator_epoch: entry.coordinator_epoch,
                last_timestamp: entry.timestamp,
                current_txn_first_offset: Some(entry.current_txn_first_offset).filter(|offset| *offset >= 0),
                ..Producer::default()
            };
            if entry.last_offset >= 0 {
                producer.push(Batch {
                    last_sequence: entry.last_sequence,
                    offset_delta: entry.offset_delta,
                    last_offset: entry.last_offset,
                    timestamp: entry.timestamp,
                });
            }
            (entry.producer_id, producer)
        });
        Self { producers: producers.collect() }
    }

    fn entry(&mut self, producer_id: i64, config: &LogConfig) -> &mut Producer {
        if self.producers.len() >= config.max_producers && !self.producers.contains_key(&producer_id) {
            self.drop_silent();
        }
        self.producers.entry(producer_id).or_default()
    }

    /// Makes room: the eighth that was silent longest goes, open transactions excepted.
    fn drop_silent(&mut self) {
        let idle = self.producers.values().filter(|producer| producer.current_txn_first_offset.is_none());
        let mut ages: Vec<i64> = idle.map(|producer| producer.last_timestamp).collect();
        if ages.is_empty() {
            return;
        }
        let eighth = ages.len() / 8;
        let (_, &mut pivot, _) = ages.select_nth_unstable(eighth);
        let mut quota = eighth + 1;
        self.producers.retain(|_, producer| {
            let goes =
                quota > 0 && producer.current_txn_first_offset.is_none() && producer.last_timestamp <= pivot;
            quota -= usize::from(goes);
            !goes
        });
    }
}
