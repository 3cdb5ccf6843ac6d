//! `.log`: batches, and their records if asked for.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use taffrail_protocol::record_batch::{
    ATTRIBUTES_OFFSET, BatchHeader, BatchView, Compression, TimestampType,
};

use super::output::Output;
use super::record;
use super::when::When;
use super::{DumpOptions, Failure, open};
use crate::scan::{Check, Damage, Found, Scan};
use crate::storage::{DiskFile, StorageFile};

/// Bytes that are read at once to check a batch that is not held in memory.
const PIECE_BYTES: usize = 256 * 1024;

#[derive(Serialize)]
#[serde(tag = "type", rename = "batch")]
struct Batch {
    position: u64,
    size: u64,
    base_offset: i64,
    last_offset: i64,
    count: i32,
    partition_leader_epoch: i32,
    compression: &'static str,
    timestamp_type: &'static str,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    last_sequence: i32,
    transactional: bool,
    control: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_horizon: Option<i64>,
    crc: u32,
    crc_valid: bool,
}

impl Batch {
    fn new(found: &Found, computed_crc: u32) -> Self {
        let header: &BatchHeader = &found.header;
        Self {
            position: found.position,
            size: found.size,
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            count: header.record_count,
            partition_leader_epoch: header.partition_leader_epoch,
            compression: header.compression().map_or("unknown", Compression::name),
            timestamp_type: match header.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            },
            base_timestamp: header.base_timestamp,
            max_timestamp: header.max_timestamp,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            transactional: header.is_transactional(),
            control: header.is_control(),
            delete_horizon: header.delete_horizon_ms(),
            crc: header.crc,
            crc_valid: header.crc == computed_crc,
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch position={} size={} ", self.position, self.size)?;
        write!(f, "offsets={}..{} count={} ", self.base_offset, self.last_offset, self.count)?;
        write!(f, "leader_epoch={} compression={} ", self.partition_leader_epoch, self.compression)?;
        match self.delete_horizon {
            None => write!(
                f,
                "{}={}..{}",
                self.timestamp_type,
                When(self.base_timestamp),
                When(self.max_timestamp)
            )?,
            Some(horizon) => {
                write!(
                    f,
                    "{}=..{} delete_horizon={}",
                    self.timestamp_type,
                    When(self.max_timestamp),
                    When(horizon)
                )?;
            }
        }
        if self.producer_id >= 0 {
            write!(f, " producer_id={} producer_epoch={}", self.producer_id, self.producer_epoch)?;
        }
        if self.base_sequence >= 0 {
            write!(f, " sequences={}..{}", self.base_sequence, self.last_sequence)?;
        }
        if self.transactional {
            f.write_str(" transactional")?;
        }
        if self.control {
            f.write_str(" control")?;
        }
        write!(f, " crc={:#010x} {}", self.crc, if self.crc_valid { "ok" } else { "DAMAGED" })
    }
}

pub(super) fn print(path: &Path, options: &DumpOptions, output: &mut Output<'_>) -> Result<(), Failure> {
    let file = open(path)?;
    let end = file.size().map_err(Failure::Read)?;
    let mut scan = Scan::new(&file, 0, end, Check::Header);
    let mut buffer = Vec::new();
    loop {
        match scan.next().map_err(Failure::Read)? {
            Ok(Some(found)) => print_batch(&file, &found, options, &mut buffer, output)?,
            Ok(None) => return Ok(()),
            Err(damage) => return print_damage(&damage, output),
        }
    }
}

fn print_damage(damage: &Damage, output: &mut Output<'_>) -> Result<(), Failure> {
    let reason = match damage.old_format {
        Some(magic) => {
            format!("a message of format {magic}, from before Apache Kafka 0.11, which is not read")
        }
        None => format!("{}; the rest of the file was not read", damage.reason),
    };
    output.damage(Some(damage.position), &reason)
}

fn print_batch(
    file: &DiskFile,
    found: &Found,
    options: &DumpOptions,
    buffer: &mut Vec<u8>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let held =
        usize::try_from(found.size).ok().filter(|size| options.records && *size <= options.max_batch_bytes);
    // The header is taken as it was scanned; should the file change meanwhile, the CRC tells.
    let computed = match held {
        Some(size) => {
            buffer.resize(size, 0);
            let read = file.read_at(buffer, found.position).map_err(Failure::Read)?;
            buffer.truncate(read);
            crc32c::crc32c(buffer.get(ATTRIBUTES_OFFSET..).unwrap_or_default())
        }
        None => crc_in_pieces(file, found, buffer)?,
    };
    let batch = Batch::new(found, computed);
    output.entry(&batch)?;
    if !batch.crc_valid {
        output.entry_is_damaged();
    }
    if !options.records {
        return Ok(());
    }
    if held.is_none() {
        return output
            .note(&format!("its records are not shown: it has more than {} bytes", options.max_batch_bytes));
    }
    let records = match BatchView::new(buffer).and_then(|view| view.records(options.max_batch_bytes)) {
        Ok(records) => records,
        Err(error) => return output.damage(Some(found.position), &error.to_string()),
    };
    record::print(&records, &found.header, found.position, output)
}

/// The CRC-32C of what the batch's own covers, without holding the batch.
fn crc_in_pieces(file: &DiskFile, found: &Found, buffer: &mut Vec<u8>) -> Result<u32, Failure> {
    let (mut position, mut crc) = (found.position + ATTRIBUTES_OFFSET as u64, 0);
    while position < found.end() {
        let wanted = (found.end() - position).min(PIECE_BYTES as u64) as usize;
        buffer.resize(wanted, 0);
        let read = file.read_at(buffer, position).map_err(Failure::Read)?;
        crc = crc32c::crc32c_append(crc, &buffer[..read]);
        if read < wanted {
            break;
        }
        position += read as u64;
    }
    Ok(crc)
}
