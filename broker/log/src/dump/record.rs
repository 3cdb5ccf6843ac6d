//! The records of one batch.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use taffrail_protocol::record_batch::{BatchHeader, RecordHeaders, RecordView, Records};

use super::Failure;
use super::escape::Shown;
use super::output::Output;
use super::when::When;

#[derive(Serialize)]
#[serde(tag = "type", rename = "record")]
struct Record<'a> {
    offset: i64,
    timestamp: i64,
    key: Shown<'a>,
    value: Shown<'a>,
    headers: Headers<'a>,
}

impl<'a> From<RecordView<'a>> for Record<'a> {
    fn from(record: RecordView<'a>) -> Self {
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: Shown(record.key),
            value: Shown(record.value),
            headers: Headers(record.headers),
        }
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  offset={} timestamp={} ", self.offset, When(self.timestamp))?;
        write!(f, "key={} value={}", self.key, self.value)?;
        self.headers.0.enumerate().try_for_each(|(index, header)| {
            f.write_str(if index == 0 { " headers=" } else { "," })?;
            write!(f, "{}:{}", Shown(Some(header.key)), Shown(header.value))
        })
    }
}

/// Headers as JSON: a list, as names may come twice.
struct Headers<'a>(RecordHeaders<'a>);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Header<'a> {
            key: Shown<'a>,
            value: Shown<'a>,
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for header in self.0 {
            list.serialize_element(&Header { key: Shown(Some(header.key)), value: Shown(header.value) })?;
        }
        list.end()
    }
}

/// The end of a transaction (`org.apache.kafka.common.record.EndTransactionMarker`).
#[derive(Serialize)]
#[serde(tag = "type", rename = "control_record")]
struct Marker {
    offset: i64,
    timestamp: i64,
    marker: &'static str,
    coordinator_epoch: i32,
}

impl Marker {
    /// Reads a marker: version and type (int16 each) are the key, version (int16) and epoch (int32) start the value.
    fn read(record: &RecordView<'_>) -> Option<Self> {
        let [_, _, kind @ ..] = *record.key?.first_chunk::<4>()?;
        let marker = match i16::from_be_bytes(kind) {
            0 => "abort",
            1 => "commit",
            _ => return None,
        };
        let [_, _, epoch @ ..] = *record.value?.first_chunk::<6>()?;
        let coordinator_epoch = i32::from_be_bytes(epoch);
        Some(Self { offset: record.offset, timestamp: record.timestamp, marker, coordinator_epoch })
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  offset={} timestamp={} ", self.offset, When(self.timestamp))?;
        write!(f, "marker={} coordinator_epoch={}", self.marker, self.coordinator_epoch)
    }
}

/// Prints the records of the batch at `position`.
pub(super) fn print(
    records: &Records<'_>,
    header: &BatchHeader,
    position: u64,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    for record in records.iter() {
        match record {
            Ok(record) => match Marker::read(&record).filter(|_| header.is_control()) {
                Some(marker) => output.line(&marker)?,
                None => output.line(&Record::from(record))?,
            },
            Err(error) => output.damage(Some(position), &error.to_string())?,
        }
    }
    Ok(())
}
