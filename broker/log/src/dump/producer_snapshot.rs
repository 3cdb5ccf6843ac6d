//! `.snapshot`: producers' state.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::output::Output;
use super::when::When;
use super::{Failure, read_small};
use crate::producer_snapshot::{MAX_BYTES, SnapshotEntry, decode};

#[derive(Serialize)]
#[serde(tag = "type", rename = "producer")]
struct Producer {
    producer_id: i64,
    producer_epoch: i16,
    last_sequence: i32,
    last_offset: i64,
    offset_delta: i32,
    timestamp: i64,
    coordinator_epoch: i32,
    current_txn_first_offset: i64,
}

impl From<SnapshotEntry> for Producer {
    fn from(entry: SnapshotEntry) -> Self {
        Self {
            producer_id: entry.producer_id,
            producer_epoch: entry.producer_epoch,
            last_sequence: entry.last_sequence,
            last_offset: entry.last_offset,
            offset_delta: entry.offset_delta,
            timestamp: entry.timestamp,
            coordinator_epoch: entry.coordinator_epoch,
            current_txn_first_offset: entry.current_txn_first_offset,
        }
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "producer_id={} producer_epoch={} ", self.producer_id, self.producer_epoch)?;
        write!(f, "last_sequence={} last_offset={} ", self.last_sequence, self.last_offset)?;
        write!(f, "offset_delta={} timestamp={} ", self.offset_delta, When(self.timestamp))?;
        write!(f, "coordinator_epoch={} ", self.coordinator_epoch)?;
        write!(f, "current_txn_first_offset={}", self.current_txn_first_offset)
    }
}

pub(super) fn print(path: &Path, output: &mut Output<'_>) -> Result<(), Failure> {
    match decode(&read_small(path, MAX_BYTES)?) {
        Ok(entries) => entries.into_iter().try_for_each(|entry| output.entry(&Producer::from(entry))),
        Err(error) => output.damage(None, &format!("the file {error}")),
    }
}
